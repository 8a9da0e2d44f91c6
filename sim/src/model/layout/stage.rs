//! What a stage of scripts keeps, read from the snapshots of its subtasks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, de::DeserializeOwned};
use tidegate::{
    Timestamp,
    operator::{OperatorSnapshot, Tagged},
    pipeline::{Assigner, BufferMode, PlannedOperation, PlannedWindow, PlannedWindowFunction, ProcessFunction, Row},
    record::StreamRecord,
    state::KeyedEntry,
    window::TimeWindow,
};

use super::{decode, names};
use crate::model::{
    kept::{About, Address, Kept, KeptByStage},
    script::{Pane, Side},
};

/// Which side of a join a timer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum TimerSide {
    Left,
    Right,
}

/// What the entries of a stage are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespaces {
    Key,
    TimeWindow,
    GlobalWindow,
    Side,
}

/// What all subtasks of a stage keep, with what cannot be read or is there twice.
pub fn kept<'a>(
    operation: &PlannedOperation,
    subtasks: impl Iterator<Item = &'a OperatorSnapshot>,
) -> (KeptByStage, Vec<String>) {
    let mut kept = KeptByStage::default();
    let mut problems = Vec::new();
    for snapshot in subtasks {
        for (name, state) in &snapshot.keyed {
            for entry in state.groups.values().flatten() {
                match self::entry(operation, name, entry) {
                    Ok((address, value)) => {
                        if kept.keyed.insert(address.clone(), value).is_some() {
                            problems.push(format!("+ {address}, a second time"));
                        }
                    }
                    Err(error) => problems.push(format!("! {name}: {error}")),
                }
            }
        }
        for (name, list) in &snapshot.lists {
            let rows: Result<Vec<Row>, String> = list.entries.iter().map(|entry| decode(entry)).collect();
            match rows {
                Ok(rows) => kept.lists.entry(name.clone()).or_default().push(rows),
                Err(error) => problems.push(format!("! {name}: {error}")),
            }
        }
        if let Err(error) = raw(operation, snapshot, &mut kept) {
            problems.push(format!("! raw state: {error}"));
        }
        for (name, entries) in &snapshot.broadcast {
            let decoded = entries.iter().map(|(key, value)| Ok((decode(key)?, decode(value)?)));
            match decoded.collect::<Result<BTreeMap<Row, Row>, String>>() {
                Ok(entries) => {
                    kept.broadcast.entry(name.clone()).or_insert_with(BTreeSet::new).insert(entries);
                }
                Err(error) => problems.push(format!("! {name}: {error}")),
            }
        }
    }
    let kept = kept.without_nothing();
    (if matches!(operation, PlannedOperation::WindowJoin(_)) { kept.of_join() } else { kept }, problems)
}

/// What functions write as bytes: under the names that the same would have as typed state.
fn raw(operation: &PlannedOperation, snapshot: &OperatorSnapshot, kept: &mut KeptByStage) -> Result<(), String> {
    if matches!(operation, PlannedOperation::Buffer { mode: BufferMode::Raw, .. }) {
        let rows = snapshot.raw.iter().map(|bytes| decode(bytes)).collect::<Result<Vec<Row>, _>>()?;
        kept.lists.entry(names::BUFFERED.to_owned()).or_default().push(rows);
    }
    for bytes in snapshot.raw_keyed.values() {
        let counts: Vec<(Row, i64)> = decode(bytes)?;
        for (key, count) in counts {
            let address = Address { state: names::COUNT.to_owned(), key, about: About::Key, time_ms: None };
            if kept.keyed.insert(address.clone(), Kept::Int(count)).is_some() {
                return Err(format!("{address} is there twice"));
            }
        }
    }
    Ok(())
}

