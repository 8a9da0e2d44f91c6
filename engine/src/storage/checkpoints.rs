//! Where the job manager keeps completed checkpoints, and how leaders exclude each other.
//!
//! ```text
//! DIR/<job>/chk-<n>/_metadata              what checkpoint n consists of, written whole or not at all
//! DIR/<job>/chk-<n>/<state files>          written by the subtasks
//! DIR/<job>/shared/<files>                 the same, of incremental checkpoints: several may refer to one
//! DIR/<job>/ha/<sequence>                  the leader's log: takeovers, completed checkpoints, the end of the job
//! DIR/<job>/lease                          with several job managers: that the leader lives
//! DIR/savepoint-<job>-<random>/            a savepoint, wherever the user wants it: `_metadata` and all state files
//! ```
//! A checkpoint is *completed* when its log entry exists, not earlier. Entries are numbered without gaps and published
//! exclusively, so of two leaders that both believe to lead, one finds its next number taken and knows that it is fenced.
//! A new leader first writes a takeover entry: from then on no older one can complete anything. It deletes only what it
//! created or found, and its checkpoints get ids that no leader used before, so one that was fenced and does not know it
//! yet deletes nothing of its successors.

mod log_entry;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use log_entry::{LogEntry, RestoredFrom};

use super::{
    EntryKind, SharedFileSystem, Sweep, parent, read_file,
    shared_files::{self, shared_of_job},
};
use crate::{
    checkpoint::retention::JobEnd,
    codec,
    error::{Error, ErrorKind, Result},
    id::{Attempt, CheckpointId, Epoch, OperatorUid, SubtaskId},
    net::StateHandle,
    planted,
    time::Timestamp,
};

/// What a completed checkpoint consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMetadata {
    /// Which.
    pub checkpoint_id: CheckpointId,
    /// The attempt that took it.
    pub attempt: Attempt,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// Number of key groups of the job.
    pub max_parallelism: u32,
    /// Where the state of each operator of each subtask is; of those that had finished, that they had.
    pub subtasks: BTreeMap<SubtaskId, BTreeMap<OperatorUid, StateHandle>>,
    /// The operators of which every subtask restores the lists of all (union state).
    pub union: BTreeSet<OperatorUid>,
    /// Where the data is that was under way at each subtask, where any was (unaligned checkpoints).
    pub in_flight: BTreeMap<SubtaskId, StateHandle>,
}

/// What a job manager does that finds another one taking the leadership at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rival {
    /// It takes the leadership from it: somebody has started the job a second time.
    Outbid,
    /// It leaves it the leadership: both are there for one job, and two that outbid each other would both begin it.
    YieldTo,
}

/// What a new leader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// Its epoch.
    pub epoch: Epoch,
    /// The newest completed checkpoint.
    pub latest_completed: Option<CheckpointId>,
    /// The completed checkpoints that are still there, oldest first.
    pub retained: Vec<CheckpointId>,
    /// Where the newest one is, if it is a savepoint that the job was to stop with.
    pub savepoint: Option<PathBuf>,
    /// Directories of checkpoints that no leader completed, nor can any more: to be deleted.
    pub abandoned: Vec<CheckpointId>,
    /// Savepoints that no leader can bring to their end any more, with their directories: to be deleted.
    pub abandoned_savepoints: Vec<(CheckpointId, PathBuf)>,
    /// A checkpoint id that nobody has used.
    pub next_checkpoint_id: CheckpointId,
    /// Completed checkpoints of earlier runs that are still there: the user's.
    pub kept: Vec<CheckpointId>,
    /// What the run starts from, unless it has a checkpoint of its own.
    pub restored: Option<RestoredFrom>,
    /// How the job has ended, if it has.
    pub ended: Option<JobEnd>,
    /// The submission that began the run, if it did not begin with the first one.
    pub submission: Option<u64>,
    /// Whether there is a directory of files that checkpoints share.
    pub shares_files: bool,
}

