//! One job on a changing set of task managers.
//!
//! ```text
//!  Waiting ──slots──► Restoring ──restore ready──► Deploying ──all deployed, started──► Starting ──all running──► Running
//!     ▲                   │                            │                                   │                        │
//!     │                   └─────────── failure ────────┴───────────────────────────────────┴────────────────────────┤
//!     │                                                                                                             ▼
//!     └──pause over── BackingOff ◄──all cancelled, restart allowed── Cancelling ◄───────────────────── failure ── Finishing
//!                                                                        │                                         │
//!                                                                        └─ no restart ─► Ended ◄── all finished ──┘
//! ```
//! At most one attempt runs: the next one is deployed only after every task manager that is left has said that nothing of
//! the last one runs. Those that are lost are fenced by attempt and epoch (Flink `DefaultScheduler`, `ExecutionGraph`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::placement::{Placement, place};
use crate::{
    graph::JobGraph,
    id::{Attempt, CheckpointId, ExecutionAttempt, SubtaskId, TaskManagerId},
    restart::{RestartDecision, RestartStrategy},
    time::Timestamp,
};

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    /// Its data ended and everything is committed.
    Finished,
    /// It failed for good.
    Failed {
        /// The last failure and why there is no restart.
        reason: String,
    },
}

/// What the execution graph is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutionInput {
    /// A task manager is there.
    TaskManagerRegistered {
        /// Who.
        task_manager: TaskManagerId,
        /// How many slots it has.
        slots: u32,
    },
    /// A task manager is gone, or must be taken for gone.
    TaskManagerLost {
        /// Who.
        task_manager: TaskManagerId,
        /// What is known about it.
        reason: String,
    },
    /// It is known what the attempt starts from.
    RestoreReady {
        /// The attempt.
        attempt: Attempt,
    },
    /// What the attempt should start from cannot be read.
    RestoreFailed {
        /// The attempt.
        attempt: Attempt,
        /// Why.
        reason: String,
        /// Whether trying again may help.
        fatal: bool,
    },
    /// A task manager has created its tasks.
    Deployed {
        /// Who.
        task_manager: TaskManagerId,
        /// The attempt.
        attempt: Attempt,
    },
    /// A subtask runs.
    Running(ExecutionAttempt),
    /// A subtask has seen the end of its data.
    EndOfData(ExecutionAttempt),
    /// A subtask ended as asked.
    Finished(ExecutionAttempt),
    /// Something of an attempt failed.
    Failed {
        /// The attempt.
        attempt: Attempt,
        /// What.
        reason: String,
    },
    /// Nothing of the attempt runs on a task manager any more.
    Cancelled {
        /// Who.
        task_manager: TaskManagerId,
        /// The attempt.
        attempt: Attempt,
    },
    /// A checkpoint that was triggered after the end of all data is complete.
    FinalCheckpointCompleted(CheckpointId),
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutionAction {
    /// Find out what the attempt starts from; answer with `RestoreReady` or `RestoreFailed`.
    PrepareRestore(Attempt),
    /// Send each task manager its tasks.
    Deploy {
        /// The attempt.
        attempt: Attempt,
        /// Where each subtask runs.
        placement: Placement,
    },
    /// Start the tasks everywhere.
    Start(Attempt),
    /// Every subtask runs: checkpoints may be taken.
    AllRunning(Attempt),
    /// The attempt failed: no checkpoint may be taken or completed.
    StopCheckpoints {
        /// The attempt.
        attempt: Attempt,
        /// Why.
        reason: String,
    },
    /// Stop all tasks of the attempt on these task managers.
    Cancel {
        /// The attempt.
        attempt: Attempt,
        /// Who still may run some.
        task_managers: BTreeSet<TaskManagerId>,
    },
    /// All data has ended: one more checkpoint commits the rest.
    TriggerFinalCheckpoint(Attempt),
    /// Everything is committed: end the tasks.
    Finish(Attempt),
    /// The job has ended.
    End(JobOutcome),
}

