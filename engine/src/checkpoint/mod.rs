//! The checkpoint protocol: pure decisions, no IO, no clock.

mod aligner;
pub mod assignment;
mod barrier;
mod barrier_handler;
#[cfg(test)]
mod barrier_tests;
pub mod coordinator;
mod in_flight_assignment;
mod permit;
pub mod plan;
mod reason;
pub mod retention;
mod shared_state;
mod snapshot_type;
pub mod statistics;
mod tracker;

pub use self::{
    aligner::Aligner,
    barrier::{Alignment, CheckpointBarrier},
    barrier_handler::{AlignerAction, AlignerInput, BarrierHandler, EndOfChannelRule},
    in_flight_assignment::{Rescaling, SubtaskStateMapper, UnsupportedRescaling},
    permit::CommitPermit,
    reason::CheckpointFailureReason,
    shared_state::{
        Layout, Ownership, Registered, RestoredSnapshot, SharedStateKey, SharedStateRegistry, Unregistered,
    },
    snapshot_type::{AfterSnapshot, Savepoint, SavepointFormat, SnapshotType},
    tracker::BarrierTracker,
};
