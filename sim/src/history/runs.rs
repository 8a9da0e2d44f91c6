//! The runs of a job: it begins again whenever somebody starts it from a checkpoint or savepoint.
//!
//! ```text
//!   run 0   ── 1 ── 2 ── 3 ── 4 ── 5          cancelled
//!                        └──────────── run 1   started from 3:  6 ── 7 ── end
//! ```
//! What counts for a checkpoint is its *branch*: of run 0 only what is up to 3 is on that of 7. What was committed for 4 and 5
//! stays, and is committed again: an outcome of going back, and exactly what lies beside the branch of the end.

use std::path::PathBuf;

use tidegate::{checkpoint::retention::JobEnd, id::CheckpointId, storage::RestoredFrom};

use super::{CompletedCapture, History};

/// A run of the job, as the leader's log tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// Since when, as a position among all events of the history.
    pub sequence: u64,
    /// What it was started from; the first one from nothing.
    pub from: Option<RestoredFrom>,
    /// The submission that began it, if it is not the first one.
    pub submission: Option<u64>,
    /// When it ended and how.
    pub ended: Option<(u64, JobEnd)>,
    /// The checkpoints that were there, whole, when it ended.
    pub there_at_end: Vec<CheckpointId>,
}

/// A savepoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Savepoint {
    /// As it was when its metadata became visible.
    pub capture: CompletedCapture,
    /// Whether the job manager has told its user of it.
    pub is_told: bool,
    /// As it was when the run of the laboratory had ended; `None` if it was gone.
    pub at_end: Option<CompletedCapture>,
    /// Whether somebody disposed of it.
    pub disposal: Option<Disposal>,
}

/// How far the disposal of a savepoint has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposal {
    /// Somebody asked for it, and was not told what came of it, or that it came to nothing.
    Asked,
    /// The job manager said that it is done.
    Done,
}

/// The output that counts for a checkpoint, or at the end: that of these checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Numbers of checkpoints, each pair above the first and up to the second.
    ranges: Vec<(u64, u64)>,
}

impl Branch {
    /// Whether the transactions of this checkpoint are on it.
    pub fn contains(&self, checkpoint_id: CheckpointId) -> bool {
        self.ranges.iter().any(|(above, up_to)| *above < checkpoint_id.0 && checkpoint_id.0 <= *up_to)
    }
}

impl History {
    /// The run that something at this position belongs to.
    pub fn run_at(&self, sequence: u64) -> usize {
        self.runs.iter().rposition(|run| run.sequence <= sequence).unwrap_or(0)
    }

    /// The snapshot in a directory that a run was started from.
    pub fn started_from(&self, from: &RestoredFrom) -> Option<&CompletedCapture> {
        let savepoint = self.savepoints.get(&PathBuf::from(&from.directory));
        savepoint.map(|savepoint| &savepoint.capture).or_else(|| self.completed.get(&from.checkpoint_id))
    }

    /// The snapshots that runs were started from, with the position from which on they counted as the newest.
    pub fn starts(&self) -> impl Iterator<Item = (u64, &CompletedCapture)> {
        let started = self.runs.iter().filter_map(|run| Some((run.sequence, run.from.as_ref()?)));
        started.filter_map(|(sequence, from)| Some((sequence, self.started_from(from)?)))
    }

    /// The number of the last checkpoint of which a run, or one before it, can have committed anything.
    fn last_of(&self, run: usize) -> u64 {
        let until = self.runs.get(run + 1).map_or(u64::MAX, |next| next.sequence);
        let completed = self.completed.iter().filter(|(_, capture)| capture.sequence < until);
        let started = self.runs.iter().skip(1).take(run + 1).filter_map(|run| Some(run.from.as_ref()?.checkpoint_id.0));
        completed.map(|(checkpoint_id, _)| checkpoint_id.0).chain(started).max().unwrap_or(0)
    }

    /// The branch of a checkpoint of a run.
    pub fn branch(&self, mut run: usize, checkpoint_id: CheckpointId) -> Branch {
        let mut ranges = Vec::new();
        let mut up_to = checkpoint_id.0;
        loop {
            let above = run.checked_sub(1).map(|before| self.last_of(before));
            ranges.push((above.unwrap_or(0), up_to));
            let from = self.runs.get(run).and_then(|run| run.from.as_ref());
            let Some((from, before)) = from.zip(run.checked_sub(1)) else { break };
            up_to = from.checkpoint_id.0;
            let taken_in = self.started_from(from).map_or(0, |capture| self.run_at(capture.sequence));
            run = taken_in.min(before);
        }
        Branch { ranges }
    }

    /// All snapshots whose content can be judged: completed checkpoints, and savepoints that are none.
    pub fn snapshots(&self) -> impl Iterator<Item = (CheckpointId, &CompletedCapture)> {
        let completed = self.judgeable().map(|(checkpoint_id, capture)| (*checkpoint_id, capture));
        completed.chain(self.plain_savepoints())
    }

    /// The savepoints that the job went on after, or was cancelled after.
    pub fn plain_savepoints(&self) -> impl Iterator<Item = (CheckpointId, &CompletedCapture)> {
        let all = self.savepoints.values().filter(|savepoint| !self.storage_lied || savepoint.capture.is_whole());
        let named = all.filter_map(|savepoint| {
            Some((savepoint.capture.metadata.as_ref().ok()?.checkpoint_id, &savepoint.capture))
        });
        named.filter(|(checkpoint_id, capture)| {
            self.completed.get(checkpoint_id).is_none_or(|completed| completed.metadata != capture.metadata)
        })
    }

    /// Whether the last branch goes through a snapshot: through each completed checkpoint on it, and each savepoint that it
    /// was started from.
    pub fn is_on_last_branch(&self, checkpoint_id: CheckpointId, capture: &CompletedCapture) -> bool {
        let is_start = || self.starts().any(|(_, start)| start.metadata == capture.metadata);
        let is_completed = self.completed.get(&checkpoint_id).is_some_and(|it| it.metadata == capture.metadata);
        (is_completed || is_start()) && self.last_branch().contains(checkpoint_id)
    }

    /// The branch of a snapshot.
    pub fn branch_of(&self, checkpoint_id: CheckpointId, capture: &CompletedCapture) -> Branch {
        self.branch(self.run_at(capture.sequence), checkpoint_id)
    }

    /// The branch that the job was on in the end.
    pub fn last_branch(&self) -> Branch {
        self.branch(self.runs.len().saturating_sub(1), CheckpointId(u64::MAX))
    }

    /// The branches that the job was on, the last one at the end: all others were left by going back.
    pub fn branches(&self) -> Vec<Branch> {
        let left = (0..self.runs.len().saturating_sub(1)).map(|run| self.branch(run, CheckpointId(self.last_of(run))));
        left.chain([self.last_branch()]).collect()
    }
}
