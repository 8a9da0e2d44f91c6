//! What is certain of results that a machine's clock decides, or which subtask a record goes to.
//!
//! When a timer of such a clock fires, in which window a record falls, whether state has expired, depends on the run. But
//! what reaches the stage is known, and with it how many results there must or may be for each key: none is lost that a
//! record causes, none comes twice, none comes of nothing. State that lives longer than any run is exact. The same holds of
//! buffers in several subtasks, to which records are dealt in turn, from the first one on again after a restore.
//!
//! If results say when their records were processed, all is certain: [`processed`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tidegate::pipeline::{
    AggregateFunction, Assigner, BufferMode, Expression, FieldType, Plan, PlannedOperation, PlannedStage,
    PlannedWindowFunction, ProcessFunction, Row, Stream, Trigger, WindowTime,
};

use super::{Clocks, ModelError, Multiset, SinkModel, UpdatesDifference, processed, script::ScriptModel};

/// No run lasts as long as this.
const LONGER_THAN_ANY_RUN: Duration = Duration::from_secs(1_800);

/// A plan without its clock, and the stage that lost it.
pub(super) struct WithoutClock {
    /// The plan: the stage passes its records on, or keeps its state for ever.
    pub plan: Plan,
    /// The stage.
    pub index: usize,
    /// The stage, if it passes its records on.
    stage: Option<usize>,
    /// Whether it does so because its results can be judged exactly.
    pub is_exact: bool,
}

/// A stage whose results depend on which of its subtasks a record goes to.
pub(super) fn dealt(plan: &Plan) -> Option<&str> {
    let is_dealt = |stage: &&PlannedStage| {
        let is_buffer =
            matches!(stage.operation, PlannedOperation::Buffer { mode: BufferMode::Split | BufferMode::Raw, .. });
        is_buffer && stage.parallelism > 1
    };
    plan.stages.iter().find(is_dealt).map(|stage| stage.name.as_str())
}

/// Takes the clock out of a stage.
///
/// # Errors
/// [`ModelError::Clock`] if another stage follows it, or it is none of those of which something is certain.
pub(super) fn without_clock(plan: &Plan, name: &str) -> Result<WithoutClock, ModelError> {
    let refused = || ModelError::Clock { name: name.to_owned() };
    let index = plan.stages.iter().position(|stage| stage.name == name).ok_or_else(refused)?;
    let mut plan = plan.clone();
    let is_exact = processed::is_exact(&plan, index);
    if let PlannedOperation::Process(process) = &mut plan.stages[index].operation
        && process.declared.processed_at.is_none()
        && process.declared.ttl.as_ref().is_some_and(|ttl| ttl.ttl >= LONGER_THAN_ANY_RUN)
    {
        process.declared.ttl = None;
        return Ok(WithoutClock { plan, index, stage: None, is_exact: false });
    }
    let followed = plan.stages.iter().any(|stage| stage.inputs.contains(&Stream::Stage(index)));
    if followed || !(is_exact || Fact::of(&plan.stages[index]).is_some()) {
        return Err(refused());
    }
    if is_exact {
        processed::in_one_subtask(&mut plan, index);
    }
    let stage = &mut plan.stages[index];
    let condition = Expression::parse("true", &stage.input_schema).map_err(|_| refused())?;
    stage.operation = PlannedOperation::Filter { condition };
    stage.schema = stage.input_schema.clone();
    for sink in plan.sinks.iter_mut().filter(|sink| sink.inputs.contains(&Stream::Stage(index))) {
        sink.schema = plan.stages[index].schema.clone();
    }
    Ok(WithoutClock { plan, index, stage: Some(index), is_exact })
}

/// Decides whether lines can be the results of a stage with a clock.
#[derive(Debug, Clone)]
pub struct Certain {
    sink: SinkModel,
    fact: Fact,
    key_length: usize,
    /// The records of each key that reach the stage.
    records: BTreeMap<Row, u64>,
    /// Those records as lines.
    lines: Multiset,
    /// What of those records is listed, and how often.
    listed: BTreeMap<String, u64>,
}

