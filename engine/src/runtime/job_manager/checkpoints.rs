//! Carries out what the checkpoint coordinator decides.

use std::{collections::BTreeMap, time::Duration};

use super::{FinalRequest, JobManager, shared_state};
use crate::{
    checkpoint::{
        CheckpointFailureReason,
        coordinator::{CoordinatorAction, CoordinatorInput, RequestId},
        retention::Files,
    },
    event::{Moment, Step},
    id::{CheckpointId, SubtaskId, TaskManagerId},
    job::ExecutionInput,
    net::{Acknowledgement, ToTaskManager},
    planted,
    runtime::storage_actor::StorageOrder,
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

    async fn carry_out_checkpoint(&mut self, action: CoordinatorAction) {
        match action {
            CoordinatorAction::PrepareLocation { checkpoint_id } => {
                self.triggered_at.insert(checkpoint_id, self.setup.env.now());
                self.order(StorageOrder::Prepare(checkpoint_id)).await;
            }
            CoordinatorAction::TriggerTasks { checkpoint_id, barrier, tasks } => {
                self.state(Moment::Before, Step::Trigger, Some(checkpoint_id)).await;
                let attempt = self.execution.attempt();
                for (host, tasks) in self.by_host(tasks) {
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
            }
            CoordinatorAction::Store { checkpoint_id } => {
                let metadata = self.metadata(checkpoint_id);
                self.order(StorageOrder::Store(Box::new(metadata))).await;
            }
            CoordinatorAction::NotifyComplete { permit, tasks } => {
                self.notify_complete(permit.checkpoint_id(), tasks).await;
            }
            CoordinatorAction::NotifyAborted { checkpoint_id, latest_completed: _, tasks } => {
                self.state(Moment::After, Step::AbortCheckpoint, Some(checkpoint_id)).await;
                self.summary.checkpoints_aborted += 1;
                self.forget(checkpoint_id);
                let attempt = self.execution.attempt();
                for host in self.by_host(tasks).into_keys() {
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
                self.order(StorageOrder::Discard(checkpoint_id)).await;
            }
            CoordinatorAction::DropCompleted { checkpoint_id, files: Files::Delete } => {
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
                if let Some((_, said)) = self.last_decline.take_if(|(declined, _)| *declined == checkpoint_id) {
                    reason = format!("{reason}: {said}");
                }
                let attempt = self.execution.attempt();
                Box::pin(self.tell_execution(ExecutionInput::Failed { attempt, reason })).await;
            }
            CoordinatorAction::CompleteRequest { request, checkpoint_id } => {
                if self.is_final_request(request) {
                    self.final_request = None;
                    Box::pin(self.tell_execution(ExecutionInput::FinalCheckpointCompleted(checkpoint_id))).await;
                }
            }
            CoordinatorAction::RejectRequest { request, reason } => self.rejected(request, reason),
        }
    }

    fn forget(&mut self, checkpoint_id: CheckpointId) {
        self.states.remove(&checkpoint_id);
        self.unions.remove(&checkpoint_id);
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
        let attempt = self.execution.attempt();
        for host in self.by_host(tasks).into_keys() {
            self.send(&host, ToTaskManager::NotifyComplete { attempt, checkpoint_id });
        }
        self.state(Moment::After, Step::CompletionNotice, Some(checkpoint_id)).await;
    }

    fn by_host(&self, tasks: Vec<SubtaskId>) -> BTreeMap<TaskManagerId, Vec<SubtaskId>> {
        let mut hosts: BTreeMap<TaskManagerId, Vec<SubtaskId>> = BTreeMap::new();
        for task in tasks {
            if let Some(host) = self.placement.get(&task) {
                hosts.entry(host.clone()).or_default().push(task);
            }
        }
        hosts
    }

    fn metadata(&self, checkpoint_id: CheckpointId) -> CheckpointMetadata {
        CheckpointMetadata {
            checkpoint_id,
            attempt: self.execution.attempt(),
            triggered_at: self.triggered_at.get(&checkpoint_id).copied().unwrap_or_default(),
            max_parallelism: self.setup.program.graph.max_parallelism,
            subtasks: self.states.get(&checkpoint_id).cloned().unwrap_or_default(),
            union: self.unions.get(&checkpoint_id).cloned().unwrap_or_default(),
        }
    }

    /// A subtask's part of a checkpoint came in. What an earlier attempt says does not count.
    pub(super) async fn acknowledge(&mut self, acknowledgement: Acknowledgement) {
        let Acknowledgement { execution, checkpoint_id, operators, union } = acknowledgement;
        // Whatever becomes of the checkpoint, its files are there and somebody has to delete them.
        self.shared.acknowledged(checkpoint_id, &operators);
        if !self.is_current(execution) {
            return;
        }
        let task = execution.subtask;
        self.states.entry(checkpoint_id).or_default().entry(task).or_insert(operators);
        self.unions.entry(checkpoint_id).or_default().extend(union);
        self.tell_coordinator(CoordinatorInput::Acknowledge { checkpoint_id, task }).await;
        // State of a checkpoint that the coordinator does not know any more is of no use.
        if !self.coordinator.pending().any(|pending| pending.checkpoint_id == checkpoint_id)
            && self.coordinator.storing() != Some(checkpoint_id)
        {
            self.states.remove(&checkpoint_id);
            self.unions.remove(&checkpoint_id);
        }
    }
}
