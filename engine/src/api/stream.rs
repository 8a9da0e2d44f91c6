//! Streams without a key.

use std::{cell::RefCell, marker::PhantomData, rc::Rc, sync::Arc};

use super::{
    builder::{Builder, Code, Connection, Operation, Shipping},
    connected_streams::ConnectedStreams,
    keyed_stream::KeyedStream,
};
use crate::{
    codec::Data,
    connector::{PlainSink, TwoPhaseCommitSink},
    error::{Error, ErrorKind, Result},
    operator::{FilterOperator, FlatMapOperator, Input, MapOperator, Operator, OutputTag, TimestampedCollector, erase},
    record::decode_batch,
    state::{Key, KeySelector},
    task::{
        self, SinkFactory,
        partitioner::{self, PartitionerFactory},
    },
    time::WatermarkStrategy,
};

/// A stream of records of one type (Flink `DataStream`).
pub struct DataStream<T> {
    pub(super) builder: Rc<RefCell<Builder>>,
    pub(super) inputs: Vec<Connection>,
    /// The operation that `name`, `uid` and `set_parallelism` are about.
    pub(super) node: usize,
    record: PhantomData<fn() -> T>,
}

impl<T> Clone for DataStream<T> {
    fn clone(&self) -> Self {
        Self { builder: self.builder.clone(), inputs: self.inputs.clone(), node: self.node, record: PhantomData }
    }
}

impl<T: Data> DataStream<T> {
    pub(super) fn of(builder: Rc<RefCell<Builder>>, node: usize) -> Self {
        let inputs = vec![forward_from::<T>(node)];
        Self { builder, inputs, node, record: PhantomData }
    }

    /// How many subtasks the last operation has.
    pub fn parallelism(&self) -> u32 {
        self.builder.borrow().operations[self.node].parallelism
    }

    /// Appends an operation that reads this stream.
    fn add(&self, name: &str, code: Code) -> usize {
        let operation = Operation {
            name: name.to_owned(),
            uid: None,
            parallelism: self.builder.borrow().parallelism.max(1),
            code,
            inputs: self.inputs.clone(),
        };
        self.builder.borrow_mut().add(operation)
    }

