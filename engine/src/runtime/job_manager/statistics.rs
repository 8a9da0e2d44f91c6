//! What is told of the job: bookkeeping beside what it does (Flink `CheckpointStatsTracker`, `ExceptionHistoryEntry`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::JobManager;
use crate::{
    checkpoint::{
        AfterSnapshot, CheckpointFailureReason, Ownership, SnapshotType,
        statistics::{
            CheckpointHistory, CheckpointKind, CheckpointProgress, CheckpointStatistics, RestoredStatistics,
            SubtaskStatistics,
        },
    },
    id::{Attempt, CheckpointId, OperatorUid, SubtaskId, TaskManagerId, VertexId},
    job::JobState,
    net::StateHandle,
    runtime::job_details::{FailureDetails, JobDetails, TaskManagerDetails},
    time::Timestamp,
};

/// How many failures are remembered (Flink `web.exception-history-size`).
const FAILURES: usize = 16;

/// What is remembered for telling.
pub(super) struct JobStatistics {
    started_at: Timestamp,
    state: JobState,
    state_since: Timestamp,
    /// Newest first.
    failures: VecDeque<FailureDetails>,
    checkpoints: CheckpointHistory,
}

impl JobStatistics {
    pub fn new(now: Timestamp) -> Self {
        Self {
            started_at: now,
            state: JobState::Created,
            state_since: now,
            failures: VecDeque::new(),
            checkpoints: CheckpointHistory::default(),
        }
    }

    /// The job may have got into another state.
    pub fn state(&mut self, state: JobState, now: Timestamp) {
        if self.state != state {
            (self.state, self.state_since) = (state, now);
        }
    }

    pub fn failed(&mut self, attempt: Attempt, reason: &str, now: Timestamp) {
        self.failures.push_front(FailureDetails { at: now, attempt, reason: reason.to_owned() });
        self.failures.truncate(FAILURES);
    }

    pub fn checkpoint_completed(&mut self, checkpoint_id: CheckpointId, path: Option<String>, now: Timestamp) {
        self.checkpoints.completed(checkpoint_id, now, path);
    }

    pub fn checkpoint_failed(
        &mut self,
        checkpoint_id: CheckpointId,
        reason: Option<CheckpointFailureReason>,
        now: Timestamp,
    ) {
        self.checkpoints.failed(checkpoint_id, now, reason.unwrap_or(CheckpointFailureReason::JobFailoverRegion));
    }

    pub fn checkpoint_dropped(&mut self, checkpoint_id: CheckpointId) {
        self.checkpoints.discarded(checkpoint_id);
    }
}

impl JobManager {
    pub(super) fn details(&self) -> JobDetails {
        let task_managers = self.members.iter().map(|(id, member)| TaskManagerDetails {
            id: id.clone(),
            data_address: member.data_address.clone(),
            slots: member.slots,
            free_slots: member.slots.saturating_sub(self.slots_used(id)),
        });
        let statistics = &self.statistics;
        JobDetails {
            name: self.setup.job_id.clone(),
            state: self.execution.job_state(),
            started_at: statistics.started_at,
            state_since: statistics.state_since,
            now: self.setup.env.now(),
            attempt: self.execution.attempt(),
            restarts: self.summary.restarts,
            graph: self.setup.program.graph.clone(),
            placement: self.placement.clone(),
            config: self.setup.config.clone(),
            latest_checkpoint: self.coordinator.completed().latest(),
            checkpoints: statistics.checkpoints.clone(),
            failures: statistics.failures.iter().cloned().collect(),
            task_managers: task_managers.collect(),
        }
    }

    /// How many slots of a task manager the job has: a slot holds the subtasks of one index.
    fn slots_used(&self, task_manager: &TaskManagerId) -> u32 {
        let here = self.placement.iter().filter(|(_, host)| *host == task_manager);
        here.map(|(task, _)| task.index).collect::<BTreeSet<u32>>().len() as u32
    }

    /// A checkpoint begins.
    pub(super) fn note_triggered(&mut self, checkpoint_id: CheckpointId) {
        let kind = match self.snapshot_type(checkpoint_id) {
            SnapshotType::Checkpoint => CheckpointKind::Checkpoint,
            SnapshotType::Savepoint(savepoint) => match savepoint.then {
                AfterSnapshot::GoOn => CheckpointKind::Savepoint(savepoint.format),
                AfterSnapshot::Suspend | AfterSnapshot::Terminate => CheckpointKind::SyncSavepoint(savepoint.format),
            },
        };
        let mut expected: BTreeMap<VertexId, usize> = BTreeMap::new();
        if let Some(pending) = self.coordinator.pending().find(|pending| pending.checkpoint_id == checkpoint_id) {
            for task in pending.tasks() {
                *expected.entry(task.vertex).or_default() += 1;
            }
        }
        self.statistics.checkpoints.triggered(CheckpointStatistics {
            checkpoint_id,
            kind,
            triggered_at: self.setup.env.now(),
            progress: CheckpointProgress::InProgress,
            expected,
            acknowledged: BTreeMap::new(),
        });
    }

    /// A subtask acknowledged; `shared_before` are the bytes of files that were there already.
    pub(super) fn note_acknowledged(
        &mut self,
        checkpoint_id: CheckpointId,
        task: SubtaskId,
        operators: &BTreeMap<OperatorUid, StateHandle>,
        shared_before: u64,
    ) {
        let state_bytes: u64 = operators.values().map(StateHandle::length_bytes).sum();
        let acknowledged_at = self.setup.env.now();
        let written_bytes = state_bytes.saturating_sub(shared_before);
        let subtask = SubtaskStatistics { acknowledged_at, state_bytes, written_bytes };
        self.statistics.checkpoints.acknowledged(checkpoint_id, task, subtask);
    }

    /// An attempt starts from a checkpoint.
    pub(super) fn note_restored(&mut self) {
        if let Some(restore) = &self.restore {
            self.statistics.checkpoints.restored(RestoredStatistics {
                checkpoint_id: restore.metadata.checkpoint_id,
                at: self.setup.env.now(),
                is_savepoint: restore.ownership == Ownership::User,
                path: Some(restore.directory.display().to_string()).filter(|path| !path.is_empty()),
            });
        }
    }
}
