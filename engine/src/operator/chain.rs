//! Operator chains: operators of one task that hand batches to each other without a channel in between.
//!
//! Guarantees: what comes out of the tail keeps the order of causes: the results that a watermark releases in an
//! operator go through the rest of the chain before the watermark does; snapshots are taken tail first, so that no
//! operator can emit into one that has been cut already. Side outputs leave from where they are emitted, at the same
//! place among watermarks and barriers as the main output. Only the head can have two inputs.
//! Flink: `OperatorChain`.

use std::{collections::BTreeMap, sync::Arc};

use super::{AsyncSnapshot, Emitted, ErasedOperator, Input, OperatorContext, OperatorSnapshot};
use crate::{
    error::Result,
    id::{CheckpointId, OperatorUid},
    planted,
    record::AnyBatch,
    state::EndOfInput,
    time::Timestamp,
};

/// What leaves a chain.
#[derive(Debug)]
pub enum ChainOutput {
    /// Records of the tail's type.
    Batch(AnyBatch),
    /// Records on the side.
    Side {
        /// Which operator of the chain emitted them, counted from the head.
        operator: usize,
        /// The name of their tag.
        tag: Arc<str>,
        /// The records.
        batch: AnyBatch,
    },
    /// A watermark, after everything that it released.
    Watermark(Timestamp),
}

/// The operators of a task, head first. An empty chain hands on what it gets.
#[derive(Default)]
pub struct OperatorChain {
    operators: Vec<(OperatorUid, Box<dyn ErasedOperator>)>,
    /// What each of them knows of the end of its input.
    end_of_input: Vec<EndOfInput>,
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
        let end_of_input = vec![EndOfInput::Pending; operators.len()];
        Self { operators, end_of_input }
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
        for (index, (uid, operator)) in self.operators.iter_mut().enumerate().rev() {
            let context = OperatorContext { uid: uid.clone(), ..context.clone() };
            let snapshot = restored.remove(uid);
            if !planted!("end_of_input_handled_again_after_restore") {
                self.end_of_input[index] = snapshot.as_ref().map_or_else(EndOfInput::default, |own| own.end_of_input);
            }
            operator.open(&context, snapshot)?;
        }
        Ok(())
    }

    /// Tells all operators the processing time, for the calls that follow.
    pub fn set_processing_time(&mut self, now: Timestamp) {
        self.operators.iter_mut().for_each(|(_, operator)| operator.set_processing_time(now));
    }

    /// Pushes records of one of the head's inputs through the chain.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn process(&mut self, input: Input, batch: AnyBatch, out: &mut Vec<ChainOutput>) -> Result<()> {
        match self.operators.first_mut() {
            Some((_, head)) => {
                let emitted = head.process(input, batch)?;
                self.hand_on(0, emitted, out)
            }
            None => {
                out.push(ChainOutput::Batch(batch));
                Ok(())
            }
        }
    }

    /// Pushes what an operator emitted through the ones behind it.
    fn hand_on(&mut self, from: usize, emitted: Emitted, out: &mut Vec<ChainOutput>) -> Result<()> {
        let mut emitted = emitted;
        for index in from.. {
            let sides = emitted.sides.into_iter();
            out.extend(sides.map(|(tag, batch)| ChainOutput::Side { operator: index, tag, batch }));
            let Some(batch) = emitted.main else { break };
            match self.operators.get_mut(index + 1) {
                Some((_, next)) => emitted = next.process(Input::First, batch)?,
                None => {
                    out.push(ChainOutput::Batch(batch));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Asks each operator in turn and pushes its results through the ones behind it.
    fn for_each_then_rest(
        &mut self,
        out: &mut Vec<ChainOutput>,
        mut ask: impl FnMut(&mut dyn ErasedOperator) -> Result<Emitted>,
    ) -> Result<()> {
        for index in 0..self.operators.len() {
            let emitted = ask(self.operators[index].1.as_mut())?;
            self.hand_on(index, emitted, out)?;
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

    /// When [`advance_processing_time`](Self::advance_processing_time) wants to be called next: when the millisecond of
    /// the first timer is over.
    ///
    /// A record that comes within that millisecond still belongs before the timer: a window of processing time takes it
    /// and fires once. Flink delays its physical timers by as much (`ProcessingTimeServiceUtil`).
    pub fn processing_time_deadline(&self) -> Option<Timestamp> {
        let first = self.operators.iter().filter_map(|(_, operator)| operator.processing_time_deadline()).min()?;
        Some(Timestamp(first.0.saturating_add(1)))
    }

    /// Processing time reached `now`: the timers of all milliseconds that are over fire.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn advance_processing_time(&mut self, now: Timestamp, out: &mut Vec<ChainOutput>) -> Result<()> {
        self.set_processing_time(now);
        let over = Timestamp(now.0.saturating_sub(1));
        self.for_each_then_rest(out, |operator| operator.advance_processing_time(over))
    }

    /// The synchronous half of a snapshot of all operators, taken from the tail to the head.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<Vec<(OperatorUid, AsyncSnapshot)>> {
        let tail_first = self.operators.iter_mut().zip(&self.end_of_input).rev();
        let snapshot = |((uid, operator), end_of_input): (&mut (OperatorUid, Box<dyn ErasedOperator>), &EndOfInput)| {
            let (rest, end_of_input) = (operator.snapshot(checkpoint_id)?, *end_of_input);
            let whole: AsyncSnapshot = Box::new(move || Ok(OperatorSnapshot { end_of_input, ..rest()? }));
            Ok((uid.clone(), whole))
        };
        tail_first.map(snapshot).collect()
    }

    /// A checkpoint is complete: tells all operators, head first.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn notify_complete(&mut self, checkpoint_id: CheckpointId) -> Result<()> {
        self.operators.iter_mut().try_for_each(|(_, operator)| operator.notify_complete(checkpoint_id))
    }

    /// The input has ended: each operator, head first, emits what it held back; one that did so before the checkpoint
    /// that it was restored from has nothing to say any more.
    ///
    /// # Errors
    /// The first error of an operator.
    pub fn finish(&mut self, out: &mut Vec<ChainOutput>) -> Result<()> {
        for index in 0..self.operators.len() {
            if std::mem::replace(&mut self.end_of_input[index], EndOfInput::Handled) == EndOfInput::Handled {
                continue;
            }
            let emitted = self.operators[index].1.finish()?;
            self.hand_on(index, emitted, out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
