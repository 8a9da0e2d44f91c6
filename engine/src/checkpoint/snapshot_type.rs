//! What a barrier asks for: a checkpoint of the job, or a savepoint of the user (Flink `SnapshotType`, `SavepointType`).

use serde::{Deserialize, Serialize};

/// What kind of snapshot a barrier asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SnapshotType {
    /// A checkpoint: the job's own, may build on those before it.
    #[default]
    Checkpoint,
    /// A savepoint: the user's, whole in a directory of its own.
    Savepoint(Savepoint),
}

/// A savepoint that tasks are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Savepoint {
    /// How state is written.
    pub format: SavepointFormat,
    /// What the tasks do after it.
    pub then: AfterSnapshot,
    /// Its directory.
    pub directory: String,
}

/// How the state of a savepoint is written (Flink `SavepointFormatType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SavepointFormat {
    /// In a form that names no state backend: any can be restored from it.
    #[default]
    Canonical,
    /// In the state backend's own form: faster.
    Native,
}

impl SavepointFormat {
    /// Flink's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Canonical => "CANONICAL",
            Self::Native => "NATIVE",
        }
    }
}

/// What tasks do when they have taken a snapshot (Flink `PostCheckpointAction`, `SavepointType.shouldDrain`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AfterSnapshot {
    /// They go on.
    GoOn,
    /// They stand still until it is complete, commit, and end. Windows stay open: the job can go on from the savepoint.
    Suspend,
    /// As [`Suspend`](Self::Suspend), but before it time comes to its end: windows fire, operators finish.
    Terminate,
}

impl AfterSnapshot {
    /// Whether tasks stand still after the snapshot: it is *synchronous*.
    pub fn stops(self) -> bool {
        match self {
            Self::GoOn => false,
            Self::Suspend | Self::Terminate => true,
        }
    }
}

impl SnapshotType {
    /// The savepoint, if it is one.
    pub fn savepoint(&self) -> Option<&Savepoint> {
        match self {
            Self::Checkpoint => None,
            Self::Savepoint(savepoint) => Some(savepoint),
        }
    }

    /// What tasks do after it.
    pub fn then(&self) -> AfterSnapshot {
        self.savepoint().map_or(AfterSnapshot::GoOn, |savepoint| savepoint.then)
    }
}
