//! Capsules: a run as a few lines of text, to be replayed after any change.
//!
//! A capsule holds the plan — workload, semantic faults, planted bug — and the commit and the seed that it was found with.
//! It needs no scenario file and draws nothing but schedule and latencies, so it strikes the same protocol moment
//! although the seed may mean another schedule by then.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::scenario::Plan;

/// A run to be replayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capsule {
    /// The commit that it was found at.
    pub commit: String,
    /// What was found: the signature of a violation, or the claim that the run holds.
    pub expect: String,
    /// The run.
    pub plan: Plan,
}

/// What a capsule of a repaired bug expects.
pub const HOLDS: &str = "holds";

/// Why a capsule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CapsuleError {
    /// The file cannot be read or written.
    #[error("cannot access capsule {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The text is no capsule.
    #[error("{path} is not a capsule: {reason}")]
    Malformed {
        /// Which.
        path: String,
        /// Where and why.
        reason: String,
    },
}

impl Capsule {
    /// A capsule of a plan, as of this build.
    pub fn new(plan: Plan, expect: impl Into<String>) -> Self {
        Self { commit: commit().to_owned(), expect: expect.into(), plan }
    }

    /// Reads a capsule.
    ///
    /// # Errors
    /// [`CapsuleError`] that names the file.
    pub fn read(path: &Path) -> Result<Self, CapsuleError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| CapsuleError::File { path: path.display().to_string(), source })?;
        toml::from_str(&text)
            .map_err(|error| CapsuleError::Malformed { path: path.display().to_string(), reason: error.to_string() })
    }

    /// The text of the capsule.
    pub fn text(&self) -> String {
        let body = toml::to_string(self).unwrap_or_else(|error| format!("# cannot be written: {error}"));
        format!("# replay with: cargo sim replay THIS-FILE\n{body}")
    }

    /// Writes the capsule.
    ///
    /// # Errors
    /// [`CapsuleError`] that names the file.
    pub fn write(&self, path: &Path) -> Result<(), CapsuleError> {
        let written =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, self.text()));
        written.map_err(|source| CapsuleError::File { path: path.display().to_string(), source })
    }
}

/// The commit of the source that this was built from, if it was known then.
pub fn commit() -> &'static str {
    option_env!("TIDEGATE_COMMIT").unwrap_or("unknown")
}
