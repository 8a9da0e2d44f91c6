//! Where the job manager keeps completed checkpoints, and how leaders exclude each other.
//!
//! ```text
//! DIR/<job>/chk-<n>/_metadata              what checkpoint n consists of, written whole or not at all
//! DIR/<job>/chk-<n>/<state files>          written by the subtasks
//! DIR/<job>/shared/<files>                 the same, of incremental checkpoints: several may refer to one
//! DIR/<job>/ha/<sequence>                  the leader's log: takeovers, completed checkpoints, the end of the job
//! ```
//! A checkpoint is *completed* when its log entry exists, not earlier. Entries are numbered without gaps and published
//! exclusively, so of two leaders that both believe to lead, one finds its next number taken and knows that it is fenced.
//! A new leader first writes a takeover entry: from then on no older one can complete anything. It deletes only what it
//! created or found, and its checkpoints get ids that no leader used before, so one that was fenced and does not know it
//! yet deletes nothing of its successors.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    EntryKind, SharedFileSystem, Sweep, parent, read_file,
    shared_files::{self, shared_of_job},
};
use crate::{
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
    /// Where the state of each operator of each subtask is.
    pub subtasks: BTreeMap<SubtaskId, BTreeMap<OperatorUid, StateHandle>>,
    /// The operators of which every subtask restores the lists of all (union state).
    pub union: BTreeSet<OperatorUid>,
}

/// An entry of the leader's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogEntry {
    /// A leader took over.
    Takeover {
        /// Its epoch.
        epoch: Epoch,
        /// Distinguishes two that claim the same epoch.
        token: u64,
        /// Its first checkpoint: all ids below are used up, also those of which no trace is left.
        next_checkpoint_id: CheckpointId,
    },
    /// A checkpoint is complete.
    Completed {
        /// The leader's epoch.
        epoch: Epoch,
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// The job has ended and everything is committed.
    Finished {
        /// The leader's epoch.
        epoch: Epoch,
    },
}