/// What is certain of the results of a key.
#[derive(Debug, Clone)]
enum Fact {
    /// Each record has one. The field counts from 1 to the number of records at most, if one is named.
    EachRecord { counted: Option<usize> },
    /// So many records have one at most.
    Records(u64),
    /// They are some of the records, and at least one.
    SomeRecords,
    /// Each time of a timer has one at most, and each record has one timer.
    Timers { stale: bool },
    /// They are made of `threshold` records each, no record in two of them; in each subtask less than `threshold` are left.
    Batches { threshold: u64, subtasks: u64, counted: Option<usize>, listed: Option<(usize, Expression)> },
    /// Each window has one at most, whose number of records is in this field; a record is in so many windows.
    Windows { records: Option<usize>, start: Option<usize>, windows_per_record: u64, purged: bool },
}

impl Fact {
    fn of(stage: &PlannedStage) -> Option<Self> {
        match &stage.operation {
            // Of such results nobody knows anything unless all is known.
            PlannedOperation::Process(process)
                if process.declared.processed_at.is_some() || process.declared.every_record =>
            {
                None
            }
            PlannedOperation::Process(process) => Some(match process.declared.function {
                ProcessFunction::ValueCount | ProcessFunction::RawCount => {
                    Self::EachRecord { counted: Some(process.key.len()) }
                }
                ProcessFunction::MapCount { .. }
                | ProcessFunction::ReducingSum
                | ProcessFunction::AggregatingAvg
                | ProcessFunction::AggregatingContains => Self::EachRecord { counted: None },
                ProcessFunction::ValueAvg { n } | ProcessFunction::ListAvg { n } | ProcessFunction::MapAvg { n } => {
                    Self::Records(n)
                }
                ProcessFunction::Dedup => Self::SomeRecords,
                ProcessFunction::Timers { time: WindowTime::Processing, pattern, .. } => {
                    Self::Timers { stale: pattern != tidegate::pipeline::TimerPattern::Every }
                }
                ProcessFunction::Timers { time: WindowTime::Event, .. } => return None,
            }),
            PlannedOperation::Window(window) => {
                let key_length = window.key.len();
                let is_counted = !window.aggregates().is_empty();
                let bounds = if window.has_bounds { 2 } else { 0 };
                let own = matches!(window.declared.trigger, None | Some(Trigger::ProcessingTime));
                let windows_per_record = match window.declared.assigner {
                    Assigner::Sliding { size, slide, .. } => {
                        size.as_millis().div_ceil(slide.as_millis().max(1)).try_into().unwrap_or(u64::MAX)
                    }
                    _ => 1,
                };
                Some(Self::Windows {
                    records: is_counted.then_some(key_length + bounds),
                    // Reduced records keep all of their fields.
                    start: (own && window.has_bounds).then_some(match &window.function {
                        PlannedWindowFunction::Reduce(_) => stage.input_schema.fields.len(),
                        PlannedWindowFunction::Aggregate(_) | PlannedWindowFunction::Process(_) => key_length,
                    }),
                    windows_per_record,
                    purged: own || matches!(window.declared.trigger, Some(Trigger::Purging { .. })),
                })
            }
            PlannedOperation::Buffer { threshold, mode: BufferMode::Split | BufferMode::Raw, aggregates } => {
                let counted = aggregates.iter().position(|aggregate| aggregate.function == AggregateFunction::Count);
                let listed = aggregates.iter().enumerate().find_map(|(index, aggregate)| {
                    let argument =
                        aggregate.argument.as_ref().filter(|_| aggregate.function == AggregateFunction::List)?;
                    (argument.field_type() == FieldType::Int).then(|| (index, argument.clone()))
                });
                Some(Self::Batches {
                    threshold: (*threshold).max(1),
                    subtasks: u64::from(stage.parallelism),
                    counted,
                    listed,
                })
            }
            _ => None,
        }
    }
}

