//! Why a checkpoint attempt or a request for one came to nothing.
//!
//! The closed list of Flink's `CheckpointFailureReason`, with Flink's names on the wire and in reports, so that a
//! reader who knows the one knows the other. Whether a reason counts against the tolerable failures is decided in
//! one place, [`CheckpointFailureReason::counts`].

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// Why a checkpoint attempt, or a request for one, came to nothing (Flink `CheckpointFailureReason`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum CheckpointFailureReason {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl CheckpointFailureReason {
            /// Every reason.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Flink's name of the reason.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// Periodic checkpointing is not running.
    PeriodicSchedulerShutdown = "PERIODIC_SCHEDULER_SHUTDOWN",
    /// The queue of requests is full and this one has the lowest priority.
    TooManyCheckpointRequests = "TOO_MANY_CHECKPOINT_REQUESTS",
    /// A periodic request came too soon after the last completion.
    MinimumTimeBetweenCheckpoints = "MINIMUM_TIME_BETWEEN_CHECKPOINTS",
    /// Not all tasks run, so that there is nothing consistent to take.
    NotAllRequiredTasksRunning = "NOT_ALL_REQUIRED_TASKS_RUNNING",
    /// The storage failed before anything was triggered.
    IoException = "IO_EXCEPTION",
    /// A task declined for a reason that has no name of its own.
    CheckpointDeclined = "CHECKPOINT_DECLINED",
    /// A task is not running yet.
    TaskNotReady = "CHECKPOINT_DECLINED_TASK_NOT_READY",
    /// A task is about to end.
    TaskClosing = "CHECKPOINT_DECLINED_TASK_CLOSING",
    /// A task saw a barrier of a newer checkpoint during alignment.
    DeclinedSubsumed = "CHECKPOINT_DECLINED_SUBSUMED",
    /// A task received the cancel marker of a task upstream.
    DeclinedOnCancellationBarrier = "CHECKPOINT_DECLINED_ON_CANCELLATION_BARRIER",
    /// An input ended during alignment, and ended inputs do not take part in checkpoints.
    DeclinedInputEndOfStream = "CHECKPOINT_DECLINED_INPUT_END_OF_STREAM",
    /// The asynchronous part of a task's snapshot failed.
    CheckpointAsyncException = "CHECKPOINT_ASYNC_EXCEPTION",
    /// The stream that several subtasks share for their in-flight data failed.
    ChannelStateSharedStreamException = "CHANNEL_STATE_SHARED_STREAM_EXCEPTION",
    /// It took longer than the timeout.
    CheckpointExpired = "CHECKPOINT_EXPIRED",
    /// A newer checkpoint completed first.
    CheckpointSubsumed = "CHECKPOINT_SUBSUMED",
    /// The coordinator lost its leadership or was put on hold.
    CoordinatorSuspend = "CHECKPOINT_COORDINATOR_SUSPEND",
    /// The coordinator was shut down.
    CoordinatorShutdown = "CHECKPOINT_COORDINATOR_SHUTDOWN",
    /// The job failed over.
    JobFailoverRegion = "JOB_FAILOVER_REGION",
    /// A task failed while it took the checkpoint.
    TaskCheckpointFailure = "TASK_CHECKPOINT_FAILURE",
    /// A task failed.
    TaskFailure = "TASK_FAILURE",
    /// Metadata could not be written or published.
    FinalizeCheckpointFailure = "FINALIZE_CHECKPOINT_FAILURE",
    /// The tasks could not be told to take the checkpoint.
    TriggerCheckpointFailure = "TRIGGER_CHECKPOINT_FAILURE",
    /// A task writes to an output that cannot take part.
    BlockingOutputExist = "BLOCKING_OUTPUT_EXIST",
    /// A task could not be told of the fate of the checkpoint.
    TaskNotificationFailure = "UNKNOWN_TASK_CHECKPOINT_NOTIFICATION_FAILURE",
}

impl CheckpointFailureReason {
    /// Whether it counts against `execution.checkpointing.tolerable-failed-checkpoints`.
    pub fn counts(self) -> bool {
        match self {
            Self::IoException
            | Self::CheckpointAsyncException
            | Self::CheckpointDeclined
            | Self::CheckpointExpired
            | Self::FinalizeCheckpointFailure => true,
            Self::PeriodicSchedulerShutdown
            | Self::TooManyCheckpointRequests
            | Self::MinimumTimeBetweenCheckpoints
            | Self::NotAllRequiredTasksRunning
            | Self::TaskNotReady
            | Self::TaskClosing
            | Self::DeclinedSubsumed
            | Self::DeclinedOnCancellationBarrier
            | Self::DeclinedInputEndOfStream
            | Self::ChannelStateSharedStreamException
            | Self::CheckpointSubsumed
            | Self::CoordinatorSuspend
            | Self::CoordinatorShutdown
            | Self::JobFailoverRegion
            | Self::TaskCheckpointFailure
            | Self::TaskFailure
            | Self::TriggerCheckpointFailure
            | Self::BlockingOutputExist
            | Self::TaskNotificationFailure => false,
        }
    }
}

impl fmt::Display for CheckpointFailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
