//! Carries out what the execution graph decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{FinalRequest, JobManager, Restore, StepDown};
use crate::{
    checkpoint::{
        Ownership,
        coordinator::{CheckpointPlan, CoordinatorInput, RequestId, TriggerKind, TriggerRequest},
        retention::{Dropped, Files, JobEnd},
    },
    config::{CheckpointStorageConfig, ClaimMode},
    error::{ErrorKind, Recoverability, Result},
    event::{Directive, Moment, Step},
    id::{Attempt, CheckpointId, SubtaskId, TaskManagerId},
    job::{Culprit, ExecutionAction, ExecutionInput, JobOutcome, Placement},
    net::{Deployment, SubtaskRestore, TaskDeployment, ToTaskManager},
    planted,
    runtime::storage_actor::StorageOrder,
    storage::CheckpointMetadata,
};

impl JobManager {
    /// Tells the execution graph, and does what it says; what that leads to is done first.
    pub(super) async fn tell_execution(&mut self, input: ExecutionInput) {
        let mut actions = Vec::new();
        let (now, random_unit) = (self.setup.env.now(), self.random_unit());
        self.execution.handle(now, random_unit, input, &mut actions);
        self.statistics.state(self.execution.job_state(), now);
        let is_restore = |action: &ExecutionAction| matches!(action, ExecutionAction::PrepareRestore(_));
        let restores = actions.iter().any(is_restore);
        for action in actions {
            self.carry_out(action).await;
        }
        if restores {
            // Together, if several regions begin at once.
            self.prepare_wanted_restore().await;
        }
    }

