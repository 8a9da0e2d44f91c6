//! A subtask's part in a checkpoint (Flink `SubtaskCheckpointCoordinatorImpl.checkpointState`).
//!
//! ```text
//!  barrier sent on ─► synchronous part: sink (pre-commit), operators tail to head, source
//!                                        └─► asynchronous part: encode, persist ─► acknowledge | decline
//!  unaligned: what the barriers overtook ────────────────┘ (`in_flight.rs`), as soon as all of it is known
//! ```
//! State that lives in a database may be kept as its files: then `persist` copies those that no earlier checkpoint has kept.
//! Nothing is processed between the first and the last synchronous step, so barrier and state describe one cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};

use super::{
    database_files::{Sharing, Target, Uploader},
    in_flight::{ChannelNames, Collection, InFlight},
    local_state::{Copies, HeldDatabase},
    mailbox::TaskReport,
    subtask::{Subtask, injected, receiver_gone},
    uploads::Upload,
};
use crate::{
    backend,
    checkpoint::{AfterSnapshot, CheckpointBarrier, Savepoint, SavepointFormat, SnapshotType},
    codec,
    env::channel::oneshot,
    error::{Error, ErrorKind, Result},
    event::{Moment, Reporter, Step},
    id::{CheckpointId, ExecutionAttempt, OperatorUid},
    net::{Acknowledgement, InFlightState, StateHandle},
    operator::{AsyncSnapshot, ListMode, OperatorSnapshot},
    planted,
    record::{StopMode, StreamElement},
    state::{DatabaseFiles, EndOfInput},
    storage::SharedFileSystem,
};

/// So many checkpoints are remembered that were given up before their barriers came (Flink
/// `SubtaskCheckpointCoordinatorImpl`).
const ABORTED_EARLY_MAX: usize = 128;

/// Where snapshots of a checkpoint go.
struct SnapshotWriter {
    file_system: SharedFileSystem,
    /// `None` puts everything into the acknowledgement.
    directory: Option<PathBuf>,
    /// What is asked for.
    snapshot: SnapshotType,
    inline_threshold_bytes: usize,
    memory_state_bytes_max: usize,
    file_prefix: String,
    /// What was written, if it is kept where it was written as well.
    copies: Option<Copies>,
}

/// What the asynchronous part keeps.
struct Parts {
    operators: Vec<(OperatorUid, AsyncSnapshot)>,
    /// Operators that had finished when the job was restored.
    finished: Vec<OperatorUid>,
    /// What was under way, once it is known, and how its channels are named; `None` if the checkpoint holds none.
    in_flight: Option<(oneshot::Receiver<InFlight>, ChannelNames)>,
}

