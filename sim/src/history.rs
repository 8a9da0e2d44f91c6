//! What happened in a run, as an outsider could have seen it: protocol facts, files, and how it ended.
//!
//! Judges read histories only, never live parts of the engine. Facts and file events share one sequence, so that
//! "before" and "after" between them are exact.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tidegate::{
    Timestamp,
    event::{Moment, Step},
    id::{Attempt, CheckpointId, OperatorUid, SubtaskId},
    net::{FileHandle, StateHandle},
    operator::OperatorSnapshot,
    storage::CheckpointMetadata,
};

use crate::model::Model;

/// A protocol fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactRecord {
    /// Position among all events of the run.
    pub sequence: u64,
    /// Simulated time.
    pub at: Timestamp,
    /// The process.
    pub node: Arc<str>,
    /// The subtask, `vertex-name#index`.
    pub subtask: Option<Arc<str>>,
    /// What.
    pub step: Step,
    /// Before or after it.
    pub moment: Moment,
    /// The checkpoint that it belongs to.
    pub checkpoint_id: Option<CheckpointId>,
    /// The attempt of the job (zero for facts about a process).
    pub attempt: Attempt,
    /// A transaction, for the sink's steps: the name of the staged file.
    pub detail: String,
}

/// Something that became visible on the shared disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// Position among all events of the run.
    pub sequence: u64,
    /// Simulated time.
    pub at: Timestamp,
    /// Who did it; `None` if the disk itself did (a power loss took it back).
    pub node: Option<Arc<str>>,
    /// Which file.
    pub path: PathBuf,
    /// What.
    pub kind: FileRecordKind,
}

/// What happened to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileRecordKind {
    /// It was created.
    Created,
    /// It got its name from another file, which lost it.
    Named {
        /// The name before.
        from: PathBuf,
    },
    /// It was removed.
    Removed,
}

/// A checkpoint at the moment at which it was completed: its entry in the leader's log became visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedCapture {
    /// Position among all events of the run.
    pub sequence: u64,
    /// What it consists of; `Err` says why it could not be read, which is a violation in itself.
    pub metadata: Result<CheckpointMetadata, String>,
    /// The state of each operator of each subtask, as a restore would read it.
    pub state: BTreeMap<SubtaskId, BTreeMap<OperatorUid, Result<OperatorSnapshot, String>>>,
}

impl CompletedCapture {
    /// The files that it refers to among those that checkpoints share.
    pub fn shared_files(&self) -> impl Iterator<Item = &FileHandle> {
        let subtasks = self.metadata.iter().flat_map(|metadata| metadata.subtasks.values());
        subtasks.flat_map(BTreeMap::values).flat_map(StateHandle::shared_files)
    }
}

/// A visible output file at the end of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    /// `part-<subtask>-<checkpoint>-<token>`.
    pub name: String,
    /// Its lines, in order.
    pub lines: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// The job finished.
    Finished,
    /// The job failed for good.
    Failed {
        /// What the job manager said.
        reason: String,
    },
    /// It did not end within the bound after the faults had stopped.
    Hung,
    /// The simulation itself panicked: a rule of the engine was broken, or the laboratory has a defect.
    Panicked {
        /// The message.
        message: String,
    },
}

/// Everything that is kept of a run.
#[derive(Debug, Clone)]
pub struct History {
    /// Protocol facts.
    pub facts: Vec<FactRecord>,
    /// Events of files: output, log, metadata.
    pub files: Vec<FileRecord>,
    /// Checkpoints as they were when they were completed.
    pub completed: BTreeMap<CheckpointId, CompletedCapture>,
    /// Visible output at the end, by sink name.
    pub output: BTreeMap<String, Vec<OutputFile>>,
    /// Staged files that are left at the end, by sink name.
    pub staged_left: BTreeMap<String, Vec<String>>,
    /// Checkpoint directories that are left at the end.
    pub checkpoints_left: Vec<CheckpointId>,
    /// Files that are left at the end among those that checkpoints share, by name.
    pub shared_left: BTreeSet<String>,
    /// When the last fault stopped.
    pub healed_at: Timestamp,
    /// When the run ended.
    pub ended_at: Timestamp,
    /// How.
    pub end: RunEnd,
}

impl History {
    /// The completed checkpoints that the job retains at its end, newest first.
    pub fn retained(&self, model: &Model) -> impl Iterator<Item = (CheckpointId, &CompletedCapture)> {
        let retained = model.config().checkpoints.retained;
        self.completed.iter().rev().take(retained).map(|(checkpoint_id, capture)| (*checkpoint_id, capture))
    }
}
