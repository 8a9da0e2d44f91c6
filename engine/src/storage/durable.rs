//! Whole files, written so that a reader sees all of them or nothing.

use std::{io, path::Path};

use super::{FileSystem, parent};
use crate::planted;

/// Reads a whole file.
pub async fn read_file(fs: &dyn FileSystem, path: &Path) -> io::Result<Vec<u8>> {
    const CHUNK_BYTES: usize = 1 << 20;
    let mut file = fs.open(path).await?;
    let mut bytes = Vec::new();
    loop {
        let chunk = file.read_at(bytes.len() as u64, CHUNK_BYTES).await?;
        let done = chunk.len() < CHUNK_BYTES;
        bytes.extend_from_slice(&chunk);
        if done {
            return Ok(bytes);
        }
    }
}

/// Writes `bytes` to `path`, replacing what was there: `temporary` → sync → rename → directory sync.
pub async fn replace_file(fs: &dyn FileSystem, temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    stage(fs, temporary, bytes).await?;
    fs.rename(temporary, path).await?;
    fs.sync_directory(&parent(path)).await
}

/// Writes `bytes` to `path` unless it exists (`AlreadyExists`): of several callers exactly one succeeds.
pub async fn publish_file(fs: &dyn FileSystem, temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    stage(fs, temporary, bytes).await?;
    fs.publish(temporary, path).await?;
    if planted!("published_names_not_synced") {
        return Ok(());
    }
    fs.sync_directory(&parent(path)).await
}

async fn stage(fs: &dyn FileSystem, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs.remove(temporary).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = fs.create(temporary).await?;
    file.write(bytes).await?;
    file.sync().await
}