impl Certain {
    /// The certain facts of the sinks of a stage that lost its clock. `script` has played the plan without it.
    pub(super) fn of(
        plan: &Plan,
        without: &WithoutClock,
        script: &ScriptModel,
        sinks: &mut [SinkModel],
    ) -> BTreeMap<String, Self> {
        let mut certain = BTreeMap::new();
        let Some(stage) = without.stage else { return certain };
        let Some(fact) = Fact::of(&plan.stages[stage]) else { return certain };
        let key = match &plan.stages[stage].operation {
            PlannedOperation::Process(process) => process.key.clone(),
            PlannedOperation::Window(window) => window.key.clone(),
            _ => Vec::new(),
        };
        for sink in sinks.iter_mut().filter(|sink| sink.inputs.contains(&Stream::Stage(stage))) {
            let reaching = script.records(sink.index);
            let lines = sink.lines(&reaching);
            let mut records: BTreeMap<Row, u64> = BTreeMap::new();
            for record in &reaching {
                *records.entry(record.row.project(&key)).or_default() += 1;
            }
            let mut listed: BTreeMap<String, u64> = BTreeMap::new();
            if let Fact::Batches { listed: Some((_, argument)), .. } = &fact {
                let values = reaching.iter().filter_map(|record| argument.evaluate(&record.row).ok()?.as_int());
                values.for_each(|value| *listed.entry(value.to_string()).or_default() += 1);
            }
            sink.schema = plan.sinks[sink.index].schema.clone();
            sink.is_ordered = false;
            sink.places.clear();
            let of_sink =
                Self { sink: sink.clone(), fact: fact.clone(), key_length: key.len(), records, lines, listed };
            certain.insert(sink.name.clone(), of_sink);
        }
        certain
    }

    /// Compares all lines with what is certain of them. A clock that was wrong may have come to the same time again.
    pub fn difference(&self, actual: &Multiset, clocks: Clocks) -> UpdatesDifference {
        let mut difference = UpdatesDifference::default();
        let mut of_key: BTreeMap<Row, Vec<(String, Row)>> = BTreeMap::new();
        for (line, count) in actual.iter() {
            let Some(row) = self.sink.read(line) else {
                difference.extra.push(line.to_owned());
                continue;
            };
            let key = Row::new(row.values()[..self.key_length].to_vec());
            let lines = of_key.entry(key).or_default();
            lines.extend((0..count).map(|_| (line.to_owned(), row.clone())));
        }
        let keys: BTreeSet<&Row> = self.records.keys().chain(of_key.keys()).collect();
        for key in keys {
            let lines = of_key.get(key).map_or(&[][..], Vec::as_slice);
            self.check_key(key, lines, clocks, &mut difference);
        }
        if let Fact::Batches { listed: Some((index, _)), .. } = &self.fact {
            self.check_listed(*index, of_key.values().flatten(), &mut difference);
        }
        if matches!(self.fact, Fact::SomeRecords) {
            let more = actual.minus(&self.lines);
            difference.extra.extend(more.iter().map(|(line, _)| line.to_owned()));
        }
        difference
    }

    /// Nothing is listed more often than it has come.
    fn check_listed<'a>(
        &self,
        index: usize,
        lines: impl Iterator<Item = &'a (String, Row)>,
        difference: &mut UpdatesDifference,
    ) {
        let mut left = self.listed.clone();
        for (line, row) in lines {
            let texts = row.values().get(index).and_then(|value| value.as_str()).unwrap_or_default().split(',');
            let mut missing = false;
            for text in texts {
                match left.get_mut(text).filter(|count| **count > 0) {
                    Some(count) => *count -= 1,
                    None => missing = true,
                }
            }
            if missing {
                difference.extra.push(line.clone());
            }
        }
    }

    fn check_key(&self, key: &Row, lines: &[(String, Row)], clocks: Clocks, difference: &mut UpdatesDifference) {
        let records = self.records.get(key).copied().unwrap_or(0);
        let found = lines.len() as u64;
        let field = |row: &Row, index: usize| row.values().get(index).and_then(|value| value.as_int());
        let too_many =
            |most: u64| lines.iter().skip(usize::try_from(most).unwrap_or(usize::MAX)).map(|(line, _)| line.clone());
        match &self.fact {
            Fact::EachRecord { counted } => {
                difference.extra.extend(too_many(records));
                difference.lost.extend((found..records).map(|_| format!("a result of key {key}")));
                let Some(counted) = counted else { return };
                let possible =
                    |row: &Row| field(row, *counted).is_some_and(|count| (1..=records as i64).contains(&count));
                difference.extra.extend(lines.iter().filter(|(_, row)| !possible(row)).map(|(line, _)| line.clone()));
            }
            Fact::Records(n) => difference.extra.extend(too_many(records / (*n).max(1))),
            Fact::Batches { threshold, subtasks, counted, .. } => {
                difference.extra.extend(too_many(records / threshold));
                let least = records.saturating_sub(subtasks * (threshold - 1)).div_ceil(*threshold);
                difference.lost.extend((found..least).map(|_| "a batch".to_owned()));
                let possible = |row: &Row| counted.is_none_or(|counted| field(row, counted) == Some(*threshold as i64));
                difference.extra.extend(lines.iter().filter(|(_, row)| !possible(row)).map(|(line, _)| line.clone()));
            }
            Fact::SomeRecords => {
                if found == 0 && records > 0 {
                    difference.lost.push(format!("any result of key {key}"));
                }
            }
            Fact::Timers { stale } => {
                difference.extra.extend(too_many(records));
                let mut texts = BTreeSet::new();
                for (line, row) in lines {
                    let value = field(row, self.key_length).unwrap_or(0);
                    let possible = (1..=records as i64).contains(&value) || (*stale && value == -1);
                    let time = row.values().get(self.key_length + 1).and_then(|text| text.as_str()).map(time_of);
                    let again = !texts.insert(time) && clocks == Clocks::Right;
                    if !possible || again {
                        difference.extra.push(line.clone());
                    }
                }
            }
            Fact::Windows { records: counted, start, windows_per_record, purged } => {
                let mut starts = BTreeSet::new();
                let mut sum = 0;
                for (line, row) in lines {
                    let again = start.is_some_and(|start| !starts.insert(field(row, start)));
                    let again = again && clocks == Clocks::Right;
                    let in_window = counted.and_then(|counted| field(row, counted)).unwrap_or(0);
                    sum += in_window;
                    let most =
                        if *purged { records.saturating_mul(*windows_per_record) as i64 } else { records as i64 };
                    let too_many = if *purged { sum > most } else { in_window > most };
                    if again || too_many {
                        difference.extra.push(line.clone());
                    }
                }
            }
        }
    }
}

