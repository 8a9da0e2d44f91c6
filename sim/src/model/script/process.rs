//! Functions with keyed state: per key the list of what came since the state was cleared last.

use std::{collections::BTreeMap, sync::Arc};

use tidegate::pipeline::{Datum, PlannedProcess, ProcessFunction, Row, TimerPattern};

use super::{
    contents::FoldError,
    element::{Element, Output},
    keys::KeyGroups,
    pane::millis,
    timers::Timers,
};

/// What a function keeps for a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptValues {
    /// The values that came since the state was cleared; for functions that only count, one zero for each record.
    pub values: Vec<i64>,
    /// How often each value came, of those that are not forgotten.
    pub times: BTreeMap<i64, i64>,
    /// The timer that the function remembers: of the last record, or the latest.
    pub timer_ms: Option<i64>,
}

/// One subtask of a process stage.
#[derive(Debug, Clone)]
pub(super) struct ProcessStage {
    pub planned: Arc<PlannedProcess>,
    pub state: BTreeMap<Row, KeptValues>,
    pub timers: Timers<()>,
    watermark_ms: i64,
}

impl ProcessStage {
    pub(super) fn new(planned: Arc<PlannedProcess>, key_groups: KeyGroups) -> Self {
        Self { planned, state: BTreeMap::new(), timers: Timers::new(key_groups), watermark_ms: i64::MIN }
    }

    pub(super) fn element(&mut self, element: Element, out: &mut Output) -> Result<(), FoldError> {
        let key = element.row.project(&self.planned.key);
        let fields = element.row.values().len();
        let value = match &self.planned.value {
            Some(value) => value.evaluate(&element.row)?.as_int().unwrap_or(0),
            None => 0,
        };
        let function = self.planned.declared.function;
        let emitted = out.emitted.len();
        let kept = self.state.entry(key.clone()).or_default();
        kept.values.push(value);
        let values = kept.values.clone();
        let count = values.len() as i64;
        let mut emit = |value: i64, text: Option<String>| {
            let text = text.map(Datum::text);
            let row = key.values().iter().cloned().chain([Datum::Int(value)]).chain(text).collect();
            out.record(row, element.time_ms);
        };
        match function {
            ProcessFunction::ValueAvg { n } | ProcessFunction::MapAvg { n } | ProcessFunction::ListAvg { n } => {
                if values.len() as u64 >= n {
                    let total = sum(&values);
                    let text = match function {
                        ProcessFunction::ListAvg { .. } => join(&values, ","),
                        _ => format!("{total}/{count}"),
                    };
                    emit(total / count, Some(text));
                    self.state.remove(&key);
                }
            }
            ProcessFunction::MapCount { n } => {
                let times = kept.times.entry(value).or_default();
                *times += 1;
                let times = *times;
                if times.unsigned_abs() >= n {
                    kept.times.remove(&value);
                }
                let entries: Vec<String> = kept.times.iter().map(|(value, times)| format!("{value}={times}")).collect();
                emit(times, Some(format!("{{{}}}", entries.join(","))));
                kept.values.clear();
                if kept.times.is_empty() {
                    self.state.remove(&key);
                }
            }
            ProcessFunction::ReducingSum => emit(sum(&values), None),
            ProcessFunction::AggregatingContains => emit(value, Some(format!("Contains:{}", join(&values, " and ")))),
            ProcessFunction::AggregatingAvg => {
                emit(value, Some(format!("{}/{count}", sum(&values))));
            }
            ProcessFunction::ValueCount | ProcessFunction::RawCount => emit(count, None),
            ProcessFunction::Dedup => {
                if count == 1 {
                    out.record(element.row, element.time_ms);
                }
                kept.values.truncate(1);
            }
            ProcessFunction::Timers { pattern, delay, .. } => {
                let timer_ms = element.time_ms.saturating_add(millis(delay));
                let before = kept.timer_ms;
                kept.timer_ms = match pattern {
                    TimerPattern::Timeout => Some(before.map_or(timer_ms, |before| before.max(timer_ms))),
                    TimerPattern::Every | TimerPattern::Replace => Some(timer_ms),
                };
                if let (TimerPattern::Replace, Some(before)) = (pattern, before) {
                    self.timers.delete(before, &key, &());
                }
                self.timers.register(timer_ms, &key, &());
            }
        }
        if self.planned.declared.every_record && out.emitted.len() == emitted {
            out.record(nothing(&self.planned, &key, fields), element.time_ms);
        }
        Ok(())
    }

    pub(super) fn watermark(&mut self, watermark_ms: i64, out: &mut Output) {
        self.watermark_ms = watermark_ms;
        while let Some(timer) = self.timers.take_due(watermark_ms) {
            self.on_timer(timer.time_ms, &timer.key, out);
        }
    }

    fn on_timer(&mut self, time_ms: i64, key: &Row, out: &mut Output) {
        let ProcessFunction::Timers { pattern, .. } = self.planned.declared.function else { return };
        let kept = self.state.get(key).cloned();
        let is_latest = kept.as_ref().is_some_and(|kept| kept.timer_ms == Some(time_ms));
        let count = kept.as_ref().map_or(-1, |kept| kept.values.len() as i64);
        let text = match (pattern, kept) {
            (_, None) => format!("stale@{time_ms}"),
            (TimerPattern::Every, _) => format!("timer@{time_ms},wm={}", self.watermark_ms),
            (TimerPattern::Timeout, _) if is_latest => format!("timeout@{time_ms}"),
            (TimerPattern::Replace, _) if is_latest => format!("replace@{time_ms}"),
            (TimerPattern::Timeout | TimerPattern::Replace, _) => return,
        };
        if is_latest && pattern != TimerPattern::Every {
            self.state.remove(key);
        }
        out.record(key.values().iter().cloned().chain([Datum::Int(count), Datum::text(text)]).collect(), time_ms);
    }
}

/// The result of a record of so many fields of which there is nothing to say: only its key. When that was is not in it.
pub(in crate::model) fn nothing(planned: &PlannedProcess, key: &Row, fields: usize) -> Row {
    let function = planned.declared.function;
    let fields = match function {
        ProcessFunction::Dedup => fields,
        _ => key.values().len() + 1 + usize::from(function.has_text()),
    };
    let of_key: BTreeMap<usize, &Datum> = planned.key_of_result().into_iter().zip(key.values()).collect();
    (0..fields).map(|field| of_key.get(&field).map_or(Datum::Null, |value| (*value).clone())).collect()
}

/// As Java adds.
pub(in crate::model) fn sum(values: &[i64]) -> i64 {
    values.iter().fold(0, |sum: i64, value| sum.wrapping_add(*value))
}

pub(in crate::model) fn join(values: &[i64], separator: &str) -> String {
    values.iter().map(i64::to_string).collect::<Vec<_>>().join(separator)
}
