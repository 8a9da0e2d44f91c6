//! Operators: what runs records inside a task.
//!
//! An operator is typed; a chain of operators is a sequence of erased ones that hand batches to each other.
//! All of an operator's work is synchronous: it computes. Input and output belong to the task's shell.

mod broadcast_process;
mod broadcast_state;
mod chain;
mod checkpointed;
mod co_map;
mod co_process;
mod erased;
mod filter;
mod flat_map;
mod interval_join;
mod keyed_process;
mod keyed_reduce;
mod keyed_runtime;
mod map;
mod operator_state;
mod process;
mod side_output;
mod tagged;
#[cfg(test)]
mod test_harness;
mod timestamped_collector;
mod two_input;
mod window;

pub use broadcast_process::{
    BroadcastContext, KeyedBroadcastProcessFunction, KeyedBroadcastProcessOperator, ReadOnlyContext,
};
pub use broadcast_state::{BroadcastState, BroadcastStates, ReadBroadcastState, WriteBroadcastState};
pub use chain::{ChainOutput, OperatorChain};
pub use checkpointed::{
    CheckpointedFunction, FunctionInitializationContext, FunctionSnapshotContext, FunctionState, FunctionStateSetup,
};
pub use co_map::{CoFlatMapOperator, CoMapOperator};
pub use co_process::{KeyedCoProcessFunction, KeyedCoProcessOperator};
pub use erased::{Emitted, ErasedOperator, erase, erase_two_input};
pub use filter::FilterOperator;
pub use flat_map::FlatMapOperator;
pub use interval_join::{IntervalJoinOperator, JOIN_BUFFERS, JoinContext, JoinFunction, JoinInterval};
pub use keyed_process::{KeyedProcessFunction, KeyedProcessOperator};
pub use keyed_reduce::{KeyedReduceOperator, REDUCED};
pub use keyed_runtime::ProcessContext;
pub use map::MapOperator;
pub use operator_state::{OperatorListState, OperatorStateAccess, OperatorStateStore};
pub use process::{FunctionContext, ProcessFunction, ProcessOperator};
pub use side_output::OutputTag;
pub use tagged::{Tagged, TaggedKey};
pub use timestamped_collector::TimestampedCollector;
pub use two_input::{Input, TwoInputOperator};
pub use window::{
    Aggregate, Apply, AtFire, EmitResult, EvictingWindow, FullWindow, Incremental, MERGING_WINDOW_SET,
    ProcessWindowFunction, Reduce, Then, WINDOW_CONTENTS, WindowContext, WindowError, WindowFunction, WindowOperator,
};

use std::sync::Arc;

use self::side_output::SideOutputs;
use crate::{
    codec::Data,
    config::StateBackend,
    error::Result,
    event::Reporter,
    id::{CheckpointId, OperatorUid},
    record::{AnyBatch, Batch, StreamRecord},
    time::Timestamp,
};

pub use crate::state::{
    AggregateFunction, AsyncSnapshot, KeyedEntry, KeyedSnapshot, ListMode, ListSnapshot, OperatorSnapshot,
    ReduceFunction,
};

/// Where an operator puts its results.
#[derive(Debug)]
pub struct Collector<T> {
    records: Batch<T>,
    sides: SideOutputs,
}

impl<T> Default for Collector<T> {
    fn default() -> Self {
        Self { records: Vec::new(), sides: SideOutputs::default() }
    }
}

impl<T> Collector<T> {
    /// Emits a record.
    #[inline]
    pub fn collect(&mut self, record: StreamRecord<T>) {
        self.records.push(record);
    }

    /// Emits a record on the side.
    ///
    /// # Panics
    /// If the tag's name was used with another type.
    pub fn side_output<U: Data>(&mut self, tag: &OutputTag<U>, record: StreamRecord<U>) {
        self.sides.push(tag, record);
    }

    /// Takes what was emitted on the side since the last call, by the names of the tags.
    pub fn take_side_outputs(&mut self) -> Vec<(Arc<str>, AnyBatch)> {
        self.sides.take()
    }

    /// Emits records.
    pub fn collect_batch(&mut self, mut batch: Batch<T>) {
        if self.records.is_empty() {
            self.records = batch;
        } else {
            self.records.append(&mut batch);
        }
    }

    /// Makes room for that many more records.
    pub fn reserve(&mut self, records: usize) {
        self.records.reserve(records);
    }

    /// Takes what was emitted since the last call.
    pub fn take(&mut self) -> Batch<T> {
        std::mem::take(&mut self.records)
    }

    /// The records that wait to be taken.
    pub fn records(&self) -> &[StreamRecord<T>] {
        &self.records
    }
}

/// What an operator is told when it starts.
#[derive(Clone)]
pub struct OperatorContext {
    /// The operator's stable identity.
    pub uid: OperatorUid,
    /// Which parallel instance this is, from 0.
    pub subtask_index: u32,
    /// How many there are.
    pub parallelism: u32,
    /// Number of key groups of the job.
    pub max_parallelism: u32,
    /// Where keyed state lives.
    pub state_backend: StateBackend,
    /// The checkpoint that the job was restored from.
    pub restored_checkpoint_id: Option<CheckpointId>,
    /// The processing time as the operator is opened.
    pub processing_time: Timestamp,
    /// States facts about the subtask.
    pub reporter: Reporter,
}

/// A typed operator with one input.
///
/// Calls come one at a time, in this order: `open` once, then any of the others, `finish` last.
pub trait Operator: Send + 'static {
    /// Type of the input records.
    type In: Data;
    /// Type of the output records.
    type Out: Data;

    /// Starts the operator, with its restored state if there is one.
    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let _ = (context, restored);
        Ok(())
    }

    /// Tells the processing time, before each batch and each advance of time.
    fn set_processing_time(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// Processes records in order.
    fn process(&mut self, batch: Batch<Self::In>, out: &mut Collector<Self::Out>) -> Result<()>;

    /// The watermark advanced to `watermark`; results that it releases come before it.
    fn advance_watermark(&mut self, watermark: Timestamp, out: &mut Collector<Self::Out>) -> Result<()> {
        let _ = (watermark, out);
        Ok(())
    }

    /// When `advance_processing_time` wants to be called next.
    fn processing_time_deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Processing time reached `now`.
    fn advance_processing_time(&mut self, now: Timestamp, out: &mut Collector<Self::Out>) -> Result<()> {
        let _ = (now, out);
        Ok(())
    }

    /// The first, synchronous half of a snapshot. Must be short; later changes must not show in its result.
    fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        let _ = checkpoint_id;
        Ok(Box::new(|| Ok(OperatorSnapshot::default())))
    }

    /// A checkpoint is complete: nothing of it can be lost any more.
    fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        let _ = checkpoint_id;
        Ok(())
    }

    /// The input has ended: emit what was held back.
    fn finish(&mut self, out: &mut Collector<Self::Out>) -> Result<()> {
        let _ = out;
        Ok(())
    }
}
