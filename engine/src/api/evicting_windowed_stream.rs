//! Keyed streams in windows from which an evictor drops records when they fire.

use super::{stream::DataStream, windowed_stream::WindowedStream};
use crate::{
    codec::Data,
    error::Result,
    operator::{
        Aggregate, AggregateFunction, Apply, AtFire, EmitResult, EvictingWindow, ProcessWindowFunction, Reduce,
        TimestampedCollector,
    },
    state::KeySelector,
    window::{Evictor, Trigger, WindowAssigner},
};

/// A keyed stream in windows with an evictor. Windows keep all their records; reducing and aggregating happens when they
/// fire, to what the evictor leaves.
#[derive(Clone)]
pub struct EvictingWindowedStream<T, S, A, R, E> {
    windowed: WindowedStream<T, S, A, R>,
    evictor: E,
}

impl<T, S, A, R, E> EvictingWindowedStream<T, S, A, R, E>
where
    T: Data,
    S: KeySelector<T> + Clone + Sync,
    A: WindowAssigner<T> + Clone + Sync,
    R: Trigger<T, S::Key, A::Window> + Clone + Sync,
    E: Evictor<T, A::Window> + Clone + Sync,
{
    pub(super) fn new(windowed: WindowedStream<T, S, A, R>, evictor: E) -> Self {
        Self { windowed, evictor }
    }

    /// Hands the records of a key and window to a function that can keep state and sees the times.
    pub fn process<P, Out>(&self, process: P) -> DataStream<Out>
    where
        P: ProcessWindowFunction<T, Out, S::Key, A::Window> + Clone + Sync,
        Out: Data,
    {
        let evictor = self.evictor.clone();
        self.windowed.windows(move || EvictingWindow::new(evictor.clone(), process.clone()))
    }

    /// Hands key, window and its records to a function (Flink `WindowFunction`).
    pub fn apply<P, Out>(&self, function: P) -> DataStream<Out>
    where
        P: FnMut(&S::Key, &A::Window, Vec<T>, &mut TimestampedCollector<'_, Out>) -> Result<()>
            + Clone
            + Send
            + Sync
            + 'static,
        Out: Data,
    {
        self.process(Apply(function))
    }

    /// Reduces the records of a key and window to one; where none is left nothing is emitted.
    pub fn reduce(&self, function: impl FnMut(&mut T, T) + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.process(AtFire::new(Reduce(function), EmitResult))
    }

    /// Reduces the records, and hands the one to a function that sees key and window.
    pub fn reduce_then<P, Out>(
        &self,
        function: impl FnMut(&mut T, T) + Clone + Send + Sync + 'static,
        process: P,
    ) -> DataStream<Out>
    where
        P: ProcessWindowFunction<T, Out, S::Key, A::Window> + Clone + Sync,
        Out: Data,
    {
        self.process(AtFire::new(Reduce(function), process))
    }

    /// Folds the records of a key and window into an accumulator; its result is emitted.
    pub fn aggregate<G>(&self, function: G) -> DataStream<G::Out>
    where
        G: AggregateFunction<T> + Clone + Sync,
    {
        self.process(AtFire::new(Aggregate(function), EmitResult))
    }

    /// Folds the records, and hands the result to a function that sees key and window.
    pub fn aggregate_then<G, P, Out>(&self, function: G, process: P) -> DataStream<Out>
    where
        G: AggregateFunction<T> + Clone + Sync,
        P: ProcessWindowFunction<G::Out, Out, S::Key, A::Window> + Clone + Sync,
        Out: Data,
    {
        self.process(AtFire::new(Aggregate(function), process))
    }
}
