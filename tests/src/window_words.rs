//! Windows, triggers and evictors as the conformance vectors name them.

use std::{any::Any, time::Duration};

use serde_json::Value;
use tidegate::{
    error::Result,
    state::Key,
    time::{TimeDomain, Timestamp},
    window::{
        ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountEvictor, CountTrigger, EventTimeTrigger,
        Evictor, Phase, ProcessingTimeTrigger, ProcessingTimeoutTrigger, PurgingTrigger, TimeEvictor, TimeWindow,
        Trigger, TriggerContext, TriggerResult, Window,
        trigger::{OnTimeout, TimeoutAfter},
    },
};

/// A pair of bounds.
pub fn window(bounds: &Value) -> TimeWindow {
    let bound = |index: usize| Timestamp(bounds[index].as_i64().unwrap_or_else(|| panic!("{bounds} is a window")));
    TimeWindow::new(bound(0), bound(1))
}

/// The windows under a key.
pub fn windows(value: &Value, key: &str) -> Vec<TimeWindow> {
    super::vectors::list(value, key).iter().map(window).collect()
}

/// The bounds of a time window; none of another one.
pub fn bounds<W: Window>(window: &W) -> Option<[i64; 2]> {
    (window as &dyn Any).downcast_ref::<TimeWindow>().map(|window| [window.start.0, window.end.0])
}

/// The result of a trigger.
pub fn result(word: &str) -> TriggerResult {
    match word {
        "CONTINUE" => TriggerResult::Continue,
        "FIRE" => TriggerResult::Fire,
        "PURGE" => TriggerResult::Purge,
        "FIRE_AND_PURGE" => TriggerResult::FireAndPurge,
        other => panic!("no result {other}"),
    }
}

/// What stands in the parentheses of `name(…)`.
fn call(text: &str) -> (&str, &str) {
    match text.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')').unwrap_or_else(|| panic!("{text} ends with )"))),
        None => (text, ""),
    }
}

fn millis(text: &str) -> Duration {
    Duration::from_millis(text.trim().parse().unwrap_or_else(|_| panic!("{text} is a number")))
}

/// A trigger, by its description.
pub fn trigger<T: 'static, K: Key, W: Window>(text: &str) -> Box<dyn Trigger<T, K, W>> {
    if text.starts_with("test trigger") {
        return Box::new(TwoPurges);
    }
    let text = text.split("  ==").next().unwrap_or(text).trim();
    let (name, arguments) = call(text);
    match name {
        "event_time" => Box::new(EventTimeTrigger),
        "processing_time" => Box::new(ProcessingTimeTrigger),
        "count" => Box::new(CountTrigger::of(arguments.parse().expect("a count"))),
        "purging" => Box::new(PurgingTrigger::of(trigger::<T, K, W>(arguments))),
        "continuous_event_time" => Box::new(ContinuousEventTimeTrigger::of(millis(arguments))),
        "continuous_processing_time" => Box::new(ContinuousProcessingTimeTrigger::of(millis(arguments))),
        "processing_timeout" => {
            let arguments: Vec<_> = arguments.split(',').collect();
            let [inner, timeout, reset, clear] = arguments[..] else { panic!("{text} has four arguments") };
            let after = if reset == "reset=true" { TimeoutAfter::LatestElement } else { TimeoutAfter::FirstElement };
            let on_timeout = if clear == "clear=true" { OnTimeout::Clear } else { OnTimeout::Keep };
            let inner = trigger::<T, K, W>(inner);
            Box::new(ProcessingTimeoutTrigger::of(inner, millis(timeout)).after(after).on_timeout(on_timeout))
        }
        other => panic!("no trigger {other}"),
    }
}

/// An evictor, by its description.
pub fn evictor<T: 'static, W: Window>(text: &str) -> Box<dyn Evictor<T, W>> {
    let (name, arguments) = call(text);
    let (argument, phase) = match arguments.split_once(',') {
        Some((argument, phase)) => {
            assert_eq!(phase.trim(), "evict_after");
            (argument, Phase::After)
        }
        None => (arguments, Phase::Before),
    };
    match name {
        "count" => Box::new(CountEvictor::of(argument.parse().expect("a count"), phase)),
        "time" => Box::new(TimeEvictor::of(millis(argument), phase)),
        other => panic!("no evictor {other}"),
    }
}

/// Fires and purges at the end of a window and 100 ms later.
struct TwoPurges;

impl<T, K: Key, W: Window> Trigger<T, K, W> for TwoPurges {
    fn on_element(&mut self, _: &T, _: Timestamp, context: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        let end = context.window().max_timestamp();
        context.register_timer(TimeDomain::EventTime, end);
        context.register_timer(TimeDomain::EventTime, Timestamp(end.0 + 100));
        Ok(TriggerResult::Continue)
    }
    fn on_event_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::FireAndPurge)
    }
    fn on_processing_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }
    fn can_merge(&self) -> bool {
        true
    }
    fn clear(&mut self, _: &mut TriggerContext<'_, K, W>) -> Result<()> {
        Ok(())
    }
}
