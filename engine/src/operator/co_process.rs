//! Functions over two keyed streams that share state and timers (Flink `KeyedCoProcessFunction`).

use super::{
    AsyncSnapshot, Collector, OperatorContext, OperatorSnapshot, TwoInputOperator,
    keyed_runtime::{KeyedRuntime, OPENED, ProcessContext},
};
use crate::{
    backend::StateRegistry,
    codec::Data,
    error::Result,
    id::CheckpointId,
    record::{Batch, StreamRecord},
    state::{Key, KeySelector},
    time::{TimeDomain, Timestamp},
};

/// A function over two streams with the same keys. State and timers of a key are one for both.
pub trait KeyedCoProcessFunction: Send + 'static {
    /// Type of the key.
    type Key: Key;
    /// Type of the first input.
    type First: Data;
    /// Type of the second input.
    type Second: Data;
    /// Type of the output.
    type Out: Data;

    /// Asks for the function's states and keeps the handles.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn open(&mut self, states: &mut StateRegistry<'_, Self::Key>) -> Result<()> {
        let _ = states;
        Ok(())
    }

    /// A value of the first input has come.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn process_first(
        &mut self,
        value: Self::First,
        context: &mut ProcessContext<'_, Self::Key, Self::Out>,
    ) -> Result<()>;

    /// A value of the second input has come.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn process_second(
        &mut self,
        value: Self::Second,
        context: &mut ProcessContext<'_, Self::Key, Self::Out>,
    ) -> Result<()>;

    /// A timer has come; the context's timestamp is what it was registered for.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn on_timer(&mut self, domain: TimeDomain, context: &mut ProcessContext<'_, Self::Key, Self::Out>) -> Result<()> {
        let _ = (domain, context);
        Ok(())
    }
}

/// Runs a [`KeyedCoProcessFunction`].
pub struct KeyedCoProcessOperator<S1, S2, F: KeyedCoProcessFunction> {
    selectors: (S1, S2),
    function: F,
    running: Option<KeyedRuntime<F::Key>>,
}

impl<S1, S2, F> KeyedCoProcessOperator<S1, S2, F>
where
    S1: KeySelector<F::First, Key = F::Key>,
    S2: KeySelector<F::Second, Key = F::Key>,
    F: KeyedCoProcessFunction,
{
    /// An operator that calls `function` with the keys that the selectors of first and second input find.
    pub fn new(first: S1, second: S2, function: F) -> Self {
        Self { selectors: (first, second), function, running: None }
    }
}

impl<S1, S2, F> TwoInputOperator for KeyedCoProcessOperator<S1, S2, F>
where
    S1: KeySelector<F::First, Key = F::Key>,
    S2: KeySelector<F::Second, Key = F::Key>,
    F: KeyedCoProcessFunction,
{
    type First = F::First;
    type Second = F::Second;
    type Out = F::Out;

    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let mut running = KeyedRuntime::open(context, restored)?;
        self.function.open(&mut running.registry())?;
        self.running = Some(running);
        Ok(())
    }

    fn set_processing_time(&mut self, now: Timestamp) {
        self.running.as_mut().expect(OPENED).set_processing_time(now);
    }

    fn process_first(&mut self, batch: Batch<F::First>, out: &mut Collector<F::Out>) -> Result<()> {
        let running = self.running.as_mut().expect(OPENED);
        for StreamRecord { value, timestamp } in batch {
            let key = self.selectors.0.key(&value).into_owned();
            self.function.process_first(value, &mut running.begin_record(&key, timestamp, out)?)?;
        }
        Ok(())
    }

    fn process_second(&mut self, batch: Batch<F::Second>, out: &mut Collector<F::Out>) -> Result<()> {
        let running = self.running.as_mut().expect(OPENED);
        for StreamRecord { value, timestamp } in batch {
            let key = self.selectors.1.key(&value).into_owned();
            self.function.process_second(value, &mut running.begin_record(&key, timestamp, out)?)?;
        }
        Ok(())
    }

    fn advance_watermark(&mut self, watermark: Timestamp, out: &mut Collector<F::Out>) -> Result<()> {
        let running = self.running.as_mut().expect(OPENED);
        running.advance_watermark(watermark, out, |domain, context| self.function.on_timer(domain, context))
    }

    fn processing_time_deadline(&self) -> Option<Timestamp> {
        self.running.as_ref().and_then(KeyedRuntime::processing_time_deadline)
    }

    fn advance_processing_time(&mut self, now: Timestamp, out: &mut Collector<F::Out>) -> Result<()> {
        let running = self.running.as_mut().expect(OPENED);
        running.advance_processing_time(now, out, |domain, context| self.function.on_timer(domain, context))
    }

    fn snapshot(&mut self, _checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        self.running.as_mut().expect(OPENED).snapshot()
    }
}

#[cfg(test)]
mod tests;
