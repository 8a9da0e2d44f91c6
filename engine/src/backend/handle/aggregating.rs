//! An accumulator per key and namespace that values of another type are added to (Flink `AggregatingState`).
//!
//! The accumulator is kept, not the result: what is added after a restore meets what was added before it.

use std::fmt;

use super::{KeyedContext, KeyedState, single::Single};
use crate::{
    backend::{Fold, KeyedStateBackend},
    error::Result,
    state::{AggregateFunction, AggregatingStateDescriptor, Key, Namespace, StateKind},
};

/// An accumulator per key that values are added to.
pub struct AggregatingState<In, A: AggregateFunction<In>, N = ()> {
    single: Single<A::Accumulator, N>,
    function: A,
}

impl<In, A: AggregateFunction<In>, N: Namespace> AggregatingState<In, A, N> {
    /// A handle, to be registered.
    pub fn new(descriptor: AggregatingStateDescriptor<In, A>) -> Self {
        Self { single: Single::new(descriptor.state, descriptor.kept), function: descriptor.function }
    }

    /// Adds a value to the accumulator.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read or written.
    #[inline]
    pub fn add(&self, context: &mut impl KeyedContext<N>, value: In) -> Result<()> {
        self.single.fold(context, value, &mut Aggregating(&self.function))
    }

    /// The result of the values so far; `None` if there is none.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read.
    pub fn get(&self, context: &mut impl KeyedContext<N>) -> Result<Option<A::Out>> {
        Ok(self.single.get(context)?.map(|accumulator| self.function.get_result(&accumulator)))
    }

    /// Removes the accumulator.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be written.
    pub fn clear(&self, context: &mut impl KeyedContext<N>) -> Result<()> {
        self.single.clear(context)
    }

    /// Merges the accumulators of `sources` into that of `target`, in this order, and removes them. The namespace of the
    /// context does not matter (Flink `InternalMergingState.mergeNamespaces`).
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read or written.
    pub fn merge_namespaces(&self, context: &mut impl KeyedContext<N>, target: &N, sources: &[N]) -> Result<()> {
        self.single.merge_namespaces(context, target, sources, |merged, other| {
            let one = std::mem::replace(merged, self.function.create_accumulator());
            *merged = self.function.merge(one, other);
        })
    }
}

impl<In, A: AggregateFunction<In>, N: Namespace> KeyedState<N> for AggregatingState<In, A, N> {
    fn name(&self) -> &str {
        self.single.name()
    }

    fn register_with<K: Key>(&mut self, backend: &mut KeyedStateBackend<K>) -> Result<()> {
        self.single.register(backend, StateKind::Aggregating)
    }

    fn get_keys<K: Key>(&self, backend: &mut KeyedStateBackend<K>, namespace: &N) -> Result<Vec<K>> {
        self.single.keys(backend, namespace)
    }
}

impl<In, A: AggregateFunction<In> + Clone, N: Namespace> Clone for AggregatingState<In, A, N> {
    fn clone(&self) -> Self {
        Self { single: self.single.clone(), function: self.function.clone() }
    }
}

impl<In, A: AggregateFunction<In>, N> fmt::Debug for AggregatingState<In, A, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatingState").finish_non_exhaustive()
    }
}

struct Aggregating<'a, A>(&'a A);

impl<In, A: AggregateFunction<In>> Fold<In, A::Accumulator> for Aggregating<'_, A> {
    #[inline]
    fn first(&mut self, input: In) -> A::Accumulator {
        let mut accumulator = self.0.create_accumulator();
        self.0.add(&mut accumulator, input);
        accumulator
    }

    #[inline]
    fn add(&mut self, accumulator: &mut A::Accumulator, input: In) {
        self.0.add(accumulator, input);
    }
}
