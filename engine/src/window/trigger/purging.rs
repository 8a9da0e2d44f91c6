//! Windows that are emptied whenever they fire.

use super::{Now, Trigger, TriggerContext, TriggerResult};
use crate::{backend::StateRegistry, error::Result, state::Key, time::Timestamp, window::Window};

/// Decides as another trigger does, but drops the contents with each firing (Flink `PurgingTrigger`).
#[derive(Debug, Clone, Copy, Default)]
pub struct PurgingTrigger<R>(R);

impl<R> PurgingTrigger<R> {
    /// Purges where `inner` fires.
    pub fn of(inner: R) -> Self {
        Self(inner)
    }
}

#[inline]
fn purging(result: TriggerResult) -> TriggerResult {
    match result {
        TriggerResult::Fire => TriggerResult::FireAndPurge,
        other => other,
    }
}

impl<T, K: Key, W: Window, R: Trigger<T, K, W>> Trigger<T, K, W> for PurgingTrigger<R> {
    fn open(&mut self, states: &mut StateRegistry<'_, K>) -> Result<()> {
        self.0.open(states)
    }

    #[inline]
    fn on_element(
        &mut self,
        element: &T,
        timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        self.0.on_element(element, timestamp, context).map(purging)
    }

    #[inline]
    fn on_further_element(&self, window: &W, now: Now) -> Option<TriggerResult> {
        self.0.on_further_element(window, now).map(purging)
    }

    #[inline]
    fn needs_only_its_timer(&self, from: &W, to: &W, now: Now) -> bool {
        self.0.needs_only_its_timer(from, to, now)
    }

    fn on_event_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        self.0.on_event_time(time, context).map(purging)
    }

    fn on_processing_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        self.0.on_processing_time(time, context).map(purging)
    }

    fn can_merge(&self) -> bool {
        self.0.can_merge()
    }

    fn on_merge(&mut self, sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        self.0.on_merge(sources, context)
    }

    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        self.0.clear(context)
    }
}
