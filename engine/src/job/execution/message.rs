//! What the execution graph is told, what it answers, and how it says how the job is.

use std::collections::BTreeSet;

use super::super::placement::Placement;
use crate::{
    error::Recoverability,
    id::{Attempt, CheckpointId, ExecutionAttempt, SubtaskId, TaskManagerId},
};

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    /// Its data ended and everything is committed.
    Finished,
    /// Somebody cancelled it.
    Cancelled,
    /// It failed for good.
    Failed {
        /// The last failure and why there is no restart.
        reason: String,
    },
    /// What it should start from cannot be restored: nothing was changed.
    CannotRestore {
        /// Why.
        reason: String,
    },
}

/// What a job does, in a word (Flink `JobStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobState {
    /// It waits for slots.
    Created,
    /// Its tasks are being deployed, or run.
    Running,
    /// It failed, and starts again.
    Restarting,
    /// It failed for good; its tasks are being stopped.
    Failing,
    /// It failed for good.
    Failed,
    /// Somebody cancelled it; its tasks are being stopped.
    Cancelling,
    /// Somebody cancelled it.
    #[serde(rename = "CANCELED")]
    Cancelled,
    /// It came to its end, and everything is committed.
    Finished,
}

impl JobState {
    /// Flink's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Restarting => "RESTARTING",
            Self::Failing => "FAILING",
            Self::Failed => "FAILED",
            Self::Cancelling => "CANCELLING",
            Self::Cancelled => "CANCELED",
            Self::Finished => "FINISHED",
        }
    }

    /// Whether it stays that way.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Failed | Self::Cancelled | Self::Finished => true,
            Self::Created | Self::Running | Self::Restarting | Self::Failing | Self::Cancelling => false,
        }
    }
}

/// What the execution graph is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutionInput {
    /// A task manager is there.
    TaskManagerRegistered {
        /// Who.
        task_manager: TaskManagerId,
        /// How many slots it has.
        slots: u32,
    },
    /// A task manager is gone, or must be taken for gone.
    TaskManagerLost {
        /// Who.
        task_manager: TaskManagerId,
        /// What is known about it.
        reason: String,
    },
    /// It is known what the attempt starts from.
    RestoreReady {
        /// The attempt.
        attempt: Attempt,
    },
    /// A task manager has created its tasks.
    Deployed {
        /// Who.
        task_manager: TaskManagerId,
        /// The attempt.
        attempt: Attempt,
    },
    /// A subtask runs.
    Running(ExecutionAttempt),
    /// A subtask has seen the end of its data.
    EndOfData(ExecutionAttempt),
    /// A subtask ended as asked.
    Finished(ExecutionAttempt),
    /// Something failed, or what it should start from cannot be read.
    Failed {
        /// Who, and so which regions.
        culprit: Culprit,
        /// What.
        reason: String,
        /// Whether a restart may help.
        recoverability: Recoverability,
    },
    /// Nothing of the attempt runs on a task manager any more.
    Cancelled {
        /// Who.
        task_manager: TaskManagerId,
        /// The attempt.
        attempt: Attempt,
    },
    /// The tasks are told to take the savepoint that the job stops with: each stands still after it, so that a failure
    /// concerns all of them.
    StoppingWithSavepoint,
    /// The savepoint that the job stops with is complete: its tasks have been told, and end by themselves.
    StoppedWithSavepoint(CheckpointId),
    /// Somebody cancels the job.
    Cancel,
    /// A checkpoint that was triggered after the end of all data is complete.
    FinalCheckpointCompleted(CheckpointId),
    /// Time passed.
    Tick,
}

/// Who failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Culprit {
    /// A subtask: its region restarts.
    Task(ExecutionAttempt),
    /// Something that these attempts have in common, such as the checkpoint that they start from: their regions restart.
    Attempts(Vec<Attempt>),
    /// Nobody in particular: all restart (Flink `handleGlobalFailure`).
    Job,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutionAction {
    /// Find out what the attempt starts from; answer with `RestoreReady` or `Failed`.
    PrepareRestore(Attempt),
    /// Send each task manager its tasks.
    Deploy {
        /// The attempt.
        attempt: Attempt,
        /// Where each subtask runs.
        placement: Placement,
    },
    /// Start the tasks of the attempt everywhere.
    Start(Attempt),
    /// Every subtask runs: checkpoints may be taken. The newest attempt.
    AllRunning(Attempt),
    /// These tasks are stopped: no checkpoint may be taken or completed until all run again.
    StopCheckpoints {
        /// Their attempt, or the newest of theirs.
        attempt: Attempt,
        /// Who is stopped; the others run on.
        stopped: BTreeSet<SubtaskId>,
        /// Who of them failed; nobody if it was nobody in particular.
        failed: BTreeSet<SubtaskId>,
        /// Why.
        reason: String,
    },
    /// Somebody cancels the job: no checkpoint may be taken or completed. The newest attempt.
    AbandonCheckpoints(Attempt),
    /// Stop all tasks of the attempt on these task managers.
    Cancel {
        /// The attempt.
        attempt: Attempt,
        /// Who still may run some.
        task_managers: BTreeSet<TaskManagerId>,
    },
    /// A subtask has finished, others have not: checkpoints go on without it.
    TaskFinished {
        /// Who.
        subtask: SubtaskId,
        /// All that have finished.
        finished: BTreeSet<SubtaskId>,
    },
    /// All data has ended: one more checkpoint commits the rest. The newest attempt.
    TriggerFinalCheckpoint(Attempt),
    /// Everything is committed: end the tasks of this attempt.
    Finish(Attempt),
    /// The job has ended.
    End(JobOutcome),
}