impl Subtask {
    /// Takes the checkpoint that the barrier announces.
    pub(super) async fn take_checkpoint(&mut self, barrier: CheckpointBarrier) -> Result<()> {
        let checkpoint_id = barrier.checkpoint_id;
        if checkpoint_id <= self.last_checkpoint {
            return Ok(());
        }
        self.last_checkpoint = checkpoint_id;
        if self.forget_aborted(checkpoint_id) {
            return self.outputs.broadcast(&StreamElement::CancelMarker(checkpoint_id)).map_err(receiver_gone);
        }
        let (snapshot, then) = (barrier.snapshot.clone(), barrier.snapshot.then());
        let ends = match then {
            AfterSnapshot::Terminate => !planted!("drain_does_not_end_the_input"),
            AfterSnapshot::Suspend => planted!("stop_with_savepoint_ends_the_input"),
            AfterSnapshot::GoOn => snapshot.savepoint().is_some() && planted!("savepoint_ends_the_input"),
        };
        if self.source.is_some() && ends {
            self.end_source(StopMode::Drain).await?;
            self.drained = EndOfInput::Handled;
        }
        let early_source = planted!("record_emitted_between_source_snapshot_and_barrier")
            .then(|| self.source.as_ref().map(|(_, source)| source.snapshot()))
            .flatten();
        if early_source.is_some() {
            self.emit_from_source(self.env.now()).await?;
        }

        self.fact(Moment::Before, Step::BarrierEmission, Some(checkpoint_id)).await?;
        self.outputs.broadcast_barrier(&barrier).map_err(receiver_gone)?;
        self.fact(Moment::After, Step::BarrierEmission, Some(checkpoint_id)).await?;
        if let Some(received) = &self.received {
            let cut = self.channel_names().describe(self.execution.subtask, received, self.outputs.sent());
            self.reporter.state(Moment::After, Step::ChannelCut, Some(checkpoint_id), &cut).await.map_err(injected)?;
        }

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
            let mut snapshot = early_source.unwrap_or_else(|| source.snapshot());
            snapshot.end_of_input = self.drained;
            parts.push((uid.clone(), Box::new(move || Ok(snapshot)) as AsyncSnapshot));
            self.fact(Moment::After, Step::SourceSnapshot, Some(checkpoint_id)).await?;
        }
        self.fact(Moment::After, Step::SyncSnapshot, Some(checkpoint_id)).await?;
        self.end.takes(checkpoint_id);
        if then.stops() {
            self.stops_with = Some(checkpoint_id);
        }
        let in_flight = self.collect_in_flight(&barrier);
        let finished = self.finished_operators.clone();
        self.start_asynchronous_part(checkpoint_id, snapshot, Parts { operators: parts, finished, in_flight });
        Ok(())
    }

    fn start_asynchronous_part(&mut self, checkpoint_id: CheckpointId, snapshot: SnapshotType, parts: Parts) {
        let subtask = self.execution.subtask;
        let (directory, upload) = match snapshot.savepoint() {
            // It is whole, and no checkpoint ever refers to what belongs to the user.
            Some(_) if planted!("savepoint_written_among_the_checkpoints") => {
                (self.directory_of(checkpoint_id), Upload::default())
            }
            Some(savepoint) => (Some(PathBuf::from(&savepoint.directory)), Upload::default()),
            None => (self.directory_of(checkpoint_id), self.uploads.begin(checkpoint_id)),
        };
        let local_state = self.local_state.clone().filter(|local| local.is_written() && snapshot.savepoint().is_none());
        let mut writer = SnapshotWriter {
            file_system: self.file_system.clone(),
            directory,
            snapshot,
            inline_threshold_bytes: self.config.checkpoints.inline_threshold_bytes,
            memory_state_bytes_max: self.config.checkpoints.memory_state_bytes_max,
            file_prefix: format!("v{}-{}-{}", subtask.vertex, subtask.index, self.execution.attempt),
            copies: local_state.is_some().then(Copies::default),
        };
        let uploader = Uploader::new(self.env.clone(), self.file_system.clone(), self.execution, upload);
        let (execution, reporter, reports) = (self.execution, self.reporter.clone(), self.reports.clone());
        self.env.spawn(async move {
            let report = persist(execution, checkpoint_id, parts, &mut writer, uploader, &reporter).await;
            let acknowledged = matches!(report, TaskReport::Acknowledge(_));
            // A task manager that is gone needs no acknowledgement.
            let _ = reports.send(report).await;
            if acknowledged {
                let _ = reporter.state(Moment::After, Step::Acknowledge, Some(checkpoint_id), "").await;
                // Nobody waits for them.
                if let (Some(local_state), Some(copies)) = (local_state, writer.copies) {
                    local_state.keep(checkpoint_id, copies).await;
                }
            }
        });
    }

    /// Where a checkpoint of the job lies, if it lies in files.
    pub(super) fn directory_of(&self, checkpoint_id: CheckpointId) -> Option<PathBuf> {
        self.checkpoint_directory.as_ref().map(|all| all.join(format!("chk-{checkpoint_id}")))
    }

    /// Begins to collect what is under way, if the checkpoint holds that.
    fn collect_in_flight(
        &mut self,
        barrier: &CheckpointBarrier,
    ) -> Option<(oneshot::Receiver<InFlight>, ChannelNames)> {
        if !barrier.alignment.may_overtake() {
            return None;
        }
        let (collection, known) = Collection::begin(barrier, &self.gate);
        self.in_flight = Some(collection);
        Some((known, self.channel_names()))
    }

    /// The checkpoint is given up: nothing is collected for it any more.
    pub(super) fn drop_in_flight(&mut self, checkpoint_id: CheckpointId) {
        self.in_flight.take_if(|collection| collection.checkpoint_id() == checkpoint_id);
        self.gate.take_recorded(checkpoint_id);
        self.outputs.forget_overtaken(checkpoint_id);
    }

    /// The coordinator has given a checkpoint up.
    pub(super) fn aborted(&mut self, checkpoint_id: CheckpointId) {
        self.uploads.aborted(checkpoint_id);
        if let Some(local_state) = self.local_state.clone() {
            local_state.aborted(checkpoint_id);
            self.env.spawn(local_state.tidy_up());
        }
        self.drop_in_flight(checkpoint_id);
        if checkpoint_id > self.last_checkpoint {
            self.aborted_early.insert(checkpoint_id);
            if self.aborted_early.len() > ABORTED_EARLY_MAX {
                self.aborted_early.pop_first();
            }
        }
    }

    /// Whether a checkpoint was given up before its barrier came.
    fn forget_aborted(&mut self, checkpoint_id: CheckpointId) -> bool {
        let later = self.aborted_early.split_off(&checkpoint_id.next());
        std::mem::replace(&mut self.aborted_early, later).contains(&checkpoint_id)
    }

    /// The checkpoint will not happen here: says so upstream of the coordinator and downstream of this subtask.
    pub(super) async fn give_up_checkpoint(&mut self, checkpoint_id: CheckpointId, reason: String) -> Result<()> {
        self.drop_in_flight(checkpoint_id);
        self.outputs.broadcast(&StreamElement::CancelMarker(checkpoint_id)).map_err(receiver_gone)?;
        self.report(TaskReport::Decline { execution: self.execution, checkpoint_id, reason }).await
    }
}

