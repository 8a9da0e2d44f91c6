//! Records that satisfy a condition pass (Flink `StreamFilter`).

use std::marker::PhantomData;

use super::{Collector, Operator};
use crate::{codec::Data, error::Result, record::Batch};

/// Lets the records pass for whose value the predicate holds.
pub struct FilterOperator<T, F> {
    predicate: F,
    types: PhantomData<fn(T)>,
}

impl<T: Data, F: FnMut(&T) -> bool + Send + 'static> FilterOperator<T, F> {
    /// An operator that asks `predicate`.
    pub fn new(predicate: F) -> Self {
        Self { predicate, types: PhantomData }
    }
}

impl<T: Data, F: FnMut(&T) -> bool + Send + 'static> Operator for FilterOperator<T, F> {
    type In = T;
    type Out = T;

    fn process(&mut self, mut batch: Batch<T>, out: &mut Collector<T>) -> Result<()> {
        batch.retain(|record| (self.predicate)(&record.value));
        out.collect_batch(batch);
        Ok(())
    }
}
