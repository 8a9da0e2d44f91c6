//! Writes down what happens in a run: the trace and the history.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use madsim::task::NodeId;
use tidegate::{
    Timestamp, codec,
    env::sim::EPOCH_MS,
    event::Fact,
    id::CheckpointId,
    net::{DatabaseHandle, StateHandle},
    operator::{KeyedSnapshot, OperatorSnapshot},
    storage::{CheckpointMetadata, LogEntry, current_run, decode_log_entry, decode_metadata},
};
#[cfg(feature = "rocksdb")]
use tidegate::{
    backend::{download_directory, rocksdb::read_files},
    config::StateBackend,
    id::OperatorUid,
    storage::shared_beside,
};

use crate::{
    fault::FaultKind,
    history::{CompletedCapture, Disposal, FactRecord, FileRecord, FileRecordKind, Run},
    trace::{Keep, Trace},
    workload::{CHECKPOINTS, JOB_ID, OUTPUT, SAVEPOINTS},
    world::disk::{DiskEvent, DiskEventKind, SimDisk},
};

/// The recorder of one run. Shared by the nemesis and the disk's watcher.
pub(crate) struct Recorder {
    state: Mutex<Recorded>,
}

/// What was written down.
pub(crate) struct Recorded {
    pub trace: Trace,
    pub facts: Vec<FactRecord>,
    pub files: Vec<FileRecord>,
    pub completed: BTreeMap<CheckpointId, CompletedCapture>,
    pub shared_removed: Vec<(u64, String)>,
    pub job_ended: Option<u64>,
    pub runs: Vec<Run>,
    /// Savepoints by their directories.
    pub savepoints: BTreeMap<PathBuf, CompletedCapture>,
    pub drained: Option<CheckpointId>,
    /// Whether somebody asked for a drain, whatever came of it.
    pub drain_asked: bool,
    /// The savepoints that were begun, with what was asked for.
    pub savepoints_begun: BTreeMap<CheckpointId, FaultKind>,
    /// What the operator was told of savepoints that came to nothing.
    pub refused: Vec<String>,
    /// What each submission of the job is to start from, as its operator named it.
    pub named: BTreeMap<u64, PathBuf>,
    /// The savepoints that somebody wanted to be disposed of.
    pub disposals: BTreeMap<PathBuf, Disposal>,
    pub disturbed_at: Timestamp,
    /// What the job manager was asked for last.
    ordered: Option<FaultKind>,
    sequence: u64,
    nodes: BTreeMap<NodeId, Arc<str>>,
}

impl Recorded {
    fn new(keep: Keep) -> Self {
        Self {
            trace: Trace::new(keep),
            facts: Vec::new(),
            files: Vec::new(),
            completed: BTreeMap::new(),
            shared_removed: Vec::new(),
            job_ended: None,
            runs: vec![Run::default()],
            savepoints: BTreeMap::new(),
            drained: None,
            drain_asked: false,
            savepoints_begun: BTreeMap::new(),
            refused: Vec::new(),
            named: BTreeMap::new(),
            disposals: BTreeMap::new(),
            ordered: None,
            disturbed_at: Timestamp(EPOCH_MS),
            sequence: 0,
            nodes: BTreeMap::new(),
        }
    }
}

