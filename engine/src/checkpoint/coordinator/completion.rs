//! How a checkpoint ends: acknowledged, stored and complete, or aborted.

use super::{
    Blame, CheckpointCoordinator, CoordinatorAction, PendingCheckpoint, Phase, StoreOutcome, TriggerKind,
    failures::JobVerdict, pending::Acknowledged, reject,
};
use crate::{
    checkpoint::{
        CheckpointFailureReason, CommitPermit,
        retention::{CompletedCheckpoint, CompletedKind, Dropped},
    },
    id::{CheckpointId, SubtaskId},
    planted,
    time::Timestamp,
};

impl CheckpointCoordinator {
    pub(super) fn acknowledge(
        &mut self,
        checkpoint_id: CheckpointId,
        task: SubtaskId,
        actions: &mut Vec<CoordinatorAction>,
    ) {
        let Some(pending) = self.pending.get_mut(&checkpoint_id) else {
            // A message may come twice. A second copy must not cost a complete checkpoint its files.
            if !self.may_be_found(checkpoint_id) {
                actions.push(CoordinatorAction::DiscardState { checkpoint_id, task });
            }
            return;
        };
        match pending.acknowledge(task) {
            Acknowledged::Duplicate => {}
            Acknowledged::UnknownTask => actions.push(CoordinatorAction::DiscardState { checkpoint_id, task }),
            Acknowledged::Kept => actions.push(CoordinatorAction::KeepState { checkpoint_id, task }),
            Acknowledged::Last => {
                pending.phase = Phase::Ready;
                actions.push(CoordinatorAction::KeepState { checkpoint_id, task });
            }
        }
    }

    /// Begins to store the oldest checkpoint that all tasks acknowledged, unless one is being stored.
    ///
    /// One at a time: completions then come in an order that the coordinator knows, and a checkpoint that a newer one
    /// subsumes is never half published.
    pub(super) fn store_next(&mut self, actions: &mut Vec<CoordinatorAction>) {
        if self.storing().is_some() {
            return;
        }
        let Some(ready) = self.pending.values_mut().find(|pending| pending.phase == Phase::Ready) else { return };
        ready.phase = Phase::Storing;
        let checkpoint_id = ready.checkpoint_id;
        actions.push(CoordinatorAction::Store { checkpoint_id });
        if planted!("notify_before_stored") && ready.kind.commits_side_effects() {
            let tasks = ready.tasks().iter().copied().collect();
            actions.push(CoordinatorAction::NotifyComplete { permit: CommitPermit::new(checkpoint_id), tasks });
        }
    }

    pub(super) fn stored(&mut self, now: Timestamp, checkpoint_id: CheckpointId, actions: &mut Vec<CoordinatorAction>) {
        let complete = self.take_stored(checkpoint_id);
        self.failures.succeeded(checkpoint_id);
        self.last_completion = Some(now);
        match complete.kind {
            TriggerKind::Savepoint => {
                self.savepoints.insert(checkpoint_id);
                if planted!("savepoint_commits_side_effects") {
                    let (permit, tasks) = (CommitPermit::new(checkpoint_id), self.still_running(&complete));
                    actions.push(CoordinatorAction::NotifyComplete { permit, tasks });
                }
                if planted!("savepoint_subsumed_like_a_checkpoint") {
                    let kind = CompletedKind::Checkpoint;
                    for Dropped { checkpoint_id, files } in
                        self.completed.add(CompletedCheckpoint { checkpoint_id, kind })
                    {
                        self.cleaning.insert(checkpoint_id);
                        actions.push(CoordinatorAction::DropCompleted { checkpoint_id, files });
                    }
                }
            }
            TriggerKind::Periodic | TriggerKind::Manual | TriggerKind::Final => {
                self.enter_store(&complete, CompletedKind::Checkpoint, actions);
            }
            TriggerKind::StopWithSavepoint => {
                self.enter_store(&complete, CompletedKind::StopWithSavepoint, actions);
                self.stop(actions);
            }
        }
        if let Some(request) = complete.request {
            actions.push(CoordinatorAction::CompleteRequest { request, checkpoint_id });
        }
    }

