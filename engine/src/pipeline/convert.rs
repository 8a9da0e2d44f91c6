//! Between the shape of a file and the model: what was left out is filled in, what does not belong is refused.

use std::time::Duration;

use super::{
    file::{
        AssignerFile, Assignments, CheckpointFile, ColumnFile, ConfigFile, EvictorFile, Inputs, PipelineFile, Seed,
        SinkFile, SourceFile, StageFile, TriggerFile,
    },
    model::{
        AggregateOperation, Assigner, Checkpoint, CollectionSource, CsvSource, EventTime, EvictionPhase, Evictor,
        FileSink, GeneratorSource, Header, Operation, Pipeline, Sink, SinkKind, Source, SourceKind, Stage, Trigger,
        WindowOperation,
    },
    nearest,
    problem::{Place, Problem, Problems},
    row::{Datum, Row},
    schema::{Field, FieldType, Nullability},
};

impl TryFrom<PipelineFile> for Pipeline {
    type Error = Problems;

    fn try_from(file: PipelineFile) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut sources = Vec::new();
        let mut stages = Vec::new();
        let mut sinks = Vec::new();
        let mut previous: Option<String> = None;
        for (index, source) in file.source.into_iter().enumerate() {
            let place = Place::root().key("source").index(index);
            let name = source.name.clone().unwrap_or_else(|| numbered("source", index));
            previous = Some(name.clone());
            collect(convert_source(name, source, &place), &mut sources, &mut problems);
        }
        for (index, stage) in file.stage.into_iter().enumerate() {
            let place = Place::root().key("stage").index(index);
            let operator = stage.op.as_deref().unwrap_or("stage");
            let name = stage.name.clone().unwrap_or_else(|| numbered(operator, index));
            let input = previous.replace(name.clone());
            collect(convert_stage(name, input, stage, &place), &mut stages, &mut problems);
        }
        for (index, sink) in file.sink.into_iter().enumerate() {
            let place = Place::root().key("sink").index(index);
            let name = sink.name.clone().unwrap_or_else(|| numbered("sink", index));
            collect(convert_sink(name, previous.clone(), sink, &place), &mut sinks, &mut problems);
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Self {
            name: file.name,
            parallelism: file.parallelism.unwrap_or(1),
            max_parallelism: file.max_parallelism,
            checkpoint: file.checkpoint.map(|checkpoint| Checkpoint {
                interval: checkpoint.interval,
                dir: checkpoint.dir,
                mode: checkpoint.mode.unwrap_or_default(),
            }),
            config: file.config.0,
            sources,
            stages,
            sinks,
        })
    }
}

fn numbered(what: &str, index: usize) -> String {
    format!("{what}-{}", index + 1)
}

fn collect<T>(result: Result<T, Problem>, into: &mut Vec<T>, problems: &mut Vec<Problem>) {
    match result {
        Ok(value) => into.push(value),
        Err(problem) => problems.push(problem),
    }
}

/// A table whose options depend on its kind.
struct Table<'a> {
    place: &'a Place,
    /// What the table is, for messages: "source", "stage" …
    what: &'static str,
    /// The key that tells its kind.
    kind_key: &'static str,
    kind: &'a str,
}

impl<'a> Table<'a> {
    fn new(
        place: &'a Place,
        what: &'static str,
        kind_key: &'static str,
        kind: Option<&'a str>,
        kinds: &[&str],
    ) -> Result<Self, Problem> {
        let Some(kind) = kind else {
            let problem = Problem::new(place.clone(), format!("this {what} lacks `{kind_key}`"));
            return Err(problem.with_hint(format!("`{kind_key}` is one of: {}", kinds.join(", "))));
        };
        if !kinds.contains(&kind) {
            let known = nearest::hint(kind, "known", kinds.iter().copied());
            let label = if kind_key == "op" { "operator".to_owned() } else { format!("{what} {kind_key}") };
            let problem = Problem::new(place.key(kind_key), format!("unknown {label} `{kind}`"));
            return Err(problem.with_hint(known));
        }
        Ok(Self { place, what, kind_key, kind })
    }

