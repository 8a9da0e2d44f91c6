//! The right to make the effects of a checkpoint visible.

use crate::id::CheckpointId;

/// Proof that a checkpoint is complete: stored durably, published, the one that a recovery would find.
///
/// Only the coordinator makes one, and only when the shell has reported the checkpoint as stored; so a notice that
/// lets sinks commit cannot be sent for anything else (Flink invariant: commit only after completion).
///
/// ```compile_fail
/// # use tidegate::{checkpoint::CommitPermit, id::CheckpointId};
/// let forged = CommitPermit { checkpoint_id: CheckpointId(1) };
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct CommitPermit {
    checkpoint_id: CheckpointId,
}

impl CommitPermit {
    pub(in crate::checkpoint) fn new(checkpoint_id: CheckpointId) -> Self {
        Self { checkpoint_id }
    }

    /// The checkpoint whose effects may become visible, and those of all before it.
    pub fn checkpoint_id(&self) -> CheckpointId {
        self.checkpoint_id
    }
}
