//! A map per key and namespace (Flink `MapState`). There is no empty map: it is the absence of one.
//!
//! Entries come in the order of their user keys, on every backend. In a map that expires each entry has a time of its own.
//! A user key without a value is a map from `UK` to `Option<UV>`.

use std::borrow::Cow;

use super::{KeyedContext, KeyedState, Registered, StateAccess, in_canonical_order, not_registered};
use crate::{
    backend::{KeyedStateBackend, MapOf, MapTable, Maps, StateId},
    codec::{self, Data},
    error::Result,
    planted,
    state::{Kept, Key, MapStateDescriptor, Namespace, StateDescriptor, StateKind, StateTtlConfig, TtlValue},
    time::Timestamp,
};

type Id<UK, UV, N> = StateId<N, MapOf<UK, UV>>;
type Ids<UK, UV, N> = Registered<Id<UK, UV, N>, Id<UK, TtlValue<UV>, N>>;

/// A map per key.
#[derive(Debug, Clone)]
pub struct MapState<UK, UV, N = ()> {
    state: StateDescriptor,
    kept: Kept<UV>,
    id: Ids<UK, UV, N>,
}

impl<UK: Data + Ord, UV: Data, N: Namespace> MapState<UK, UV, N> {
    /// A handle, to be registered.
    pub fn new(descriptor: MapStateDescriptor<UK, UV>) -> Self {
        Self { state: descriptor.state, kept: descriptor.kept, id: Registered::Not }
    }

    /// The value of a user key.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read.
    pub fn get(&self, context: &mut impl KeyedContext<N>, user_key: &UK) -> Result<Option<UV>> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        let id = match self.id {
            Registered::Not => return Err(not_registered(self.name())),
            Registered::Forever(id) => {
                return Ok(backend.maps(id).get(key, namespace, user_key)?.map(Cow::into_owned));
            }
            Registered::Expiring(id) => id,
        };
        let config = self.expiring(backend, id, now)?;
        let mut table = backend.maps(id);
        let Some(kept) = table.get(key, namespace, user_key)?.map(Cow::into_owned) else { return Ok(None) };
        if config.at(now).has_passed(kept.last_used) {
            table.remove(key, namespace, user_key)?;
        } else if config.renews_on_read() {
            table.put(key, namespace, user_key.clone(), TtlValue { last_used: now, ..kept.clone() })?;
        }
        Ok(config.shows(kept.last_used, now).then_some(kept.value))
    }

    /// Whether a user key has a value. Counts as reading it.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read.
    pub fn contains(&self, context: &mut impl KeyedContext<N>, user_key: &UK) -> Result<bool> {
        Ok(self.get(context, user_key)?.is_some())
    }

    /// Sets the value of a user key.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be written.
    pub fn put(&self, context: &mut impl KeyedContext<N>, user_key: UK, value: UV) -> Result<()> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => backend.maps(id).put(key, namespace, user_key, value),
            Registered::Expiring(id) => {
                self.expiring(backend, id, now)?;
                backend.maps(id).put(key, namespace, user_key, TtlValue { last_used: now, value })
            }
        }
    }

    /// Sets the values of several user keys.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn put_all(
        &self,
        context: &mut impl KeyedContext<N>,
        entries: impl IntoIterator<Item = (UK, UV)>,
    ) -> Result<()> {
        entries.into_iter().try_for_each(|(user_key, value)| self.put(context, user_key, value))
    }

    /// Removes a user key.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be written.
    pub fn remove(&self, context: &mut impl KeyedContext<N>, user_key: &UK) -> Result<()> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => backend.maps(id).remove(key, namespace, user_key).map(|_| ()),
            Registered::Expiring(id) => {
                self.expiring(backend, id, now)?;
                backend.maps(id).remove(key, namespace, user_key).map(|_| ())
            }
        }
    }

    /// All entries, by user key.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read.
    pub fn entries(&self, context: &mut impl KeyedContext<N>) -> Result<Vec<(UK, UV)>> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => backend.maps(id).entries(key, namespace),
            Registered::Expiring(id) => {
                let config = self.expiring(backend, id, now)?;
                read(&mut backend.maps(id), key, namespace, config, now)
            }
        }
    }

    /// All user keys, in order.
    ///
    /// # Errors
    /// As for [`entries`](Self::entries).
    pub fn keys(&self, context: &mut impl KeyedContext<N>) -> Result<Vec<UK>> {
        Ok(self.entries(context)?.into_iter().map(|(user_key, _)| user_key).collect())
    }

    /// All values, by user key.
    ///
    /// # Errors
    /// As for [`entries`](Self::entries).
    pub fn values(&self, context: &mut impl KeyedContext<N>) -> Result<Vec<UV>> {
        Ok(self.entries(context)?.into_iter().map(|(_, value)| value).collect())
    }

    /// Visits all entries by user key, each once: removes those for which `visit` says false, and writes those whose value it
    /// has changed (the iterator of Flink's `MapState` with `remove` and `setValue`).
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read or written.
    pub fn retain(
        &self,
        context: &mut impl KeyedContext<N>,
        mut visit: impl FnMut(&UK, &mut UV) -> bool,
    ) -> Result<()> {
        for (user_key, mut value) in self.entries(context)? {
            let before = codec::encode(&value);
            if !visit(&user_key, &mut value) {
                self.remove(context, &user_key)?;
            } else if codec::encode(&value) != before {
                self.put(context, user_key, value)?;
            }
        }
        Ok(())
    }

    /// Whether there is no entry.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be read.
    pub fn is_empty(&self, context: &mut impl KeyedContext<N>) -> Result<bool> {
        if let Registered::Forever(id) = self.id {
            let StateAccess { backend, key, namespace, .. } = context.access();
            return backend.maps(id).is_empty(key, namespace);
        }
        Ok(self.entries(context)?.is_empty())
    }

    /// Removes all entries.
    ///
    /// # Errors
    /// If the handle is not registered, or the backend cannot be written.
    pub fn clear(&self, context: &mut impl KeyedContext<N>) -> Result<()> {
        if planted!("map_state_clear_leaves_entries") {
            let user_keys = self.keys(context)?;
            return user_keys.iter().skip(1).try_for_each(|user_key| self.remove(context, user_key));
        }
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => backend.maps(id).clear(key, namespace).map(|_| ()),
            Registered::Expiring(id) => {
                self.expiring(backend, id, now)?;
                backend.maps(id).clear(key, namespace).map(|_| ())
            }
        }
    }

    /// The configuration of a state that expires, after the cleaning that is due at each access.
    fn expiring<K: Key>(
        &self,
        backend: &mut KeyedStateBackend<K>,
        id: Id<UK, TtlValue<UV>, N>,
        now: Timestamp,
    ) -> Result<&StateTtlConfig> {
        let config = self.kept.ttl().expect("a state that expires was registered with a time to live");
        backend.observe_time(now);
        if let Some(cleanup) = config.cleanup.incremental {
            backend.maps(id).sweep(cleanup.entries, config.at(now))?;
        }
        Ok(config)
    }
}

