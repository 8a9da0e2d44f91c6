//! Triggers that are chosen while the program runs.

use super::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, EndOfStreamTrigger, EventTimeTrigger,
    NeverTrigger, Now, ProcessingTimeTrigger, ProcessingTimeoutTrigger, PurgingTrigger, Trigger, TriggerContext,
    TriggerResult,
};
use crate::{
    backend::StateRegistry,
    error::Result,
    state::Key,
    time::{TimeDomain, Timestamp},
    window::Window,
};

/// The trigger that windows have unless another is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultTrigger {
    /// Of windows in event time: [`EventTimeTrigger`].
    EventTime,
    /// Of windows in processing time: [`ProcessingTimeTrigger`].
    ProcessingTime,
    /// Of the global window: [`NeverTrigger`].
    Never,
}

impl DefaultTrigger {
    /// The one that fires at the end of a window.
    #[inline]
    pub fn of(domain: TimeDomain) -> Self {
        match domain {
            TimeDomain::EventTime => Self::EventTime,
            TimeDomain::ProcessingTime => Self::ProcessingTime,
        }
    }
}

/// Calls a method of whichever trigger it is.
macro_rules! on {
    ($self:expr, $trigger:ident => $call:expr; $($variant:pat => $inner:expr),*) => {
        match $self {
            $($variant => { let $trigger = $inner; $call })*
        }
    };
}

macro_rules! on_default {
    ($self:expr, $trigger:ident => $call:expr) => {
        on!($self, $trigger => $call;
            DefaultTrigger::EventTime => &mut EventTimeTrigger,
            DefaultTrigger::ProcessingTime => &mut ProcessingTimeTrigger,
            DefaultTrigger::Never => &mut NeverTrigger)
    };
}

impl<T, K: Key, W: Window> Trigger<T, K, W> for DefaultTrigger {
    #[inline]
    fn on_element(
        &mut self,
        element: &T,
        timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        on_default!(self, trigger => trigger.on_element(element, timestamp, context))
    }
    #[inline]
    fn on_further_element(&self, window: &W, now: Now) -> Option<TriggerResult> {
        on_default!(self, trigger => Trigger::<T, K, W>::on_further_element(trigger, window, now))
    }
    #[inline]
    fn needs_only_its_timer(&self, from: &W, to: &W, now: Now) -> bool {
        on_default!(self, trigger => Trigger::<T, K, W>::needs_only_its_timer(trigger, from, to, now))
    }
    fn on_event_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        on_default!(self, trigger => Trigger::<T, K, W>::on_event_time(trigger, time, context))
    }
    fn on_processing_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        on_default!(self, trigger => Trigger::<T, K, W>::on_processing_time(trigger, time, context))
    }
    fn can_merge(&self) -> bool {
        on_default!(self, trigger => Trigger::<T, K, W>::can_merge(trigger))
    }
    fn on_merge(&mut self, sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        on_default!(self, trigger => Trigger::<T, K, W>::on_merge(trigger, sources, context))
    }
    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        on_default!(self, trigger => Trigger::<T, K, W>::clear(trigger, context))
    }
}

/// Any of the triggers that look at no values, for a program that gets to know which one as it runs.
#[derive(Debug, Clone)]
pub enum AnyTrigger<W: Window> {
    /// At the end of the window, by the watermark.
    EventTime(EventTimeTrigger),
    /// At the end of the window, by the clock.
    ProcessingTime(ProcessingTimeTrigger),
    /// After a number of elements.
    Count(CountTrigger<W>),
    /// At regular event times.
    ContinuousEventTime(ContinuousEventTimeTrigger<W>),
    /// At regular times of the clock.
    ContinuousProcessingTime(ContinuousProcessingTimeTrigger<W>),
    /// As another trigger, but the window is emptied each time.
    Purging(Box<PurgingTrigger<AnyTrigger<W>>>),
    /// As another trigger, and some time after an element.
    ProcessingTimeout(Box<ProcessingTimeoutTrigger<AnyTrigger<W>, W>>),
    /// When a bounded input has ended.
    EndOfStream(EndOfStreamTrigger),
    /// Never.
    Never(NeverTrigger),
}

impl<W: Window> AnyTrigger<W> {
    /// The same, but the window is emptied each time.
    #[must_use]
    pub fn purging(self) -> Self {
        Self::Purging(Box::new(PurgingTrigger::of(self)))
    }
}

macro_rules! on_any {
    ($self:expr, $trigger:ident => $call:expr) => {
        match $self {
            AnyTrigger::EventTime($trigger) => $call,
            AnyTrigger::ProcessingTime($trigger) => $call,
            AnyTrigger::Count($trigger) => $call,
            AnyTrigger::ContinuousEventTime($trigger) => $call,
            AnyTrigger::ContinuousProcessingTime($trigger) => $call,
            AnyTrigger::Purging(boxed) => {
                let $trigger = &**boxed;
                $call
            }
            AnyTrigger::ProcessingTimeout(boxed) => {
                let $trigger = &**boxed;
                $call
            }
            AnyTrigger::EndOfStream($trigger) => $call,
            AnyTrigger::Never($trigger) => $call,
        }
    };
    (mut $self:expr, $trigger:ident => $call:expr) => {
        match $self {
            AnyTrigger::EventTime($trigger) => $call,
            AnyTrigger::ProcessingTime($trigger) => $call,
            AnyTrigger::Count($trigger) => $call,
            AnyTrigger::ContinuousEventTime($trigger) => $call,
            AnyTrigger::ContinuousProcessingTime($trigger) => $call,
            AnyTrigger::Purging(boxed) => {
                let $trigger = &mut **boxed;
                $call
            }
            AnyTrigger::ProcessingTimeout(boxed) => {
                let $trigger = &mut **boxed;
                $call
            }
            AnyTrigger::EndOfStream($trigger) => $call,
            AnyTrigger::Never($trigger) => $call,
        }
    };
}

impl<T, K: Key, W: Window> Trigger<T, K, W> for AnyTrigger<W> {
    fn open(&mut self, states: &mut StateRegistry<'_, K>) -> Result<()> {
        on_any!(mut self, trigger => Trigger::<T, K, W>::open(trigger, states))
    }
    #[inline]
    fn on_element(
        &mut self,
        element: &T,
        timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        on_any!(mut self, trigger => trigger.on_element(element, timestamp, context))
    }
    #[inline]
    fn on_further_element(&self, window: &W, now: Now) -> Option<TriggerResult> {
        on_any!(self, trigger => Trigger::<T, K, W>::on_further_element(trigger, window, now))
    }
    #[inline]
    fn needs_only_its_timer(&self, from: &W, to: &W, now: Now) -> bool {
        on_any!(self, trigger => Trigger::<T, K, W>::needs_only_its_timer(trigger, from, to, now))
    }
    fn on_event_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        on_any!(mut self, trigger => Trigger::<T, K, W>::on_event_time(trigger, time, context))
    }
    fn on_processing_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        on_any!(mut self, trigger => Trigger::<T, K, W>::on_processing_time(trigger, time, context))
    }
    fn can_merge(&self) -> bool {
        on_any!(self, trigger => Trigger::<T, K, W>::can_merge(trigger))
    }
    fn on_merge(&mut self, sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        on_any!(mut self, trigger => Trigger::<T, K, W>::on_merge(trigger, sources, context))
    }
    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        on_any!(mut self, trigger => Trigger::<T, K, W>::clear(trigger, context))
    }
}
