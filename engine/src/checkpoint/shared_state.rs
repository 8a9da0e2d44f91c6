//! Files that several checkpoints share, and when nobody needs them any more.
//!
//! An incremental checkpoint refers to files that older ones wrote. [`SharedStateRegistry`] knows for each file which
//! checkpoint brought it and which was the last to use it; a file is deleted when the last one to use it is below
//! everything that is retained. So a file of an aborted checkpoint stays until a later one completes without it: a
//! checkpoint that began meanwhile may refer to it.
//!
//! Guarantees: a file that a retained checkpoint refers to is not deleted; a file of a restored snapshot that belongs
//! to the user is never deleted; every other file is deleted once. Flink `SharedStateRegistryImpl`.
//!
//! ```
//! use tidegate::{checkpoint::{SharedStateKey, SharedStateRegistry}, id::CheckpointId};
//!
//! let mut registry = SharedStateRegistry::new();
//! let key = |name: &str| SharedStateKey(name.to_owned());
//! registry.register(key("a.sst"), "shared/1", CheckpointId(1));
//! registry.register(key("b.sst"), "shared/2", CheckpointId(1));
//! registry.register(key("b.sst"), "shared/2", CheckpointId(2)); // a.sst was merged away
//! assert_eq!(registry.unregister_unused(CheckpointId(2)).delete, ["shared/1"]);
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::CheckpointId;

/// The logical name of a shared file, unique in the job.
///
/// Make it unique per upload where possible (the path): two uploads under one key are two candidates for one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedStateKey(pub String);

/// To whom the snapshot belongs that a job was restored from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Ownership {
    /// To the job, which deletes its files when they are of no use (`CLAIM`, and its own retained checkpoints).
    #[default]
    Job,
    /// To the user (`NO_CLAIM`).
    User,
}

/// How the files of a restored snapshot lie on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Shared files lie apart from the snapshot's own directory.
    Checkpoint,
    /// All files lie in the directory of the savepoint, which stays as long as one of them is in use.
    NativeSavepoint,
}

/// A snapshot that the job was restored from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredSnapshot {
    /// Its id.
    pub checkpoint_id: CheckpointId,
    /// Whose it is.
    pub ownership: Ownership,
    /// Where its files are.
    pub layout: Layout,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered<H> {
    /// What the checkpoint has to refer to: not always what was offered.
    pub handle: H,
    /// A second file under the key, to be deleted.
    pub delete: Option<H>,
}

/// What nobody uses any more, and what is used still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unregistered<H> {
    /// Files to be deleted, in the order of their keys.
    pub delete: Vec<H>,
    /// Snapshots whose directories hold files in use: they must not be removed.
    pub in_use: BTreeSet<CheckpointId>,
}

/// The registry; `H` is a handle to a file. See the module's documentation.
#[derive(Debug)]
pub struct SharedStateRegistry<H> {
    entries: BTreeMap<SharedStateKey, Entry<H>>,
    /// What was created up to here belongs to the user.
    highest_unclaimed: Option<CheckpointId>,
    native_savepoints: BTreeSet<CheckpointId>,
}

#[derive(Debug)]
struct Entry<H> {
    handle: H,
    created_by: CheckpointId,
    last_used_by: CheckpointId,
    confirmed: Confirmed,
    keeps_creator: bool,
}

/// Whether a completed checkpoint refers to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirmed {
    Yes,
    No,
}

impl<H: Clone + PartialEq> SharedStateRegistry<H> {
    /// A registry without files.
    pub fn new() -> Self {
        Self { entries: BTreeMap::new(), highest_unclaimed: None, native_savepoints: BTreeSet::new() }
    }