/// The entries that can be seen. What has expired is removed, what is read is young again if reading counts as use.
fn read<K: Key, N: Namespace, UK: Data + Ord, UV: Data>(
    table: &mut MapTable<'_, K, N, UK, TtlValue<UV>>,
    key: &K,
    namespace: &N,
    config: &StateTtlConfig,
    now: Timestamp,
) -> Result<Vec<(UK, UV)>> {
    let mut seen = Vec::new();
    let mut entries = table.entries(key, namespace)?;
    if planted!("map_lives_as_long_as_its_newest_entry")
        && let Some(newest) = entries.iter().map(|(_, kept)| kept.last_used).max()
    {
        entries.iter_mut().for_each(|(_, kept)| kept.last_used = newest);
    }
    for (user_key, kept) in entries {
        let shows = config.shows(kept.last_used, now);
        if config.at(now).has_passed(kept.last_used) {
            table.remove(key, namespace, &user_key)?;
        } else if config.renews_on_read() {
            table.put(key, namespace, user_key.clone(), TtlValue { last_used: now, ..kept.clone() })?;
        }
        if shows {
            seen.push((user_key, kept.value));
        }
    }
    Ok(seen)
}

impl<UK: Data + Ord, UV: Data, N: Namespace> KeyedState<N> for MapState<UK, UV, N> {
    fn name(&self) -> &str {
        &self.state.name
    }

    fn register_with<K: Key>(&mut self, backend: &mut KeyedStateBackend<K>) -> Result<()> {
        self.kept.check(&self.state).map_err(|error| backend.in_operator(error.into()))?;
        let mode = self.kept.mode();
        let rewrite = |version| self.kept.migrations.of_map::<UK>(version, mode);
        let meta = backend.declare(&self.state, StateKind::Map, mode, rewrite)?;
        self.id = match self.kept.ttl() {
            None => Registered::Forever(backend.add_maps(&self.state.name, meta)?),
            Some(config) => {
                let id = backend.add_maps(&self.state.name, meta)?;
                backend.expire_maps(&self.state.name, id, config);
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
            Registered::Forever(id) => backend.maps(id).for_each(|key, namespace, _| {
                visit(key, namespace);
                Ok(())
            })?,
            Registered::Expiring(id) => backend.maps(id).for_each(|key, namespace, _| {
                visit(key, namespace);
                Ok(())
            })?,
        }
        Ok(in_canonical_order(backend, keys))
    }
}
