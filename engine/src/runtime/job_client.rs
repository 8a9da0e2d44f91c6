//! What can be asked of a running job from outside: savepoints, its end, its state (Flink `JobClient`,
//! `RestClusterClient`).
//!
//! A [`JobClient`] sends orders to the job manager of its process, over all leaderships of it, and waits for the answers. If
//! the job manager loses its leadership meanwhile, nobody knows whether an order was carried out:
//! [`ErrorKind::Unknown`]. A savepoint that was ordered may be complete then.

use std::path::PathBuf;

use crate::{
    checkpoint::SavepointFormat,
    env::channel::{mpsc, oneshot},
    error::{Error, ErrorKind, Result},
    id::{Attempt, CheckpointId},
    job::JobState,
    runtime::JobDetails,
};

/// Asks and orders.
#[derive(Debug, Clone)]
pub struct JobClient {
    orders: mpsc::Sender<Order>,
}

/// Where the orders of clients arrive.
#[derive(Debug)]
pub struct Orders {
    /// Keeps the queue open when there are no clients.
    _open: mpsc::Sender<Order>,
    pub(super) queue: mpsc::Receiver<Order>,
}

/// How a savepoint is to be taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SavepointRequest {
    /// The directory in which it gets a directory of its own; `None` takes the one of the configuration
    /// (`execution.checkpointing.savepoint-dir`).
    pub directory: Option<PathBuf>,
    /// How state is written.
    pub format: SavepointFormat,
}

impl SavepointRequest {
    /// In the canonical format, somewhere in this directory.
    pub fn into(directory: impl Into<PathBuf>) -> Self {
        Self { directory: Some(directory.into()), format: SavepointFormat::Canonical }
    }
}

/// What becomes of event time when a job stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopTime {
    /// It stands still: windows stay open, and the job can go on from the savepoint.
    Suspend,
    /// It comes to its end: windows fire. The savepoint is not meant to go on from (`--drain`).
    Drain,
}

/// How a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// What it does.
    pub state: JobState,
    /// The attempt that runs or ran last.
    pub attempt: Attempt,
    /// The newest completed checkpoint.
    pub latest_checkpoint: Option<CheckpointId>,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// What a savepoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SavepointPurpose {
    /// The job goes on.
    GoOn,
    /// The job ends with it, and commits what is before it.
    Stop(StopTime),
    /// The job is cancelled after it, and commits nothing.
    Cancel,
}

/// Something that a client wants.
#[derive(Debug)]
pub(super) enum Order {
    Status(Reply<JobStatus>),
    Details(Reply<JobDetails>),
    Dispose { savepoint: PathBuf, reply: Reply<()> },
    Checkpoint(Reply<CheckpointId>),
    Savepoint { request: SavepointRequest, purpose: SavepointPurpose, reply: Reply<PathBuf> },
    Cancel(Reply<()>),
}

const ORDERS: usize = 64;

/// A client, and where its orders arrive: to be given to the job manager that it is to ask.
pub fn job_client() -> (JobClient, Orders) {
    let (orders, queue) = mpsc::channel(ORDERS);
    (JobClient { orders: orders.clone() }, Orders { _open: orders, queue })
}

impl JobClient {
    /// How the job is.
    ///
    /// # Errors
    /// If it has ended and its job manager is gone.
    pub async fn status(&self) -> Result<JobStatus> {
        self.ask(Order::Status).await
    }

    /// Everything that is told of the job.
    ///
    /// # Errors
    /// If it has ended and its job manager is gone.
    pub async fn details(&self) -> Result<JobDetails> {
        self.ask(Order::Details).await
    }

    /// Deletes a savepoint. What the job may still need stays.
    ///
    /// # Errors
    /// If it is none, the job may still need it, or the storage refuses.
    pub async fn dispose_savepoint(&self, savepoint: PathBuf) -> Result<()> {
        self.ask(|reply| Order::Dispose { savepoint, reply }).await
    }

    /// Takes a checkpoint now, and waits until it is complete.
    ///
    /// # Errors
    /// Why it came to nothing.
    pub async fn trigger_checkpoint(&self) -> Result<CheckpointId> {
        self.ask(Order::Checkpoint).await
    }

    /// Takes a savepoint and waits until it is complete: its directory. The job goes on; nothing is committed.
    ///
    /// # Errors
    /// Why it came to nothing.
    pub async fn trigger_savepoint(&self, request: SavepointRequest) -> Result<PathBuf> {
        self.savepoint(request, SavepointPurpose::GoOn).await
    }

    /// Stops the job with a savepoint: everything before it is committed, and waited for. The savepoint's directory.
    ///
    /// # Errors
    /// Why it did not stop. If tasks stood still already, the job is restarted and goes on.
    pub async fn stop_with_savepoint(&self, request: SavepointRequest, time: StopTime) -> Result<PathBuf> {
        self.savepoint(request, SavepointPurpose::Stop(time)).await
    }

    /// Takes a savepoint and then cancels the job. What is after its last checkpoint is never committed; better
    /// [stop it](Self::stop_with_savepoint).
    ///
    /// # Errors
    /// Why there is no savepoint; then the job goes on.
    pub async fn cancel_with_savepoint(&self, request: SavepointRequest) -> Result<PathBuf> {
        self.savepoint(request, SavepointPurpose::Cancel).await
    }

    /// Cancels the job and waits until nothing of it runs. What is after its last checkpoint is never committed.
    ///
    /// # Errors
    /// If it has ended otherwise.
    pub async fn cancel(&self) -> Result<()> {
        self.ask(Order::Cancel).await
    }

    async fn savepoint(&self, request: SavepointRequest, purpose: SavepointPurpose) -> Result<PathBuf> {
        self.ask(|reply| Order::Savepoint { request, purpose, reply }).await
    }

    async fn ask<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        if self.orders.send(order(reply)).await.is_err() {
            return Err(Error::new(ErrorKind::Unavailable, "the job has ended"));
        }
        answer.await.unwrap_or_else(|_| {
            let message = "the job manager did not answer: it may have done what it was asked for";
            Err(Error::new(ErrorKind::Unknown, message).with_hint("see how the job is, then ask again"))
        })
    }
}
