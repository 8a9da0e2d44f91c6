//! Carries out what the checkpoint coordinator decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{FinalRequest, JobManager, shared_state};
use crate::{
    checkpoint::{
        CheckpointBarrier, CheckpointFailureReason,
        coordinator::{CoordinatorAction, CoordinatorInput, RequestId, StoreOutcome},
        plan::partially_finished_unions,
        retention::Files,
    },
    error::Recoverability,
    event::{Moment, Step},
    id::{Attempt, CheckpointId, ExecutionAttempt, SubtaskId, TaskManagerId},
    job::{Culprit, ExecutionInput},
    net::{Acknowledgement, StateHandle, ToTaskManager},
    planted,
    runtime::storage_actor::{Publish, StorageOrder},
    storage::CheckpointMetadata,
};

const FINAL_CHECKPOINT_RETRY: Duration = Duration::from_secs(1);

impl JobManager {
    /// Tells the coordinator, and does what it says; what that leads to is done first.
    pub(super) async fn tell_coordinator(&mut self, input: CoordinatorInput) {
        let mut actions = Vec::new();
        self.coordinator.handle(self.setup.env.now(), input, &mut actions);
        for action in actions {
            self.carry_out_checkpoint(action).await;
        }
    }

    /// Tells the coordinator that something of a checkpoint failed; whoever asked for it hears why, as it was `said`.
    pub(super) async fn tell_failure(&mut self, checkpoint_id: CheckpointId, said: String, input: CoordinatorInput) {
        self.failing = Some((checkpoint_id, said));
        self.tell_coordinator(input).await;
        self.failing = None;
    }

    async fn carry_out_checkpoint(&mut self, action: CoordinatorAction) {
        match action {
            CoordinatorAction::PrepareLocation { checkpoint_id } => {
                self.triggered_at.insert(checkpoint_id, self.setup.env.now());
                self.note_triggered(checkpoint_id);
                let savepoint = self.directory_of_savepoint(checkpoint_id);
                self.order(StorageOrder::Prepare { checkpoint_id, savepoint }).await;
            }
            CoordinatorAction::TriggerTasks { checkpoint_id, barrier, tasks } => {
                self.state(Moment::Before, Step::Trigger, Some(checkpoint_id)).await;
                let barrier = CheckpointBarrier { snapshot: self.snapshot_type(checkpoint_id), ..barrier };
                if barrier.snapshot.savepoint().is_some_and(|savepoint| savepoint.then.stops()) {
                    let (now, nothing) = (self.setup.env.now(), &mut Vec::new());
                    self.execution.handle(now, 0.0, ExecutionInput::StoppingWithSavepoint, nothing);
                }
                for ((host, attempt), tasks) in self.by_host(tasks) {
                    let barrier = barrier.clone();
                    self.send(&host, ToTaskManager::TriggerCheckpoint { attempt, barrier, tasks });
                }
                self.state(Moment::After, Step::Trigger, Some(checkpoint_id)).await;
            }
            // Held since its acknowledgement came.
            CoordinatorAction::KeepState { .. } => {}
            CoordinatorAction::DiscardState { checkpoint_id, task } => {
                if let Some(states) = self.states.get_mut(&checkpoint_id) {
                    states.remove(&task);
                }
                if let Some(in_flight) = self.in_flight.get_mut(&checkpoint_id) {
                    in_flight.remove(&task);
                }
            }
            CoordinatorAction::Store { checkpoint_id } => self.store(checkpoint_id).await,
            CoordinatorAction::NotifyComplete { permit, tasks } => {
                self.notify_complete(permit.checkpoint_id(), tasks).await;
            }
            CoordinatorAction::NotifyAborted { checkpoint_id, latest_completed: _, tasks } => {
                self.state(Moment::After, Step::AbortCheckpoint, Some(checkpoint_id)).await;
                self.summary.checkpoints_aborted += 1;
                self.forget(checkpoint_id);
                for (host, attempt) in self.by_host(tasks).into_keys() {
                    self.send(&host, ToTaskManager::NotifyAborted { attempt, checkpoint_id });
                }
            }
            CoordinatorAction::NotifySubsumed { checkpoint_id, tasks: _ } => {
                self.state(Moment::After, Step::Subsumption, Some(checkpoint_id)).await;
            }
            CoordinatorAction::Discard { checkpoint_id } => {
                // The files that it shares stay until the registry says that nobody needs them.
                if planted!("shared_file_deleted_when_checkpoint_aborts") {
                    let subtasks = self.states.get(&checkpoint_id).into_iter().flat_map(BTreeMap::values);
                    let names = shared_state::names(subtasks).collect();
                    self.order(StorageOrder::DiscardShared(names)).await;
                }
                self.forget(checkpoint_id);
                let reason = self.coordinator.failure_of(checkpoint_id);
                self.statistics.checkpoint_failed(checkpoint_id, reason, self.setup.env.now());
                self.order(StorageOrder::Discard(checkpoint_id)).await;
            }
            CoordinatorAction::DropCompleted { checkpoint_id, .. } if planted!("subsumed_checkpoint_never_deleted") => {
                Box::pin(self.tell_coordinator(CoordinatorInput::Cleaned { checkpoint_id })).await;
            }
            CoordinatorAction::DropCompleted { checkpoint_id, files: Files::Delete } => {
                self.statistics.checkpoint_dropped(checkpoint_id);
                self.order(StorageOrder::Discard(checkpoint_id)).await;
                // After it: a checkpoint whose metadata is there can be restored.
                let unused = self.shared.dropped(checkpoint_id, self.coordinator.completed().oldest());
                if !unused.is_empty() {
                    self.order(StorageOrder::DiscardShared(unused)).await;
                }
            }
            CoordinatorAction::DropCompleted { checkpoint_id, files: Files::Keep } => {
                Box::pin(self.tell_coordinator(CoordinatorInput::Cleaned { checkpoint_id })).await;
            }
            CoordinatorAction::FailJob { checkpoint_id, reason } => {
                let mut reason = format!("checkpoint {checkpoint_id} failed, which is one too many: {}", reason.name());
                if let Some((_, said)) = self.failing.as_ref().filter(|(failing, _)| *failing == checkpoint_id) {
                    reason = format!("{reason}: {said}");
                }
                let (culprit, recoverability) = (Culprit::Job, Recoverability::Recoverable);
                Box::pin(self.tell_execution(ExecutionInput::Failed { culprit, reason, recoverability })).await;
            }
            CoordinatorAction::CompleteRequest { request, checkpoint_id } => {
                if self.is_final_request(request) {
                    self.final_request = None;
                    Box::pin(self.tell_execution(ExecutionInput::FinalCheckpointCompleted(checkpoint_id))).await;
                }
                self.request_completed(request, checkpoint_id).await;
            }
            CoordinatorAction::RejectRequest { request, reason } => {
                self.rejected(request, reason);
                self.request_rejected(request, reason);
            }
        }
    }

