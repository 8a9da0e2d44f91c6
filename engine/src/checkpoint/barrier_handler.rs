//! What a task does with the barriers that arrive on its inputs.
//!
//! [`BarrierHandler`] is the one type that a task holds; inside it is the [`Aligner`] (exactly-once) or the
//! [`BarrierTracker`] (at-least-once). Both are pure: the task feeds in what arrived and carries out the actions in
//! order before it reads on. Records do not pass through here: the task asks [`BarrierHandler::is_blocked`] before it
//! takes the next element of a channel, and it keeps what is to be recorded.
//!
//! Guarantees, for both: a checkpoint is snapshotted at most once and in rising order of ids. An aligned one is
//! snapshotted after every open channel delivered its barrier, and not aborted after it. An unaligned one is snapshotted
//! at the first barrier, everything up to the other barriers is recorded, and until the last of them it can be aborted. A
//! task without open channels is told of checkpoints by the coordinator instead. Flink `CheckpointBarrierHandler`.

use std::collections::BTreeSet;

use super::{Aligner, BarrierTracker, CheckpointBarrier, CheckpointFailureReason};
use crate::{config::CheckpointingMode, id::CheckpointId, time::Timestamp};

/// Something about checkpoints that arrived on an input channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlignerInput {
    /// The barrier of a checkpoint.
    Barrier {
        /// On which channel.
        channel: usize,
        /// The barrier.
        barrier: CheckpointBarrier,
    },
    /// A barrier with a time-out lies in a channel, behind other elements (Flink `EventAnnouncement`).
    Announced {
        /// In which channel.
        channel: usize,
        /// The barrier.
        barrier: CheckpointBarrier,
    },
    /// A task upstream gave this checkpoint up: its barrier will not come (Flink `CancelCheckpointMarker`).
    CancelMarker {
        /// On which channel.
        channel: usize,
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// The channel delivered its last element (Flink `EndOfPartitionEvent`).
    EndOfChannel {
        /// Which channel.
        channel: usize,
    },
    /// Time has come: [`BarrierHandler::deadline`] is reached. Harmless at other times.
    Tick,
}

/// What the task has to do, in this order, before it reads on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlignerAction {
    /// The first barrier of several is here: alignment begins. For measuring only.
    AlignmentStarted(CheckpointId),
    /// Take nothing more from this channel.
    Block(usize),
    /// Take from all channels again.
    UnblockAll,
    /// Take the barrier of this channel before what lies in front of it, as one that has overtaken that.
    Prioritize {
        /// Which channel.
        channel: usize,
        /// Of which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// Keep for the checkpoint what lies in these channels, up to its barrier, and what comes before its barrier.
    Record {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// Which channels.
        channels: BTreeSet<usize>,
    },
    /// The barrier of this channel was taken: what comes now is not part of the checkpoint.
    StopRecording(usize),
    /// What was recorded is complete.
    AllBarriersReceived(CheckpointId),
    /// Forward the barrier and take the snapshot.
    Snapshot(CheckpointBarrier),
    /// Decline the checkpoint, forward a cancel marker, and drop what was recorded.
    Abort {
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// Why.
        reason: CheckpointFailureReason,
    },
}

/// What the end of a channel means for a checkpoint that waits for its barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndOfChannelRule {
    /// It counts as the barrier (FLIP-147).
    #[default]
    CountsAsBarrier,
    /// It aborts the checkpoint (`execution.checkpointing.checkpoints-after-tasks-finish: false`).
    AbortsCheckpoint,
}

/// The barrier handling of one task.
///
/// ```
/// use tidegate::{
///     checkpoint::{Alignment, AlignerAction, AlignerInput, BarrierHandler, CheckpointBarrier, SnapshotType},
///     config::CheckpointingMode,
///     id::CheckpointId,
///     time::Timestamp,
/// };
///
/// let barrier = CheckpointBarrier {
///     checkpoint_id: CheckpointId(1),
///     triggered_at: Timestamp(0),
///     alignment: Alignment::Aligned,
///     snapshot: SnapshotType::Checkpoint,
/// };
/// let mut handler = BarrierHandler::new(CheckpointingMode::ExactlyOnce, 2);
/// let mut actions = Vec::new();
///
/// handler.handle(Timestamp(0), AlignerInput::Barrier { channel: 0, barrier: barrier.clone() }, &mut actions);
/// assert_eq!(actions, [AlignerAction::AlignmentStarted(CheckpointId(1)), AlignerAction::Block(0)]);
/// assert!(handler.is_blocked(0) && !handler.is_blocked(1));
///
/// actions.clear();
/// handler.handle(Timestamp(0), AlignerInput::Barrier { channel: 1, barrier: barrier.clone() }, &mut actions);
/// assert_eq!(actions, [AlignerAction::Snapshot(barrier), AlignerAction::UnblockAll]);
/// ```
#[derive(Debug, Clone)]
pub enum BarrierHandler {
    /// Exactly-once: channels that delivered the barrier wait for the others.
    Aligned(Aligner),
    /// At-least-once: nothing waits.
    Tracked(BarrierTracker),
}

impl BarrierHandler {
    /// A handler for a task with this many input channels, numbered from 0.
    pub fn new(mode: CheckpointingMode, channels: usize) -> Self {
        Self::with_rule(mode, channels, EndOfChannelRule::default())
    }

    /// As [`BarrierHandler::new`], with a choice of what the end of a channel means.
    pub fn with_rule(mode: CheckpointingMode, channels: usize, rule: EndOfChannelRule) -> Self {
        match mode {
            CheckpointingMode::ExactlyOnce => Self::Aligned(Aligner::new(channels, rule)),
            CheckpointingMode::AtLeastOnce => Self::Tracked(BarrierTracker::new(channels, rule)),
        }
    }

    /// Takes in what arrived and appends what has to be done.
    pub fn handle(&mut self, now: Timestamp, input: AlignerInput, actions: &mut Vec<AlignerAction>) {
        match self {
            Self::Aligned(aligner) => aligner.handle(now, input, actions),
            Self::Tracked(tracker) => tracker.handle(input, actions),
        }
    }

    /// When the next [`AlignerInput::Tick`] is wanted.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Aligned(aligner) => aligner.deadline(),
            Self::Tracked(_) => None,
        }
    }

    /// Whether the task must take nothing from this channel for now.
    pub fn is_blocked(&self, channel: usize) -> bool {
        match self {
            Self::Aligned(aligner) => aligner.is_blocked(channel),
            Self::Tracked(_) => false,
        }
    }
}
