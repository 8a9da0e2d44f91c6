//! What flows through channels: batches of records, watermarks, barriers, the end.
//!
//! Inside a task records are typed; at the task boundary their type is erased once, per batch
//! ([`AnyBatch`]). Control elements sit between batches, so their place in the stream is exact.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::CheckpointBarrier,
    codec::{self, Data, DecodeError},
    id::CheckpointId,
    time::Timestamp,
};

/// A value with its event time; [`Timestamp::MIN`] means that it has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamRecord<T> {
    /// The value.
    pub value: T,
    /// Its event time.
    pub timestamp: Timestamp,
}

impl<T> StreamRecord<T> {
    /// A record with an event time.
    pub fn new(value: T, timestamp: Timestamp) -> Self {
        Self { value, timestamp }
    }

    /// The same timestamp with another value.
    pub fn with_value<U>(&self, value: U) -> StreamRecord<U> {
        StreamRecord { value, timestamp: self.timestamp }
    }
}

/// A batch of records of one type, as operators see it.
pub type Batch<T> = Vec<StreamRecord<T>>;

/// A batch whose record type is erased.
pub struct AnyBatch(Box<dyn ErasedBatch>);

trait ErasedBatch: Send {
    fn len(&self) -> usize;
    fn encode(&self) -> Vec<u8>;
    fn duplicate(&self) -> Box<dyn ErasedBatch>;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<T: Data> ErasedBatch for Batch<T> {
    fn len(&self) -> usize {
        Vec::len(self)
    }
    fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }
    fn duplicate(&self) -> Box<dyn ErasedBatch> {
        Box::new(self.clone())
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Clone for AnyBatch {
    fn clone(&self) -> Self {
        Self(self.0.duplicate())
    }
}

impl AnyBatch {
    /// Erases the type of a batch.
    pub fn new<T: Data>(batch: Batch<T>) -> Self {
        Self(Box::new(batch))
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that go over the network.
    pub fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }

    /// Gives the type back.
    ///
    /// # Panics
    /// If the batch holds another type: the graph connected two operators that do not fit.
    pub fn into_typed<T: Data>(self) -> Batch<T> {
        *self
            .0
            .into_any()
            .downcast::<Batch<T>>()
            .expect("an edge carries the record type that both its ends were built with")
    }
}

impl std::fmt::Debug for AnyBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AnyBatch({} records)", self.len())
    }
}

/// Turns the bytes of one edge back into batches of its record type.
pub type BatchDecoder = fn(&[u8]) -> Result<AnyBatch, DecodeError>;

/// The decoder of batches of `T`.
pub fn decode_batch<T: Data>(bytes: &[u8]) -> Result<AnyBatch, DecodeError> {
    codec::decode::<Batch<T>>(bytes).map(AnyBatch::new)
}

/// Whether an input may hold back the watermark (Flink `WatermarkStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatermarkStatus {
    /// Records and watermarks are expected.
    Active,
    /// Nothing is expected for now; ignore this input in the minimum.
    Idle,
}

/// How the data of a bounded input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopMode {
    /// The input is complete: windows fired, buffers flushed.
    Drain,
    /// The job was stopped to go on later: nothing was flushed.
    NoDrain,
}

/// An element of a channel. Elements keep their order within a channel.
#[derive(Debug, Clone)]
pub enum StreamElement {
    /// Records.
    Batch(AnyBatch),
    /// No record at or before this time is expected any more.
    Watermark(Timestamp),
    /// The sender became idle or active.
    Status(WatermarkStatus),
    /// The cut of a checkpoint.
    Barrier(CheckpointBarrier),
    /// The checkpoint was given up upstream; its barrier will not come.
    CancelMarker(CheckpointId),
    /// No more records will come; control elements still may (Flink `EndOfData`, FLIP-147).
    EndOfData(StopMode),
    /// Nothing will come any more (Flink `EndOfPartitionEvent`).
    EndOfPartition,
}

impl StreamElement {
    /// Whether it is part of a checkpoint that overtakes it.
    pub fn is_in_flight_state(&self) -> bool {
        match self {
            Self::Batch(_) | Self::Watermark(_) | Self::Status(_) => true,
            Self::Barrier(_) | Self::CancelMarker(_) | Self::EndOfData(_) | Self::EndOfPartition => false,
        }
    }
}
