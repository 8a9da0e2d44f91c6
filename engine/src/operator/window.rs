//! The window operator: groups records by key and window and emits what the trigger releases.
//!
//! Guarantees: a record counts in each of its windows that is not cleaned up yet, and a record that comes too late for
//! all of them is reported, never silently dropped; results carry the last timestamp of their window; results that one watermark
//! releases come in the order (time, key group, key, window); contents and timers are in every snapshot.
//!
//! Contents are the keyed state [`WINDOW_CONTENTS`], with the window as namespace. Timers are registered when contents
//! are created, not per record. Flink: `WindowOperator`.

use std::{borrow::Cow, marker::PhantomData, time::Duration};

use super::{
    AsyncSnapshot, Collector, Operator, OperatorContext, OperatorSnapshot, TimestampedCollector, WindowContext,
    WindowFunction,
};
use crate::{
    backend::{Fold, KeyedStateBackend, StateId, ValueTable, Values},
    codec::Data,
    error::{Error, ErrorKind, Result},
    event::{Directive, InjectedFailure, Moment, Reporter, Step},
    id::CheckpointId,
    planted,
    record::{Batch, StreamRecord},
    state::{Key, KeySelector, StateDescriptor, StateKind},
    time::{TimeDomain, Timer, TimerService, Timestamp},
    window::{Arrival, Trigger, TriggerContext, TriggerResult, Window, WindowAssigner, cleanup_time},
};

/// Name of the state that holds the contents of windows.
pub const WINDOW_CONTENTS: &str = "window-contents";

/// See the module.
pub struct WindowOperator<In, S, A, T, F>
where
    In: Data,
    S: KeySelector<In>,
    A: WindowAssigner,
    F: WindowFunction<In, S::Key, A::Window>,
{
    key_selector: S,
    assigner: A,
    windowing: Windowing<T, F>,
    running: Option<Running<S::Key, A::Window, F::Contents>>,
}

/// What decides about a window.
struct Windowing<T, F> {
    trigger: T,
    function: F,
    domain: TimeDomain,
    allowed_lateness: Duration,
}

/// What an operator has between `open` and its end.
struct Running<K, W, C> {
    backend: KeyedStateBackend<K>,
    contents: StateId<W, C>,
    timers: TimerService<K, W>,
    processing_time: Timestamp,
    late: LateRecords,
}

struct LateRecords {
    dropped: u64,
    reporter: Reporter,
}

impl<In, S, A, T, F> WindowOperator<In, S, A, T, F>
where
    In: Data,
    S: KeySelector<In>,
    A: WindowAssigner,
    T: Trigger<A::Window>,
    F: WindowFunction<In, S::Key, A::Window>,
{
    /// An operator without allowed lateness.
    pub fn new(key_selector: S, assigner: A, trigger: T, function: F) -> Self {
        let domain = assigner.time_domain();
        let windowing = Windowing { trigger, function, domain, allowed_lateness: Duration::ZERO };
        Self { key_selector, assigner, windowing, running: None }
    }

    /// Keeps windows for that long after their end; each late element then gives the results again.
    ///
    /// Of no effect in processing time.
    #[must_use]
    pub fn with_allowed_lateness(mut self, allowed_lateness: Duration) -> Self {
        self.windowing.allowed_lateness = allowed_lateness;
        self
    }

    /// Records that came too late for all their windows since the operator was opened (Flink `numLateRecordsDropped`).
    pub fn late_records_dropped(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| running.late.dropped)
    }
}

impl<T, F> Windowing<T, F> {
    /// When everything about a window is forgotten, in the windows' own domain.
    #[inline]
    fn cleanup_time<W: Window>(&self, window: &W) -> Timestamp {
        match self.domain {
            TimeDomain::EventTime => cleanup_time(window.max_timestamp(), self.allowed_lateness),
            TimeDomain::ProcessingTime => window.max_timestamp(),
        }
    }

    #[inline]
    fn is_window_late<W: Window>(&self, window: &W, watermark: Timestamp) -> bool {
        self.domain == TimeDomain::EventTime
            && self.cleanup_time(window) <= watermark
            && !planted!("late_record_accepted_after_cleanup")
    }

    #[inline]
    fn is_element_late(&self, timestamp: Timestamp, watermark: Timestamp) -> bool {
        self.domain == TimeDomain::EventTime && cleanup_time(timestamp, self.allowed_lateness) <= watermark
    }

