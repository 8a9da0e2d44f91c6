//! Copies of state files on the task manager's own disk, so that a subtask that starts there again need not fetch them.
//!
//! ```text
//!   acknowledged(n) ──► copy written ──┬─► completed(n): the copies of older checkpoints are removed
//!                                      └─► aborted(n):   it is removed
//!   restored(n): all other copies are removed            job over: all are
//! ```
//! A copy is a convenience. Guarantees: nothing waits for one to be written, and no checkpoint or restore fails because of
//! one; bytes of a copy are used only if they have the length and the checksum that the checkpoint's metadata says, so a
//! copy that is torn, rotten, or of other bytes under the same name is never restored. Copies are not synced: one that a
//! loss of power took is fetched from the storage. One that a process left behind which was killed is used by the next one
//! of the same name on that machine, as with Flink's `process.taskmanager.working-dir`.
//!
//! The files of a database (incremental RocksDB) are not written once more: the database has linked them into a directory of
//! the snapshot, which nobody changes, and that directory is held for as long as a copy would be. It goes with the process.
//!
//! Flink: `TaskExecutorLocalStateStoresManager`, `TaskLocalStateStoreImpl`, `IncrementalLocalKeyedStateHandle`. Below each
//! directory that is configured lies `tm_<task manager>/jid_<job>/vtx_<vertex>_sti_<subtask>/chk_<checkpoint>/<state file>`,
//! the file under the name that it has in the checkpoint: that holds the attempt and the operator (FLINK-12296).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::pieces::Pieces;
use crate::{
    config::LocalRecovery,
    event::Step,
    id::{CheckpointId, OperatorUid, SubtaskId, TaskManagerId},
    net::DatabaseHandle,
    planted,
    state::DatabaseFiles,
    storage::{FileSystem, SharedFileSystem, read_file},
};

/// A state file, by the name that it has in its checkpoint.
pub(super) type StateFile = (String, Vec<u8>);

/// The files of a database as a snapshot left them, and what its checkpoint says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldDatabase {
    pub(super) handle: DatabaseHandle,
    pub(super) files: DatabaseFiles,
}

/// What a subtask has kept for a checkpoint, and keeps where it is as well.
#[derive(Debug, Default)]
pub(super) struct Copies {
    pub(super) files: Vec<StateFile>,
    pub(super) databases: BTreeMap<OperatorUid, HeldDatabase>,
}

/// The databases that are held for a subtask.
type HeldDatabases = BTreeMap<CheckpointId, BTreeMap<OperatorUid, HeldDatabase>>;

/// The copies of one job on one task manager.
#[derive(Clone)]
pub struct LocalStateStores {
    disk: SharedFileSystem,
    /// The directories of the job; a checkpoint lies in one of them.
    directories: Vec<PathBuf>,
    wanted: LocalRecovery,
    /// Of all subtasks, by the names of their directories.
    databases: Arc<Mutex<BTreeMap<String, HeldDatabases>>>,
    /// The job is over: nothing may stay behind.
    over: Arc<AtomicBool>,
}

impl LocalStateStores {
    /// The copies of the job that keeps its checkpoints in this directory; `None` if it wants none.
    pub fn of_job(
        wanted: &LocalRecovery,
        disk: SharedFileSystem,
        task_manager: &TaskManagerId,
        checkpoints: &Path,
    ) -> Option<Self> {
        if !(wanted.backup || wanted.from_local) || checkpoints.as_os_str().is_empty() {
            return None;
        }
        // Jobs of one name with checkpoints in different places are different jobs.
        let place = crc32fast::hash(checkpoints.to_string_lossy().as_bytes());
        let name = checkpoints.file_name().unwrap_or_default().to_string_lossy();
        let below = PathBuf::from(format!("tm_{task_manager}")).join(format!("jid_{name}-{place:08x}"));
        let default = [std::env::temp_dir().join("tidegate-local-state")];
        let roots = if wanted.directories.is_empty() { &default } else { wanted.directories.as_slice() };
        let directories = roots.iter().map(|root| root.join(&below)).collect();
        Some(Self { disk, directories, wanted: wanted.clone(), databases: Arc::default(), over: Arc::default() })
    }

    /// Whether both are the copies of one job, with the same wishes.
    pub fn is_of_the_job_of(&self, other: &Self) -> bool {
        (&self.directories, &self.wanted) == (&other.directories, &other.wanted)
    }

    /// The copies of one of its subtasks.
    pub(super) fn of_subtask(&self, subtask: SubtaskId) -> LocalStateStore {
        let directory = format!("vtx_{}_sti_{}", subtask.vertex, subtask.index);
        LocalStateStore { job: self.clone(), directory, settled: Arc::default(), is_busy: Arc::default() }
    }

    /// The job is over: removes all its copies. Whoever still writes one removes it itself.
    pub async fn remove(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.databases().clear();
        for directory in &self.directories {
            self.remove_directory(directory).await;
        }
    }

    fn databases(&self) -> MutexGuard<'_, BTreeMap<String, HeldDatabases>> {
        self.databases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn remove_directory(&self, directory: &Path) {
        if let Err(error) = self.disk.remove_directory(directory).await {
            tracing::warn!(path = %directory.display(), %error, "local copies of state not removed");
        }
    }
}

