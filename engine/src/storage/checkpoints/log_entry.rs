//! The entries of the leader's log.

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::retention::JobEnd,
    config::ClaimMode,
    id::{CheckpointId, Epoch},
};

/// An entry of the leader's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogEntry {
    /// A leader took over.
    Takeover {
        /// Its epoch.
        epoch: Epoch,
        /// Distinguishes two that claim the same epoch.
        token: u64,
        /// Its first checkpoint: all ids below are used up, also those of which no trace is left.
        next_checkpoint_id: CheckpointId,
    },
    /// A checkpoint is complete.
    Completed {
        /// The leader's epoch.
        epoch: Epoch,
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// The job has ended and everything is committed.
    Finished {
        /// The leader's epoch.
        epoch: Epoch,
    },
    /// The savepoint that the job stops with is complete: if it does not come to its end, it goes on from there.
    CompletedSavepoint {
        /// The leader's epoch.
        epoch: Epoch,
        /// Which.
        checkpoint_id: CheckpointId,
        /// Its directory.
        directory: String,
    },
    /// The job has ended otherwise.
    Ended {
        /// The leader's epoch.
        epoch: Epoch,
        /// How.
        end: JobEnd,
    },
    /// Somebody submits the job from a checkpoint or savepoint: a new run begins. What earlier runs have kept is the
    /// user's.
    Restored {
        /// The leader's epoch.
        epoch: Epoch,
        /// What it starts from.
        from: RestoredFrom,
        /// Tells submissions apart: one that has ended does not begin again when its process comes back.
        submission: u64,
    },
    /// A savepoint is begun, which nobody else would know of if its leader died: half of one belongs to nobody.
    SavepointBegun {
        /// The leader's epoch.
        epoch: Epoch,
        /// Its number among checkpoints.
        checkpoint_id: CheckpointId,
        /// Its directory.
        directory: String,
    },
}

impl LogEntry {
    /// The checkpoint that it says is complete.
    pub fn completed(&self) -> Option<CheckpointId> {
        match self {
            Self::Completed { checkpoint_id, .. } | Self::CompletedSavepoint { checkpoint_id, .. } => {
                Some(*checkpoint_id)
            }
            Self::Takeover { .. }
            | Self::Finished { .. }
            | Self::Ended { .. }
            | Self::Restored { .. }
            | Self::SavepointBegun { .. } => None,
        }
    }

    /// How it says that the job has ended.
    pub fn job_end(&self) -> Option<JobEnd> {
        match self {
            Self::Finished { .. } => Some(JobEnd::Finished),
            Self::Ended { end, .. } => Some(*end),
            Self::Takeover { .. }
            | Self::Completed { .. }
            | Self::CompletedSavepoint { .. }
            | Self::SavepointBegun { .. }
            | Self::Restored { .. } => None,
        }
    }

    /// The epoch of the leader that wrote it.
    pub(super) fn epoch(&self) -> Epoch {
        match self {
            Self::Takeover { epoch, .. }
            | Self::Completed { epoch, .. }
            | Self::CompletedSavepoint { epoch, .. }
            | Self::SavepointBegun { epoch, .. }
            | Self::Finished { epoch }
            | Self::Ended { epoch, .. }
            | Self::Restored { epoch, .. } => *epoch,
        }
    }
}

/// What a run starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredFrom {
    /// Which checkpoint.
    pub checkpoint_id: CheckpointId,
    /// Its directory.
    pub directory: String,
    /// Whose it is.
    pub claim_mode: ClaimMode,
}
