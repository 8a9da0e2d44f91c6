//! Copies the files of a database between the directory where it works and the storage of checkpoints.
//!
//! Files are copied one after the other, in pieces: memory does not grow with the state. Guarantees: what is handed out as
//! kept is durable, with its name; what is handed out as restored has the length and checksum that were kept; of a
//! checkpoint that fails here nothing stays among the shared files, unless the storage refuses to remove it. Flink:
//! `RocksDBStateUploader`, `RocksDBStateDownloader`.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::{
    pieces::Pieces,
    uploads::{KeptFiles, Upload},
};
use crate::{
    backend,
    config::StateBackend,
    env::Env,
    error::{Error, ErrorKind, Result},
    id::{CheckpointId, ExecutionAttempt, OperatorUid},
    net::{DatabaseHandle, FileHandle},
    state::{DatabaseFiles, LocalDirectory},
    storage::{FileSystem, LocalFileSystem, SharedFileSystem, WriteFile, shared_beside, shared_file_name},
};

/// Where the files of a database go.
pub(super) struct Target<'a> {
    /// The directory of the checkpoint or savepoint.
    pub(super) directory: &'a Path,
    /// What names of files in it begin with.
    pub(super) prefix: &'a str,
    /// Whether other checkpoints may refer to files that never change.
    pub(super) sharing: Sharing,
}

/// Whether other checkpoints may refer to files of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// They may: what never changes lies beside the checkpoint, and is written once.
    Shared,
    /// They may not: the snapshot is whole in its directory.
    Private,
}

/// Writes the files of the databases of one subtask for one checkpoint.
pub(super) struct Uploader {
    pub(super) env: Env,
    pub(super) file_system: SharedFileSystem,
    pub(super) execution: ExecutionAttempt,
    pub(super) upload: Upload,
    /// What the checkpoint refers to, so far.
    refers_to: KeptFiles,
    /// The shared files that this checkpoint has brought.
    written: Vec<PathBuf>,
}

impl Uploader {
    pub(super) fn new(env: Env, file_system: SharedFileSystem, execution: ExecutionAttempt, upload: Upload) -> Self {
        Self { env, file_system, execution, upload, refers_to: KeptFiles::new(), written: Vec::new() }
    }

    /// Keeps the files of an operator's database: what changes in the directory of the checkpoint, the rest among the shared
    /// files, if they are shared and it is not there yet.
    pub(super) async fn upload(
        &mut self,
        uid: &OperatorUid,
        files: &DatabaseFiles,
        Target { directory, prefix, sharing }: Target<'_>,
    ) -> Result<DatabaseHandle> {
        let local = LocalFileSystem::new(self.env.clone());
        let from = files.directory.path();
        let listed = local.list(from).await.map_err(|error| failed("list the files in", from, error))?;
        let shared_directory = shared_beside(directory);
        let (mut shared, mut private, mut brought) = (BTreeMap::new(), BTreeMap::new(), false);
        for name in listed.into_iter().map(|entry| entry.name) {
            if sharing == Sharing::Private || !DatabaseFiles::is_immutable(&name) {
                let kept = format!("{prefix}-{name}");
                private.insert(name.clone(), self.write(&local, &from.join(name), directory, kept).await?);
                continue;
            }
            let handle = match self.upload.reusable(uid, &name) {
                Some(handle) => handle.clone(),
                None => {
                    if self.written.is_empty() {
                        let made = self.file_system.create_directories(&shared_directory).await;
                        made.map_err(|error| failed("create", &shared_directory, error))?;
                    }
                    brought = true;
                    let kept = shared_file_name(self.execution, self.env.entropy());
                    self.write_shared(&local, &from.join(&name), &shared_directory, kept).await?
                }
            };
            self.refers_to.entry(uid.clone()).or_default().insert(name.clone(), handle.clone());
            shared.insert(name, handle);
        }
        for directory in [Some(directory), brought.then_some(shared_directory.as_path())].into_iter().flatten() {
            let synced = self.file_system.sync_directory(directory).await;
            synced.map_err(|error| failed("sync the names in", directory, error))?;
        }
        Ok(DatabaseHandle { key_groups: files.key_groups, states: files.states.clone(), shared, private })
    }

    async fn write_shared(
        &mut self,
        local: &LocalFileSystem,
        from: &Path,
        directory: &Path,
        name: String,
    ) -> Result<FileHandle> {
        let target = directory.join(&name);
        let file = self.file_system.create(&target).await.map_err(|error| failed("create", &target, error))?;
        // It is ours from here on, whatever becomes of it.
        self.written.push(target.clone());
        self.copy(local, from, file, &target, name).await
    }

