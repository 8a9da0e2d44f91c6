//! The job manager's one writer of checkpoint storage: carries out orders one after the other, so that the log of the
//! leader has one owner and the job manager never waits for a disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use super::job_client::Reply;
use crate::{
    checkpoint::retention::JobEnd,
    env::{Env, channel::mpsc},
    error::{Error, ErrorKind, Result},
    event::{Moment, Reporter, Step},
    id::{Attempt, CheckpointId},
    planted,
    storage::{
        CheckpointMetadata, CheckpointStore, SharedFileSystem, Sweep, discard, discard_claimed, dispose_savepoint,
        prepare_savepoint, read_metadata, write_metadata,
    },
};

/// Something for the storage to do.
#[derive(Debug)]
pub(super) enum StorageOrder {
    /// Create the location of a checkpoint, or of a savepoint in this directory.
    Prepare {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// The directory of a savepoint.
        savepoint: Option<PathBuf>,
    },
    /// Write the metadata, and complete the checkpoint unless it is a savepoint that the job does not stop with.
    Store {
        /// What it consists of.
        metadata: Box<CheckpointMetadata>,
        /// Whether a recovery is to find it.
        publish: Publish,
    },
    /// Delete a checkpoint or savepoint, wherever it is.
    Discard(CheckpointId),
    /// Delete what an earlier leader has left under this number among the job's checkpoints. A savepoint of that number is
    /// something else.
    DiscardAbandoned(CheckpointId),
    /// Delete files that checkpoints shared, by their names.
    DiscardShared(Vec<String>),
    /// Delete the shared files that nobody needs, whoever wrote them.
    SweepShared(Sweep),
    /// Read what attempts start from.
    Load {
        /// For which attempts.
        attempts: Vec<Attempt>,
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// Delete what the user has no use for any more: the savepoint in this directory.
    Dispose {
        /// Where it is.
        directory: PathBuf,
        /// Under these numbers there may be savepoints that the job needs.
        needed: BTreeSet<CheckpointId>,
        /// Who wants it.
        reply: Reply<()>,
    },
    /// Note how the job has ended.
    End(JobEnd),
    /// Try again to delete what could not be deleted: nobody else will.
    CleanUp,
}

/// Whether a recovery is to find a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publish {
    /// It is: the checkpoint gets an entry in the log.
    InLog,
    /// It is the user's alone.
    Nowhere,
}

/// What became of an order.
#[derive(Debug)]
pub(super) enum StorageResult {
    Prepared {
        checkpoint_id: CheckpointId,
        result: Result<()>,
    },
    Stored {
        checkpoint_id: CheckpointId,
        result: Result<()>,
    },
    Discarded {
        checkpoint_id: CheckpointId,
    },
    SharedDiscarded,
    Disposed,
    Loaded {
        attempts: Vec<Attempt>,
        checkpoint_id: CheckpointId,
        directory: PathBuf,
        result: Result<Box<CheckpointMetadata>>,
    },
    Ended {
        end: JobEnd,
        result: Result<()>,
    },
    CleanedUp,
}

/// Where completed checkpoints are.
pub(super) enum Storage {
    /// On a file system.
    Files(CheckpointStore),
    /// In this process, and lost with it (Flink `JobManagerCheckpointStorage`).
    Memory(BTreeMap<CheckpointId, CheckpointMetadata>),
}

/// What the actor is made from.
pub(super) struct StorageSetup {
    pub env: Env,
    pub file_system: SharedFileSystem,
    pub storage: Storage,
    /// Where the savepoints are that this leader found, and what the job was restored from.
    pub elsewhere: BTreeMap<CheckpointId, PathBuf>,
    pub reporter: Reporter,
}

/// Starts the actor; results become events.
pub(super) fn start<E: Send + 'static>(
    setup: StorageSetup,
    mut orders: mpsc::Receiver<StorageOrder>,
    results: mpsc::Sender<E>,
    into_event: fn(StorageResult) -> E,
) {
    let StorageSetup { env, file_system, storage, elsewhere, reporter } = setup;
    let mut actor = StorageActor { env: env.clone(), file_system, storage, elsewhere, reporter, undeleted: Vec::new() };
    env.spawn(async move {
        while let Some(order) = orders.recv().await {
            let result = actor.carry_out(order).await;
            if results.send(into_event(result)).await.is_err() {
                return;
            }
        }
    });
}

