//! Timers of processing time: each is due so long after its record was processed.
//!
//! A timer fires once, when the millisecond of its time is over (Flink `ProcessingTimeServiceUtil`): behind records of its key
//! that are processed within that millisecond, and before all later ones, for a subtask looks for due timers before it takes
//! the next element, also the first one after a restore. Timers of a key fire in the order of their times. Those that stand
//! when the input ends need not fire. Which watermark a timer sees is not decided by the key's records.

use std::collections::BTreeSet;

use tidegate::pipeline::{Row, TimerPattern};

use super::{Arrival, Line, Processed, Said};
use crate::model::UpdatesDifference;

/// What the function keeps for a key.
#[derive(Debug, Default)]
struct Kept {
    timers: BTreeSet<i64>,
    /// The number of records, and the timer that counts, since the state was cleared.
    counted: Option<(i64, i64)>,
}

impl Kept {
    /// A record comes.
    fn count(&mut self, pattern: TimerPattern, timer_ms: i64) {
        let due_ms = match (pattern, self.counted) {
            (TimerPattern::Timeout, Some((_, due_ms))) => due_ms.max(timer_ms),
            (TimerPattern::Replace, Some((_, due_ms))) => {
                self.timers.remove(&due_ms);
                timer_ms
            }
            (TimerPattern::Every, _) | (_, None) => timer_ms,
        };
        self.timers.insert(timer_ms);
        self.counted = Some((self.counted.map_or(0, |(count, _)| count) + 1, due_ms));
    }

    /// What the first timer says that is due, with its time; those before it that say nothing are gone.
    fn fire(&mut self, pattern: TimerPattern, now_ms: i64) -> Option<(i64, String)> {
        while let Some(timer_ms) = self.timers.first().copied().filter(|timer_ms| *timer_ms < now_ms) {
            self.timers.pop_first();
            match (pattern, self.counted) {
                (_, None) => return Some((-1, format!("stale@{timer_ms}"))),
                (TimerPattern::Every, Some((count, _))) => return Some((count, format!("timer@{timer_ms}"))),
                (TimerPattern::Timeout | TimerPattern::Replace, Some((count, due_ms))) if timer_ms == due_ms => {
                    self.counted = None;
                    let name = if pattern == TimerPattern::Timeout { "timeout" } else { "replace" };
                    return Some((count, format!("{name}@{timer_ms}")));
                }
                (TimerPattern::Timeout | TimerPattern::Replace, Some(_)) => {}
            }
        }
        None
    }
}

impl Processed {
    pub(super) fn check_timers(
        &self,
        key: &Row,
        records: &[Arrival],
        lines: &[Line<'_>],
        (pattern, delay_ms): (TimerPattern, i64),
        difference: &mut UpdatesDifference,
    ) {
        let mut kept = Kept::default();
        let mut left = records.iter();
        for line in lines {
            if let Some(said) = self.said_by_timer(&line.row) {
                let fired = kept.fire(pattern, line.at_ms);
                if fired.as_ref().is_none_or(|(value, text)| said != (*value, text)) {
                    difference.lost.extend(fired.map(|(_, text)| format!("{text} of key {key}")));
                    difference.extra.push(line.text.to_owned());
                }
                continue;
            }
            while let Some((_, text)) = kept.fire(pattern, line.at_ms) {
                difference.lost.push(format!("{text} of key {key}"));
            }
            let nothing = |arrival: &Arrival| self.result(key, &arrival.row, Said::Nothing, line.at_ms);
            match left.as_slice().first().filter(|arrival| nothing(arrival) == line.row) {
                Some(_) => {
                    left.next();
                    kept.count(pattern, line.at_ms.saturating_add(delay_ms));
                }
                None => difference.extra.push(line.text.to_owned()),
            }
        }
        difference.lost.extend(left.map(|_| format!("a result of key {key}")));
    }

    /// What a timer says, without the watermark that it has seen.
    fn said_by_timer<'a>(&self, row: &'a Row) -> Option<(i64, &'a str)> {
        let [value, text] = row.values().get(self.planned.key.len()..self.planned.key.len() + 2)? else { return None };
        let text = text.as_str()?;
        let text = match text.split_once(",wm=") {
            Some((text, watermark)) if watermark.parse::<i64>().is_ok() => text,
            _ => text,
        };
        Some((value.as_int()?, text))
    }
}
