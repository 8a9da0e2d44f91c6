//! A list per key and namespace (Flink `ListState`). There is no empty list: it is the absence of one.
//!
//! In a list that expires each element has a time of its own; those that have expired go when the list is read.

use super::{KeyedContext, KeyedState, Registered, StateAccess, in_canonical_order, not_registered};
use crate::{
    backend::{KeyedStateBackend, ListOf, ListTable, Lists, StateId},
    codec::Data,
    error::Result,
    planted,
    state::{Kept, Key, ListStateDescriptor, Namespace, StateDescriptor, StateKind, StateTtlConfig, TtlValue},
    time::Timestamp,
};

type Id<T, N> = StateId<N, ListOf<T>>;

/// A list per key.
#[derive(Debug, Clone)]
pub struct ListState<T, N = ()> {
    state: StateDescriptor,
    kept: Kept<T>,
    id: Registered<Id<T, N>, Id<TtlValue<T>, N>>,
}

impl<T: Data, N: Namespace> ListState<T, N> {
    /// A handle, to be registered.
    pub fn new(descriptor: ListStateDescriptor<T>) -> Self {
        Self { state: descriptor.state, kept: descriptor.kept, id: Registered::Not }
    }

    /// The elements, oldest first; an empty list if there is none.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read.
    pub fn get(&self, context: &mut impl KeyedContext<N>) -> Result<Vec<T>> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => Ok(backend.lists(id).get(key, namespace)?.into_owned()),
            Registered::Expiring(id) => {
                let config = self.expiring(backend, id, now)?;
                read(&mut backend.lists(id), key, namespace, config, now)
            }
        }
    }

    /// Calls `visit` for each element, oldest first. On the heap nothing is copied, unless the list expires.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read, and those of `visit`.
    pub fn for_each(&self, context: &mut impl KeyedContext<N>, mut visit: impl FnMut(&T) -> Result<()>) -> Result<()> {
        if let Registered::Forever(id) = self.id {
            let StateAccess { backend, key, namespace, .. } = context.access();
            return backend.lists(id).get(key, namespace)?.iter().try_for_each(visit);
        }
        self.get(context)?.iter().try_for_each(&mut visit)
    }

    /// Whether there is no element.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read.
    pub fn is_empty(&self, context: &mut impl KeyedContext<N>) -> Result<bool> {
        if let Registered::Forever(id) = self.id {
            let StateAccess { backend, key, namespace, .. } = context.access();
            return backend.lists(id).is_empty(key, namespace);
        }
        Ok(self.get(context)?.is_empty())
    }

    /// Appends an element.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be written.
    pub fn add(&self, context: &mut impl KeyedContext<N>, element: T) -> Result<()> {
        self.add_all(context, vec![element])
    }

    /// Appends elements; none is no change.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be written.
    pub fn add_all(&self, context: &mut impl KeyedContext<N>, elements: Vec<T>) -> Result<()> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => backend.lists(id).append(key, namespace, elements),
            Registered::Expiring(id) => {
                self.expiring(backend, id, now)?;
                backend.lists(id).append(key, namespace, used_now(elements, now))
            }
        }
    }

    /// Replaces the elements; by none is the same as [`clear`](Self::clear).
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be written.
    pub fn update(&self, context: &mut impl KeyedContext<N>, elements: Vec<T>) -> Result<()> {
        if planted!("list_state_update_appends") {
            return self.add_all(context, elements);
        }
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => backend.lists(id).put(key, namespace, elements),
            Registered::Expiring(id) => {
                self.expiring(backend, id, now)?;
                backend.lists(id).put(key, namespace, used_now(elements, now))
            }
        }
    }

    /// Removes the list.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be written.
    pub fn clear(&self, context: &mut impl KeyedContext<N>) -> Result<()> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => backend.lists(id).take(key, namespace).map(|_| ()),
            Registered::Expiring(id) => {
                self.expiring(backend, id, now)?;
                backend.lists(id).take(key, namespace).map(|_| ())
            }
        }
    }

    /// Appends the lists of `sources` to that of `target`, in this order, and removes them. The namespace of the context
    /// does not matter (Flink `InternalMergingState.mergeNamespaces`).
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read or written.
    pub fn merge_namespaces(&self, context: &mut impl KeyedContext<N>, target: &N, sources: &[N]) -> Result<()> {
        let StateAccess { backend, key, processing_time: now, .. } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => merge(&mut backend.lists(id), key, target, sources, |_| true),
            Registered::Expiring(id) => {
                let config = self.expiring(backend, id, now)?;
                let shows = |element: &TtlValue<T>| config.shows(element.last_used, now);
                merge(&mut backend.lists(id), key, target, sources, shows)
            }
        }
    }

    /// The configuration of a state that expires, after the cleaning that is due at each access.
    fn expiring<K: Key>(
        &self,
        backend: &mut KeyedStateBackend<K>,
        id: Id<TtlValue<T>, N>,
        now: Timestamp,
    ) -> Result<&StateTtlConfig> {
        let config = self.kept.ttl().expect("a state that expires was registered with a time to live");
        backend.observe_time(now);
        if let Some(cleanup) = config.cleanup.incremental {
            backend.lists(id).sweep(cleanup.entries, config.at(now))?;
        }
        Ok(config)
    }
}

