//! Byte ranges of a file.

use serde::{Deserialize, Serialize};

/// The records of a file that start in `(start, end]`, and the one at 0 if `start` is 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileSplit {
    /// The file.
    pub path: String,
    /// First byte of the range.
    pub start: u64,
    /// First byte after the range.
    pub end: u64,
}

impl FileSplit {
    /// The splits of a file of `length` bytes, each of at most `split_bytes`; one split if that is `None`.
    ///
    /// # Panics
    /// If `split_bytes` is 0.
    pub fn cover(path: &str, length: u64, split_bytes: Option<u64>) -> Vec<Self> {
        let split_bytes = split_bytes.unwrap_or(u64::MAX);
        assert!(split_bytes > 0, "a split has at least one byte");
        let count = length.div_ceil(split_bytes).max(1);
        let split = |index: u64| {
            let start = index * split_bytes;
            Self { path: path.to_owned(), start, end: start.saturating_add(split_bytes).min(length) }
        };
        (0..count).map(split).collect()
    }
}
