//! Traces: what reaches each subtask of a sink, records and watermarks, in order, one JSON object per line. Lines become
//! visible with the checkpoint that they belong to, so that a trace shows each result once.
//!
//! | line | meaning |
//! |---|---|
//! | `{"s":0,"k":"a","v":1,"ts":999}` | a record: subtask, fields that are not null, event time |
//! | `{"s":0,"out":"late","k":"a","v":8,"ts":500}` | a record of a sink with a label |
//! | `{"s":0,"w":999}` | a watermark, of a sink without a label |

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    row::{Datum, Row},
    schema::Schema,
};
use crate::{
    connector::{SinkContext, TwoPhaseCommitSink},
    error::{Error, ErrorKind, Result},
    id::CheckpointId,
    record::{Batch, StreamRecord},
    time::Timestamp,
};

/// Where the lines of traces go. Clones are one place.
#[derive(Debug, Clone, Default)]
pub struct TraceOutput {
    /// Standard output if there is nothing here.
    collected: Option<Arc<Mutex<Vec<String>>>>,
    /// What has been written already: what is committed again, is not written again.
    committed: Arc<Mutex<BTreeSet<String>>>,
}

impl TraceOutput {
    /// Standard output.
    pub fn stdout() -> Self {
        Self::default()
    }

    /// A list that outlives the job.
    pub fn collected(lines: Arc<Mutex<Vec<String>>>) -> Self {
        Self { collected: Some(lines), committed: Arc::default() }
    }

    fn write(&self, transaction: &TraceTransaction) -> Result<()> {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        if !committed.insert(transaction.name.clone()) {
            return Ok(());
        }
        match &self.collected {
            Some(collected) => {
                collected.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&transaction.lines);
                Ok(())
            }
            None => {
                use std::io::Write as _;
                let text: String = transaction.lines.iter().map(|line| format!("{line}\n")).collect();
                std::io::stdout()
                    .write_all(text.as_bytes())
                    .map_err(|error| Error::new(ErrorKind::Unavailable, "cannot print").with_source(error))
            }
        }
    }
}

/// Lines that become visible together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TraceTransaction {
    name: String,
    lines: Vec<String>,
}

/// Writes a trace. What a failure takes back, the trace never shows.
pub(crate) struct TraceSink {
    name: String,
    label: Option<String>,
    schema: Schema,
    output: TraceOutput,
    subtask_index: u32,
    attempt: String,
    transactions: u64,
}

impl TraceSink {
    pub(crate) fn new(name: &str, label: Option<String>, schema: Schema, output: TraceOutput) -> Self {
        let (subtask_index, attempt, transactions) = (0, String::new(), 0);
        Self { name: name.to_owned(), label, schema, output, subtask_index, attempt, transactions }
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
impl TwoPhaseCommitSink for TraceSink {
    type In = Row;
    type Transaction = TraceTransaction;

    async fn open(&mut self, context: &SinkContext) -> Result<()> {
        self.subtask_index = context.subtask_index;
        self.attempt = format!("{:?}", context.attempt);
        Ok(())
    }

    fn describe(&self, transaction: &TraceTransaction) -> String {
        transaction.name.clone()
    }

    async fn begin_transaction(&mut self) -> Result<TraceTransaction> {
        self.transactions += 1;
        let name = format!("{}-{}-{}-{}", self.name, self.subtask_index, self.attempt, self.transactions);
        Ok(TraceTransaction { name, lines: Vec::new() })
    }

    async fn invoke(&mut self, transaction: &mut TraceTransaction, batch: Batch<Row>) -> Result<()> {
        transaction.lines.extend(batch.iter().map(|record| self.line(record)));
        Ok(())
    }

    async fn write_watermark(&mut self, transaction: &mut TraceTransaction, watermark: Timestamp) -> Result<()> {
        if self.label.is_none() {
            let line = serde_json::json!({"s": self.subtask_index, "w": watermark.0});
            transaction.lines.push(line.to_string());
        }
        Ok(())
    }

    async fn pre_commit(&mut self, _transaction: &mut TraceTransaction, _checkpoint_id: CheckpointId) -> Result<()> {
        Ok(())
    }

    async fn commit(&mut self, transaction: &TraceTransaction) -> Result<()> {
        self.output.write(transaction)
    }

    async fn abort(&mut self, _transaction: &TraceTransaction) -> Result<()> {
        Ok(())
    }
}
