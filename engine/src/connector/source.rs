//! The source seam (Flink `Source`, `SourceReader`, `SourceSplit`).

use async_trait::async_trait;

use crate::{
    codec::Data, env::Env, error::Result, event::Reporter, record::Batch, storage::SharedFileSystem, time::Timestamp,
};

/// What a source may use of the world.
#[derive(Clone)]
pub struct SourceContext {
    /// The world.
    pub env: Env,
    /// Files.
    pub file_system: SharedFileSystem,
    /// Which parallel instance this is, from 0.
    pub subtask_index: u32,
    /// How many there are.
    pub parallelism: u32,
    /// States facts about the subtask.
    pub reporter: Reporter,
}

/// What a split has to say after a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    /// More can be read at once.
    More,
    /// Nothing before this time.
    NotBefore(Timestamp),
    /// The split is at its end.
    Ended,
}

/// A place that records come from, divided into splits that can be read again from any position.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Type of the records.
    type Item: Data;
    /// A part of the data, with the position up to which it was read.
    type Split: Data;

    /// All splits, at their starts, in an order that depends on the data alone. Split i goes to subtask i mod
    /// parallelism; a restored job never calls this again.
    async fn enumerate(&self, context: &SourceContext) -> Result<Vec<Self::Split>>;

    /// A reader for one subtask.
    fn reader(&self, context: &SourceContext) -> Box<dyn SplitReader<Self::Item, Self::Split>>;
}

/// Reads splits for one subtask.
#[async_trait]
pub trait SplitReader<T, S>: Send {
    /// Appends at most `limit` records to `out` and moves the split's position behind them.
    ///
    /// Position and records go together: after an error neither has changed.
    async fn read(&mut self, split: &mut S, limit: usize, out: &mut Batch<T>) -> Result<ReadStatus>;
}