impl Recorder {
    pub(crate) fn new(keep: Keep) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(Recorded::new(keep)) })
    }

    /// Everything that was written down; the recorder is empty after it.
    pub(crate) fn take(&self) -> Recorded {
        std::mem::replace(&mut *self.state(), Recorded::new(Keep::Hash))
    }

    fn state(&self) -> MutexGuard<'_, Recorded> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_node(&self, name: &str, id: NodeId) {
        self.state().nodes.insert(id, name.into());
    }

    /// A fault struck or was undone now.
    pub(crate) fn disturbed(&self) {
        self.state().disturbed_at = now();
    }

    /// This is asked of the job manager.
    pub(crate) fn ordered(&self, kind: FaultKind) {
        let mut state = self.state();
        state.ordered = Some(kind);
        state.drain_asked |= kind == FaultKind::Drain;
    }

    /// The operator is told why there is no savepoint.
    pub(crate) fn refused(&self, why: &str) {
        self.state().refused.push(why.to_owned());
    }

    /// The job is submitted again, to start from here.
    pub(crate) fn submitted(&self, submission: u64, from: &Path) {
        self.state().named.insert(submission, from.to_owned());
    }

    /// Somebody wants a savepoint to be disposed of, or has got that, or was refused it.
    pub(crate) fn disposal(&self, savepoint: &Path, disposal: Option<Disposal>) {
        let mut state = self.state();
        match disposal {
            Some(disposal) => state.disposals.insert(savepoint.to_owned(), disposal),
            None => state.disposals.remove(savepoint),
        };
    }

    /// The checkpoints that the current run has completed, oldest first.
    pub(crate) fn completed_in_run(&self) -> Vec<CheckpointId> {
        let state = self.state();
        let since = state.runs.last().map_or(0, |run| run.sequence);
        let completed = state.completed.iter().filter(|(_, capture)| capture.sequence > since);
        completed.map(|(checkpoint_id, _)| *checkpoint_id).collect()
    }

    /// An event of the laboratory itself.
    pub(crate) fn note(&self, text: &str) {
        self.state().trace.append(elapsed_ns(), &text);
    }

    pub(crate) fn fact(&self, fact: &Fact<'_>) {
        let mut state = self.state();
        state.trace.append(elapsed_ns(), fact);
        state.sequence += 1;
        let record = FactRecord {
            sequence: state.sequence,
            at: now(),
            node: fact.subject.node.clone(),
            subtask: fact.subject.subtask.clone(),
            step: fact.step,
            moment: fact.moment,
            checkpoint_id: fact.checkpoint_id,
            attempt: fact.attempt,
            detail: fact.detail.to_owned(),
        };
        state.facts.push(record);
    }

    /// After a power loss: a checkpoint whose log entry did not survive was never completed.
    pub(crate) fn forget_what_was_lost(&self, disk: &SimDisk) {
        let log = job_directory().join("ha");
        let files = disk.visible_view();
        let entries = files.keys().filter(|path| path.starts_with(&log)).filter_map(|path| entry_at(disk, path));
        let survived: Vec<LogEntry> = entries.collect();
        let mut state = self.state();
        let submissions: Vec<u64> = survived.iter().filter_map(submission).collect();
        // Only the first run begins without an entry.
        state.runs.retain(|run| run.from.is_none() || run.submission.is_some_and(|it| submissions.contains(&it)));
        if !current_run(&survived).iter().any(|entry| entry.job_end().is_some()) {
            state.job_ended = None;
            if let Some(run) = state.runs.last_mut() {
                run.ended = None;
            }
        }
        let survived: Vec<CheckpointId> = survived.iter().filter_map(LogEntry::completed).collect();
        state.completed.retain(|checkpoint_id, _| survived.contains(checkpoint_id));
        state.drained = state.drained.filter(|drained| survived.contains(drained));
    }

    /// The savepoints and completed checkpoints that are there now, by their directories.
    pub(crate) fn look_again(&self, disk: &SimDisk) -> BTreeMap<PathBuf, CompletedCapture> {
        let state = self.state();
        let completed = state.completed.keys().map(|checkpoint_id| directory_of(*checkpoint_id));
        let known = completed.chain(state.savepoints.keys().cloned()).filter(|directory| is_there(disk, directory));
        known.map(|directory| (directory.clone(), capture(disk, state.sequence, &directory))).collect()
    }

    /// Something became visible on the disk.
    pub(crate) fn disk(&self, disk: &SimDisk, event: &DiskEvent) {
        let kind = match &event.kind {
            DiskEventKind::Created => FileRecordKind::Created,
            DiskEventKind::Renamed { from } | DiskEventKind::Published { from } => {
                FileRecordKind::Named { from: from.clone() }
            }
            DiskEventKind::Removed => FileRecordKind::Removed,
            DiskEventKind::DirectoryCreated | DiskEventKind::Synced | DiskEventKind::DirectorySynced => return,
        };
        let mut state = self.state();
        state.trace.append(elapsed_ns(), &format_args!("disk {kind:?} {}", event.path.display()));
        state.sequence += 1;
        let sequence = state.sequence;
        if matches!(kind, FileRecordKind::Named { .. })
            && let Some(entry) = entry_at(disk, &event.path)
        {
            if let Some(checkpoint_id) = entry.completed() {
                let directory = match &entry {
                    LogEntry::CompletedSavepoint { directory, .. } => PathBuf::from(directory),
                    _ => directory_of(checkpoint_id),
                };
                // A log entry that a power loss took back may be published again: the newer one counts.
                state.completed.insert(checkpoint_id, capture(disk, sequence, &directory));
                if matches!(entry, LogEntry::CompletedSavepoint { .. }) && state.ordered == Some(FaultKind::Drain) {
                    // Who did not hear that it is complete asks again: the data had ended with the first one.
                    state.drained.get_or_insert(checkpoint_id);
                }
            }
            if let (LogEntry::SavepointBegun { checkpoint_id, .. }, Some(ordered)) = (&entry, state.ordered) {
                state.savepoints_begun.insert(*checkpoint_id, ordered);
            }
            if let LogEntry::Restored { from, submission, .. } = &entry {
                let run = Run { sequence, from: Some(from.clone()), submission: Some(*submission), ..Run::default() };
                state.runs.push(run);
                (state.job_ended, state.drained) = (None, None);
            }
            if let Some(end) = entry.job_end() {
                state.job_ended = Some(sequence);
                let there = state.completed.keys().copied().filter(|id| is_there(disk, &directory_of(*id))).collect();
                if let Some(run) = state.runs.last_mut() {
                    (run.ended, run.there_at_end) = (Some((sequence, end)), there);
                }
            }
        }
        if matches!(kind, FileRecordKind::Named { .. })
            && event.path.starts_with(SAVEPOINTS)
            && event.path.ends_with("_metadata")
            && let Some(directory) = event.path.parent()
        {
            let drains = state.ordered == Some(FaultKind::Drain);
            let capture = CompletedCapture { drains, ..capture(disk, sequence, directory) };
            state.savepoints.insert(directory.to_owned(), capture);
        }
        if matches!(kind, FileRecordKind::Removed) && event.path.parent() == Some(&job_directory().join("shared")) {
            let name = event.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            state.shared_removed.push((sequence, name));
        }
        if event.path.starts_with(OUTPUT) {
            let node = state.nodes.get(&event.node).cloned();
            state.files.push(FileRecord { sequence, at: now(), node, path: event.path.clone(), kind });
        }
    }
}