/// What is known of the checkpoints of a subtask.
#[derive(Debug, Default)]
struct Settled {
    /// The newest one that is complete.
    completed: CheckpointId,
    aborted: BTreeSet<CheckpointId>,
}

impl Settled {
    fn completed(&mut self, checkpoint_id: CheckpointId) {
        self.completed = self.completed.max(checkpoint_id);
        self.aborted = self.aborted.split_off(&self.completed);
    }

    fn aborted(&mut self, checkpoint_id: CheckpointId) {
        if checkpoint_id > self.completed {
            self.aborted.insert(checkpoint_id);
        }
    }

    /// Whether a restore may ask for a copy of it.
    fn is_of_use(&self, checkpoint_id: CheckpointId) -> bool {
        checkpoint_id >= self.completed && !self.aborted.contains(&checkpoint_id)
    }
}

/// The copies of one subtask.
#[derive(Clone)]
pub(super) struct LocalStateStore {
    job: LocalStateStores,
    directory: String,
    settled: Arc<Mutex<Settled>>,
    /// A copy is being written.
    is_busy: Arc<AtomicBool>,
}

/// Why a copy is not restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoCopy {
    /// None was written here, or it is gone.
    #[error("there is no copy")]
    Missing,
    /// The disk does not give it.
    #[error("the copy cannot be read")]
    Unreadable(#[source] io::Error),
    /// It holds other bytes than the checkpoint.
    #[error("the copy is not what the checkpoint holds")]
    Differs,
}

impl LocalStateStore {
    /// Whether copies are written.
    pub(super) fn is_written(&self) -> bool {
        self.job.wanted.backup
    }

    /// Whether copies are restored from.
    pub(super) fn is_read(&self) -> bool {
        self.job.wanted.from_local
    }

