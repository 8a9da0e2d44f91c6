//! One record in, one record out (Flink `StreamMap`).

use std::marker::PhantomData;

use super::{Collector, Operator};
use crate::{codec::Data, error::Result, record::Batch};

/// Applies a function to each value; timestamps stay.
pub struct MapOperator<In, Out, F> {
    function: F,
    types: PhantomData<fn(In) -> Out>,
}

impl<In: Data, Out: Data, F: FnMut(In) -> Out + Send + 'static> MapOperator<In, Out, F> {
    /// An operator that applies `function`.
    pub fn new(function: F) -> Self {
        Self { function, types: PhantomData }
    }
}

impl<In: Data, Out: Data, F: FnMut(In) -> Out + Send + 'static> Operator for MapOperator<In, Out, F> {
    type In = In;
    type Out = Out;

    fn process(&mut self, batch: Batch<In>, out: &mut Collector<Out>) -> Result<()> {
        out.reserve(batch.len());
        for record in batch {
            let timestamp = record.timestamp;
            out.collect(crate::record::StreamRecord { value: (self.function)(record.value), timestamp });
        }
        Ok(())
    }
}
