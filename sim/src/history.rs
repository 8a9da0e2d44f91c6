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
    graph::JobGraph,
    id::{Attempt, CheckpointId, OperatorUid, SubtaskId},
    net::{FileHandle, InFlightState, StateHandle},
    operator::OperatorSnapshot,
    storage::CheckpointMetadata,
};

use crate::{
    fault::FaultKind,
    model::{Clocks, Model},
};

mod runs;

pub use runs::{Branch, Disposal, Run, Savepoint};

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
    /// The attempt of the subtask's region (zero for facts about a process).
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
    /// What was under way at each subtask, as a restore would read it.
    pub in_flight: BTreeMap<SubtaskId, Result<InFlightState, String>>,
    /// Whether it is a savepoint that was written while the job was being drained, whatever came of that.
    pub drains: bool,
}

impl CompletedCapture {
    /// Whether it holds data that was under way.
    pub fn has_data_under_way(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether all of it could be read.
    pub fn is_whole(&self) -> bool {
        self.metadata.is_ok() && self.state.values().flat_map(BTreeMap::values).all(Result::is_ok)
    }

    /// Whether it holds exactly what another one does.
    pub fn holds_what(&self, other: &Self) -> bool {
        (&self.metadata, &self.state, &self.in_flight) == (&other.metadata, &other.state, &other.in_flight)
    }

    /// Whether a subtask of an operator had finished.
    fn has_finished(&self, uid: &OperatorUid) -> bool {
        let subtasks = self.metadata.iter().flat_map(|metadata| metadata.subtasks.values());
        subtasks.filter_map(|operators| operators.get(uid)).any(|handle| *handle == StateHandle::Finished)
    }

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
    /// Somebody cancelled the job, and nothing was left to start it from again.
    Cancelled,
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
    /// The job's graph, which says what a channel leads to.
    pub graph: JobGraph,
    /// Protocol facts.
    pub facts: Vec<FactRecord>,
    /// Events of files: output, log, metadata.
    pub files: Vec<FileRecord>,
    /// Checkpoints as they were when they were completed.
    pub completed: BTreeMap<CheckpointId, CompletedCapture>,
    /// The runs of the job, one after the other.
    pub runs: Vec<Run>,
    /// What the operator was told of orders that came to nothing.
    pub refused: Vec<String>,
    /// Whether something was done to the run that nobody had ordered.
    pub disturbed: bool,
    /// What each submission of the job after the first was to start from, as its operator named it.
    pub named: BTreeMap<u64, PathBuf>,
    /// Savepoints by their directories.
    pub savepoints: BTreeMap<PathBuf, Savepoint>,
    /// The savepoint with which the job was drained: its data ended there.
    pub drained: Option<CheckpointId>,
    /// Whether somebody asked for a drain, whatever came of it: event time may have come to its end anywhere then.
    pub drain_asked: bool,
    /// Completed checkpoints that were there when everything had ended, as they were then.
    pub completed_at_end: BTreeMap<CheckpointId, CompletedCapture>,
    /// The savepoints that were begun, by number, with what was asked for.
    pub savepoints_begun: BTreeMap<CheckpointId, FaultKind>,
    /// Directories of savepoints that were there when everything had ended, be they empty.
    pub savepoints_left: BTreeSet<PathBuf>,
    /// Visible output at the end, by sink name.
    pub output: BTreeMap<String, Vec<OutputFile>>,
    /// Staged files that are left at the end, by sink name.
    pub staged_left: BTreeMap<String, Vec<String>>,
    /// Checkpoint directories that are left at the end, be they empty.
    pub checkpoints_left: Vec<CheckpointId>,
    /// Files that are left at the end among those that checkpoints share, by name.
    pub shared_left: BTreeSet<String>,
    /// Copies of state that are left at the end on the disks of task managers, if nothing disturbed the run: a process that
    /// was killed does not take its copies away.
    pub copies_left: Vec<String>,
    /// Shared files that were deleted, with the moment.
    pub shared_removed: Vec<(u64, String)>,
    /// When it was noted that the job has ended; files go after that.
    pub job_ended: Option<u64>,
    /// Whether storage said something that was not true: what it had promised may be gone.
    pub storage_lied: bool,
    /// Whether the clocks of machines were right: a time that was read is not before one that was read earlier.
    pub clocks: Clocks,
    /// When the last fault stopped.
    pub healed_at: Timestamp,
    /// When the run ended.
    pub ended_at: Timestamp,
    /// How.
    pub end: RunEnd,
}

impl History {
    /// The completed checkpoints whose content can be judged: all, unless storage lied when they were kept.
    pub fn judgeable(&self) -> impl Iterator<Item = (&CheckpointId, &CompletedCapture)> {
        self.completed.iter().filter(|(_, capture)| !self.storage_lied || capture.is_whole())
    }

    /// Whether subtasks of an operator had finished in this checkpoint or an earlier one: what these had kept is gone, and
    /// after a change of the parallelism nobody can say whose it was.
    pub fn has_finished(&self, uid: &OperatorUid, capture: &CompletedCapture) -> bool {
        let run = self.run_at(capture.sequence);
        let same_run =
            |other: &&CompletedCapture| self.run_at(other.sequence) == run && other.sequence <= capture.sequence;
        let from = self.runs.get(run).and_then(|run| self.started_from(run.from.as_ref()?));
        let before = from.filter(|from| from.sequence < capture.sequence);
        capture.has_finished(uid)
            || self.completed.values().filter(same_run).any(|other| other.has_finished(uid))
            || before.is_some_and(|before| self.has_finished(uid, before))
    }

    /// The attempt in which each subtask took part in a completed checkpoint: its newest one when that was stored. A leader
    /// starts all subtasks that there are: who ran under an earlier one only is gone, with a smaller parallelism.
    pub fn attempts_in(&self, metadata: &CheckpointMetadata) -> BTreeMap<&str, Attempt> {
        let mut attempts: BTreeMap<&str, Attempt> = BTreeMap::new();
        for fact in &self.facts {
            if let (Step::Restore, Some(subtask)) = (fact.step, fact.subtask.as_deref())
                && fact.attempt <= metadata.attempt
            {
                let newest = attempts.entry(subtask).or_default();
                *newest = fact.attempt.max(*newest);
            }
        }
        attempts.retain(|_, attempt| attempt.epoch() == metadata.attempt.epoch());
        attempts
    }

    /// The completed checkpoints that the job retains at a moment, newest first.
    pub fn retained_at(&self, sequence: u64, model: &Model) -> impl Iterator<Item = (CheckpointId, &CompletedCapture)> {
        let retained = model.config().checkpoints.retained;
        let run = self.run_at(sequence);
        let of_run = move |(_, capture): &(&CheckpointId, &CompletedCapture)| {
            capture.sequence < sequence && self.run_at(capture.sequence) == run
        };
        let completed = self.completed.iter().rev().filter(of_run);
        completed.take(retained).map(|(checkpoint_id, capture)| (*checkpoint_id, capture))
    }
}
