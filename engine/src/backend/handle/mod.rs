//! Typed handles of keyed state, and the contexts through which functions use them.
//!
//! A function makes its handles from descriptors, registers them when it is opened ([`StateRegistry::register`]) and
//! keeps them as fields. A handle does nothing by itself: each call names a [`KeyedContext`], which has the current
//! key and namespace, so access outside a key does not compile. A handle that was not registered gives an error.
//!
//! Guarantee: what a handle returns is the same on every backend. Flink: `RuntimeContext.getState`, `KeyedStateStore`.
//!
//! ```
//! use tidegate::api::{KeyedProcessFunction, MapState, MapStateDescriptor, ProcessContext, StateRegistry};
//!
//! /// Emits how many different words a user has said.
//! #[derive(Clone)]
//! struct Vocabulary {
//!     said: MapState<String, u64>,
//! }
//!
//! impl KeyedProcessFunction for Vocabulary {
//!     type Key = String;
//!     type In = (String, String);
//!     type Out = usize;
//!
//!     fn open(&mut self, states: &mut StateRegistry<'_, String>) -> tidegate::Result<()> {
//!         states.register(&mut self.said)
//!     }
//!
//!     fn process_element(
//!         &mut self,
//!         (_, word): (String, String),
//!         context: &mut ProcessContext<'_, String, usize>,
//!     ) -> tidegate::Result<()> {
//!         let times = self.said.get(context, &word)?.unwrap_or(0);
//!         self.said.put(context, word, times + 1)?;
//!         let words = self.said.keys(context)?.len();
//!         context.collect(words);
//!         Ok(())
//!     }
//! }
//!
//! let _function = Vocabulary { said: MapState::new(MapStateDescriptor::new("said")) };
//! ```

mod aggregating;
mod list;
mod map;
mod reducing;
mod single;
mod value;

pub use aggregating::AggregatingState;
pub use list::ListState;
pub use map::MapState;
pub use reducing::ReducingState;
pub use value::ValueState;

use super::KeyedStateBackend;
use crate::{
    codec::{self, Data},
    error::{Error, ErrorKind, Result},
    state::{Key, Namespace, ValueStateDescriptor},
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

/// A handle of keyed state of any kind.
pub trait KeyedState<N: Namespace> {
    /// The name of the state.
    fn name(&self) -> &str;

    /// Registers the state with a backend, with what was restored. Functions call [`StateRegistry::register`].
    ///
    /// # Errors
    /// If the name is taken, or what was restored under it is something else or cannot be read.
    fn register_with<K: Key>(&mut self, backend: &mut KeyedStateBackend<K>) -> Result<()>;

    /// The keys that have something in a namespace, each once, by key group and encoding. Looks at the whole state; what
    /// has expired counts until it is removed (Flink `KeyedStateBackend.getKeys`).
    ///
    /// # Errors
    /// If the backend cannot be read.
    fn get_keys<K: Key>(&self, backend: &mut KeyedStateBackend<K>, namespace: &N) -> Result<Vec<K>>;

    /// Calls `change` for each key that has something in a namespace, in the order of
    /// [`get_keys`](KeyedState::get_keys). It may change any state (Flink `KeyedStateBackend.applyToAllKeys`).
    ///
    /// # Errors
    /// If the backend cannot be read, and the first one of `change`.
    fn apply_to_all_keys<K: Key>(
        &self,
        backend: &mut KeyedStateBackend<K>,
        namespace: &N,
        processing_time: Timestamp,
        mut change: impl FnMut(&mut StateAccess<'_, K, N>) -> Result<()>,
    ) -> Result<()> {
        for key in self.get_keys(backend, namespace)? {
            change(&mut StateAccess { backend, key: &key, namespace, processing_time })?;
        }
        Ok(())
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

    /// Connects a handle with its state, and with what was restored of it.
    ///
    /// # Errors
    /// If the name is taken, or what was restored under it is something else or cannot be read.
    pub fn register<N: Namespace>(&mut self, state: &mut impl KeyedState<N>) -> Result<()> {
        state.register_with(self.backend)
    }

    /// A registered state of one value per key and namespace.
    ///
    /// # Errors
    /// As for [`StateRegistry::register`].
    pub fn value<T: Data, N: Namespace>(&mut self, descriptor: &ValueStateDescriptor<T>) -> Result<ValueState<T, N>> {
        let mut state = ValueState::new(descriptor.clone());
        self.register(&mut state)?;
        Ok(state)
    }
}

/// What a handle knows of its state: nothing yet, or its id among those that live for ever, or that expire.
#[derive(Debug, Clone, Copy)]
enum Registered<F, E> {
    Not,
    Forever(F),
    Expiring(E),
}

#[cold]
fn not_registered(state: &str) -> Error {
    Error::new(ErrorKind::UserFunction, format!("state `{state}` is used before it is registered"))
        .with_hint("register each state in `open`: `states.register(&mut self.state)`")
}

/// Sorts keys as a snapshot does, so that their order is the same on every backend.
fn in_canonical_order<K: Key>(backend: &KeyedStateBackend<K>, mut keys: Vec<K>) -> Vec<K> {
    let key_groups = backend.key_groups();
    keys.sort_by_cached_key(|key| (key_groups.of_key(key), codec::encode(key)));
    keys
}

#[cfg(test)]
mod tests;
