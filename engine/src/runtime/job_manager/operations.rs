//! What clients want of the job, from the order to the answer.
//!
//! ```text
//!   checkpoint, savepoint ──► coordinator ──complete──► answer
//!   stop with savepoint   ──► coordinator ──complete──► tasks end ──job ended──► answer
//!                                                          └── one fails ──► answer: not stopped, the job goes on
//!   cancel (with savepoint) ─ (─► coordinator ──complete ─)─► tasks are stopped ──job ended──► answer
//! ```
//! Flink: `SchedulerBase.stopWithSavepoint`, `StopWithSavepointTerminationHandler`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::JobManager;
use crate::{
    checkpoint::{
        AfterSnapshot, CheckpointFailureReason, Savepoint, SavepointFormat, SnapshotType,
        coordinator::{CoordinatorInput, RequestId, TriggerKind, TriggerRequest},
        retention::CompletedKind,
    },
    error::{Error, ErrorKind, Result},
    id::CheckpointId,
    job::{ExecutionInput, JobOutcome},
    planted,
    runtime::{
        job_client::{JobStatus, Order, Reply, SavepointPurpose, SavepointRequest, StopTime},
        storage_actor::StorageOrder,
    },
    storage::parent,
};

/// What a client waits for.
pub(super) enum Operation {
    Checkpoint(Reply<CheckpointId>),
    Savepoint(SavepointOperation),
}

/// A savepoint that somebody asked for.
pub(super) struct SavepointOperation {
    directory: PathBuf,
    format: SavepointFormat,
    purpose: SavepointPurpose,
    reply: Reply<PathBuf>,
}

/// What is answered when the job has ended.
#[derive(Default)]
pub(super) struct Endings {
    /// The job stops with this savepoint.
    stopping: Option<(PathBuf, Reply<PathBuf>)>,
    /// The job is cancelled after this savepoint.
    cancelling_after: Vec<(PathBuf, Reply<PathBuf>)>,
    cancelling: Vec<Reply<()>>,
}

/// The directory of a snapshot, of which the `_metadata` may be named.
fn directory_of_snapshot(path: &Path) -> PathBuf {
    if path.ends_with("_metadata") { parent(path) } else { path.to_owned() }
}

/// An answer for somebody who may have gone.
fn answer<T>(reply: Reply<T>, result: Result<T>) {
    let _ = reply.send(result);
}

impl JobManager {
    pub(super) async fn on_order(&mut self, order: Order) {
        match order {
            Order::Status(reply) => answer(reply, Ok(self.status())),
            Order::Details(reply) => answer(reply, Ok(self.details())),
            Order::Dispose { savepoint, reply } => self.on_dispose(savepoint, reply).await,
            Order::Checkpoint(reply) => {
                self.request(TriggerKind::Manual, Operation::Checkpoint(reply)).await;
            }
            Order::Savepoint { request, purpose, reply } => self.on_savepoint_order(request, purpose, reply).await,
            Order::Cancel(reply) => {
                self.endings.cancelling.push(reply);
                self.tell_execution(ExecutionInput::Cancel).await;
            }
        }
    }

    fn status(&self) -> JobStatus {
        JobStatus {
            state: self.execution.job_state(),
            attempt: self.execution.attempt(),
            latest_checkpoint: self.coordinator.completed().latest(),
        }
    }

    /// Deletes a savepoint, unless a recovery may choose it.
    async fn on_dispose(&mut self, savepoint: PathBuf, reply: Reply<()>) {
        let directory = directory_of_snapshot(&savepoint);
        let needed = self.needed_savepoints();
        self.order(StorageOrder::Dispose { directory, needed, reply }).await;
    }

