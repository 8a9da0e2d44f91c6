//! When windows fire: each trigger by its table in Flink's documentation, with all its state in the open.
//!
//! Triggers in processing time have no place here: what a clock decides, no model knows.

use tidegate::pipeline::{Row, Trigger};

use super::pane::{Pane, millis};

/// What a trigger keeps for a window. Nested triggers share it, as they do in Flink.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TriggerState {
    /// Records since the last firing.
    pub count: Option<i64>,
    /// When it fires next, of those that fire at regular times.
    pub next_fire_ms: Option<i64>,
    /// The record at which it fired last, and its value.
    pub last: Option<(Row, f64)>,
}

impl TriggerState {
    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Decision {
    pub fire: bool,
    pub purge: bool,
}

const CONTINUE: Decision = Decision { fire: false, purge: false };
const FIRE: Decision = Decision { fire: true, purge: false };

fn fire_if(condition: bool) -> Decision {
    if condition { FIRE } else { CONTINUE }
}

/// A window as its trigger sees it.
pub(super) struct Context<'a> {
    pub pane: Pane,
    pub watermark_ms: i64,
    /// The record and its value, for triggers that look at it.
    pub record: Option<(Row, f64)>,
    pub state: &'a mut TriggerState,
    /// The times that are to be reminded of, and those that are not any more.
    pub registered: Vec<i64>,
    pub deleted: Vec<i64>,
}

impl Context<'_> {
    fn next_fire(&mut self, from_ms: i64, interval_ms: i64) {
        let next_ms = (from_ms + interval_ms).min(self.pane.max_ms());
        self.state.next_fire_ms = Some(self.state.next_fire_ms.map_or(next_ms, |kept| kept.min(next_ms)));
        self.registered.push(next_ms);
    }
}

/// A record at a time came into the window.
pub(super) fn on_element(trigger: &Trigger, time_ms: i64, context: &mut Context<'_>) -> Decision {
    match trigger {
        Trigger::EventTime => {
            let is_over = context.pane.max_ms() <= context.watermark_ms;
            if !is_over {
                context.registered.push(context.pane.max_ms());
            }
            fire_if(is_over)
        }
        Trigger::Count { n } => {
            let count = context.state.count.unwrap_or(0) + 1;
            let is_full = count.unsigned_abs() >= *n;
            context.state.count = (!is_full).then_some(count);
            fire_if(is_full)
        }
        Trigger::ContinuousEventTime { interval } => {
            if context.pane.max_ms() <= context.watermark_ms {
                return FIRE;
            }
            context.registered.push(context.pane.max_ms());
            if context.state.next_fire_ms.is_none() {
                context.next_fire(time_ms - time_ms % millis(*interval), millis(*interval));
            }
            CONTINUE
        }
        Trigger::Delta { threshold, .. } => {
            let (_, value) = context.record.as_ref().expect("a delta trigger has a value");
            let is_far = context.state.last.as_ref().map(|(_, last)| (value - last).abs() > threshold.get());
            if is_far != Some(false) {
                context.state.last.clone_from(&context.record);
            }
            fire_if(is_far == Some(true))
        }
        Trigger::EndOfStream => {
            context.registered.push(i64::MAX);
            CONTINUE
        }
        Trigger::Purging { inner } => purging(on_element(inner, time_ms, context)),
        Trigger::Never
        | Trigger::ProcessingTime
        | Trigger::ContinuousProcessingTime { .. }
        | Trigger::ProcessingTimeout { .. } => CONTINUE,
    }
}

/// The watermark has passed a time that was registered.
pub(super) fn on_event_time(trigger: &Trigger, time_ms: i64, context: &mut Context<'_>) -> Decision {
    match trigger {
        Trigger::EventTime => fire_if(time_ms == context.pane.max_ms()),
        Trigger::ContinuousEventTime { interval } => {
            if time_ms == context.pane.max_ms() {
                return FIRE;
            }
            let is_due = context.state.next_fire_ms == Some(time_ms);
            if is_due {
                context.state.next_fire_ms = None;
                context.next_fire(time_ms, millis(*interval));
            }
            fire_if(is_due)
        }
        Trigger::EndOfStream => fire_if(time_ms == i64::MAX),
        Trigger::Purging { inner } => purging(on_event_time(inner, time_ms, context)),
        Trigger::Count { .. }
        | Trigger::Delta { .. }
        | Trigger::Never
        | Trigger::ProcessingTime
        | Trigger::ContinuousProcessingTime { .. }
        | Trigger::ProcessingTimeout { .. } => CONTINUE,
    }
}

/// Sessions have become the window of the context; these are their states.
pub(super) fn on_merge(trigger: &Trigger, states: &[TriggerState], context: &mut Context<'_>) {
    match trigger {
        Trigger::EventTime => {
            if context.pane.max_ms() > context.watermark_ms {
                context.registered.push(context.pane.max_ms());
            }
        }
        Trigger::Count { .. } => {
            context.state.count = states.iter().filter_map(|state| state.count).reduce(|one, other| one + other);
        }
        Trigger::ContinuousEventTime { .. } => {
            context.state.next_fire_ms = states.iter().filter_map(|state| state.next_fire_ms).min();
            context.registered.extend(context.state.next_fire_ms);
        }
        Trigger::EndOfStream => context.registered.push(i64::MAX),
        Trigger::Purging { inner } => on_merge(inner, states, context),
        Trigger::Delta { .. }
        | Trigger::Never
        | Trigger::ProcessingTime
        | Trigger::ContinuousProcessingTime { .. }
        | Trigger::ProcessingTimeout { .. } => {}
    }
}

/// The window is gone.
pub(super) fn clear(trigger: &Trigger, context: &mut Context<'_>) {
    match trigger {
        Trigger::EventTime => context.deleted.push(context.pane.max_ms()),
        Trigger::Count { .. } => context.state.count = None,
        Trigger::ContinuousEventTime { .. } => context.deleted.extend(context.state.next_fire_ms.take()),
        Trigger::Delta { .. } => context.state.last = None,
        Trigger::EndOfStream => context.deleted.push(i64::MAX),
        Trigger::Purging { inner } => clear(inner, context),
        Trigger::Never
        | Trigger::ProcessingTime
        | Trigger::ContinuousProcessingTime { .. }
        | Trigger::ProcessingTimeout { .. } => {}
    }
}

fn purging(decision: Decision) -> Decision {
    Decision { fire: decision.fire, purge: decision.fire || decision.purge }
}

/// Whether a trigger and all within it can be used with windows that merge.
pub(super) fn can_merge(trigger: &Trigger) -> bool {
    match trigger {
        Trigger::Delta { .. } => false,
        Trigger::Purging { inner } | Trigger::ProcessingTimeout { inner, .. } => can_merge(inner),
        Trigger::EventTime
        | Trigger::ProcessingTime
        | Trigger::Count { .. }
        | Trigger::ContinuousEventTime { .. }
        | Trigger::ContinuousProcessingTime { .. }
        | Trigger::Never
        | Trigger::EndOfStream => true,
    }
}

/// Whether a clock other than that of the records takes part.
pub(super) fn has_clock(trigger: &Trigger) -> bool {
    match trigger {
        Trigger::ProcessingTime | Trigger::ContinuousProcessingTime { .. } | Trigger::ProcessingTimeout { .. } => true,
        Trigger::Purging { inner } => has_clock(inner),
        Trigger::EventTime
        | Trigger::Count { .. }
        | Trigger::ContinuousEventTime { .. }
        | Trigger::Delta { .. }
        | Trigger::Never
        | Trigger::EndOfStream => false,
    }
}
