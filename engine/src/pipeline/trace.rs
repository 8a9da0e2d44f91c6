//! Traces: what reaches each subtask of a sink, records and watermarks, in order, one JSON object per line.
//!
//! | line | meaning |
//! |---|---|
//! | `{"s":0,"k":"a","v":1,"ts":999}` | a record: subtask, fields that are not null, event time |
//! | `{"s":0,"out":"late","k":"a","v":8,"ts":500}` | a record of a sink with a label |
//! | `{"s":0,"w":999}` | a watermark, of a sink without a label |

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{
    row::{Datum, Row},
    schema::Schema,
};
use crate::{
    connector::{PlainSink, SinkContext},
    error::{Error, ErrorKind, Result},
    record::{Batch, StreamRecord},
    time::Timestamp,
};

/// Where the lines of traces go.
#[derive(Debug, Clone, Default)]
pub enum TraceOutput {
    /// Standard output.
    #[default]
    Stdout,
    /// A list that outlives the job.
    Collected(Arc<Mutex<Vec<String>>>),
}

impl TraceOutput {
    fn write(&self, lines: Vec<String>) -> Result<()> {
        match self {
            Self::Stdout => {
                use std::io::Write as _;
                let text: String = lines.into_iter().map(|line| line + "\n").collect();
                std::io::stdout()
                    .write_all(text.as_bytes())
                    .map_err(|error| Error::new(ErrorKind::Unavailable, "cannot print").with_source(error))
            }
            Self::Collected(collected) => {
                collected.lock().unwrap_or_else(PoisonError::into_inner).extend(lines);
                Ok(())
            }
        }
    }
}

/// Writes a trace.
pub(crate) struct TraceSink {
    label: Option<String>,
    schema: Schema,
    output: TraceOutput,
    subtask_index: u32,
}

impl TraceSink {
    pub(crate) fn new(label: Option<String>, schema: Schema, output: TraceOutput) -> Self {
        Self { label, schema, output, subtask_index: 0 }
    }

    fn line(&self, record: &StreamRecord<Row>) -> String {
        let mut line = Map::new();
        line.insert("s".into(), self.subtask_index.into());
        if let Some(label) = &self.label {
            line.insert("out".into(), label.as_str().into());
        }
        for (name, value) in self.schema.names().zip(record.value.values()) {
            let value = match value {
                Datum::Null => continue,
                Datum::Bool(value) => Value::from(*value),
                Datum::Int(number) => Value::from(*number),
                Datum::Float(float) => Value::from(float.get()),
                Datum::Text(text) => Value::from(text.as_str()),
            };
            line.insert(name.to_owned(), value);
        }
        line.insert("ts".into(), record.timestamp.0.into());
        Value::Object(line).to_string()
    }
}

#[async_trait]
impl PlainSink for TraceSink {
    type In = Row;

    async fn open(&mut self, context: &SinkContext) -> Result<()> {
        self.subtask_index = context.subtask_index;
        Ok(())
    }

    async fn write(&mut self, batch: Batch<Row>) -> Result<()> {
        self.output.write(batch.iter().map(|record| self.line(record)).collect())
    }

    async fn write_watermark(&mut self, watermark: Timestamp) -> Result<()> {
        if self.label.is_some() {
            return Ok(());
        }
        self.output.write(vec![serde_json::json!({"s": self.subtask_index, "w": watermark.0}).to_string()])
    }
}
