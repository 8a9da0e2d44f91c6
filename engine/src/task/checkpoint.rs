//! A subtask's part in a checkpoint (Flink `SubtaskCheckpointCoordinatorImpl.checkpointState`).
//!
//! ```text
//!  barrier sent on ─► synchronous part: sink (pre-commit), operators tail to head, source
//!                                        └─► asynchronous part: encode, persist ─► acknowledge | decline
//! ```
//! State that lives in a database may be kept as its files: then `persist` copies those that no earlier checkpoint has kept.
//! Nothing is processed between the first and the last synchronous step, so barrier and state describe one cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};

use super::{
    database_files::Uploader,
    mailbox::TaskReport,
    subtask::{Subtask, injected, receiver_gone},
};
use crate::{
    checkpoint::CheckpointBarrier,
    codec,
    error::{Error, ErrorKind, Result},
    event::{Moment, Reporter, Step},
    id::{CheckpointId, ExecutionAttempt, OperatorUid},
    net::{Acknowledgement, StateHandle},
    operator::{AsyncSnapshot, ListMode, OperatorSnapshot},
    planted,
    record::StreamElement,
    state::DatabaseFiles,
    storage::SharedFileSystem,
};

/// Where snapshots of a checkpoint go.
struct SnapshotWriter {
    file_system: SharedFileSystem,
    /// `None` puts everything into the acknowledgement.
    directory: Option<PathBuf>,
    inline_threshold_bytes: usize,
    memory_state_bytes_max: usize,
    file_prefix: String,
}

impl Subtask {
    /// Takes the checkpoint that the barrier announces.
    pub(super) async fn take_checkpoint(&mut self, barrier: CheckpointBarrier) -> Result<()> {
        let checkpoint_id = barrier.checkpoint_id;
        if checkpoint_id <= self.last_checkpoint {
            return Ok(());
        }
        self.last_checkpoint = checkpoint_id;
        let early_source = planted!("record_emitted_between_source_snapshot_and_barrier")
            .then(|| self.source.as_ref().map(|(_, source)| source.snapshot()))
            .flatten();
        if early_source.is_some() {
            self.emit_from_source(self.env.now()).await?;
        }

        self.fact(Moment::Before, Step::BarrierEmission, Some(checkpoint_id)).await?;
        self.outputs.broadcast(&StreamElement::Barrier(barrier)).map_err(receiver_gone)?;
        self.fact(Moment::After, Step::BarrierEmission, Some(checkpoint_id)).await?;

        self.fact(Moment::Before, Step::SyncSnapshot, Some(checkpoint_id)).await?;
        let mut parts = Vec::new();
        if let Some((uid, sink)) = &mut self.sink {
            parts.push((uid.clone(), sink.snapshot(checkpoint_id).await?));
        }
        parts.extend(self.chain.snapshot(checkpoint_id)?);
        if let Some((uid, own)) = &self.own_watermarks {
            let snapshot = own.snapshot();
            parts.push((uid.clone(), Box::new(move || Ok(snapshot)) as AsyncSnapshot));
        }
        if self.source.is_some() {
            self.fact(Moment::Before, Step::SourceSnapshot, Some(checkpoint_id)).await?;
        }
        if let Some((uid, source)) = &self.source {
            let snapshot = early_source.unwrap_or_else(|| source.snapshot());
            parts.push((uid.clone(), Box::new(move || Ok(snapshot)) as AsyncSnapshot));
            self.fact(Moment::After, Step::SourceSnapshot, Some(checkpoint_id)).await?;
        }
        self.fact(Moment::After, Step::SyncSnapshot, Some(checkpoint_id)).await?;
        self.start_asynchronous_part(checkpoint_id, parts);
        Ok(())
    }

    fn start_asynchronous_part(&mut self, checkpoint_id: CheckpointId, parts: Vec<(OperatorUid, AsyncSnapshot)>) {
        let subtask = self.execution.subtask;
        let writer = SnapshotWriter {
            file_system: self.file_system.clone(),
            directory: self.checkpoint_directory.as_ref().map(|all| all.join(format!("chk-{checkpoint_id}"))),
            inline_threshold_bytes: self.config.checkpoints.inline_threshold_bytes,
            memory_state_bytes_max: self.config.checkpoints.memory_state_bytes_max,
            file_prefix: format!("v{}-{}-{}", subtask.vertex, subtask.index, self.execution.attempt),
        };
        let upload = self.uploads.begin(checkpoint_id);
        let uploader = Uploader::new(self.env.clone(), self.file_system.clone(), self.execution, upload);
        let (execution, reporter, reports) = (self.execution, self.reporter.clone(), self.reports.clone());
        self.env.spawn(async move {
            let report = persist(execution, checkpoint_id, parts, &writer, uploader, &reporter).await;
            let acknowledged = matches!(report, TaskReport::Acknowledge(_));
            // A task manager that is gone needs no acknowledgement.
            let _ = reports.send(report).await;
            if acknowledged {
                let _ = reporter.state(Moment::After, Step::Acknowledge, Some(checkpoint_id), "").await;
            }
        });
    }

    /// The checkpoint will not happen here: says so upstream of the coordinator and downstream of this subtask.
    pub(super) async fn give_up_checkpoint(&mut self, checkpoint_id: CheckpointId, reason: String) -> Result<()> {
        self.outputs.broadcast(&StreamElement::CancelMarker(checkpoint_id)).map_err(receiver_gone)?;
        self.report(TaskReport::Decline { execution: self.execution, checkpoint_id, reason }).await
    }
}

