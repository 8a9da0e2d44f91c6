//! What happens to one key and window: an element, a timer, a merge.

use super::{AfterFiring, WindowContext, WindowError, WindowFunction};
use crate::{
    backend::KeyedStateBackend,
    codec::Data,
    error::Result,
    operator::{Collector, TimestampedCollector},
    planted,
    record::StreamRecord,
    state::{Key, KeySelector},
    time::{TimeDomain, TimerService, Timestamp},
    window::{Merge, Now, Trigger, TriggerContext, TriggerResult, Window, cleanup_time},
};

/// When windows and elements are late.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lateness {
    pub(super) domain: TimeDomain,
    pub(super) allowed: std::time::Duration,
}

impl Lateness {
    /// When everything about a window is forgotten, in the windows' own domain.
    #[inline]
    pub(super) fn cleanup_time<W: Window>(self, window: &W) -> Timestamp {
        match self.domain {
            TimeDomain::EventTime => cleanup_time(window.max_timestamp(), self.allowed),
            TimeDomain::ProcessingTime => window.max_timestamp(),
        }
    }

    #[inline]
    fn is_over<W: Window>(self, window: &W, watermark: Timestamp) -> bool {
        let cleanup_time = self.cleanup_time(window);
        cleanup_time < watermark || cleanup_time == watermark && !planted!("window_open_at_its_cleanup_time")
    }

    #[inline]
    pub(super) fn is_window_late<W: Window>(self, window: &W, watermark: Timestamp) -> bool {
        self.domain == TimeDomain::EventTime
            && self.is_over(window, watermark)
            && !planted!("late_record_accepted_after_cleanup")
    }

    #[inline]
    pub(super) fn is_element_late(self, timestamp: Timestamp, watermark: Timestamp) -> bool {
        self.domain == TimeDomain::EventTime && cleanup_time(timestamp, self.allowed) <= watermark
    }
}

/// The operator's state and times.
pub(super) struct Live<K, W> {
    pub(super) backend: KeyedStateBackend<K>,
    pub(super) timers: TimerService<K, W>,
    pub(super) processing_time: Timestamp,
}

impl<K: Key, W: Window> Live<K, W> {
    pub(super) fn now(&self) -> Now {
        Now { watermark: self.timers.watermark(), processing_time: self.processing_time }
    }

    fn of_trigger<'a>(&'a mut self, key: &'a K, window: &'a W) -> TriggerContext<'a, K, W> {
        let Self { backend, timers, processing_time } = self;
        TriggerContext::new(backend, timers, key, window, *processing_time)
    }
}

/// What decides about a window.
pub(super) struct Windowing<R, F, Id> {
    pub(super) trigger: R,
    pub(super) function: F,
    pub(super) lateness: Lateness,
    pub(super) merging: bool,
    /// The state of the contents, once the operator is open.
    pub(super) contents: Option<Id>,
}

/// A key, a window of it, and where its contents are.
pub(super) struct Place<'a, K, W> {
    pub(super) key: &'a K,
    pub(super) window: &'a W,
    pub(super) state_window: &'a W,
}

impl<K, W> Clone for Place<'_, K, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, W> Copy for Place<'_, K, W> {}

impl<R, F, Id: Copy> Windowing<R, F, Id> {
    #[inline]
    pub(super) fn contents(&self) -> Id {
        self.contents.expect(super::OPENED)
    }

    /// A further element of a window that need not disturb the trigger; gives it back if there is no such.
    #[inline]
    pub(super) fn add_further<In, S, W>(
        &mut self,
        record: StreamRecord<In>,
        window: &W,
        key_selector: &S,
        live: &mut Live<S::Key, W>,
        out: &mut Collector<F::Out>,
    ) -> Result<Option<StreamRecord<In>>>
    where
        In: Data,
        S: KeySelector<In>,
        W: Window,
        R: Trigger<In, S::Key, W>,
        F: WindowFunction<In, S::Key, W, Id = Id>,
    {
        let Some(result) = self.trigger.on_further_element(window, live.now()) else {
            return Ok(Some(record));
        };
        let key = (result != TriggerResult::Continue).then(|| key_selector.key(&record.value).into_owned());
        let contents = self.contents();
        let back =
            self.function.add_further(&mut F::table(contents, &mut live.backend), key_selector, window, record)?;
        if let (None, Some(key)) = (&back, &key) {
            self.carry_out::<In, _, _>(result, Place { key, window, state_window: window }, live, out)?;
        }
        Ok(back)
    }

    /// Adds an element to a window and lets the trigger decide.
    pub(super) fn add<In, K, W>(
        &mut self,
        record: StreamRecord<In>,
        place: Place<'_, K, W>,
        live: &mut Live<K, W>,
        out: &mut Collector<F::Out>,
    ) -> Result<()>
    where
        In: Data,
        K: Key,
        W: Window,
        R: Trigger<In, K, W>,
        F: WindowFunction<In, K, W, Id = Id>,
    {
        let Place { key, window, state_window } = place;
        let mut context = live.of_trigger(key, window);
        let result = self.trigger.on_element(&record.value, record.timestamp, &mut context)?;
        let cleanup_time = self.cleanup_timer(window);
        if cleanup_time < Timestamp::MAX {
            context.register_timer(self.lateness.domain, cleanup_time);
        }
        let contents = self.contents();
        self.function.add(&mut F::table(contents, &mut live.backend), key, state_window, record)?;
        self.carry_out::<In, _, _>(result, place, live, out)
    }

    /// Whether an element that makes `from` grow to `to`, or not at all, does nothing but move timers.
    #[inline]
    pub(super) fn only_moves_timers<In, K, W>(&self, from: &W, to: &W, now: Now) -> bool
    where
        K: Key,
        W: Window,
        R: Trigger<In, K, W>,
    {
        // Such a window is in time: its clean-up comes no earlier than its end.
        self.lateness.domain == TimeDomain::EventTime
            && to.max_timestamp() > now.watermark
            && self.trigger.needs_only_its_timer(from, to, now)
    }

