//! Results again and again while a window is open.

use std::time::Duration;

use super::{Now, Trigger, TriggerContext, TriggerResult};
use crate::{
    backend::{StateRegistry, ValueState},
    error::Result,
    planted,
    state::{Key, ValueStateDescriptor},
    time::{TimeDomain, Timestamp},
    window::Window,
};

/// When a window fires next, kept per window.
#[derive(Debug)]
struct NextFire<W> {
    domain: TimeDomain,
    interval_ms: i64,
    state: Option<ValueState<Timestamp, W>>,
}

impl<W: Window> NextFire<W> {
    fn new(domain: TimeDomain, interval: Duration) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        Self { domain, interval_ms, state: None }
    }

    fn open<K: Key>(&mut self, name: &str, states: &mut StateRegistry<'_, K>) -> Result<()> {
        self.state = Some(states.value(&ValueStateDescriptor::new(name))?);
        Ok(())
    }

    fn state(&self) -> &ValueState<Timestamp, W> {
        self.state.as_ref().expect(super::OPENED)
    }

    /// Asks for the first firing of a window, at the next multiple of the interval after `now`.
    fn start<K: Key>(&self, now: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        if self.state().value(context)?.is_some() {
            return Ok(());
        }
        self.register(Timestamp(now.0 - now.0 % self.interval_ms), context)
    }

    /// Asks for a firing one interval after `time`, but not after the end of the window.
    fn register<K: Key>(&self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        let end = context.window.max_timestamp();
        // The input has ended: a window without an end would fire until the end of time.
        let is_over = self.domain == TimeDomain::EventTime && context.watermark() == Timestamp::MAX;
        let next = match is_over && end == Timestamp::MAX {
            true => end,
            false => Timestamp(time.0.saturating_add(self.interval_ms)).min(end),
        };
        self.state().update(context, next)?;
        context.register_timer(self.domain, next);
        Ok(())
    }

    /// A timer has come. Whether it was this one; then the next one is registered.
    fn is_due<K: Key>(&self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<bool> {
        if self.state().value(context)? != Some(time) {
            return Ok(false);
        }
        if time < context.window.max_timestamp() {
            self.register(time, context)?;
        } else {
            self.state().clear(context)?;
        }
        Ok(true)
    }

    /// The earliest of the merged windows' firings counts.
    fn merge<K: Key>(&self, sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        let is_late = self.domain == TimeDomain::EventTime
            && planted!("continuous_trigger_fires_at_the_later_time_after_a_merge");
        let first = if is_late { Timestamp::max } else { Timestamp::min };
        if let Some(next) = context.merge_values(self.state(), sources, first)? {
            if self.domain == TimeDomain::ProcessingTime
                && planted!("continuous_processing_time_trigger_loses_timer_on_merge")
            {
                return Ok(());
            }
            context.register_timer(self.domain, next);
        }
        Ok(())
    }

    fn clear<K: Key>(&self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        if let Some(next) = self.state().value(context)? {
            context.delete_timer(self.domain, next);
            self.state().clear(context)?;
        }
        Ok(())
    }
}

macro_rules! clone_by_interval {
    ($trigger:ident) => {
        impl<W: Window> Clone for $trigger<W> {
            fn clone(&self) -> Self {
                Self(NextFire { domain: self.0.domain, interval_ms: self.0.interval_ms, state: None })
            }
        }
    };
}

/// Fires whenever the watermark passes a multiple of an interval, and at the end of the window (Flink
/// `ContinuousEventTimeTrigger`).
///
/// At the end of the input a window without an end fires twice more and no further; in Flink it would fire for ever.
#[derive(Debug)]
pub struct ContinuousEventTimeTrigger<W>(NextFire<W>);

clone_by_interval!(ContinuousEventTimeTrigger);

impl<W: Window> ContinuousEventTimeTrigger<W> {
    /// Name of the trigger's state.
    pub const STATE: &'static str = "trigger-next-event-time";

    /// Fires at multiples of `interval`, at least a millisecond.
    pub fn of(interval: Duration) -> Self {
        Self(NextFire::new(TimeDomain::EventTime, interval))
    }
}

impl<T, K: Key, W: Window> Trigger<T, K, W> for ContinuousEventTimeTrigger<W> {
    fn open(&mut self, states: &mut StateRegistry<'_, K>) -> Result<()> {
        self.0.open(Self::STATE, states)
    }

    fn on_element(
        &mut self,
        _element: &T,
        timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        let max_timestamp = context.window.max_timestamp();
        if max_timestamp <= context.watermark() {
            return Ok(TriggerResult::Fire);
        }
        context.register_timer(TimeDomain::EventTime, max_timestamp);
        self.0.start(timestamp, context)?;
        Ok(TriggerResult::Continue)
    }

    /// Purging a window does not make it forget when it fires next: that is only cleared with the window.
    #[inline]
    fn on_further_element(&self, window: &W, now: Now) -> Option<TriggerResult> {
        Some(if window.max_timestamp() <= now.watermark { TriggerResult::Fire } else { TriggerResult::Continue })
    }

    fn on_event_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        let due = time == context.window.max_timestamp() || self.0.is_due(time, context)?;
        Ok(if due { TriggerResult::Fire } else { TriggerResult::Continue })
    }

    fn on_processing_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        self.0.merge(sources, context)
    }

    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        self.0.clear(context)
    }
}

/// Fires whenever the machine's clock passes a multiple of an interval, and at the end of the window (Flink
/// `ContinuousProcessingTimeTrigger`).
///
/// A window in event time may be over by the clock; then it fires as soon as the clock is looked at again.
#[derive(Debug)]
pub struct ContinuousProcessingTimeTrigger<W>(NextFire<W>);

clone_by_interval!(ContinuousProcessingTimeTrigger);

impl<W: Window> ContinuousProcessingTimeTrigger<W> {
    /// Name of the trigger's state.
    pub const STATE: &'static str = "trigger-next-processing-time";

    /// Fires at multiples of `interval`, at least a millisecond.
    pub fn of(interval: Duration) -> Self {
        Self(NextFire::new(TimeDomain::ProcessingTime, interval))
    }
}

impl<T, K: Key, W: Window> Trigger<T, K, W> for ContinuousProcessingTimeTrigger<W> {
    fn open(&mut self, states: &mut StateRegistry<'_, K>) -> Result<()> {
        self.0.open(Self::STATE, states)
    }

    fn on_element(
        &mut self,
        _element: &T,
        _timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        self.0.start(context.processing_time(), context)?;
        Ok(TriggerResult::Continue)
    }

    fn on_event_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    fn on_processing_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(if self.0.is_due(time, context)? { TriggerResult::Fire } else { TriggerResult::Continue })
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        self.0.merge(sources, context)
    }

    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        self.0.clear(context)
    }
}