    /// The numbers under which there may be a savepoint that the job needs: what a recovery would choose now, what is claimed,
    /// and what is under way.
    fn needed_savepoints(&self) -> BTreeSet<CheckpointId> {
        if planted!("disposal_asks_only_what_was_restored_last") {
            return self.restore.iter().map(|restore| restore.metadata.checkpoint_id).collect();
        }
        let completed = self.coordinator.completed();
        let claimed = completed.entries().filter(|entry| entry.kind == CompletedKind::Checkpoint);
        let claimed = claimed.map(|entry| entry.checkpoint_id).chain(completed.latest());
        claimed.chain(self.coordinator.pending().map(|pending| pending.checkpoint_id)).collect()
    }

    async fn on_savepoint_order(
        &mut self,
        request: SavepointRequest,
        purpose: SavepointPurpose,
        reply: Reply<PathBuf>,
    ) {
        let directory = match self.savepoint_directory(request.directory.as_deref()) {
            Ok(directory) => directory,
            Err(error) => return answer(reply, Err(error)),
        };
        let kind = match purpose {
            SavepointPurpose::GoOn | SavepointPurpose::Cancel => TriggerKind::Savepoint,
            SavepointPurpose::Stop(_) => TriggerKind::StopWithSavepoint,
        };
        let operation = SavepointOperation { directory, format: request.format, purpose, reply };
        self.request(kind, Operation::Savepoint(operation)).await;
    }

    /// A directory that no savepoint has yet (Flink `AbstractFsCheckpointStorageAccess.initializeLocationForSavepoint`).
    fn savepoint_directory(&self, target: Option<&Path>) -> Result<PathBuf> {
        let Some(target) = target.or(self.setup.config.checkpoints.savepoint_directory.as_deref()) else {
            let message = "nobody has said where the savepoint should go";
            return Err(Error::new(ErrorKind::Configuration, message)
                .with_hint("name a directory, or set execution.checkpointing.savepoint-dir"));
        };
        let job: String = crate::id::job_id_of(&self.setup.job_id).chars().take(6).collect();
        let random = self.setup.env.entropy() & 0xffff_ffff_ffff;
        Ok(target.join(format!("savepoint-{job}-{random:012x}")))
    }

    async fn request(&mut self, kind: TriggerKind, operation: Operation) {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.operations.insert(request, operation);
        self.tell_coordinator(CoordinatorInput::TriggerRequested(TriggerRequest::new(request, kind))).await;
    }

    /// The savepoint that a checkpoint under way is to become.
    fn savepoint_under_way(&self, checkpoint_id: CheckpointId) -> Option<&SavepointOperation> {
        let pending = self.coordinator.pending().find(|pending| pending.checkpoint_id == checkpoint_id)?;
        match self.operations.get(&pending.request?)? {
            Operation::Savepoint(savepoint) => Some(savepoint),
            Operation::Checkpoint(_) => None,
        }
    }

    /// The directory of a savepoint under way.
    pub(super) fn directory_of_savepoint(&self, checkpoint_id: CheckpointId) -> Option<PathBuf> {
        self.savepoint_under_way(checkpoint_id).map(|savepoint| savepoint.directory.clone())
    }

    /// What tasks are asked for.
    pub(super) fn snapshot_type(&self, checkpoint_id: CheckpointId) -> SnapshotType {
        let Some(savepoint) = self.savepoint_under_way(checkpoint_id) else { return SnapshotType::Checkpoint };
        let then = match savepoint.purpose {
            SavepointPurpose::GoOn | SavepointPurpose::Cancel => AfterSnapshot::GoOn,
            SavepointPurpose::Stop(StopTime::Suspend) => AfterSnapshot::Suspend,
            SavepointPurpose::Stop(StopTime::Drain) => AfterSnapshot::Terminate,
        };
        let directory = savepoint.directory.to_string_lossy().into_owned();
        SnapshotType::Savepoint(Savepoint { format: savepoint.format, then, directory })
    }

