//! The host's file system.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use super::{Entry, EntryKind, FileSystem, ReadFile, WriteFile, parent};
use crate::env::Env;

/// A POSIX file system with the guarantees of [`FileSystem`]; blocking calls run off the executor's threads.
pub struct LocalFileSystem {
    env: Env,
}

impl LocalFileSystem {
    /// The file system of the process that `env` stands for.
    pub fn new(env: Env) -> Self {
        Self { env }
    }

    async fn run<T: Send + 'static>(
        &self,
        path: &Path,
        operation: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let path = path.to_owned();
        self.env.blocking(move || operation(&path)).await
    }
}

fn sync_names_in(directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    fs::File::open(directory)?.sync_all()
}

#[async_trait]
impl FileSystem for LocalFileSystem {
    async fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = self.run(path, |path| fs::File::create_new(path)).await?;
        Ok(Box::new(LocalWriteFile { file: Arc::new(file), env: self.env.clone() }))
    }

    async fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let file = self.run(path, |path| fs::File::open(path)).await?;
        Ok(Box::new(LocalReadFile { file: Arc::new(file), env: self.env.clone() }))
    }

    async fn length(&self, path: &Path) -> io::Result<u64> {
        self.run(path, |path| Ok(fs::metadata(path)?.len())).await
    }

    async fn exists(&self, path: &Path) -> io::Result<bool> {
        self.run(path, |path| path.try_exists()).await
    }

    async fn canonical(&self, path: &Path) -> PathBuf {
        self.run(path, |path| fs::canonicalize(path)).await.unwrap_or_else(|_| path.to_owned())
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = to.to_owned();
        self.run(from, move |from| fs::rename(from, to)).await
    }

    async fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        // A hard link fails if the target exists, atomically; plain rename would replace it.
        let to = to.to_owned();
        self.run(from, move |from| {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        })
        .await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.run(path, |path| fs::remove_file(path)).await
    }

    async fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.run(path, |path| fs::create_dir(path)).await
    }

    async fn create_directories(&self, path: &Path) -> io::Result<()> {
        self.run(path, |path| {
            let mut missing: Vec<PathBuf> = Vec::new();
            let mut at = path.to_owned();
            while !at.as_os_str().is_empty() && !at.try_exists()? {
                missing.push(at.clone());
                at = parent(&at);
            }
            fs::create_dir_all(path)?;
            missing.iter().try_for_each(|created| sync_names_in(&parent(created)))
        })
        .await
    }

    async fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.run(path, |path| match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
        .await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.run(path, |path| {
            let entries = match fs::read_dir(path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let mut listed = Vec::new();
            for entry in entries {
                let entry = entry?;
                let kind = if entry.file_type()?.is_dir() { EntryKind::Directory } else { EntryKind::File };
                listed.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), kind });
            }
            listed.sort();
            Ok(listed)
        })
        .await
    }

    async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.run(path, sync_names_in).await
    }
}

struct LocalWriteFile {
    file: Arc<fs::File>,
    env: Env,
}

#[async_trait]
impl WriteFile for LocalWriteFile {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (file, bytes) = (self.file.clone(), bytes.to_owned());
        self.env.blocking(move || (&*file).write_all(&bytes)).await
    }

    async fn sync(&mut self) -> io::Result<()> {
        let file = self.file.clone();
        self.env.blocking(move || file.sync_all()).await
    }
}

struct LocalReadFile {
    file: Arc<fs::File>,
    env: Env,
}

#[async_trait]
impl ReadFile for LocalReadFile {
    async fn read_at(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.file.clone();
        self.env
            .blocking(move || {
                let mut bytes = vec![0; length];
                let mut filled = 0;
                while filled < length {
                    match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                        Ok(0) => break,
                        Ok(read) => filled += read,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                bytes.truncate(filled);
                Ok(bytes)
            })
            .await
    }
}