struct StorageActor {
    env: Env,
    file_system: SharedFileSystem,
    storage: Storage,
    /// Where the savepoints are that this leader took or found, and what the job was restored from.
    elsewhere: BTreeMap<CheckpointId, PathBuf>,
    reporter: Reporter,
    /// What could not be deleted when it was its time, in that order: files go after the checkpoints that refer to them.
    undeleted: Vec<Garbage>,
}

/// What is to be deleted.
#[derive(Debug)]
enum Garbage {
    Checkpoint(CheckpointId),
    Abandoned(CheckpointId),
    Shared(Vec<String>),
}

/// What is noted of a checkpoint or savepoint.
#[derive(Debug, Clone, Copy)]
enum Note<'a> {
    /// A savepoint is begun in this directory.
    SavepointBegun(&'a Path),
    /// The savepoint in this directory is complete, with which the job stops.
    SavepointCompleted(&'a Path),
    /// A checkpoint is complete.
    Completed,
}

/// How often an append of unknown outcome is tried again before the leadership is given up.
const APPEND_TRIES: u32 = 5;
/// How often it is tried to delete what a job left that has ended.
const CLEAN_UP_TRIES: u32 = 60;
/// Pause before it is tried again.
const CLEAN_UP_PAUSE: Duration = Duration::from_millis(500);
/// Pause before an append is tried again.
const APPEND_PAUSE: Duration = Duration::from_millis(200);

impl StorageActor {
    async fn carry_out(&mut self, order: StorageOrder) -> StorageResult {
        match order {
            StorageOrder::Prepare { checkpoint_id, savepoint } => {
                StorageResult::Prepared { checkpoint_id, result: self.prepare(checkpoint_id, savepoint).await }
            }
            StorageOrder::Store { metadata, publish } => {
                let checkpoint_id = metadata.checkpoint_id;
                StorageResult::Stored { checkpoint_id, result: self.store(*metadata, publish).await }
            }
            StorageOrder::Discard(checkpoint_id) => {
                self.discard(Garbage::Checkpoint(checkpoint_id)).await;
                StorageResult::Discarded { checkpoint_id }
            }
            StorageOrder::DiscardAbandoned(checkpoint_id) => {
                self.discard(Garbage::Abandoned(checkpoint_id)).await;
                StorageResult::Discarded { checkpoint_id }
            }
            StorageOrder::DiscardShared(names) => {
                let names = Garbage::Shared(names);
                if self.undeleted.is_empty() {
                    self.discard(names).await
                } else {
                    self.undeleted.push(names)
                }
                StorageResult::SharedDiscarded
            }
            StorageOrder::SweepShared(sweep) => {
                self.sweep(&sweep).await;
                StorageResult::SharedDiscarded
            }
            StorageOrder::Load { attempts, checkpoint_id } => {
                let result = self.load(checkpoint_id).await.map(Box::new);
                StorageResult::Loaded { attempts, checkpoint_id, directory: self.directory(checkpoint_id), result }
            }
            StorageOrder::Dispose { directory, needed, reply } => {
                // Whoever asked may have gone.
                let _ = reply.send(self.dispose(&directory, &needed).await);
                StorageResult::Disposed
            }
            StorageOrder::CleanUp => {
                self.clean_up().await;
                StorageResult::CleanedUp
            }
            StorageOrder::End(end) => {
                let result = self.end(end).await;
                if result.is_err() {
                    // The job manager asks again at once, and a storage without power answers at once.
                    self.env.sleep(APPEND_PAUSE).await;
                }
                StorageResult::Ended { end, result }
            }
        }
    }

    async fn prepare(&mut self, checkpoint_id: CheckpointId, savepoint: Option<PathBuf>) -> Result<()> {
        if let Some(directory) = savepoint {
            if !planted!("savepoint_begun_without_a_note") {
                self.append(checkpoint_id, Note::SavepointBegun(&directory)).await?;
            }
            prepare_savepoint(&self.file_system, &directory).await?;
            self.elsewhere.insert(checkpoint_id, directory);
            return Ok(());
        }
        match &mut self.storage {
            Storage::Files(store) => store.prepare(checkpoint_id).await,
            Storage::Memory(_) => Ok(()),
        }
    }

    async fn store(&mut self, metadata: CheckpointMetadata, publish: Publish) -> Result<()> {
        let checkpoint_id = metadata.checkpoint_id;
        let savepoint = self.elsewhere.get(&checkpoint_id).cloned();
        let step = if savepoint.is_some() { Step::SavepointWrite } else { Step::MetadataWrite };
        self.fact(Moment::Before, step, checkpoint_id).await?;
        match (&savepoint, &self.storage) {
            (Some(directory), _) => write_metadata(&self.file_system, directory, &metadata).await?,
            (None, Storage::Files(store)) => store.write_metadata(&metadata).await?,
            (None, Storage::Memory(_)) => {}
        }
        self.fact(Moment::After, step, checkpoint_id).await?;
        if publish == Publish::Nowhere {
            return Ok(());
        }
        self.fact(Moment::Before, Step::Completion, checkpoint_id).await?;
        match &savepoint {
            Some(directory) => self.append(checkpoint_id, Note::SavepointCompleted(directory)).await?,
            None => self.append(checkpoint_id, Note::Completed).await?,
        }
        if let Storage::Memory(completed) = &mut self.storage {
            completed.insert(checkpoint_id, metadata);
        }
        // What is in the log is complete, whatever fails from here on.
        let stated = self.fact(Moment::After, Step::Completion, checkpoint_id).await;
        match &self.storage {
            Storage::Files(_) => stated.map_err(Error::into_unknown)?,
            Storage::Memory(_) => stated?,
        }
        self.delete_again().await;
        Ok(())
    }

    /// Appends to the leader's log, if there is one; a few times, as long as it is unknown whether that took effect.
    async fn append(&mut self, checkpoint_id: CheckpointId, note: Note<'_>) -> Result<()> {
        let Storage::Files(store) = &mut self.storage else { return Ok(()) };
        let mut tries = 1;
        loop {
            let appended = match note {
                Note::SavepointBegun(directory) => store.begin_savepoint(checkpoint_id, directory).await,
                Note::SavepointCompleted(directory) => store.complete_savepoint(checkpoint_id, directory).await,
                Note::Completed => store.complete(checkpoint_id).await,
            };
            let Err(error) = appended else { return Ok(()) };
            if error.kind() != ErrorKind::Unknown || tries == APPEND_TRIES {
                return Err(error);
            }
            tries += 1;
            self.env.sleep(APPEND_PAUSE).await;
        }
    }

    /// The storage works again: deletes what it refused to delete.
    async fn delete_again(&mut self) {
        let mut undeleted = std::mem::take(&mut self.undeleted).into_iter();
        while self.undeleted.is_empty()
            && let Some(garbage) = undeleted.next()
        {
            self.discard(garbage).await;
        }
        self.undeleted.extend(undeleted);
    }

    async fn discard(&mut self, garbage: Garbage) {
        let savepoint = match &garbage {
            Garbage::Checkpoint(checkpoint_id) => self.elsewhere.get(checkpoint_id),
            Garbage::Abandoned(_) | Garbage::Shared(_) => None,
        };
        let discarded = match (&mut self.storage, &garbage) {
            (_, Garbage::Checkpoint(_)) if savepoint.is_some() && planted!("failed_savepoint_leaves_its_files") => {
                Ok(())
            }
            // A savepoint that came to nothing, or a checkpoint that the job has claimed.
            (_, Garbage::Checkpoint(_)) if let Some(directory) = savepoint => {
                discard_claimed(&self.file_system, directory).await
            }
            (Storage::Memory(completed), Garbage::Checkpoint(checkpoint_id)) => {
                completed.remove(checkpoint_id);
                Ok(())
            }
            (Storage::Memory(_), Garbage::Abandoned(_) | Garbage::Shared(_)) => Ok(()),
            (Storage::Files(store), Garbage::Checkpoint(checkpoint_id) | Garbage::Abandoned(checkpoint_id)) => {
                store.discard(*checkpoint_id).await
            }
            (Storage::Files(store), Garbage::Shared(names)) => store.discard_shared(names).await,
        };
        if let Err(error) = discarded {
            tracing::warn!(?garbage, %error, "what a checkpoint left could not be deleted; it is tried again later");
            self.undeleted.push(garbage);
        }
    }

    async fn dispose(&mut self, directory: &Path, needed: &BTreeSet<CheckpointId>) -> Result<()> {
        // What a user names may have several names.
        let place = self.file_system.canonical(directory).await;
        if let Storage::Files(store) = &self.storage
            && place.starts_with(self.file_system.canonical(store.directory()).await)
        {
            let message = format!("{} lies among the checkpoints of the job", directory.display());
            let error = Error::new(ErrorKind::Configuration, message);
            return Err(error.with_hint("the job deletes them when newer ones are complete"));
        }
        let mut numbers = Vec::new();
        for (checkpoint_id, at) in &self.elsewhere {
            numbers.extend((self.file_system.canonical(at).await == place).then_some(*checkpoint_id));
        }
        if numbers.iter().any(|number| needed.contains(number)) && !planted!("disposal_of_what_a_recovery_needs") {
            let message = format!("the job still needs {}", directory.display());
            let error = Error::new(ErrorKind::Configuration, message);
            return Err(error.with_hint("wait until a newer checkpoint is complete, and dispose of it after that"));
        }
        match dispose_savepoint(&self.file_system, directory).await {
            // It is one, and its deletion has begun.
            Err(error) if error.kind() == ErrorKind::CorruptState && !numbers.is_empty() => {
                discard(&self.file_system, directory).await?;
            }
            disposed => disposed?,
        }
        numbers.iter().for_each(|number| _ = self.elsewhere.remove(number));
        Ok(())
    }

    async fn sweep(&mut self, sweep: &Sweep) {
        if let Storage::Files(store) = &self.storage
            && let Err(error) = store.sweep_shared(sweep).await
        {
            tracing::warn!(%error, "shared files that nobody needs could not be deleted; it is tried again later");
        }
    }

    async fn load(&mut self, checkpoint_id: CheckpointId) -> Result<CheckpointMetadata> {
        if let Some(directory) = self.elsewhere.get(&checkpoint_id) {
            return read_metadata(&self.file_system, directory).await;
        }
        match &self.storage {
            Storage::Files(store) => store.read_metadata(checkpoint_id).await,
            Storage::Memory(completed) => Ok(completed[&checkpoint_id].clone()),
        }
    }

    fn directory(&self, checkpoint_id: CheckpointId) -> PathBuf {
        if let Some(directory) = self.elsewhere.get(&checkpoint_id) {
            return directory.clone();
        }
        match &self.storage {
            Storage::Files(store) => store.checkpoint_directory(checkpoint_id),
            Storage::Memory(_) => PathBuf::new(),
        }
    }

    async fn end(&mut self, end: JobEnd) -> Result<()> {
        self.delete_again().await;
        match &mut self.storage {
            Storage::Files(store) => store.end(end).await,
            Storage::Memory(_) => Ok(()),
        }
    }

    async fn clean_up(&mut self) {
        for _ in 0..CLEAN_UP_TRIES {
            self.delete_again().await;
            if self.undeleted.is_empty() {
                return;
            }
            self.env.sleep(CLEAN_UP_PAUSE).await;
        }
        tracing::warn!(left = ?self.undeleted, "what the job left could not be deleted");
    }

    async fn fact(&self, moment: Moment, step: Step, checkpoint_id: CheckpointId) -> Result<()> {
        let stated = self.reporter.state(moment, step, Some(checkpoint_id), "").await;
        stated.map_err(|failure| Error::new(ErrorKind::Unavailable, failure.to_string()))
    }
}