    /// Refuses options that this kind does not have.
    fn only(&self, present: Vec<&'static str>, common: &[&str], own: &[&str]) -> Result<(), Problem> {
        for option in present {
            if option != self.kind_key && !common.contains(&option) && !own.contains(&option) {
                let message = format!("a {} {} has no `{option}`", self.kind, self.what);
                let problem = Problem::new(self.place.key(option), message);
                return Err(if own.is_empty() {
                    problem
                } else {
                    problem.with_hint(format!("its options: {}", own.join(", ")))
                });
            }
        }
        Ok(())
    }

    fn need<T>(&self, option: Option<T>, name: &str) -> Result<T, Problem> {
        option
            .ok_or_else(|| Problem::new(self.place.clone(), format!("this {} {} lacks `{name}`", self.kind, self.what)))
    }
}

fn convert_source(name: String, file: SourceFile, place: &Place) -> Result<Source, Problem> {
    const EVENT_TIME: [&str; 4] = ["event_time", "on_missing_event_time", "max_out_of_orderness", "idle_timeout"];
    let common = [&["name", "parallelism"][..], &EVENT_TIME[..]].concat();
    let table = Table::new(place, "source", "type", file.kind.as_deref(), &["csv", "generator", "collection"])?;
    let present = file.present();
    match table.kind {
        "csv" => {
            let own = ["path", "header", "delimiter", "columns", "split_bytes", "rate", "on_bad_record"];
            table.only(present, &common, &own)?;
        }
        "generator" => {
            let own = ["count", "rate", "keys", "key_distribution", "start_ms", "step", "disorder", "splits", "seed"];
            table.only(present, &common, &own)?;
        }
        _ => table.only(present, &common, &["columns", "rows", "splits"])?,
    }
    let event_time = convert_event_time(&file, place)?;
    let kind = match table.kind {
        "csv" => SourceKind::Csv(CsvSource {
            path: table.need(file.path, "path")?,
            header: if file.header.unwrap_or(false) { Header::Present } else { Header::Absent },
            delimiter: file.delimiter.unwrap_or(','),
            columns: convert_columns(table.need(file.columns, "columns")?),
            split_bytes: file.split_bytes,
            rate: file.rate,
            on_bad_record: file.on_bad_record.unwrap_or_default(),
        }),
        "generator" => {
            let defaults = GeneratorSource::default();
            SourceKind::Generator(GeneratorSource {
                count: file.count,
                rate: file.rate,
                keys: file.keys.unwrap_or(defaults.keys),
                key_distribution: file.key_distribution.unwrap_or_default(),
                start_ms: file.start_ms.unwrap_or(defaults.start_ms),
                step: file.step.unwrap_or(defaults.step),
                disorder: file.disorder.unwrap_or(defaults.disorder),
                splits: file.splits.unwrap_or(defaults.splits),
                seed: file.seed.map_or(defaults.seed, |seed| seed.0),
            })
        }
        _ => {
            let columns = convert_columns(table.need(file.columns, "columns")?);
            let rows = file.rows.unwrap_or_default();
            let rows = rows.into_iter().map(|row| widen(row, &columns)).collect();
            SourceKind::Collection(CollectionSource { columns, rows, splits: file.splits.unwrap_or(1) })
        }
    };
    Ok(Source { name, parallelism: file.parallelism, kind, event_time })
}

fn convert_event_time(file: &SourceFile, place: &Place) -> Result<Option<EventTime>, Problem> {
    let Some(expression) = &file.event_time else {
        let orphan = [
            ("on_missing_event_time", file.on_missing_event_time.is_some()),
            ("max_out_of_orderness", file.max_out_of_orderness.is_some()),
            ("idle_timeout", file.idle_timeout.is_some()),
        ];
        return match orphan.into_iter().find(|(_, present)| *present) {
            Some((option, _)) => Err(Problem::new(place.key(option), format!("`{option}` needs `event_time`"))),
            None => Ok(None),
        };
    };
    Ok(Some(EventTime {
        expression: expression.clone(),
        on_missing: file.on_missing_event_time,
        max_out_of_orderness: file.max_out_of_orderness.unwrap_or_default(),
        idle_timeout: file.idle_timeout,
    }))
}

fn convert_columns(columns: Vec<ColumnFile>) -> Vec<Field> {
    columns
        .into_iter()
        .map(|column| Field {
            name: column.name,
            field_type: column.field_type,
            nullability: if column.nullable { Nullability::Nullable } else { Nullability::NotNull },
        })
        .collect()
}

