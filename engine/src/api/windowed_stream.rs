//! Keyed streams in windows.

use std::time::Duration;

use super::{evicting_windowed_stream::EvictingWindowedStream, stream::DataStream};
use crate::{
    codec::Data,
    error::Result,
    operator::{
        Aggregate, AggregateFunction, Apply, FullWindow, OutputTag, ProcessWindowFunction, Reduce, Then,
        TimestampedCollector, WindowFunction, WindowOperator,
    },
    state::KeySelector,
    window::{DefaultTrigger, Evictor, Trigger, WindowAssigner},
};

/// A keyed stream in windows (Flink `WindowedStream`), and the trigger `R` that releases their results.
///
/// ```
/// use tidegate::{
///     api::{SlidingWindows, StreamEnvironment, WatermarkStrategy},
///     config::JobConfig,
///     connector::{CollectSink, CollectionSource},
///     runtime::run_locally,
///     window::WindowPeriod,
/// };
/// use std::{sync::{Arc, Mutex}, time::Duration};
///
/// let collected = Arc::new(Mutex::new(Vec::new()));
/// let sink = collected.clone();
/// let job = StreamEnvironment::new(JobConfig::default());
/// let words = [(0, "a"), (4999, "a"), (5000, "b"), (12000, "a")].map(|(at, word)| (at, word.to_string()));
/// let slides = WindowPeriod { size_ms: 5_000, offset_ms: 0 };
/// job.from_source("words", CollectionSource::new(words.to_vec()), WatermarkStrategy::for_monotonous_timestamps()
///         .with_timestamp_assigner(|(at, _): &(i64, String)| tidegate::Timestamp(*at)))
///     .map(|(_, word)| (word, 1_u64))
///     .key_by(|(word, _)| word.clone())
///     .window(SlidingWindows::of(Duration::from_secs(10), slides).unwrap())
///     .reduce(|sum, next| sum.1 += next.1)
///     .sink("collect", move || CollectSink::new(sink.clone()));
/// run_locally(1, job.config().clone(), job.build().unwrap()).unwrap();
/// let mut sums: Vec<_> = collected.lock().unwrap().iter()
///     .map(|(_, record)| (record.timestamp.0, record.value.0.clone(), record.value.1)).collect();
/// sums.sort();
/// assert_eq!(sums, [
///     (4999, "a".into(), 2), (9999, "a".into(), 2), (9999, "b".into(), 1),
///     (14999, "a".into(), 1), (14999, "b".into(), 1), (19999, "a".into(), 1),
/// ]);
/// ```
#[derive(Clone)]
pub struct WindowedStream<T, S, A, R = DefaultTrigger> {
    stream: DataStream<T>,
    selector: S,
    assigner: A,
    trigger: R,
    allowed_lateness: Duration,
    late_tag: Option<OutputTag<T>>,
    parallelism: Option<u32>,
}

impl<T, S, A> WindowedStream<T, S, A>
where
    T: Data,
    S: KeySelector<T> + Clone + Sync,
    A: WindowAssigner<T> + Clone + Sync,
{
    pub(super) fn new(stream: DataStream<T>, selector: S, assigner: A) -> Self {
        let trigger = assigner.default_trigger();
        let allowed_lateness = Duration::ZERO;
        Self { stream, selector, assigner, trigger, allowed_lateness, late_tag: None, parallelism: None }
    }

    /// All windows in that many subtasks, whatever the stream has.
    pub(super) fn with_parallelism(mut self, parallelism: u32) -> Self {
        self.parallelism = Some(parallelism);
        self
    }
}

impl<T, S, A, R> WindowedStream<T, S, A, R>
where
    T: Data,
    S: KeySelector<T> + Clone + Sync,
    A: WindowAssigner<T> + Clone + Sync,
    R: Trigger<T, S::Key, A::Window> + Clone + Sync,
{
    /// Lets another trigger release the results. Where windows merge it has to be one that can.
    #[must_use]
    pub fn trigger<Q>(self, trigger: Q) -> WindowedStream<T, S, A, Q>
    where
        Q: Trigger<T, S::Key, A::Window> + Clone + Sync,
    {
        let Self { stream, selector, assigner, allowed_lateness, late_tag, parallelism, .. } = self;
        WindowedStream { stream, selector, assigner, trigger, allowed_lateness, late_tag, parallelism }
    }

    /// Drops elements from windows that fire. All elements are kept till then, also for reducing and aggregating.
    #[must_use]
    pub fn evictor<E>(self, evictor: E) -> EvictingWindowedStream<T, S, A, R, E>
    where
        E: Evictor<T, A::Window> + Clone + Sync,
    {
        EvictingWindowedStream::new(self, evictor)
    }

    /// Keeps windows for that long after their end; each late record then gives the results again.
    #[must_use]
    pub fn allowed_lateness(mut self, allowed_lateness: Duration) -> Self {
        self.allowed_lateness = allowed_lateness;
        self
    }

    /// Sends records that come too late for all their windows to a side output of the windows' operator; read it with
    /// [`DataStream::get_side_output`] from the stream of results.
    #[must_use]
    pub fn side_output_late_data(mut self, tag: &OutputTag<T>) -> Self {
        self.late_tag = Some(tag.clone());
        self
    }

    /// Appends the window operator.
    pub(super) fn windows<F>(&self, make: impl Fn() -> F + Send + Sync + 'static) -> DataStream<F::Out>
    where
        F: WindowFunction<T, S::Key, A::Window>,
    {
        let Self { selector, assigner, trigger, allowed_lateness, late_tag, .. } = self.clone();
        let operator = move || {
            WindowOperator::new(selector.clone(), assigner.clone(), trigger.clone(), make())
                .with_allowed_lateness(allowed_lateness)
                .with_late_side_output(late_tag.clone())
        };
        if let Err(error) = operator().check() {
            self.stream.builder.borrow_mut().refused.get_or_insert(error.into());
        }
        let results = self.stream.transform("window", operator);
        match self.parallelism {
            Some(parallelism) => results.set_parallelism(parallelism),
            None => results,
        }
    }

    /// Reduces the records of a key and window to one.
    pub fn reduce(&self, function: impl FnMut(&mut T, T) + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.windows(move || Reduce(function.clone()))
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
        self.windows(move || Then::new(Reduce(function.clone()), process.clone()))
    }

    /// Folds the records of a key and window into an accumulator; its result is emitted.
    pub fn aggregate<G>(&self, function: G) -> DataStream<G::Out>
    where
        G: AggregateFunction<T> + Clone + Sync,
    {
        self.windows(move || Aggregate(function.clone()))
    }

    /// Folds the records, and hands the result to a function that sees key and window.
    pub fn aggregate_then<G, P, Out>(&self, function: G, process: P) -> DataStream<Out>
    where
        G: AggregateFunction<T> + Clone + Sync,
        P: ProcessWindowFunction<G::Out, Out, S::Key, A::Window> + Clone + Sync,
        Out: Data,
    {
        self.windows(move || Then::new(Aggregate(function.clone()), process.clone()))
    }

    /// Hands all records of a key and window to a function that can keep state and sees the times.
    pub fn process<P, Out>(&self, process: P) -> DataStream<Out>
    where
        P: ProcessWindowFunction<T, Out, S::Key, A::Window> + Clone + Sync,
        Out: Data,
    {
        self.windows(move || FullWindow::new(process.clone()))
    }

    /// Hands key, window and all its records to a function (Flink `WindowFunction`).
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
}

#[cfg(test)]
mod tests;
