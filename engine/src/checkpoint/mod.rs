//! The checkpoint protocol: pure decisions, no IO, no clock.

mod aligner;
mod barrier_handler;
#[cfg(test)]
mod barrier_tests;
pub mod coordinator;
mod permit;
mod reason;
pub mod retention;
mod shared_state;
mod tracker;

pub use self::{
    aligner::Aligner,
    barrier_handler::{AlignerAction, AlignerInput, BarrierHandler, EndOfChannelRule},
    permit::CommitPermit,
    reason::CheckpointFailureReason,
    shared_state::{
        Layout, Ownership, Registered, RestoredSnapshot, SharedStateKey, SharedStateRegistry, Unregistered,
    },
    tracker::BarrierTracker,
};

use serde::{Deserialize, Serialize};

use crate::{id::CheckpointId, time::Timestamp};

/// Marks the cut of a checkpoint in the stream (Carbone et al. 2015; Flink `CheckpointBarrier`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointBarrier {
    /// Which checkpoint.
    pub checkpoint_id: CheckpointId,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// How tasks with several inputs treat it.
    pub alignment: Alignment,
}

/// What a task with several inputs does between the first and the last barrier of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Alignment {
    /// Block the channels that delivered the barrier: exactly-once.
    Aligned,
    /// Block nothing: at-least-once.
    AtLeastOnce,
}
