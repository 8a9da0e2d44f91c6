//! Sinks: where results go.

use serde::{Deserialize, Serialize};

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// Its name, unique among sources, stages and sinks; also the identity of its state.
    pub name: String,
    /// The names of sources and stages whose records it takes; several must have the same schema.
    pub inputs: Vec<String>,
    /// Number of parallel writers; `None` is the pipeline's.
    pub parallelism: Option<u32>,
    /// What it writes to.
    pub kind: SinkKind,
}

impl Sink {
    /// A sink with one input.
    pub fn new(name: impl Into<String>, input: impl Into<String>, kind: SinkKind) -> Self {
        Self { name: name.into(), inputs: vec![input.into()], parallelism: None, kind }
    }
}

/// The kinds of sinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// Files in a directory.
    File(FileSink),
    /// Standard output, one line per record, with the subtask's index.
    Print,
    /// Standard output, one JSON object per record and per watermark, in the order in which they reach a subtask.
    Trace {
        /// Written with each record, as `out`; tells the sinks of a pipeline apart.
        label: Option<String>,
    },
    /// Nothing.
    Discard,
}

/// Files in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSink {
    /// The directory.
    pub path: String,
    /// How records are written.
    pub format: Format,
    /// What is guaranteed after a failure.
    pub delivery: Delivery,
}

impl FileSink {
    /// Transactional files.
    pub fn new(path: impl Into<String>, format: Format) -> Self {
        Self { path: path.into(), format, delivery: Delivery::ExactlyOnce }
    }
}

/// How records are written: one per line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated values, null as nothing.
    #[default]
    Csv,
    /// A JSON object.
    Json,
}

/// What a sink guarantees after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Each result is visible once: what is written becomes visible with a completed checkpoint.
    #[default]
    ExactlyOnce,
    /// Results are visible at once, and some may be there twice after a failure.
    AtLeastOnce,
}