#[derive(Debug)]
enum State {
    Waiting,
    Restoring { placement: Placement },
    Deploying { placement: Placement, missing: BTreeSet<TaskManagerId> },
    Starting { placement: Placement, missing: BTreeSet<SubtaskId>, data_not_ended: BTreeSet<SubtaskId> },
    Running { placement: Placement, data_not_ended: BTreeSet<SubtaskId> },
    Finishing { placement: Placement, missing: BTreeSet<SubtaskId> },
    Cancelling { missing: BTreeSet<TaskManagerId>, then: AfterCancel },
    BackingOff { until: Timestamp },
    Ended,
}

#[derive(Debug)]
enum AfterCancel {
    Restart { delay: Duration },
    End { reason: String },
}

/// Whether the job takes checkpoints, and so ends with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FinalCheckpoint {
    Needed,
    NotNeeded,
}

/// The execution of one job.
#[derive(Debug)]
pub struct ExecutionGraph {
    graph: JobGraph,
    restart: RestartStrategy,
    final_checkpoint: FinalCheckpoint,
    slots: BTreeMap<TaskManagerId, u32>,
    attempt: Attempt,
    state: State,
}

impl ExecutionGraph {
    /// A job that waits for slots. The first attempt is `first_attempt`; checkpointing decides how it ends.
    pub fn new(graph: JobGraph, restart: RestartStrategy, checkpointing: bool, first_attempt: Attempt) -> Self {
        let final_checkpoint = if checkpointing { FinalCheckpoint::Needed } else { FinalCheckpoint::NotNeeded };
        Self { graph, restart, final_checkpoint, slots: BTreeMap::new(), attempt: first_attempt, state: State::Waiting }
    }