fn now() -> Timestamp {
    Timestamp(EPOCH_MS).saturating_add(madsim::time::TimeHandle::current().elapsed())
}

fn elapsed_ns() -> u128 {
    madsim::time::TimeHandle::current().elapsed().as_nanos()
}

fn job_directory() -> PathBuf {
    Path::new(CHECKPOINTS).join(JOB_ID)
}

/// The entry of the leader's log in this file, if it is one.
fn entry_at(disk: &SimDisk, path: &Path) -> Option<LogEntry> {
    if path.parent() != Some(&job_directory().join("ha")) {
        return None;
    }
    decode_log_entry(path, &disk.visible_file(path)?).ok()
}

/// The directory of a checkpoint.
pub(crate) fn directory_of(checkpoint_id: CheckpointId) -> PathBuf {
    job_directory().join(format!("chk-{checkpoint_id}"))
}

/// Whether there is a whole checkpoint or savepoint in a directory.
pub(crate) fn is_there(disk: &SimDisk, directory: &Path) -> bool {
    disk.visible_file(&directory.join("_metadata")).is_some()
}

fn submission(entry: &LogEntry) -> Option<u64> {
    match entry {
        LogEntry::Restored { submission, .. } => Some(*submission),
        _ => None,
    }
}

/// Reads a completed checkpoint or savepoint as a restore would, now.
pub(crate) fn capture(disk: &SimDisk, sequence: u64, directory: &Path) -> CompletedCapture {
    let path = directory.join("_metadata");
    let metadata: Result<CheckpointMetadata, String> = disk
        .visible_file(&path)
        .ok_or_else(|| format!("{} does not exist", path.display()))
        .and_then(|bytes| decode_metadata(&path, &bytes).map_err(|error| error.to_string()));
    let mut state = BTreeMap::new();
    for (subtask, operators) in metadata.iter().flat_map(|metadata| &metadata.subtasks) {
        let kept = operators.iter().filter(|(_, handle)| **handle != StateHandle::Finished);
        let read = kept.map(|(uid, handle)| (uid.clone(), read_state(disk, directory, handle))).collect();
        state.insert(*subtask, read);
    }
    let in_flight = metadata.iter().flat_map(|metadata| &metadata.in_flight);
    let read = |handle| {
        let bytes = read_bytes(disk, directory, handle)?;
        codec::decode(&bytes).map_err(|error| error.to_string())
    };
    let in_flight = in_flight.map(|(subtask, handle)| (*subtask, read(handle))).collect();
    CompletedCapture { sequence, metadata, state, in_flight, drains: false }
}

