//! Windows over two keyed streams: co-groups and joins (Flink `CoGroupedStreams`, `JoinedStreams`).
//!
//! Both are windows over the union of the two streams, each record tagged with where it comes from. So they have what
//! windows have: lateness, state in checkpoints, results with the last timestamp of the window.

use super::{keyed_stream::KeyedStream, stream::DataStream};
use crate::{
    codec::Data,
    error::Result,
    operator::{Apply, Tagged, TaggedKey, TimestampedCollector},
    state::{Key, KeySelector},
    window::WindowAssigner,
};

/// Two streams, to be looked at together in windows.
pub struct CoGroup<A, B> {
    first: DataStream<A>,
    second: DataStream<B>,
}

impl<T: Data> DataStream<T> {
    /// This stream and another, to be grouped or joined by key in windows.
    pub fn co_group<B: Data>(&self, second: &DataStream<B>) -> CoGroup<T, B> {
        CoGroup { first: self.clone(), second: second.clone() }
    }
}

impl<A: Data, B: Data> CoGroup<A, B> {
    /// The keys of both (Flink `where`, `equalTo`).
    pub fn on<K, F, G>(&self, first: F, second: G) -> CoGroupedStreams<A, F, B, G>
    where
        K: Key,
        F: Fn(&A) -> K + Clone + Send + Sync + 'static,
        G: Fn(&B) -> K + Clone + Send + Sync + 'static,
    {
        CoGroupedStreams { first: self.first.clone(), second: self.second.clone(), keys: TaggedKey(first, second) }
    }
}

/// Two streams with their keys.
pub struct CoGroupedStreams<A, S1, B, S2> {
    first: DataStream<A>,
    second: DataStream<B>,
    keys: TaggedKey<S1, S2>,
}

impl<A, S1, B, S2> CoGroupedStreams<A, S1, B, S2>
where
    A: Data,
    B: Data,
    S1: KeySelector<A> + Clone + Sync,
    S2: KeySelector<B, Key = S1::Key> + Clone + Sync,
{
    /// Groups the records of both by key and window.
    pub fn window<G>(&self, assigner: G) -> WindowedCoGroup<A, S1, B, S2, G>
    where
        G: WindowAssigner<Tagged<A, B>> + Clone + Sync,
    {
        // Each record is tagged where it comes from.
        let first = self.first.map(Tagged::<A, B>::First).set_parallelism(self.first.parallelism());
        let second = self.second.map(Tagged::<A, B>::Second).set_parallelism(self.second.parallelism());
        WindowedCoGroup { tagged: first.union(&[&second]).key_by_selector(self.keys.clone()), assigner }
    }
}

/// Two keyed streams in the same windows.
pub struct WindowedCoGroup<A, S1, B, S2, G> {
    tagged: KeyedStream<Tagged<A, B>, TaggedKey<S1, S2>>,
    assigner: G,
}

impl<A, S1, B, S2, G> WindowedCoGroup<A, S1, B, S2, G>
where
    A: Data,
    B: Data,
    S1: KeySelector<A> + Clone + Sync,
    S2: KeySelector<B, Key = S1::Key> + Clone + Sync,
    G: WindowAssigner<Tagged<A, B>> + Clone + Sync,
{
    /// Calls a function for each key and window with the records of both streams, also if one of them has none (Flink
    /// `CoGroupFunction`).
    pub fn apply<Out, F>(&self, function: F) -> DataStream<Out>
    where
        Out: Data,
        F: FnMut(&S1::Key, &G::Window, Vec<A>, Vec<B>, &mut TimestampedCollector<'_, Out>) -> Result<()>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let mut function = function;
        let separated = move |key: &S1::Key,
                              window: &G::Window,
                              records: Vec<Tagged<A, B>>,
                              out: &mut TimestampedCollector<'_, Out>| {
            let (first, second) = Tagged::separate(records);
            function(key, window, first, second, out)
        };
        self.tagged.window(self.assigner.clone()).process(Apply(separated))
    }

    /// Makes one record of each pair of a record of the first and one of the second stream with the same key and window
    /// (Flink `JoinFunction`).
    pub fn join<Out, F>(&self, function: F) -> DataStream<Out>
    where
        Out: Data,
        F: FnMut(&A, &B) -> Out + Clone + Send + Sync + 'static,
    {
        let mut function = function;
        self.apply(move |_key, _window, first, second, out| {
            for left in &first {
                second.iter().for_each(|right| out.collect(function(left, right)));
            }
            Ok(())
        })
    }
}
