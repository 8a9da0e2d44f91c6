//! Stages of a file.

use super::{
    Table, convert_inputs,
    state::{convert_process, convert_ttl},
    window::{WINDOW, convert_assigner, convert_trigger, convert_window},
};
use crate::pipeline::{
    file::{Assignments, Inputs, StageFile, TriggerFile, TtlFile},
    model::{
        AggregateOperation, BoundKind, BufferOperation, EnrichOperation, IntervalJoinOperation, JoinSides, Operation,
        RollingOperation, Stage, WindowJoinOperation,
    },
    problem::{Place, Problem},
};

const OPERATIONS: [&str; 11] = [
    "filter",
    "map",
    "repeat",
    "window",
    "aggregate",
    "rolling",
    "process",
    "buffer",
    "enrich",
    "interval_join",
    "window_join",
];

pub(super) fn convert_stage(
    name: String,
    previous: Option<String>,
    mut file: StageFile,
    place: &Place,
) -> Result<Stage, Problem> {
    let op = file.op.clone();
    let table = Table::new(place, "stage", "op", op.as_deref(), &OPERATIONS)?;
    table.only(file.present(), &["name", "input", "parallelism"], own(table.kind))?;
    let (input, parallelism) = (file.input.take(), file.parallelism);
    let operation = convert_operation(&table, file, place)?;
    let inputs = convert_inputs(input, previous, place)?;
    Ok(Stage { name, inputs, parallelism, operation })
}

/// The options of an operation besides the common ones.
fn own(op: &str) -> &'static [&'static str] {
    match op {
        "filter" => &["condition"],
        "map" => &["fields"],
        "repeat" => &["count", "index"],
        "window" => &WINDOW,
        "rolling" => &["key", "fields"],
        "process" => &["key", "function", "n", "delay", "time", "value", "ttl", "processed_at", "every_record"],
        "buffer" => &["threshold", "mode", "aggregate"],
        "enrich" => &["key", "rule_key", "unmatched", "fields"],
        "interval_join" => &[
            "left",
            "key",
            "right_key",
            "lower_ms",
            "upper_ms",
            "lower_exclusive",
            "upper_exclusive",
            "late_records",
            "ttl",
            "fields",
        ],
        "window_join" => &["join", "key", "right_key", "assigner", "time", "trigger", "fields"],
        _ => &["key", "aggregate", "emit"],
    }
}

fn convert_operation(table: &Table<'_>, file: StageFile, place: &Place) -> Result<Operation, Problem> {
    Ok(match table.kind {
        "filter" => Operation::Filter { condition: table.need(file.condition, "condition")? },
        "map" => Operation::Map { fields: table.need(file.fields, "fields")?.0 },
        "repeat" => {
            let index = file.index.unwrap_or_else(|| "index".to_owned());
            Operation::Repeat { count: table.need(file.count, "count")?, index }
        }
        "window" => Operation::Window(convert_window(table, file, place)?),
        "rolling" => Operation::Rolling(RollingOperation {
            key: table.need(file.key, "key")?,
            fields: table.need(file.fields, "fields")?.0,
        }),
        "process" => Operation::Process(convert_process(table, file, place)?),
        "buffer" => Operation::Buffer(BufferOperation {
            threshold: table.need(file.threshold, "threshold")?,
            mode: file.mode.unwrap_or_default(),
            aggregates: table.need(file.aggregate, "aggregate")?.0,
        }),
        "enrich" => {
            let key = table.need(file.key, "key")?;
            Operation::Enrich(EnrichOperation {
                rule_key: file.rule_key.unwrap_or_else(|| key.clone()),
                key,
                unmatched: file.unmatched.unwrap_or_default(),
                fields: table.need(file.fields, "fields")?.0,
            })
        }
        "interval_join" => Operation::IntervalJoin(IntervalJoinOperation {
            sides: file.left.map_or(JoinSides::Inputs, JoinSides::Condition),
            key: table.need(file.key, "key")?,
            right_key: file.right_key.unwrap_or_default(),
            lower_ms: table.need(file.lower_ms, "lower_ms")?,
            lower: bound(file.lower_exclusive),
            upper_ms: table.need(file.upper_ms, "upper_ms")?,
            upper: bound(file.upper_exclusive),
            late_records: file.late_records.unwrap_or_default(),
            ttl: file.ttl.map(|ttl| convert_ttl(ttl, &place.key("ttl"))).transpose()?,
            fields: table.need(file.fields, "fields")?.0,
        }),
        "window_join" => Operation::WindowJoin(WindowJoinOperation {
            kind: file.join.unwrap_or_default(),
            key: table.need(file.key, "key")?,
            right_key: file.right_key.unwrap_or_default(),
            assigner: convert_assigner(table.need(file.assigner, "assigner")?, &place.key("assigner"))?,
            time: file.time.unwrap_or_default(),
            trigger: file.trigger.map(|trigger| convert_trigger(trigger, &place.key("trigger"))).transpose()?,
            fields: table.need(file.fields, "fields")?.0,
        }),
        _ => Operation::Aggregate(AggregateOperation {
            key: table.need(file.key, "key")?,
            aggregates: table.need(file.aggregate, "aggregate")?.0,
            emit: file.emit.unwrap_or_default(),
        }),
    })
}