    /// Whether the tasks will be told that it is complete: it is not a savepoint that the job goes on after.
    pub(super) fn commits_side_effects(&self, checkpoint_id: CheckpointId) -> bool {
        let mut pending = self.coordinator.pending();
        pending.find(|pending| pending.checkpoint_id == checkpoint_id).is_none_or(|it| it.kind.commits_side_effects())
    }

    fn forget(&mut self, checkpoint_id: CheckpointId) {
        self.states.remove(&checkpoint_id);
        self.unions.remove(&checkpoint_id);
        self.in_flight.remove(&checkpoint_id);
        self.triggered_at.remove(&checkpoint_id);
    }

    fn is_final_request(&self, request: RequestId) -> bool {
        matches!(self.final_request, Some(FinalRequest::Made(made)) if made == request)
    }

    fn rejected(&mut self, request: RequestId, reason: CheckpointFailureReason) {
        if self.is_final_request(request) {
            tracing::info!(reason = reason.name(), "the final checkpoint failed and is asked for again");
            let again = self.setup.env.now().saturating_add(FINAL_CHECKPOINT_RETRY);
            self.final_request = Some(FinalRequest::AgainAt(again));
        }
    }

    async fn notify_complete(&mut self, checkpoint_id: CheckpointId, tasks: Vec<SubtaskId>) {
        self.summary.checkpoints_completed += 1;
        self.triggered_at.remove(&checkpoint_id);
        self.state(Moment::Before, Step::CompletionNotice, Some(checkpoint_id)).await;
        for (host, attempt) in self.by_host(tasks).into_keys() {
            let attempt =
                if planted!("completion_told_under_the_newest_attempt") { self.execution.attempt() } else { attempt };
            self.send(&host, ToTaskManager::NotifyComplete { attempt, checkpoint_id });
        }
        self.state(Moment::After, Step::CompletionNotice, Some(checkpoint_id)).await;
    }

    /// Where tasks run, and in which attempts.
    fn by_host(&self, tasks: Vec<SubtaskId>) -> BTreeMap<(TaskManagerId, Attempt), Vec<SubtaskId>> {
        let mut hosts: BTreeMap<(TaskManagerId, Attempt), Vec<SubtaskId>> = BTreeMap::new();
        for task in tasks {
            if let (Some(host), Some(attempt)) = (self.placement.get(&task), self.execution.attempt_of(task)) {
                hosts.entry((host.clone(), attempt)).or_default().push(task);
            }
        }
        hosts
    }

