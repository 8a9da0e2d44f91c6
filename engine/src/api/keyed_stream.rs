//! Streams grouped by key.

use super::{stream::DataStream, windowed_stream::WindowedStream};
use crate::{
    codec::Data,
    operator::{KeyedProcessFunction, KeyedProcessOperator, KeyedReduceOperator, Operator},
    state::KeySelector,
    window::WindowAssigner,
};

/// A stream whose records of one key meet in one subtask (Flink `KeyedStream`).
pub struct KeyedStream<T, S> {
    pub(super) stream: DataStream<T>,
    pub(super) selector: S,
}

impl<T, S: Clone> Clone for KeyedStream<T, S> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), selector: self.selector.clone() }
    }
}

impl<T: Data, S: KeySelector<T> + Clone + Sync> KeyedStream<T, S> {
    /// Calls a function with state and timers for each record.
    pub fn process<F>(&self, function: F) -> DataStream<F::Out>
    where
        F: KeyedProcessFunction<Key = S::Key, In = T> + Clone + Sync,
    {
        let selector = self.selector.clone();
        self.stream.transform("process", move || KeyedProcessOperator::new(selector.clone(), function.clone()))
    }

    /// Reduces all records of a key to one; each record gives the value so far (Flink `KeyedStream.reduce`; `sum`, `min`
    /// and `max` are this).
    pub fn reduce(&self, function: impl FnMut(&mut T, T) + Clone + Send + Sync + 'static) -> DataStream<T> {
        let selector = self.selector.clone();
        self.stream.transform("reduce", move || KeyedReduceOperator::new(selector.clone(), function.clone()))
    }

    /// What finds the keys.
    pub(crate) fn selector(&self) -> S {
        self.selector.clone()
    }

    /// Appends an operator; `make` is called once per subtask and attempt.
    pub(crate) fn transform<O: Operator<In = T>>(
        &self,
        name: &str,
        make: impl Fn() -> O + Send + Sync + 'static,
    ) -> DataStream<O::Out> {
        self.stream.transform(name, make)
    }

    /// Groups the records of a key into windows.
    pub fn window<A: WindowAssigner<T> + Clone + Sync>(&self, assigner: A) -> WindowedStream<T, S, A> {
        WindowedStream::new(self.stream.clone(), self.selector.clone(), assigner)
    }
}
