//! Timers after each record: told each time, once after the last record, or only if nothing else comes.

use std::time::Duration;

use super::{About, emit_with_text, living};
use crate::{
    backend::{StateRegistry, ValueState},
    error::Result,
    operator::{KeyedProcessFunction, ProcessContext},
    pipeline::{
        model::{TimerPattern, WindowTime},
        row::Row,
    },
    state::ValueStateDescriptor,
    time::{TimeDomain, Timestamp},
};

/// Counts records, and registers a timer after each.
#[derive(Clone)]
pub(crate) struct Timers {
    pattern: TimerPattern,
    delay: Duration,
    domain: TimeDomain,
    /// The number of records, and the timer that counts.
    count_and_due: ValueState<(i64, Timestamp)>,
}

impl Timers {
    pub(crate) fn new(about: &About, pattern: TimerPattern, delay: Duration, time: WindowTime) -> Self {
        let domain = match time {
            WindowTime::Event => TimeDomain::EventTime,
            WindowTime::Processing => TimeDomain::ProcessingTime,
        };
        let count_and_due = ValueState::new(living!(ValueStateDescriptor::new("count-and-due"), about));
        Self { pattern, delay, domain, count_and_due }
    }
}

impl KeyedProcessFunction for Timers {
    type Key = Row;
    type In = Row;
    type Out = Row;

    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        states.register(&mut self.count_and_due)
    }

    fn process_element(&mut self, _row: Row, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        let now = match self.domain {
            TimeDomain::EventTime => context.timestamp(),
            TimeDomain::ProcessingTime => context.processing_time(),
        };
        let timer = now.saturating_add(self.delay);
        let before = self.count_and_due.value(context)?;
        let due = match (self.pattern, before) {
            (TimerPattern::Timeout, Some((_, due))) => due.max(timer),
            (TimerPattern::Replace, Some((_, due))) => {
                context.delete_timer(self.domain, due);
                timer
            }
            (TimerPattern::Every, _) | (_, None) => timer,
        };
        context.register_timer(self.domain, timer);
        let count = before.map_or(0, |(count, _)| count) + 1;
        self.count_and_due.update(context, (count, due))
    }

    fn on_timer(&mut self, _domain: TimeDomain, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        let timer = context.timestamp();
        let Some((count, due)) = self.count_and_due.value(context)? else {
            emit_with_text(context, -1, &format!("stale@{}", timer.0));
            return Ok(());
        };
        match self.pattern {
            TimerPattern::Every => {
                let text = format!("timer@{},wm={}", timer.0, context.watermark().0);
                emit_with_text(context, count, &text);
            }
            TimerPattern::Timeout | TimerPattern::Replace if timer == due => {
                let name = if self.pattern == TimerPattern::Timeout { "timeout" } else { "replace" };
                emit_with_text(context, count, &format!("{name}@{}", timer.0));
                self.count_and_due.clear(context)?;
            }
            TimerPattern::Timeout | TimerPattern::Replace => {}
        }
        Ok(())
    }
}
