//! The files that several checkpoints of a job refer to: `DIR/<job>/shared/`, beside the directories of the checkpoints.
//!
//! A file there is written once, by one subtask, under a name that nobody uses again: it says which attempt wrote it, and
//! has entropy in it. Nothing there is overwritten, and which files are needed is known from the metadata of the retained
//! checkpoints alone.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use super::{EntryKind, FileSystem, parent};
use crate::id::{Attempt, ExecutionAttempt};

const SHARED: &str = "shared";

/// The directory of the files that a checkpoint shares with others, from its own directory.
pub fn shared_beside(checkpoint_directory: &Path) -> PathBuf {
    parent(checkpoint_directory).join(SHARED)
}

/// The directory of shared files of a job.
pub fn shared_of_job(job_directory: &Path) -> PathBuf {
    job_directory.join(SHARED)
}

/// Whether this is the name of the directory of shared files.
pub(super) fn is_shared(name: &str) -> bool {
    name == SHARED
}

/// A name for a new shared file.
pub fn shared_file_name(writer: ExecutionAttempt, entropy: u64) -> String {
    let subtask = writer.subtask;
    format!("{}-v{}-{}-{entropy:016x}", writer.attempt, subtask.vertex, subtask.index)
}

/// Who wrote the file; `None` if it has no name of ours.
fn attempt_of(name: &str) -> Option<Attempt> {
    let (attempt, _) = name.split_once("-v")?;
    attempt.parse().ok().map(Attempt)
}

/// Which shared files an orphan is told from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// The names that somebody needs.
    pub keep: BTreeSet<String>,
    /// Files of later attempts belong to another leader, who may need them.
    pub newest: Attempt,
    /// Earlier attempts that still run, and may refer to what they wrote.
    pub running: BTreeSet<Attempt>,
}

/// Removes files by their names; one that is gone already is no error.
pub(super) async fn remove(file_system: &dyn FileSystem, directory: &Path, names: &[String]) -> io::Result<()> {
    for name in names {
        match file_system.remove(&directory.join(name)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    if names.is_empty() { Ok(()) } else { file_system.sync_directory(directory).await }
}

/// The names of the files that nobody needs.
pub(super) async fn orphans(file_system: &dyn FileSystem, directory: &Path, sweep: &Sweep) -> io::Result<Vec<String>> {
    let entries = file_system.list(directory).await?;
    let files = entries.into_iter().filter(|entry| entry.kind == EntryKind::File).map(|entry| entry.name);
    let is_over = |attempt: Attempt| attempt <= sweep.newest && !sweep.running.contains(&attempt);
    let is_orphan = |name: &String| !sweep.keep.contains(name) && attempt_of(name).is_some_and(is_over);
    Ok(files.filter(is_orphan).collect())
}
