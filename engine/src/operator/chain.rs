//! Operator chains: operators of one task that hand batches to each other without a channel in between.
//!
//! Guarantees: what comes out of the tail keeps the order of causes: the results that a watermark releases in an
//! operator go through the rest of the chain before the watermark does; snapshots are taken tail first, so that no
//! operator can emit into one that has been cut already. The record type is erased between operators, once per batch.
//! Flink: `OperatorChain`.

use std::collections::BTreeMap;

use super::{AsyncSnapshot, Collector, Operator, OperatorContext, OperatorSnapshot};
use crate::{
    error::Result,
    id::{CheckpointId, OperatorUid},
    record::AnyBatch,
    time::Timestamp,
};

/// An operator whose record types are erased. Results are batches that are not empty.
pub trait ErasedOperator: Send {
    /// See [`Operator::open`].
    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()>;
    /// See [`Operator::process`].
    fn process(&mut self, batch: AnyBatch) -> Result<Option<AnyBatch>>;
    /// See [`Operator::advance_watermark`].
    fn advance_watermark(&mut self, watermark: Timestamp) -> Result<Option<AnyBatch>>;
    /// See [`Operator::processing_time_deadline`].
    fn processing_time_deadline(&self) -> Option<Timestamp>;
    /// See [`Operator::advance_processing_time`].
    fn advance_processing_time(&mut self, now: Timestamp) -> Result<Option<AnyBatch>>;
    /// See [`Operator::snapshot`].
    fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<AsyncSnapshot>;
    /// See [`Operator::notify_complete`].
    fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()>;
    /// See [`Operator::finish`].
    fn finish(&mut self) -> Result<Option<AnyBatch>>;
}

struct Erased<O: Operator> {
    operator: O,
    out: Collector<O::Out>,
}

impl<O: Operator> Erased<O> {
    fn take(&mut self) -> Option<AnyBatch> {
        let batch = self.out.take();
        (!batch.is_empty()).then(|| AnyBatch::new(batch))
    }
}

impl<O: Operator> ErasedOperator for Erased<O> {
    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        self.operator.open(context, restored)
    }

    fn process(&mut self, batch: AnyBatch) -> Result<Option<AnyBatch>> {
        self.operator.process(batch.into_typed::<O::In>(), &mut self.out)?;
        Ok(self.take())
    }

    fn advance_watermark(&mut self, watermark: Timestamp) -> Result<Option<AnyBatch>> {
        self.operator.advance_watermark(watermark, &mut self.out)?;
        Ok(self.take())
    }

    fn processing_time_deadline(&self) -> Option<Timestamp> {
        self.operator.processing_time_deadline()
    }

    fn advance_processing_time(&mut self, now: Timestamp) -> Result<Option<AnyBatch>> {
        self.operator.advance_processing_time(now, &mut self.out)?;
        Ok(self.take())
    }

    fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        self.operator.snapshot(checkpoint_id)
    }

    fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        self.operator.notify_complete(checkpoint_id)
    }

    fn finish(&mut self) -> Result<Option<AnyBatch>> {
        self.operator.finish(&mut self.out)?;
        Ok(self.take())
    }
}

/// Erases the record types of an operator.
pub fn erase<O: Operator>(operator: O) -> Box<dyn ErasedOperator> {
    Box::new(Erased { operator, out: Collector::default() })
}

/// What leaves a chain.
#[derive(Debug)]
pub enum ChainOutput {
    /// Records of the tail's type.
    Batch(AnyBatch),
    /// A watermark, after everything that it released.
    Watermark(Timestamp),
}

/// The operators of a task, head first. An empty chain hands on what it gets.
#[derive(Default)]
pub struct OperatorChain {
    operators: Vec<(OperatorUid, Box<dyn ErasedOperator>)>,
}

impl OperatorChain {
    /// A chain of these operators, head first; each takes what the one before it emits.
    ///
    /// # Panics
    /// If two operators have one uid.
    pub fn new(operators: Vec<(OperatorUid, Box<dyn ErasedOperator>)>) -> Self {
        for (index, (uid, _)) in operators.iter().enumerate() {
            let again = operators[..index].iter().any(|(earlier, _)| earlier == uid);
            assert!(!again, "an operator uid is unique in a job, but {uid} is there twice");
        }
        Self { operators }
    }

    /// The uids, head first.
    pub fn uids(&self) -> impl Iterator<Item = &OperatorUid> {
        self.operators.iter().map(|(uid, _)| uid)
    }

    /// Opens all operators, tail first, each with its part of `restored`. The context's uid is replaced by its own.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn open(
        &mut self,
        context: &OperatorContext,
        mut restored: BTreeMap<OperatorUid, OperatorSnapshot>,
    ) -> Result<()> {
        for (uid, operator) in self.operators.iter_mut().rev() {
            let context = OperatorContext { uid: uid.clone(), ..context.clone() };
            operator.open(&context, restored.remove(uid))?;
        }
        Ok(())
    }

    /// Pushes records through the chain.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn process(&mut self, batch: AnyBatch, out: &mut Vec<ChainOutput>) -> Result<()> {
        self.process_from(0, batch, out)
    }

    fn process_from(&mut self, first: usize, batch: AnyBatch, out: &mut Vec<ChainOutput>) -> Result<()> {
        let mut batch = batch;
        for (_, operator) in &mut self.operators[first..] {
            match operator.process(batch)? {
                Some(results) => batch = results,
                None => return Ok(()),
            }
        }
        out.push(ChainOutput::Batch(batch));
        Ok(())
    }

    /// Asks each operator in turn and pushes its results through the ones behind it.
    fn for_each_then_rest(
        &mut self,
        out: &mut Vec<ChainOutput>,
        mut ask: impl FnMut(&mut dyn ErasedOperator) -> Result<Option<AnyBatch>>,
    ) -> Result<()> {
        for index in 0..self.operators.len() {
            if let Some(results) = ask(self.operators[index].1.as_mut())? {
                self.process_from(index + 1, results, out)?;
            }
        }
        Ok(())
    }

    /// Advances the watermark of all operators; the watermark itself comes last.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn advance_watermark(&mut self, watermark: Timestamp, out: &mut Vec<ChainOutput>) -> Result<()> {
        self.for_each_then_rest(out, |operator| operator.advance_watermark(watermark))?;
        out.push(ChainOutput::Watermark(watermark));
        Ok(())
    }

    /// When [`advance_processing_time`](Self::advance_processing_time) wants to be called next.
    pub fn processing_time_deadline(&self) -> Option<Timestamp> {
        self.operators.iter().filter_map(|(_, operator)| operator.processing_time_deadline()).min()
    }

    /// Processing time reached `now`.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn advance_processing_time(&mut self, now: Timestamp, out: &mut Vec<ChainOutput>) -> Result<()> {
        self.for_each_then_rest(out, |operator| operator.advance_processing_time(now))
    }

    /// The synchronous half of a snapshot of all operators, taken from the tail to the head.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<Vec<(OperatorUid, AsyncSnapshot)>> {
        let tail_first = self.operators.iter_mut().rev();
        tail_first.map(|(uid, operator)| Ok((uid.clone(), operator.snapshot(checkpoint_id)?))).collect()
    }

    /// A checkpoint is complete: tells all operators, head first.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        self.operators.iter_mut().try_for_each(|(_, operator)| operator.notify_complete(checkpoint_id))
    }

    /// The input has ended: each operator, head first, emits what it held back.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn finish(&mut self, out: &mut Vec<ChainOutput>) -> Result<()> {
        self.for_each_then_rest(out, |operator| operator.finish())
    }
}

#[cfg(test)]
mod tests;
