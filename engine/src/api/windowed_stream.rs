//! Keyed streams in windows.

use std::time::Duration;

use super::stream::DataStream;
use crate::{
    codec::Data,
    operator::{
        Aggregate, AggregateFunction, FullWindow, ProcessWindowFunction, Reduce, Then, WindowFunction, WindowOperator,
    },
    state::KeySelector,
    window::{EventTimeTrigger, WindowAssigner},
};

/// A keyed stream in windows (Flink `WindowedStream`).
pub struct WindowedStream<T, S, A> {
    stream: DataStream<T>,
    selector: S,
    assigner: A,
    allowed_lateness: Duration,
}

impl<T: Data, S: KeySelector<T> + Clone + Sync, A: WindowAssigner + Clone + Sync> WindowedStream<T, S, A> {
    pub(super) fn new(stream: DataStream<T>, selector: S, assigner: A) -> Self {
        Self { stream, selector, assigner, allowed_lateness: Duration::ZERO }
    }

    /// Keeps windows for that long after their end; each late record then gives the results again.
    #[must_use]
    pub fn allowed_lateness(mut self, allowed_lateness: Duration) -> Self {
        self.allowed_lateness = allowed_lateness;
        self
    }

    fn apply<F>(&self, make: impl Fn() -> F + Send + Sync + 'static) -> DataStream<F::Out>
    where
        F: WindowFunction<T, S::Key, A::Window>,
        F::Out: Data,
    {
        let (selector, assigner, lateness) = (self.selector.clone(), self.assigner.clone(), self.allowed_lateness);
        self.stream.transform("window", move || {
            WindowOperator::new(selector.clone(), assigner.clone(), EventTimeTrigger, make())
                .with_allowed_lateness(lateness)
        })
    }

    /// Reduces the records of a key and window to one.
    pub fn reduce(&self, function: impl FnMut(&mut T, T) + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.apply(move || Reduce(function.clone()))
    }

    /// Folds the records of a key and window into an accumulator; its result is emitted.
    pub fn aggregate<G>(&self, function: G) -> DataStream<G::Out>
    where
        G: AggregateFunction<T> + Clone + Sync,
    {
        self.apply(move || Aggregate(function.clone()))
    }

    /// Folds the records, and hands the result to a function that sees key and window.
    pub fn aggregate_then<G, P, Out>(&self, function: G, process: P) -> DataStream<Out>
    where
        G: AggregateFunction<T> + Clone + Sync,
        P: ProcessWindowFunction<G::Out, Out, S::Key, A::Window> + Clone + Sync,
        Out: Data,
    {
        self.apply(move || Then::new(Aggregate(function.clone()), process.clone()))
    }

    /// Hands all records of a key and window to a function.
    pub fn process<P, Out>(&self, process: P) -> DataStream<Out>
    where
        P: ProcessWindowFunction<T, Out, S::Key, A::Window> + Clone + Sync,
        Out: Data,
    {
        self.apply(move || FullWindow::new(process.clone()))
    }
}