    /// Has the checkpoint stored, unless it would have to say what none can: half of a union.
    async fn store(&mut self, checkpoint_id: CheckpointId) {
        let pending = self.coordinator.pending().find(|pending| pending.checkpoint_id == checkpoint_id);
        let tasks = pending.map(|pending| pending.tasks().clone()).unwrap_or_default();
        let metadata = Box::new(self.metadata(checkpoint_id, &tasks));
        let partial = partially_finished_unions(&self.setup.program.graph, &tasks, &metadata.union);
        if let Some(uid) = partial.first() {
            tracing::warn!(%checkpoint_id, %uid, "union state of which some subtasks have finished cannot be kept");
            let outcome = StoreOutcome::Refused(CheckpointFailureReason::TaskClosing);
            Box::pin(self.tell_coordinator(CoordinatorInput::StoreFailed { checkpoint_id, outcome })).await;
            return Box::pin(self.prepare_wanted_restore()).await;
        }
        let publish = if self.commits_side_effects(checkpoint_id) { Publish::InLog } else { Publish::Nowhere };
        self.order(StorageOrder::Store { metadata, publish }).await;
    }

    /// What the subtasks that took part have kept; of the others, that they had finished.
    fn metadata(&self, checkpoint_id: CheckpointId, tasks: &BTreeSet<SubtaskId>) -> CheckpointMetadata {
        let graph = &self.setup.program.graph;
        let mut subtasks = self.states.get(&checkpoint_id).cloned().unwrap_or_default();
        let ended = if planted!("state_of_a_subtask_at_the_end_of_its_data_dropped") {
            self.execution.ended_subtasks()
        } else {
            BTreeSet::new()
        };
        for subtask in graph.subtasks().filter(|subtask| !tasks.contains(subtask) || ended.contains(subtask)) {
            let operators = graph.vertex(subtask.vertex).operators.iter();
            subtasks.insert(subtask, operators.map(|uid| (uid.clone(), StateHandle::Finished)).collect());
        }
        CheckpointMetadata {
            checkpoint_id,
            attempt: self.execution.attempt(),
            triggered_at: self.triggered_at.get(&checkpoint_id).copied().unwrap_or_default(),
            max_parallelism: self.max_parallelism(),
            subtasks,
            union: self.unions.get(&checkpoint_id).cloned().unwrap_or_default(),
            in_flight: self.in_flight.get(&checkpoint_id).cloned().unwrap_or_default(),
        }
    }

    /// The checkpoint that an acknowledgement counts for: that of an earlier attempt for none.
    fn counts_for(&self, execution: ExecutionAttempt, checkpoint_id: CheckpointId) -> Option<CheckpointId> {
        if self.is_current(execution) {
            return Some(checkpoint_id);
        }
        // The planted mistake: whoever says it, it counts for the checkpoint that waits for this subtask.
        let waiting = self.coordinator.pending().find(|pending| pending.waits_for(execution.subtask));
        waiting.filter(|_| planted!("acknowledgement_of_an_older_attempt_counted")).map(|pending| pending.checkpoint_id)
    }

    /// A subtask's part of a checkpoint came in. What an earlier attempt says does not count.
    pub(super) async fn acknowledge(&mut self, acknowledgement: Acknowledgement) {
        let Acknowledgement { execution, checkpoint_id, operators, union, in_flight } = acknowledgement;
        // Whatever becomes of the checkpoint, its files are there and somebody has to delete them.
        let shared_before = self.shared.acknowledged(checkpoint_id, &operators);
        let Some(checkpoint_id) = self.counts_for(execution, checkpoint_id) else { return };
        let task = execution.subtask;
        self.note_acknowledged(checkpoint_id, task, &operators, shared_before);
        self.states.entry(checkpoint_id).or_default().entry(task).or_insert(operators);
        self.unions.entry(checkpoint_id).or_default().extend(union);
        if let Some(in_flight) = in_flight {
            self.in_flight.entry(checkpoint_id).or_default().entry(task).or_insert(in_flight);
        }
        self.tell_coordinator(CoordinatorInput::Acknowledge { checkpoint_id, task }).await;
        // State of a checkpoint that the coordinator does not know any more is of no use.
        if !self.coordinator.pending().any(|pending| pending.checkpoint_id == checkpoint_id)
            && self.coordinator.storing() != Some(checkpoint_id)
        {
            self.states.remove(&checkpoint_id);
            self.unions.remove(&checkpoint_id);
            self.in_flight.remove(&checkpoint_id);
        }
    }
}
