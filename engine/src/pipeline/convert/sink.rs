//! Sinks of a file.

use super::{Table, convert_inputs};
use crate::pipeline::{
    file::{Inputs, SinkFile},
    model::{FileSink, Sink, SinkKind},
    problem::{Place, Problem},
};

pub(super) fn convert_sink(
    name: String,
    previous: Option<String>,
    file: SinkFile,
    place: &Place,
) -> Result<Sink, Problem> {
    const COMMON: [&str; 3] = ["name", "input", "parallelism"];
    let table = Table::new(place, "sink", "type", file.kind.as_deref(), &["file", "print", "trace", "discard"])?;
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
        "trace" => {
            table.only(present, &COMMON, &["label"])?;
            SinkKind::Trace { label: file.label }
        }
        _ => {
            table.only(present, &COMMON, &[])?;
            SinkKind::Discard
        }
    };
    let inputs = convert_inputs(file.input, previous, place)?;
    Ok(Sink { name, inputs, parallelism: file.parallelism, kind })
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
            SinkKind::Trace { label } => Self { kind: Some("trace".into()), label, ..Self::default() },
            SinkKind::Discard => Self { kind: Some("discard".into()), ..Self::default() },
        };
        file.name = Some(sink.name);
        file.input = Some(Inputs(sink.inputs));
        file.parallelism = sink.parallelism;
        file
    }
}
