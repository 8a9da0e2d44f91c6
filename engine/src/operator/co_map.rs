//! Functions over two streams that need no state (Flink `CoMapFunction`, `CoFlatMapFunction`).

use std::marker::PhantomData;

use super::{Collector, TimestampedCollector, TwoInputOperator};
use crate::{codec::Data, error::Result, record::Batch};

/// Makes one record of each, with a function for each input.
pub struct CoMapOperator<A, B, Out, F, G> {
    functions: (F, G),
    types: PhantomData<fn(A, B) -> Out>,
}

impl<A, B, Out, F: FnMut(A) -> Out, G: FnMut(B) -> Out> CoMapOperator<A, B, Out, F, G> {
    /// An operator that calls `first` for records of the first input and `second` for those of the second.
    pub fn new(first: F, second: G) -> Self {
        Self { functions: (first, second), types: PhantomData }
    }
}

impl<A, B, Out, F, G> TwoInputOperator for CoMapOperator<A, B, Out, F, G>
where
    A: Data,
    B: Data,
    Out: Data,
    F: FnMut(A) -> Out + Send + 'static,
    G: FnMut(B) -> Out + Send + 'static,
{
    type First = A;
    type Second = B;
    type Out = Out;

    fn process_first(&mut self, batch: Batch<A>, out: &mut Collector<Out>) -> Result<()> {
        for record in batch {
            TimestampedCollector::new(out, record.timestamp).collect((self.functions.0)(record.value));
        }
        Ok(())
    }

    fn process_second(&mut self, batch: Batch<B>, out: &mut Collector<Out>) -> Result<()> {
        for record in batch {
            TimestampedCollector::new(out, record.timestamp).collect((self.functions.1)(record.value));
        }
        Ok(())
    }
}

/// Makes any number of records of each, with a function for each input.
pub struct CoFlatMapOperator<A, B, Out, F, G> {
    functions: (F, G),
    types: PhantomData<fn(A, B) -> Out>,
}

impl<A, B, Out, F, G> CoFlatMapOperator<A, B, Out, F, G>
where
    F: FnMut(A, &mut TimestampedCollector<'_, Out>) -> Result<()>,
    G: FnMut(B, &mut TimestampedCollector<'_, Out>) -> Result<()>,
{
    /// An operator that calls `first` for records of the first input and `second` for those of the second.
    pub fn new(first: F, second: G) -> Self {
        Self { functions: (first, second), types: PhantomData }
    }
}

impl<A, B, Out, F, G> TwoInputOperator for CoFlatMapOperator<A, B, Out, F, G>
where
    A: Data,
    B: Data,
    Out: Data,
    F: FnMut(A, &mut TimestampedCollector<'_, Out>) -> Result<()> + Send + 'static,
    G: FnMut(B, &mut TimestampedCollector<'_, Out>) -> Result<()> + Send + 'static,
{
    type First = A;
    type Second = B;
    type Out = Out;

    fn process_first(&mut self, batch: Batch<A>, out: &mut Collector<Out>) -> Result<()> {
        let mut records = batch.into_iter();
        records.try_for_each(|record| {
            (self.functions.0)(record.value, &mut TimestampedCollector::new(out, record.timestamp))
        })
    }

    fn process_second(&mut self, batch: Batch<B>, out: &mut Collector<Out>) -> Result<()> {
        let mut records = batch.into_iter();
        records.try_for_each(|record| {
            (self.functions.1)(record.value, &mut TimestampedCollector::new(out, record.timestamp))
        })
    }
}