    /// Of a job of several regions: who is stopped, and because of whom.
    fn failure_in_words(&self, stopped: &BTreeSet<SubtaskId>, failed: &BTreeSet<SubtaskId>, reason: String) -> String {
        if !self.execution.has_several_regions() {
            return reason;
        }
        let named = |tasks: &BTreeSet<SubtaskId>| {
            let names: Vec<String> = tasks.iter().map(SubtaskId::to_string).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(",") }
        };
        format!("stopped={} failed={} {reason}", named(stopped), named(failed))
    }

    /// Of a job of several regions: who is deployed, and in which attempt.
    fn deployment_in_words(&self, attempt: Attempt, tasks: &Placement) -> String {
        if !self.execution.has_several_regions() {
            return String::new();
        }
        let names: Vec<String> = tasks.keys().map(SubtaskId::to_string).collect();
        format!("attempt={attempt} deployed={}", names.join(","))
    }

    async fn carry_out(&mut self, action: ExecutionAction) {
        match action {
            ExecutionAction::PrepareRestore(attempt) => {
                self.restore_wanted.insert(attempt);
            }
            ExecutionAction::Deploy { attempt, placement } => self.deploy(attempt, placement).await,
            ExecutionAction::Start(attempt) => self.send_to_hosts(attempt, &ToTaskManager::Start { attempt }),
            ExecutionAction::AllRunning(_) => {
                self.state(Moment::After, Step::Deploy, None).await;
                let graph = &self.setup.program.graph;
                let plan = CheckpointPlan::without(graph, &BTreeSet::new());
                Box::pin(self.tell_coordinator(CoordinatorInput::TasksRunning(plan))).await;
                let finished = self.execution.finished_subtasks();
                if !finished.is_empty() {
                    self.tasks_finished(finished.iter().copied().collect(), &finished).await;
                }
            }
            ExecutionAction::TaskFinished { subtask, finished } => {
                self.tasks_finished(vec![subtask], &finished).await;
            }
            ExecutionAction::StopCheckpoints { attempt, stopped, failed, reason } => {
                tracing::warn!(%attempt, %reason, tasks = stopped.len(), "attempt failed");
                self.summary.restarts += 1;
                self.final_request = None;
                self.stop_failed(&reason);
                self.statistics.failed(attempt, &reason, self.setup.env.now());
                let detail = self.failure_in_words(&stopped, &failed, reason);
                self.state_with(Moment::Before, Step::FailOver, None, &detail).await;
                Box::pin(self.tell_coordinator(CoordinatorInput::TasksFailed { tasks: stopped })).await;
            }
            ExecutionAction::AbandonCheckpoints(attempt) => {
                tracing::info!(%attempt, "the job is being cancelled");
                self.final_request = None;
                Box::pin(self.tell_coordinator(CoordinatorInput::TasksStopped)).await;
            }
            ExecutionAction::Cancel { attempt, task_managers } => {
                for task_manager in &task_managers {
                    self.send(task_manager, ToTaskManager::Cancel { attempt });
                }
            }
            ExecutionAction::TriggerFinalCheckpoint(_) => Box::pin(self.request_final_checkpoint()).await,
            ExecutionAction::Finish(attempt) => {
                // A subtask that has finished can take no part in a further checkpoint.
                Box::pin(self.tell_coordinator(CoordinatorInput::TasksStopped)).await;
                self.send_to_hosts(attempt, &ToTaskManager::Finish { attempt });
            }
            ExecutionAction::End(outcome) => self.end(outcome).await,
        }
    }

    /// The job has ended: notes how, before anything is deleted that a recovery would need.
    async fn end(&mut self, outcome: JobOutcome) {
        let end = match &outcome {
            JobOutcome::Finished => JobEnd::Finished,
            JobOutcome::Cancelled => JobEnd::Cancelled,
            JobOutcome::Failed { .. } if self.setup.config.checkpoints.retention.is_some() => JobEnd::Failed,
            // It is not over: whoever starts it again lets it go on.
            JobOutcome::Failed { reason } | JobOutcome::CannotRestore { reason } => {
                self.answer_failed(&reason.clone());
                self.ended = Some(Ok(outcome));
                return;
            }
        };
        Box::pin(self.tell_coordinator(CoordinatorInput::TasksStopped)).await;
        self.state(Moment::Before, Step::JobEnd, None).await;
        self.ending = Some(outcome);
        self.order(StorageOrder::End(end)).await;
    }

    /// It is noted how the job has ended: what nobody needs any more is deleted, as the retention policy says.
    pub(super) async fn clean_up_after(&mut self, end: JobEnd) {
        let policy = self.setup.config.checkpoints.retention.unwrap_or_default();
        for Dropped { checkpoint_id, files } in self.coordinator.shut_down(policy, end) {
            if files == Files::Delete {
                self.statistics.checkpoint_dropped(checkpoint_id);
                self.shared.gone(checkpoint_id);
                self.order(StorageOrder::Discard(checkpoint_id)).await;
            }
        }
        self.sweep_shared(self.execution.attempt()).await;
        self.order(StorageOrder::CleanUp).await;
    }

    /// Nothing is left to do.
    pub(super) fn ended_as_noted(&mut self) {
        let Some(outcome) = self.ending.take() else { return };
        match &outcome {
            JobOutcome::Finished => self.answer_finished(),
            JobOutcome::Cancelled => self.answer_cancelled(),
            JobOutcome::Failed { reason } | JobOutcome::CannotRestore { reason } => self.answer_failed(&reason.clone()),
        }
        self.ended = Some(Ok(outcome));
    }

    /// Checkpoints go on without these subtasks; `all` have finished by now.
    async fn tasks_finished(&mut self, finished: Vec<SubtaskId>, all: &BTreeSet<SubtaskId>) {
        let to_trigger = CheckpointPlan::without(&self.setup.program.graph, all).to_trigger;
        Box::pin(self.tell_coordinator(CoordinatorInput::TasksFinished { finished, to_trigger })).await;
    }

    /// States a fact about the job manager. A step of its own that is made to fail ends its leadership.
    pub(super) async fn state(&mut self, moment: Moment, step: Step, checkpoint_id: Option<CheckpointId>) {
        self.state_with(moment, step, checkpoint_id, "").await;
    }

    async fn state_with(&mut self, moment: Moment, step: Step, checkpoint_id: Option<CheckpointId>, detail: &str) {
        match self.reporter.note(moment, step, checkpoint_id, detail) {
            Directive::Continue => {}
            Directive::Hold(until) => until.await,
            Directive::Fail(_) => self.step_down(StepDown::Again),
        }
    }

    /// Begins to restore, unless a checkpoint is being stored: then it is not known yet which is the newest.
    pub(super) async fn prepare_wanted_restore(&mut self) {
        if self.coordinator.storing().is_some()
            && (self.restore_wanted.is_empty() || !planted!("restore_does_not_wait_for_what_is_being_stored"))
        {
            return;
        }
        let attempts: Vec<Attempt> = std::mem::take(&mut self.restore_wanted).into_iter().collect();
        let Some(newest) = attempts.last().copied() else { return };
        self.sweep_shared(newest).await;
        let completed = self.coordinator.completed();
        let mut latest = completed.latest();
        if planted!("restarted_region_begins_from_the_checkpoint_before") && !self.execution.live_attempts().is_empty()
        {
            latest = completed.entries().rev().nth(1).map(|entry| entry.checkpoint_id).or(latest);
        }
        match latest.filter(|_| !planted!("restart_begins_from_nothing")) {
            Some(checkpoint_id) => self.order(StorageOrder::Load { attempts, checkpoint_id }).await,
            None => {
                self.restore = None;
                self.restore_ready(attempts).await;
            }
        }
    }

    async fn restore_ready(&mut self, attempts: Vec<Attempt>) {
        for attempt in attempts {
            Box::pin(self.tell_execution(ExecutionInput::RestoreReady { attempt })).await;
        }
    }

    /// Deletes the files of attempts up to this one that nobody will ever refer to: no task of these attempts runs.
    async fn sweep_shared(&mut self, newest: Attempt) {
        // A leader that has to read the log again does not know which checkpoints are complete.
        if self.ended.is_none()
            && (self.setup.config.takes_incremental_checkpoints() || self.shared.has_files())
            && let Some(sweep) = self.shared.sweep(newest, self.execution.live_attempts())
        {
            self.order(StorageOrder::SweepShared(sweep)).await;
        }
    }

    pub(super) async fn on_loaded(
        &mut self,
        attempts: Vec<Attempt>,
        checkpoint_id: CheckpointId,
        directory: PathBuf,
        result: Result<Box<CheckpointMetadata>>,
    ) {
        let ownership = self.ownership_of(checkpoint_id, &directory);
        let fitting = |metadata: Box<CheckpointMetadata>| Restore::new(&self.setup, *metadata, directory, ownership);
        match result.and_then(fitting) {
            Ok(restore) => {
                self.restore = Some(restore);
                self.restore_ready(attempts).await;
            }
            Err(error) if error.kind() == ErrorKind::Fenced => self.step_down(StepDown::Stop(error)),
            Err(_) if planted!("unreadable_newest_checkpoint_skipped") => {
                self.restore = None;
                self.restore_ready(attempts).await;
            }
            Err(error) => {
                let recoverability = match error.kind() {
                    ErrorKind::Unavailable => Recoverability::Recoverable,
                    _ => Recoverability::NonRecoverable,
                };
                let reason = format!("cannot restore checkpoint {checkpoint_id}: {error}");
                let culprit = Culprit::Attempts(attempts);
                self.tell_execution(ExecutionInput::Failed { culprit, reason, recoverability }).await;
            }
        }
    }

    /// Whether checkpoints of this run may refer to files of the one that it is restored from.
    fn ownership_of(&self, checkpoint_id: CheckpointId, directory: &Path) -> Ownership {
        let Some(from) = self.restored_from.as_ref().filter(|from| from.checkpoint_id == checkpoint_id) else {
            return Ownership::Job;
        };
        let own = match &self.setup.config.checkpoints.storage {
            CheckpointStorageConfig::FileSystem { directory } => Some(directory.join(&self.setup.job_id)),
            CheckpointStorageConfig::JobManager => None,
        };
        match from.claim_mode {
            ClaimMode::Claim | ClaimMode::Legacy if directory.parent() == own.as_deref() => Ownership::Job,
            ClaimMode::Claim | ClaimMode::Legacy | ClaimMode::NoClaim => Ownership::User,
        }
    }

    async fn deploy(&mut self, attempt: Attempt, placement: Placement) {
        let detail = self.deployment_in_words(attempt, &placement);
        self.state_with(Moment::Before, Step::Deploy, self.restored_id(), &detail).await;
        self.summary.restored_from = self.restored_id();
        self.note_restored();
        let mut tasks: BTreeMap<TaskManagerId, Vec<TaskDeployment>> = BTreeMap::new();
        for (subtask, host) in &placement {
            let task = TaskDeployment { subtask: *subtask, restore: self.restore_of(*subtask) };
            tasks.entry(host.clone()).or_default().push(task);
        }
        let data_addresses: BTreeMap<TaskManagerId, String> =
            self.members.iter().map(|(id, member)| (id.clone(), member.data_address.clone())).collect();
        let checkpoint_directory = match &self.setup.config.checkpoints.storage {
            CheckpointStorageConfig::FileSystem { directory } => {
                directory.join(&self.setup.job_id).to_string_lossy().into_owned()
            }
            CheckpointStorageConfig::JobManager => String::new(),
        };
        self.watermarks.forget(&placement.keys().copied().collect());
        self.placement.extend(placement.iter().map(|(task, host)| (*task, host.clone())));
        for (host, tasks) in tasks {
            let deployment = Deployment {
                attempt,
                program: self.setup.program_reference.clone(),
                config: self.setup.config.clone(),
                max_parallelism: self.max_parallelism(),
                checkpoint_directory: checkpoint_directory.clone(),
                tasks,
                placement: placement.clone(),
                data_addresses: data_addresses.clone(),
            };
            self.send(&host, ToTaskManager::Deploy(Box::new(deployment)));
        }
    }

    fn restored_id(&self) -> Option<CheckpointId> {
        self.restore.as_ref().map(|restore| restore.metadata.checkpoint_id)
    }

    /// Number of key groups: that of the state that the job goes on with.
    pub(super) fn max_parallelism(&self) -> u32 {
        let restored = self.restore.as_ref().map(|restore| restore.metadata.max_parallelism);
        restored.unwrap_or(self.setup.program.graph.max_parallelism)
    }

    fn restore_of(&self, subtask: SubtaskId) -> SubtaskRestore {
        let graph = &self.setup.program.graph;
        self.restore.as_ref().map(|restore| restore.of_subtask(graph, subtask)).unwrap_or_default()
    }

    fn send_to_hosts(&self, attempt: Attempt, message: &ToTaskManager) {
        let tasks = self.execution.subtasks_of(attempt);
        let hosts: BTreeSet<&TaskManagerId> = tasks.filter_map(|task| self.placement.get(&task)).collect();
        for host in hosts {
            self.send(host, message.clone());
        }
    }

    /// Asks for the checkpoint that commits the end of a bounded job.
    pub(super) async fn request_final_checkpoint(&mut self) {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.final_request = Some(FinalRequest::Made(request));
        let request = TriggerRequest::new(request, TriggerKind::Final);
        self.tell_coordinator(CoordinatorInput::TriggerRequested(request)).await;
    }
}