/// The checkpoints of one job on a file system that all processes reach.
pub struct CheckpointStore {
    file_system: SharedFileSystem,
    directory: PathBuf,
    next_sequence: u64,
    epoch: Epoch,
    /// The checkpoints that this leader created or found: what it may delete.
    own: BTreeSet<CheckpointId>,
}

const METADATA: &str = "_metadata";
const MAGIC: &[u8; 4] = b"TGCP";
/// Of everything that a checkpoint consists of, the encoding of the state included. Version 1 had no watermarks and no
/// incremental state, version 2 neither savepoints nor data under way.
const FORMAT_VERSION: u8 = 3;

impl CheckpointStore {
    /// Opens the directory of a job and takes the leadership: from now on every older leader is fenced. The epoch is higher
    /// than that of every older leader, and than `after`: the one in which a checkpoint from elsewhere was taken.
    ///
    /// # Errors
    /// If the directory cannot be read or written, or an entry of the log is damaged. [`ErrorKind::Fenced`] if a rival to
    /// yield to was quicker.
    pub async fn take_over(
        file_system: SharedFileSystem,
        directory: PathBuf,
        token: u64,
        after: Epoch,
        rival: Rival,
    ) -> Result<(Self, Takeover)> {
        let log = directory.join("ha");
        file_system.create_directories(&log).await.map_err(|error| failed("create", &log, error))?;
        let mut store =
            Self { file_system, directory, next_sequence: 0, epoch: Epoch::default(), own: BTreeSet::new() };
        loop {
            let entries = read_log(&store.file_system, &store.directory).await?;
            store.next_sequence = entries.len() as u64;
            store.epoch = entries.iter().map(LogEntry::epoch).fold(after, Epoch::max).next();
            let found = store.found(&entries).await?;
            let next_checkpoint_id = found.next_checkpoint_id;
            let entry = LogEntry::Takeover { epoch: store.epoch, token, next_checkpoint_id };
            let appended = if planted!("takeover_not_in_the_log") { Ok(()) } else { store.append(&entry).await };
            match appended {
                Ok(()) => {
                    store.own.extend(found.retained.iter().chain(&found.abandoned));
                    return Ok((store, found));
                }
                Err(error) if error.kind() == ErrorKind::Fenced && rival == Rival::Outbid => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn found(&self, entries: &[LogEntry]) -> Result<Takeover> {
        let names =
            self.file_system.list(&self.directory).await.map_err(|error| failed("list", &self.directory, error))?;
        let directories = names.iter().filter(|entry| entry.kind == EntryKind::Directory);
        let numbers: Vec<u64> = directories.filter_map(|entry| entry.name.strip_prefix("chk-")?.parse().ok()).collect();
        // A savepoint has a directory elsewhere: what lies under its number here is of a leader that was fenced.
        let completed_here = |entry: &LogEntry| match entry {
            LogEntry::Completed { checkpoint_id, .. } => Some(*checkpoint_id),
            LogEntry::Takeover { .. }
            | LogEntry::CompletedSavepoint { .. }
            | LogEntry::SavepointBegun { .. }
            | LogEntry::Finished { .. }
            | LogEntry::Ended { .. }
            | LogEntry::Restored { .. } => None,
        };
        let ever_completed: BTreeSet<CheckpointId> = entries.iter().filter_map(completed_here).collect();
        let run = current_run(entries);
        let completed: Vec<CheckpointId> = run.iter().filter_map(LogEntry::completed).collect();
        let completed =
            if planted!("newest_checkpoint_chosen_by_the_clock") { self.by_clock(completed).await } else { completed };
        let (restored, submission) = match run.first() {
            Some(LogEntry::Restored { from, submission, .. }) => (Some(from.clone()), Some(*submission)),
            Some(_) | None => (None, None),
        };
        let latest_completed = if planted!("recovery_uses_the_checkpoint_before_the_newest") && completed.len() > 1 {
            completed.get(completed.len() - 2).copied()
        } else {
            completed.last().copied()
        };
        let used = entries.iter().map(|entry| match entry {
            LogEntry::Takeover { next_checkpoint_id, .. } => next_checkpoint_id.0.saturating_sub(1),
            LogEntry::Completed { checkpoint_id, .. }
            | LogEntry::CompletedSavepoint { checkpoint_id, .. }
            | LogEntry::SavepointBegun { checkpoint_id, .. } => checkpoint_id.0,
            LogEntry::Restored { from, .. } => from.checkpoint_id.0,
            LogEntry::Finished { .. } | LogEntry::Ended { .. } => 0,
        });
        let savepoint = entries.iter().rev().find_map(|entry| match entry {
            LogEntry::CompletedSavepoint { checkpoint_id, directory, .. } => {
                (Some(*checkpoint_id) == latest_completed).then_some(directory)
            }
            LogEntry::Takeover { .. }
            | LogEntry::Completed { .. }
            | LogEntry::SavepointBegun { .. }
            | LogEntry::Finished { .. }
            | LogEntry::Ended { .. }
            | LogEntry::Restored { .. } => None,
        });
        let highest = match planted!("numbers_of_given_up_checkpoints_used_again") {
            true => completed.iter().map(|checkpoint_id| checkpoint_id.0).max().unwrap_or(0),
            false => used.chain(numbers.iter().copied()).max().unwrap_or(0),
        };
        let there: BTreeSet<CheckpointId> = numbers.iter().copied().map(CheckpointId).collect();
        let completed_by_any = |id: &CheckpointId| match planted!("checkpoints_of_earlier_runs_taken_for_abandoned") {
            true => completed.contains(id),
            false => ever_completed.contains(id),
        };
        let abandoned = there.iter().copied().filter(|id| !completed_by_any(id)).collect();
        let kept = there.iter().copied().filter(|id| ever_completed.contains(id) && !completed.contains(id)).collect();
        Ok(Takeover {
            epoch: self.epoch,
            latest_completed,
            retained: completed
                .iter()
                .copied()
                .filter(|id| Some(*id) == latest_completed || there.contains(id) && ever_completed.contains(id))
                .filter(|id| Some(*id) <= latest_completed)
                .collect(),
            abandoned,
            abandoned_savepoints: self.half_savepoints(entries).await?,
            next_checkpoint_id: CheckpointId(highest + 1),
            savepoint: savepoint.cloned().map(PathBuf::from),
            kept,
            restored,
            ended: run.iter().rev().find_map(LogEntry::job_end),
            submission,
            shares_files: names.iter().any(|entry| shared_files::is_shared(&entry.name)),
        })
    }

    /// The savepoints that were begun and are not whole.
    async fn half_savepoints(&self, entries: &[LogEntry]) -> Result<Vec<(CheckpointId, PathBuf)>> {
        let mut half = Vec::new();
        for entry in entries {
            let LogEntry::SavepointBegun { checkpoint_id, directory, .. } = entry else { continue };
            let directory = PathBuf::from(directory);
            let there = async |path: &Path| {
                self.file_system.exists(path).await.map_err(|error| failed("look for", path, error))
            };
            if there(&directory).await? && !there(&directory.join(METADATA)).await? {
                half.push((*checkpoint_id, directory));
            }
        }
        Ok(half)
    }

    /// The planted mistake: checkpoints in the order of the clocks of those who triggered them.
    async fn by_clock(&self, completed: Vec<CheckpointId>) -> Vec<CheckpointId> {
        let mut timed = Vec::new();
        for checkpoint_id in completed {
            let read = read_metadata(&self.file_system, &self.checkpoint_directory(checkpoint_id)).await;
            timed.push((read.map(|metadata| metadata.triggered_at).unwrap_or_default(), checkpoint_id));
        }
        timed.sort();
        timed.into_iter().map(|(_, checkpoint_id)| checkpoint_id).collect()
    }

    /// Appends to the log, or finds that a newer leader has taken over ([`ErrorKind::Fenced`]).
    async fn append(&mut self, entry: &LogEntry) -> Result<()> {
        let log = self.directory.join("ha");
        let path = log.join(entry_name(self.next_sequence));
        let token = match entry {
            LogEntry::Takeover { token, .. } => *token,
            LogEntry::Completed { .. }
            | LogEntry::CompletedSavepoint { .. }
            | LogEntry::SavepointBegun { .. }
            | LogEntry::Finished { .. }
            | LogEntry::Ended { .. }
            | LogEntry::Restored { .. } => 0,
        };
        let temporary = log.join(format!(".{}-{}-{token:016x}", entry_name(self.next_sequence), self.epoch));
        let published = super::publish_file(self.file_system.as_ref(), &temporary, &path, &seal(entry)).await;
        match published {
            Ok(()) => {
                self.next_sequence += 1;
                Ok(())
            }
            // Someone has the number: ourselves, if an earlier try took effect without our knowing.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let bytes = read_file(self.file_system.as_ref(), &path).await;
                // As long as the entry cannot be read it may be ours: to say "not stored" would delete what it names.
                let bytes = bytes.map_err(|error| failed("read", &path, error).into_unknown())?;
                if unseal::<LogEntry>(&path, &bytes)? == *entry && !planted!("own_entry_taken_for_another_leader_s") {
                    self.next_sequence += 1;
                    return Ok(());
                }
                if planted!("older_leader_completes_after_a_takeover") {
                    self.next_sequence += 1;
                    return Box::pin(self.append(entry)).await;
                }
                Err(fenced())
            }
            Err(error) if planted!("unknown_outcome_of_completion_taken_for_failure") => {
                Err(failed("publish", &path, error))
            }
            Err(error) => Err(failed("publish", &path, error).into_unknown()),
        }
    }

    /// The directory of the job: its checkpoints, its log, and what they share.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory of a checkpoint.
    pub fn checkpoint_directory(&self, checkpoint_id: CheckpointId) -> PathBuf {
        self.directory.join(format!("chk-{checkpoint_id}"))
    }

    /// Takes a checkpoint for its own that the job has claimed.
    pub fn adopt(&mut self, checkpoint_id: CheckpointId) {
        self.own.insert(checkpoint_id);
    }

    /// Creates the directory of a new checkpoint. That it did not exist makes the id ours alone.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] if a newer leader has taken over.
    pub async fn prepare(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        let directory = self.checkpoint_directory(checkpoint_id);
        if let Err(error) = self.file_system.create_directory(&directory).await {
            self.check_leadership().await?;
            return Err(failed("create", &directory, error));
        }
        self.own.insert(checkpoint_id);
        let synced = self.file_system.sync_directory(&self.directory).await;
        synced.map_err(|error| failed("sync the names in", &self.directory, error))
    }

    /// Writes `_metadata`: whole and durable, but not yet a completed checkpoint.
    pub async fn write_metadata(&self, metadata: &CheckpointMetadata) -> Result<()> {
        write_metadata(&self.file_system, &self.checkpoint_directory(metadata.checkpoint_id), metadata).await
    }

    /// Makes the checkpoint the newest completed one.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] if this is not the leader any more; [`ErrorKind::Unknown`] if it may or may not have happened.
    pub async fn complete(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        self.append(&LogEntry::Completed { epoch: self.epoch, checkpoint_id }).await
    }

    /// As [`complete`](Self::complete), of the savepoint in this directory, with which the job stops.
    ///
    /// # Errors
    /// The same.
    pub async fn complete_savepoint(&mut self, checkpoint_id: CheckpointId, directory: &Path) -> Result<()> {
        let directory = directory.to_string_lossy().into_owned();
        self.append(&LogEntry::CompletedSavepoint { epoch: self.epoch, checkpoint_id, directory }).await
    }

    /// Notes that a savepoint is begun in this directory, so that a later leader can delete what is left of it.
    ///
    /// # Errors
    /// As of [`complete`](Self::complete).
    pub async fn begin_savepoint(&mut self, checkpoint_id: CheckpointId, directory: &Path) -> Result<()> {
        let directory = directory.to_string_lossy().into_owned();
        self.append(&LogEntry::SavepointBegun { epoch: self.epoch, checkpoint_id, directory }).await
    }

    /// Notes how the job has ended.
    pub async fn end(&mut self, end: JobEnd) -> Result<()> {
        let epoch = self.epoch;
        let entry = match end {
            JobEnd::Finished => LogEntry::Finished { epoch },
            JobEnd::Cancelled | JobEnd::Failed | JobEnd::Suspended => LogEntry::Ended { epoch, end },
        };
        self.append(&entry).await
    }

    /// Notes that a new run begins, from this checkpoint or savepoint: what earlier runs left belongs to the user.
    pub async fn begin_run(&mut self, found: &mut Takeover, from: RestoredFrom, submission: u64) -> Result<()> {
        let mut kept = Vec::new();
        for checkpoint_id in &found.retained {
            // The newest one of the run before may be a savepoint, which lies elsewhere, or was deleted when that run ended.
            let directory = self.checkpoint_directory(*checkpoint_id);
            let there =
                self.file_system.exists(&directory).await.map_err(|error| failed("look for", &directory, error))?;
            if there && !found.abandoned.contains(checkpoint_id) {
                kept.push(*checkpoint_id);
            }
        }
        let epoch = self.epoch;
        self.append(&LogEntry::Restored { epoch, from: from.clone(), submission }).await?;
        self.own.retain(|checkpoint_id| !found.retained.contains(checkpoint_id));
        if planted!("newer_checkpoints_go_when_an_older_one_is_restored") {
            found.abandoned.extend(kept.extract_if(.., |checkpoint_id| *checkpoint_id > from.checkpoint_id));
            self.own.extend(&found.abandoned);
        }
        found.retained.clear();
        found.kept.append(&mut kept);
        found.next_checkpoint_id = found.next_checkpoint_id.max(from.checkpoint_id.next());
        found.latest_completed = None;
        found.savepoint = None;
        found.ended = None;
        found.restored = Some(from);
        found.submission = Some(submission);
        Ok(())
    }

    /// Reads what a checkpoint consists of.
    pub async fn read_metadata(&self, checkpoint_id: CheckpointId) -> Result<CheckpointMetadata> {
        let read = read_metadata(&self.file_system, &self.checkpoint_directory(checkpoint_id)).await;
        if read.is_err() {
            self.check_leadership().await?;
        }
        read
    }

    /// Whether the log ends with an entry that this leader knows, as far as can be told.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] if a newer leader has taken over.
    pub async fn check_leadership(&self) -> Result<()> {
        let next = self.directory.join("ha").join(entry_name(self.next_sequence));
        match self.file_system.exists(&next).await {
            Ok(true) => Err(fenced()),
            // Whoever asks has an error of its own to report.
            Ok(false) | Err(_) => Ok(()),
        }
    }

    /// Deletes a checkpoint: metadata first, so that nothing half deleted looks whole. What this leader neither created nor
    /// found belongs to another one, and stays.
    pub async fn discard(&self, checkpoint_id: CheckpointId) -> Result<()> {
        if !self.own.contains(&checkpoint_id) {
            return Ok(());
        }
        discard(&self.file_system, &self.checkpoint_directory(checkpoint_id)).await
    }

    /// Deletes shared files, by their names.
    ///
    /// # Errors
    /// If the file system refuses one of them: those behind it are still there.
    pub async fn discard_shared(&self, names: &[String]) -> Result<()> {
        let directory = shared_of_job(&self.directory);
        let removed = shared_files::remove(self.file_system.as_ref(), &directory, names).await;
        removed.map_err(|error| failed("remove files in", &directory, error))
    }

    /// Deletes the shared files that nobody needs: of checkpoints that nobody heard of, because who wrote them died.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] if a newer leader has taken over: what is needed is its business.
    pub async fn sweep_shared(&self, sweep: &Sweep) -> Result<()> {
        self.check_leadership().await?;
        let directory = shared_of_job(&self.directory);
        let orphans = shared_files::orphans(self.file_system.as_ref(), &directory, sweep).await;
        self.discard_shared(&orphans.map_err(|error| failed("list", &directory, error))?).await
    }

    /// The file system underneath.
    pub fn file_system(&self) -> &SharedFileSystem {
        &self.file_system
    }
}

/// Creates the directory of a savepoint, which nobody had before.
///
/// # Errors
/// If the file system refuses.
pub async fn prepare_savepoint(file_system: &SharedFileSystem, directory: &Path) -> Result<()> {
    let names = parent(directory);
    file_system.create_directories(&names).await.map_err(|error| failed("create", &names, error))?;
    file_system.create_directory(directory).await.map_err(|error| failed("create", directory, error))?;
    file_system.sync_directory(&names).await.map_err(|error| failed("sync the names in", &names, error))
}

/// Writes `_metadata` into the directory of a checkpoint or savepoint: whole and durable.
///
/// # Errors
/// If the file system refuses.
pub async fn write_metadata(
    file_system: &SharedFileSystem,
    directory: &Path,
    metadata: &CheckpointMetadata,
) -> Result<()> {
    let (temporary, path) = (directory.join("._metadata"), directory.join(METADATA));
    let bytes = seal(metadata);
    let written = if planted!("metadata_visible_before_it_is_durable") {
        async {
            file_system.create(&temporary).await?.write(&bytes).await?;
            file_system.rename(&temporary, &path).await
        }
        .await
    } else {
        super::replace_file(file_system.as_ref(), &temporary, &path, &bytes).await
    };
    written.map_err(|error| failed("write", &path, error))
}

/// Deletes the directory of a checkpoint: metadata first, so that nothing half deleted looks whole.
pub async fn discard(file_system: &SharedFileSystem, directory: &Path) -> Result<()> {
    match file_system.remove(&directory.join(METADATA)).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove", directory, error)),
    }
    let removed = file_system.remove_directory(directory).await;
    removed.map_err(|error| failed("remove", directory, error))?;
    let names = parent(directory);
    file_system.sync_directory(&names).await.map_err(|error| failed("sync the names in", &names, error))
}

/// Deletes a checkpoint that the job does not keep among its own, and the files beside it that it shared with others, if
/// there are any: whoever claimed it owns them.
///
/// # Errors
/// If the file system refuses.
pub async fn discard_claimed(file_system: &SharedFileSystem, directory: &Path) -> Result<()> {
    // Without metadata it never was complete, or its deletion has begun and what it shared is gone.
    if let Ok(metadata) = read_metadata(file_system, directory).await {
        let handles = metadata.subtasks.values().flat_map(BTreeMap::values);
        let names: Vec<String> = handles.flat_map(StateHandle::shared_files).map(|file| file.name.clone()).collect();
        let shared = shared_files::shared_beside(directory);
        let removed = shared_files::remove(file_system.as_ref(), &shared, &names).await;
        removed.map_err(|error| failed("remove files in", &shared, error))?;
    }
    discard(file_system, directory).await
}

/// Deletes a savepoint (Flink `Checkpoints.disposeSavepoint`).
///
/// # Errors
/// If there is none, or it is a checkpoint of a job that shares files with others.
pub async fn dispose_savepoint(file_system: &SharedFileSystem, directory: &Path) -> Result<()> {
    let metadata = read_metadata(file_system, directory).await?;
    let handles = metadata.subtasks.values().flat_map(BTreeMap::values);
    if handles.flat_map(StateHandle::shared_files).next().is_some() {
        let message = format!("{} is a checkpoint that shares files with others", directory.display());
        return Err(Error::new(ErrorKind::Configuration, message).with_hint("only savepoints can be disposed of"));
    }
    if planted!("disposal_leaves_state_files") {
        let removed = file_system.remove(&directory.join(METADATA)).await;
        return removed.map_err(|error| failed("remove", directory, error));
    }
    discard(file_system, directory).await
}

/// Reads `_metadata` in the directory of a checkpoint, or the `_metadata` file itself.
pub async fn read_metadata(file_system: &SharedFileSystem, path: &Path) -> Result<CheckpointMetadata> {
    let path =
        if path.file_name().is_some_and(|name| name == METADATA) { path.to_owned() } else { path.join(METADATA) };
    match read_file(file_system.as_ref(), &path).await {
        Ok(bytes) => decode_metadata(&path, &bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::CorruptState, format!("there is no checkpoint at {}", path.display()))
                .with_hint("a checkpoint is a directory that holds a file _metadata"))
        }
        Err(error) => Err(failed("read", &path, error)),
    }
}