    /// The attempt that runs or ran last.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// When `Tick` is wanted.
    pub fn deadline(&self) -> Option<Timestamp> {
        match &self.state {
            State::BackingOff { until } => Some(*until),
            State::Waiting
            | State::Restoring { .. }
            | State::Deploying { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Finishing { .. }
            | State::Cancelling { .. }
            | State::Ended => None,
        }
    }

    /// Takes an input; `random_unit` in [0, 1) spreads restart pauses.
    pub fn handle(
        &mut self,
        now: Timestamp,
        random_unit: f64,
        input: ExecutionInput,
        actions: &mut Vec<ExecutionAction>,
    ) {
        match input {
            ExecutionInput::TaskManagerRegistered { task_manager, slots } => {
                self.slots.insert(task_manager, slots);
                self.try_placing(actions);
            }
            ExecutionInput::TaskManagerLost { task_manager, reason } => {
                self.task_manager_lost(now, random_unit, &task_manager, reason, actions);
            }
            ExecutionInput::RestoreReady { attempt } if attempt == self.attempt => self.deploy(actions),
            ExecutionInput::RestoreFailed { attempt, reason, fatal } if attempt == self.attempt => {
                if fatal {
                    self.end(JobOutcome::Failed { reason }, actions);
                } else {
                    self.fail(now, random_unit, reason, actions);
                }
            }
            ExecutionInput::Deployed { task_manager, attempt } if attempt == self.attempt => {
                self.deployed(&task_manager, actions);
            }
            ExecutionInput::Running(execution) if execution.attempt == self.attempt => {
                self.running(execution.subtask, actions);
            }
            ExecutionInput::EndOfData(execution) if execution.attempt == self.attempt => {
                self.end_of_data(execution.subtask, actions);
            }
            ExecutionInput::FinalCheckpointCompleted(_) => self.finish(actions),
            ExecutionInput::Finished(execution) if execution.attempt == self.attempt => {
                self.finished(execution.subtask, actions);
            }
            ExecutionInput::Failed { attempt, reason } if attempt == self.attempt => {
                self.fail(now, random_unit, reason, actions);
            }
            ExecutionInput::Cancelled { task_manager, attempt } if attempt == self.attempt => {
                self.cancelled(now, &task_manager, actions);
            }
            // Of an attempt that is over.
            ExecutionInput::RestoreReady { .. }
            | ExecutionInput::RestoreFailed { .. }
            | ExecutionInput::Deployed { .. }
            | ExecutionInput::Running(_)
            | ExecutionInput::EndOfData(_)
            | ExecutionInput::Finished(_)
            | ExecutionInput::Failed { .. }
            | ExecutionInput::Cancelled { .. } => {}
            ExecutionInput::Tick => {
                if let State::BackingOff { until } = self.state
                    && until <= now
                {
                    self.state = State::Waiting;
                    self.attempt = self.attempt.next();
                    self.try_placing(actions);
                }
            }
        }
    }

    fn try_placing(&mut self, actions: &mut Vec<ExecutionAction>) {
        if !matches!(self.state, State::Waiting) {
            return;
        }
        if let Some(placement) = place(&self.graph, &self.slots) {
            self.state = State::Restoring { placement };
            actions.push(ExecutionAction::PrepareRestore(self.attempt));
        }
    }

    fn deploy(&mut self, actions: &mut Vec<ExecutionAction>) {
        let State::Restoring { placement } = &self.state else { return };
        let placement = placement.clone();
        actions.push(ExecutionAction::Deploy { attempt: self.attempt, placement: placement.clone() });
        self.state = State::Deploying { missing: placement.values().cloned().collect(), placement };
    }

    fn deployed(&mut self, task_manager: &TaskManagerId, actions: &mut Vec<ExecutionAction>) {
        let State::Deploying { placement, missing } = &mut self.state else { return };
        missing.remove(task_manager);
        if missing.is_empty() {
            let placement = std::mem::take(placement);
            let all: BTreeSet<SubtaskId> = self.graph.subtasks().collect();
            self.state = State::Starting { placement, missing: all.clone(), data_not_ended: all };
            actions.push(ExecutionAction::Start(self.attempt));
        }
    }

    fn running(&mut self, subtask: SubtaskId, actions: &mut Vec<ExecutionAction>) {
        let State::Starting { placement, missing, data_not_ended } = &mut self.state else { return };
        missing.remove(&subtask);
        if missing.is_empty() {
            let (placement, data_not_ended) = (std::mem::take(placement), std::mem::take(data_not_ended));
            self.state = State::Running { placement, data_not_ended };
            actions.push(ExecutionAction::AllRunning(self.attempt));
            self.end_if_all_data_ended(actions);
        }
    }

    fn end_of_data(&mut self, subtask: SubtaskId, actions: &mut Vec<ExecutionAction>) {
        match &mut self.state {
            // A short input can end before the last subtask has started.
            State::Starting { data_not_ended, .. } | State::Running { data_not_ended, .. } => {
                data_not_ended.remove(&subtask);
            }
            State::Waiting
            | State::Restoring { .. }
            | State::Deploying { .. }
            | State::Finishing { .. }
            | State::Cancelling { .. }
            | State::BackingOff { .. }
            | State::Ended => return,
        }
        self.end_if_all_data_ended(actions);
    }

    fn end_if_all_data_ended(&mut self, actions: &mut Vec<ExecutionAction>) {
        if let State::Running { data_not_ended, .. } = &self.state
            && data_not_ended.is_empty()
        {
            match self.final_checkpoint {
                FinalCheckpoint::Needed => actions.push(ExecutionAction::TriggerFinalCheckpoint(self.attempt)),
                FinalCheckpoint::NotNeeded => self.finish(actions),
            }
        }
    }

    fn finish(&mut self, actions: &mut Vec<ExecutionAction>) {
        let State::Running { placement, .. } = &mut self.state else { return };
        let placement = std::mem::take(placement);
        self.state = State::Finishing { placement, missing: self.graph.subtasks().collect() };
        actions.push(ExecutionAction::Finish(self.attempt));
    }

    fn finished(&mut self, subtask: SubtaskId, actions: &mut Vec<ExecutionAction>) {
        let State::Finishing { missing, .. } = &mut self.state else { return };
        missing.remove(&subtask);
        if missing.is_empty() {
            self.end(JobOutcome::Finished, actions);
        }
    }

    fn task_manager_lost(
        &mut self,
        now: Timestamp,
        random_unit: f64,
        task_manager: &TaskManagerId,
        reason: String,
        actions: &mut Vec<ExecutionAction>,
    ) {
        self.slots.remove(task_manager);
        let hosts_tasks = match &self.state {
            State::Restoring { placement }
            | State::Deploying { placement, .. }
            | State::Starting { placement, .. }
            | State::Running { placement, .. } => placement.values().any(|host| host == task_manager),
            // A task manager is not needed any more when all of its subtasks have finished.
            State::Finishing { placement, missing } => {
                missing.iter().any(|task| placement.get(task) == Some(task_manager))
            }
            State::Waiting | State::Cancelling { .. } | State::BackingOff { .. } | State::Ended => false,
        };
        if hosts_tasks {
            self.fail(now, random_unit, format!("task manager {task_manager} is lost: {reason}"), actions);
        }
        self.cancelled(now, task_manager, actions);
    }

    fn fail(&mut self, now: Timestamp, random_unit: f64, reason: String, actions: &mut Vec<ExecutionAction>) {
        let placement = match &mut self.state {
            State::Restoring { placement }
            | State::Deploying { placement, .. }
            | State::Starting { placement, .. }
            | State::Running { placement, .. }
            | State::Finishing { placement, .. } => std::mem::take(placement),
            // One failure of an attempt is enough.
            State::Waiting | State::Cancelling { .. } | State::BackingOff { .. } | State::Ended => return,
        };
        let then = match self.restart.on_failure(now, random_unit) {
            RestartDecision::RestartAfter(delay) => AfterCancel::Restart { delay },
            RestartDecision::GiveUp { reason: why } => {
                AfterCancel::End { reason: format!("{why}; the last failure: {reason}") }
            }
        };
        actions.push(ExecutionAction::StopCheckpoints { attempt: self.attempt, reason });
        let hosts: BTreeSet<TaskManagerId> = placement.into_values().collect();
        let missing: BTreeSet<_> = hosts.into_iter().filter(|host| self.slots.contains_key(host)).collect();
        if !missing.is_empty() {
            actions.push(ExecutionAction::Cancel { attempt: self.attempt, task_managers: missing.clone() });
        }
        self.state = State::Cancelling { missing, then };
        self.after_cancel(now, actions);
    }

    fn cancelled(&mut self, now: Timestamp, task_manager: &TaskManagerId, actions: &mut Vec<ExecutionAction>) {
        if let State::Cancelling { missing, .. } = &mut self.state {
            missing.remove(task_manager);
            self.after_cancel(now, actions);
        }
    }

    fn after_cancel(&mut self, now: Timestamp, actions: &mut Vec<ExecutionAction>) {
        let State::Cancelling { missing, then } = &mut self.state else { return };
        if !missing.is_empty() {
            return;
        }
        match then {
            AfterCancel::Restart { delay } => {
                self.state = State::BackingOff { until: now.saturating_add(*delay) };
            }
            AfterCancel::End { reason } => {
                let reason = std::mem::take(reason);
                self.end(JobOutcome::Failed { reason }, actions);
            }
        }
    }

    fn end(&mut self, outcome: JobOutcome, actions: &mut Vec<ExecutionAction>) {
        self.state = State::Ended;
        actions.push(ExecutionAction::End(outcome));
    }
}

#[cfg(test)]
mod tests;
