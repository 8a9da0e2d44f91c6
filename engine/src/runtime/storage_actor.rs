//! The job manager's one writer of checkpoint storage: carries out orders one after the other, so that the log of the
//! leader has one owner and the job manager never waits for a disk.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::{
    env::{Env, channel::mpsc},
    error::{ErrorKind, Result},
    event::{Moment, Reporter, Step},
    id::{Attempt, CheckpointId},
    storage::{CheckpointMetadata, CheckpointStore, Sweep},
};

/// Something for the storage to do.
#[derive(Debug)]
pub(super) enum StorageOrder {
    /// Create the location of a checkpoint.
    Prepare(CheckpointId),
    /// Write the metadata and complete the checkpoint.
    Store(Box<CheckpointMetadata>),
    /// Delete a checkpoint.
    Discard(CheckpointId),
    /// Delete files that checkpoints shared, by their names.
    DiscardShared(Vec<String>),
    /// Delete the shared files that nobody needs, whoever wrote them.
    SweepShared(Sweep),
    /// Read what an attempt starts from.
    Load {
        /// For which attempt.
        attempt: Attempt,
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// Note that the job has ended.
    Finish,
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
    Loaded {
        attempt: Attempt,
        checkpoint_id: CheckpointId,
        directory: PathBuf,
        result: Result<Box<CheckpointMetadata>>,
    },
    Finished {
        result: Result<()>,
    },
}

/// Where completed checkpoints are.
pub(super) enum Storage {
    /// On a file system.
    Files(CheckpointStore),
    /// In this process, and lost with it (Flink `JobManagerCheckpointStorage`).
    Memory(BTreeMap<CheckpointId, CheckpointMetadata>),
}

/// Starts the actor; results go where `deliver` sends them.
pub(super) fn start<E: Send + 'static>(
    env: &Env,
    storage: Storage,
    reporter: Reporter,
    mut orders: mpsc::Receiver<StorageOrder>,
    results: mpsc::Sender<E>,
    into_event: fn(StorageResult) -> E,
) {
    let mut actor = StorageActor { env: env.clone(), storage, reporter, undeleted: Vec::new() };
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
    storage: Storage,
    reporter: Reporter,
    /// What could not be deleted when it was its time, in that order: files go after the checkpoints that refer to them.
    undeleted: Vec<Garbage>,
}

/// What is to be deleted.
#[derive(Debug)]
enum Garbage {
    Checkpoint(CheckpointId),
    Shared(Vec<String>),
}

/// How often an append of unknown outcome is tried again before the leadership is given up.
const APPEND_TRIES: u32 = 5;
/// Pause before an append is tried again.
const APPEND_PAUSE: Duration = Duration::from_millis(200);

impl StorageActor {
    async fn carry_out(&mut self, order: StorageOrder) -> StorageResult {
        match order {
            StorageOrder::Prepare(checkpoint_id) => {
                StorageResult::Prepared { checkpoint_id, result: self.prepare(checkpoint_id).await }
            }
            StorageOrder::Store(metadata) => {
                StorageResult::Stored { checkpoint_id: metadata.checkpoint_id, result: self.store(*metadata).await }
            }
            StorageOrder::Discard(checkpoint_id) => {
                self.discard(Garbage::Checkpoint(checkpoint_id)).await;
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
            StorageOrder::Load { attempt, checkpoint_id } => {
                let result = self.load(checkpoint_id).await.map(Box::new);
                StorageResult::Loaded { attempt, checkpoint_id, directory: self.directory(checkpoint_id), result }
            }
            StorageOrder::Finish => {
                let result = self.finish().await;
                if result.is_err() {
                    // The job manager asks again at once, and a storage without power answers at once.
                    self.env.sleep(APPEND_PAUSE).await;
                }
                StorageResult::Finished { result }
            }
        }
    }

    async fn prepare(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        match &mut self.storage {
            Storage::Files(store) => store.prepare(checkpoint_id).await,
            Storage::Memory(_) => Ok(()),
        }
    }

    async fn store(&mut self, metadata: CheckpointMetadata) -> Result<()> {
        let checkpoint_id = metadata.checkpoint_id;
        self.fact(Moment::Before, Step::MetadataWrite, checkpoint_id).await?;
        if let Storage::Files(store) = &self.storage {
            store.write_metadata(&metadata).await?;
        }
        self.fact(Moment::After, Step::MetadataWrite, checkpoint_id).await?;
        self.fact(Moment::Before, Step::Completion, checkpoint_id).await?;
        match &mut self.storage {
            Storage::Memory(completed) => {
                completed.insert(checkpoint_id, metadata);
            }
            Storage::Files(store) => {
                let mut tries = 1;
                while let Err(error) = store.complete(checkpoint_id).await {
                    if error.kind() != ErrorKind::Unknown || tries == APPEND_TRIES {
                        return Err(error);
                    }
                    tries += 1;
                    self.env.sleep(APPEND_PAUSE).await;
                }
            }
        }
        self.fact(Moment::After, Step::Completion, checkpoint_id).await?;
        self.delete_again().await;
        Ok(())
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
        let discarded = match (&mut self.storage, &garbage) {
            (Storage::Memory(completed), Garbage::Checkpoint(checkpoint_id)) => {
                completed.remove(checkpoint_id);
                Ok(())
            }
            (Storage::Memory(_), Garbage::Shared(_)) => Ok(()),
            (Storage::Files(store), Garbage::Checkpoint(checkpoint_id)) => store.discard(*checkpoint_id).await,
            (Storage::Files(store), Garbage::Shared(names)) => store.discard_shared(names).await,
        };
        if let Err(error) = discarded {
            tracing::warn!(?garbage, %error, "what a checkpoint left could not be deleted; it is tried again later");
            self.undeleted.push(garbage);
        }
    }

    async fn sweep(&mut self, sweep: &Sweep) {
        if let Storage::Files(store) = &self.storage
            && let Err(error) = store.sweep_shared(sweep).await
        {
            tracing::warn!(%error, "shared files that nobody needs could not be deleted; it is tried again later");
        }
    }

    async fn load(&mut self, checkpoint_id: CheckpointId) -> Result<CheckpointMetadata> {
        match &self.storage {
            Storage::Files(store) => store.read_metadata(checkpoint_id).await,
            Storage::Memory(completed) => Ok(completed[&checkpoint_id].clone()),
        }
    }

    fn directory(&self, checkpoint_id: CheckpointId) -> PathBuf {
        match &self.storage {
            Storage::Files(store) => store.checkpoint_directory(checkpoint_id),
            Storage::Memory(_) => PathBuf::new(),
        }
    }

    async fn finish(&mut self) -> Result<()> {
        self.delete_again().await;
        match &mut self.storage {
            Storage::Files(store) => store.finish().await,
            Storage::Memory(_) => Ok(()),
        }
    }

    async fn fact(&self, moment: Moment, step: Step, checkpoint_id: CheckpointId) -> Result<()> {
        let stated = self.reporter.state(moment, step, Some(checkpoint_id), "").await;
        stated.map_err(|failure| crate::Error::new(ErrorKind::Unavailable, failure.to_string()))
    }
}