/// Reads the leader's log of a job, oldest entry first, without taking part; empty if the job never ran.
///
/// # Errors
/// If an entry cannot be read or is damaged.
pub async fn read_log(file_system: &SharedFileSystem, job_directory: &Path) -> Result<Vec<LogEntry>> {
    let log = job_directory.join("ha");
    let mut entries = Vec::new();
    loop {
        let path = log.join(entry_name(entries.len() as u64));
        match read_file(file_system.as_ref(), &path).await {
            Ok(bytes) => entries.push(unseal(&path, &bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
            Err(error) => return Err(failed("read", &path, error)),
        }
    }
}

/// Decodes an entry of the leader's log; `path` is for messages.
pub fn decode_log_entry(path: &Path, bytes: &[u8]) -> Result<LogEntry> {
    unseal(path, bytes)
}

/// Decodes the content of a `_metadata` file; `path` is for messages.
pub fn decode_metadata(path: &Path, bytes: &[u8]) -> Result<CheckpointMetadata> {
    unseal(path, bytes)
}

/// What the log says of the run that it is about: a job that has ended can be submitted again from a checkpoint.
pub fn current_run(log: &[LogEntry]) -> &[LogEntry] {
    let start = log.iter().rposition(|entry| matches!(entry, LogEntry::Restored { .. })).unwrap_or(0);
    &log[start..]
}

fn entry_name(sequence: u64) -> String {
    format!("{sequence:010}")
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("checkpoint storage cannot {what} {}", path.display()))
        .with_source(error)
}

/// Magic, version, checksum, content.
pub(super) fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    let content = codec::encode(value);
    let mut bytes = Vec::with_capacity(content.len() + 9);
    bytes.extend_from_slice(MAGIC);
    bytes.push(FORMAT_VERSION);
    bytes.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
    bytes.extend_from_slice(&content);
    bytes
}

