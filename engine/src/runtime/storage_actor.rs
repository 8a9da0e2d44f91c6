//! The job manager's one writer of checkpoint storage: carries out orders one after the other, so that the log of the
//! leader has one owner and the job manager never waits for a disk.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::{
    env::{Env, channel::mpsc},
    error::{ErrorKind, Result},
    event::{Moment, Reporter, Step},
    id::{Attempt, CheckpointId},
    storage::{CheckpointMetadata, CheckpointStore},
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
    let mut actor = StorageActor { env: env.clone(), storage, reporter };
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
}

/// How often an append of unknown outcome is tried again before the leadership is given up.
const APPEND_TRIES: u32 = 5;
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
                self.discard(checkpoint_id).await;
                StorageResult::Discarded { checkpoint_id }
            }
            StorageOrder::Load { attempt, checkpoint_id } => {
                let result = self.load(checkpoint_id).await.map(Box::new);
                StorageResult::Loaded { attempt, checkpoint_id, directory: self.directory(checkpoint_id), result }
            }
            StorageOrder::Finish => StorageResult::Finished { result: self.finish().await },
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
        self.fact(Moment::After, Step::Completion, checkpoint_id).await
    }

    async fn discard(&mut self, checkpoint_id: CheckpointId) {
        match &mut self.storage {
            Storage::Memory(completed) => {
                completed.remove(&checkpoint_id);
            }
            Storage::Files(store) => {
                if let Err(error) = store.discard(checkpoint_id).await {
                    tracing::warn!(%checkpoint_id, %error, "checkpoint could not be deleted");
                }
            }
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