    /// Adds an element to a window and lets the trigger decide.
    #[inline]
    fn add_element<In, S, W>(
        &mut self,
        record: StreamRecord<In>,
        window: W,
        key_selector: &S,
        live: &mut Live<'_, S::Key, W, F::Contents>,
        out: &mut Collector<F::Out>,
    ) -> Result<()>
    where
        S: KeySelector<In>,
        W: Window,
        T: Trigger<W>,
        F: WindowFunction<In, S::Key, W>,
    {
        let StreamRecord { value, timestamp } = record;
        let place = live.table.locate(key_selector.key(&value), &window)?;
        let arrival = if place.is_held() { Arrival::Further } else { Arrival::First };
        let folded = live.table.fold(place, &window, value, &mut Contents::<S::Key, W, F>::of(&mut self.function))?;
        let key = folded.key.as_ref();
        let mut context =
            TriggerContext { timers: live.timers, key, window: &window, processing_time: live.processing_time };
        let result = self.trigger.on_element(timestamp, arrival, &mut context);
        if arrival == Arrival::First {
            let cleanup_time = self.cleanup_time(&window);
            if cleanup_time < Timestamp::MAX {
                context.register_timer(self.domain, cleanup_time);
            }
        }
        if result == TriggerResult::Continue {
            return Ok(());
        }
        let key = key.clone();
        self.carry_out(result, &key, &window, live, out)
    }

    /// A timer of a window has come.
    fn on_timer<In, K, W>(
        &mut self,
        domain: TimeDomain,
        timer: &Timer<K, W>,
        live: &mut Live<'_, K, W, F::Contents>,
        out: &mut Collector<F::Out>,
    ) -> Result<()>
    where
        K: Key,
        W: Window,
        T: Trigger<W>,
        F: WindowFunction<In, K, W>,
    {
        let Timer { timestamp, key, namespace: window } = timer;
        let mut context = TriggerContext { timers: live.timers, key, window, processing_time: live.processing_time };
        let result = match domain {
            TimeDomain::EventTime => self.trigger.on_event_time(*timestamp, &mut context),
            TimeDomain::ProcessingTime => self.trigger.on_processing_time(*timestamp, &mut context),
        };
        let is_cleanup = domain == self.domain && *timestamp == self.cleanup_time(window);
        if !is_cleanup {
            return self.carry_out(result, key, window, live, out);
        }
        self.trigger.clear(&mut context);
        // What is dropped anyway need not be copied for the results.
        let last = if result.is_fire() { TriggerResult::FireAndPurge } else { TriggerResult::Purge };
        self.carry_out(last, key, window, live, out)
    }

    /// Emits and drops contents as the trigger says. A window without contents has no results.
    fn carry_out<In, K, W>(
        &mut self,
        result: TriggerResult,
        key: &K,
        window: &W,
        live: &mut Live<'_, K, W, F::Contents>,
        out: &mut Collector<F::Out>,
    ) -> Result<()>
    where
        K: Key,
        W: Window,
        F: WindowFunction<In, K, W>,
    {
        let contents = match result {
            TriggerResult::Continue => return Ok(()),
            TriggerResult::Fire => live.table.get(key, window)?.map(Cow::into_owned),
            TriggerResult::Purge => {
                live.table.take(key, window)?;
                return Ok(());
            }
            TriggerResult::FireAndPurge => live.table.take(key, window)?,
        };
        let Some(contents) = contents else { return Ok(()) };
        let context =
            WindowContext { window, watermark: live.timers.watermark(), processing_time: live.processing_time };
        let mut out = TimestampedCollector::new(out, window.max_timestamp());
        self.function.emit(key, context, contents, &mut out)
    }
}

/// The operator's state while it handles a call, with the table looked up.
struct Live<'a, K: Key, W: Window, C: Data> {
    table: ValueTable<'a, K, W, C>,
    timers: &'a mut TimerService<K, W>,
    processing_time: Timestamp,
}

/// A window function as what folds elements into contents.
struct Contents<'a, K, W, F> {
    function: &'a mut F,
    window_of_key: PhantomData<fn() -> (K, W)>,
}

impl<'a, K, W, F> Contents<'a, K, W, F> {
    fn of(function: &'a mut F) -> Self {
        Self { function, window_of_key: PhantomData }
    }
}

impl<In, K, W, F: WindowFunction<In, K, W>> Fold<In, F::Contents> for Contents<'_, K, W, F> {
    #[inline]
    fn first(&mut self, input: In) -> F::Contents {
        self.function.first(input)
    }
    #[inline]
    fn add(&mut self, contents: &mut F::Contents, input: In) {
        self.function.add(contents, input);
    }
}

