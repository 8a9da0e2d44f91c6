//! How many checkpoints may fail before the job does (Flink `CheckpointFailureManager`).

use std::collections::BTreeSet;

use crate::{checkpoint::CheckpointFailureReason, id::CheckpointId};

/// What a failed checkpoint means for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobVerdict {
    /// The job goes on.
    KeepRunning,
    /// More failures than tolerated: the job must fail.
    FailJob,
}

/// Counts failures since the last success.
///
/// Each id counts once, only reasons that [count](CheckpointFailureReason::counts) do, and failures of ids at or below
/// the last success are of no interest any more.
#[derive(Debug)]
pub struct FailureCounter {
    tolerable: u32,
    failed: BTreeSet<CheckpointId>,
    last_success: Option<CheckpointId>,
}

impl FailureCounter {
    /// A counter that fails the job when more than `tolerable` checkpoints failed.
    pub fn new(tolerable: u32) -> Self {
        Self { tolerable, failed: BTreeSet::new(), last_success: None }
    }

    /// A checkpoint completed.
    pub fn succeeded(&mut self, checkpoint_id: CheckpointId) {
        if self.last_success < Some(checkpoint_id) {
            self.last_success = Some(checkpoint_id);
            self.failed.clear();
        }
    }

    /// A checkpoint failed. Failing the job forgets the count.
    #[must_use]
    pub fn failed(&mut self, checkpoint_id: CheckpointId, reason: CheckpointFailureReason) -> JobVerdict {
        if !reason.counts() || Some(checkpoint_id) <= self.last_success {
            return JobVerdict::KeepRunning;
        }
        self.failed.insert(checkpoint_id);
        if self.count() > self.tolerable as usize {
            self.failed.clear();
            return JobVerdict::FailJob;
        }
        JobVerdict::KeepRunning
    }

    /// How many failures are counted at present.
    pub fn count(&self) -> usize {
        self.failed.len()
    }
}
