//! Keyed state that stays in the files of its database, instead of being read into the canonical form.
//!
//! An incremental checkpoint is made of such files, most of which did not change since the last one: reading them would
//! cost as much as a full checkpoint. Who takes the snapshot says where the files are on this machine; whoever keeps the
//! checkpoint copies them; a backend that is restored gets a directory with the same files again. Flink:
//! `IncrementalRemoteKeyedStateHandle`, `IncrementalLocalKeyedStateHandle`.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{KeyGroupRange, StateMeta};

/// The files of a database that hold the keyed state of one operator of one subtask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFiles {
    /// Where they are: all that lies there is part of the database, and nobody changes it.
    pub directory: LocalDirectory,
    /// The key groups that they hold.
    pub key_groups: KeyGroupRange,
    /// The states that they hold, also those without entries.
    pub states: BTreeMap<String, StateMeta>,
}

impl DatabaseFiles {
    /// Whether the database itself never changes a file of this name, so that checkpoints may share it.
    pub fn is_immutable(name: &str) -> bool {
        name.ends_with(".sst")
    }
}

/// A directory on this machine that exists as long as somebody holds it.
#[derive(Clone)]
pub struct LocalDirectory {
    path: PathBuf,
    _owner: Arc<dyn Any + Send + Sync>,
}

impl LocalDirectory {
    /// A directory that is there until `owner` is dropped.
    pub fn new(path: PathBuf, owner: Arc<dyn Any + Send + Sync>) -> Self {
        Self { path, _owner: owner }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for LocalDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalDirectory").field(&self.path).finish()
    }
}

/// Equal if they are one directory.
impl PartialEq for LocalDirectory {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for LocalDirectory {}
