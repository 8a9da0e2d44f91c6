//! Typed handles of keyed state, and the contexts through which functions use them.
//!
//! A function asks for its states when it is opened ([`StateRegistry`]) and keeps the handles. A handle does nothing by
//! itself: each call names a [`KeyedContext`], which has the current key and namespace. So access outside a key does not
//! compile. Flink: `RuntimeContext.getState`, `KeyedStateStore`.

use super::{KeyedStateBackend, StateId, Values};
use crate::{
    codec::Data,
    error::Result,
    state::{Key, Namespace, StateKind, ValueStateDescriptor},
    time::Timestamp,
};

/// The state of one key and namespace, at one moment.
pub struct StateAccess<'a, K: Key, N: Namespace> {
    /// Where it lives.
    pub backend: &'a mut KeyedStateBackend<K>,
    /// The key.
    pub key: &'a K,
    /// The namespace: nothing, or a window.
    pub namespace: &'a N,
    /// The processing time, by which state expires.
    pub processing_time: Timestamp,
}

/// Whatever has a current key and a namespace of type `N`: the contexts of functions and triggers.
pub trait KeyedContext<N: Namespace> {
    /// Type of the key.
    type Key: Key;

    /// The state of the current key and namespace.
    fn access(&mut self) -> StateAccess<'_, Self::Key, N>;
}

impl<K: Key, N: Namespace> KeyedContext<N> for StateAccess<'_, K, N> {
    type Key = K;

    #[inline]
    fn access(&mut self) -> StateAccess<'_, K, N> {
        StateAccess {
            backend: self.backend,
            key: self.key,
            namespace: self.namespace,
            processing_time: self.processing_time,
        }
    }
}

/// Where a function asks for its states.
pub struct StateRegistry<'a, K> {
    backend: &'a mut KeyedStateBackend<K>,
}

impl<'a, K: Key> StateRegistry<'a, K> {
    /// The states of an operator.
    pub fn new(backend: &'a mut KeyedStateBackend<K>) -> Self {
        Self { backend }
    }

    /// A state of one value per key and namespace, with what was restored.
    ///
    /// # Errors
    /// If the name is taken, or what was restored under it cannot be read.
    pub fn value<T: Data, N: Namespace>(&mut self, descriptor: &ValueStateDescriptor<T>) -> Result<ValueState<T, N>> {
        let id = self.backend.register_values(&descriptor.state, StateKind::Value)?;
        Ok(ValueState { id, default: descriptor.default.clone() })
    }
}

/// One value per key (Flink `ValueState`).
#[derive(Debug, Clone)]
pub struct ValueState<T, N = ()> {
    id: StateId<N, T>,
    default: Option<T>,
}

impl<T: Data, N: Namespace> ValueState<T, N> {
    /// A copy of the value, or of the default.
    ///
    /// # Errors
    /// If the backend cannot be read.
    pub fn value(&self, context: &mut impl KeyedContext<N>) -> Result<Option<T>> {
        let StateAccess { backend, key, namespace, .. } = context.access();
        let value = backend.values(self.id).get(key, namespace)?.map(std::borrow::Cow::into_owned);
        Ok(value.or_else(|| self.default.clone()))
    }

    /// Sets the value; `None` clears it.
    ///
    /// # Errors
    /// If the backend cannot be written.
    pub fn update(&self, context: &mut impl KeyedContext<N>, value: impl Into<Option<T>>) -> Result<()> {
        let StateAccess { backend, key, namespace, .. } = context.access();
        match value.into() {
            Some(value) => backend.values(self.id).put(key, namespace, value),
            None => backend.values(self.id).take(key, namespace).map(|_| ()),
        }
    }

    /// Changes the value in place, `create`d if there is none. On the heap nothing is copied.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    #[inline]
    pub fn modify_or_insert_with<R>(
        &self,
        context: &mut impl KeyedContext<N>,
        create: impl FnOnce() -> T,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R> {
        let StateAccess { backend, key, namespace, .. } = context.access();
        backend.values(self.id).modify_or_insert_with(key, namespace, create, change)
    }

    /// Changes the value in place; `None` if there is none, even if there is a default.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    pub fn modify<R>(&self, context: &mut impl KeyedContext<N>, change: impl FnOnce(&mut T) -> R) -> Result<Option<R>> {
        let StateAccess { backend, key, namespace, .. } = context.access();
        backend.values(self.id).modify(key, namespace, change)
    }

    /// Removes the value.
    ///
    /// # Errors
    /// If the backend cannot be written.
    pub fn clear(&self, context: &mut impl KeyedContext<N>) -> Result<()> {
        self.update(context, None)
    }
}
