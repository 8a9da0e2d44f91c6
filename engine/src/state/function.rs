//! User functions that combine values: of a reducing or aggregating state, or of a window.

use crate::codec::Data;

/// Combines values of one type (Flink `ReduceFunction`). Must be associative if windows can merge.
pub trait ReduceFunction<T>: Send + 'static {
    /// Combines `value` into `reduced`.
    fn reduce(&mut self, reduced: &mut T, value: T);
}

impl<T, F: FnMut(&mut T, T) + Send + 'static> ReduceFunction<T> for F {
    #[inline]
    fn reduce(&mut self, reduced: &mut T, value: T) {
        self(reduced, value);
    }
}

/// Folds values into an accumulator of another type (Flink `AggregateFunction`).
pub trait AggregateFunction<In>: Send + 'static {
    /// Type of the accumulator.
    type Accumulator: Data;
    /// Type of the result.
    type Out: Data;

    /// An accumulator of no value.
    fn create_accumulator(&self) -> Self::Accumulator;
    /// Adds a value.
    fn add(&self, accumulator: &mut Self::Accumulator, value: In);
    /// The result of the values so far.
    fn get_result(&self, accumulator: &Self::Accumulator) -> Self::Out;
    /// The accumulator of the values of both, those of `one` first: needed where windows merge.
    fn merge(&self, one: Self::Accumulator, other: Self::Accumulator) -> Self::Accumulator;
}
