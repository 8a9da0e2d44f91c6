//! What tests of operators share: contexts, and snapshots that travel between subtasks as in a real restore.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{
    AsyncSnapshot, Collector, KeyedSnapshot, Operator, OperatorContext, OperatorSnapshot, OutputTag, TwoInputOperator,
};
use crate::{
    codec::Data,
    config::StateBackend,
    event::{Directive, Fact, NoObserver, Observer, Reporter, Subject},
    id::{Attempt, CheckpointId, OperatorUid},
    record::{Batch, StreamRecord},
    state::{ParallelInstance, StateSnapshot, redistribution::least_watermark},
    time::Timestamp,
};

pub(super) const MAX_PARALLELISM: u32 = 8;

/// Keeps the facts as text.
#[derive(Default)]
pub(super) struct RecordingObserver {
    pub(super) facts: Mutex<Vec<String>>,
}

impl Observer for RecordingObserver {
    fn observe(&self, fact: &Fact<'_>) -> Directive {
        self.facts.lock().unwrap().push(fact.to_string());
        Directive::Continue
    }
}

pub(super) fn context(instance: ParallelInstance) -> OperatorContext {
    context_observed(instance, Arc::new(NoObserver))
}

pub(super) fn context_observed(instance: ParallelInstance, observer: Arc<dyn Observer>) -> OperatorContext {
    OperatorContext {
        uid: OperatorUid("under-test".into()),
        subtask_index: instance.index,
        parallelism: instance.parallelism,
        max_parallelism: MAX_PARALLELISM,
        state_backend: StateBackend::default(),
        restored_checkpoint_id: None,
        processing_time: Timestamp(0),
        reporter: Reporter::new(Subject::node("test"), Attempt(0), observer),
    }
}

/// Opens the only subtask of an operator.
pub(super) fn open<O: Operator>(mut operator: O, restored: Option<OperatorSnapshot>) -> O {
    operator.open(&context(ParallelInstance { index: 0, parallelism: 1 }), restored).unwrap();
    operator
}

pub(super) fn snapshot<O: Operator>(operator: &mut O) -> AsyncSnapshot {
    operator.snapshot(CheckpointId(1)).unwrap()
}

pub(super) fn process<O: Operator>(operator: &mut O, batch: Batch<O::In>) -> Batch<O::Out> {
    let mut out = Collector::default();
    operator.process(batch, &mut out).unwrap();
    out.take()
}

pub(super) fn advance<O: Operator>(operator: &mut O, watermark: i64) -> Batch<O::Out> {
    let mut out = Collector::default();
    operator.advance_watermark(Timestamp(watermark), &mut out).unwrap();
    out.take()
}

pub(super) fn record<T>(value: T, timestamp: i64) -> StreamRecord<T> {
    StreamRecord::new(value, Timestamp(timestamp))
}

/// The snapshots of all subtasks as one, as a restore with another parallelism sees them.
pub(super) fn merged(snapshots: Vec<OperatorSnapshot>) -> OperatorSnapshot {
    let watermark = least_watermark(snapshots.iter().map(|snapshot| snapshot.watermark));
    let mut keyed = KeyedSnapshot::new();
    for (name, StateSnapshot { meta, groups }) in snapshots.into_iter().flat_map(|snapshot| snapshot.keyed) {
        let whole = keyed.entry(name.clone()).or_insert_with(|| StateSnapshot { meta, groups: BTreeMap::new() });
        for (key_group, entries) in groups {
            let twice = whole.groups.insert(key_group, entries);
            assert_eq!(twice, None, "key group {key_group} of {name} has two owners");
        }
    }
    OperatorSnapshot { keyed, watermark, ..OperatorSnapshot::default() }
}

/// The only subtask of an operator with two inputs.
pub(super) struct TwoInputHarness<O: TwoInputOperator> {
    operator: O,
    out: Collector<O::Out>,
}

impl<O: TwoInputOperator> TwoInputHarness<O> {
    pub(super) fn open(operator: O, restored: Option<OperatorSnapshot>) -> Self {
        Self::open_at(ParallelInstance { index: 0, parallelism: 1 }, operator, restored)
    }

    pub(super) fn open_at(instance: ParallelInstance, mut operator: O, restored: Option<OperatorSnapshot>) -> Self {
        operator.open(&context(instance), restored).unwrap();
        Self { operator, out: Collector::default() }
    }

    pub(super) fn first(&mut self, batch: Batch<O::First>) -> Batch<O::Out> {
        self.operator.process_first(batch, &mut self.out).unwrap();
        self.out.take()
    }

    pub(super) fn second(&mut self, batch: Batch<O::Second>) -> Batch<O::Out> {
        self.operator.process_second(batch, &mut self.out).unwrap();
        self.out.take()
    }

    pub(super) fn advance(&mut self, watermark: i64) -> Batch<O::Out> {
        self.operator.advance_watermark(Timestamp(watermark), &mut self.out).unwrap();
        self.out.take()
    }

    pub(super) fn advance_processing_time(&mut self, now: i64) -> Batch<O::Out> {
        self.operator.advance_processing_time(Timestamp(now), &mut self.out).unwrap();
        self.out.take()
    }

    /// What was emitted under a tag since the last call for any.
    pub(super) fn side_output<T: Data>(&mut self, tag: &OutputTag<T>) -> Batch<T> {
        let sides = self.out.take_side_outputs();
        sides.into_iter().find(|(name, _)| name == tag.name()).map_or_else(Vec::new, |(_, batch)| batch.into_typed())
    }

    pub(super) fn snapshot(&mut self) -> OperatorSnapshot {
        self.operator.snapshot(CheckpointId(1)).unwrap()().unwrap()
    }
}