fn bound(exclusive: Option<bool>) -> BoundKind {
    if exclusive.unwrap_or(false) { BoundKind::Exclusive } else { BoundKind::Inclusive }
}

impl From<Stage> for StageFile {
    fn from(stage: Stage) -> Self {
        let op = Some(stage.operation.name().to_owned());
        Self {
            op,
            name: Some(stage.name),
            input: Some(Inputs(stage.inputs)),
            parallelism: stage.parallelism,
            ..Self::from(stage.operation)
        }
    }
}

impl From<Operation> for StageFile {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Filter { condition } => Self { condition: Some(condition), ..Self::default() },
            Operation::Map { fields } => Self { fields: Some(Assignments(fields)), ..Self::default() },
            Operation::Repeat { count, index } => Self { count: Some(count), index: Some(index), ..Self::default() },
            Operation::Window(window) => Self::from(window),
            Operation::Aggregate(aggregate) => Self {
                key: Some(aggregate.key),
                aggregate: Some(Assignments(aggregate.aggregates)),
                emit: Some(aggregate.emit),
                ..Self::default()
            },
            Operation::Rolling(rolling) => {
                Self { key: Some(rolling.key), fields: Some(Assignments(rolling.fields)), ..Self::default() }
            }
            Operation::Process(process) => Self::from(process),
            Operation::Buffer(buffer) => Self {
                threshold: Some(buffer.threshold),
                mode: Some(buffer.mode),
                aggregate: Some(Assignments(buffer.aggregates)),
                ..Self::default()
            },
            Operation::Enrich(enrich) => Self {
                key: Some(enrich.key),
                rule_key: Some(enrich.rule_key),
                unmatched: Some(enrich.unmatched),
                fields: Some(Assignments(enrich.fields)),
                ..Self::default()
            },
            Operation::IntervalJoin(join) => Self::from(join),
            Operation::WindowJoin(join) => Self {
                join: Some(join.kind),
                key: Some(join.key),
                right_key: (!join.right_key.is_empty()).then_some(join.right_key),
                assigner: Some(join.assigner.into()),
                time: Some(join.time),
                trigger: join.trigger.map(TriggerFile::from),
                fields: Some(Assignments(join.fields)),
                ..Self::default()
            },
        }
    }
}

impl From<IntervalJoinOperation> for StageFile {
    fn from(join: IntervalJoinOperation) -> Self {
        Self {
            left: match join.sides {
                JoinSides::Inputs => None,
                JoinSides::Condition(condition) => Some(condition),
            },
            key: Some(join.key),
            right_key: (!join.right_key.is_empty()).then_some(join.right_key),
            lower_ms: Some(join.lower_ms),
            upper_ms: Some(join.upper_ms),
            lower_exclusive: Some(join.lower == BoundKind::Exclusive),
            upper_exclusive: Some(join.upper == BoundKind::Exclusive),
            late_records: Some(join.late_records),
            ttl: join.ttl.map(TtlFile::from),
            fields: Some(Assignments(join.fields)),
            ..Self::default()
        }
    }
}
