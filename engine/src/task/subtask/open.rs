//! How a subtask begins: it restores its share of a checkpoint, and opens its operators, sink and source with it.

use std::path::Path;

use super::{Loaded, Restoring, Subtask, injected, restore};
use crate::{
    checkpoint::Ownership,
    config::{BackgroundWork, RocksDbOptions, StateBackend},
    connector::{SinkContext, SourceContext},
    error::{Error, ErrorKind, Result},
    event::{Moment, Step},
    id::OperatorUid,
    net::SubtaskRestore,
    operator::OperatorContext,
    planted,
    state::{EndOfInput, KeyGroups, ParallelInstance},
    task::{local_state::LocalStateStore, mailbox::TaskReport, uploads::UploadLedger},
};

impl Subtask {
    /// Restores what the subtask starts from, and opens everything with it.
    pub(super) async fn open(&mut self) -> Result<()> {
        let mut restore = self.restore.take().unwrap_or_default();
        if restore.finished {
            // Of a finished subtask nothing was kept.
            restore.operators.clear();
        }
        let checkpoint_id = restore.checkpoint_id;
        self.last_checkpoint = checkpoint_id.unwrap_or_default();
        self.fact(Moment::Before, Step::Restore, checkpoint_id).await?;
        let backend = self.state_backend();
        let subtask = self.execution.subtask;
        let parallelism = self.program.graph.vertex(subtask.vertex).parallelism;
        let max_parallelism = self.max_parallelism;
        let key_groups = KeyGroups::new(max_parallelism).map_err(|error| {
            Error::new(ErrorKind::CorruptState, "cannot restore with these key groups").with_source(error)
        })?;
        let restoring = Restoring {
            instance: ParallelInstance { index: subtask.index, parallelism },
            key_groups,
            local_state: self.copies_of(&restore),
        };
        let ownership = restore.ownership;
        let Loaded { mut snapshots, kept_files, in_flight, origins } =
            restore::load(&self.env, self.file_system.as_ref(), &backend, restoring, restore).await?;
        for (step, detail) in origins.facts() {
            self.reporter.state(Moment::After, step, checkpoint_id, &detail).await.map_err(injected)?;
        }
        if let Some(local_state) = self.local_state.as_ref().filter(|local| local.is_written()) {
            local_state.restored(checkpoint_id).await;
        }
        if !self.config.restore_watermark {
            snapshots.values_mut().for_each(|snapshot| snapshot.watermark = None);
        }
        if let Some(checkpoint_id) = checkpoint_id {
            self.uploads = UploadLedger::restored(checkpoint_id, kept_files);
        }
        // The user who starts a job from the savepoint of a drained one wants it to read on.
        if self.source.is_some() && ownership == Ownership::Job && !planted!("drained_source_reads_on_after_a_failure")
        {
            let uid = self.source.as_ref().map(|(uid, _)| uid);
            let own = uid.and_then(|uid| snapshots.get(uid));
            self.drained = own.map_or(EndOfInput::Pending, |snapshot| snapshot.end_of_input);
        }
        let sink_restored = self.sink.as_ref().and_then(|(uid, _)| snapshots.remove(uid));
        let source_restored = self.source.as_ref().and_then(|(uid, _)| snapshots.remove(uid));
        let context = OperatorContext {
            uid: OperatorUid(String::new()),
            subtask_index: subtask.index,
            parallelism,
            max_parallelism,
            state_backend: backend,
            restored_checkpoint_id: checkpoint_id,
            processing_time: self.env.now(),
            reporter: self.reporter.clone(),
        };
        if let Some((uid, own)) = &mut self.own_watermarks {
            let kept = snapshots.remove(uid).filter(|_| self.config.restore_watermark);
            own.open(kept)?;
        }
        self.chain.open(&context, snapshots)?;
        if let Some((uid, sink)) = &mut self.sink {
            let context = SinkContext {
                env: self.env.clone(),
                file_system: self.file_system.clone(),
                uid: uid.clone(),
                restored_checkpoint_id: checkpoint_id,
                max_parallelism,
                subtask_index: subtask.index,
                parallelism,
                attempt: self.execution.attempt,
                reporter: self.reporter.clone(),
            };
            sink.open(&context, sink_restored).await?;
        }
        if let Some((_, source)) = &mut self.source {
            let context = SourceContext {
                env: self.env.clone(),
                file_system: self.file_system.clone(),
                subtask_index: subtask.index,
                parallelism,
                reporter: self.reporter.clone(),
            };
            source.open(&context, source_restored).await?;
        }
        let audit = self.restore_in_flight(in_flight, key_groups, checkpoint_id).await?;
        self.reporter.state(Moment::After, Step::Restore, checkpoint_id, &audit).await.map_err(injected)?;
        self.report(TaskReport::Running(self.execution)).await
    }

    /// The copies of what the subtask starts from, if they are wanted. Of checkpoints of other jobs, and of savepoints, there
    /// are none.
    fn copies_of(&self, restore: &SubtaskRestore) -> Option<LocalStateStore> {
        let own = self.directory_of(restore.checkpoint_id?)?;
        let local_state = self.local_state.as_ref().filter(|local| local.is_read());
        local_state.filter(|_| Path::new(&restore.directory) == own).cloned()
    }

    /// As configured, except that in a simulation nothing may depend on when threads of RocksDB get to run.
    fn state_backend(&self) -> StateBackend {
        match &self.config.state_backend {
            StateBackend::RocksDb(options) => {
                let simulated = self.env.is_simulated().then_some(BackgroundWork::AtSnapshots);
                let background_work = simulated.unwrap_or(options.background_work);
                // Without files a checkpoint has nothing to refer to: the job manager's memory takes it whole.
                let incremental = options.incremental && self.checkpoint_directory.is_some();
                StateBackend::RocksDb(RocksDbOptions { background_work, incremental, ..options.clone() })
            }
            StateBackend::HashMap => StateBackend::HashMap,
        }
    }
}
