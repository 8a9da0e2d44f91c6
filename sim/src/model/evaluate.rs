//! The stages over records that are all there at once.
//!
//! A stage is a function from lists to a list. At the end of a run everything is emitted. At a cut, what a window or a
//! final aggregate has emitted is what it no longer keeps; so a cut is evaluated with the groups that were found in
//! state, stage by stage.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tidegate::{
    Timestamp,
    id::OperatorUid,
    pipeline::{Aggregate, Assigner, Datum, Emit, Plan, PlannedOperation, PlannedStage, Row, Stream},
    window::TimeWindow,
};

use super::{
    ModelError, check, fold,
    layout::{self, UnderWayRecord},
    records::{Place, Record, millis},
};

/// What a fold keeps apart: a key, and a window if there are windows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The values of the key's fields.
    pub key: Row,
    /// The window.
    pub window: Option<TimeWindow>,
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.window {
            Some(window) => write!(f, "key {} window {window}", self.key),
            None => write!(f, "key {}", self.key),
        }
    }
}

/// The result of each aggregate of a group; `None` is a sum that does not fit into 64 bits.
pub type Results = Vec<Option<Datum>>;

/// The state of one stage: the results of what it keeps.
pub type Folds = BTreeMap<Group, Results>;

/// The records, with their event times, that are under way to each stage.
pub type UnderWay = BTreeMap<OperatorUid, Vec<(UnderWayRecord, Option<i64>)>>;

/// Which groups each stage still keeps.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept<'a> {
    /// None but running aggregates: the end of a run.
    Nothing,
    /// All: nothing has been emitted by windows and final aggregates.
    All,
    /// These.
    Exactly(&'a BTreeMap<OperatorUid, BTreeSet<Group>>),
}

impl Kept<'_> {
    fn keeps(self, uid: &OperatorUid, group: &Group) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Exactly(kept) => kept.get(uid).is_some_and(|groups| groups.contains(group)),
        }
    }
}

/// Whether the updates of a running aggregate are the same in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Updates {
    /// Their records come in one order.
    InOrder,
    /// Several orders are possible: there is nothing to emit that must be so.
    Interleaved,
}

/// What records lead to.
#[derive(Debug, Clone, Default)]
pub(super) struct Evaluation {
    /// What each stage has folded, emitted or not.
    pub folds: BTreeMap<OperatorUid, Folds>,
    /// The arguments of what each running aggregate has folded.
    pub arguments: BTreeMap<OperatorUid, BTreeMap<Row, Vec<Vec<Datum>>>>,
    /// What each stage has emitted.
    stages: Vec<Vec<Arc<Record>>>,
}

impl Evaluation {
    pub(super) fn of(
        plan: &Plan,
        sources: &[Vec<Arc<Record>>],
        kept: Kept<'_>,
        under_way: &UnderWay,
    ) -> Result<Self, ModelError> {
        let mut evaluation = Self::default();
        let stages: BTreeSet<OperatorUid> = plan.stages.iter().map(|stage| layout::uid(&stage.name)).collect();
        if let Some(uid) = under_way.keys().find(|uid| !stages.contains(uid)) {
            return Err(ModelError::NoSuchCut(format!("records are under way to {uid}, which is no stage")));
        }
        for stage in &plan.stages {
            let mut input = evaluation.records(&stage.inputs, sources);
            if let Some(under_way) = under_way.get(&layout::uid(&stage.name)) {
                take_out(&mut input, stage, under_way)?;
            }
            let output = evaluation.stage(plan, stage, input, kept)?;
            evaluation.stages.push(output);
        }
        Ok(evaluation)
    }

    /// All records of some streams.
    pub(super) fn records(&self, streams: &[Stream], sources: &[Vec<Arc<Record>>]) -> Vec<Arc<Record>> {
        let of = |stream: &Stream| match stream {
            Stream::Source(index) => sources[*index].clone(),
            Stream::Stage(index) => self.stages[*index].clone(),
            // No record is late, or the model would not have been made.
            Stream::Late(_) => Vec::new(),
        };
        streams.iter().flat_map(of).collect()
    }