fn read_bytes(disk: &SimDisk, directory: &Path, handle: &StateHandle) -> Result<Vec<u8>, String> {
    match handle {
        StateHandle::Incremental { .. } => Err("files of a database are not read as one".to_owned()),
        StateHandle::Finished => Err("it has finished, and kept nothing".to_owned()),
        StateHandle::Inline(bytes) => Ok(bytes.clone()),
        StateHandle::File { name, .. } => {
            let path = directory.join(name);
            disk.visible_file(&path).ok_or_else(|| format!("{} does not exist", path.display()))
        }
    }
}

fn read_state(disk: &SimDisk, directory: &Path, handle: &StateHandle) -> Result<OperatorSnapshot, String> {
    if let StateHandle::Incremental { database, rest } = handle {
        let mut snapshot = read_state(disk, directory, rest)?;
        snapshot.keyed.append(&mut read_database(disk, directory, database)?);
        return Ok(snapshot);
    }
    let bytes = read_bytes(disk, directory, handle)?;
    codec::decode(&bytes).map_err(|error| error.to_string())
}

/// Reads the state in the files of a database, as a restore would: from copies on the machine's own disk.
#[cfg(feature = "rocksdb")]
fn read_database(disk: &SimDisk, directory: &Path, database: &DatabaseHandle) -> Result<KeyedSnapshot, String> {
    let (uid, said) = (OperatorUid("recorder".to_owned()), |error: tidegate::Error| error.to_string());
    let backend = StateBackend::default();
    let copies = download_directory(&backend, &uid, database.key_groups).map_err(|error| error.to_string())?;
    let shared = shared_beside(directory);
    for (from, files) in [(shared.as_path(), &database.shared), (directory, &database.private)] {
        for (name, file) in files {
            let path = from.join(&file.name);
            let bytes = disk.visible_file(&path).ok_or_else(|| format!("{} does not exist", path.display()))?;
            if !file.is_of(&bytes) {
                return Err(format!("{} is damaged", path.display()));
            }
            std::fs::write(copies.path().join(name), bytes).map_err(|error| error.to_string())?;
        }
    }
    read_files(copies.path(), &database.states).map_err(said)
}

#[cfg(not(feature = "rocksdb"))]
fn read_database(_: &SimDisk, _: &Path, _: &DatabaseHandle) -> Result<KeyedSnapshot, String> {
    Err("this laboratory was built without RocksDB".to_owned())
}
