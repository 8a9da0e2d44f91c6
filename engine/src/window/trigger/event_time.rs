//! Results at the end of the window, by the watermark.

use super::{Now, Trigger, TriggerContext, TriggerResult};
use crate::{
    error::Result,
    state::Key,
    time::{TimeDomain, Timestamp},
    window::Window,
};

/// Fires when the watermark passes the end of the window, and for each late element after it (Flink
/// `EventTimeTrigger`).
///
/// The default of windows in event time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventTimeTrigger;

impl<T, K: Key, W: Window> Trigger<T, K, W> for EventTimeTrigger {
    #[inline]
    fn on_element(
        &mut self,
        _element: &T,
        _timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        let max_timestamp = context.window.max_timestamp();
        if max_timestamp <= context.watermark() {
            return Ok(TriggerResult::Fire);
        }
        context.register_timer(TimeDomain::EventTime, max_timestamp);
        Ok(TriggerResult::Continue)
    }

    #[inline]
    fn on_further_element(&self, window: &W, now: Now) -> Option<TriggerResult> {
        Some(if window.max_timestamp() <= now.watermark { TriggerResult::Fire } else { TriggerResult::Continue })
    }

    #[inline]
    fn needs_only_its_timer(&self, from: &W, to: &W, now: Now) -> bool {
        from.max_timestamp() > now.watermark && to.max_timestamp() >= from.max_timestamp()
    }

    fn on_event_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        let is_end = time == context.window.max_timestamp();
        Ok(if is_end { TriggerResult::Fire } else { TriggerResult::Continue })
    }

    fn on_processing_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, _sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        // A window that is over already fires with the element that makes it grow.
        let max_timestamp = context.window.max_timestamp();
        if max_timestamp > context.watermark() {
            context.register_timer(TimeDomain::EventTime, max_timestamp);
        }
        Ok(())
    }

    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        // A timer that is due has been removed already.
        let max_timestamp = context.window.max_timestamp();
        if max_timestamp > context.watermark() {
            context.delete_timer(TimeDomain::EventTime, max_timestamp);
        }
        Ok(())
    }
}
