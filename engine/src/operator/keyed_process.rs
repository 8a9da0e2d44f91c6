//! Functions with keyed state and timers (Flink `KeyedProcessFunction`, `KeyedProcessOperator`).
//!
//! State is reached through handles that a function gets when it is opened ([`StateRegistry`]), and only with the
//! context of a call, which always has a key: access outside a key does not compile.

use super::{AsyncSnapshot, Collector, Operator, OperatorContext, OperatorSnapshot};
use crate::{
    backend::{KeyedContext, KeyedStateBackend, StateAccess, StateRegistry},
    codec::Data,
    error::Result,
    id::CheckpointId,
    record::{Batch, StreamRecord},
    state::{Key, KeySelector},
    time::{TimeDomain, Timer, TimerService, Timestamp},
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

/// What a function can see and do while it handles a value or a timer of one key.
pub struct ProcessContext<'a, K, Out> {
    backend: &'a mut KeyedStateBackend<K>,
    timers: &'a mut TimerService<K, ()>,
    out: &'a mut Collector<Out>,
    key: &'a K,
    timestamp: Timestamp,
    /// The event time of what is emitted.
    event_time: Timestamp,
    processing_time: Timestamp,
}

impl<K: Key, Out> ProcessContext<'_, K, Out> {
    /// The key.
    pub fn key(&self) -> &K {
        self.key
    }

    /// The timestamp of the value, or what the timer was registered for.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The watermark that the operator has come to.
    pub fn watermark(&self) -> Timestamp {
        self.timers.watermark()
    }

    /// The processing time, as last told to the operator.
    pub fn processing_time(&self) -> Timestamp {
        self.processing_time
    }

    /// Emits a value with the timestamp of the value or event-time timer; a processing-time timer gives it none.
    pub fn collect(&mut self, value: Out) {
        self.out.collect(StreamRecord { value, timestamp: self.event_time });
    }

    /// Asks for a call of `on_timer` for this key. Asking twice is asking once.
    pub fn register_timer(&mut self, domain: TimeDomain, timestamp: Timestamp) {
        self.timers.register(domain, timestamp, self.key, &());
    }

    /// Takes that back.
    pub fn delete_timer(&mut self, domain: TimeDomain, timestamp: Timestamp) {
        self.timers.delete(domain, timestamp, self.key, &());
    }
}

impl<K: Key, Out> KeyedContext<()> for ProcessContext<'_, K, Out> {
    type Key = K;

    #[inline]
    fn access(&mut self) -> StateAccess<'_, K, ()> {
        StateAccess { backend: self.backend, key: self.key, namespace: &(), processing_time: self.processing_time }
    }
}

/// Runs a [`KeyedProcessFunction`].
pub struct KeyedProcessOperator<S, F: KeyedProcessFunction> {
    key_selector: S,
    function: F,
    running: Option<Running<F::Key>>,
}

struct Running<K> {
    backend: KeyedStateBackend<K>,
    timers: TimerService<K, ()>,
    processing_time: Timestamp,
}

const OPENED: &str = "an operator is opened before anything else";

impl<S: KeySelector<F::In, Key = F::Key>, F: KeyedProcessFunction> KeyedProcessOperator<S, F> {
    /// An operator that calls `function` with the key that `key_selector` finds.
    pub fn new(key_selector: S, function: F) -> Self {
        Self { key_selector, function, running: None }
    }

    fn fire(
        &mut self,
        domain: TimeDomain,
        out: &mut Collector<F::Out>,
        mut pop: impl FnMut(&mut TimerService<F::Key, ()>) -> Option<Timer<F::Key, ()>>,
    ) -> Result<()> {
        let running = self.running.as_mut().expect(OPENED);
        while let Some(timer) = pop(&mut running.timers) {
            let mut context = running.context(&timer.key, timer.timestamp, out);
            if domain == TimeDomain::ProcessingTime {
                // The time of a machine's clock is no event time.
                context.event_time = Timestamp::MIN;
            }
            self.function.on_timer(domain, &mut context)?;
        }
        Ok(())
    }
}

impl<K: Key> Running<K> {
    fn context<'a, Out>(
        &'a mut self,
        key: &'a K,
        timestamp: Timestamp,
        out: &'a mut Collector<Out>,
    ) -> ProcessContext<'a, K, Out> {
        let Self { backend, timers, processing_time } = self;
        let processing_time = *processing_time;
        ProcessContext { backend, timers, out, key, timestamp, event_time: timestamp, processing_time }
    }
}

impl<S: KeySelector<F::In, Key = F::Key>, F: KeyedProcessFunction> Operator for KeyedProcessOperator<S, F> {
    type In = F::In;
    type Out = F::Out;

    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let mut backend = KeyedStateBackend::open(context, restored)?;
        let timers = backend.timers()?;
        self.function.open(&mut StateRegistry::new(&mut backend))?;
        self.running = Some(Running { backend, timers, processing_time: context.processing_time });
        Ok(())
    }

    fn set_processing_time(&mut self, now: Timestamp) {
        self.running.as_mut().expect(OPENED).processing_time = now;
    }

    fn process(&mut self, batch: Batch<F::In>, out: &mut Collector<F::Out>) -> Result<()> {
        let running = self.running.as_mut().expect(OPENED);
        for StreamRecord { value, timestamp } in batch {
            let key = self.key_selector.key(&value).into_owned();
            running.backend.begin_record(running.processing_time)?;
            let mut context = running.context(&key, timestamp, out);
            self.function.process_element(value, &mut context)?;
        }
        Ok(())
    }

    fn advance_watermark(&mut self, watermark: Timestamp, out: &mut Collector<F::Out>) -> Result<()> {
        self.running.as_mut().expect(OPENED).timers.set_watermark(watermark);
        self.fire(TimeDomain::EventTime, out, TimerService::pop_due_event_time)
    }

    fn processing_time_deadline(&self) -> Option<Timestamp> {
        self.running.as_ref().and_then(|running| running.timers.processing_time_deadline())
    }

    fn advance_processing_time(&mut self, now: Timestamp, out: &mut Collector<F::Out>) -> Result<()> {
        self.running.as_mut().expect(OPENED).processing_time = now;
        self.fire(TimeDomain::ProcessingTime, out, |timers| timers.pop_due_processing_time(now))
    }

    fn snapshot(&mut self, _checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        let running = self.running.as_mut().expect(OPENED);
        Ok(running.backend.snapshot_with_timers(&running.timers)?)
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
        assert_eq!(snapshot(&mut operator)().unwrap(), OperatorSnapshot::default());
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
