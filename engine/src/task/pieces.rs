//! Reads a file in pieces, and knows its length and checksum when it has come to its end.
//!
//! Files of databases are as large as the state; nobody holds one in memory.

use std::{io, path::Path};

use crate::storage::{FileSystem, ReadFile};

/// So much of a file is read at once.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// A file that is being read.
pub(super) struct Pieces {
    file: Box<dyn ReadFile>,
    length_bytes: u64,
    checksum: crc32fast::Hasher,
    has_ended: bool,
}

impl Pieces {
    /// Begins to read.
    pub(super) async fn open(file_system: &dyn FileSystem, path: &Path) -> io::Result<Self> {
        let file = file_system.open(path).await?;
        Ok(Self { file, length_bytes: 0, checksum: crc32fast::Hasher::new(), has_ended: false })
    }

    /// The next piece, which is not empty; `None` at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.has_ended {
            return Ok(None);
        }
        let piece = self.file.read_at(self.length_bytes, PIECE_BYTES).await?;
        self.checksum.update(&piece);
        self.length_bytes += piece.len() as u64;
        self.has_ended = piece.len() < PIECE_BYTES;
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }

    /// Length and checksum, the latter little endian, of what was read.
    pub(super) fn digest(self) -> (u64, [u8; 4]) {
        (self.length_bytes, self.checksum.finalize().to_le_bytes())
    }
}
