//! Joins of two keyed streams (Flink `KeyedStream.IntervalJoin`).

use std::ops::RangeBounds;

use super::{connected_streams::ConnectedStreams, keyed_stream::KeyedStream, stream::DataStream};
use crate::{
    codec::Data,
    error::Result,
    operator::{IntervalJoinOperator, JoinFunction, JoinInterval, OutputTag},
    state::KeySelector,
};

/// Two keyed streams, to be joined by the distance of their event times.
pub struct IntervalJoin<L, S1, R, S2> {
    left: KeyedStream<L, S1>,
    right: KeyedStream<R, S2>,
}

impl<T: Data, S: KeySelector<T> + Clone + Sync> KeyedStream<T, S> {
    /// Joins this stream, the left one, with another by key and the distance of their event times.
    pub fn interval_join<R, S2>(&self, right: &KeyedStream<R, S2>) -> IntervalJoin<T, S, R, S2>
    where
        R: Data,
        S2: KeySelector<R, Key = S::Key> + Clone + Sync,
    {
        IntervalJoin { left: self.clone(), right: right.clone() }
    }
}

impl<L, S1, R, S2> IntervalJoin<L, S1, R, S2> {
    /// The event time of the right record minus that of the left one, in milliseconds: `-100..=200`, `-100..200`.
    ///
    /// # Errors
    /// If the range is open at an end, or holds nothing.
    pub fn between_ms(self, range: impl RangeBounds<i64>) -> Result<IntervalJoined<L, S1, R, S2>> {
        Ok(IntervalJoined { join: self, interval: JoinInterval::from_range_ms(range)?, late: (None, None) })
    }
}

/// See [`IntervalJoin::between_ms`].
pub struct IntervalJoined<L, S1, R, S2> {
    join: IntervalJoin<L, S1, R, S2>,
    interval: JoinInterval,
    late: (Option<OutputTag<L>>, Option<OutputTag<R>>),
}

impl<L, S1, R, S2> IntervalJoined<L, S1, R, S2>
where
    L: Data,
    R: Data,
    S1: KeySelector<L> + Clone + Sync,
    S2: KeySelector<R, Key = S1::Key> + Clone + Sync,
{
    /// Late left records are emitted on the side.
    #[must_use]
    pub fn side_output_left_late_data(mut self, tag: &OutputTag<L>) -> Self {
        self.late.0 = Some(tag.clone());
        self
    }

    /// Late right records are emitted on the side.
    #[must_use]
    pub fn side_output_right_late_data(mut self, tag: &OutputTag<R>) -> Self {
        self.late.1 = Some(tag.clone());
        self
    }

    /// Calls a function for each pair. What it emits has the larger timestamp of both.
    pub fn process<F, Out>(&self, function: F) -> DataStream<Out>
    where
        F: JoinFunction<L, R, Out> + Clone + Sync,
        Out: Data,
    {
        let IntervalJoin { left, right } = &self.join;
        let (first, second) = (left.selector.clone(), right.selector.clone());
        let (interval, late) = (self.interval, self.late.clone());
        let streams = ConnectedStreams::new(left.stream.clone(), right.stream.clone());
        streams.transform("interval_join", move || {
            IntervalJoinOperator::new(first.clone(), second.clone(), interval, function.clone())
                .with_late_outputs(late.0.clone(), late.1.clone())
        })
    }
}