impl LogEntry {
    fn epoch(&self) -> Epoch {
        match self {
            Self::Takeover { epoch, .. } | Self::Completed { epoch, .. } | Self::Finished { epoch } => *epoch,
        }
    }
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
    /// Directories of checkpoints that no leader completed, nor can any more: to be deleted.
    pub abandoned: Vec<CheckpointId>,
    /// A checkpoint id that nobody has used.
    pub next_checkpoint_id: CheckpointId,
    /// Whether the job has ended already.
    pub finished: bool,
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
/// What is written. Version 1 knew no incremental state; what it could say is said in the same way.
const FORMAT_VERSION: u8 = 2;
const OLDEST_FORMAT_VERSION: u8 = 1;

impl CheckpointStore {
    /// Opens the directory of a job and takes the leadership: from now on every older leader is fenced. The epoch is higher
    /// than that of every older leader, and than `after`: the one in which a checkpoint from elsewhere was taken.
    ///
    /// # Errors
    /// If the directory cannot be read or written, or an entry of the log is damaged.
    pub async fn take_over(
        file_system: SharedFileSystem,
        directory: PathBuf,
        token: u64,
        after: Epoch,
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
            match store.append(&LogEntry::Takeover { epoch: store.epoch, token, next_checkpoint_id }).await {
                Ok(()) => {
                    store.own.extend(found.retained.iter().chain(&found.abandoned));
                    return Ok((store, found));
                }
                Err(error) if error.kind() == ErrorKind::Fenced => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn found(&self, entries: &[LogEntry]) -> Result<Takeover> {
        let names =
            self.file_system.list(&self.directory).await.map_err(|error| failed("list", &self.directory, error))?;
        let directories = names.iter().filter(|entry| entry.kind == EntryKind::Directory);
        let numbers: Vec<u64> = directories.filter_map(|entry| entry.name.strip_prefix("chk-")?.parse().ok()).collect();
        let completed: Vec<CheckpointId> = entries
            .iter()
            .filter_map(|entry| match entry {
                LogEntry::Completed { checkpoint_id, .. } => Some(*checkpoint_id),
                LogEntry::Takeover { .. } | LogEntry::Finished { .. } => None,
            })
            .collect();
        let latest_completed = if planted!("recovery_uses_the_checkpoint_before_the_newest") && completed.len() > 1 {
            completed.get(completed.len() - 2).copied()
        } else {
            completed.last().copied()
        };
        let used = entries.iter().map(|entry| match entry {
            LogEntry::Takeover { next_checkpoint_id, .. } => next_checkpoint_id.0.saturating_sub(1),
            LogEntry::Completed { checkpoint_id, .. } => checkpoint_id.0,
            LogEntry::Finished { .. } => 0,
        });
        let highest = used.chain(numbers.iter().copied()).max().unwrap_or(0);
        let abandoned = numbers.iter().copied().map(CheckpointId).filter(|id| !completed.contains(id)).collect();
        Ok(Takeover {
            epoch: self.epoch,
            latest_completed,
            retained: completed
                .iter()
                .copied()
                .filter(|id| Some(*id) == latest_completed || numbers.contains(&id.0))
                .filter(|id| Some(*id) <= latest_completed)
                .collect(),
            abandoned,
            next_checkpoint_id: CheckpointId(highest + 1),
            finished: entries.iter().any(|entry| matches!(entry, LogEntry::Finished { .. })),
            shares_files: names.iter().any(|entry| shared_files::is_shared(&entry.name)),
        })
    }

    /// Appends to the log, or finds that a newer leader has taken over ([`ErrorKind::Fenced`]).
    async fn append(&mut self, entry: &LogEntry) -> Result<()> {
        let log = self.directory.join("ha");
        let path = log.join(entry_name(self.next_sequence));
        let token = match entry {
            LogEntry::Takeover { token, .. } => *token,
            LogEntry::Completed { .. } | LogEntry::Finished { .. } => 0,
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
                if unseal::<LogEntry>(&path, &bytes)? == *entry {
                    self.next_sequence += 1;
                    return Ok(());
                }
                Err(fenced())
            }
            Err(error) => Err(failed("publish", &path, error).into_unknown()),
        }
    }

    /// The directory of a checkpoint.
    pub fn checkpoint_directory(&self, checkpoint_id: CheckpointId) -> PathBuf {
        self.directory.join(format!("chk-{checkpoint_id}"))
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
        let directory = self.checkpoint_directory(metadata.checkpoint_id);
        let (temporary, path) = (directory.join("._metadata"), directory.join(METADATA));
        let bytes = seal(metadata);
        let written = if planted!("metadata_visible_before_it_is_durable") {
            let file_system = self.file_system.as_ref();
            async {
                file_system.create(&temporary).await?.write(&bytes).await?;
                file_system.rename(&temporary, &path).await
            }
            .await
        } else {
            super::replace_file(self.file_system.as_ref(), &temporary, &path, &bytes).await
        };
        written.map_err(|error| failed("write", &path, error))
    }

    /// Makes the checkpoint the newest completed one.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] if this is not the leader any more; [`ErrorKind::Unknown`] if it may or may not have happened.
    pub async fn complete(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        self.append(&LogEntry::Completed { epoch: self.epoch, checkpoint_id }).await
    }

    /// Notes that the job has ended.
    pub async fn finish(&mut self) -> Result<()> {
        self.append(&LogEntry::Finished { epoch: self.epoch }).await
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
    async fn check_leadership(&self) -> Result<()> {
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

/// Reads `_metadata` in the directory of a checkpoint, or the `_metadata` file itself.
pub async fn read_metadata(file_system: &SharedFileSystem, path: &Path) -> Result<CheckpointMetadata> {
    let path =
        if path.file_name().is_some_and(|name| name == METADATA) { path.to_owned() } else { path.join(METADATA) };
    match read_file(file_system.as_ref(), &path).await {
        Ok(bytes) => unseal(&path, &bytes),
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

fn entry_name(sequence: u64) -> String {
    format!("{sequence:010}")
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("checkpoint storage cannot {what} {}", path.display()))
        .with_source(error)
}

/// Magic, version, checksum, content.
fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    let content = codec::encode(value);
    let mut bytes = Vec::with_capacity(content.len() + 9);
    bytes.extend_from_slice(MAGIC);
    bytes.push(FORMAT_VERSION);
    bytes.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
    bytes.extend_from_slice(&content);
    bytes
}

fn unseal<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
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
    if !(OLDEST_FORMAT_VERSION..=FORMAT_VERSION).contains(&header[4]) {
        let readable = format!("{OLDEST_FORMAT_VERSION} to {FORMAT_VERSION}");
        return Err(damaged(format!("format version {}, this program reads versions {readable}", header[4])));
    }
    let found = crc32fast::hash(content).to_le_bytes();
    if found != header[5..9] {
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