    fn stage(
        &mut self,
        plan: &Plan,
        stage: &PlannedStage,
        input: Vec<Arc<Record>>,
        kept: Kept<'_>,
    ) -> Result<Vec<Arc<Record>>, ModelError> {
        let fails = |error| ModelError::fails(&stage.name, error);
        let mut output = Vec::new();
        match &stage.operation {
            PlannedOperation::Filter { condition } => {
                for record in input {
                    if condition.holds(&record.row).map_err(fails)? {
                        output.push(record);
                    }
                }
            }
            PlannedOperation::Map { fields } => {
                for record in input {
                    let row = fields.iter().map(|field| field.evaluate(&record.row)).collect::<Result<Row, _>>();
                    output.push(Arc::new(Record { row: row.map_err(fails)?, ..(*record).clone() }));
                }
            }
            PlannedOperation::Window(window) => {
                let (key, aggregates) = (&window.key, window.aggregates());
                let Assigner::Tumbling { size, offset } = window.declared.assigner else {
                    return Err(ModelError::not_modelled(&stage.name, "windows that are not tumbling"));
                };
                let window_of = |record: &Record| {
                    let time_ms = record.time_ms.expect("a planned window has event time");
                    Some(window_of(time_ms, millis(size), millis(offset)))
                };
                let groups = group(stage, &input, key, aggregates, window_of)?;
                self.emit_groups(stage, aggregates, groups, kept, &mut output)?;
            }
            PlannedOperation::Aggregate { key, aggregates, emit: Emit::Final } => {
                let groups = group(stage, &input, key, aggregates, |_| None)?;
                self.emit_groups(stage, aggregates, groups, kept, &mut output)?;
            }
            PlannedOperation::Aggregate { key, aggregates, emit: Emit::Updates } => {
                let updates = if check::is_sequential(plan, stage) { Updates::InOrder } else { Updates::Interleaved };
                output = self.update(stage, &input, (key, aggregates), updates)?;
            }
            _ => return Err(ModelError::not_modelled(&stage.name, "an operation")),
        }
        Ok(output)
    }

    /// Remembers what a stage has folded, and emits the results of what it does not keep.
    fn emit_groups(
        &mut self,
        stage: &PlannedStage,
        aggregates: &[Aggregate],
        groups: BTreeMap<Group, Vec<Vec<Datum>>>,
        kept: Kept<'_>,
        output: &mut Vec<Arc<Record>>,
    ) -> Result<(), ModelError> {
        let uid = layout::uid(&stage.name);
        let mut folds = Folds::new();
        for (group, rows) in groups {
            let results = fold::results(aggregates, &rows);
            if !kept.keeps(&uid, &group) {
                output.push(Arc::new(result(stage, &group, &results)?));
            }
            folds.insert(group, results);
        }
        self.folds.insert(uid, folds);
        Ok(())
    }

    /// Remembers what a running aggregate has folded, and emits the results after each record.
    fn update(
        &mut self,
        stage: &PlannedStage,
        input: &[Arc<Record>],
        (key, aggregates): (&[usize], &[Aggregate]),
        updates: Updates,
    ) -> Result<Vec<Arc<Record>>, ModelError> {
        let mut output = Vec::new();
        let mut seen: BTreeMap<Row, Vec<Vec<Datum>>> = BTreeMap::new();
        for record in input {
            let group = Group { key: record.row.project(key), window: None };
            let rows = seen.entry(group.key.clone()).or_default();
            rows.push(arguments(stage, aggregates, &record.row)?);
            if updates == Updates::InOrder {
                let place = Place { sequence: format!("{group} of {}", stage.name), position: rows.len() as i64 };
                let emitted = result(stage, &group, &fold::results(aggregates, rows))?;
                output.push(Arc::new(Record { time_ms: record.time_ms, place: Some(place), ..emitted }));
            }
        }
        let fold = |(key, rows): (&Row, &Vec<Vec<Datum>>)| {
            (Group { key: key.clone(), window: None }, fold::results(aggregates, rows))
        };
        self.folds.insert(layout::uid(&stage.name), seen.iter().map(fold).collect());
        self.arguments.insert(layout::uid(&stage.name), seen);
        Ok(output)
    }
}

