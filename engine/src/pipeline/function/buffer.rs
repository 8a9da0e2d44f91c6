//! A buffer in operator state: collects records and folds them when there are enough.

use crate::{
    codec,
    error::{Error, ErrorKind, Result},
    operator::{
        CheckpointedFunction, FunctionContext, FunctionInitializationContext, FunctionSnapshotContext,
        OperatorListState, ProcessFunction,
    },
    pipeline::{
        aggregate::Aggregate,
        fold::{Arguments, Fold},
        model::BufferMode,
        row::Row,
    },
    state::AggregateFunction as _,
};

/// Keeps the records in a list of the subtask, or as bytes of its own.
#[derive(Clone)]
pub(crate) struct Buffer {
    threshold: usize,
    mode: BufferMode,
    arguments: Arguments,
    fold: Fold,
    listed: OperatorListState<Row>,
    /// The records, if they are kept as raw bytes.
    raw: Vec<Row>,
}

impl Buffer {
    pub(crate) fn new(stage: &str, threshold: u64, mode: BufferMode, aggregates: &[Aggregate]) -> Self {
        Self {
            threshold: usize::try_from(threshold).unwrap_or(usize::MAX),
            mode,
            arguments: Arguments::new(Vec::new(), aggregates.to_vec()),
            fold: Fold::new(stage, aggregates.to_vec()),
            listed: OperatorListState::new("buffered"),
            raw: Vec::new(),
        }
    }

    fn fold(&self, rows: Vec<Row>) -> Result<Row> {
        let mut accumulators = self.fold.create_accumulator();
        for row in rows {
            let reduced = self.arguments.of(&row).map_err(|error| self.fold.failed(error))?;
            self.fold.add(&mut accumulators, reduced);
        }
        self.fold.result(&Row::default(), &[], &accumulators)
    }
}

impl CheckpointedFunction for Buffer {
    fn initialize_state(&mut self, context: &mut FunctionInitializationContext<'_>) -> Result<()> {
        match self.mode {
            BufferMode::Split => context.list_state(&mut self.listed),
            BufferMode::Union => context.union_list_state(&mut self.listed),
            BufferMode::Raw => {
                let rows = context.raw().iter().map(|bytes| codec::decode(bytes)).collect::<Result<Vec<Row>, _>>();
                self.raw = rows.map_err(|error| {
                    Error::new(ErrorKind::CorruptState, "the buffered records cannot be read").with_source(error)
                })?;
                Ok(())
            }
        }
    }

    fn snapshot_state(&mut self, context: &mut FunctionSnapshotContext<'_>) -> Result<()> {
        self.raw.iter().for_each(|row| context.write_raw(codec::encode(row)));
        Ok(())
    }
}

impl ProcessFunction for Buffer {
    type In = Row;
    type Out = Row;

    fn process_element(&mut self, row: Row, context: &mut FunctionContext<'_, Row>) -> Result<()> {
        let full = match self.mode {
            BufferMode::Raw => {
                self.raw.push(row);
                (self.raw.len() >= self.threshold).then(|| std::mem::take(&mut self.raw))
            }
            BufferMode::Split | BufferMode::Union => {
                self.listed.add(context, row)?;
                let full = self.listed.get(context)?.len() >= self.threshold;
                if full { Some(self.listed.take(context)?) } else { None }
            }
        };
        if let Some(rows) = full {
            context.collect(self.fold(rows)?);
        }
        Ok(())
    }
}
