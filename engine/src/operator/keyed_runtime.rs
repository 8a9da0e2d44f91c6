//! What operators that call functions with keyed state and timers have in common: the state, the timers, the context.
//!
//! Guarantees: a timer is removed before its function is called; what a function emits has the timestamp of the value or
//! event-time timer that caused it. Flink: `AbstractStreamOperator`, `InternalTimeServiceManager`.

use super::{AsyncSnapshot, Collector, OperatorContext, OperatorSnapshot, OutputTag};
use crate::{
    backend::{KeyedContext, KeyedState, KeyedStateBackend, StateAccess, StateRegistry},
    codec::Data,
    error::Result,
    record::StreamRecord,
    state::Key,
    time::{TimeDomain, Timer, TimerService, Timestamp},
};

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
    /// The same context for a shorter time.
    pub(super) fn reborrow(&mut self) -> ProcessContext<'_, K, Out> {
        ProcessContext { backend: self.backend, timers: self.timers, out: self.out, ..*self }
    }

    /// The same context for a function whose results go elsewhere.
    pub(crate) fn with_output<'b, Other>(&'b mut self, out: &'b mut Collector<Other>) -> ProcessContext<'b, K, Other> {
        let Self { backend, timers, out: _, key, timestamp, event_time, processing_time } = self;
        let (timestamp, event_time, processing_time) = (*timestamp, *event_time, *processing_time);
        ProcessContext { backend, timers, out, key, timestamp, event_time, processing_time }
    }

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

    /// Emits a value on the side, with the same timestamp.
    pub fn side_output<U: Data>(&mut self, tag: &OutputTag<U>, value: U) {
        self.out.side_output(tag, StreamRecord { value, timestamp: self.event_time });
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

/// The keyed state and the timers of an operator, from `open` to its end.
pub(super) struct KeyedRuntime<K: Key> {
    backend: KeyedStateBackend<K>,
    timers: TimerService<K, ()>,
    processing_time: Timestamp,
}

pub(super) const OPENED: &str = "an operator is opened before anything else";

impl<K: Key> KeyedRuntime<K> {
    pub(super) fn open(context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<Self> {
        let mut backend = KeyedStateBackend::open(context, restored)?;
        let timers = backend.timers()?;
        Ok(Self { backend, timers, processing_time: context.processing_time })
    }

    pub(super) fn registry(&mut self) -> StateRegistry<'_, K> {
        StateRegistry::new(&mut self.backend)
    }

    /// The context of a value of this key.
    pub(super) fn begin_record<'a, Out>(
        &'a mut self,
        key: &'a K,
        timestamp: Timestamp,
        out: &'a mut Collector<Out>,
    ) -> Result<ProcessContext<'a, K, Out>> {
        self.backend.begin_record(self.processing_time)?;
        Ok(self.context(key, timestamp, out))
    }

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

    /// Changes the state of each key that has something in `state`.
    pub(super) fn apply_to_all_keys(
        &mut self,
        state: &impl KeyedState<()>,
        change: impl FnMut(&mut StateAccess<'_, K, ()>) -> Result<()>,
    ) -> Result<()> {
        state.apply_to_all_keys(&mut self.backend, &(), self.processing_time, change)
    }

    pub(super) fn watermark(&self) -> Timestamp {
        self.timers.watermark()
    }

    pub(super) fn processing_time(&self) -> Timestamp {
        self.processing_time
    }

    pub(super) fn set_processing_time(&mut self, now: Timestamp) {
        self.processing_time = now;
    }

    pub(super) fn advance_watermark<Out>(
        &mut self,
        watermark: Timestamp,
        out: &mut Collector<Out>,
        on_timer: impl FnMut(TimeDomain, &mut ProcessContext<'_, K, Out>) -> Result<()>,
    ) -> Result<()> {
        if !self.timers.advance_watermark(watermark) {
            return Ok(());
        }
        self.fire(TimeDomain::EventTime, out, TimerService::pop_due_event_time, on_timer)
    }

    pub(super) fn processing_time_deadline(&self) -> Option<Timestamp> {
        self.timers.processing_time_deadline()
    }

    pub(super) fn advance_processing_time<Out>(
        &mut self,
        now: Timestamp,
        out: &mut Collector<Out>,
        on_timer: impl FnMut(TimeDomain, &mut ProcessContext<'_, K, Out>) -> Result<()>,
    ) -> Result<()> {
        self.processing_time = self.processing_time.max(now);
        self.fire(TimeDomain::ProcessingTime, out, |timers| timers.pop_due_processing_time(now), on_timer)
    }

    fn fire<Out>(
        &mut self,
        domain: TimeDomain,
        out: &mut Collector<Out>,
        mut pop: impl FnMut(&mut TimerService<K, ()>) -> Option<Timer<K, ()>>,
        mut on_timer: impl FnMut(TimeDomain, &mut ProcessContext<'_, K, Out>) -> Result<()>,
    ) -> Result<()> {
        while let Some(timer) = pop(&mut self.timers) {
            let mut context = self.context(&timer.key, timer.timestamp, out);
            if domain == TimeDomain::ProcessingTime {
                // The time of a machine's clock is no event time.
                context.event_time = Timestamp::MIN;
            }
            on_timer(domain, &mut context)?;
        }
        Ok(())
    }

    pub(super) fn snapshot(&mut self) -> Result<AsyncSnapshot> {
        Ok(self.backend.snapshot_with_timers(&self.timers)?)
    }
}