impl<K: Key, W: Window, C: Data> Running<K, W, C> {
    fn live(&mut self) -> (Live<'_, K, W, C>, &mut LateRecords) {
        let table = self.backend.values(self.contents);
        (Live { table, timers: &mut self.timers, processing_time: self.processing_time }, &mut self.late)
    }
}

impl LateRecords {
    fn drop_record(&mut self, timestamp: Timestamp, watermark: Timestamp) -> Result<()> {
        self.dropped += 1;
        let detail = format!("timestamp {timestamp} watermark {watermark}");
        match self.reporter.note(Moment::After, Step::LateRecord, None, &detail) {
            // A record is in the middle of a batch: there is nothing here that could wait.
            Directive::Continue | Directive::Hold(_) => Ok(()),
            Directive::Fail(reason) => Err(Error::new(ErrorKind::Unavailable, "the observer failed a window operator")
                .with_source(InjectedFailure { step: Step::LateRecord, reason })),
        }
    }
}

const OPENED: &str = "an operator is opened before anything else";

impl<In, S, A, T, F> Operator for WindowOperator<In, S, A, T, F>
where
    In: Data,
    S: KeySelector<In>,
    A: WindowAssigner,
    T: Trigger<A::Window>,
    F: WindowFunction<In, S::Key, A::Window>,
{
    type In = In;
    type Out = F::Out;

    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let mut backend = KeyedStateBackend::open(context, restored)?;
        let contents = backend.register_values(&StateDescriptor::new(WINDOW_CONTENTS), StateKind::Value)?;
        let timers = backend.timers()?;
        let late = LateRecords { dropped: 0, reporter: context.reporter.clone() };
        self.running = Some(Running { backend, contents, timers, processing_time: Timestamp::MIN, late });
        Ok(())
    }

    fn process(&mut self, batch: Batch<In>, out: &mut Collector<F::Out>) -> Result<()> {
        let (mut live, late) = self.running.as_mut().expect(OPENED).live();
        let watermark = live.timers.watermark();
        for record in batch {
            let timestamp = record.timestamp;
            let assigned_by = match self.windowing.domain {
                TimeDomain::EventTime if timestamp == Timestamp::MIN => return Err(no_timestamp()),
                TimeDomain::EventTime => timestamp,
                TimeDomain::ProcessingTime => live.processing_time,
            };
            let mut windows =
                self.assigner.assign(assigned_by).filter(|window| !self.windowing.is_window_late(window, watermark));
            let Some(mut window) = windows.next() else {
                if self.windowing.is_element_late(timestamp, watermark) {
                    late.drop_record(timestamp, watermark)?;
                }
                continue;
            };
            let mut further = Vec::new();
            // A record of one window, the common case, is moved into it without a copy.
            for next in windows {
                further.push(std::mem::replace(&mut window, next));
            }
            for window in further {
                self.windowing.add_element(record.clone(), window, &self.key_selector, &mut live, out)?;
            }
            self.windowing.add_element(record, window, &self.key_selector, &mut live, out)?;
        }
        Ok(())
    }

    fn advance_watermark(&mut self, watermark: Timestamp, out: &mut Collector<F::Out>) -> Result<()> {
        let (mut live, _) = self.running.as_mut().expect(OPENED).live();
        live.timers.set_watermark(watermark);
        while let Some(timer) = live.timers.pop_due_event_time() {
            self.windowing.on_timer(TimeDomain::EventTime, &timer, &mut live, out)?;
        }
        Ok(())
    }

    fn processing_time_deadline(&self) -> Option<Timestamp> {
        self.running.as_ref().and_then(|running| running.timers.processing_time_deadline())
    }

    fn advance_processing_time(&mut self, now: Timestamp, out: &mut Collector<F::Out>) -> Result<()> {
        let running = self.running.as_mut().expect(OPENED);
        running.processing_time = now;
        let (mut live, _) = running.live();
        while let Some(timer) = live.timers.pop_due_processing_time(now) {
            self.windowing.on_timer(TimeDomain::ProcessingTime, &timer, &mut live, out)?;
        }
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        let running = self.running.as_mut().expect(OPENED);
        Ok(running.backend.snapshot_with_timers(&running.timers)?)
    }
}

#[cold]
fn no_timestamp() -> Error {
    Error::new(ErrorKind::Configuration, "a record without a timestamp has come to windows in event time")
        .with_hint("give the stream a WatermarkStrategy with a timestamp assigner")
}

#[cfg(test)]
mod tests;
