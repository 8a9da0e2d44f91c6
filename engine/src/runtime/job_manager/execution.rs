//! Carries out what the execution graph decides.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{FinalRequest, JobManager, Restore, StepDown};
use crate::{
    checkpoint::{
        Ownership,
        coordinator::{CheckpointPlan, CoordinatorInput, RequestId, TriggerKind, TriggerRequest},
    },
    config::CheckpointStorageConfig,
    error::{Error, ErrorKind, Result},
    event::{Directive, Moment, Step},
    id::{Attempt, CheckpointId, OperatorUid, SubtaskId, TaskManagerId},
    job::{ExecutionAction, ExecutionInput, JobOutcome, Placement},
    net::{Deployment, StateHandle, SubtaskRestore, TaskDeployment, ToTaskManager},
    runtime::storage_actor::StorageOrder,
    storage::CheckpointMetadata,
};

/// What all subtasks of a subtask's operators with union state kept, in their order.
fn union_of(metadata: &CheckpointMetadata, subtask: SubtaskId) -> BTreeMap<OperatorUid, Vec<StateHandle>> {
    let mut union: BTreeMap<OperatorUid, Vec<StateHandle>> = BTreeMap::new();
    for (other, operators) in &metadata.subtasks {
        if other.vertex == subtask.vertex {
            for (uid, handle) in operators.iter().filter(|(uid, _)| metadata.union.contains(*uid)) {
                union.entry(uid.clone()).or_default().push(handle.clone());
            }
        }
    }
    union
}

impl JobManager {
    /// Tells the execution graph, and does what it says; what that leads to is done first.
    pub(super) async fn tell_execution(&mut self, input: ExecutionInput) {
        let mut actions = Vec::new();
        let (now, random_unit) = (self.setup.env.now(), self.random_unit());
        self.execution.handle(now, random_unit, input, &mut actions);
        for action in actions {
            self.carry_out(action).await;
        }
    }

    async fn carry_out(&mut self, action: ExecutionAction) {
        match action {
            ExecutionAction::PrepareRestore(attempt) => {
                self.restore_wanted = Some(attempt);
                self.prepare_wanted_restore().await;
            }
            ExecutionAction::Deploy { attempt, placement } => self.deploy(attempt, placement).await,
            ExecutionAction::Start(attempt) => self.send_to_hosts(&ToTaskManager::Start { attempt }),
            ExecutionAction::AllRunning(_) => {
                self.state(Moment::After, Step::Deploy, None).await;
                if self.setup.config.checkpoints.interval.is_some() {
                    let graph = &self.setup.program.graph;
                    let plan =
                        CheckpointPlan { tasks: graph.subtasks().collect(), to_trigger: graph.source_subtasks() };
                    Box::pin(self.tell_coordinator(CoordinatorInput::TasksRunning(plan))).await;
                }
            }
            ExecutionAction::StopCheckpoints { attempt, reason } => {
                tracing::warn!(%attempt, %reason, "attempt failed");
                self.summary.restarts += 1;
                self.final_request = None;
                self.state_with(Moment::Before, Step::FailOver, None, &reason).await;
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
                self.send_to_hosts(&ToTaskManager::Finish { attempt });
            }
            ExecutionAction::End(JobOutcome::Finished) => {
                self.state(Moment::Before, Step::JobEnd, None).await;
                self.sweep_shared(self.execution.attempt()).await;
                self.order(StorageOrder::Finish).await;
            }
            ExecutionAction::End(outcome @ JobOutcome::Failed { .. }) => self.ended = Some(Ok(outcome)),
        }
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
        if self.coordinator.storing().is_some() {
            return;
        }
        let Some(attempt) = self.restore_wanted.take() else { return };
        self.sweep_shared(attempt).await;
        match self.coordinator.completed().latest() {
            Some(checkpoint_id) => self.order(StorageOrder::Load { attempt, checkpoint_id }).await,
            None => {
                self.restore = self.given.clone();
                Box::pin(self.tell_execution(ExecutionInput::RestoreReady { attempt })).await;
            }
        }
    }

