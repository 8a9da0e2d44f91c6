//! One region of a job: tasks that are deployed, fail and start again together.
//!
//! ```text
//!  Waiting ──slots──► Restoring ──restore ready──► Deploying ──all deployed, started──► Starting ──all running──► Running
//!     ▲                   │                            │                                   │              │       │
//!     │                   └─────────── failure ────────┴───────────────────────────────────┴──────────────┤   told to end
//!     │                                                                                                   │       ▼
//!     └──pause over── BackingOff ◄──all cancelled, restart allowed── Cancelling ◄────────────── failure ──┴── Finishing
//!                                                                        │                                        │
//!                                                                        └─ no restart ─► Stopped     Finished ◄──┘
//! ```
//! Flink `SchedulingPipelinedRegion`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::super::placement::Placement;
use crate::{
    id::{Attempt, SubtaskId, TaskManagerId},
    time::Timestamp,
};

/// A region, and what becomes of it.
#[derive(Debug)]
pub(super) struct Region {
    pub tasks: BTreeSet<SubtaskId>,
    /// The attempt that runs or ran last. It is this region's alone.
    pub attempt: Attempt,
    pub state: State,
}

#[derive(Debug)]
pub(super) enum State {
    Waiting,
    Restoring {
        placement: Placement,
    },
    Deploying {
        placement: Placement,
        missing: BTreeSet<TaskManagerId>,
    },
    Starting {
        placement: Placement,
        missing: BTreeSet<SubtaskId>,
        progress: Progress,
    },
    Running {
        placement: Placement,
        progress: Progress,
    },
    /// Its tasks have been told to end, or end by themselves.
    Finishing {
        placement: Placement,
        missing: BTreeSet<SubtaskId>,
    },
    /// All its tasks came to their end.
    Finished {
        placement: Placement,
    },
    Cancelling {
        placement: Placement,
        missing: BTreeSet<TaskManagerId>,
        then: AfterCancel,
    },
    BackingOff {
        until: Timestamp,
    },
    /// Nothing of it runs, and nothing will.
    Stopped,
}

/// How far the subtasks of an attempt are.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub data_not_ended: BTreeSet<SubtaskId>,
    pub not_finished: BTreeSet<SubtaskId>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum AfterCancel {
    Restart { delay: Duration },
    End,
}

impl Region {
    pub(super) fn new(tasks: BTreeSet<SubtaskId>, attempt: Attempt) -> Self {
        Self { tasks, attempt, state: State::Waiting }
    }

    /// How far it is, while its tasks run.
    pub(super) fn progress(&self) -> Option<&Progress> {
        match &self.state {
            State::Starting { progress, .. } | State::Running { progress, .. } => Some(progress),
            State::Waiting
            | State::Restoring { .. }
            | State::Deploying { .. }
            | State::Finishing { .. }
            | State::Finished { .. }
            | State::Cancelling { .. }
            | State::BackingOff { .. }
            | State::Stopped => None,
        }
    }

    /// Its subtasks that have finished.
    pub(super) fn finished(&self) -> BTreeSet<SubtaskId> {
        let not_finished = match &self.state {
            State::Starting { progress, .. } | State::Running { progress, .. } => &progress.not_finished,
            State::Finishing { missing, .. } => missing,
            State::Finished { .. } => return self.tasks.clone(),
            State::Waiting
            | State::Restoring { .. }
            | State::Deploying { .. }
            | State::Cancelling { .. }
            | State::BackingOff { .. }
            | State::Stopped => return BTreeSet::new(),
        };
        self.tasks.difference(not_finished).copied().collect()
    }

    /// Its subtasks that have seen the end of their data.
    pub(super) fn ended(&self) -> BTreeSet<SubtaskId> {
        let tasks = self.progress().map(|progress| self.tasks.difference(&progress.data_not_ended).copied());
        tasks.into_iter().flatten().collect()
    }

    /// Whether all its tasks run, or have run to their end.
    pub(super) fn is_up(&self) -> bool {
        match &self.state {
            State::Running { .. } | State::Finishing { .. } | State::Finished { .. } => true,
            State::Waiting
            | State::Restoring { .. }
            | State::Deploying { .. }
            | State::Starting { .. }
            | State::Cancelling { .. }
            | State::BackingOff { .. }
            | State::Stopped => false,
        }
    }

    /// Whether tasks of it may run: what they write is theirs.
    pub(super) fn is_live(&self) -> bool {
        match &self.state {
            State::Deploying { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Finishing { .. }
            | State::Cancelling { .. } => true,
            State::Waiting
            | State::Restoring { .. }
            | State::Finished { .. }
            | State::BackingOff { .. }
            | State::Stopped => false,
        }
    }

    /// Where its tasks are that have not finished: the slots that it takes.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (SubtaskId, &TaskManagerId)> {
        let finished = self.finished();
        let placement = match &self.state {
            State::Restoring { placement }
            | State::Deploying { placement, .. }
            | State::Starting { placement, .. }
            | State::Running { placement, .. }
            | State::Finishing { placement, .. }
            | State::Cancelling { placement, .. } => Some(placement),
            State::Waiting | State::Finished { .. } | State::BackingOff { .. } | State::Stopped => None,
        };
        let placed = placement.into_iter().flatten();
        placed.map(|(task, host)| (*task, host)).filter(move |(task, _)| !finished.contains(task))
    }

    /// Its tasks that are lost with a task manager. One that has finished is not needed any more.
    pub(super) fn lost_with(&self, task_manager: &TaskManagerId) -> BTreeSet<SubtaskId> {
        if matches!(self.state, State::Cancelling { .. }) {
            return BTreeSet::new();
        }
        self.occupied().filter(|(_, host)| *host == task_manager).map(|(task, _)| task).collect()
    }

    /// Where its tasks are that can fail, or can be stopped.
    pub(super) fn placement(&self) -> Option<&Placement> {
        match &self.state {
            State::Restoring { placement }
            | State::Deploying { placement, .. }
            | State::Starting { placement, .. }
            | State::Running { placement, .. }
            | State::Finishing { placement, .. }
            | State::Finished { placement } => Some(placement),
            State::Waiting | State::Cancelling { .. } | State::BackingOff { .. } | State::Stopped => None,
        }
    }

    /// Its tasks are stopped; says on which of these task managers there may be some.
    pub(super) fn stop(
        &mut self,
        task_managers: &BTreeMap<TaskManagerId, u32>,
        then: AfterCancel,
    ) -> BTreeSet<TaskManagerId> {
        let placement = self.placement().cloned().unwrap_or_default();
        let hosts: BTreeSet<TaskManagerId> = placement.values().cloned().collect();
        let missing: BTreeSet<_> = hosts.into_iter().filter(|host| task_managers.contains_key(host)).collect();
        self.state = State::Cancelling { placement, missing: missing.clone(), then };
        missing
    }

    /// Nothing of it runs any more, if nobody has to say so.
    pub(super) fn after_cancel(&mut self, now: Timestamp) {
        let State::Cancelling { missing, then, .. } = &self.state else { return };
        if !missing.is_empty() {
            return;
        }
        self.state = match *then {
            AfterCancel::Restart { delay } => State::BackingOff { until: now.saturating_add(delay) },
            AfterCancel::End => State::Stopped,
        };
    }

    /// Its tasks come to their end.
    pub(super) fn finishing(&mut self) {
        let State::Running { placement, progress } = &mut self.state else { return };
        let (placement, progress) = (std::mem::take(placement), std::mem::take(progress));
        self.state = State::Finishing { placement, missing: progress.not_finished };
    }
}
