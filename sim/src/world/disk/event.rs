//! What a disk tells those who watch it, at the moment when it becomes visible.

use std::path::PathBuf;

use madsim::task::NodeId;

/// A change that others can see, or that became durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskEvent {
    /// What happened.
    pub kind: DiskEventKind,
    /// The name that it is about; for a sync, the name that the file was created with.
    pub path: PathBuf,
    /// The node that asked for it.
    pub node: NodeId,
}

/// What happened on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskEventKind {
    /// An empty file came to be.
    Created,
    /// A directory came to be.
    DirectoryCreated,
    /// A file got this name, and lost another.
    Renamed {
        /// The name that it lost.
        from: PathBuf,
    },
    /// A file got this name, which was free, and lost another.
    Published {
        /// The name that it lost.
        from: PathBuf,
    },
    /// The name is gone; for a directory, with everything below.
    Removed,
    /// The bytes of the file became durable.
    Synced,
    /// The names in the directory became durable.
    DirectorySynced,
}
