//! Sources of a file.

use super::Table;
use crate::pipeline::{
    file::{ColumnFile, Seed, SourceFile, StepControl, StepFile, StepStatus},
    model::{
        AtScriptEnd, CollectionSource, CsvSource, EventTime, GeneratorSource, Header, RestoredWatermark, ScriptAction,
        ScriptSource, ScriptStep, Source, SourceKind,
    },
    problem::{Place, Problem},
    row::{Datum, Row},
    schema::{Field, FieldType, Nullability},
};

pub(super) fn convert_source(name: String, file: SourceFile, place: &Place) -> Result<Source, Problem> {
    const KINDS: [&str; 4] = ["csv", "generator", "collection", "script"];
    const EVENT_TIME: [&str; 4] = ["event_time", "on_missing_event_time", "max_out_of_orderness", "idle_timeout"];
    let common = [&["name", "parallelism"][..], &EVENT_TIME[..]].concat();
    let table = Table::new(place, "source", "type", file.kind.as_deref(), &KINDS)?;
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
        "collection" => table.only(present, &common, &["columns", "rows", "splits"])?,
        _ => {
            let own = ["columns", "steps", "inputs", "drain", "restore_watermark", "interval"];
            table.only(present, &["name", "parallelism"], &own)?;
        }
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
        "script" => {
            let columns = convert_columns(table.need(file.columns, "columns")?);
            let steps = convert_steps(table.need(file.steps, "steps")?, &columns, &place.key("steps"))?;
            let drain = if file.drain.unwrap_or(true) { AtScriptEnd::Drain } else { AtScriptEnd::Stop };
            let kept = file.restore_watermark.unwrap_or(true);
            SourceKind::Script(ScriptSource {
                columns,
                inputs: file.inputs.unwrap_or(1),
                steps,
                at_end: drain,
                restored_watermark: if kept { RestoredWatermark::Kept } else { RestoredWatermark::Lost },
                interval: file.interval.unwrap_or_default(),
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

fn convert_steps(files: Vec<StepFile>, columns: &[Field], place: &Place) -> Result<Vec<ScriptStep>, Problem> {
    let step = |(index, file): (usize, StepFile)| {
        let place = place.index(index);
        let present = file.present().join(", ");
        let not_one = || {
            Problem::new(place.clone(), format!("a step is one thing, this has: {present}")).with_hint(
                "one of: row with time_ms; watermark_ms; status = \"idle\" or \"active\"; control = \"checkpoint\", \"fail\" or \"stop\"",
            )
        };
        let StepFile { input, row, time_ms, watermark_ms, status, control } = file;
        let action = match (row, time_ms, watermark_ms, status, control) {
            (Some(row), Some(time_ms), None, None, None) => ScriptAction::Element { row: widen(row, columns), time_ms },
            (None, None, Some(time_ms), None, None) => ScriptAction::Watermark(time_ms),
            (None, None, None, Some(StepStatus::Idle), None) => ScriptAction::Idle,
            (None, None, None, Some(StepStatus::Active), None) => ScriptAction::Active,
            (None, None, None, None, Some(StepControl::Checkpoint)) => ScriptAction::Checkpoint,
            (None, None, None, None, Some(StepControl::Fail)) => ScriptAction::Fail,
            (None, None, None, None, Some(StepControl::Stop)) => ScriptAction::Stop,
            _ => return Err(not_one()),
        };
        Ok(ScriptStep { input: input.unwrap_or(0), action })
    };
    files.into_iter().enumerate().map(step).collect()
}

fn step_to_file(step: ScriptStep) -> StepFile {
    let file = match step.action {
        ScriptAction::Element { row, time_ms } => {
            StepFile { row: Some(row), time_ms: Some(time_ms), ..StepFile::default() }
        }
        ScriptAction::Watermark(time_ms) => StepFile { watermark_ms: Some(time_ms), ..StepFile::default() },
        ScriptAction::Idle => StepFile { status: Some(StepStatus::Idle), ..StepFile::default() },
        ScriptAction::Active => StepFile { status: Some(StepStatus::Active), ..StepFile::default() },
        ScriptAction::Checkpoint => StepFile { control: Some(StepControl::Checkpoint), ..StepFile::default() },
        ScriptAction::Fail => StepFile { control: Some(StepControl::Fail), ..StepFile::default() },
        ScriptAction::Stop => StepFile { control: Some(StepControl::Stop), ..StepFile::default() },
    };
    StepFile { input: (step.input > 0).then_some(step.input), ..file }
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
            SourceKind::Script(script) => Self {
                kind: Some("script".into()),
                columns: Some(columns_to_file(script.columns)),
                inputs: Some(script.inputs),
                steps: Some(script.steps.into_iter().map(step_to_file).collect()),
                drain: Some(script.at_end == AtScriptEnd::Drain),
                restore_watermark: Some(script.restored_watermark == RestoredWatermark::Kept),
                interval: (!script.interval.is_zero()).then_some(script.interval),
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
