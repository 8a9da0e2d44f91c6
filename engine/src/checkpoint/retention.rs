//! Which completed checkpoints are kept, and what becomes of them.
//!
//! [`CompletedCheckpoints`] is the store as data: what a recovery may choose from, oldest first. It decides what is
//! dropped; the shell deletes. The newest real checkpoint is never dropped, so that there is always something to
//! recover from; a store may hold more than its limit for that reason. Flink `DefaultCompletedCheckpointStore`,
//! `CheckpointSubsumeHelper`, `CheckpointProperties`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

pub use crate::config::RetentionPolicy;
use crate::{id::CheckpointId, planted};

/// What a completed checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompletedKind {
    /// A checkpoint: ours to delete.
    Checkpoint,
    /// A savepoint: the user's. It is in the store only when the job was restored from it.
    Savepoint,
    /// The savepoint with which a job stops.
    StopWithSavepoint,
    /// A snapshot that the job was restored from without claiming it: the user's.
    Unclaimed,
    /// A checkpoint of which nobody knows whether it was published. Never chosen on purpose; dropped with the next.
    Doubtful,
}

/// An entry of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedCheckpoint {
    /// Its id.
    pub checkpoint_id: CheckpointId,
    /// What it is.
    pub kind: CompletedKind,
}

/// The completed checkpoints of a job.
#[derive(Debug)]
pub struct CompletedCheckpoints {
    retained_max: usize,
    entries: VecDeque<CompletedCheckpoint>,
}

/// What becomes of the files of a dropped checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Files {
    /// They are ours and nobody needs them any more.
    Delete,
    /// They are the user's.
    Keep,
}

/// An entry that left the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Which checkpoint.
    pub checkpoint_id: CheckpointId,
    /// What becomes of its files.
    pub files: Files,
}

impl CompletedKind {
    /// Whether the files belong to the user.
    pub fn is_users(self) -> bool {
        match self {
            Self::Savepoint | Self::StopWithSavepoint | Self::Unclaimed => true,
            Self::Checkpoint | Self::Doubtful => false,
        }
    }
}

impl CompletedCheckpoints {
    /// A store that keeps `retained_max` checkpoints, with what an earlier leader left in it.
    ///
    /// # Panics
    /// If it is to keep none: without a completed checkpoint there is nothing to recover from.
    pub fn new(retained_max: usize, recovered: impl IntoIterator<Item = CompletedCheckpoint>) -> Self {
        assert!(retained_max >= 1, "at least one completed checkpoint is retained");
        let mut entries: VecDeque<_> = recovered.into_iter().collect();
        entries.make_contiguous().sort_by_key(|entry| entry.checkpoint_id);
        Self { retained_max, entries }
    }

    /// Takes in a checkpoint that is durable, and says what leaves the store for it, oldest first.
    ///
    /// Call it only after the new entry was persisted: if that failed, nothing older may go.
    pub fn add(&mut self, checkpoint: CompletedCheckpoint) -> Vec<Dropped> {
        let place = self.entries.partition_point(|entry| entry.checkpoint_id < checkpoint.checkpoint_id);
        self.entries.insert(place, checkpoint);
        let mut dropped = Vec::new();
        if checkpoint.kind != CompletedKind::Doubtful {
            self.drop_where(&mut dropped, |entry, _| {
                entry.kind == CompletedKind::Doubtful && entry.checkpoint_id < checkpoint.checkpoint_id
            });
            self.drop_where(&mut dropped, |entry, store| store.is_over_full() && store.may_drop(entry));
        }
        dropped
    }

    /// The job ends here: says which entries leave the store and what becomes of them, oldest first.
    pub fn shut_down(&mut self, policy: RetentionPolicy, end: JobEnd, survival: Survival) -> Vec<Dropped> {
        match (survival, end) {
            (Survival::OutlivesLeader, JobEnd::Suspended) => return Vec::new(),
            (Survival::OutlivesLeader, JobEnd::Finished | JobEnd::Cancelled | JobEnd::Failed)
            | (Survival::EndsWithLeader, _) => {}
        }
        let entries = std::mem::take(&mut self.entries);
        let files = |kind: CompletedKind| if kind.is_users() { Files::Keep } else { policy.files_at(end) };
        entries
            .into_iter()
            .map(|entry| Dropped { checkpoint_id: entry.checkpoint_id, files: files(entry.kind) })
            .collect()
    }

    /// The newest completed one.
    pub fn latest(&self) -> Option<CheckpointId> {
        self.certain().next_back().map(|entry| entry.checkpoint_id)
    }

    /// The oldest that may still be restored: shared files that only older ones use are of no use.
    pub fn oldest(&self) -> Option<CheckpointId> {
        self.entries.front().map(|entry| entry.checkpoint_id)
    }