fn entry(operation: &PlannedOperation, name: &str, entry: &KeyedEntry) -> Result<(Address, Kept), String> {
    let is_timer = matches!(name, names::EVENT_TIMERS | names::PROCESSING_TIMERS);
    let of_windows = namespaces(operation);
    let namespaces = match name {
        names::MERGING_WINDOW_SET | names::KEY_FIRINGS | names::LEFT_BUFFER | names::RIGHT_BUFFER => Namespaces::Key,
        _ => of_windows,
    };
    let about = match namespaces {
        Namespaces::Key => {
            decode::<()>(&entry.namespace)?;
            About::Key
        }
        Namespaces::TimeWindow => About::Window(pane(decode(&entry.namespace)?)),
        Namespaces::GlobalWindow => {
            decode::<()>(&entry.namespace)?;
            About::Window(Pane::Global)
        }
        Namespaces::Side => About::Side(match decode(&entry.namespace)? {
            TimerSide::Left => Side::Left,
            TimerSide::Right => Side::Right,
        }),
    };
    let time_ms = if is_timer { Some(decode::<Timestamp>(&entry.value)?.0) } else { None };
    let address = Address { state: name.to_owned(), key: decode(&entry.key)?, about, time_ms };
    let kept = if is_timer { Kept::Timer } else { value(operation, name, &entry.value)? };
    Ok((address, kept))
}

fn namespaces(operation: &PlannedOperation) -> Namespaces {
    let of = |assigner: &Assigner| match assigner {
        Assigner::Global | Assigner::Count { .. } => Namespaces::GlobalWindow,
        Assigner::Tumbling { .. }
        | Assigner::Sliding { .. }
        | Assigner::Session { .. }
        | Assigner::DynamicSession { .. } => Namespaces::TimeWindow,
    };
    match operation {
        PlannedOperation::Window(window) => of(&window.declared.assigner),
        PlannedOperation::WindowJoin(join) => of(&join.declared.assigner),
        PlannedOperation::IntervalJoin(_) => Namespaces::Side,
        PlannedOperation::Filter { .. }
        | PlannedOperation::Map { .. }
        | PlannedOperation::Repeat { .. }
        | PlannedOperation::Aggregate { .. }
        | PlannedOperation::Rolling { .. }
        | PlannedOperation::Process(_)
        | PlannedOperation::Buffer { .. }
        | PlannedOperation::Enrich(_) => Namespaces::Key,
    }
}

fn value(operation: &PlannedOperation, name: &str, bytes: &[u8]) -> Result<Kept, String> {
    match operation {
        PlannedOperation::Aggregate { .. } if name == names::AGGREGATE => Ok(Kept::Folds(decode(bytes)?)),
        PlannedOperation::Rolling { .. } if name == names::REDUCED => Ok(Kept::Row(decode(bytes)?)),
        PlannedOperation::Process(process) => of_function(process.declared.function, name, bytes),
        PlannedOperation::Window(window) => of_window(Some(window), name, bytes),
        PlannedOperation::WindowJoin(_) => of_window(None, name, bytes),
        PlannedOperation::IntervalJoin(_) if matches!(name, names::LEFT_BUFFER | names::RIGHT_BUFFER) => {
            let rows: BTreeMap<Timestamp, Vec<Row>> = decode(bytes)?;
            Ok(Kept::RowsByTime(rows.into_iter().map(|(time, rows)| (time.0, rows)).collect()))
        }
        PlannedOperation::Filter { .. }
        | PlannedOperation::Map { .. }
        | PlannedOperation::Repeat { .. }
        | PlannedOperation::Aggregate { .. }
        | PlannedOperation::Rolling { .. }
        | PlannedOperation::IntervalJoin(_)
        | PlannedOperation::Buffer { .. }
        | PlannedOperation::Enrich(_) => Err("nothing of this name is kept here".to_owned()),
    }
}

