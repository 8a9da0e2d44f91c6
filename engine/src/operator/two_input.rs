//! Operators with two inputs of different types (Flink `TwoInputStreamOperator`).

use super::{AsyncSnapshot, Collector, OperatorContext, OperatorSnapshot};
use crate::{codec::Data, error::Result, id::CheckpointId, record::Batch, time::Timestamp};

/// Which of an operator's logical inputs; an operator with one has the first only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// The first, or the only one.
    First,
    /// The second.
    Second,
}

impl Input {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];
}

/// A typed operator with two inputs. It stands at the head of a task.
///
/// Calls come one at a time, in this order: `open` once, then any of the others, `finish` last.
pub trait TwoInputOperator: Send + 'static {
    /// Type of the records of the first input.
    type First: Data;
    /// Type of the records of the second input.
    type Second: Data;
    /// Type of the output records.
    type Out: Data;

    /// See [`Operator::open`](super::Operator::open).
    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let _ = (context, restored);
        Ok(())
    }

    /// See [`Operator::set_processing_time`](super::Operator::set_processing_time).
    fn set_processing_time(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// Processes records of the first input in order.
    fn process_first(&mut self, batch: Batch<Self::First>, out: &mut Collector<Self::Out>) -> Result<()>;

    /// Processes records of the second input in order.
    fn process_second(&mut self, batch: Batch<Self::Second>, out: &mut Collector<Self::Out>) -> Result<()>;

    /// The watermark of both inputs together advanced; results that it releases come before it.
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

    /// See [`Operator::snapshot`](super::Operator::snapshot).
    fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        let _ = checkpoint_id;
        Ok(Box::new(|| Ok(OperatorSnapshot::default())))
    }

    /// A checkpoint is complete: nothing of it can be lost any more.
    fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        let _ = checkpoint_id;
        Ok(())
    }

    /// Both inputs have ended: emit what was held back.
    fn finish(&mut self, out: &mut Collector<Self::Out>) -> Result<()> {
        let _ = out;
        Ok(())
    }
}
