//! Results when the elements have changed enough.

use super::{Trigger, TriggerContext, TriggerResult};
use crate::{
    backend::{StateRegistry, ValueState},
    codec::Data,
    error::Result,
    state::{Key, ValueStateDescriptor},
    time::Timestamp,
    window::Window,
};

/// Fires when an element differs by more than a threshold from the one at which it last fired, or from the first one
/// (Flink `DeltaTrigger`). Cannot be used where windows merge.
#[derive(Debug)]
pub struct DeltaTrigger<T, W, F> {
    threshold: f64,
    delta: F,
    last: Option<ValueState<T, W>>,
}

impl<T, W, F: Clone> Clone for DeltaTrigger<T, W, F> {
    fn clone(&self) -> Self {
        Self::of(self.threshold, self.delta.clone())
    }
}

impl<T, W, F> DeltaTrigger<T, W, F> {
    /// Name of the trigger's state.
    pub const STATE: &'static str = "trigger-delta-last";

    /// Fires when `delta(last, element)` is above the threshold.
    pub fn of(threshold: f64, delta: F) -> Self {
        Self { threshold, delta, last: None }
    }

    fn last(&self) -> &ValueState<T, W> {
        self.last.as_ref().expect(super::OPENED)
    }
}

impl<T, K, W, F> Trigger<T, K, W> for DeltaTrigger<T, W, F>
where
    T: Data,
    K: Key,
    W: Window,
    F: FnMut(&T, &T) -> f64 + Send + 'static,
{
    fn open(&mut self, states: &mut StateRegistry<'_, K>) -> Result<()> {
        self.last = Some(states.value(&ValueStateDescriptor::new(Self::STATE))?);
        Ok(())
    }

    fn on_element(
        &mut self,
        element: &T,
        _timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        let Some(last) = self.last().value(context)? else {
            self.last().update(context, element.clone())?;
            return Ok(TriggerResult::Continue);
        };
        if (self.delta)(&last, element) > self.threshold {
            self.last().update(context, element.clone())?;
            return Ok(TriggerResult::Fire);
        }
        Ok(TriggerResult::Continue)
    }

    fn on_event_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    fn on_processing_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }

    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        self.last().clear(context)
    }
}