    /// A request led to a complete checkpoint or savepoint.
    pub(super) async fn request_completed(&mut self, request: RequestId, checkpoint_id: CheckpointId) {
        match self.operations.remove(&request) {
            None => {}
            Some(Operation::Checkpoint(reply)) => answer(reply, Ok(checkpoint_id)),
            Some(Operation::Savepoint(SavepointOperation { directory, purpose, reply, .. })) => match purpose {
                SavepointPurpose::GoOn => answer(reply, Ok(directory)),
                SavepointPurpose::Stop(_) => {
                    self.summary.stopped_with = Some(directory.clone());
                    self.endings.stopping = Some((directory, reply));
                    // Its data may have ended as well: there is nothing left that a final checkpoint could commit.
                    self.final_request = None;
                    Box::pin(self.tell_execution(ExecutionInput::StoppedWithSavepoint(checkpoint_id))).await;
                }
                SavepointPurpose::Cancel => {
                    self.endings.cancelling_after.push((directory, reply));
                    Box::pin(self.tell_execution(ExecutionInput::Cancel)).await;
                }
            },
        }
    }

    /// A request will not lead to a checkpoint.
    pub(super) fn request_rejected(&mut self, request: RequestId, reason: CheckpointFailureReason) {
        let Some(operation) = self.operations.remove(&request) else { return };
        if matches!(operation, Operation::Savepoint(_)) && planted!("failed_savepoint_ends_the_job") {
            let failed = JobOutcome::Failed { reason: format!("a savepoint failed: {}", reason.name()) };
            self.ended.get_or_insert(Ok(failed));
        }
        let what = match &operation {
            Operation::Checkpoint(_) => "checkpoint",
            Operation::Savepoint(_) => "savepoint",
        };
        let mut message = format!("there is no {what}: {}", reason.name());
        if let Some((_, said)) = &self.failing {
            message = format!("{message}: {said}");
        }
        let error = Error::new(ErrorKind::Unavailable, message);
        match operation {
            Operation::Checkpoint(reply) => answer(reply, Err(error)),
            Operation::Savepoint(savepoint) => answer(savepoint.reply, Err(error)),
        }
    }

    /// The attempt failed that was to end with a savepoint: the job goes on.
    pub(super) fn stop_failed(&mut self, reason: &str) {
        self.summary.stopped_with = None;
        if let Some((directory, reply)) = self.endings.stopping.take() {
            let message = format!(
                "the job has not stopped: it failed after the savepoint {} was complete, and goes on from it: {reason}",
                directory.display()
            );
            answer(reply, Err(Error::new(ErrorKind::JobFailed, message)));
        }
    }

    /// The job has finished.
    pub(super) fn answer_finished(&mut self) {
        let endings = std::mem::take(&mut self.endings);
        if let Some((directory, reply)) = endings.stopping {
            answer(reply, Ok(directory));
        }
        let late = || Error::new(ErrorKind::Unavailable, "the job finished before it could be cancelled");
        endings.cancelling.into_iter().for_each(|reply| answer(reply, Err(late())));
        endings.cancelling_after.into_iter().for_each(|(_, reply)| answer(reply, Err(late())));
    }

    /// The job is cancelled.
    pub(super) fn answer_cancelled(&mut self) {
        let endings = std::mem::take(&mut self.endings);
        if let Some((directory, reply)) = endings.stopping {
            let message = format!(
                "the job was cancelled after the savepoint {} was complete, before it had stopped",
                directory.display()
            );
            answer(reply, Err(Error::new(ErrorKind::Unavailable, message)));
        }
        endings.cancelling.into_iter().for_each(|reply| answer(reply, Ok(())));
        endings.cancelling_after.into_iter().for_each(|(directory, reply)| answer(reply, Ok(directory)));
    }

    /// The job has failed for good.
    pub(super) fn answer_failed(&mut self, reason: &str) {
        let endings = std::mem::take(&mut self.endings);
        let failed = || Error::new(ErrorKind::JobFailed, reason.to_owned());
        endings.cancelling.into_iter().for_each(|reply| answer(reply, Err(failed())));
        endings.cancelling_after.into_iter().for_each(|(_, reply)| answer(reply, Err(failed())));
    }
}
