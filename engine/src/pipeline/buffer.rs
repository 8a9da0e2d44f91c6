//! A buffer in operator state: collects records and folds them when there are enough.

use std::collections::BTreeMap;

use super::{
    aggregate::Aggregate,
    fold::{Arguments, Fold},
    row::Row,
};
use crate::{
    codec,
    error::{Error, ErrorKind, Result},
    id::CheckpointId,
    operator::{AsyncSnapshot, Collector, ListMode, ListSnapshot, Operator, OperatorContext, OperatorSnapshot},
    record::{Batch, StreamRecord},
    state::AggregateFunction as _,
};

/// The name of the state that holds the records.
const BUFFERED: &str = "buffered";

/// See the module.
pub(crate) struct BufferOperator {
    threshold: u64,
    mode: ListMode,
    arguments: Arguments,
    fold: Fold,
    buffered: Vec<Row>,
}

impl BufferOperator {
    pub(crate) fn new(stage: &str, threshold: u64, mode: ListMode, aggregates: &[Aggregate]) -> Self {
        Self {
            threshold,
            mode,
            arguments: Arguments::new(Vec::new(), aggregates.to_vec()),
            fold: Fold::new(stage, aggregates.to_vec()),
            buffered: Vec::new(),
        }
    }

    fn flush(&mut self) -> Result<Row> {
        let mut accumulators = self.fold.create_accumulator();
        for row in self.buffered.drain(..) {
            let reduced = self.arguments.of(&row).map_err(|error| self.fold.failed(error))?;
            self.fold.add(&mut accumulators, reduced);
        }
        self.fold.result(&Row::default(), &[], &accumulators)
    }
}

impl Operator for BufferOperator {
    type In = Row;
    type Out = Row;

    fn open(&mut self, _context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let Some(list) = restored.and_then(|mut snapshot| snapshot.lists.remove(BUFFERED)) else { return Ok(()) };
        let decoded: Result<Vec<Row>, _> = list.entries.iter().map(|entry| codec::decode(entry)).collect();
        self.buffered = decoded.map_err(|error| {
            Error::new(ErrorKind::CorruptState, "the buffered records cannot be read").with_source(error)
        })?;
        Ok(())
    }

    fn process(&mut self, batch: Batch<Row>, out: &mut Collector<Row>) -> Result<()> {
        for StreamRecord { value, timestamp } in batch {
            self.buffered.push(value);
            if self.buffered.len() as u64 >= self.threshold {
                let value = self.flush()?;
                out.collect(StreamRecord { value, timestamp });
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        let (buffered, mode) = (self.buffered.clone(), self.mode);
        Ok(Box::new(move || {
            let entries = buffered.iter().map(codec::encode).collect();
            let lists = BTreeMap::from([(BUFFERED.to_owned(), ListSnapshot { mode, entries })]);
            Ok(OperatorSnapshot { lists, ..OperatorSnapshot::default() })
        }))
    }
}