/// Whole numbers in float columns become floats: nobody writes `1.0` where `1` will do.
fn widen(row: Row, columns: &[Field]) -> Row {
    let widen = |(index, value): (usize, &Datum)| match (value, columns.get(index)) {
        (Datum::Int(number), Some(field)) if field.field_type == FieldType::Float => Datum::float(*number as f64),
        _ => value.clone(),
    };
    row.values().iter().enumerate().map(widen).collect()
}

fn convert_inputs(inputs: Option<Inputs>, previous: Option<String>, place: &Place) -> Result<Vec<String>, Problem> {
    match (inputs, previous) {
        (Some(Inputs(inputs)), _) => Ok(inputs),
        (None, Some(previous)) => Ok(vec![previous]),
        (None, None) => Err(Problem::new(place.clone(), "there is nothing before this to take records from")
            .with_hint("add a [[source]]")),
    }
}

fn convert_stage(name: String, previous: Option<String>, file: StageFile, place: &Place) -> Result<Stage, Problem> {
    const COMMON: [&str; 3] = ["name", "input", "parallelism"];
    let table = Table::new(place, "stage", "op", file.op.as_deref(), &["filter", "map", "window", "aggregate"])?;
    let present = file.present();
    let operation = match table.kind {
        "filter" => {
            table.only(present, &COMMON, &["condition"])?;
            Operation::Filter { condition: table.need(file.condition, "condition")? }
        }
        "map" => {
            table.only(present, &COMMON, &["fields"])?;
            Operation::Map { fields: table.need(file.fields, "fields")?.0 }
        }
        "window" => {
            let own = ["key", "assigner", "trigger", "evictor", "allowed_lateness", "late_records", "aggregate"];
            table.only(present, &COMMON, &own)?;
            Operation::Window(WindowOperation {
                key: table.need(file.key, "key")?,
                assigner: convert_assigner(table.need(file.assigner, "assigner")?, &place.key("assigner"))?,
                trigger: file.trigger.map(|trigger| convert_trigger(trigger, &place.key("trigger"))).transpose()?,
                evictor: file.evictor.map(|evictor| convert_evictor(evictor, &place.key("evictor"))).transpose()?,
                allowed_lateness: file.allowed_lateness.unwrap_or_default(),
                late_records: file.late_records.unwrap_or_default(),
                aggregates: table.need(file.aggregate, "aggregate")?.0,
            })
        }
        _ => {
            table.only(present, &COMMON, &["key", "aggregate", "emit"])?;
            Operation::Aggregate(AggregateOperation {
                key: table.need(file.key, "key")?,
                aggregates: table.need(file.aggregate, "aggregate")?.0,
                emit: file.emit.unwrap_or_default(),
            })
        }
    };
    let inputs = convert_inputs(file.input, previous, place)?;
    Ok(Stage { name, inputs, parallelism: file.parallelism, operation })
}

fn convert_assigner(file: AssignerFile, place: &Place) -> Result<Assigner, Problem> {
    let kinds = ["tumbling", "sliding", "session", "global"];
    let table = Table::new(place, "assigner", "kind", file.kind.as_deref(), &kinds)?;
    let present = file.present();
    let offset = file.offset.unwrap_or_default();
    Ok(match table.kind {
        "tumbling" => {
            table.only(present, &[], &["size", "offset"])?;
            Assigner::Tumbling { size: table.need(file.size, "size")?, offset }
        }
        "sliding" => {
            table.only(present, &[], &["size", "slide", "offset"])?;
            Assigner::Sliding { size: table.need(file.size, "size")?, slide: table.need(file.slide, "slide")?, offset }
        }
        "session" => {
            table.only(present, &[], &["gap"])?;
            Assigner::Session { gap: table.need(file.gap, "gap")? }
        }
        _ => {
            table.only(present, &[], &[])?;
            Assigner::Global
        }
    })
}