    /// Whether the store holds this one.
    pub fn contains(&self, checkpoint_id: CheckpointId) -> bool {
        self.entries.iter().any(|entry| entry.checkpoint_id == checkpoint_id)
    }

    /// Everything in the store, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = CompletedCheckpoint> + '_ {
        self.entries.iter().copied()
    }

    fn certain(&self) -> impl DoubleEndedIterator<Item = CompletedCheckpoint> + '_ {
        self.entries().filter(|entry| entry.kind != CompletedKind::Doubtful)
    }

    fn is_over_full(&self) -> bool {
        let too_few = usize::from(planted!("one_checkpoint_too_few_retained"));
        self.certain().count() + too_few > self.retained_max
    }

    /// The newest entry stays, and the newest real checkpoint, unless the job has stopped with a savepoint.
    fn may_drop(&self, entry: &CompletedCheckpoint) -> bool {
        let Some(newest) = self.certain().next_back() else { return false };
        if newest == *entry {
            return false;
        }
        match entry.kind {
            CompletedKind::Savepoint | CompletedKind::StopWithSavepoint | CompletedKind::Unclaimed => true,
            CompletedKind::Doubtful => false,
            CompletedKind::Checkpoint => {
                newest.kind == CompletedKind::StopWithSavepoint
                    || self.certain().rfind(|other| other.kind == CompletedKind::Checkpoint) != Some(*entry)
            }
        }
    }

    fn drop_where(&mut self, dropped: &mut Vec<Dropped>, should: impl Fn(&CompletedCheckpoint, &Self) -> bool) {
        let mut index = 0;
        while let Some(entry) = self.entries.get(index).copied() {
            if should(&entry, self) {
                self.entries.remove(index);
                let files = if entry.kind.is_users() { Files::Keep } else { Files::Delete };
                dropped.push(Dropped { checkpoint_id: entry.checkpoint_id, files });
            } else {
                index += 1;
            }
        }
    }
}

/// How a job ended, as far as its checkpoints are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobEnd {
    /// It came to the end of its data.
    Finished,
    /// Somebody cancelled it.
    Cancelled,
    /// It failed for good.
    Failed,
    /// Its job manager lost the leadership; somebody else may take over.
    Suspended,
}

/// Whether a new leader finds the entries of the store (Flink: high availability).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Survival {
    /// It does.
    OutlivesLeader,
    /// They are in the memory of the job manager.
    EndsWithLeader,
}

impl RetentionPolicy {
    /// What becomes of the checkpoints' files.
    pub fn files_at(self, end: JobEnd) -> Files {
        match (self, end) {
            (Self::RetainOnFailure | Self::RetainOnCancellation, JobEnd::Failed)
            | (Self::RetainOnCancellation, JobEnd::Cancelled | JobEnd::Suspended) => Files::Keep,
            (Self::NeverRetain, JobEnd::Finished | JobEnd::Cancelled | JobEnd::Failed | JobEnd::Suspended)
            | (Self::RetainOnFailure, JobEnd::Finished | JobEnd::Cancelled | JobEnd::Suspended)
            | (Self::RetainOnCancellation, JobEnd::Finished) => Files::Delete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, kind: CompletedKind) -> CompletedCheckpoint {
        CompletedCheckpoint { checkpoint_id: CheckpointId(id), kind }
    }

    #[test]
    fn a_job_that_stopped_with_a_savepoint_needs_no_older_checkpoint() {
        let mut store = CompletedCheckpoints::new(1, [entry(1, CompletedKind::Checkpoint)]);
        let dropped = store.add(entry(2, CompletedKind::StopWithSavepoint));
        assert_eq!(dropped, [Dropped { checkpoint_id: CheckpointId(1), files: Files::Delete }]);
    }

    #[test]
    fn the_latest_is_the_newest_whatever_the_order_of_completion_and_never_a_doubtful_one() {
        let mut store = CompletedCheckpoints::new(3, []);
        store.add(entry(5, CompletedKind::Checkpoint));
        store.add(entry(3, CompletedKind::StopWithSavepoint));
        store.add(entry(6, CompletedKind::Doubtful));
        assert_eq!((store.latest(), store.oldest()), (Some(CheckpointId(5)), Some(CheckpointId(3))));
    }

    #[test]
    fn a_doubtful_one_leaves_with_the_next_that_is_certain() {
        let mut store = CompletedCheckpoints::new(2, [entry(1, CompletedKind::Checkpoint)]);
        assert_eq!(store.add(entry(2, CompletedKind::Doubtful)), []);
        let dropped = store.add(entry(3, CompletedKind::Checkpoint));
        assert_eq!(dropped, [Dropped { checkpoint_id: CheckpointId(2), files: Files::Delete }]);
    }
}