/// The time in the text of a timer's result: `timer@T,wm=W`, `timeout@T`.
fn time_of(text: &str) -> String {
    let time = text.split_once('@').map_or(text, |(_, time)| time);
    time.split_once(',').map_or(time, |(time, _)| time).to_owned()
}

#[cfg(test)]
mod tests {
    use tidegate::{
        pipeline::{
            AtScriptEnd, Checkpoint, Field, FieldType, FileSink, Format, Operation, Pipeline, ProcessOperation,
            ScriptSource, ScriptStep, Sink, SinkKind, Source, SourceKind, Stage, StateTtl, TimerPattern, WindowBounds,
            WindowOperation,
        },
        row,
    };

    use super::*;
    use crate::model::Model;

    fn model(operation: Operation) -> Model {
        Model::new(&pipeline(operation)).unwrap()
    }

    fn pipeline(operation: Operation) -> Pipeline {
        let columns = vec![Field::new("key", FieldType::Text), Field::new("value", FieldType::Int)];
        let steps = [row!["a", 1], row!["a", 2], row!["b", 3]].map(|row| ScriptStep::element(row, 0));
        let script = ScriptSource { at_end: AtScriptEnd::Drain, ..ScriptSource::new(columns, steps) };
        let sink = SinkKind::File(FileSink::new("/out", Format::Csv));
        Pipeline::new("certain")
            .with_checkpoint(Checkpoint::every(Duration::from_secs(1)))
            .source(Source::new("script", SourceKind::Script(script)))
            .stage(Stage::new("stage", "script", operation))
            .sink(Sink::new("sink", "stage", sink))
    }

    fn process(function: ProcessFunction, ttl: Duration) -> Operation {
        Operation::Process(ProcessOperation {
            value: function.reads_value().then(|| "value".into()),
            ttl: (!ttl.is_zero()).then(|| StateTtl::new(ttl)),
            ..ProcessOperation::new(&["key"], function)
        })
    }

    #[track_caller]
    fn check(model: &Model, lines: &[&str], lost: usize, extra: &[&str]) {
        let lines: Multiset = lines.iter().map(|line| (*line).to_owned()).collect();
        let difference = model.certain()["sink"].difference(&lines, Clocks::Right);
        assert_eq!(
            (difference.lost.len(), difference.extra.iter().map(String::as_str).collect::<Vec<_>>()),
            (lost, extra.to_vec())
        );
    }

    #[test]
    fn each_record_has_one_result_whether_state_has_expired_or_not() {
        let model = model(process(ProcessFunction::ValueCount, Duration::from_secs(1)));
        check(&model, &["a,1", "a,2", "b,1"], 0, &[]);
        check(&model, &["a,1", "a,1", "b,1"], 0, &[]);
        check(&model, &["a,1", "b,1"], 1, &[]);
        check(&model, &["a,1", "a,2", "b,1", "b,1"], 0, &["b,1"]);
        check(&model, &["a,1", "a,3", "b,1"], 0, &["a,3"]);
        check(&model, &["a,1", "a,2", "b,1", "c,1"], 0, &["c,1", "c,1"]);
    }

