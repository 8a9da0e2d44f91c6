//! The transactional file sink: temporary file → sync → rename → directory sync.
//!
//! ```text
//! begin      OUT/.staging/part-<subtask>-<attempt>-<token>         created
//! pre_commit                                                        written, synced, its name synced
//! commit     OUT/part-<subtask>-<checkpoint>-<token>                renamed, both directories synced
//! ```
//! The token is random per transaction, so neither two attempts nor two jobs over one directory collide. A commit finds
//! one of three situations: the staged file is there (rename it), only the visible file is there (already committed), or
//! neither (data of a completed checkpoint is lost: fail loudly).
//! Corresponds to Flink's `FileSink` with `OnCheckpointRollingPolicy`.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{SinkContext, TwoPhaseCommitSink};
use crate::{
    codec::Data,
    error::{Error, ErrorKind, Result},
    event::{Moment, Step},
    id::{Attempt, CheckpointId},
    planted,
    record::Batch,
    storage::{EntryKind, WriteFile},
};

const STAGING: &str = ".staging";
const BUFFER_BYTES: usize = 1 << 16;

/// Turns a record into the bytes of a file, line end included.
pub type RecordEncoder<T> = Arc<dyn Fn(&T, &mut Vec<u8>) + Send + Sync>;

/// Writes files that become visible exactly once, one per subtask and checkpoint.
pub struct FileSink<T> {
    directory: PathBuf,
    encode: RecordEncoder<T>,
    context: Option<SinkContext>,
    writer: Option<OpenFile>,
    /// Only with the planted bug `acknowledge_before_pre_commit`: what was acknowledged and not written.
    unwritten: Option<OpenFile>,
}

struct OpenFile {
    file: Box<dyn WriteFile>,
    buffered: Vec<u8>,
}

/// A file on its way: where it is staged, and where it becomes visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTransaction {
    staged: String,
    subtask_index: u32,
    token: u64,
    /// The checkpoint that it was pre-committed for.
    checkpoint_id: Option<CheckpointId>,
    /// An empty file is dropped instead of being made visible.
    bytes: u64,
}

/// The name of a file that a [`FileSink`] made visible: subtask, checkpoint, token.
pub fn visible_file_name(subtask_index: u32, checkpoint_id: CheckpointId, token: u64) -> String {
    format!("part-{subtask_index}-{:010}-{token:016x}", checkpoint_id.0)
}

/// Subtask and attempt of a staged file.
fn parse_staged(name: &str) -> Option<(u32, Attempt)> {
    let mut parts = name.strip_prefix("part-")?.split('-');
    Some((parts.next()?.parse().ok()?, Attempt(parts.next()?.parse().ok()?)))
}

impl FileTransaction {
    fn visible(&self) -> Result<String> {
        let Some(checkpoint_id) = self.checkpoint_id else {
            return Err(Error::new(ErrorKind::Bug, format!("transaction {} was never pre-committed", self.staged)));
        };
        Ok(visible_file_name(self.subtask_index, checkpoint_id, self.token))
    }
}

impl<T: Data> FileSink<T> {
    /// A sink into `directory`, which is created if it does not exist.
    pub fn new(directory: impl Into<PathBuf>, encode: impl Fn(&T, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self { directory: directory.into(), encode: Arc::new(encode), context: None, writer: None, unwritten: None }
    }

    fn context(&self) -> &SinkContext {
        self.context.as_ref().expect("a sink is opened before it is used")
    }

    fn staging(&self) -> PathBuf {
        self.directory.join(STAGING)
    }

    fn failed(&self, what: &str, path: &Path, error: io::Error) -> Error {
        Error::new(ErrorKind::Unavailable, format!("file sink cannot {what} {}", path.display())).with_source(error)
    }

    async fn write_out(&mut self, threshold_bytes: usize) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if writer.buffered.len() > threshold_bytes {
            let written = writer.file.write(&writer.buffered).await;
            writer.buffered.clear();
            written.map_err(|error| self.failed("write to", &self.staging(), error))?;
        }
        Ok(())
    }

    /// Writes what is buffered: the first half of a pre-commit.
    async fn write_staged(&mut self, transaction: &FileTransaction, checkpoint_id: CheckpointId) -> Result<()> {
        let reporter = self.context().reporter.clone();
        for moment in [Moment::Before, Moment::After] {
            if moment == Moment::After {
                self.write_out(0).await?;
            }
            let stated = reporter.state(moment, Step::WriteStaged, Some(checkpoint_id), &transaction.staged).await;
            stated.map_err(|failure| {
                Error::new(ErrorKind::Unavailable, "cannot write the staged file").with_source(failure)
            })?;
        }
        Ok(())
    }

    /// Removes a staged file; a missing one is fine.
    async fn drop_staged(&self, staged: &str) -> Result<()> {
        let path = self.staging().join(staged);
        match self.context().file_system.remove(&path).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed("remove", &path, error)),
        }
    }
}

#[async_trait]
impl<T: Data> TwoPhaseCommitSink for FileSink<T> {
    type In = T;
    type Transaction = FileTransaction;

