//! One value per key and namespace (Flink `ValueState`).

use super::{KeyedContext, KeyedState, single::Single};
use crate::{
    backend::KeyedStateBackend,
    codec::Data,
    error::Result,
    state::{Key, Namespace, StateKind, ValueStateDescriptor},
};

/// One value per key (Flink `ValueState`).
#[derive(Debug, Clone)]
pub struct ValueState<T, N = ()> {
    single: Single<T, N>,
    default: Option<T>,
}

impl<T: Data, N: Namespace> ValueState<T, N> {
    /// A handle, to be registered.
    pub fn new(descriptor: ValueStateDescriptor<T>) -> Self {
        Self { single: Single::new(descriptor.state, descriptor.kept), default: descriptor.default }
    }

    /// A copy of the value, or of the default.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read.
    #[inline]
    pub fn value(&self, context: &mut impl KeyedContext<N>) -> Result<Option<T>> {
        let value = self.single.get(context)?;
        Ok(value.or_else(|| self.default.clone()))
    }

    /// Sets the value; `None` clears it.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be written.
    #[inline]
    pub fn update(&self, context: &mut impl KeyedContext<N>, value: impl Into<Option<T>>) -> Result<()> {
        match value.into() {
            Some(value) => self.single.put(context, value),
            None => self.single.clear(context),
        }
    }

    /// Changes the value in place, `create`d if there is none. On the heap nothing is copied.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read or written.
    #[inline]
    pub fn modify_or_insert_with<R>(
        &self,
        context: &mut impl KeyedContext<N>,
        create: impl FnOnce() -> T,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R> {
        self.single.modify_or_insert_with(context, create, change)
    }

    /// Changes the value in place; `None` if there is none, even if there is a default.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read or written.
    #[inline]
    pub fn modify<R>(&self, context: &mut impl KeyedContext<N>, change: impl FnOnce(&mut T) -> R) -> Result<Option<R>> {
        self.single.modify(context, change)
    }

    /// Removes the value.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be written.
    pub fn clear(&self, context: &mut impl KeyedContext<N>) -> Result<()> {
        self.single.clear(context)
    }
}

impl<T: Data, N: Namespace> KeyedState<N> for ValueState<T, N> {
    fn name(&self) -> &str {
        self.single.name()
    }

    fn register_with<K: Key>(&mut self, backend: &mut KeyedStateBackend<K>) -> Result<()> {
        self.single.register(backend, StateKind::Value)
    }

    fn get_keys<K: Key>(&self, backend: &mut KeyedStateBackend<K>, namespace: &N) -> Result<Vec<K>> {
        self.single.keys(backend, namespace)
    }
}