pub(super) fn unseal<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    let damaged = |what: String| {
        Error::new(ErrorKind::CorruptState, format!("{} is damaged: {what}", path.display()))
            .with_hint(
                "move the job's checkpoint directory away; then start from a checkpoint in it that is whole with --from PATH, \
                 after removing the output files of later checkpoints (part-SUBTASK-CHECKPOINT-…), or from the beginning, \
                 after removing all of them",
            )
    };
    let Some((header, content)) = bytes.split_at_checked(9) else {
        return Err(damaged(format!("it has {} bytes, not even a header", bytes.len())));
    };
    if &header[..4] != MAGIC {
        return Err(damaged("it does not start like a tidegate file".into()));
    }
    if header[4] != FORMAT_VERSION {
        return Err(damaged(format!("format version {}, this program reads version {FORMAT_VERSION}", header[4])));
    }
    let found = crc32fast::hash(content).to_le_bytes();
    if found != header[5..9] && !planted!("metadata_checksum_not_checked") {
        return Err(damaged("its checksum does not match its content".into()));
    }
    codec::decode(content).map_err(|error| damaged(error.to_string()))
}

fn fenced() -> Error {
    Error::new(ErrorKind::Fenced, "another job manager has taken over this job")
        .with_hint("see which other process runs a job of this name with these checkpoints")
}

#[cfg(test)]
mod tests;