fn convert_trigger(file: TriggerFile, place: &Place) -> Result<Trigger, Problem> {
    let kinds = ["event_time", "count", "continuous_event_time", "purging"];
    let table = Table::new(place, "trigger", "kind", file.kind.as_deref(), &kinds)?;
    let present = file.present();
    Ok(match table.kind {
        "event_time" => {
            table.only(present, &[], &[])?;
            Trigger::EventTime
        }
        "count" => {
            table.only(present, &[], &["n"])?;
            Trigger::Count { n: table.need(file.n, "n")? }
        }
        "continuous_event_time" => {
            table.only(present, &[], &["interval"])?;
            Trigger::ContinuousEventTime { interval: table.need(file.interval, "interval")? }
        }
        _ => {
            table.only(present, &[], &["inner"])?;
            let inner = convert_trigger(*table.need(file.inner, "inner")?, &place.key("inner"))?;
            Trigger::Purging { inner: Box::new(inner) }
        }
    })
}

fn convert_evictor(file: EvictorFile, place: &Place) -> Result<Evictor, Problem> {
    let table = Table::new(place, "evictor", "kind", file.kind.as_deref(), &["count", "time"])?;
    let present = file.present();
    let phase = if file.after.unwrap_or(false) { EvictionPhase::After } else { EvictionPhase::Before };
    Ok(match table.kind {
        "count" => {
            table.only(present, &[], &["n", "after"])?;
            Evictor::Count { n: table.need(file.n, "n")?, phase }
        }
        _ => {
            table.only(present, &[], &["size", "after"])?;
            Evictor::Time { size: table.need(file.size, "size")?, phase }
        }
    })
}

fn convert_sink(name: String, previous: Option<String>, file: SinkFile, place: &Place) -> Result<Sink, Problem> {
    const COMMON: [&str; 3] = ["name", "input", "parallelism"];
    let table = Table::new(place, "sink", "type", file.kind.as_deref(), &["file", "print", "discard"])?;
    let present = file.present();
    let kind = match table.kind {
        "file" => {
            table.only(present, &COMMON, &["path", "format", "delivery"])?;
            SinkKind::File(FileSink {
                path: table.need(file.path, "path")?,
                format: file.format.unwrap_or_default(),
                delivery: file.delivery.unwrap_or_default(),
            })
        }
        "print" => {
            table.only(present, &COMMON, &[])?;
            SinkKind::Print
        }
        _ => {
            table.only(present, &COMMON, &[])?;
            SinkKind::Discard
        }
    };
    let inputs = convert_inputs(file.input, previous, place)?;
    Ok(Sink { name, inputs, parallelism: file.parallelism, kind })
}

impl From<Pipeline> for PipelineFile {
    fn from(pipeline: Pipeline) -> Self {
        Self {
            name: pipeline.name,
            parallelism: Some(pipeline.parallelism),
            max_parallelism: pipeline.max_parallelism,
            checkpoint: pipeline.checkpoint.map(|checkpoint| CheckpointFile {
                interval: checkpoint.interval,
                dir: checkpoint.dir,
                mode: Some(checkpoint.mode),
            }),
            config: ConfigFile(pipeline.config),
            source: pipeline.sources.into_iter().map(SourceFile::from).collect(),
            stage: pipeline.stages.into_iter().map(StageFile::from).collect(),
            sink: pipeline.sinks.into_iter().map(SinkFile::from).collect(),
        }
    }
}

impl From<Source> for SourceFile {
    fn from(source: Source) -> Self {
        let mut file = match source.kind {
            SourceKind::Csv(csv) => Self {
                kind: Some("csv".into()),
                path: Some(csv.path),
                header: Some(csv.header == Header::Present),
                delimiter: Some(csv.delimiter),
                columns: Some(columns_to_file(csv.columns)),
                split_bytes: csv.split_bytes,
                rate: csv.rate,
                on_bad_record: Some(csv.on_bad_record),
                ..Self::default()
            },
            SourceKind::Generator(generator) => Self {
                kind: Some("generator".into()),
                count: generator.count,
                rate: generator.rate,
                keys: Some(generator.keys),
                key_distribution: Some(generator.key_distribution),
                start_ms: Some(generator.start_ms),
                step: Some(generator.step),
                disorder: Some(generator.disorder),
                splits: Some(generator.splits),
                seed: Some(Seed(generator.seed)),
                ..Self::default()
            },
            SourceKind::Collection(collection) => Self {
                kind: Some("collection".into()),
                columns: Some(columns_to_file(collection.columns)),
                rows: Some(collection.rows),
                splits: Some(collection.splits),
                ..Self::default()
            },
        };
        file.name = Some(source.name);
        file.parallelism = source.parallelism;
        if let Some(event_time) = source.event_time {
            file.event_time = Some(event_time.expression);
            file.on_missing_event_time = event_time.on_missing;
            file.max_out_of_orderness = Some(event_time.max_out_of_orderness);
            file.idle_timeout = event_time.idle_timeout;
        }
        file
    }
}

