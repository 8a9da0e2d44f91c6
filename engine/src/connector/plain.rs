//! Sinks without transactions: what they wrote stays written, so a failure shows records again.

use std::{
    marker::PhantomData,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::SinkContext;
use crate::{
    codec::Data,
    error::Result,
    record::{Batch, StreamRecord},
    time::Timestamp,
};

/// A sink that writes at once: at least once at best.
#[async_trait]
pub trait PlainSink: Send + 'static {
    /// Type of the records.
    type In: Data;

    /// Starts the sink.
    async fn open(&mut self, context: &SinkContext) -> Result<()> {
        let _ = context;
        Ok(())
    }

    /// Writes records.
    async fn write(&mut self, batch: Batch<Self::In>) -> Result<()>;

    /// The watermark has reached the sink, after the records that it released (Flink `SinkWriter.writeWatermark`).
    async fn write_watermark(&mut self, watermark: Timestamp) -> Result<()> {
        let _ = watermark;
        Ok(())
    }

    /// Everything written so far must have reached its destination: a checkpoint is being taken, or the job ends.
    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Drops everything; for benchmarks.
pub struct DiscardSink<T>(PhantomData<fn(T)>);

impl<T> Default for DiscardSink<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

#[async_trait]
impl<T: Data> PlainSink for DiscardSink<T> {
    type In = T;

    async fn write(&mut self, _batch: Batch<T>) -> Result<()> {
        Ok(())
    }
}

/// Prints each record on a line, after the number of the subtask, as Flink's `print()` does: `3> value`.
pub struct PrintSink<T> {
    prefix: String,
    record: PhantomData<fn(T)>,
}

impl<T> Default for PrintSink<T> {
    fn default() -> Self {
        Self { prefix: String::new(), record: PhantomData }
    }
}

#[async_trait]
impl<T: Data + std::fmt::Display> PlainSink for PrintSink<T> {
    type In = T;

    async fn open(&mut self, context: &SinkContext) -> Result<()> {
        if context.parallelism > 1 {
            self.prefix = format!("{}> ", context.subtask_index + 1);
        }
        Ok(())
    }

    async fn write(&mut self, batch: Batch<T>) -> Result<()> {
        use std::io::Write as _;
        let lines: String = batch.iter().map(|record| format!("{}{}\n", self.prefix, record.value)).collect();
        std::io::stdout()
            .write_all(lines.as_bytes())
            .map_err(|error| crate::Error::new(crate::ErrorKind::Unavailable, "cannot print").with_source(error))
    }
}

/// What a [`CollectSink`] gathered: subtask index and record, in the order of arrival.
pub type Collected<T> = Arc<Mutex<Vec<(u32, StreamRecord<T>)>>>;

/// Gathers records in memory that outlives the job; for tests.
pub struct CollectSink<T> {
    collected: Collected<T>,
    subtask_index: u32,
}

impl<T> CollectSink<T> {
    /// A sink that appends to `collected`.
    pub fn new(collected: Collected<T>) -> Self {
        Self { collected, subtask_index: 0 }
    }
}

#[async_trait]
impl<T: Data> PlainSink for CollectSink<T> {
    type In = T;

    async fn open(&mut self, context: &SinkContext) -> Result<()> {
        self.subtask_index = context.subtask_index;
        Ok(())
    }

    async fn write(&mut self, batch: Batch<T>) -> Result<()> {
        let mut collected = self.collected.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        collected.extend(batch.into_iter().map(|record| (self.subtask_index, record)));
        Ok(())
    }
}
