//! The state file of an exploration: what is known already, so that it can be interrupted and go on.
//!
//! One line of JSON for what is explored, then one for each chunk. A line that was cut off when the process died is
//! explored again. Shards have files of their own; their lines can be put together.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Chunk, Crashes, ExhaustExtent, Space};

/// What a file is about: chunks of anything else mean something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Subject {
    commit: String,
    scenario: String,
    seed: u64,
    crashes: Crashes,
    away_ms: u64,
    points: usize,
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("cannot access state file {path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It belongs to another exploration.
    #[error("{path} is the state of another exploration: it says {found}, this one is {wanted}; give another file or remove it", path = path.display())]
    Other {
        /// Which.
        path: PathBuf,
        /// What stands in its first line.
        found: String,
        /// What should.
        wanted: String,
    },
}

/// An open state file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    file: File,
}

impl StateFile {
    /// Opens a file, or begins one, and reads the chunks that it knows.
    ///
    /// # Errors
    /// [`StateError`] if it cannot be accessed or is about something else.
    pub fn open(
        path: &Path,
        space: &Space,
        extent: &ExhaustExtent,
    ) -> Result<(Self, BTreeMap<usize, Chunk>), StateError> {
        let failed = |source| StateError::File { path: path.to_owned(), source };
        let subject = Subject {
            commit: crate::capsule::commit().to_owned(),
            scenario: space.plan().scenario.clone(),
            seed: space.plan().seed,
            crashes: extent.crashes,
            away_ms: extent.away_ms,
            points: space.points().len(),
        };
        let wanted = line(&subject);
        let text = match std::fs::read_to_string(path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(failed)?,
        };
        // What follows the last line break was cut off.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut lines = whole.lines();
        let found = lines.next();
        if let Some(found) = found.filter(|found| *found != wanted) {
            return Err(StateError::Other { path: path.to_owned(), found: found.to_owned(), wanted });
        }
        let chunks: Vec<Chunk> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        file.set_len(whole.len() as u64).map_err(failed)?;
        if found.is_none() {
            writeln!(file, "{wanted}").map_err(failed)?;
        }
        let mine = |chunk: &Chunk| chunk.number % extent.shards == extent.shard;
        let known = chunks.into_iter().filter(mine).map(|chunk| (chunk.number, chunk)).collect();
        Ok((Self { path: path.to_owned(), file }, known))
    }

    /// Adds a chunk.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, chunk: &Chunk) -> Result<(), StateError> {
        let failed = |source| StateError::File { path: self.path.clone(), source };
        writeln!(self.file, "{}", line(chunk)).map_err(failed)
    }
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data always becomes JSON")
}
