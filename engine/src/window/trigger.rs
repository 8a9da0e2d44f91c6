//! Triggers: when a window's results are due (Flink `Trigger`, `EventTimeTrigger`).
//!
//! A trigger is told of each element and of each timer that it registered, and answers with a [`TriggerResult`].

use super::Window;
use crate::{
    state::Key,
    time::{TimeDomain, TimerService, Timestamp},
};

/// What becomes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// Its results go out; its contents stay, so that the next firing gives them again.
    Fire,
    /// Its contents are dropped.
    Purge,
    /// Its results go out and its contents are dropped.
    FireAndPurge,
}

impl TriggerResult {
    /// Whether results go out.
    #[inline]
    pub fn is_fire(self) -> bool {
        matches!(self, Self::Fire | Self::FireAndPurge)
    }

    /// Whether contents are dropped.
    #[inline]
    pub fn is_purge(self) -> bool {
        matches!(self, Self::Purge | Self::FireAndPurge)
    }
}

/// Whether an element made the contents of its window or joined them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The window had no contents.
    First,
    /// The window had contents already, and with them whatever its first element registered.
    Further,
}

/// What a trigger can see and do, for one key and window.
pub struct TriggerContext<'a, K, W> {
    pub(crate) timers: &'a mut TimerService<K, W>,
    pub(crate) key: &'a K,
    pub(crate) window: &'a W,
    pub(crate) processing_time: Timestamp,
}

impl<K: Key, W: Window> TriggerContext<'_, K, W> {
    /// The watermark that the operator has come to.
    #[inline]
    pub fn watermark(&self) -> Timestamp {
        self.timers.watermark()
    }

    /// The processing time, as last told to the operator.
    pub fn processing_time(&self) -> Timestamp {
        self.processing_time
    }

    /// Asks for a call of `on_event_time` or `on_processing_time`.
    pub fn register_timer(&mut self, domain: TimeDomain, timestamp: Timestamp) {
        self.timers.register(domain, timestamp, self.key, self.window);
    }

    /// Takes that back.
    pub fn delete_timer(&mut self, domain: TimeDomain, timestamp: Timestamp) {
        self.timers.delete(domain, timestamp, self.key, self.window);
    }
}

/// Decides when the results of windows are due.
pub trait Trigger<W: Window>: Send + 'static {
    /// An element was added to the window. `arrival` spares a trigger timers that are registered already.
    fn on_element<K: Key>(
        &mut self,
        timestamp: Timestamp,
        arrival: Arrival,
        context: &mut TriggerContext<'_, K, W>,
    ) -> TriggerResult;

    /// The watermark has come to `time`, for which there was a timer (of this trigger, or the cleanup timer).
    fn on_event_time<K: Key>(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> TriggerResult;

    /// Processing time has come to `time`, for which there was a timer.
    fn on_processing_time<K: Key>(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> TriggerResult;

    /// The window is gone: takes back what is still registered for it.
    fn clear<K: Key>(&mut self, context: &mut TriggerContext<'_, K, W>);
}

/// Fires when the watermark passes the end of the window, and for each late element after it.
///
/// The default of windows in event time.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventTimeTrigger;

impl<W: Window> Trigger<W> for EventTimeTrigger {
    #[inline]
    fn on_element<K: Key>(
        &mut self,
        _timestamp: Timestamp,
        arrival: Arrival,
        context: &mut TriggerContext<'_, K, W>,
    ) -> TriggerResult {
        let max_timestamp = context.window.max_timestamp();
        if max_timestamp <= context.watermark() {
            return TriggerResult::Fire;
        }
        if arrival == Arrival::First {
            context.register_timer(TimeDomain::EventTime, max_timestamp);
        }
        TriggerResult::Continue
    }

    #[inline]
    fn on_event_time<K: Key>(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> TriggerResult {
        if time == context.window.max_timestamp() { TriggerResult::Fire } else { TriggerResult::Continue }
    }

    fn on_processing_time<K: Key>(
        &mut self,
        _time: Timestamp,
        _context: &mut TriggerContext<'_, K, W>,
    ) -> TriggerResult {
        TriggerResult::Continue
    }

    fn clear<K: Key>(&mut self, context: &mut TriggerContext<'_, K, W>) {
        // A timer that is due has been removed already.
        let max_timestamp = context.window.max_timestamp();
        if max_timestamp > context.watermark() {
            context.delete_timer(TimeDomain::EventTime, max_timestamp);
        }
    }
}

/// Fires when the machine's clock passes the end of the window.
///
/// The default of windows in processing time.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessingTimeTrigger;

impl<W: Window> Trigger<W> for ProcessingTimeTrigger {
    #[inline]
    fn on_element<K: Key>(
        &mut self,
        _timestamp: Timestamp,
        arrival: Arrival,
        context: &mut TriggerContext<'_, K, W>,
    ) -> TriggerResult {
        if arrival == Arrival::First {
            context.register_timer(TimeDomain::ProcessingTime, context.window.max_timestamp());
        }
        TriggerResult::Continue
    }

    fn on_event_time<K: Key>(&mut self, _time: Timestamp, _context: &mut TriggerContext<'_, K, W>) -> TriggerResult {
        TriggerResult::Continue
    }

    fn on_processing_time<K: Key>(
        &mut self,
        _time: Timestamp,
        _context: &mut TriggerContext<'_, K, W>,
    ) -> TriggerResult {
        TriggerResult::Fire
    }

    fn clear<K: Key>(&mut self, context: &mut TriggerContext<'_, K, W>) {
        context.delete_timer(TimeDomain::ProcessingTime, context.window.max_timestamp());
    }
}

/// The trigger that windows have unless another is given: [`EventTimeTrigger`] or [`ProcessingTimeTrigger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultTrigger {
    /// Which clock the windows are about.
    pub domain: TimeDomain,
}

impl<W: Window> Trigger<W> for DefaultTrigger {
    #[inline]
    fn on_element<K: Key>(
        &mut self,
        timestamp: Timestamp,
        arrival: Arrival,
        context: &mut TriggerContext<'_, K, W>,
    ) -> TriggerResult {
        match self.domain {
            TimeDomain::EventTime => EventTimeTrigger.on_element(timestamp, arrival, context),
            TimeDomain::ProcessingTime => ProcessingTimeTrigger.on_element(timestamp, arrival, context),
        }
    }

    fn on_event_time<K: Key>(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> TriggerResult {
        match self.domain {
            TimeDomain::EventTime => EventTimeTrigger.on_event_time(time, context),
            TimeDomain::ProcessingTime => ProcessingTimeTrigger.on_event_time(time, context),
        }
    }

    fn on_processing_time<K: Key>(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> TriggerResult {
        match self.domain {
            TimeDomain::EventTime => EventTimeTrigger.on_processing_time(time, context),
            TimeDomain::ProcessingTime => ProcessingTimeTrigger.on_processing_time(time, context),
        }
    }

    fn clear<K: Key>(&mut self, context: &mut TriggerContext<'_, K, W>) {
        match self.domain {
            TimeDomain::EventTime => EventTimeTrigger.clear(context),
            TimeDomain::ProcessingTime => ProcessingTimeTrigger.clear(context),
        }
    }
}