    /// Moves the timers of a window with it.
    #[inline]
    pub(super) fn move_timers<K: Key, W: Window>(&self, key: &K, from: &W, to: &W, timers: &mut TimerService<K, W>) {
        let domain = TimeDomain::EventTime;
        timers.replace(domain, key, (from.max_timestamp(), from), (to.max_timestamp(), to));
        let (cleanup, next_cleanup) = (self.cleanup_timer(from), self.cleanup_timer(to));
        if cleanup == from.max_timestamp() && next_cleanup == to.max_timestamp() {
            return;
        }
        if next_cleanup < Timestamp::MAX {
            timers.replace(domain, key, (cleanup, from), (next_cleanup, to));
        } else {
            timers.delete(domain, cleanup, key, from);
        }
    }

    /// A timer of a window has come. True if that was the end of the window.
    pub(super) fn on_timer<In, K, W>(
        &mut self,
        (domain, time): (TimeDomain, Timestamp),
        place: Place<'_, K, W>,
        live: &mut Live<K, W>,
        out: &mut Collector<F::Out>,
    ) -> Result<bool>
    where
        In: Data,
        K: Key,
        W: Window,
        R: Trigger<In, K, W>,
        F: WindowFunction<In, K, W, Id = Id>,
    {
        let Place { key, window, .. } = place;
        let mut context = live.of_trigger(key, window);
        let result = match domain {
            TimeDomain::EventTime => self.trigger.on_event_time(time, &mut context)?,
            TimeDomain::ProcessingTime => self.trigger.on_processing_time(time, &mut context)?,
        };
        if domain != self.lateness.domain || time != self.cleanup_timer(window) {
            self.carry_out::<In, _, _>(result, place, live, out)?;
            return Ok(false);
        }
        // What is dropped anyway need not be copied for the results.
        let last = if result.is_fire() { TriggerResult::FireAndPurge } else { TriggerResult::Purge };
        self.carry_out::<In, _, _>(last, place, live, out)?;
        self.trigger.clear(&mut live.of_trigger(key, window))?;
        self.function.clear(&mut self.of_function(key, window, live))?;
        Ok(true)
    }

    /// Windows have become one: their trigger state, timers and contents follow.
    pub(super) fn merge<In, K, W>(&mut self, key: &K, merge: &Merge<W>, live: &mut Live<K, W>) -> Result<()>
    where
        In: Data,
        K: Key,
        W: Window,
        R: Trigger<In, K, W>,
        F: WindowFunction<In, K, W, Id = Id>,
    {
        let Merge { result, sources, state_window, merged_state_windows } = merge;
        let (is_over, time) = match self.lateness.domain {
            TimeDomain::EventTime => {
                let watermark = live.timers.watermark();
                (self.lateness.cleanup_time(result) <= watermark, watermark)
            }
            TimeDomain::ProcessingTime => (result.max_timestamp() <= live.processing_time, live.processing_time),
        };
        if is_over {
            return Err(WindowError::MergedIntoThePast { window: result.to_string(), time }.into());
        }
        self.trigger.on_merge(sources, &mut live.of_trigger(key, result))?;
        for source in sources.iter().filter(|source| *source != result) {
            self.trigger.clear(&mut live.of_trigger(key, source))?;
            live.timers.delete(self.lateness.domain, self.cleanup_timer(source), key, source);
        }
        // A session that grows keeps its contents where they are.
        if merged_state_windows.is_empty() {
            return Ok(());
        }
        let mut table = F::table(self.contents(), &mut live.backend);
        self.function.merge(&mut table, key, state_window, merged_state_windows)
    }

    /// Emits and drops contents as the trigger says. A window without contents has no results.
    fn carry_out<In, K, W>(
        &mut self,
        result: TriggerResult,
        place: Place<'_, K, W>,
        live: &mut Live<K, W>,
        out: &mut Collector<F::Out>,
    ) -> Result<()>
    where
        In: Data,
        K: Key,
        W: Window,
        R: Trigger<In, K, W>,
        F: WindowFunction<In, K, W, Id = Id>,
    {
        let Place { key, window, state_window } = place;
        let contents = self.contents();
        let after = match result {
            TriggerResult::Continue => return Ok(()),
            TriggerResult::Purge => {
                return self.function.purge(&mut F::table(contents, &mut live.backend), key, state_window);
            }
            TriggerResult::Fire => AfterFiring::Keep,
            TriggerResult::FireAndPurge => AfterFiring::Drop,
        };
        let mut context = self.of_function(key, window, live);
        let mut out = TimestampedCollector::new(out, window.max_timestamp());
        self.function.fire(contents, state_window, after, &mut context, &mut out)?;
        if after == AfterFiring::Drop && planted!("purge_clears_trigger_state") {
            self.trigger.clear(&mut live.of_trigger(key, window))?;
        }
        Ok(())
    }

    /// When the timer comes that ends a window.
    fn cleanup_timer<W: Window>(&self, window: &W) -> Timestamp {
        if planted!("cleanup_timer_ignores_lateness") {
            return window.max_timestamp();
        }
        self.lateness.cleanup_time(window)
    }

    fn of_function<'a, K: Key, W: Window>(
        &self,
        key: &'a K,
        window: &'a W,
        live: &'a mut Live<K, W>,
    ) -> WindowContext<'a, K, W> {
        WindowContext {
            window,
            watermark: live.timers.watermark(),
            processing_time: live.processing_time,
            backend: &mut live.backend,
            key,
            merging: self.merging,
        }
    }
}