    #[test]
    fn state_that_lives_longer_than_any_run_has_one_right_result() {
        let model = model(process(ProcessFunction::ValueCount, Duration::from_secs(3_600)));
        let lines: Multiset = ["a,1", "a,2", "b,1"].map(str::to_owned).into_iter().collect();
        assert_eq!(model.expected_output()["sink"], lines);
    }

    #[test]
    fn buffers_of_several_subtasks_list_each_record_once_and_keep_less_than_a_batch_each() {
        let list = tidegate::pipeline::Assignment::new("all", "list(value)");
        let count = tidegate::pipeline::Assignment::new("n", "count()");
        let buffer = tidegate::pipeline::BufferOperation {
            threshold: 2,
            mode: BufferMode::Split,
            aggregates: vec![count, list],
        };
        let mut pipeline = pipeline(Operation::Buffer(buffer));
        pipeline.stages[0].parallelism = Some(2);
        let model = Model::new(&pipeline).unwrap();
        check(&model, &["2,\"1,3\""], 0, &[]);
        check(&model, &["2,\"3,2\""], 0, &[]);
        check(&model, &[], 1, &[]);
        check(&model, &["2,\"1,1\""], 0, &["2,\"1,1\""]);
        check(&model, &["1,1", "2,\"2,3\""], 0, &["2,\"2,3\"", "1,1"]);
    }

    #[test]
    fn a_timer_of_a_record_fires_once_at_most() {
        let timers = ProcessFunction::Timers {
            pattern: TimerPattern::Every,
            delay: Duration::from_secs(1),
            time: WindowTime::Processing,
        };
        let model = model(process(timers, Duration::ZERO));
        check(&model, &["a,1,\"timer@5,wm=0\"", "a,2,\"timer@9,wm=0\""], 0, &[]);
        check(&model, &["a,2,\"timer@5,wm=0\"", "a,2,\"timer@5,wm=0\""], 0, &["a,2,\"timer@5,wm=0\""]);
        check(&model, &["b,2,\"timer@5,wm=0\""], 0, &["b,2,\"timer@5,wm=0\""]);
    }

    #[test]
    fn a_record_is_in_one_window_at_most() {
        let assigner = Assigner::Tumbling { size: Duration::from_secs(1), offset: Duration::ZERO };
        let mut window =
            WindowOperation::new(&["key"], assigner, [tidegate::pipeline::Assignment::new("n", "count()")]);
        window.time = WindowTime::Processing;
        window.bounds = WindowBounds::Shown;
        let model = model(Operation::Window(window));
        check(&model, &["a,0,1000,1", "a,1000,2000,1", "b,0,1000,1"], 0, &[]);
        check(&model, &["a,0,1000,1", "a,0,1000,1"], 0, &["a,0,1000,1"]);
        check(&model, &["b,0,1000,1", "b,1000,2000,1"], 0, &["b,1000,2000,1"]);
    }

    #[test]
    fn a_clock_that_went_back_comes_to_a_window_and_to_a_timer_again() {
        let assigner = Assigner::Tumbling { size: Duration::from_secs(1), offset: Duration::ZERO };
        let mut window =
            WindowOperation::new(&["key"], assigner, [tidegate::pipeline::Assignment::new("n", "count()")]);
        window.time = WindowTime::Processing;
        window.bounds = WindowBounds::Shown;
        let timers = ProcessFunction::Timers {
            pattern: TimerPattern::Every,
            delay: Duration::from_secs(1),
            time: WindowTime::Processing,
        };
        let again: [(Operation, [&str; 2]); 2] = [
            (Operation::Window(window), ["a,0,1000,1", "a,0,1000,1"]),
            (process(timers, Duration::ZERO), ["a,1,\"timer@5,wm=0\"", "a,2,\"timer@5,wm=0\""]),
        ];
        for (operation, lines) in again {
            let model = model(operation);
            let lines: Multiset = lines.iter().map(|line| (*line).to_owned()).collect();
            let extra = |clocks| model.certain()["sink"].difference(&lines, clocks).extra.len();
            assert_eq!((extra(Clocks::Right), extra(Clocks::Wrong)), (1, 0));
        }
    }
}