/// Takes records out that are under way: each once, whoever sent it.
fn take_out(
    input: &mut Vec<Arc<Record>>,
    stage: &PlannedStage,
    under_way: &[(UnderWayRecord, Option<i64>)],
) -> Result<(), ModelError> {
    let fold = match &stage.operation {
        PlannedOperation::Window(window) => Some((window.key.as_slice(), window.aggregates())),
        PlannedOperation::Aggregate { key, aggregates, .. } => Some((key.as_slice(), aggregates.as_slice())),
        _ => None,
    };
    for (under_way, time_ms) in under_way {
        let is_it = |record: &Arc<Record>| {
            record.time_ms == *time_ms
                && match (under_way, fold) {
                    (UnderWayRecord::Row(row), _) => record.row == *row,
                    (UnderWayRecord::Reduced(reduced), Some((key, aggregates))) => {
                        record.row.project(key) == reduced.key
                            && fold::arguments(aggregates, &record.row).is_ok_and(|of| of == reduced.arguments.values())
                    }
                    (UnderWayRecord::Reduced(_), None) => false,
                }
        };
        let sent = input.iter().position(is_it).ok_or_else(|| {
            ModelError::NoSuchCut(format!("{under_way:?} is under way to {}, and nobody has sent it", stage.name))
        })?;
        input.remove(sent);
    }
    Ok(())
}

fn arguments(stage: &PlannedStage, aggregates: &[Aggregate], row: &Row) -> Result<Vec<Datum>, ModelError> {
    fold::arguments(aggregates, row).map_err(|error| ModelError::fails(&stage.name, error))
}

/// The arguments of all records, by key and window.
fn group(
    stage: &PlannedStage,
    input: &[Arc<Record>],
    key: &[usize],
    aggregates: &[Aggregate],
    window_of: impl Fn(&Record) -> Option<TimeWindow>,
) -> Result<BTreeMap<Group, Vec<Vec<Datum>>>, ModelError> {
    let mut groups: BTreeMap<Group, Vec<Vec<Datum>>> = BTreeMap::new();
    for record in input {
        let group = Group { key: record.row.project(key), window: window_of(record) };
        groups.entry(group).or_default().push(arguments(stage, aggregates, &record.row)?);
    }
    Ok(groups)
}

/// The tumbling window of a time: the one multiple of the size, off by the offset, that it lies behind by less than it.
fn window_of(time_ms: i64, size_ms: i64, offset_ms: i64) -> TimeWindow {
    let start = (time_ms - offset_ms).div_euclid(size_ms) * size_ms + offset_ms;
    TimeWindow::new(Timestamp(start), Timestamp(start + size_ms))
}

/// Key, bounds of the window, aggregates.
fn result(stage: &PlannedStage, group: &Group, results: &Results) -> Result<Record, ModelError> {
    let mut values = group.key.values().to_vec();
    values.extend(group.window.iter().flat_map(|window| [Datum::Int(window.start.0), Datum::Int(window.end.0)]));
    for result in results {
        let Some(result) = result else {
            return Err(ModelError::fails(&stage.name, format!("a sum of {group} does not fit into 64 bits")));
        };
        values.push(result.clone());
    }
    let time_ms = group.window.map_or(i64::MAX, |window| window.end.0 - 1);
    let place = group
        .window
        .map(|window| Place { sequence: format!("key {} of {}", group.key, stage.name), position: window.start.0 });
    Ok(Record { row: Row::new(values), time_ms: Some(time_ms), place })
}
