//! What stages keep, in the terms of a checkpoint.

use std::collections::BTreeMap;

use tidegate::pipeline::{Aggregate, PlannedWindowFunction, ProcessFunction, Row};

use super::{
    contents::{self, FoldError, Item},
    element::Element,
    join::Side,
    pane::Pane,
    process::{KeptValues, ProcessStage, join, sum},
    stage::Operator,
    timers::Timers,
    window::{Function, WindowStage},
};
use crate::model::{
    kept::{About, Address, Kept, KeptByStage},
    layout::names,
};

/// What all subtasks of a stage keep.
pub(super) fn of<'a>(subtasks: impl Iterator<Item = &'a Operator>) -> Result<KeptByStage, FoldError> {
    let mut kept = KeptByStage::default();
    let mut is_join = false;
    for operator in subtasks {
        subtask(operator, &mut kept)?;
        is_join |= matches!(operator, Operator::WindowJoin { .. });
    }
    let kept = kept.without_nothing();
    Ok(if is_join { kept.of_join() } else { kept })
}

fn subtask(operator: &Operator, kept: &mut KeptByStage) -> Result<(), FoldError> {
    let keyed = &mut kept.keyed;
    match operator {
        Operator::Stateless(_) => {}
        Operator::Aggregate(stage) => {
            for (key, items) in &stage.state {
                keyed.insert(of_key(names::AGGREGATE, key), Kept::Folds(folds(&stage.aggregates, items)?));
            }
            timers(&stage.timers, |()| About::Key, keyed);
        }
        Operator::Rolling(stage) => {
            for (key, items) in &stage.state {
                if let Some(row) = contents::reduce(&stage.reduce, items)? {
                    keyed.insert(of_key(names::REDUCED, key), Kept::Row(row));
                }
            }
        }
        Operator::Process(stage) => process(stage, keyed),
        Operator::Window { stage, .. } | Operator::WindowJoin { stage, .. } => window(stage, keyed)?,
        Operator::Buffer(stage) => {
            let rows = stage.state.iter().map(|element| element.row.clone()).collect();
            kept.lists.entry(names::BUFFERED.to_owned()).or_default().push(rows);
        }
        Operator::Enrich(stage) => {
            kept.broadcast.entry(names::RULES.to_owned()).or_default().insert(stage.rules.clone());
        }
        Operator::IntervalJoin(stage) => {
            for ((side, key), rows) in &stage.kept {
                let name = match side {
                    Side::Left => names::LEFT_BUFFER,
                    Side::Right => names::RIGHT_BUFFER,
                };
                keyed.insert(of_key(name, key), Kept::RowsByTime(rows.clone()));
            }
            timers(&stage.timers, |side| About::Side(*side), keyed);
        }
    }
    Ok(())
}

fn of_key(state: &str, key: &Row) -> Address {
    Address { state: state.to_owned(), key: key.clone(), about: About::Key, time_ms: None }
}

fn of_window(state: &str, (key, pane): &(Row, Pane)) -> Address {
    Address { about: About::Window(*pane), ..of_key(state, key) }
}

fn timers<N: Ord + Clone>(timers: &Timers<N>, about: impl Fn(&N) -> About, keyed: &mut BTreeMap<Address, Kept>) {
    for timer in timers.iter() {
        let about = about(&timer.namespace);
        let time_ms = Some(timer.time_ms);
        keyed.insert(Address { about, time_ms, ..of_key(names::EVENT_TIMERS, &timer.key) }, Kept::Timer);
    }
}

fn folds(aggregates: &[Aggregate], items: &[Item]) -> Result<Vec<tidegate::pipeline::Accumulator>, FoldError> {
    aggregates.iter().map(|aggregate| contents::accumulator(aggregate, items)).collect()
}

fn process(stage: &ProcessStage, keyed: &mut BTreeMap<Address, Kept>) {
    let function = stage.planned.declared.function;
    for (key, state) in &stage.state {
        let KeptValues { values, times, timer_ms } = state;
        let count = values.len() as i64;
        let (name, kept) = match function {
            ProcessFunction::ValueAvg { .. } => (names::COUNT_AND_SUM, Kept::Pair(count, sum(values))),
            ProcessFunction::ListAvg { .. } => (names::VALUES, Kept::Ints(values.clone())),
            ProcessFunction::MapAvg { .. } => {
                (names::VALUES, Kept::IntMap((0..).zip(values.iter().copied()).collect()))
            }
            ProcessFunction::MapCount { .. } => (names::TIMES, Kept::IntMap(times.clone())),
            ProcessFunction::ReducingSum => (names::SUM, Kept::Int(sum(values))),
            ProcessFunction::AggregatingContains => {
                (names::AGGREGATE, Kept::Text(format!("Contains:{}", join(values, " and "))))
            }
            ProcessFunction::AggregatingAvg => (names::AGGREGATE, Kept::Pair(sum(values), count)),
            ProcessFunction::ValueCount | ProcessFunction::RawCount => (names::COUNT, Kept::Int(count)),
            ProcessFunction::Dedup => (names::SEEN, Kept::Flag(true)),
            ProcessFunction::Timers { .. } => (names::COUNT_AND_DUE, Kept::Pair(count, timer_ms.unwrap_or(i64::MIN))),
        };
        keyed.insert(of_key(name, key), kept);
    }
    timers(&stage.timers, |()| About::Key, keyed);
}

fn window(stage: &WindowStage, keyed: &mut BTreeMap<Address, Kept>) -> Result<(), FoldError> {
    let has_evictor = stage.windowing.evictor.is_some();
    for (place, items) in &stage.state.contents {
        let elements = contents::flat(items);
        let kept = match &stage.windowing.function {
            Function::Join { .. } => Kept::sided(elements.iter().map(|element| Side::untag(&element.row))),
            Function::Planned(_) if has_evictor => Kept::TimedRows(elements.into_iter().map(timed).collect()),
            Function::Planned(PlannedWindowFunction::Process(_)) => {
                Kept::Rows(elements.into_iter().map(|element| element.row).collect())
            }
            Function::Planned(PlannedWindowFunction::Aggregate(aggregates)) => Kept::Folds(folds(aggregates, items)?),
            Function::Planned(PlannedWindowFunction::Reduce(reduce)) => match contents::reduce(reduce, items)? {
                Some(row) => Kept::Row(row),
                None => continue,
            },
        };
        keyed.insert(of_window(names::WINDOW_CONTENTS, place), kept);
    }
    for (place, state) in &stage.state.triggers {
        let kept = [
            (names::TRIGGER_COUNT, state.count.map(Kept::Int)),
            (names::TRIGGER_NEXT, state.next_fire_ms.map(Kept::Int)),
            (names::TRIGGER_LAST, state.last.clone().map(|(row, _)| Kept::Row(row))),
        ];
        keyed.extend(kept.into_iter().filter_map(|(name, kept)| Some((of_window(name, place), kept?))));
    }
    for (key, sessions) in &stage.state.sessions {
        keyed.insert(of_key(names::MERGING_WINDOW_SET, key), Kept::Sessions(sessions.clone()));
    }
    keyed.extend(stage.state.firings.iter().map(|(place, n)| (of_window(names::FIRINGS, place), Kept::Int(*n))));
    keyed.extend(stage.state.key_firings.iter().map(|(key, n)| (of_key(names::KEY_FIRINGS, key), Kept::Int(*n))));
    timers(&stage.timers, |pane| About::Window(*pane), keyed);
    Ok(())
}

fn timed(element: Element) -> (Row, i64) {
    (element.row, element.time_ms)
}
