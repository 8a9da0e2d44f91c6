//! Results at the end of the input, or never.

use super::{Now, Trigger, TriggerContext, TriggerResult};
use crate::{
    error::Result,
    state::Key,
    time::{TimeDomain, Timestamp},
    window::Window,
};

/// Never fires: the default of the global window (Flink `NeverTrigger`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NeverTrigger;

impl<T, K: Key, W: Window> Trigger<T, K, W> for NeverTrigger {
    #[inline]
    fn on_element(&mut self, _: &T, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    #[inline]
    fn on_further_element(&self, _window: &W, _now: Now) -> Option<TriggerResult> {
        Some(TriggerResult::Continue)
    }

    fn on_event_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    fn on_processing_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn clear(&mut self, _context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        Ok(())
    }
}

/// Fires once, when a bounded input has ended (Flink `GlobalWindows.EndOfStreamTrigger`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndOfStreamTrigger;

impl<T, K: Key, W: Window> Trigger<T, K, W> for EndOfStreamTrigger {
    #[inline]
    fn on_element(
        &mut self,
        _element: &T,
        _timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        context.register_timer(TimeDomain::EventTime, Timestamp::MAX);
        Ok(TriggerResult::Continue)
    }

    #[inline]
    fn on_further_element(&self, _window: &W, _now: Now) -> Option<TriggerResult> {
        Some(TriggerResult::Continue)
    }

    fn on_event_time(&mut self, time: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(if time == Timestamp::MAX { TriggerResult::Fire } else { TriggerResult::Continue })
    }

    fn on_processing_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, _sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        context.register_timer(TimeDomain::EventTime, Timestamp::MAX);
        Ok(())
    }

    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        context.delete_timer(TimeDomain::EventTime, Timestamp::MAX);
        Ok(())
    }
}