    async fn write(&self, local: &LocalFileSystem, from: &Path, directory: &Path, name: String) -> Result<FileHandle> {
        let target = directory.join(&name);
        let file = self.file_system.create(&target).await.map_err(|error| failed("create", &target, error))?;
        self.copy(local, from, file, &target, name).await
    }

    async fn copy(
        &self,
        local: &LocalFileSystem,
        from: &Path,
        mut file: Box<dyn WriteFile>,
        target: &Path,
        name: String,
    ) -> Result<FileHandle> {
        let on_target = |error| failed("write", target, error);
        let on_source = |error| failed("read", from, error);
        let mut pieces = Pieces::open(local, from).await.map_err(on_source)?;
        while let Some(piece) = pieces.next().await.map_err(on_source)? {
            if self.upload.is_given_up() {
                return Err(Error::new(ErrorKind::Unavailable, "the checkpoint was given up"));
            }
            file.write(&piece).await.map_err(on_target)?;
        }
        file.sync().await.map_err(on_target)?;
        let (length_bytes, crc32) = pieces.digest();
        Ok(FileHandle { name, length_bytes, crc32 })
    }

    /// The checkpoint is about to be acknowledged, unless it was given up meanwhile. From then on the job manager looks
    /// after the files.
    pub(super) fn acknowledge(&mut self) -> Result<()> {
        if self.upload.is_given_up() && !self.written.is_empty() {
            return Err(Error::new(ErrorKind::Unavailable, "the checkpoint was given up"));
        }
        self.upload.refers_to(std::mem::take(&mut self.refers_to));
        Ok(())
    }

    /// The checkpoint will not be acknowledged: removes the shared files that nobody else has heard of.
    pub(super) async fn give_up(mut self) {
        self.upload.refers_to(std::mem::take(&mut self.refers_to));
        for path in self.written {
            match self.file_system.remove(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "file of a failed checkpoint not removed; it is swept later");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Where files are restored from, and for whom.
pub(super) struct Download<'a> {
    pub(super) env: &'a Env,
    pub(super) file_system: &'a dyn FileSystem,
    pub(super) backend: &'a StateBackend,
    pub(super) checkpoint_id: CheckpointId,
    /// The directory of the checkpoint.
    pub(super) directory: &'a Path,
}

impl Download<'_> {
    /// Fetches the files of an operator's database to this machine.
    pub(super) async fn fetch(&self, uid: &OperatorUid, handle: &DatabaseHandle) -> Result<DatabaseFiles> {
        let directory = backend::download_directory(self.backend, uid, handle.key_groups)?;
        let shared = shared_beside(self.directory);
        let parts = [(shared.as_path(), &handle.shared), (self.directory, &handle.private)];
        for (from, files) in parts {
            for (name, file) in files {
                self.fetch_file(uid, &from.join(&file.name), file, &directory, name).await?;
            }
        }
        Ok(DatabaseFiles { directory, key_groups: handle.key_groups, states: handle.states.clone() })
    }

    async fn fetch_file(
        &self,
        uid: &OperatorUid,
        from: &Path,
        expected: &FileHandle,
        directory: &LocalDirectory,
        name: &str,
    ) -> Result<()> {
        let target = directory.path().join(name);
        let on_target = |error| failed("write", &target, error);
        let on_source = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => self.corrupt(uid, from, "does not exist").with_source(error),
            _ => failed("read", from, error),
        };
        let mut pieces = Pieces::open(self.file_system, from).await.map_err(on_source)?;
        let mut file = LocalFileSystem::new(self.env.clone()).create(&target).await.map_err(on_target)?;
        while let Some(piece) = pieces.next().await.map_err(on_source)? {
            file.write(&piece).await.map_err(on_target)?;
        }
        let (length_bytes, crc32) = pieces.digest();
        if (length_bytes, crc32) == (expected.length_bytes, expected.crc32) {
            return Ok(());
        }
        let (found, kept) = (u32::from_le_bytes(crc32), u32::from_le_bytes(expected.crc32));
        let what = format!(
            "is damaged: {length_bytes} bytes with checksum {found:08x}, the checkpoint says {} bytes with {kept:08x}",
            expected.length_bytes
        );
        Err(self.corrupt(uid, from, &what))
    }

    fn corrupt(&self, uid: &OperatorUid, path: &Path, what: &str) -> Error {
        let message = format!(
            "state file {} of operator {uid} {what}; checkpoint {} cannot be restored",
            path.display(),
            self.checkpoint_id
        );
        Error::new(ErrorKind::CorruptState, message)
            .with_hint("restore from another retained checkpoint with --from PATH")
    }
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot {what} {}", path.display())).with_source(error)
}

#[cfg(feature = "rocksdb")]
#[cfg(test)]
mod tests;
