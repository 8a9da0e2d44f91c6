//! What is told of a job's checkpoints: how many, how large, how long (Flink `CheckpointStatsTracker`,
//! `CheckpointStatsCounts`, `CheckpointStatsHistory`).
//!
//! Pure bookkeeping beside the protocol: nothing is decided by it. The newest [`HISTORY`] are remembered one by one, and the
//! newest of each kind of end as long as the leader leads.

use std::collections::{BTreeMap, VecDeque};

use super::{CheckpointFailureReason, SavepointFormat};
use crate::{
    id::{CheckpointId, SubtaskId, VertexId},
    time::Timestamp,
};

/// How many checkpoints are remembered (Flink `web.checkpoints.history`).
pub const HISTORY: usize = 10;

/// What a checkpoint is told as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointKind {
    /// A checkpoint.
    Checkpoint,
    /// A savepoint.
    Savepoint(SavepointFormat),
    /// The savepoint with which the job stops.
    SyncSavepoint(SavepointFormat),
}

/// How far a checkpoint is (Flink `CheckpointStatsStatus`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointProgress {
    /// Under way.
    InProgress,
    /// Complete.
    Completed {
        /// When.
        at: Timestamp,
        /// Its directory; none if it is in the job manager's memory.
        path: Option<String>,
        /// Whether it was dropped since.
        discarded: bool,
    },
    /// Given up.
    Failed {
        /// When.
        at: Timestamp,
        /// Why.
        reason: CheckpointFailureReason,
    },
}

/// What a subtask has kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubtaskStatistics {
    /// When its acknowledgement came.
    pub acknowledged_at: Timestamp,
    /// Bytes of its state.
    pub state_bytes: u64,
    /// Bytes that were written for this checkpoint: less, if it refers to files of earlier ones.
    pub written_bytes: u64,
}

/// What is told of one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointStatistics {
    /// Which.
    pub checkpoint_id: CheckpointId,
    /// What it is.
    pub kind: CheckpointKind,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// How far it is.
    pub progress: CheckpointProgress,
    /// How many subtasks of each vertex take part.
    pub expected: BTreeMap<VertexId, usize>,
    /// The subtasks that have acknowledged.
    pub acknowledged: BTreeMap<SubtaskId, SubtaskStatistics>,
}

impl CheckpointStatistics {
    /// Bytes of all state.
    pub fn state_bytes(&self) -> u64 {
        self.acknowledged.values().map(|subtask| subtask.state_bytes).sum()
    }

    /// Bytes that were written for it.
    pub fn written_bytes(&self) -> u64 {
        self.acknowledged.values().map(|subtask| subtask.written_bytes).sum()
    }

    /// When the last acknowledgement came.
    pub fn latest_acknowledgement(&self) -> Option<Timestamp> {
        self.acknowledged.values().map(|subtask| subtask.acknowledged_at).max()
    }
}

/// A checkpoint that the job was restored from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredStatistics {
    /// Which.
    pub checkpoint_id: CheckpointId,
    /// When.
    pub at: Timestamp,
    /// Whether it is a savepoint of the user.
    pub is_savepoint: bool,
    /// Its directory.
    pub path: Option<String>,
}

/// How many checkpoints ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckpointCounts {
    /// Restores.
    pub restored: u64,
    /// Triggered.
    pub total: u64,
    /// Under way.
    pub in_progress: u64,
    /// Complete.
    pub completed: u64,
    /// Given up.
    pub failed: u64,
}

/// What is told of the checkpoints of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckpointHistory {
    counts: CheckpointCounts,
    /// Those that are remembered, oldest first.
    recent: VecDeque<CheckpointStatistics>,
    latest_completed: Option<CheckpointStatistics>,
    latest_savepoint: Option<CheckpointStatistics>,
    latest_failed: Option<CheckpointStatistics>,
    latest_restored: Option<RestoredStatistics>,
}

impl CheckpointHistory {
    /// A checkpoint was triggered.
    pub fn triggered(&mut self, checkpoint: CheckpointStatistics) {
        self.counts.total += 1;
        self.counts.in_progress += 1;
        self.recent.push_back(checkpoint);
        // What is under way is not forgotten before its end is known.
        let over = self.recent.len().saturating_sub(HISTORY);
        let ended = self.recent.iter().position(|it| it.progress != CheckpointProgress::InProgress);
        if let (true, Some(oldest)) = (over > 0, ended) {
            self.recent.remove(oldest);
        }
    }

    /// A subtask acknowledged.
    pub fn acknowledged(&mut self, checkpoint_id: CheckpointId, task: SubtaskId, subtask: SubtaskStatistics) {
        if let Some(checkpoint) = self.under_way(checkpoint_id) {
            checkpoint.acknowledged.entry(task).or_insert(subtask);
        }
    }

    /// It is complete.
    pub fn completed(&mut self, checkpoint_id: CheckpointId, at: Timestamp, path: Option<String>) {
        let Some(checkpoint) = self.under_way(checkpoint_id) else { return };
        checkpoint.progress = CheckpointProgress::Completed { at, path, discarded: false };
        let complete = checkpoint.clone();
        self.counts.in_progress -= 1;
        self.counts.completed += 1;
        match complete.kind {
            CheckpointKind::Checkpoint => self.latest_completed = Some(complete),
            CheckpointKind::Savepoint(_) | CheckpointKind::SyncSavepoint(_) => self.latest_savepoint = Some(complete),
        }
    }