    /// Appends an operator; `make` is called once per subtask and attempt.
    pub fn transform<O>(&self, name: &str, make: impl Fn() -> O + Send + Sync + 'static) -> DataStream<O::Out>
    where
        O: Operator<In = T>,
    {
        let node = self.add(name, Code::Operator(Arc::new(move || erase(make()))));
        DataStream::of(self.builder.clone(), node)
    }

    /// One record for each.
    pub fn map<U: Data>(&self, function: impl FnMut(T) -> U + Clone + Send + Sync + 'static) -> DataStream<U> {
        self.transform("map", move || MapOperator::new(function.clone()))
    }

    /// The records for which the predicate holds.
    pub fn filter(&self, predicate: impl FnMut(&T) -> bool + Clone + Send + Sync + 'static) -> Self {
        self.transform("filter", move || FilterOperator::new(predicate.clone()))
    }

    /// Any number of records for each.
    pub fn flat_map<U: Data>(
        &self,
        function: impl FnMut(T, &mut TimestampedCollector<'_, U>) -> Result<()> + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.transform("flat_map", move || FlatMapOperator::new(function.clone()))
    }

    /// Gives the records new event times and makes watermarks of its own (Flink `assignTimestampsAndWatermarks`), asked for
    /// every `pipeline.auto-watermark-interval`. The watermarks of the input are dropped, except for the last one, at its
    /// end. The result is a stream without a key.
    pub fn assign_timestamps_and_watermarks(&self, strategy: WatermarkStrategy<T>) -> Self {
        if strategy.alignment().is_some() {
            let refused = Error::new(ErrorKind::Configuration, "only sources can be aligned by their watermarks")
                .with_hint("give the strategy with the alignment to from_source()");
            self.builder.borrow_mut().refused.get_or_insert(refused);
        }
        let code = Code::TimestampsAndWatermarks(task::timestamps_and_watermarks(strategy));
        Self::of(self.builder.clone(), self.add("timestamps_and_watermarks", code))
    }

    /// The records of all these streams; those of each keep their order.
    ///
    /// # Panics
    /// If the streams are of different jobs.
    pub fn union(&self, others: &[&Self]) -> Self {
        let mut union = self.clone();
        for other in others {
            assert!(Rc::ptr_eq(&self.builder, &other.builder), "a union is of streams of one job");
            union.inputs.extend(other.inputs.iter().cloned());
        }
        union
    }

    /// What the last operation emits on the side under this tag; also if nobody reads its main output.
    pub fn get_side_output<U: Data>(&self, tag: &OutputTag<U>) -> DataStream<U> {
        let connection = Connection { side_output: Some(tag.name().clone()), ..forward_from::<U>(self.node) };
        DataStream { builder: self.builder.clone(), inputs: vec![connection], node: self.node, record: PhantomData }
    }

    /// This stream and another one, of another type perhaps, to be read by one operator with two inputs.
    ///
    /// # Panics
    /// If the streams are of different jobs.
    pub fn connect<U: Data>(&self, second: &DataStream<U>) -> ConnectedStreams<T, U> {
        ConnectedStreams::new(self.clone(), second.clone())
    }

    /// The same records, sent where the partitioner says.
    fn shipped(&self, partitioner: &PartitionerFactory) -> Self {
        self.shipped_as(&Shipping::AllToAll(partitioner.clone()))
    }

    fn shipped_as(&self, shipping: &Shipping) -> Self {
        let inputs = self.inputs.iter().map(|input| Connection { shipping: shipping.clone(), ..input.clone() });
        Self { inputs: inputs.collect(), ..self.clone() }
    }

    /// Sends each record to the subtask of the same number of the next operator, which must have the same parallelism.
    pub fn forward(&self) -> Self {
        self.shipped_as(&Shipping::Forward(partitioner::forward()))
    }

    /// Deals the records out in turn to a share of the subtasks of the next operator: those that are neighbours if both
    /// ends are laid side by side. Fewer connections than [`rebalance`](Self::rebalance), and no balance between shares.
    pub fn rescale(&self) -> Self {
        self.shipped_as(&Shipping::Rescale(partitioner::rebalance::<T>()))
    }

    /// Sends each record to a subtask of the next operator drawn at random.
    ///
    /// After a restore a record may go elsewhere: behind it belongs only what does not depend on the subtask.
    pub fn shuffle(&self) -> Self {
        self.shipped(&partitioner::shuffle::<T>())
    }

    /// Deals the records out to the subtasks of the next operator in turn.
    pub fn rebalance(&self) -> Self {
        self.shipped(&partitioner::rebalance::<T>())
    }

    /// Sends a copy of each record to every subtask of the next operator.
    pub fn broadcast(&self) -> Self {
        self.shipped_as(&Shipping::Addressed(partitioner::broadcast()))
    }

    /// Sends each record to the subtask of the next operator whose number `choose` gives, of so many as its second argument
    /// says.
    ///
    /// A number that is too large fails the subtask. Barriers do not overtake records on such an edge: what was under way to
    /// one subtask has no meaning to others (Flink `partitionCustom`).
    pub fn partition_custom(&self, choose: impl Fn(&T, usize) -> usize + Clone + Send + Sync + 'static) -> Self {
        self.shipped_as(&Shipping::Addressed(partitioner::custom(choose)))
    }

    /// Sends all records to the first subtask of the next operator.
    pub fn global(&self) -> Self {
        self.shipped(&partitioner::global())
    }

    /// Groups the records by key: all of a key meet in one subtask.
    pub fn key_by<K, F>(&self, key: F) -> KeyedStream<T, F>
    where
        K: Key,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        self.key_by_selector(key)
    }

    /// Groups the records by the key that a selector finds, for one that is costly to copy
    /// ([`KeyRef`](crate::state::KeyRef)).
    pub fn key_by_selector<S: KeySelector<T> + Clone + Sync>(&self, selector: S) -> KeyedStream<T, S> {
        KeyedStream { stream: self.shipped(&partitioner::by_key::<T>(selector.clone())), selector }
    }

    /// Ends the stream in a sink without transactions; `make` is called once per subtask and attempt.
    pub fn sink<S: PlainSink<In = T>>(&self, name: &str, make: impl Fn() -> S + Send + Sync + 'static) -> StreamSink {
        self.add_sink(name, task::plain_sink(make))
    }

    /// Ends the stream in a transactional sink; `make` is called once per subtask and attempt.
    pub fn sink_exactly_once<S>(&self, name: &str, make: impl Fn() -> S + Send + Sync + 'static) -> StreamSink
    where
        S: TwoPhaseCommitSink<In = T>,
    {
        self.add_sink(name, task::two_phase_commit_sink(make))
    }

    pub(super) fn add_sink(&self, name: &str, factory: SinkFactory) -> StreamSink {
        let node = self.add(name, Code::Sink(factory));
        StreamSink { builder: self.builder.clone(), node }
    }

    /// Names the last operation.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.builder.borrow_mut().operations[self.node].name = name.to_owned();
        self
    }

    /// Gives the last operation the identity under which its state is found again.
    #[must_use]
    pub fn uid(self, uid: &str) -> Self {
        self.builder.borrow_mut().operations[self.node].uid = Some(uid.to_owned());
        self
    }

    /// Sets the number of subtasks of the last operation; without this it is the job's.
    #[must_use]
    pub fn set_parallelism(self, parallelism: u32) -> Self {
        self.builder.borrow_mut().operations[self.node].parallelism = parallelism.max(1);
        self
    }
}

fn forward_from<T: Data>(node: usize) -> Connection {
    Connection {
        from: node,
        side_output: None,
        input: Input::First,
        shipping: Shipping::Default { forward: partitioner::forward(), rebalance: partitioner::rebalance::<T>() },
        decoder: decode_batch::<T>,
    }
}

/// The end of a stream.
pub struct StreamSink {
    builder: Rc<RefCell<Builder>>,
    node: usize,
}

impl StreamSink {
    /// Sets the number of subtasks of the sink; without this it is the job's.
    pub fn set_parallelism(self, parallelism: u32) -> Self {
        self.builder.borrow_mut().operations[self.node].parallelism = parallelism.max(1);
        self
    }

    /// Gives the sink the identity under which its transactions are found again.
    pub fn uid(self, uid: &str) -> Self {
        self.builder.borrow_mut().operations[self.node].uid = Some(uid.to_owned());
        self
    }
}