    /// No task runs: deletes the files of attempts up to this one that nobody will ever refer to.
    async fn sweep_shared(&mut self, newest: Attempt) {
        // A leader that has to read the log again does not know which checkpoints are complete.
        if self.ended.is_none()
            && (self.setup.config.takes_incremental_checkpoints() || self.shared.has_files())
            && let Some(sweep) = self.shared.sweep(newest)
        {
            self.order(StorageOrder::SweepShared(sweep)).await;
        }
    }

    pub(super) async fn on_loaded(
        &mut self,
        attempt: Attempt,
        checkpoint_id: CheckpointId,
        directory: PathBuf,
        result: Result<Box<CheckpointMetadata>>,
    ) {
        match result.and_then(|metadata| self.check_fit(metadata)) {
            Ok(metadata) => {
                self.restore = Some(Restore { metadata: Arc::new(*metadata), directory, ownership: Ownership::Job });
                self.tell_execution(ExecutionInput::RestoreReady { attempt }).await;
            }
            Err(error) if error.kind() == ErrorKind::Fenced => self.step_down(StepDown::Stop(error)),
            Err(error) => {
                let fatal = error.kind() != ErrorKind::Unavailable;
                let reason = format!("cannot restore checkpoint {checkpoint_id}: {error}");
                self.tell_execution(ExecutionInput::RestoreFailed { attempt, reason, fatal }).await;
            }
        }
    }

    /// Whether the state in a checkpoint is that of this graph.
    pub(super) fn check_fit(&self, metadata: Box<CheckpointMetadata>) -> Result<Box<CheckpointMetadata>> {
        let wanted: Vec<SubtaskId> = self.setup.program.graph.subtasks().collect();
        let found: Vec<SubtaskId> = metadata.subtasks.keys().copied().collect();
        if wanted == found && metadata.max_parallelism == self.setup.program.graph.max_parallelism {
            return Ok(metadata);
        }
        Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "checkpoint {} was taken with {} subtasks and {} key groups, the job has {} and {}",
                metadata.checkpoint_id,
                found.len(),
                metadata.max_parallelism,
                wanted.len(),
                self.setup.program.graph.max_parallelism,
            ),
        )
        .with_hint("run the pipeline with the parallelism and the stages that it had"))
    }

    async fn deploy(&mut self, attempt: Attempt, placement: Placement) {
        self.state(Moment::Before, Step::Deploy, self.restored_id()).await;
        self.summary.restored_from = self.restored_id();
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
        self.placement = placement;
        for (host, tasks) in tasks {
            let deployment = Deployment {
                attempt,
                program: self.setup.program_reference.clone(),
                config: self.setup.config.clone(),
                checkpoint_directory: checkpoint_directory.clone(),
                tasks,
                placement: self.placement.clone(),
                data_addresses: data_addresses.clone(),
            };
            self.send(&host, ToTaskManager::Deploy(Box::new(deployment)));
        }
    }

    fn restored_id(&self) -> Option<CheckpointId> {
        self.restore.as_ref().map(|restore| restore.metadata.checkpoint_id)
    }

    fn restore_of(&self, subtask: SubtaskId) -> SubtaskRestore {
        let Some(restore) = &self.restore else { return SubtaskRestore::default() };
        SubtaskRestore {
            checkpoint_id: Some(restore.metadata.checkpoint_id),
            directory: restore.directory.to_string_lossy().into_owned(),
            ownership: restore.ownership,
            operators: restore.metadata.subtasks.get(&subtask).cloned().unwrap_or_default(),
            union: union_of(&restore.metadata, subtask),
        }
    }

    fn send_to_hosts(&self, message: &ToTaskManager) {
        let hosts: std::collections::BTreeSet<&TaskManagerId> = self.placement.values().collect();
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
