//! Results at the latest some time after an element.

use std::time::Duration;

use super::{Trigger, TriggerContext, TriggerResult};
use crate::{
    backend::{StateRegistry, ValueState},
    error::Result,
    state::{Key, ValueStateDescriptor},
    time::{TimeDomain, Timestamp},
    window::Window,
};

/// Which element the time runs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeoutAfter {
    /// The first one since the window last fired.
    #[default]
    FirstElement,
    /// The latest one.
    LatestElement,
}

/// What becomes of what the triggers remember when the time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTimeout {
    /// It is cleared: the next element starts anew.
    #[default]
    Clear,
    /// It stays: there is no second timeout before the inner trigger fires.
    Keep,
}

/// Fires when another trigger does, and when a time has passed on the machine's clock since an element came (Flink
/// `ProcessingTimeoutTrigger`). Any timer of the window fires it. Cannot be used where windows merge.
#[derive(Debug)]
pub struct ProcessingTimeoutTrigger<R, W> {
    inner: R,
    timeout: Duration,
    after: TimeoutAfter,
    on_timeout: OnTimeout,
    state: Option<ValueState<Timestamp, W>>,
}

impl<R: Clone, W> Clone for ProcessingTimeoutTrigger<R, W> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            timeout: self.timeout,
            after: self.after,
            on_timeout: self.on_timeout,
            state: None,
        }
    }
}

impl<R, W: Window> ProcessingTimeoutTrigger<R, W> {
    /// Name of the trigger's state.
    pub const STATE: &'static str = "trigger-timeout";

    /// Fires when `inner` does, and when `timeout` has passed since the first element; then it starts anew.
    pub fn of(inner: R, timeout: Duration) -> Self {
        let (after, on_timeout) = (TimeoutAfter::default(), OnTimeout::default());
        Self { inner, timeout, after, on_timeout, state: None }
    }

    /// Which element the time runs from.
    #[must_use]
    pub fn after(mut self, after: TimeoutAfter) -> Self {
        self.after = after;
        self
    }

    /// What becomes of what the triggers remember when the time is up.
    #[must_use]
    pub fn on_timeout(mut self, on_timeout: OnTimeout) -> Self {
        self.on_timeout = on_timeout;
        self
    }

    fn state(&self) -> &ValueState<Timestamp, W> {
        self.state.as_ref().expect(super::OPENED)
    }

    fn disarm<K: Key>(&self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        if let Some(timeout) = self.state().value(context)? {
            context.delete_timer(TimeDomain::ProcessingTime, timeout);
            self.state().clear(context)?;
        }
        Ok(())
    }

    fn arm<K: Key>(&self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        if self.after == TimeoutAfter::LatestElement {
            self.disarm(context)?;
        }
        if self.state().value(context)?.is_none() {
            let timeout = context.processing_time().saturating_add(self.timeout);
            self.state().update(context, timeout)?;
            context.register_timer(TimeDomain::ProcessingTime, timeout);
        }
        Ok(())
    }

    fn on_time<T, K: Key>(
        &mut self,
        of_inner: TriggerResult,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult>
    where
        R: Trigger<T, K, W>,
    {
        if self.on_timeout == OnTimeout::Clear {
            Trigger::<T, K, W>::clear(self, context)?;
        }
        Ok(if of_inner.is_purge() { TriggerResult::FireAndPurge } else { TriggerResult::Fire })
    }
}

impl<T, K: Key, W: Window, R: Trigger<T, K, W>> Trigger<T, K, W> for ProcessingTimeoutTrigger<R, W> {
    fn open(&mut self, states: &mut StateRegistry<'_, K>) -> Result<()> {
        self.state = Some(states.value(&ValueStateDescriptor::new(Self::STATE))?);
        self.inner.open(states)
    }

    fn on_element(
        &mut self,
        element: &T,
        timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        let result = self.inner.on_element(element, timestamp, context)?;
        if result.is_fire() {
            Trigger::<T, K, W>::clear(self, context)?;
        } else {
            self.arm(context)?;
        }
        Ok(result)
    }

    fn on_event_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        let result = self.inner.on_event_time(time, context)?;
        self.on_time::<T, K>(result, context)
    }

    fn on_processing_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        let result = self.inner.on_processing_time(time, context)?;
        self.on_time::<T, K>(result, context)
    }

    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        self.disarm(context)?;
        self.inner.clear(context)
    }
}
