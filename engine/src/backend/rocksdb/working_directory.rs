//! Where RocksDB works: a directory of its own for each operator instance and attempt, gone when nobody uses it.
//!
//! What is in it is disposable: whatever must survive is in a checkpoint. Guarantees: no two instances share a
//! directory, in whatever process; the directory is removed when its last user lets go of it; what a process left
//! behind that was killed is removed by the next one that works beside it. A directory whose lock is held is in use:
//! the operating system gives up the locks of a process when it ends, however it ends.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Tells apart the directories of a process.
static CREATED: AtomicU64 = AtomicU64::new(0);

const LOCK: &str = "in-use";

/// A directory that is locked, and removed on drop.
#[derive(Debug)]
pub(super) struct WorkingDirectory {
    path: PathBuf,
    /// Held open because closing it ends the lock.
    _lock: File,
}

impl WorkingDirectory {
    /// A new, empty directory below `parent`, or below the system's directory for temporary files; `name` is for
    /// people. Removes what dead processes left there.
    ///
    /// # Errors
    /// If the operating system refuses it; the path is the one that it refused.
    pub(super) fn create(parent: Option<&Path>, name: &str) -> Result<Self, (PathBuf, io::Error)> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned).join("tidegate-rocksdb");
        fs::create_dir_all(&parent).map_err(|error| (parent.clone(), error))?;
        remove_abandoned(&parent);
        loop {
            let number = CREATED.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{name}-{}-{number}", std::process::id()));
            match Self::claim(&path) {
                Ok(Some(lock)) => return Ok(Self { path, _lock: lock }),
                // Another process, with the same id in a container of its own, has the name, or took this for abandoned.
                Ok(None) => {}
                Err(error) => return Err((path, error)),
            }
        }
    }

    /// Makes the directory and locks it; `None` if somebody else was faster.
    fn claim(path: &Path) -> io::Result<Option<File>> {
        match fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(error),
        }
        let lock = File::create_new(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(path.join(LOCK).try_exists()?.then_some(lock)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkingDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "working directory of rocksdb not removed");
        }
    }
}

/// Removes the directories whose lock nobody holds. One that cannot be judged stays: it costs space and nothing else.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if let Ok(lock) = File::open(path.join(LOCK))
            && lock.try_lock().is_ok()
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::debug!(path = %path.display(), %error, "abandoned working directory not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parent: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(parent.join("tidegate-rocksdb")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn each_directory_is_its_own_and_is_gone_with_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| WorkingDirectory::create(Some(parent.path()), "op").unwrap());
        assert_ne!(one.path(), other.path());
        fs::write(one.path().join("CURRENT"), "x").unwrap();
        drop(one);
        assert_eq!(names(parent.path()), [other.path()]);
    }

    #[test]
    fn what_a_dead_process_left_is_removed_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let in_use = WorkingDirectory::create(Some(parent.path()), "op").unwrap();
        let abandoned = parent.path().join("tidegate-rocksdb/op-1-0");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join(LOCK), "").unwrap();
        let unknown = parent.path().join("tidegate-rocksdb/somebody-else-s");
        fs::create_dir(&unknown).unwrap();
        let new = WorkingDirectory::create(Some(parent.path()), "op").unwrap();
        let mut there = names(parent.path());
        let mut expected = vec![in_use.path().to_owned(), new.path().to_owned(), unknown];
        there.sort();
        expected.sort();
        assert_eq!(there, expected);
    }
}
