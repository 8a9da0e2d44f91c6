//! Stages that fold: running aggregates, rolling reductions, buffers. Each keeps the list of what it folds.

use std::{collections::BTreeMap, sync::Arc};

use tidegate::pipeline::{Aggregate, Datum, Emit, PlannedReduce, Row};

use super::{
    contents::{self, FoldError, Item, Seen},
    element::{Element, Output},
    keys::KeyGroups,
    timers::Timers,
};

/// One subtask of a running aggregate.
#[derive(Debug, Clone)]
pub(super) struct AggregateStage {
    pub key: Vec<usize>,
    pub aggregates: Arc<Vec<Aggregate>>,
    pub emit: Emit,
    pub state: BTreeMap<Row, Vec<Item>>,
    pub timers: Timers<()>,
}

impl AggregateStage {
    pub(super) fn new(key: &[usize], aggregates: &[Aggregate], emit: Emit, key_groups: KeyGroups) -> Self {
        Self {
            key: key.to_vec(),
            aggregates: Arc::new(aggregates.to_vec()),
            emit,
            state: BTreeMap::new(),
            timers: Timers::new(key_groups),
        }
    }

    pub(super) fn element(&mut self, element: Element, out: &mut Output) -> Result<(), FoldError> {
        let key = element.row.project(&self.key);
        let time_ms = element.time_ms;
        self.state.entry(key.clone()).or_default().push(Item::Record(element));
        match self.emit {
            Emit::Updates => out.record(self.result(&key)?, time_ms),
            Emit::Final => self.timers.register(i64::MAX, &key, &()),
        }
        Ok(())
    }

    pub(super) fn watermark(&mut self, watermark_ms: i64, out: &mut Output) -> Result<(), FoldError> {
        while let Some(timer) = self.timers.take_due(watermark_ms) {
            out.record(self.result(&timer.key)?, timer.time_ms);
            self.state.remove(&timer.key);
        }
        Ok(())
    }

    fn result(&self, key: &Row) -> Result<Row, FoldError> {
        let results = results(&self.aggregates, &self.state[key])?;
        Ok(key.values().iter().cloned().chain(results).collect())
    }
}

/// One subtask of a rolling reduction.
#[derive(Debug, Clone)]
pub(super) struct RollingStage {
    pub key: Vec<usize>,
    pub reduce: Arc<PlannedReduce>,
    pub state: BTreeMap<Row, Vec<Item>>,
}

impl RollingStage {
    pub(super) fn new(key: &[usize], reduce: &PlannedReduce) -> Self {
        Self { key: key.to_vec(), reduce: Arc::new(reduce.clone()), state: BTreeMap::new() }
    }

    pub(super) fn element(&mut self, element: Element, out: &mut Output) -> Result<(), FoldError> {
        let time_ms = element.time_ms;
        let items = self.state.entry(element.row.project(&self.key)).or_default();
        items.push(Item::Record(element));
        if let Some(row) = contents::reduce(&self.reduce, items)? {
            out.record(row, time_ms);
        }
        Ok(())
    }
}

/// One subtask of a buffer.
#[derive(Debug, Clone)]
pub(super) struct BufferStage {
    pub threshold: u64,
    pub aggregates: Arc<Vec<Aggregate>>,
    pub state: Vec<Element>,
}

impl BufferStage {
    pub(super) fn new(threshold: u64, aggregates: &[Aggregate]) -> Self {
        Self { threshold, aggregates: Arc::new(aggregates.to_vec()), state: Vec::new() }
    }

    pub(super) fn element(&mut self, element: Element, out: &mut Output) -> Result<(), FoldError> {
        let time_ms = element.time_ms;
        self.state.push(element);
        if self.state.len() as u64 >= self.threshold {
            let items = contents::items(std::mem::take(&mut self.state));
            out.record(results(&self.aggregates, &items)?.into_iter().collect(), time_ms);
        }
        Ok(())
    }
}

fn results(aggregates: &[Aggregate], items: &[Item]) -> Result<Vec<Datum>, FoldError> {
    aggregates.iter().map(|aggregate| contents::aggregate(aggregate, items, Seen::default())).collect()
}
