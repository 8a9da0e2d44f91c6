//! Results at the end of the window, by the machine's clock.

use super::{Now, Trigger, TriggerContext, TriggerResult};
use crate::{
    error::Result,
    state::Key,
    time::{TimeDomain, Timestamp},
    window::Window,
};

/// Fires when the machine's clock passes the end of the window (Flink `ProcessingTimeTrigger`).
///
/// The default of windows in processing time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessingTimeTrigger;

impl<T, K: Key, W: Window> Trigger<T, K, W> for ProcessingTimeTrigger {
    #[inline]
    fn on_element(
        &mut self,
        _element: &T,
        _timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        context.register_timer(TimeDomain::ProcessingTime, context.window.max_timestamp());
        Ok(TriggerResult::Continue)
    }

    /// The timer of the first element is there until the clock passes the end.
    #[inline]
    fn on_further_element(&self, window: &W, now: Now) -> Option<TriggerResult> {
        (window.max_timestamp() > now.processing_time).then_some(TriggerResult::Continue)
    }

    fn on_event_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    fn on_processing_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Fire)
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn on_merge(&mut self, _sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        let max_timestamp = context.window.max_timestamp();
        if max_timestamp > context.processing_time() {
            context.register_timer(TimeDomain::ProcessingTime, max_timestamp);
        }
        Ok(())
    }

    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        context.delete_timer(TimeDomain::ProcessingTime, context.window.max_timestamp());
        Ok(())
    }
}