fn of_function(function: ProcessFunction, name: &str, bytes: &[u8]) -> Result<Kept, String> {
    let (of_function, kept) = match function {
        ProcessFunction::ValueAvg { .. } => (names::COUNT_AND_SUM, count_and_sum(bytes)),
        ProcessFunction::ListAvg { .. } => (names::VALUES, decode(bytes).map(Kept::Ints)),
        ProcessFunction::MapAvg { .. } => (names::VALUES, indexed(bytes)),
        ProcessFunction::MapCount { .. } => (names::TIMES, decode(bytes).map(Kept::IntMap)),
        ProcessFunction::ReducingSum => (names::SUM, decode(bytes).map(Kept::Int)),
        ProcessFunction::AggregatingContains => (names::AGGREGATE, decode(bytes).map(Kept::Text)),
        ProcessFunction::AggregatingAvg => (names::AGGREGATE, pair(bytes)),
        ProcessFunction::ValueCount | ProcessFunction::RawCount => (names::COUNT, decode(bytes).map(Kept::Int)),
        ProcessFunction::Dedup => (names::SEEN, decode(bytes).map(Kept::Flag)),
        ProcessFunction::Timers { .. } => (names::COUNT_AND_DUE, pair(bytes)),
    };
    if name != of_function {
        return Err("nothing of this name is kept here".to_owned());
    }
    kept
}

fn pair(bytes: &[u8]) -> Result<Kept, String> {
    let (one, other) = decode(bytes)?;
    Ok(Kept::Pair(one, other))
}

fn count_and_sum(bytes: &[u8]) -> Result<Kept, String> {
    let (count, sum): (u64, i64) = decode(bytes)?;
    Ok(Kept::Pair(signed(count)?, sum))
}

fn indexed(bytes: &[u8]) -> Result<Kept, String> {
    let values: BTreeMap<u64, i64> = decode(bytes)?;
    let values: Result<_, String> = values.into_iter().map(|(index, value)| Ok((signed(index)?, value))).collect();
    Ok(Kept::IntMap(values?))
}

fn signed(number: u64) -> Result<i64, String> {
    i64::try_from(number).map_err(|error| error.to_string())
}

/// `None` is a join.
fn of_window(window: Option<&PlannedWindow>, name: &str, bytes: &[u8]) -> Result<Kept, String> {
    let evicts = window.is_some_and(|window| {
        let slides = matches!(window.declared.assigner, Assigner::Count { slide: Some(_), .. });
        window.declared.evictor.is_some() || slides
    });
    match name {
        names::WINDOW_CONTENTS => match window.map(|window| &window.function) {
            None => {
                let side = |row: Tagged<Row, Row>| match row {
                    Tagged::First(row) => (Side::Left, row),
                    Tagged::Second(row) => (Side::Right, row),
                };
                Ok(Kept::sided(many(bytes)?.into_iter().map(side)))
            }
            Some(_) if evicts => {
                let timed = |record: StreamRecord<Row>| (record.value, record.timestamp.0);
                Ok(Kept::TimedRows(many(bytes)?.into_iter().map(timed).collect()))
            }
            Some(PlannedWindowFunction::Aggregate(_)) => Ok(Kept::Folds(decode(bytes)?)),
            Some(PlannedWindowFunction::Reduce(_)) => Ok(Kept::Row(decode(bytes)?)),
            Some(PlannedWindowFunction::Process(_)) => Ok(Kept::Rows(many(bytes)?)),
        },
        names::MERGING_WINDOW_SET => {
            let sessions: Vec<(TimeWindow, TimeWindow)> = many(bytes)?;
            Ok(Kept::Sessions(sessions.into_iter().map(|(window, under)| (pane(window), pane(under))).collect()))
        }
        names::TRIGGER_COUNT => Ok(Kept::Int(signed(decode(bytes)?)?)),
        names::TRIGGER_NEXT => Ok(Kept::Int(decode::<Timestamp>(bytes)?.0)),
        names::TRIGGER_LAST => Ok(Kept::Row(decode(bytes)?)),
        names::FIRINGS | names::KEY_FIRINGS => Ok(Kept::Int(decode(bytes)?)),
        _ => Err("nothing of this name is kept here".to_owned()),
    }
}

fn many<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, String> {
    decode(bytes)
}

fn pane(window: TimeWindow) -> Pane {
    Pane::Time { start_ms: window.start.0, end_ms: window.end.0 }
}
