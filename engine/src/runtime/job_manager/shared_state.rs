//! What the job manager knows of the files that checkpoints share, and which of them may go.
//!
//! Each acknowledgement registers the files that it refers to, also that of a checkpoint which fails later: the registry
//! says when the last of its users is gone. What nobody ever heard of, because whoever wrote it died first, is swept
//! before a restore, sparing what running attempts write, and at the end of the job. Guarantee: what a retained checkpoint refers to stays.
//! Flink: `SharedStateRegistry`, `CheckpointCoordinator.receiveAcknowledgeMessage`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    checkpoint::{Layout, Ownership, RestoredSnapshot, SharedStateKey, SharedStateRegistry},
    id::{Attempt, CheckpointId, OperatorUid},
    net::StateHandle,
    planted,
    storage::{CheckpointMetadata, Sweep},
};

/// What a subtask has acknowledged.
type Handles = BTreeMap<OperatorUid, StateHandle>;

/// See the module. A file goes by its name, which is used once.
#[derive(Default)]
pub(super) struct SharedState {
    registry: SharedStateRegistry<String>,
    /// What each retained checkpoint refers to.
    retained: BTreeMap<CheckpointId, BTreeSet<String>>,
    /// What checkpoints refer to that lie among those of the job and belong to the user.
    of_user: BTreeSet<String>,
    /// A retained checkpoint cannot be read: nobody knows what it refers to.
    unknown: bool,
}

impl SharedState {
    /// What a leader finds: a retained checkpoint, if its metadata can be read.
    pub(super) fn found(&mut self, metadata: Option<&CheckpointMetadata>) {
        let Some(metadata) = metadata else {
            self.unknown = true;
            return;
        };
        let names: BTreeSet<String> = names(metadata.subtasks.values()).collect();
        let (ownership, layout) = (Ownership::Job, Layout::Checkpoint);
        let restored = RestoredSnapshot { checkpoint_id: metadata.checkpoint_id, ownership, layout };
        self.registry.register_restored(restored, names.iter().map(|name| (key(name), name.clone())));
        self.retained.insert(metadata.checkpoint_id, names);
    }

    /// A checkpoint of the user lies beside those of the job; `None` if it cannot be read.
    pub(super) fn of_user(&mut self, metadata: Option<&CheckpointMetadata>) {
        match metadata {
            Some(metadata) => self.of_user.extend(names(metadata.subtasks.values())),
            None => self.unknown = true,
        }
    }

    /// A checkpoint is deleted because the job has ended: what it referred to is swept.
    pub(super) fn gone(&mut self, checkpoint_id: CheckpointId) {
        self.retained.remove(&checkpoint_id);
    }

    /// A subtask acknowledged its part of a checkpoint: the bytes of files in it that earlier ones had brought.
    pub(super) fn acknowledged(&mut self, checkpoint_id: CheckpointId, operators: &Handles) -> u64 {
        let mut known_bytes = 0;
        for file in operators.values().flat_map(StateHandle::shared_files) {
            let key = key(&file.name);
            if self.registry.contains(&key) {
                known_bytes += file.length_bytes;
            }
            self.registry.register(key, file.name.clone(), checkpoint_id);
        }
        known_bytes
    }

    /// A checkpoint is complete.
    pub(super) fn completed<'a>(&mut self, checkpoint_id: CheckpointId, subtasks: impl Iterator<Item = &'a Handles>) {
        self.registry.completed(checkpoint_id);
        self.retained.insert(checkpoint_id, names(subtasks).collect());
    }

    /// A completed checkpoint is dropped, and this is the oldest that is left: the files that nobody needs any more.
    pub(super) fn dropped(&mut self, checkpoint_id: CheckpointId, oldest: Option<CheckpointId>) -> Vec<String> {
        self.retained.remove(&checkpoint_id);
        let Some(oldest) = oldest else { return Vec::new() };
        let mut unused = self.registry.unregister_unused(oldest).delete;
        unused.retain(|name| !self.is_needed(name));
        unused
    }

    /// Whether checkpoints refer to shared files, or did.
    pub(super) fn has_files(&self) -> bool {
        self.registry.handles().next().is_some()
    }

    fn is_needed(&self, name: &str) -> bool {
        self.of_user.contains(name) || self.retained.values().any(|names| names.contains(name))
    }

    /// What can be told from an orphan; `None` if that cannot be told, or there is nothing to tell. Tasks of these attempts
    /// run: what they write they may yet refer to.
    pub(super) fn sweep(&self, newest: Attempt, running: BTreeSet<Attempt>) -> Option<Sweep> {
        if self.unknown || planted!("shared_files_leak_after_failed_checkpoint") {
            return None;
        }
        let keep = self.retained.values().flatten().chain(&self.of_user).cloned().collect();
        Some(Sweep { keep, newest, running })
    }
}

