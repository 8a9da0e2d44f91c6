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
    storage::{CheckpointMetadata, LogEntry, decode_log_entry, decode_metadata},
};
#[cfg(feature = "rocksdb")]
use tidegate::{
    backend::{download_directory, rocksdb::read_files},
    config::StateBackend,
    id::OperatorUid,
    storage::shared_beside,
};

use crate::{
    history::{CompletedCapture, FactRecord, FileRecord, FileRecordKind},
    trace::{Keep, Trace},
    workload::{CHECKPOINTS, JOB_ID, OUTPUT},
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
    pub disturbed_at: Timestamp,
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
        let survived: Vec<CheckpointId> = disk
            .visible_view()
            .keys()
            .filter(|path| path.starts_with(&log))
            .filter_map(|path| completed_by(disk, path))
            .collect();
        self.state().completed.retain(|checkpoint_id, _| survived.contains(checkpoint_id));
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
            && let Some(checkpoint_id) = completed_by(disk, &event.path)
        {
            // A log entry that a power loss took back may be published again: the newer one counts.
            state.completed.insert(checkpoint_id, capture(disk, sequence, checkpoint_id));
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

/// The checkpoint that this entry of the leader's log completes, if it is one.
fn completed_by(disk: &SimDisk, path: &Path) -> Option<CheckpointId> {
    if path.parent() != Some(&job_directory().join("ha")) {
        return None;
    }
    match decode_log_entry(path, &disk.visible_file(path)?) {
        Ok(LogEntry::Completed { checkpoint_id, .. }) => Some(checkpoint_id),
        Ok(LogEntry::Takeover { .. } | LogEntry::Finished { .. }) | Err(_) => None,
    }
}

/// Reads a completed checkpoint as a restore would, now.
fn capture(disk: &SimDisk, sequence: u64, checkpoint_id: CheckpointId) -> CompletedCapture {
    let directory = job_directory().join(format!("chk-{checkpoint_id}"));
    let path = directory.join("_metadata");
    let metadata: Result<CheckpointMetadata, String> = disk
        .visible_file(&path)
        .ok_or_else(|| format!("{} does not exist", path.display()))
        .and_then(|bytes| decode_metadata(&path, &bytes).map_err(|error| error.to_string()));
    let mut state = BTreeMap::new();
    for (subtask, operators) in metadata.iter().flat_map(|metadata| &metadata.subtasks) {
        let read = operators.iter().map(|(uid, handle)| (uid.clone(), read_state(disk, &directory, handle))).collect();
        state.insert(*subtask, read);
    }
    CompletedCapture { sequence, metadata, state }
}

fn read_state(disk: &SimDisk, directory: &Path, handle: &StateHandle) -> Result<OperatorSnapshot, String> {
    let bytes = match handle {
        StateHandle::Incremental { database, rest } => {
            let mut snapshot = read_state(disk, directory, rest)?;
            snapshot.keyed.append(&mut read_database(disk, directory, database)?);
            return Ok(snapshot);
        }
        StateHandle::Inline(bytes) => bytes.clone(),
        StateHandle::File { name, .. } => {
            let path = directory.join(name);
            disk.visible_file(&path).ok_or_else(|| format!("{} does not exist", path.display()))?
        }
    };
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