    /// The effects of completion for everything but a plain savepoint.
    fn enter_store(&mut self, complete: &PendingCheckpoint, kind: CompletedKind, actions: &mut Vec<CoordinatorAction>) {
        let checkpoint_id = complete.checkpoint_id;
        let dropped = self.completed.add(CompletedCheckpoint { checkpoint_id, kind });
        let tasks = self.still_running(complete);
        if !tasks.is_empty() && !planted!("notify_before_stored") {
            let permit = CommitPermit::new(checkpoint_id);
            actions.push(CoordinatorAction::NotifyComplete { permit, tasks: tasks.clone() });
        }
        let subsumed = |other: &&PendingCheckpoint| other.checkpoint_id < checkpoint_id && !other.kind.is_savepoint();
        let subsumed: Vec<_> = self.pending.values().filter(subsumed).map(|other| other.checkpoint_id).collect();
        for other in subsumed {
            self.abort(other, CheckpointFailureReason::CheckpointSubsumed, Blame::Coordinator, actions);
        }
        for Dropped { checkpoint_id, files } in dropped {
            if !tasks.is_empty() {
                actions.push(CoordinatorAction::NotifySubsumed { checkpoint_id, tasks: tasks.clone() });
            }
            self.cleaning.insert(checkpoint_id);
            actions.push(CoordinatorAction::DropCompleted { checkpoint_id, files });
        }
    }

    pub(super) fn store_failed(
        &mut self,
        checkpoint_id: CheckpointId,
        outcome: StoreOutcome,
        actions: &mut Vec<CoordinatorAction>,
    ) {
        let failed = self.take_stored(checkpoint_id);
        let reason = CheckpointFailureReason::FinalizeCheckpointFailure;
        match outcome {
            StoreOutcome::NotStored => self.clear_away(failed, reason, Blame::Coordinator, actions),
            StoreOutcome::Refused(reason) => self.clear_away(failed, reason, Blame::Coordinator, actions),
            StoreOutcome::Unknown => {
                // Tasks are told nothing either: the next complete checkpoint settles what they pre-committed.
                match failed.kind {
                    TriggerKind::Savepoint | TriggerKind::StopWithSavepoint => {
                        self.savepoints.insert(checkpoint_id);
                    }
                    TriggerKind::Periodic | TriggerKind::Manual | TriggerKind::Final => {
                        let kind = CompletedKind::Doubtful;
                        self.completed.add(CompletedCheckpoint { checkpoint_id, kind });
                    }
                }
                reject(failed.request, reason, actions);
                self.count_failure(&failed, reason, Blame::Coordinator, actions);
            }
        }
    }

    /// Gives a checkpoint up, unless its fate is open already.
    pub(super) fn abort(
        &mut self,
        checkpoint_id: CheckpointId,
        reason: CheckpointFailureReason,
        blame: Blame,
        actions: &mut Vec<CoordinatorAction>,
    ) {
        if self.pending.get(&checkpoint_id).is_none_or(|pending| pending.phase == Phase::Storing) {
            return;
        }
        if let Some(pending) = self.pending.remove(&checkpoint_id) {
            self.clear_away(pending, reason, blame, actions);
        }
    }

    /// The job does not run any more: nothing of what is under way can complete, except what is being stored.
    pub(super) fn stop(&mut self, actions: &mut Vec<CoordinatorAction>) {
        self.running.clear();
        self.suspend(actions);
    }

