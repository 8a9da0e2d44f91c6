//! What functions must say that a machine's clock decides: exactly, if their results say when each record was processed.
//!
//! What has expired and which timers are due is up to the clock. But where each record has a result, and each result the time at
//! which its record was processed as the function saw it, what was committed is the history that decides: the results of a
//! key, in their order, are folded with the key's records, and each must be what follows from all before it. A restore begins
//! nothing anew: it goes on behind what was committed.

mod time_to_live;
mod timers;

use std::collections::{BTreeMap, BTreeSet};

use tidegate::pipeline::{
    Datum, Plan, PlannedOperation, PlannedProcess, ProcessFunction, Row, SinkKind, Stream, WindowTime,
};

use super::{
    ModelError, SinkModel, UpdatesDifference,
    records::millis,
    script::{ScriptModel, nothing},
};

/// Whether the clocks of machines were right all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    /// They were: no reading is before an earlier one.
    Right,
    /// One was not.
    Wrong,
}

/// How many elements of a list, or entries of a map, may be seen or not before nobody follows all of the ways.
const MOST_ENTRIES: u64 = 8;

/// Whether everything of a stage's results can be judged, if its records come in one order: each says when it was made, each
/// record has one, and they reach their sinks in that order.
pub(super) fn is_exact(plan: &Plan, stage: usize) -> bool {
    let PlannedOperation::Process(PlannedProcess { declared, .. }) = &plan.stages[stage].operation else {
        return false;
    };
    let is_of_each_record = match declared.function {
        ProcessFunction::ValueAvg { .. } | ProcessFunction::Dedup => declared.every_record,
        ProcessFunction::ListAvg { n } | ProcessFunction::MapAvg { n } => declared.every_record && n <= MOST_ENTRIES,
        // What expires at once is not there to be told.
        ProcessFunction::ReducingSum | ProcessFunction::AggregatingContains | ProcessFunction::AggregatingAvg => {
            declared.every_record || declared.ttl.as_ref().is_none_or(|ttl| millis(ttl.ttl) > 0)
        }
        ProcessFunction::MapCount { .. } | ProcessFunction::ValueCount => true,
        ProcessFunction::Timers { time: WindowTime::Processing, .. } => declared.every_record && declared.ttl.is_none(),
        ProcessFunction::RawCount | ProcessFunction::Timers { time: WindowTime::Event, .. } => false,
    };
    let mut sinks = plan.sinks.iter().filter(|sink| sink.inputs.contains(&Stream::Stage(stage)));
    let is_in_order = sinks.all(|sink| {
        !matches!(sink.kind, SinkKind::File(_))
            || (sink.inputs.len() == 1 && sink.parallelism == plan.stages[stage].parallelism)
    });
    declared.processed_at.is_some() && is_of_each_record && is_in_order
}

/// Has a stage, and what takes its results, in one subtask: so that what reaches it stands in one order.
pub(super) fn in_one_subtask(plan: &mut Plan, stage: usize) {
    plan.stages[stage].parallelism = 1;
    let sinks = plan.sinks.iter_mut().filter(|sink| sink.inputs.contains(&Stream::Stage(stage)));
    sinks.for_each(|sink| sink.parallelism = 1);
}

/// Decides whether lines are the results of a function with a clock.
#[derive(Debug, Clone)]
pub struct Processed {
    sink: SinkModel,
    planned: PlannedProcess,
    /// The records of each key that reach the stage, in their order.
    records: BTreeMap<Row, Vec<Arrival>>,
}

/// A record, and the value that the function works on.
#[derive(Debug, Clone)]
struct Arrival {
    row: Row,
    value: i64,
}

/// What a function says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Nothing,
    Record,
    Value(i64),
    Text(i64, String),
}

/// A line of a key: what it says, and when that was.
struct Line<'a> {
    text: &'a str,
    row: Row,
    at_ms: i64,
}

impl Processed {
    /// The judges of the sinks of a stage. `script` has played the plan in which the stage passes on its records, in one
    /// subtask.
    ///
    /// # Errors
    /// If the records of a key may come in several orders, or the function's value cannot be computed.
    pub(super) fn of(
        plan: &Plan,
        stage: usize,
        script: &ScriptModel,
        sinks: &mut [SinkModel],
    ) -> Result<BTreeMap<String, Self>, ModelError> {
        let name = &plan.stages[stage].name;
        let mut judges = BTreeMap::new();
        let PlannedOperation::Process(planned) = &plan.stages[stage].operation else { return Ok(judges) };
        if !script.is_sequential() {
            return Err(ModelError::Clock { name: name.clone() });
        }
        for sink in sinks.iter_mut().filter(|sink| sink.inputs.contains(&Stream::Stage(stage))) {
            let mut records: BTreeMap<Row, Vec<Arrival>> = BTreeMap::new();
            for record in script.records(sink.index) {
                let value = match &planned.value {
                    Some(value) => value.evaluate(&record.row).map_err(|error| ModelError::fails(name, error))?,
                    None => Datum::Int(0),
                };
                let arrival = Arrival { row: record.row.clone(), value: value.as_int().unwrap_or(0) };
                records.entry(record.row.project(&planned.key)).or_default().push(arrival);
            }
            sink.schema = plan.sinks[sink.index].schema.clone();
            sink.is_ordered = false;
            sink.places.clear();
            judges.insert(sink.name.clone(), Self { sink: sink.clone(), planned: planned.clone(), records });
        }
        Ok(judges)
    }

    /// Compares lines with what they must be. Those of a key come in their order, from the first one on; at their end some
    /// may be missing.
    pub fn difference<'a>(&self, lines: impl IntoIterator<Item = &'a str>, clocks: Clocks) -> UpdatesDifference {
        let mut difference = UpdatesDifference::default();
        let mut of_key: BTreeMap<Row, Vec<Line<'a>>> = BTreeMap::new();
        let key = self.planned.key_of_result();
        for text in lines {
            let row = self.sink.read(text);
            let at_ms = row.as_ref().and_then(|row| row.values().last()?.as_int());
            match row.zip(at_ms) {
                Some((row, at_ms)) => of_key.entry(row.project(&key)).or_default().push(Line { text, row, at_ms }),
                None => difference.extra.push(text.to_owned()),
            }
        }
        let keys: BTreeSet<&Row> = self.records.keys().chain(of_key.keys()).collect();
        for key in keys {
            let records = self.records.get(key).map_or(&[][..], Vec::as_slice);
            let lines = of_key.get(key).map_or(&[][..], Vec::as_slice);
            if let ProcessFunction::Timers { pattern, delay, .. } = self.planned.declared.function {
                self.check_timers(key, records, lines, (pattern, millis(delay)), &mut difference);
            } else {
                self.check_lifetimes(key, records, lines, clocks, &mut difference);
            }
        }
        difference
    }

    /// A result as a row; `record` is the one that caused it.
    fn result(&self, key: &Row, record: &Row, said: Said, at_ms: i64) -> Row {
        let own = match said {
            Said::Nothing => nothing(&self.planned, key, record.values().len()).values().to_vec(),
            Said::Record => record.values().to_vec(),
            Said::Value(value) => key.values().iter().cloned().chain([Datum::Int(value)]).collect(),
            Said::Text(value, text) => {
                key.values().iter().cloned().chain([Datum::Int(value), Datum::text(text)]).collect()
            }
        };
        own.into_iter().chain([Datum::Int(at_ms)]).collect()
    }
}

#[cfg(test)]
mod tests;
