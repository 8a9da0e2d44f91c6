//! Triggers: when a window's results are due (Flink `Trigger`).
//!
//! A trigger is told of each element and of each timer that it registered, and answers with a [`TriggerResult`]. What it
//! remembers of a window is keyed state with the window as namespace, reached through a [`TriggerContext`].

mod any;
mod context;
mod continuous;
mod count;
mod delta;
mod event_time;
mod never;
mod processing_time;
mod processing_timeout;
mod purging;

pub use any::{AnyTrigger, DefaultTrigger};
pub use context::TriggerContext;
pub use continuous::{ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger};
pub use count::CountTrigger;
pub use delta::DeltaTrigger;
pub use event_time::EventTimeTrigger;
pub use never::{EndOfStreamTrigger, NeverTrigger};
pub use processing_time::ProcessingTimeTrigger;
pub use processing_timeout::{OnTimeout, ProcessingTimeoutTrigger, TimeoutAfter};
pub use purging::PurgingTrigger;

use super::Window;
use crate::{backend::StateRegistry, error::Result, state::Key, time::Timestamp};

/// What becomes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// Its results go out; its contents stay, so that the next firing gives them again.
    Fire,
    /// Its contents are dropped. What the trigger remembers of it stays, and so do its timers.
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

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The watermark that the operator has come to.
    pub watermark: Timestamp,
    /// The processing time, as last told to the operator.
    pub processing_time: Timestamp,
}

/// Decides when the results of windows are due.
pub trait Trigger<T, K: Key, W: Window>: Send + 'static {
    /// Asks for the trigger's states and keeps the handles.
    ///
    /// # Errors
    /// If a state cannot be had.
    fn open(&mut self, states: &mut StateRegistry<'_, K>) -> Result<()> {
        let _ = states;
        Ok(())
    }

    /// An element is being added to the window.
    ///
    /// # Errors
    /// If the state cannot be read or written.
    fn on_element(
        &mut self,
        element: &T,
        timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult>;

    /// What `on_element` would answer for a further element of a window that holds elements already, if it need do
    /// nothing to know that; then it is not called. This spares the record path timers, state and a copy of the key.
    ///
    /// Is not asked where windows merge, nor while the watermark, after a restore, may be behind the one at which
    /// `on_element` was called before.
    #[inline]
    fn on_further_element(&self, window: &W, now: Now) -> Option<TriggerResult> {
        let _ = (window, now);
        None
    }

    /// Whether, when an element makes a window in flight grow, from `from` to `to` or not at all, all that `on_merge` of
    /// this one window, `clear` of it and `on_element` would do is to delete its timer in event time at the end of the one
    /// and to register one at the end of the other. Then that is done, and they are not called.
    #[inline]
    fn needs_only_its_timer(&self, from: &W, to: &W, now: Now) -> bool {
        let _ = (from, to, now);
        false
    }

    /// The watermark has come to `time`, for which there was a timer (of this trigger, or the cleanup timer).
    ///
    /// # Errors
    /// If the state cannot be read or written.
    fn on_event_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult>;

    /// Processing time has come to `time`, for which there was a timer.
    ///
    /// # Errors
    /// If the state cannot be read or written.
    fn on_processing_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult>;

    /// Whether the trigger can be used where windows merge.
    fn can_merge(&self) -> bool {
        false
    }

    /// `sources` have become the context's window: brings their state and timers over. Each of them is cleared next.
    ///
    /// # Errors
    /// If the state cannot be read or written.
    fn on_merge(&mut self, sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        let _ = (sources, context);
        Ok(())
    }

    /// The window is gone: takes back what is still registered for it, and forgets it.
    ///
    /// # Errors
    /// If the state cannot be read or written.
    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()>;
}

const OPENED: &str = "a trigger is opened before anything else";

impl<T: 'static, K: Key, W: Window> Trigger<T, K, W> for Box<dyn Trigger<T, K, W>> {
    fn open(&mut self, states: &mut StateRegistry<'_, K>) -> Result<()> {
        (**self).open(states)
    }
    fn on_element(
        &mut self,
        element: &T,
        timestamp: Timestamp,
        context: &mut TriggerContext<'_, K, W>,
    ) -> Result<TriggerResult> {
        (**self).on_element(element, timestamp, context)
    }
    fn on_further_element(&self, window: &W, now: Now) -> Option<TriggerResult> {
        (**self).on_further_element(window, now)
    }
    fn needs_only_its_timer(&self, from: &W, to: &W, now: Now) -> bool {
        (**self).needs_only_its_timer(from, to, now)
    }
    fn on_event_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        (**self).on_event_time(time, context)
    }
    fn on_processing_time(&mut self, time: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        (**self).on_processing_time(time, context)
    }
    fn can_merge(&self) -> bool {
        (**self).can_merge()
    }
    fn on_merge(&mut self, sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        (**self).on_merge(sources, context)
    }
    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        (**self).clear(context)
    }
}
