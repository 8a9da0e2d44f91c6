//! Operators whose record types are erased, as a chain holds them. The type is erased once per batch.

use std::sync::Arc;

use super::{AsyncSnapshot, Collector, Input, Operator, OperatorContext, OperatorSnapshot, TwoInputOperator};
use crate::{codec::Data, error::Result, id::CheckpointId, planted, record::AnyBatch, time::Timestamp};

/// What an operator emitted in one call.
#[derive(Debug, Default)]
pub struct Emitted {
    /// Its main output, unless there is none.
    pub main: Option<AnyBatch>,
    /// Its side outputs by tag.
    pub sides: Vec<(Arc<str>, AnyBatch)>,
}

/// An operator whose record types are erased. Batches of results are not empty.
pub trait ErasedOperator: Send {
    /// See [`Operator::open`].
    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()>;
    /// See [`Operator::set_processing_time`].
    fn set_processing_time(&mut self, now: Timestamp);
    /// See [`Operator::process`].
    fn process(&mut self, input: Input, batch: AnyBatch) -> Result<Emitted>;
    /// See [`Operator::advance_watermark`].
    fn advance_watermark(&mut self, watermark: Timestamp) -> Result<Emitted>;
    /// See [`Operator::processing_time_deadline`].
    fn processing_time_deadline(&self) -> Option<Timestamp>;
    /// See [`Operator::advance_processing_time`].
    fn advance_processing_time(&mut self, now: Timestamp) -> Result<Emitted>;
    /// See [`Operator::snapshot`].
    fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<AsyncSnapshot>;
    /// See [`Operator::notify_complete`].
    fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()>;
    /// See [`Operator::finish`].
    fn finish(&mut self) -> Result<Emitted>;
}

/// Erases the record types of an operator.
pub fn erase<O: Operator>(operator: O) -> Box<dyn ErasedOperator> {
    Box::new(OneInput { operator, out: Collector::default() })
}

/// Erases the record types of an operator with two inputs.
pub fn erase_two_input<O: TwoInputOperator>(operator: O) -> Box<dyn ErasedOperator> {
    Box::new(TwoInputs { operator, out: Collector::default() })
}

fn emitted<T: Data>(out: &mut Collector<T>) -> Emitted {
    let batch = out.take();
    let main = (!batch.is_empty()).then(|| AnyBatch::new(batch));
    if main.is_none() && planted!("side_output_kept_back_over_a_barrier") {
        return Emitted { main, sides: Vec::new() };
    }
    Emitted { main, sides: out.take_side_outputs() }
}

struct OneInput<O: Operator> {
    operator: O,
    out: Collector<O::Out>,
}

struct TwoInputs<O: TwoInputOperator> {
    operator: O,
    out: Collector<O::Out>,
}

/// What is the same for operators with one input and with two.
macro_rules! forward_to_operator {
    () => {
        fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
            self.operator.open(context, restored)
        }

        fn set_processing_time(&mut self, now: Timestamp) {
            self.operator.set_processing_time(now);
        }

        fn advance_watermark(&mut self, watermark: Timestamp) -> Result<Emitted> {
            self.operator.advance_watermark(watermark, &mut self.out)?;
            Ok(emitted(&mut self.out))
        }

        fn processing_time_deadline(&self) -> Option<Timestamp> {
            self.operator.processing_time_deadline()
        }

        fn advance_processing_time(&mut self, now: Timestamp) -> Result<Emitted> {
            self.operator.advance_processing_time(now, &mut self.out)?;
            Ok(emitted(&mut self.out))
        }

        fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
            self.operator.snapshot(checkpoint_id)
        }

        fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
            self.operator.notify_complete(checkpoint_id)
        }

        fn finish(&mut self) -> Result<Emitted> {
            self.operator.finish(&mut self.out)?;
            Ok(emitted(&mut self.out))
        }
    };
}

impl<O: Operator> ErasedOperator for OneInput<O> {
    fn process(&mut self, input: Input, batch: AnyBatch) -> Result<Emitted> {
        assert!(input == Input::First, "an operator with one input has no second one");
        self.operator.process(batch.into_typed::<O::In>(), &mut self.out)?;
        Ok(emitted(&mut self.out))
    }

    forward_to_operator!();
}

impl<O: TwoInputOperator> ErasedOperator for TwoInputs<O> {
    fn process(&mut self, input: Input, batch: AnyBatch) -> Result<Emitted> {
        match input {
            Input::First => self.operator.process_first(batch.into_typed::<O::First>(), &mut self.out)?,
            Input::Second => self.operator.process_second(batch.into_typed::<O::Second>(), &mut self.out)?,
        }
        Ok(emitted(&mut self.out))
    }

    forward_to_operator!();
}
