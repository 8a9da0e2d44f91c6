//! The window operator: groups records by key and window and emits what the trigger releases.
//!
//! Guarantees: a record counts in each of its windows that is not cleaned up yet, and a record that comes too late for
//! all of them goes to the side output or is counted and reported, never silently dropped; results carry the last
//! timestamp of their window; results that one watermark releases come in the order (time, key group, key, window);
//! contents, trigger state, merged windows and timers are in every snapshot.
//!
//! ```text
//!               ┌ in time, contents there, nothing for the trigger to do ─▶ add to contents      (no key is copied)
//!  record ─▶ windows ┬ in time ─▶ [merge] ─▶ trigger ─▶ cleanup timer ─▶ add ─▶ fire? ─▶ purge?
//!                    └ late for all ─▶ side output, or dropped and counted
//!  timer  ─▶ trigger ─▶ fire? ─▶ purge? ─▶ if it is the cleanup time: contents, trigger, function are cleared
//! ```
//!
//! Contents are the keyed state [`WINDOW_CONTENTS`], with the window as namespace; where windows merge, with the state
//! window that [`MERGING_WINDOW_SET`] names. Flink: `WindowOperator`, `EvictingWindowOperator`.

mod assigning;
mod context;
mod error;
mod full;
mod function;
mod in_flight;
mod incremental;
mod late;
mod windowing;

pub use context::WindowContext;
pub use error::WindowError;
pub use full::{AtFire, EvictingWindow, FullWindow};
pub use function::{AfterFiring, Apply, EmitResult, ProcessWindowFunction, WindowFunction};
pub use in_flight::MERGING_WINDOW_SET;
pub use incremental::{Aggregate, Incremental, Reduce, Then};

use std::time::Duration;

use self::{
    in_flight::InFlight,
    late::Unassigned,
    windowing::{Lateness, Live, Place, Windowing},
};
use super::{AsyncSnapshot, Collector, Operator, OperatorContext, OperatorSnapshot, OutputTag};
use crate::{
    backend::{KeyedStateBackend, StateRegistry},
    codec::Data,
    error::Result,
    id::CheckpointId,
    planted,
    record::Batch,
    state::KeySelector,
    time::{TimeDomain, Timer, TimerService, Timestamp},
    window::{Trigger, Window, WindowAssigner},
};

/// Name of the state that holds the contents of windows.
pub const WINDOW_CONTENTS: &str = "window-contents";

/// See the module.
pub struct WindowOperator<In, S, A, R, F>
where
    In: Data,
    S: KeySelector<In>,
    A: WindowAssigner<In>,
    F: WindowFunction<In, S::Key, A::Window>,
{
    key_selector: S,
    assigner: A,
    windowing: Windowing<R, F, F::Id>,
    late_tag: Option<OutputTag<In>>,
    running: Option<Running<S::Key, A::Window>>,
}

/// What an operator has between `open` and its end.
struct Running<K, W> {
    live: Live<K, W>,
    in_flight: Option<InFlight<W>>,
    /// Windows that end at or before this may have fired before the restore: their triggers must be asked again.
    fired_before: Timestamp,
    unassigned: Unassigned,
}

const OPENED: &str = "an operator is opened before anything else";

impl<In, S, A, R, F> WindowOperator<In, S, A, R, F>
where
    In: Data,
    S: KeySelector<In>,
    A: WindowAssigner<In>,
    R: Trigger<In, S::Key, A::Window>,
    F: WindowFunction<In, S::Key, A::Window>,
{
    /// An operator without allowed lateness.
    pub fn new(key_selector: S, assigner: A, trigger: R, function: F) -> Self {
        let lateness = Lateness { domain: assigner.time_domain(), allowed: Duration::ZERO };
        let merging = assigner.is_merging();
        let windowing = Windowing { trigger, function, lateness, merging, contents: None };
        Self { key_selector, assigner, windowing, late_tag: None, running: None }
    }

    /// Keeps windows for that long after their end; each late element then gives the results again.
    ///
    /// Of no effect in processing time.
    #[must_use]
    pub fn with_allowed_lateness(mut self, allowed_lateness: Duration) -> Self {
        self.windowing.lateness.allowed = allowed_lateness;
        self
    }

    /// Sends records that come too late for all their windows to a side output, with their own timestamps.
    #[must_use]
    pub fn with_late_side_output(mut self, tag: Option<OutputTag<In>>) -> Self {
        self.late_tag = tag;
        self
    }

    /// Whether trigger and windows fit together. `open` asks this too.
    ///
    /// # Errors
    /// If the windows merge and the trigger cannot.
    pub fn check(&self) -> Result<(), WindowError> {
        if self.windowing.merging && !self.windowing.trigger.can_merge() {
            return Err(WindowError::TriggerCannotMerge);
        }
        Ok(())
    }

    /// Records that came too late for all their windows and went to no side output, since the operator was opened
    /// (Flink `numLateRecordsDropped`).
    pub fn late_records_dropped(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| running.unassigned.late_dropped)
    }

    /// Records that came in time but belong to no window, since the operator was opened: those in the gaps of sliding
    /// windows whose slide is longer than their size.
    pub fn records_without_window(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| running.unassigned.without_window)
    }

    /// A timer has come.
    fn on_timer(
        &mut self,
        domain: TimeDomain,
        timer: &Timer<S::Key, A::Window>,
        running: &mut Running<S::Key, A::Window>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        let Timer { timestamp, key, namespace: window } = timer;
        let Running { live, in_flight, .. } = running;
        let Some(in_flight) = in_flight else {
            let place = Place { key, window, state_window: window };
            return self.windowing.on_timer::<In, _, _>((domain, *timestamp), place, live, out).map(|_| ());
        };
        let mut set = in_flight.load(live, key)?;
        // A timer of a window that has become a part of another one.
        let Some(state_window) = set.state_window(window) else { return Ok(()) };
        let is_over = self.windowing.on_timer::<In, _, _>(
            (domain, *timestamp),
            Place { key, window, state_window },
            live,
            out,
        )?;
        if is_over {
            set.retire(window);
            if !planted!("retired_session_stays_in_the_merging_set") {
                in_flight.store(live, key, set)?;
            }
        }
        Ok(())
    }

    /// The last end of windows that may have fired, and were kept nevertheless, when the snapshot was taken.
    fn fired_before(&self, timers: &TimerService<S::Key, A::Window>) -> Timestamp {
        let lateness = self.windowing.lateness;
        if lateness.domain == TimeDomain::ProcessingTime {
            // The timer that ends a window tells nothing of the watermark.
            let windows = timers.iter(TimeDomain::ProcessingTime).map(|(_, _, window)| window.max_timestamp());
            return windows.max().unwrap_or(Timestamp::MIN);
        }
        if lateness.allowed.is_zero() {
            // The timer that ends a window is the one that fires it.
            return Timestamp::MIN;
        }
        if lateness.allowed.as_millis() > i64::MAX as u128 / 2 {
            // Windows that are kept for ever have no timer that tells of them.
            return Timestamp::MAX;
        }
        let ends: std::collections::BTreeSet<_> = timers
            .iter(TimeDomain::EventTime)
            .filter(|(time, _, window)| *time == window.max_timestamp())
            .map(|(_, key, window)| (key, window))
            .collect();
        let fired = timers
            .iter(TimeDomain::EventTime)
            .filter(|(time, key, window)| *time == lateness.cleanup_time(*window) && !ends.contains(&(*key, *window)));
        fired.map(|(_, _, window)| window.max_timestamp()).max().unwrap_or(Timestamp::MIN)
    }

    /// Runs `handle` with what the open operator has.
    #[inline]
    fn with_running<T>(
        &mut self,
        handle: impl FnOnce(&mut Self, &mut Running<S::Key, A::Window>) -> Result<T>,
    ) -> Result<T> {
        let mut running = self.running.take().expect(OPENED);
        let outcome = handle(self, &mut running);
        self.running = Some(running);
        outcome
    }
}