async fn persist(
    execution: ExecutionAttempt,
    checkpoint_id: CheckpointId,
    parts: Parts,
    writer: &mut SnapshotWriter,
    mut uploader: Uploader,
    reporter: &Reporter,
) -> TaskReport {
    let persisted = async {
        reporter.state(Moment::Before, Step::AsyncSnapshot, Some(checkpoint_id), "").await.map_err(injected)?;
        let finished = parts.finished.into_iter().map(|uid| (uid, StateHandle::Finished));
        let (mut operators, mut union): (BTreeMap<_, _>, _) = (finished.collect(), BTreeSet::new());
        for (uid, part) in parts.operators {
            let mut snapshot = part()?;
            let mut files = std::mem::take(&mut snapshot.files);
            if writer.is_canonical() {
                for database in files.drain(..) {
                    backend::add_files(&mut snapshot.keyed, &database)?;
                }
            }
            if snapshot.lists.values().any(|list| list.mode == ListMode::Union) {
                union.insert(uid.clone());
            }
            if writer.is_canonical() && planted!("timers_left_out_of_a_canonical_savepoint") {
                snapshot.keyed.retain(|name, _| !name.starts_with("_timer"));
            }
            if writer.is_canonical() && planted!("timers_of_a_canonical_savepoint_in_the_wrong_namespace") {
                let timers = snapshot.keyed.iter_mut().filter(|(name, _)| name.starts_with("_timer"));
                timers.for_each(|(_, timers)| timers.begin_windows_at_their_ends());
            }
            let rest = writer.write(&uid, &snapshot).await?;
            let handle = match files.as_slice() {
                [] => rest,
                [files, ..] => writer.write_database(&uid, files, rest, &mut uploader).await?,
            };
            operators.insert(uid, handle);
        }
        let in_flight = match parts.in_flight {
            Some((known, names)) => {
                let in_flight = known.await.map_err(|_| given_up())?;
                if in_flight.is_empty() {
                    None
                } else {
                    let audited = reporter.audits_channels();
                    let detail = if audited { in_flight.describe(&names, execution.subtask) } else { String::new() };
                    let state = in_flight.into_state(&names);
                    reporter.state(Moment::Before, Step::InFlight, Some(checkpoint_id), "").await.map_err(injected)?;
                    let handle = writer.write_in_flight(&state).await?;
                    let kept = reporter.state(Moment::After, Step::InFlight, Some(checkpoint_id), &detail);
                    kept.await.map_err(injected)?;
                    Some(handle)
                }
            }
            None => None,
        };
        reporter.state(Moment::After, Step::AsyncSnapshot, Some(checkpoint_id), "").await.map_err(injected)?;
        reporter.state(Moment::Before, Step::Acknowledge, Some(checkpoint_id), "").await.map_err(injected)?;
        uploader.acknowledge()?;
        Ok::<_, Error>(Acknowledgement { execution, checkpoint_id, operators, union, in_flight })
    };
    match persisted.await {
        Ok(acknowledgement) => TaskReport::Acknowledge(acknowledgement),
        Err(_) if planted!("failed_asynchronous_part_acknowledged") => {
            let (operators, union) = (BTreeMap::new(), BTreeSet::new());
            TaskReport::Acknowledge(Acknowledgement { execution, checkpoint_id, operators, union, in_flight: None })
        }
        Err(error) => {
            uploader.give_up().await;
            TaskReport::Decline { execution, checkpoint_id, reason: error.to_string() }
        }
    }
}

