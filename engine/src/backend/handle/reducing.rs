//! One value per key and namespace that further values are reduced into (Flink `ReducingState`).

use super::{KeyedContext, KeyedState, single::Single};
use crate::{
    backend::{Fold, KeyedStateBackend},
    codec::Data,
    error::Result,
    state::{Key, Namespace, ReduceFunction, ReducingStateDescriptor, StateKind},
};

/// One value per key that further values are reduced into.
#[derive(Debug, Clone)]
pub struct ReducingState<T, F, N = ()> {
    single: Single<T, N>,
    function: F,
}

impl<T: Data, F: ReduceFunction<T>, N: Namespace> ReducingState<T, F, N> {
    /// A handle, to be registered.
    pub fn new(descriptor: ReducingStateDescriptor<T, F>) -> Self {
        Self { single: Single::new(descriptor.state, descriptor.kept), function: descriptor.function }
    }

    /// Reduces a value into the one that is there; the first one stays as it is.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read or written.
    #[inline]
    pub fn add(&mut self, context: &mut impl KeyedContext<N>, value: T) -> Result<()> {
        self.single.fold(context, value, &mut Reducing(&mut self.function))
    }

    /// The reduced value; `None` if nothing was added.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read.
    pub fn get(&self, context: &mut impl KeyedContext<N>) -> Result<Option<T>> {
        self.single.get(context)
    }

    /// Removes the value.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be written.
    pub fn clear(&self, context: &mut impl KeyedContext<N>) -> Result<()> {
        self.single.clear(context)
    }

    /// Reduces what is in `sources` into `target`, in this order, and removes it there. The namespace of the context does
    /// not matter (Flink `InternalMergingState.mergeNamespaces`).
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read or written.
    pub fn merge_namespaces(&mut self, context: &mut impl KeyedContext<N>, target: &N, sources: &[N]) -> Result<()> {
        let Self { single, function } = self;
        single.merge_namespaces(context, target, sources, |reduced, value| function.reduce(reduced, value))
    }
}

impl<T: Data, F: ReduceFunction<T>, N: Namespace> KeyedState<N> for ReducingState<T, F, N> {
    fn name(&self) -> &str {
        self.single.name()
    }

    fn register_with<K: Key>(&mut self, backend: &mut KeyedStateBackend<K>) -> Result<()> {
        self.single.register(backend, StateKind::Reducing)
    }

    fn get_keys<K: Key>(&self, backend: &mut KeyedStateBackend<K>, namespace: &N) -> Result<Vec<K>> {
        self.single.keys(backend, namespace)
    }
}

/// The first value as it is, further ones reduced into it.
struct Reducing<'a, F>(&'a mut F);

impl<T, F: ReduceFunction<T>> Fold<T, T> for Reducing<'_, F> {
    #[inline]
    fn first(&mut self, input: T) -> T {
        input
    }

    #[inline]
    fn add(&mut self, value: &mut T, input: T) {
        self.0.reduce(value, input);
    }
}
