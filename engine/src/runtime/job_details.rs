//! What is told of a job to whoever watches it.

use std::collections::BTreeMap;

use crate::{
    checkpoint::statistics::CheckpointHistory,
    config::JobConfig,
    graph::JobGraph,
    id::{Attempt, CheckpointId, SubtaskId, TaskManagerId},
    job::JobState,
    time::Timestamp,
};

/// A job at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct JobDetails {
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: JobState,
    /// When this leader began.
    pub started_at: Timestamp,
    /// When it got into the state that it is in.
    pub state_since: Timestamp,
    /// The moment.
    pub now: Timestamp,
    /// The attempt that runs or ran last.
    pub attempt: Attempt,
    /// Attempts after the first.
    pub restarts: u64,
    /// Its vertices and edges.
    pub graph: JobGraph,
    /// The subtasks that run now.
    pub placement: BTreeMap<SubtaskId, TaskManagerId>,
    /// Its options.
    pub config: JobConfig,
    /// The newest completed checkpoint.
    pub latest_checkpoint: Option<CheckpointId>,
    /// Its checkpoints.
    pub checkpoints: CheckpointHistory,
    /// Its last failures, newest first.
    pub failures: Vec<FailureDetails>,
    /// The task managers that are registered.
    pub task_managers: Vec<TaskManagerDetails>,
}

/// A failure of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureDetails {
    /// When.
    pub at: Timestamp,
    /// Of which attempt.
    pub attempt: Attempt,
    /// What.
    pub reason: String,
}

/// A registered task manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskManagerDetails {
    /// Its name.
    pub id: TaskManagerId,
    /// Where it receives data.
    pub data_address: String,
    /// How many slots it has.
    pub slots: u32,
    /// How many of them are free.
    pub free_slots: u32,
}