impl<In, S, A, R, F> Operator for WindowOperator<In, S, A, R, F>
where
    In: Data,
    S: KeySelector<In>,
    A: WindowAssigner<In>,
    R: Trigger<In, S::Key, A::Window>,
    F: WindowFunction<In, S::Key, A::Window>,
{
    type In = In;
    type Out = F::Out;

    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        self.check()?;
        let is_restored = restored.is_some();
        let mut backend = KeyedStateBackend::open(context, restored)?;
        self.assigner.open(context.subtask_index);
        self.windowing.contents = Some(self.windowing.function.open(&mut backend)?);
        self.windowing.trigger.open(&mut StateRegistry::new(&mut backend))?;
        let in_flight = if self.windowing.merging { Some(InFlight::open(&mut backend)?) } else { None };
        let timers = backend.timers()?;
        let fired_before = if is_restored { self.fired_before(&timers) } else { Timestamp::MIN };
        let live = Live { backend, timers, processing_time: context.processing_time };
        let unassigned = Unassigned::new(context.reporter.clone());
        self.running = Some(Running { live, in_flight, fired_before, unassigned });
        Ok(())
    }

    fn set_processing_time(&mut self, now: Timestamp) {
        self.running.as_mut().expect(OPENED).live.processing_time = now;
    }

    fn process(&mut self, batch: Batch<In>, out: &mut Collector<F::Out>) -> Result<()> {
        self.with_running(|operator, running| {
            running.live.backend.begin_record(running.live.processing_time)?;
            let mut records = batch.into_iter();
            if operator.windowing.merging {
                return records.try_for_each(|record| operator.process_merging(record, running, out));
            }
            while let Some(assigned) = operator.process_further(&mut records, running)? {
                operator.process_assigned(assigned, running, out)?;
            }
            Ok(())
        })
    }

    fn advance_watermark(&mut self, watermark: Timestamp, out: &mut Collector<F::Out>) -> Result<()> {
        self.with_running(|operator, running| {
            if !running.live.timers.advance_watermark(watermark) {
                return Ok(());
            }
            while let Some(timer) = running.live.timers.pop_due_event_time() {
                operator.on_timer(TimeDomain::EventTime, &timer, running, out)?;
            }
            Ok(())
        })
    }

    fn processing_time_deadline(&self) -> Option<Timestamp> {
        self.running.as_ref().and_then(|running| running.live.timers.processing_time_deadline())
    }

    fn advance_processing_time(&mut self, now: Timestamp, out: &mut Collector<F::Out>) -> Result<()> {
        self.with_running(|operator, running| {
            running.live.processing_time = running.live.processing_time.max(now);
            let until = if planted!("processing_timer_fires_early") { Timestamp(now.0.saturating_add(1)) } else { now };
            while let Some(timer) = running.live.timers.pop_due_processing_time(until) {
                operator.on_timer(TimeDomain::ProcessingTime, &timer, running, out)?;
            }
            Ok(())
        })
    }

    fn snapshot(&mut self, _checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        let Live { backend, timers, .. } = &mut self.running.as_mut().expect(OPENED).live;
        let snapshot = backend.snapshot_with_timers(timers)?;
        if planted!("session_merge_mapping_not_in_snapshot") {
            return Ok(Box::new(move || {
                let mut snapshot = snapshot()?;
                snapshot.keyed.remove(MERGING_WINDOW_SET);
                Ok(snapshot)
            }));
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests;
