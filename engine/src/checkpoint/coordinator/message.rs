//! What the coordinator is told, and what it asks for.

use std::collections::BTreeSet;

use super::{CheckpointPlan, RequestId, TriggerRequest};
use crate::{
    checkpoint::{CheckpointBarrier, CheckpointFailureReason, CommitPermit, retention::Files},
    id::{CheckpointId, SubtaskId},
};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoordinatorInput {
    /// Time has come: [`deadline`](super::CheckpointCoordinator::deadline) is reached. Harmless at other times.
    Tick,
    /// Somebody wants a checkpoint or a savepoint.
    TriggerRequested(TriggerRequest),
    /// All tasks run: checkpointing begins, the first trigger is due after the first delay.
    ///
    /// Not to be sent while a checkpoint is [being stored](super::CheckpointCoordinator::storing): what a recovery
    /// would find is not known then.
    TasksRunning(CheckpointPlan),
    /// Some tasks came to their end; the job runs on (FLIP-147).
    TasksFinished {
        /// They take part in no checkpoint from now on.
        finished: Vec<SubtaskId>,
        /// Who is told to begin from now on.
        to_trigger: Vec<SubtaskId>,
    },
    /// Some tasks fail or are stopped, and start again; the others run on. Everything that is not being stored is aborted, and
    /// nothing is triggered until [`TasksRunning`](Self::TasksRunning). Those that run on are told of that, and of what is being
    /// stored.
    TasksFailed {
        /// Who does not run any more.
        tasks: BTreeSet<SubtaskId>,
    },
    /// The whole job stops: everything that is not being stored is aborted, and nothing is triggered.
    TasksStopped,
    /// The location of a checkpoint exists.
    LocationReady {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// The location of a checkpoint could not be created.
    LocationFailed {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// [`CheckpointFailureReason::IoException`], or what else it was.
        reason: CheckpointFailureReason,
    },
    /// A task has kept its part of a checkpoint.
    Acknowledge {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// Which task. The shell has dropped what came from earlier attempts.
        task: SubtaskId,
    },
    /// A task will not take part, or could not be told to.
    Decline {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// Which task.
        task: SubtaskId,
        /// Why.
        reason: CheckpointFailureReason,
    },
    /// Metadata is durable and the entry is published: a recovery finds the checkpoint.
    Stored {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// Metadata could not be written, or the entry not be published.
    StoreFailed {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// What a recovery would find.
        outcome: StoreOutcome,
    },
    /// The files of a discarded or dropped checkpoint are gone, or given up: deleting is over.
    Cleaned {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
    },
}

/// What is known of a checkpoint that could not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreOutcome {
    /// A recovery cannot find it: its files may go.
    NotStored,
    /// A recovery may find it: nothing of it may be deleted before a newer one is complete.
    Unknown,
    /// It was not tried, because the checkpoint cannot say what it would have to: a recovery cannot find it.
    Refused(CheckpointFailureReason),
}

/// What the shell has to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum CoordinatorAction {
    /// Create the location; answer with `LocationReady` or `LocationFailed`.
    PrepareLocation {
        /// Of which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// Tell these tasks to take the checkpoint and send the barrier on.
    TriggerTasks {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// What they send on.
        barrier: CheckpointBarrier,
        /// Who.
        tasks: Vec<SubtaskId>,
    },
    /// The state just acknowledged is part of the checkpoint: hold it until `Store` or `Discard`.
    KeepState {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// From whom.
        task: SubtaskId,
    },
    /// The state just acknowledged is part of nothing: delete it, except for shared files.
    DiscardState {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// From whom.
        task: SubtaskId,
    },
    /// Write the metadata from the states that were kept, and publish the entry; answer with `Stored` or `StoreFailed`.
    Store {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// Tell these tasks that the checkpoint is complete: they may commit what belongs to it and to all before it.
    NotifyComplete {
        /// Which checkpoint, with the proof that it is complete.
        permit: CommitPermit,
        /// Who.
        tasks: Vec<SubtaskId>,
    },
    /// Tell these tasks that the checkpoint is given up. They stop working on it; what they pre-committed stays.
    NotifyAborted {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// The newest that is complete.
        latest_completed: Option<CheckpointId>,
        /// Who.
        tasks: Vec<SubtaskId>,
    },
    /// Tell these tasks that an older checkpoint is not needed any more.
    NotifySubsumed {
        /// Which one is gone.
        checkpoint_id: CheckpointId,
        /// Who.
        tasks: Vec<SubtaskId>,
    },
    /// Delete the private files of an aborted checkpoint, then answer with `Cleaned`.
    Discard {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// Take a completed checkpoint out of the store, then answer with `Cleaned`.
    DropCompleted {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// What becomes of its private files.
        files: Files,
    },
    /// More checkpoints failed than are tolerated: the job must fail over.
    FailJob {
        /// The one that was too much.
        checkpoint_id: CheckpointId,
        /// Why it failed.
        reason: CheckpointFailureReason,
    },
    /// A request led to this complete checkpoint or savepoint.
    CompleteRequest {
        /// Which request.
        request: RequestId,
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// A request will not lead to a checkpoint.
    RejectRequest {
        /// Which request.
        request: RequestId,
        /// Why.
        reason: CheckpointFailureReason,
    },
}
