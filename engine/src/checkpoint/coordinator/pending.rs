//! A checkpoint under way (Flink `PendingCheckpoint`).
//!
//! ```text
//!   PREPARING ── location ready ──▶ COLLECTING ── last acknowledgement ──▶ READY ── its turn ──▶ STORING ── stored ──▶ complete
//!       │                              │                                    │                     │
//!       └── failed, expired ───────────┴── declined, expired, subsumed ─────┴── subsumed          └── not stored ──▶ aborted
//! ```
//!
//! While it is *storing* nobody can say whether a recovery would find it; so nothing but the outcome ends that phase.

use std::{collections::BTreeSet, time::Duration};

use super::{RequestId, TriggerKind, TriggerRequest};
use crate::{
    id::{CheckpointId, SubtaskId},
    planted,
    time::Timestamp,
};

/// How far a pending checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its location is being created; no task knows of it.
    Preparing,
    /// Tasks have been told and acknowledge.
    Collecting,
    /// All tasks acknowledged; another checkpoint is being stored.
    Ready,
    /// Metadata is being written and published.
    Storing,
}

/// What an acknowledgement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// The state is part of the checkpoint; others are missing.
    Kept,
    /// The state is part of the checkpoint, and it was the last.
    Last,
    /// It was there already.
    Duplicate,
    /// No such task takes part.
    UnknownTask,
}

/// A checkpoint under way.
#[derive(Debug)]
pub struct PendingCheckpoint {
    /// Its id.
    pub checkpoint_id: CheckpointId,
    /// What was asked for.
    pub kind: TriggerKind,
    /// Who asked.
    pub request: Option<RequestId>,
    /// When it was created.
    pub triggered_at: Timestamp,
    /// When it expires, unless all acknowledged.
    pub expires_at: Timestamp,
    /// How far it is.
    pub phase: Phase,
    /// Who is told to begin.
    pub to_trigger: Vec<SubtaskId>,
    /// Who takes part.
    tasks: BTreeSet<SubtaskId>,
    /// Who has not acknowledged.
    missing: BTreeSet<SubtaskId>,
}

/// Who takes part in a checkpoint (Flink `CheckpointPlan`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckpointPlan {
    /// Running subtasks: they acknowledge and are told of the outcome.
    pub tasks: BTreeSet<SubtaskId>,
    /// Those of them that the coordinator tells to begin: all their predecessors, if any, have finished.
    pub to_trigger: Vec<SubtaskId>,
}

impl PendingCheckpoint {
    /// A checkpoint that has just been created.
    pub fn new(
        checkpoint_id: CheckpointId,
        request: TriggerRequest,
        now: Timestamp,
        timeout: Duration,
        plan: CheckpointPlan,
    ) -> Self {
        Self {
            checkpoint_id,
            kind: request.kind,
            request: request.request,
            triggered_at: now,
            expires_at: now.saturating_add(timeout),
            phase: Phase::Preparing,
            to_trigger: plan.to_trigger,
            missing: plan.tasks.clone(),
            tasks: plan.tasks,
        }
    }

    /// Takes in an acknowledgement.
    pub fn acknowledge(&mut self, task: SubtaskId) -> Acknowledged {
        if !self.tasks.contains(&task) {
            return Acknowledged::UnknownTask;
        }
        if !self.missing.remove(&task) {
            return Acknowledged::Duplicate;
        }
        let tolerated = usize::from(planted!("complete_with_one_acknowledgement_missing"));
        if self.phase == Phase::Collecting && self.missing.len() <= tolerated {
            Acknowledged::Last
        } else {
            Acknowledged::Kept
        }
    }

    /// Whether this task takes part and has not acknowledged.
    pub fn waits_for(&self, task: SubtaskId) -> bool {
        self.missing.contains(&task)
    }

    /// Everybody who takes part.
    pub fn tasks(&self) -> &BTreeSet<SubtaskId> {
        &self.tasks
    }

    /// Whether the timeout still applies.
    pub fn can_expire(&self) -> bool {
        match self.phase {
            Phase::Preparing | Phase::Collecting => true,
            Phase::Ready | Phase::Storing => false,
        }
    }
}