    fn settled(&self) -> MutexGuard<'_, Settled> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory_of(&self, checkpoint_id: CheckpointId) -> PathBuf {
        let directories = &self.job.directories;
        if planted!("local_copies_of_all_checkpoints_in_one_place") {
            return directories[0].join(&self.directory).join("newest");
        }
        let directory = &directories[(checkpoint_id.0 % directories.len() as u64) as usize];
        directory.join(&self.directory).join(format!("chk_{checkpoint_id}"))
    }

    fn path_of(&self, checkpoint_id: CheckpointId, name: &str) -> PathBuf {
        let name = match name.rsplit_once('-') {
            _ if planted!("chained_operators_share_a_local_copy") => "state",
            Some((_, operator)) if planted!("local_copies_of_all_checkpoints_in_one_place") => operator,
            _ => name,
        };
        self.directory_of(checkpoint_id).join(name)
    }

    fn is_of_use(&self, checkpoint_id: CheckpointId) -> bool {
        !self.job.over.load(Ordering::Relaxed) && self.settled().is_of_use(checkpoint_id)
    }

    /// Keeps copies of what was acknowledged for a checkpoint, unless its fate is known by now.
    pub(super) async fn keep(&self, checkpoint_id: CheckpointId, copies: Copies) {
        if !self.is_of_use(checkpoint_id) {
            return;
        }
        let Copies { files, databases } = copies;
        if !databases.is_empty() {
            self.job.databases().entry(self.directory.clone()).or_default().insert(checkpoint_id, databases);
        }
        if files.is_empty() {
            return;
        }
        // What waits for a disk waits in memory.
        if self.is_busy.swap(true, Ordering::Relaxed) {
            tracing::warn!(%checkpoint_id, "no local copy of this checkpoint's state: that of another is being written");
            return;
        }
        let written = self.write(checkpoint_id, files).await;
        self.is_busy.store(false, Ordering::Relaxed);
        if let Err(error) = &written {
            tracing::warn!(%checkpoint_id, %error, "no local copy of this checkpoint's state");
        }
        if written.is_err() || !self.is_of_use(checkpoint_id) {
            self.discard(checkpoint_id).await;
        }
    }

    async fn write(&self, checkpoint_id: CheckpointId, copies: Vec<StateFile>) -> io::Result<()> {
        let disk = &self.job.disk;
        disk.create_directories(&self.directory_of(checkpoint_id)).await?;
        for (name, bytes) in copies {
            let path = self.path_of(checkpoint_id, &name);
            let mut file = match disk.create(&path).await {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // Somebody died while writing it.
                    disk.remove(&path).await?;
                    disk.create(&path).await?
                }
                created => created?,
            };
            file.write(&bytes).await?;
        }
        Ok(())
    }

    /// Reads the copy of a state file, if it is the one that the checkpoint's metadata describes.
    pub(super) async fn read(
        &self,
        checkpoint_id: CheckpointId,
        name: &str,
        length_bytes: u64,
        crc32: u32,
    ) -> Result<Vec<u8>, NoCopy> {
        let path = self.path_of(checkpoint_id, name);
        let bytes = read_file(self.job.disk.as_ref(), &path).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NoCopy::Missing,
            _ => NoCopy::Unreadable(error),
        })?;
        let is_right = (bytes.len() as u64, crc32fast::hash(&bytes)) == (length_bytes, crc32);
        // Two of these are about whose copy it is, which the checksum would tell.
        let unchecked = [
            planted!("local_copy_checksum_not_checked"),
            planted!("local_copies_of_all_checkpoints_in_one_place"),
            planted!("chained_operators_share_a_local_copy"),
        ];
        if is_right || unchecked.contains(&true) {
            return Ok(bytes);
        }
        Err(NoCopy::Differs)
    }

    /// The files of a database, if they are those that the checkpoint's metadata describes.
    pub(super) async fn read_database(
        &self,
        local: &dyn FileSystem,
        checkpoint_id: CheckpointId,
        uid: &OperatorUid,
        handle: &DatabaseHandle,
    ) -> Result<DatabaseFiles, NoCopy> {
        let held = {
            let all = self.job.databases();
            let of_subtask = all.get(&self.directory).ok_or(NoCopy::Missing)?;
            let of_checkpoint = if planted!("held_database_of_any_checkpoint") {
                of_subtask.values().next_back()
            } else {
                of_subtask.get(&checkpoint_id)
            };
            of_checkpoint.and_then(|databases| databases.get(uid)).ok_or(NoCopy::Missing)?.clone()
        };
        if planted!("held_database_of_any_checkpoint") {
            return Ok(held.files);
        }
        if held.handle != *handle {
            return Err(NoCopy::Differs);
        }
        for (name, expected) in handle.shared.iter().chain(&handle.private) {
            let path = held.files.directory.path().join(name);
            let mut pieces = Pieces::open(local, &path).await.map_err(NoCopy::Unreadable)?;
            while pieces.next().await.map_err(NoCopy::Unreadable)?.is_some() {}
            if pieces.digest() != (expected.length_bytes, expected.crc32) {
                return Err(NoCopy::Differs);
            }
        }
        Ok(held.files)
    }

    /// The checkpoint is complete: the copies of older ones are of no use any more.
    pub(super) fn completed(&self, checkpoint_id: CheckpointId) {
        self.settled().completed(checkpoint_id);
    }

    /// The checkpoint was given up: its copy is of no use.
    pub(super) fn aborted(&self, checkpoint_id: CheckpointId) {
        self.settled().aborted(checkpoint_id);
    }

    /// Removes the copies that are of no use any more.
    pub(super) async fn tidy_up(self) {
        self.prune(|kept| self.is_of_use(kept)).await;
    }

    /// An attempt begins with this checkpoint, or with none: removes what earlier attempts left of all others. To be called
    /// before the first checkpoint of the attempt.
    pub(super) async fn restored(&self, checkpoint_id: Option<CheckpointId>) {
        self.completed(checkpoint_id.unwrap_or_default());
        self.prune(|kept| Some(kept) == checkpoint_id).await;
    }

    async fn discard(&self, checkpoint_id: CheckpointId) {
        if let Some(databases) = self.job.databases().get_mut(&self.directory) {
            databases.remove(&checkpoint_id);
        }
        self.job.remove_directory(&self.directory_of(checkpoint_id)).await;
        if self.job.over.load(Ordering::Relaxed) {
            self.job.remove().await;
        }
    }

    async fn prune(&self, is_kept: impl Fn(CheckpointId) -> bool) {
        if let Some(databases) = self.job.databases().get_mut(&self.directory) {
            databases.retain(|kept, _| is_kept(*kept));
        }
        for directory in &self.job.directories {
            let directory = directory.join(&self.directory);
            let listed = match self.job.disk.list(&directory).await {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::warn!(path = %directory.display(), %error, "local copies of state not listed");
                    continue;
                }
            };
            for entry in listed {
                let kept = entry.name.strip_prefix("chk_").and_then(|number| number.parse().ok()).map(CheckpointId);
                if kept.is_some_and(|kept| !is_kept(kept)) {
                    self.job.remove_directory(&directory.join(entry.name)).await;
                }
            }
        }
    }
}

/// From where the state files of a subtask were read that wants local ones.
#[derive(Debug, Default)]
pub(super) struct Origins {
    local: usize,
    remote: usize,
    /// Why the first of them was read from the storage.
    why_remote: String,
}

impl Origins {
    /// A file was read from a copy.
    pub(super) fn add_local(&mut self) {
        self.local += 1;
    }

    /// A file has to be read from the storage.
    pub(super) fn add_remote(&mut self, why: &dyn fmt::Display) {
        if self.remote == 0 {
            self.why_remote = why.to_string();
        }
        self.remote += 1;
    }

    /// What there is to say about it, as steps with details.
    pub(super) fn facts(&self) -> impl Iterator<Item = (Step, String)> {
        let local = (self.local > 0).then(|| (Step::RestoreLocal, format!("{} files", self.local)));
        let remote =
            (self.remote > 0).then(|| (Step::RestoreRemote, format!("{} files: {}", self.remote, self.why_remote)));
        local.into_iter().chain(remote)
    }
}

#[cfg(test)]
mod tests;