    async fn open(&mut self, context: &SinkContext) -> Result<()> {
        self.context = Some(context.clone());
        let staging = self.staging();
        let created = context.file_system.create_directories(&staging).await;
        created.map_err(|error| self.failed("create", &staging, error))
    }

    fn describe(&self, transaction: &FileTransaction) -> String {
        transaction.staged.clone()
    }

    async fn begin_transaction(&mut self) -> Result<FileTransaction> {
        let context = self.context();
        let subtask_index = context.subtask_index;
        let token = match planted!("transaction_named_by_a_counter_of_the_process") {
            true => planted::counter_of_the_process(),
            false => context.env.entropy(),
        };
        let staged = format!("part-{subtask_index}-{}-{token:016x}", context.attempt);
        let path = self.staging().join(&staged);
        let created = context.file_system.create(&path).await;
        let file = created.map_err(|error| self.failed("create", &path, error))?;
        self.writer = Some(OpenFile { file, buffered: Vec::new() });
        Ok(FileTransaction { staged, subtask_index, token, checkpoint_id: None, bytes: 0 })
    }

    async fn invoke(&mut self, transaction: &mut FileTransaction, batch: Batch<T>) -> Result<()> {
        let writer = self
            .writer
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Bug, "file sink was given records while no transaction was open"))?;
        let before = writer.buffered.len();
        for record in &batch {
            (self.encode)(&record.value, &mut writer.buffered);
        }
        transaction.bytes += (writer.buffered.len() - before) as u64;
        self.write_out(BUFFER_BYTES).await
    }

    async fn pre_commit(&mut self, transaction: &mut FileTransaction, checkpoint_id: CheckpointId) -> Result<()> {
        transaction.checkpoint_id = Some(checkpoint_id);
        if planted!("acknowledge_before_pre_commit") {
            self.unwritten = self.writer.take();
            return Ok(());
        }
        self.write_staged(transaction, checkpoint_id).await?;
        let staging = self.staging();
        if let Some(mut writer) = self.writer.take()
            && !planted!("staged_file_acknowledged_without_sync")
        {
            let synced = writer.file.sync().await;
            synced.map_err(|error| self.failed("sync a file in", &staging, error))?;
            if planted!("staged_names_not_synced") {
                return Ok(());
            }
            let synced = self.context().file_system.sync_directory(&staging).await;
            synced.map_err(|error| self.failed("sync the names in", &staging, error))?;
        }
        Ok(())
    }

    async fn commit(&mut self, transaction: &FileTransaction) -> Result<()> {
        if let Some(mut late) = self.unwritten.take() {
            late.file.write(&late.buffered).await.and(late.file.sync().await).map_err(|error| {
                Error::new(ErrorKind::Unavailable, "file sink cannot write late").with_source(error)
            })?;
        }
        if transaction.bytes == 0 {
            return self.drop_staged(&transaction.staged).await;
        }
        let file_system = self.context().file_system.clone();
        let (staged, visible) = (self.staging().join(&transaction.staged), self.directory.join(transaction.visible()?));
        match file_system.rename(&staged, &visible).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let exists = match planted!("second_commit_of_a_file_fails") {
                    true => Ok(false),
                    false => file_system.exists(&visible).await,
                };
                if !exists.map_err(|error| self.failed("look for", &visible, error))? {
                    return Err(Error::new(
                        ErrorKind::CorruptState,
                        format!(
                            "output of a completed checkpoint is lost: neither {} nor {} exists",
                            staged.display(),
                            visible.display()
                        ),
                    )
                    .with_hint("restore the file from a backup, or restart the job from an earlier checkpoint into an empty directory"));
                }
            }
            Err(error) => return Err(self.failed("rename", &staged, error)),
        }
        for directory in [&self.directory, &self.staging()] {
            let synced = file_system.sync_directory(directory).await;
            synced.map_err(|error| self.failed("sync the names in", directory, error))?;
        }
        Ok(())
    }

    async fn abort(&mut self, transaction: &FileTransaction) -> Result<()> {
        self.writer = None;
        self.drop_staged(&transaction.staged).await
    }

    async fn recover_and_abort(&mut self, transaction: &FileTransaction) -> Result<()> {
        self.drop_staged(&transaction.staged).await
    }

    async fn abort_lingering(&mut self) -> Result<()> {
        if planted!("lingering_transactions_not_aborted") {
            return Ok(());
        }
        let context = self.context();
        let staging = self.staging();
        let entries = context.file_system.list(&staging).await.map_err(|error| self.failed("list", &staging, error))?;
        for entry in entries {
            let Some((owner, attempt)) = parse_staged(&entry.name) else { continue };
            // Subtasks that a smaller job no longer has leave theirs to the one that they fall to.
            let mine = if planted!("lingering_transactions_of_vanished_subtasks_stay") {
                owner == context.subtask_index
            } else {
                owner % context.parallelism == context.subtask_index
            };
            // This subtask may itself be a zombie that wakes up here: what a newer attempt staged is not its business.
            let older = attempt < context.attempt || planted!("zombie_sweeps_newer_attempts");
            if mine && older && entry.kind == EntryKind::File {
                self.drop_staged(&entry.name).await?;
            }
        }
        Ok(())
    }
}