fn columns_to_file(columns: Vec<Field>) -> Vec<ColumnFile> {
    columns
        .into_iter()
        .map(|field| ColumnFile {
            name: field.name,
            field_type: field.field_type,
            nullable: field.nullability == Nullability::Nullable,
        })
        .collect()
}

impl From<Stage> for StageFile {
    fn from(stage: Stage) -> Self {
        let op = Some(stage.operation.name().to_owned());
        let mut file = match stage.operation {
            Operation::Filter { condition } => Self { condition: Some(condition), ..Self::default() },
            Operation::Map { fields } => Self { fields: Some(Assignments(fields)), ..Self::default() },
            Operation::Window(window) => Self {
                key: Some(window.key),
                assigner: Some(window.assigner.into()),
                trigger: window.trigger.map(TriggerFile::from),
                evictor: window.evictor.map(EvictorFile::from),
                allowed_lateness: (window.allowed_lateness > Duration::ZERO).then_some(window.allowed_lateness),
                late_records: Some(window.late_records),
                aggregate: Some(Assignments(window.aggregates)),
                ..Self::default()
            },
            Operation::Aggregate(aggregate) => Self {
                key: Some(aggregate.key),
                aggregate: Some(Assignments(aggregate.aggregates)),
                emit: Some(aggregate.emit),
                ..Self::default()
            },
        };
        file.op = op;
        file.name = Some(stage.name);
        file.input = Some(Inputs(stage.inputs));
        file.parallelism = stage.parallelism;
        file
    }
}

impl From<Assigner> for AssignerFile {
    fn from(assigner: Assigner) -> Self {
        let kind = |kind: &str| Some(kind.to_owned());
        match assigner {
            Assigner::Tumbling { size, offset } => {
                Self { kind: kind("tumbling"), size: Some(size), offset: Some(offset), ..Self::default() }
            }
            Assigner::Sliding { size, slide, offset } => Self {
                kind: kind("sliding"),
                size: Some(size),
                slide: Some(slide),
                offset: Some(offset),
                ..Self::default()
            },
            Assigner::Session { gap } => Self { kind: kind("session"), gap: Some(gap), ..Self::default() },
            Assigner::Global => Self { kind: kind("global"), ..Self::default() },
        }
    }
}

impl From<Trigger> for TriggerFile {
    fn from(trigger: Trigger) -> Self {
        let kind = |kind: &str| Some(kind.to_owned());
        match trigger {
            Trigger::EventTime => Self { kind: kind("event_time"), ..Self::default() },
            Trigger::Count { n } => Self { kind: kind("count"), n: Some(n), ..Self::default() },
            Trigger::ContinuousEventTime { interval } => {
                Self { kind: kind("continuous_event_time"), interval: Some(interval), ..Self::default() }
            }
            Trigger::Purging { inner } => {
                Self { kind: kind("purging"), inner: Some(Box::new(Self::from(*inner))), ..Self::default() }
            }
        }
    }
}

impl From<Evictor> for EvictorFile {
    fn from(evictor: Evictor) -> Self {
        let after = |phase| Some(phase == EvictionPhase::After);
        match evictor {
            Evictor::Count { n, phase } => {
                Self { kind: Some("count".into()), n: Some(n), after: after(phase), ..Self::default() }
            }
            Evictor::Time { size, phase } => {
                Self { kind: Some("time".into()), size: Some(size), after: after(phase), ..Self::default() }
            }
        }
    }
}

impl From<Sink> for SinkFile {
    fn from(sink: Sink) -> Self {
        let mut file = match sink.kind {
            SinkKind::File(target) => Self {
                kind: Some("file".into()),
                path: Some(target.path),
                format: Some(target.format),
                delivery: Some(target.delivery),
                ..Self::default()
            },
            SinkKind::Print => Self { kind: Some("print".into()), ..Self::default() },
            SinkKind::Discard => Self { kind: Some("discard".into()), ..Self::default() },
        };
        file.name = Some(sink.name);
        file.input = Some(Inputs(sink.inputs));
        file.parallelism = sink.parallelism;
        file
    }
}
