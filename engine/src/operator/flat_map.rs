//! One record in, any number out (Flink `StreamFlatMap`).

use std::marker::PhantomData;

use super::{Collector, Operator, TimestampedCollector};
use crate::{codec::Data, error::Result, record::Batch};

/// Lets a function emit any number of values for each; they get its timestamp.
pub struct FlatMapOperator<In, Out, F> {
    function: F,
    types: PhantomData<fn(In) -> Out>,
}

impl<In: Data, Out: Data, F> FlatMapOperator<In, Out, F>
where
    F: FnMut(In, &mut TimestampedCollector<'_, Out>) -> Result<()> + Send + 'static,
{
    /// An operator that calls `function`.
    pub fn new(function: F) -> Self {
        Self { function, types: PhantomData }
    }
}

impl<In: Data, Out: Data, F> Operator for FlatMapOperator<In, Out, F>
where
    F: FnMut(In, &mut TimestampedCollector<'_, Out>) -> Result<()> + Send + 'static,
{
    type In = In;
    type Out = Out;

    fn process(&mut self, batch: Batch<In>, out: &mut Collector<Out>) -> Result<()> {
        for record in batch {
            (self.function)(record.value, &mut TimestampedCollector::new(out, record.timestamp))?;
        }
        Ok(())
    }
}
