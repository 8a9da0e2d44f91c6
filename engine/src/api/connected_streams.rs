//! Two streams that one operator reads (Flink `ConnectedStreams`, `BroadcastConnectedStream`).

use std::{rc::Rc, sync::Arc};

use super::{
    builder::{Code, Connection, Operation},
    keyed_stream::KeyedStream,
    stream::DataStream,
};
use crate::{
    codec::Data,
    error::Result,
    operator::{
        CoFlatMapOperator, CoMapOperator, Input, KeyedBroadcastProcessFunction, KeyedBroadcastProcessOperator,
        KeyedCoProcessFunction, KeyedCoProcessOperator, TimestampedCollector, TwoInputOperator, erase_two_input,
    },
    state::KeySelector,
};

/// Two streams, of different types perhaps, that one operator reads as its two inputs.
pub struct ConnectedStreams<T, U> {
    first: DataStream<T>,
    second: DataStream<U>,
}

impl<T: Data, U: Data> ConnectedStreams<T, U> {
    pub(super) fn new(first: DataStream<T>, second: DataStream<U>) -> Self {
        assert!(Rc::ptr_eq(&first.builder, &second.builder), "connected streams are of one job");
        Self { first, second }
    }

    /// Appends an operator with two inputs; `make` is called once per subtask and attempt.
    pub fn transform<O>(&self, name: &str, make: impl Fn() -> O + Send + Sync + 'static) -> DataStream<O::Out>
    where
        O: TwoInputOperator<First = T, Second = U>,
    {
        let second = self.second.inputs.iter().map(|input| Connection { input: Input::Second, ..input.clone() });
        let operation = Operation {
            name: name.to_owned(),
            uid: None,
            parallelism: self.first.builder.borrow().parallelism.max(1),
            code: Code::Operator(Arc::new(move || erase_two_input(make()))),
            inputs: self.first.inputs.iter().cloned().chain(second).collect(),
        };
        let node = self.first.builder.borrow_mut().add(operation);
        DataStream::of(self.first.builder.clone(), node)
    }

    /// One record for each, with a function for each stream (Flink `CoMapFunction`).
    pub fn map<Out: Data>(
        &self,
        first: impl FnMut(T) -> Out + Clone + Send + Sync + 'static,
        second: impl FnMut(U) -> Out + Clone + Send + Sync + 'static,
    ) -> DataStream<Out> {
        self.transform("co_map", move || CoMapOperator::new(first.clone(), second.clone()))
    }

    /// Any number of records for each, with a function for each stream (Flink `CoFlatMapFunction`).
    pub fn flat_map<Out: Data>(
        &self,
        first: impl FnMut(T, &mut TimestampedCollector<'_, Out>) -> Result<()> + Clone + Send + Sync + 'static,
        second: impl FnMut(U, &mut TimestampedCollector<'_, Out>) -> Result<()> + Clone + Send + Sync + 'static,
    ) -> DataStream<Out> {
        self.transform("co_flat_map", move || CoFlatMapOperator::new(first.clone(), second.clone()))
    }
}

/// Two streams with the same keys, whose records of one key meet in one subtask.
pub struct KeyedConnectedStreams<T, S1, U, S2> {
    streams: ConnectedStreams<T, U>,
    selectors: (S1, S2),
}

impl<T, S1, U, S2> KeyedConnectedStreams<T, S1, U, S2>
where
    T: Data,
    U: Data,
    S1: KeySelector<T> + Clone + Sync,
    S2: KeySelector<U, Key = S1::Key> + Clone + Sync,
{
    /// Calls a function with state and timers, which are one for both streams, for each record.
    pub fn process<F>(&self, function: F) -> DataStream<F::Out>
    where
        F: KeyedCoProcessFunction<Key = S1::Key, First = T, Second = U> + Clone + Sync,
    {
        let (first, second) = self.selectors.clone();
        let make = move || KeyedCoProcessOperator::new(first.clone(), second.clone(), function.clone());
        self.streams.transform("co_process", make)
    }
}

/// A keyed stream, and one whose records every subtask gets.
pub struct BroadcastConnectedStream<T, S, B> {
    streams: ConnectedStreams<T, B>,
    selector: S,
}

impl<T: Data, S: KeySelector<T> + Clone + Sync, B: Data> BroadcastConnectedStream<T, S, B> {
    /// Calls a function with keyed state, timers and broadcast state for each record.
    pub fn process<F>(&self, function: F) -> DataStream<F::Out>
    where
        F: KeyedBroadcastProcessFunction<Key = S::Key, In = T, Broadcast = B> + Clone + Sync,
    {
        let selector = self.selector.clone();
        let make = move || KeyedBroadcastProcessOperator::new(selector.clone(), function.clone());
        self.streams.transform("broadcast_process", make)
    }
}

impl<T: Data, S: KeySelector<T> + Clone + Sync> KeyedStream<T, S> {
    /// This stream and another one with the same keys, to be read by one function.
    ///
    /// # Panics
    /// If the streams are of different jobs.
    pub fn connect<U, S2>(&self, second: &KeyedStream<U, S2>) -> KeyedConnectedStreams<T, S, U, S2>
    where
        U: Data,
        S2: KeySelector<U, Key = S::Key> + Clone + Sync,
    {
        let streams = ConnectedStreams::new(self.stream.clone(), second.stream.clone());
        KeyedConnectedStreams { streams, selectors: (self.selector.clone(), second.selector.clone()) }
    }

    /// This stream and a broadcast of another one: every subtask gets each of its records.
    ///
    /// # Panics
    /// If the streams are of different jobs.
    pub fn connect_broadcast<B: Data>(&self, broadcast: &DataStream<B>) -> BroadcastConnectedStream<T, S, B> {
        let streams = ConnectedStreams::new(self.stream.clone(), broadcast.broadcast());
        BroadcastConnectedStream { streams, selector: self.selector.clone() }
    }
}
