//! The file-system seam, with the guarantees that the protocol relies on spelled out.
//!
//! What a [`FileSystem`] promises:
//! 1. bytes of a file are durable only after [`WriteFile::sync`] returned `Ok`;
//! 2. a name (created, renamed, removed) is durable only after [`FileSystem::sync_directory`] of its parent returned `Ok`;
//! 3. [`FileSystem::rename`] is atomic: at every moment, also after a crash, either the old or the new name exists, whole;
//! 4. [`FileSystem::publish`] is an atomic rename that fails with `AlreadyExists` and changes nothing if the target exists: of
//!    several callers one wins;
//! 5. an operation that returns an error other than `NotFound` or `AlreadyExists` may or may not have taken effect.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

mod checkpoints;
mod durable;
mod lease;
mod local;
mod shared_files;

pub use checkpoints::{
    CheckpointMetadata, CheckpointStore, LogEntry, RestoredFrom, Rival, Takeover, current_run, decode_log_entry,
    decode_metadata, discard, discard_claimed, dispose_savepoint, prepare_savepoint, read_log, read_metadata,
    write_metadata,
};
pub use durable::{publish_file, read_file, replace_file};
pub use lease::{lease_of_job, read_lease, write_lease};
pub use local::LocalFileSystem;
pub use shared_files::{Sweep, shared_beside, shared_file_name, shared_of_job};

/// A shared handle to a file system.
pub type SharedFileSystem = Arc<dyn FileSystem>;

/// A file being written, from its start, in order.
#[async_trait]
pub trait WriteFile: Send + Sync {
    /// Appends bytes.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written so far durable.
    async fn sync(&mut self) -> io::Result<()>;
}

/// A file being read.
#[async_trait]
pub trait ReadFile: Send {
    /// Reads up to `length` bytes at `offset`; fewer only at the end of the file.
    async fn read_at(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>>;
}

/// What a directory holds under a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The last part of the path.
    pub name: String,
    /// File or directory.
    pub kind: EntryKind,
}

/// File or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// Files and directories with the guarantees of the module's documentation.
#[async_trait]
pub trait FileSystem: Send + Sync {
    /// Creates an empty file for writing; fails with `AlreadyExists` if the name is taken.
    async fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;
    /// Opens a file for reading.
    async fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>>;
    /// The length of a file in bytes.
    async fn length(&self, path: &Path) -> io::Result<u64>;
    /// Whether the name exists, as file or directory.
    async fn exists(&self, path: &Path) -> io::Result<bool>;
    /// The one name of a place, without links and without parts that are relative: two names of a place have the same one. A
    /// place that is not there keeps the name that it is asked by.
    async fn canonical(&self, path: &Path) -> PathBuf;
    /// Gives a file another name, replacing what had it.
    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name unless that is taken (`AlreadyExists`).
    async fn publish(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    async fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates one directory; fails with `AlreadyExists` if the name is taken.
    async fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory and its missing parents, durably.
    async fn create_directories(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and everything in it; a missing one is no error.
    async fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// The entries of a directory, sorted by name; empty if it does not exist.
    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Makes the names in a directory durable.
    async fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}