fn key(name: &str) -> SharedStateKey {
    SharedStateKey(name.to_owned())
}

/// The names of the shared files that subtasks refer to.
pub(super) fn names<'a>(subtasks: impl Iterator<Item = &'a Handles>) -> impl Iterator<Item = String> {
    subtasks.flat_map(BTreeMap::values).flat_map(StateHandle::shared_files).map(|file| file.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{SubtaskId, VertexId},
        net::{DatabaseHandle, FileHandle},
        state::KeyGroupRange,
        time::Timestamp,
    };

    /// What a subtask acknowledges that refers to these files.
    fn handles(files: &[&str]) -> Handles {
        let file = |name: &str| FileHandle { name: name.to_owned(), length_bytes: 1, crc32: [0; 4] };
        let shared = files.iter().map(|name| (format!("{name}.sst"), file(name))).collect();
        let key_groups = KeyGroupRange { start: 0, end: 0 };
        let database = DatabaseHandle { key_groups, states: BTreeMap::new(), shared, private: BTreeMap::new() };
        let rest = Box::new(StateHandle::Inline(Vec::new()));
        let handle = StateHandle::Incremental { database: Box::new(database), rest };
        Handles::from([(OperatorUid("op".into()), handle)])
    }

    fn complete(shared: &mut SharedState, checkpoint_id: u64, files: &[&str]) {
        shared.acknowledged(CheckpointId(checkpoint_id), &handles(files));
        shared.completed(CheckpointId(checkpoint_id), [&handles(files)].into_iter());
    }

    fn kept(shared: &SharedState) -> Vec<String> {
        shared.sweep(Attempt(1), BTreeSet::new()).map(|sweep| sweep.keep.into_iter().collect()).unwrap_or_default()
    }

    #[test]
    fn a_file_goes_when_no_retained_checkpoint_refers_to_it() {
        let mut shared = SharedState::default();
        complete(&mut shared, 1, &["a", "b"]);
        complete(&mut shared, 2, &["b", "c"]);
        assert_eq!(kept(&shared), ["a", "b", "c"]);
        assert_eq!(shared.dropped(CheckpointId(1), Some(CheckpointId(2))), ["a"]);
        assert_eq!(kept(&shared), ["b", "c"]);
    }

    #[test]
    fn files_of_a_checkpoint_that_failed_go_with_the_checkpoints_before_it_and_take_nothing_along() {
        let mut shared = SharedState::default();
        complete(&mut shared, 1, &["a"]);
        shared.acknowledged(CheckpointId(2), &handles(&["a", "failed"]));
        complete(&mut shared, 3, &["a", "b"]);
        assert_eq!(kept(&shared), ["a", "b"], "a sweep takes it even earlier");
        assert_eq!(shared.dropped(CheckpointId(1), Some(CheckpointId(3))), ["failed"]);
        shared.acknowledged(CheckpointId(2), &handles(&["late"]));
        complete(&mut shared, 4, &["b"]);
        assert_eq!(shared.dropped(CheckpointId(3), Some(CheckpointId(4))), ["a", "late"]);
    }

    fn metadata(checkpoint_id: u64, files: &[&str]) -> CheckpointMetadata {
        let subtask = SubtaskId { vertex: VertexId(0), index: 0 };
        CheckpointMetadata {
            checkpoint_id: CheckpointId(checkpoint_id),
            attempt: Attempt(1),
            triggered_at: Timestamp(0),
            max_parallelism: 1,
            subtasks: BTreeMap::from([(subtask, handles(files))]),
            union: BTreeSet::new(),
            in_flight: BTreeMap::new(),
        }
    }

    #[test]
    fn a_new_leader_knows_the_files_of_what_it_finds_and_sweeps_only_if_it_knows_all() {
        let mut shared = SharedState::default();
        shared.found(Some(&metadata(4, &["a", "b"])));
        shared.found(Some(&metadata(5, &["b"])));
        assert_eq!(kept(&shared), ["a", "b"]);
        complete(&mut shared, 6, &["b", "c"]);
        assert_eq!(shared.dropped(CheckpointId(4), Some(CheckpointId(5))), ["a"]);
        assert!(shared.sweep(Attempt(1), BTreeSet::new()).is_some());
        shared.found(None);
        assert_eq!(shared.sweep(Attempt(1), BTreeSet::new()), None);
    }

    #[test]
    fn files_of_a_checkpoint_that_the_user_gave_are_never_deleted() {
        let mut shared = SharedState::default();
        shared.of_user(Some(&metadata(3, &["users"])));
        complete(&mut shared, 4, &["users", "a"]);
        complete(&mut shared, 5, &["b"]);
        assert_eq!(shared.dropped(CheckpointId(4), Some(CheckpointId(5))), ["a"]);
        assert_eq!(kept(&shared), ["b", "users"]);
    }
}