async fn persist(
    execution: ExecutionAttempt,
    checkpoint_id: CheckpointId,
    parts: Vec<(OperatorUid, AsyncSnapshot)>,
    writer: &SnapshotWriter,
    mut uploader: Uploader,
    reporter: &Reporter,
) -> TaskReport {
    let persisted = async {
        reporter.state(Moment::Before, Step::AsyncSnapshot, Some(checkpoint_id), "").await.map_err(injected)?;
        let (mut operators, mut union) = (BTreeMap::new(), BTreeSet::new());
        for (uid, part) in parts {
            let mut snapshot = part()?;
            let files = snapshot.files.take();
            if snapshot.lists.values().any(|list| list.mode == ListMode::Union) {
                union.insert(uid.clone());
            }
            let rest = writer.write(&uid, &snapshot).await?;
            let handle = match &files {
                Some(files) => writer.write_database(&uid, files, rest, &mut uploader).await?,
                None => rest,
            };
            operators.insert(uid, handle);
        }
        reporter.state(Moment::After, Step::AsyncSnapshot, Some(checkpoint_id), "").await.map_err(injected)?;
        reporter.state(Moment::Before, Step::Acknowledge, Some(checkpoint_id), "").await.map_err(injected)?;
        uploader.acknowledge()?;
        Ok::<_, Error>(Acknowledgement { execution, checkpoint_id, operators, union })
    };
    match persisted.await {
        Ok(acknowledgement) => TaskReport::Acknowledge(acknowledgement),
        Err(error) => {
            uploader.give_up().await;
            TaskReport::Decline { execution, checkpoint_id, reason: error.to_string() }
        }
    }
}

impl SnapshotWriter {
    /// Keeps keyed state as the files of its database.
    async fn write_database(
        &self,
        uid: &OperatorUid,
        files: &DatabaseFiles,
        rest: StateHandle,
        uploader: &mut Uploader,
    ) -> Result<StateHandle> {
        let Some(directory) = &self.directory else {
            return Err(Error::new(ErrorKind::Configuration, "incremental checkpoints need a directory")
                .with_hint("set execution.checkpointing.dir, so that checkpoints go to files"));
        };
        let database = uploader.upload(uid, files, directory, &self.file_name(uid)).await?;
        Ok(StateHandle::Incremental { database: Box::new(database), rest: Box::new(rest) })
    }

    fn file_name(&self, uid: &OperatorUid) -> String {
        format!("{}-{:08x}", self.file_prefix, crc32fast::hash(uid.0.as_bytes()))
    }

    async fn write(&self, uid: &OperatorUid, snapshot: &OperatorSnapshot) -> Result<StateHandle> {
        let bytes = codec::encode(snapshot);
        let Some(directory) = &self.directory else { return self.for_memory(uid, bytes) };
        if bytes.len() <= self.inline_threshold_bytes {
            return Ok(StateHandle::Inline(bytes));
        }
        let name = self.file_name(uid);
        let path = directory.join(&name);
        self.write_file(&path, &bytes).await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("cannot write state file {}", path.display())).with_source(error)
        })?;
        Ok(StateHandle::File { name, length_bytes: bytes.len() as u64, crc32: crc32fast::hash(&bytes) })
    }

    fn for_memory(&self, uid: &OperatorUid, bytes: Vec<u8>) -> Result<StateHandle> {
        let (length, most) = (bytes.len(), self.memory_state_bytes_max);
        if length <= most {
            return Ok(StateHandle::Inline(bytes));
        }
        let message = format!(
            "the state of operator {uid} in this subtask is {length} bytes, but the job manager's memory takes {most} at most"
        );
        Err(Error::new(ErrorKind::Configuration, message)
            .with_hint("set execution.checkpointing.dir, so that checkpoints go to files"))
    }

    async fn write_file(&self, path: &std::path::Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.file_system.create(path).await?;
        file.write(bytes).await?;
        if planted!("state_file_acknowledged_without_sync") {
            return Ok(());
        }
        file.sync().await?;
        self.file_system.sync_directory(&crate::storage::parent(path)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        operator::{ListMode, ListSnapshot},
        storage::LocalFileSystem,
    };

    #[test]
    fn state_too_large_for_the_job_manager_s_memory_is_refused_with_its_size_the_limit_and_the_remedy() {
        let snapshot = |bytes: usize| {
            let list = ListSnapshot { mode: ListMode::Split, entries: vec![vec![0; bytes]] };
            OperatorSnapshot { lists: BTreeMap::from([("buffered".into(), list)]), ..OperatorSnapshot::default() }
        };
        let limit = codec::encode(&snapshot(1000)).len();
        let write = |snapshot: OperatorSnapshot, directory: Option<PathBuf>| {
            crate::env::Env::run_on_host(1, |env| async move {
                let file_system = std::sync::Arc::new(LocalFileSystem::new(env));
                let (inline_threshold_bytes, file_prefix) = (10, "v0-0-0".into());
                let memory_state_bytes_max = limit;
                let writer = SnapshotWriter {
                    file_system,
                    directory,
                    inline_threshold_bytes,
                    memory_state_bytes_max,
                    file_prefix,
                };
                writer.write(&OperatorUid("buffer".into()), &snapshot).await
            })
            .unwrap()
        };
        assert_eq!(write(snapshot(1000), None).unwrap(), StateHandle::Inline(codec::encode(&snapshot(1000))));
        let error = write(snapshot(1001), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "wrong configuration: the state of operator buffer in this subtask is {} bytes, but the job manager's memory \
                 takes {limit} at most\n  hint: set execution.checkpointing.dir, so that checkpoints go to files",
                limit + 1
            )
        );
        let directory = tempfile::tempdir().unwrap();
        let written = write(snapshot(1001), Some(directory.path().to_owned())).unwrap();
        assert!(matches!(written, StateHandle::File { .. }), "files may be of any size: {written:?}");
    }
}