fn given_up() -> Error {
    Error::new(ErrorKind::Unavailable, "the checkpoint was given up before all its barriers had arrived")
}

impl SnapshotWriter {
    /// Keeps keyed state as the files of its database.
    async fn write_database(
        &mut self,
        uid: &OperatorUid,
        files: &DatabaseFiles,
        rest: StateHandle,
        uploader: &mut Uploader,
    ) -> Result<StateHandle> {
        let Some(directory) = &self.directory else {
            return Err(Error::new(ErrorKind::Configuration, "incremental checkpoints need a directory")
                .with_hint("set execution.checkpointing.dir, so that checkpoints go to files"));
        };
        let sharing = match self.snapshot {
            SnapshotType::Checkpoint => Sharing::Shared,
            SnapshotType::Savepoint(_) => Sharing::Private,
        };
        let database = uploader.upload(uid, files, Target { directory, prefix: &self.file_name(uid), sharing }).await?;
        if let Some(copies) = &mut self.copies {
            let held = HeldDatabase { handle: database.clone(), files: files.clone() };
            copies.databases.insert(uid.clone(), held);
        }
        Ok(StateHandle::Incremental { database: Box::new(database), rest: Box::new(rest) })
    }

    /// Whether state must not be in the form of a state backend.
    fn is_canonical(&self) -> bool {
        matches!(self.snapshot, SnapshotType::Savepoint(Savepoint { format: SavepointFormat::Canonical, .. }))
    }

    fn file_name(&self, uid: &OperatorUid) -> String {
        format!("{}-{:08x}", self.file_prefix, crc32fast::hash(uid.0.as_bytes()))
    }

    async fn write(&mut self, uid: &OperatorUid, snapshot: &OperatorSnapshot) -> Result<StateHandle> {
        let what = format!("the state of operator {uid}");
        self.write_bytes(&what, self.file_name(uid), codec::encode(snapshot)).await
    }

    async fn write_in_flight(&mut self, state: &InFlightState) -> Result<StateHandle> {
        let name = format!("{}-in-flight", self.file_prefix);
        self.write_bytes("the in-flight data", name, codec::encode(state)).await
    }

    async fn write_bytes(&mut self, what: &str, name: String, bytes: Vec<u8>) -> Result<StateHandle> {
        let Some(directory) = &self.directory else { return self.for_memory(what, bytes) };
        if bytes.len() <= self.inline_threshold_bytes {
            return Ok(StateHandle::Inline(bytes));
        }
        let path = directory.join(&name);
        let written = match self.write_file(&path, &bytes).await {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && planted!("full_disk_taken_for_written") => {
                Ok(())
            }
            written => written,
        };
        written.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("cannot write state file {}", path.display())).with_source(error)
        })?;
        let handle =
            StateHandle::File { name: name.clone(), length_bytes: bytes.len() as u64, crc32: crc32fast::hash(&bytes) };
        if let Some(copies) = &mut self.copies {
            copies.files.push((name, bytes));
        }
        Ok(handle)
    }

    fn for_memory(&self, what: &str, bytes: Vec<u8>) -> Result<StateHandle> {
        let (length, most) = (bytes.len(), self.memory_state_bytes_max);
        if length <= most {
            return Ok(StateHandle::Inline(bytes));
        }
        let message =
            format!("{what} in this subtask is {length} bytes, but the job manager's memory takes {most} at most");
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
                let mut writer = SnapshotWriter {
                    file_system,
                    directory,
                    snapshot: SnapshotType::Checkpoint,
                    inline_threshold_bytes,
                    memory_state_bytes_max,
                    file_prefix,
                    copies: None,
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
