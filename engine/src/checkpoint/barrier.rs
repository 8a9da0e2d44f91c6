//! The barrier, and how those whom it reaches treat it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SnapshotType;
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
    /// What is asked for.
    pub snapshot: SnapshotType,
}

/// What a task does between the first and the last barrier of a checkpoint, and whether a barrier overtakes data (Flink
/// `CheckpointOptions.AlignmentType`). It travels in the barrier, and changes on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Alignment {
    /// Block the channels that delivered the barrier: exactly-once. Savepoints are always taken so.
    Aligned,
    /// Block nothing: at-least-once.
    AtLeastOnce,
    /// As [`Alignment::Aligned`] until so long after the trigger; then as [`Alignment::Unaligned`].
    AlignedWithTimeout(Duration),
    /// Overtake what lies in the channels, which becomes part of the checkpoint: exactly-once, nothing waits.
    Unaligned,
    /// On an edge that cannot be overtaken; the task behind it goes on as [`Alignment::AlignedWithTimeout`] with the
    /// time-out, or [`Alignment::Unaligned`] if there is none.
    ForcedAligned {
        /// After it the alignment would have been given up, had the edge allowed it.
        timeout: Option<Duration>,
    },
}

impl Alignment {
    /// How the barrier goes over an edge that cannot be overtaken (Flink `CheckpointOptions.withUnalignedUnsupported`).
    pub fn forced(self) -> Self {
        match self {
            Self::Unaligned => Self::ForcedAligned { timeout: None },
            Self::AlignedWithTimeout(timeout) => Self::ForcedAligned { timeout: Some(timeout) },
            Self::Aligned | Self::AtLeastOnce | Self::ForcedAligned { .. } => self,
        }
    }

    /// How it goes on behind such an edge (Flink `CheckpointOptions.withUnalignedSupported`).
    pub fn no_longer_forced(self) -> Self {
        match self {
            Self::ForcedAligned { timeout: None } => Self::Unaligned,
            Self::ForcedAligned { timeout: Some(timeout) } => Self::AlignedWithTimeout(timeout),
            Self::Aligned | Self::AtLeastOnce | Self::AlignedWithTimeout(_) | Self::Unaligned => self,
        }
    }

    /// Whether data that is under way may become part of the checkpoint.
    pub fn may_overtake(self) -> bool {
        match self {
            Self::Unaligned | Self::AlignedWithTimeout(_) | Self::ForcedAligned { .. } => true,
            Self::Aligned | Self::AtLeastOnce => false,
        }
    }
}

impl CheckpointBarrier {
    /// The same barrier, treated in another way.
    pub fn with(&self, alignment: Alignment) -> Self {
        Self { alignment, ..self.clone() }
    }

    /// When it begins to overtake what lies in front of it, unless it has arrived by then.
    pub fn overtakes_at(&self) -> Option<Timestamp> {
        match self.alignment {
            Alignment::AlignedWithTimeout(timeout) => Some(self.triggered_at.saturating_add(timeout)),
            Alignment::Aligned | Alignment::AtLeastOnce | Alignment::Unaligned | Alignment::ForcedAligned { .. } => {
                None
            }
        }
    }
}