    /// Not all tasks run any more: nothing of what is under way can complete, except what is being stored. Those that run
    /// go on (Flink `CheckpointCoordinator.stopCheckpointScheduler`).
    pub(super) fn suspend(&mut self, actions: &mut Vec<CoordinatorAction>) {
        if self.running.is_empty() || !planted!("checkpoints_go_on_while_a_region_restarts") {
            self.plan = None;
            self.periodic.stop();
        } else if let Some(plan) = &mut self.plan {
            plan.tasks.retain(|task| self.running.contains(task));
            plan.to_trigger.retain(|task| self.running.contains(task));
        }
        for request in self.decider.clear() {
            reject(request.request, CheckpointFailureReason::CoordinatorSuspend, actions);
        }
        if !self.running.is_empty() && planted!("checkpoint_survives_the_failure_of_a_region") {
            return;
        }
        let (storing, given_up): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_values().partition(|pending| pending.phase == Phase::Storing);
        self.pending = storing.into_iter().map(|pending| (pending.checkpoint_id, pending)).collect();
        for pending in given_up {
            let checkpoint_id = pending.checkpoint_id;
            self.remember_given_up(checkpoint_id, CheckpointFailureReason::JobFailoverRegion);
            self.discard(checkpoint_id, actions);
            let tasks = self.still_running(&pending);
            if pending.phase != Phase::Preparing && !tasks.is_empty() {
                let latest_completed = self.completed.latest();
                actions.push(CoordinatorAction::NotifyAborted { checkpoint_id, latest_completed, tasks });
            }
            reject(pending.request, CheckpointFailureReason::JobFailoverRegion, actions);
        }
    }

    /// Orders the deletion of what belongs to a checkpoint that no recovery can find.
    pub(super) fn discard(&mut self, checkpoint_id: CheckpointId, actions: &mut Vec<CoordinatorAction>) {
        assert!(
            !self.may_be_found(checkpoint_id),
            "files that a recovery may need are never discarded: {checkpoint_id}"
        );
        self.cleaning.insert(checkpoint_id);
        actions.push(CoordinatorAction::Discard { checkpoint_id });
    }

    fn clear_away(
        &mut self,
        pending: PendingCheckpoint,
        reason: CheckpointFailureReason,
        blame: Blame,
        actions: &mut Vec<CoordinatorAction>,
    ) {
        let checkpoint_id = pending.checkpoint_id;
        self.remember_given_up(checkpoint_id, reason);
        self.discard(checkpoint_id, actions);
        let tasks = self.still_running(&pending);
        if pending.phase != Phase::Preparing && !tasks.is_empty() {
            let latest_completed = self.completed.latest();
            actions.push(CoordinatorAction::NotifyAborted { checkpoint_id, latest_completed, tasks });
        }
        reject(pending.request, reason, actions);
        self.count_failure(&pending, reason, blame, actions);
    }

    fn count_failure(
        &mut self,
        failed: &PendingCheckpoint,
        reason: CheckpointFailureReason,
        blame: Blame,
        actions: &mut Vec<CoordinatorAction>,
    ) {
        let checkpoint_id = failed.checkpoint_id;
        let verdict = match (failed.kind, blame) {
            // Its tasks stand still and wait for the savepoint: only a restart frees them.
            (TriggerKind::StopWithSavepoint, Blame::Coordinator | Blame::Task) => JobVerdict::FailJob,
            (TriggerKind::Savepoint, Blame::Coordinator) if planted!("failed_savepoint_restarts_the_job") => {
                JobVerdict::FailJob
            }
            (TriggerKind::Savepoint, Blame::Coordinator) => JobVerdict::KeepRunning,
            (TriggerKind::Savepoint, Blame::Task)
            | (TriggerKind::Periodic | TriggerKind::Manual | TriggerKind::Final, Blame::Coordinator | Blame::Task) => {
                self.failures.failed(checkpoint_id, reason)
            }
        };
        if verdict == JobVerdict::FailJob && self.plan.is_some() {
            actions.push(CoordinatorAction::FailJob { checkpoint_id, reason });
            self.stop(actions);
        }
    }

    fn take_stored(&mut self, checkpoint_id: CheckpointId) -> PendingCheckpoint {
        let stored = self.pending.remove(&checkpoint_id).filter(|pending| pending.phase == Phase::Storing);
        stored.expect("the shell reports an outcome only of what it was asked to store, once")
    }

    /// Who took part and is still there to be told.
    fn still_running(&self, pending: &PendingCheckpoint) -> Vec<SubtaskId> {
        pending.tasks().intersection(&self.running).copied().collect()
    }

    /// Whether a recovery, or the user, may find this checkpoint.
    fn may_be_found(&self, checkpoint_id: CheckpointId) -> bool {
        checkpoint_id < self.first_id
            || self.completed.contains(checkpoint_id)
            || self.savepoints.contains(&checkpoint_id)
    }
}
