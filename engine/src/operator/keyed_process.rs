//! Functions with keyed state and timers (Flink `KeyedProcessFunction`, `KeyedProcessOperator`).
//!
//! State is reached through handles that a function gets when it is opened ([`StateRegistry`]), and only with the
//! context of a call, which always has a key: access outside a key does not compile.

use super::{
    AsyncSnapshot, Collector, Operator, OperatorContext, OperatorSnapshot,
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

/// A function that keeps state per key and can be reminded by timers.
pub trait KeyedProcessFunction: Send + 'static {
    /// Type of the key.
    type Key: Key;
    /// Type of the input.
    type In: Data;
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

    /// A value has come.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn process_element(
        &mut self,
        value: Self::In,
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

/// Runs a [`KeyedProcessFunction`].
pub struct KeyedProcessOperator<S, F: KeyedProcessFunction> {
    key_selector: S,
    function: F,
    running: Option<KeyedRuntime<F::Key>>,
}

impl<S: KeySelector<F::In, Key = F::Key>, F: KeyedProcessFunction> KeyedProcessOperator<S, F> {
    /// An operator that calls `function` with the key that `key_selector` finds.
    pub fn new(key_selector: S, function: F) -> Self {
        Self { key_selector, function, running: None }
    }
}

impl<S: KeySelector<F::In, Key = F::Key>, F: KeyedProcessFunction> Operator for KeyedProcessOperator<S, F> {
    type In = F::In;
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

    fn process(&mut self, batch: Batch<F::In>, out: &mut Collector<F::Out>) -> Result<()> {
        let running = self.running.as_mut().expect(OPENED);
        for StreamRecord { value, timestamp } in batch {
            let key = self.key_selector.key(&value).into_owned();
            self.function.process_element(value, &mut running.begin_record(&key, timestamp, out)?)?;
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
mod tests {
    use super::*;
    use crate::{
        backend::ValueState,
        operator::test_harness::{advance, open, process, record, snapshot},
        state::ValueStateDescriptor,
    };

    /// Remembers the last value of a key; each timer tells it and asks for the next while it counts down.
    #[derive(Default)]
    struct CountDown {
        left: Option<ValueState<i64>>,
    }

    impl KeyedProcessFunction for CountDown {
        type Key = String;
        type In = (String, i64);
        type Out = String;

        fn open(&mut self, states: &mut StateRegistry<'_, String>) -> Result<()> {
            self.left = Some(states.value(&ValueStateDescriptor::new("left").with_default(0))?);
            Ok(())
        }

        fn process_element(
            &mut self,
            (_, left): (String, i64),
            context: &mut ProcessContext<'_, String, String>,
        ) -> Result<()> {
            let state = self.left.as_ref().unwrap();
            context.delete_timer(TimeDomain::EventTime, Timestamp(100));
            if left > 0 {
                state.update(context, left)?;
                context.register_timer(TimeDomain::EventTime, context.timestamp());
            } else {
                state.update(context, None)?;
                let value = state.value(context)?;
                let line = format!("{} is at {value:?}", context.key());
                context.collect(line);
                context.register_timer(TimeDomain::EventTime, Timestamp(100));
            }
            Ok(())
        }

        fn on_timer(&mut self, _domain: TimeDomain, context: &mut ProcessContext<'_, String, String>) -> Result<()> {
            let state = self.left.as_ref().unwrap();
            let count_down = |left: &mut i64| {
                *left -= 1;
                *left
            };
            if let Some(left) = state.modify(context, count_down)? {
                let line = format!("{} {left} watermark {}", context.key(), context.watermark());
                if left == 0 {
                    state.clear(context)?;
                } else {
                    context.register_timer(TimeDomain::EventTime, Timestamp(context.timestamp().0 + 10));
                }
                context.collect(line);
            }
            Ok(())
        }
    }

    fn count_down(restored: Option<OperatorSnapshot>) -> impl Operator<In = (String, i64), Out = String> {
        open(KeyedProcessOperator::new(|value: &(String, i64)| value.0.clone(), CountDown::default()), restored)
    }

    #[test]
    fn a_timer_that_a_timer_registers_fires_in_the_same_pass_if_it_is_due() {
        let mut operator = count_down(None);
        process(&mut operator, vec![record(("a".to_owned(), 3), 5)]);
        let expected = [record("a 2 watermark 15".to_owned(), 5), record("a 1 watermark 15".to_owned(), 15)];
        assert_eq!(advance(&mut operator, 15), expected);
        let mut operator = count_down(Some(snapshot(&mut operator)().unwrap()));
        assert_eq!(advance(&mut operator, 24), []);
        assert_eq!(advance(&mut operator, 25), [record("a 0 watermark 25".to_owned(), 25)]);
        let nothing = OperatorSnapshot { watermark: Some(Timestamp(25)), ..OperatorSnapshot::default() };
        assert_eq!(snapshot(&mut operator)().unwrap(), nothing);
    }

    #[test]
    fn a_timer_behind_the_restored_watermark_waits_for_the_next_one() {
        let mut operator = count_down(None);
        assert_eq!(advance(&mut operator, 50), []);
        process(&mut operator, vec![record(("a".to_owned(), 1), 20)]);
        let mut operator = count_down(Some(snapshot(&mut operator)().unwrap()));
        assert_eq!(advance(&mut operator, 40), [], "a channel tells the watermark that it had again");
        assert_eq!(advance(&mut operator, 50), [], "and so do all");
        assert_eq!(advance(&mut operator, 51), [record("a 0 watermark 51".to_owned(), 20)]);
    }

    #[test]
    fn a_cleared_value_reads_as_the_default_and_a_deleted_timer_does_not_fire() {
        let mut operator = count_down(None);
        let cleared = process(&mut operator, vec![record(("a".to_owned(), 2), 200), record(("a".to_owned(), 0), 7)]);
        assert_eq!(cleared, [record("a is at Some(0)".to_owned(), 7)]);
        process(&mut operator, vec![record(("a".to_owned(), 1), 300)]);
        assert_eq!(advance(&mut operator, 199), [], "the timer at 100 was deleted");
        assert_eq!(advance(&mut operator, 200), [record("a 0 watermark 200".to_owned(), 200)]);
    }
}