    /// A task acknowledged a checkpoint that refers to this file. Call it for every acknowledgement, even of
    /// checkpoints that fail later.
    ///
    /// If another file is known under the key, the one that a completed checkpoint refers to stays; if none does, the
    /// new one takes its place: the old one is from an attempt that has failed.
    pub fn register(&mut self, key: SharedStateKey, handle: H, checkpoint_id: CheckpointId) -> Registered<H> {
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            handle: handle.clone(),
            created_by: checkpoint_id,
            last_used_by: checkpoint_id,
            confirmed: Confirmed::No,
            keeps_creator: false,
        });
        entry.last_used_by = entry.last_used_by.max(checkpoint_id);
        let delete = if entry.handle == handle {
            None
        } else if entry.confirmed == Confirmed::Yes {
            Some(handle)
        } else {
            entry.created_by = checkpoint_id;
            Some(std::mem::replace(&mut entry.handle, handle))
        };
        Registered { handle: entry.handle.clone(), delete }
    }

    /// Whether a file is registered under this key.
    pub fn contains(&self, key: &SharedStateKey) -> bool {
        self.entries.contains_key(key)
    }

    /// As [`register`](Self::register), for a file that needs the directory of the checkpoint that brought it.
    pub fn register_with_creator(
        &mut self,
        key: SharedStateKey,
        handle: H,
        checkpoint_id: CheckpointId,
    ) -> Registered<H> {
        let registered = self.register(key.clone(), handle, checkpoint_id);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.keeps_creator = true;
        }
        registered
    }

    /// The job was restored from this snapshot, which refers to these files.
    pub fn register_restored(
        &mut self,
        snapshot: RestoredSnapshot,
        files: impl IntoIterator<Item = (SharedStateKey, H)>,
    ) {
        for (key, handle) in files {
            self.register(key, handle, snapshot.checkpoint_id);
        }
        self.completed(snapshot.checkpoint_id);
        match snapshot.ownership {
            Ownership::User => {
                self.highest_unclaimed = self.highest_unclaimed.max(Some(snapshot.checkpoint_id));
            }
            Ownership::Job => {
                if snapshot.layout == Layout::NativeSavepoint {
                    self.native_savepoints.insert(snapshot.checkpoint_id);
                }
            }
        }
    }

    /// A checkpoint completed: what it refers to is no longer replaced.
    pub fn completed(&mut self, checkpoint_id: CheckpointId) {
        for entry in self.entries.values_mut().filter(|entry| entry.last_used_by == checkpoint_id) {
            entry.confirmed = Confirmed::Yes;
        }
    }

    /// Forgets the files that nothing from `lowest`, the oldest retained checkpoint, on refers to.
    pub fn unregister_unused(&mut self, lowest: CheckpointId) -> Unregistered<H> {
        let (used, unused): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.entries).into_iter().partition(|(_, entry)| entry.last_used_by >= lowest);
        self.entries = used;
        let is_ours = |entry: &Entry<H>| Some(entry.created_by) > self.highest_unclaimed;
        let keeps = |entry: &&Entry<H>| entry.keeps_creator || self.native_savepoints.contains(&entry.created_by);
        Unregistered {
            delete: unused.into_values().filter(is_ours).map(|entry| entry.handle).collect(),
            in_use: self.entries.values().filter(keeps).map(|entry| entry.created_by).collect(),
        }
    }

    /// The files that are known, in the order of their keys.
    pub fn handles(&self) -> impl Iterator<Item = &H> {
        self.entries.values().map(|entry| &entry.handle)
    }
}

impl<H: Clone + PartialEq> Default for SharedStateRegistry<H> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> SharedStateKey {
        SharedStateKey(name.to_owned())
    }

    #[test]
    fn a_second_upload_never_replaces_what_a_completed_checkpoint_refers_to() {
        let mut registry = SharedStateRegistry::new();
        registry.register(key("k"), "first", CheckpointId(1));
        registry.completed(CheckpointId(1));
        let registered = registry.register(key("k"), "second", CheckpointId(2));
        assert_eq!(registered, Registered { handle: "first", delete: Some("second") });
    }

    #[test]
    fn a_repeated_upload_replaces_the_one_of_a_failed_attempt() {
        let mut registry = SharedStateRegistry::new();
        registry.register(key("k"), "failed", CheckpointId(1));
        let registered = registry.register(key("k"), "repeated", CheckpointId(2));
        assert_eq!(registered, Registered { handle: "repeated", delete: Some("failed") });
    }

    #[test]
    fn files_of_a_snapshot_that_the_user_owns_are_never_deleted() {
        let mut registry = SharedStateRegistry::new();
        let snapshot =
            RestoredSnapshot { checkpoint_id: CheckpointId(5), ownership: Ownership::User, layout: Layout::Checkpoint };
        registry.register_restored(snapshot, [(key("users"), "users")]);
        registry.register(key("ours"), "ours", CheckpointId(6));
        let unregistered = registry.unregister_unused(CheckpointId(9));
        assert_eq!(unregistered, Unregistered { delete: vec!["ours"], in_use: BTreeSet::new() });
        assert_eq!(registry.handles().count(), 0);
    }
}