fn used_now<T>(elements: Vec<T>, now: Timestamp) -> Vec<TtlValue<T>> {
    elements.into_iter().map(|value| TtlValue { last_used: now, value }).collect()
}

/// The elements that can be seen. What has expired is removed, what is read is young again if reading counts as use.
fn read<K: Key, N: Namespace, T: Data>(
    table: &mut ListTable<'_, K, N, TtlValue<T>>,
    key: &K,
    namespace: &N,
    config: &StateTtlConfig,
    now: Timestamp,
) -> Result<Vec<T>> {
    let expiry = config.at(now);
    let mut elements = table.get(key, namespace)?.into_owned();
    if planted!("list_lives_as_long_as_its_newest_element")
        && let Some(newest) = elements.iter().map(|element| element.last_used).max()
    {
        elements.iter_mut().for_each(|element| element.last_used = newest);
    }
    let expired = elements.iter().any(|element| expiry.has_passed(element.last_used));
    let renewed = config.renews_on_read() && !elements.is_empty();
    if expired || renewed {
        let alive = elements.iter().filter(|element| !expiry.has_passed(element.last_used)).cloned();
        let alive = alive.map(|element| if renewed { TtlValue { last_used: now, ..element } } else { element });
        table.put(key, namespace, alive.collect())?;
    }
    let seen = elements.into_iter().filter(|element| config.shows(element.last_used, now));
    Ok(seen.map(|element| element.value).collect())
}

/// Removes the lists of `sources` and appends them, in their order, to that of `target`.
fn merge<K: Key, N: Namespace, T: Data>(
    table: &mut ListTable<'_, K, N, T>,
    key: &K,
    target: &N,
    sources: &[N],
    shows: impl Fn(&T) -> bool,
) -> Result<()> {
    let mut gathered = Vec::new();
    for source in sources.iter().filter(|source| *source != target) {
        gathered.extend(table.take(key, source)?.into_iter().filter(&shows));
    }
    table.append(key, target, gathered)
}

impl<T: Data, N: Namespace> KeyedState<N> for ListState<T, N> {
    fn name(&self) -> &str {
        &self.state.name
    }

    fn register_with<K: Key>(&mut self, backend: &mut KeyedStateBackend<K>) -> Result<()> {
        self.kept.check(&self.state).map_err(|error| backend.in_operator(error.into()))?;
        let mode = self.kept.mode();
        let rewrite = |version| self.kept.migrations.of_list(version, mode);
        let meta = backend.declare(&self.state, StateKind::List, mode, rewrite)?;
        self.id = match self.kept.ttl() {
            None => Registered::Forever(backend.add_lists(&self.state.name, meta)?),
            Some(config) => {
                let id = backend.add_lists(&self.state.name, meta)?;
                backend.expire_lists(&self.state.name, id, config);
                Registered::Expiring(id)
            }
        };
        Ok(())
    }

    fn get_keys<K: Key>(&self, backend: &mut KeyedStateBackend<K>, namespace: &N) -> Result<Vec<K>> {
        let mut keys = Vec::new();
        let mut visit = |key: &K, of_entry: &N| {
            if of_entry == namespace {
                keys.push(key.clone());
            }
        };
        match self.id {
            Registered::Not => return Err(not_registered(self.name())),
            Registered::Forever(id) => backend.lists(id).for_each(|key, namespace, _| {
                visit(key, namespace);
                Ok(())
            })?,
            Registered::Expiring(id) => backend.lists(id).for_each(|key, namespace, _| {
                visit(key, namespace);
                Ok(())
            })?,
        }
        Ok(in_canonical_order(backend, keys))
    }
}
