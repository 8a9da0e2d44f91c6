//! What the interpreter says reaches the traces of a pipeline, in the format of cases
//! (`tests/data/flink-cases/README.md`).

use serde_json::{Map, Value};
use tidegate::pipeline::{Datum, Pipeline, Schema, SinkKind};

use super::{Event, Played};
use crate::model::ModelError;

/// The entries of the traces, subtask by subtask, each in the order in which they come.
///
/// # Errors
/// If the pipeline is not valid.
///
/// # Panics
/// If a record has a field that no case can have.
pub fn trace_entries(pipeline: &Pipeline, played: &Played) -> Result<Vec<Value>, ModelError> {
    let plan = pipeline.plan().map_err(|problems| ModelError::Invalid(problems.to_string()))?;
    let mut entries = Vec::new();
    for sink in &plan.sinks {
        let SinkKind::Trace { label } = &sink.kind else { continue };
        for (subtask, events) in played[&sink.name].iter().enumerate() {
            entries.extend(events.iter().filter_map(|event| entry(&sink.schema, subtask, label.as_deref(), event)));
        }
    }
    Ok(entries)
}

fn entry(schema: &Schema, subtask: usize, label: Option<&str>, event: &Event) -> Option<Value> {
    let mut fields = Map::from_iter([("s".to_owned(), Value::from(subtask))]);
    if let Some(label) = label {
        fields.insert("out".to_owned(), label.into());
    }
    match (event, label) {
        (Event::Record(element), _) => {
            for (name, value) in schema.names().zip(element.row.values()) {
                let value = match value {
                    Datum::Null => continue,
                    Datum::Int(number) => (*number).into(),
                    Datum::Text(text) => text.as_str().into(),
                    Datum::Bool(_) | Datum::Float(_) => panic!("a case has no {value}"),
                };
                fields.insert(name.to_owned(), value);
            }
            fields.insert("ts".to_owned(), element.time_ms.into());
        }
        (Event::Watermark(time_ms), None) => {
            fields.insert("w".to_owned(), (*time_ms).into());
        }
        (Event::Watermark(_), Some(_)) | (Event::Idle | Event::Active, _) => return None,
    }
    Some(Value::Object(fields))
}