    /// It was given up.
    pub fn failed(&mut self, checkpoint_id: CheckpointId, at: Timestamp, reason: CheckpointFailureReason) {
        let Some(checkpoint) = self.under_way(checkpoint_id) else { return };
        checkpoint.progress = CheckpointProgress::Failed { at, reason };
        let failed = checkpoint.clone();
        self.counts.in_progress -= 1;
        self.counts.failed += 1;
        self.latest_failed = Some(failed);
    }

    /// It was complete, and is dropped now.
    pub fn discarded(&mut self, checkpoint_id: CheckpointId) {
        let latest = [&mut self.latest_completed, &mut self.latest_savepoint];
        let all = self.recent.iter_mut().chain(latest.into_iter().flatten());
        for checkpoint in all.filter(|checkpoint| checkpoint.checkpoint_id == checkpoint_id) {
            if let CheckpointProgress::Completed { discarded, .. } = &mut checkpoint.progress {
                *discarded = true;
            }
        }
    }

    /// The job was restored.
    pub fn restored(&mut self, restored: RestoredStatistics) {
        self.counts.restored += 1;
        self.latest_restored = Some(restored);
    }

    /// How many ended how.
    pub fn counts(&self) -> CheckpointCounts {
        self.counts
    }

    /// Those that are remembered, newest first.
    pub fn recent(&self) -> impl Iterator<Item = &CheckpointStatistics> {
        self.recent.iter().rev()
    }

    /// The newest complete checkpoint, savepoint, and the newest that failed.
    pub fn latest(&self) -> [Option<&CheckpointStatistics>; 3] {
        [self.latest_completed.as_ref(), self.latest_savepoint.as_ref(), self.latest_failed.as_ref()]
    }

    /// What the job was restored from last.
    pub fn latest_restored(&self) -> Option<&RestoredStatistics> {
        self.latest_restored.as_ref()
    }

    /// What is remembered of one.
    pub fn of(&self, checkpoint_id: CheckpointId) -> Option<&CheckpointStatistics> {
        let mut all = self.recent.iter().chain(self.latest().into_iter().flatten());
        all.find(|checkpoint| checkpoint.checkpoint_id == checkpoint_id)
    }

    fn under_way(&mut self, checkpoint_id: CheckpointId) -> Option<&mut CheckpointStatistics> {
        let in_progress = |checkpoint: &&mut CheckpointStatistics| {
            checkpoint.checkpoint_id == checkpoint_id && checkpoint.progress == CheckpointProgress::InProgress
        };
        self.recent.iter_mut().find(in_progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triggered(id: u64, kind: CheckpointKind) -> CheckpointStatistics {
        CheckpointStatistics {
            checkpoint_id: CheckpointId(id),
            kind,
            triggered_at: Timestamp(id as i64),
            progress: CheckpointProgress::InProgress,
            expected: BTreeMap::from([(VertexId(0), 1)]),
            acknowledged: BTreeMap::new(),
        }
    }

    fn ids(history: &CheckpointHistory) -> Vec<u64> {
        history.recent().map(|checkpoint| checkpoint.checkpoint_id.0).collect()
    }

    #[test]
    fn each_checkpoint_counts_once_however_it_ends() {
        let mut history = CheckpointHistory::default();
        for id in 1..=4 {
            history.triggered(triggered(id, CheckpointKind::Checkpoint));
        }
        history.completed(CheckpointId(1), Timestamp(10), None);
        history.failed(CheckpointId(1), Timestamp(11), CheckpointFailureReason::CheckpointExpired);
        history.failed(CheckpointId(2), Timestamp(12), CheckpointFailureReason::CheckpointExpired);
        history.completed(CheckpointId(9), Timestamp(13), None);
        let counts = CheckpointCounts { restored: 0, total: 4, in_progress: 2, completed: 1, failed: 1 };
        assert_eq!(history.counts(), counts);
    }

    #[test]
    fn what_is_under_way_is_remembered_however_many_come_after_it() {
        let mut history = CheckpointHistory::default();
        history.triggered(triggered(1, CheckpointKind::Savepoint(SavepointFormat::Canonical)));
        for id in 2..=20 {
            history.triggered(triggered(id, CheckpointKind::Checkpoint));
            history.completed(CheckpointId(id), Timestamp(0), None);
        }
        assert_eq!(ids(&history), [20, 19, 18, 17, 16, 15, 14, 13, 12, 1]);
        history.completed(CheckpointId(1), Timestamp(1), Some("here".into()));
        let [completed, savepoint, _] = history.latest().map(|it| it.map(|it| it.checkpoint_id.0));
        assert_eq!((completed, savepoint), (Some(20), Some(1)));
    }

    #[test]
    fn a_subtask_that_acknowledges_twice_counts_once() {
        let mut history = CheckpointHistory::default();
        history.triggered(triggered(1, CheckpointKind::Checkpoint));
        let task = SubtaskId { vertex: VertexId(0), index: 0 };
        let subtask = SubtaskStatistics { acknowledged_at: Timestamp(5), state_bytes: 100, written_bytes: 10 };
        history.acknowledged(CheckpointId(1), task, subtask);
        history.acknowledged(CheckpointId(1), task, SubtaskStatistics { acknowledged_at: Timestamp(9), ..subtask });
        let checkpoint = history.of(CheckpointId(1)).expect("it is remembered");
        assert_eq!((checkpoint.state_bytes(), checkpoint.written_bytes()), (100, 10));
        assert_eq!(checkpoint.latest_acknowledgement(), Some(Timestamp(5)));
    }
}
