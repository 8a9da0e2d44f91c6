//! Results after a number of elements.

use super::{Trigger, TriggerContext, TriggerResult};
use crate::{
    backend::{StateRegistry, ValueState},
    error::Result,
    planted,
    state::{Key, ValueStateDescriptor},
    time::Timestamp,
    window::Window,
};

/// Fires whenever a window has got that many elements since it last fired (Flink `CountTrigger`).
#[derive(Debug)]
pub struct CountTrigger<W> {
    elements: u64,
    count: Option<ValueState<u64, W>>,
}

impl<W> Clone for CountTrigger<W> {
    fn clone(&self) -> Self {
        Self::of(self.elements)
    }
}

impl<W> CountTrigger<W> {
    /// Name of the trigger's state.
    pub const STATE: &'static str = "trigger-count";

    /// Fires after this many elements; 0 is as good as 1.
    pub fn of(elements: u64) -> Self {
        Self { elements, count: None }
    }

    fn count(&self) -> &ValueState<u64, W> {
        self.count.as_ref().expect(super::OPENED)
    }
}

impl<T, K: Key, W: Window> Trigger<T, K, W> for CountTrigger<W> {
    fn open(&mut self, states: &mut StateRegistry<'_, K>) -> Result<()> {
        self.count = Some(states.value(&ValueStateDescriptor::new(Self::STATE))?);
        Ok(())
    }

    fn on_element(
        &mut self,
        _element: &T,
        _timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        let count = self.count().value(context)?.unwrap_or(0) + 1;
        if count < self.elements {
            self.count().update(context, count)?;
            return Ok(TriggerResult::Continue);
        }
        if planted!("count_trigger_state_not_cleared") {
            self.count().update(context, count)?;
        } else {
            self.count().clear(context)?;
        }
        Ok(TriggerResult::Fire)
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

    fn on_merge(&mut self, sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        let sum = |one: u64, other: u64| if planted!("merged_counts_not_added") { one.max(other) } else { one + other };
        context.merge_values(self.count(), sources, sum)?;
        Ok(())
    }

    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        self.count().clear(context)
    }
}
