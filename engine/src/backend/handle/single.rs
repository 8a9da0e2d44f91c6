//! What value, reducing and aggregating states have in common: one value per key and namespace, which may expire.

use std::{borrow::Cow, cell::Cell};

use super::{Registered, StateAccess, in_canonical_order, not_registered};
use crate::{
    backend::{Fold, KeyedContext, KeyedStateBackend, StateId, ValueTable, Values},
    codec::Data,
    error::Result,
    planted,
    state::{Kept, Key, Namespace, StateDescriptor, StateKind, StateTtlConfig, TtlValue},
    time::Timestamp,
};

/// One value per key and namespace.
#[derive(Debug, Clone)]
pub(super) struct Single<T, N> {
    state: StateDescriptor,
    kept: Kept<T>,
    id: Registered<StateId<N, T>, StateId<N, TtlValue<T>>>,
}

impl<T: Data, N: Namespace> Single<T, N> {
    pub(super) fn new(state: StateDescriptor, kept: Kept<T>) -> Self {
        Self { state, kept, id: Registered::Not }
    }

    pub(super) fn name(&self) -> &str {
        &self.state.name
    }

    pub(super) fn register<K: Key>(&mut self, backend: &mut KeyedStateBackend<K>, kind: StateKind) -> Result<()> {
        self.kept.check(&self.state).map_err(|error| backend.in_operator(error.into()))?;
        let mode = self.kept.mode();
        let rewrite = |version| self.kept.migrations.of_value(version, mode);
        let meta = backend.declare(&self.state, kind, mode, rewrite)?;
        self.id = match self.kept.ttl() {
            None => Registered::Forever(backend.add_values(&self.state.name, meta)?),
            Some(config) => {
                let id = backend.add_values(&self.state.name, meta)?;
                backend.expire_values(&self.state.name, id, config);
                Registered::Expiring(id)
            }
        };
        Ok(())
    }

    pub(super) fn keys<K: Key>(&self, backend: &mut KeyedStateBackend<K>, namespace: &N) -> Result<Vec<K>> {
        let mut keys = Vec::new();
        let mut visit = |key: &K, of_entry: &N| {
            if of_entry == namespace {
                keys.push(key.clone());
            }
        };
        match self.id {
            Registered::Not => return Err(not_registered(self.name())),
            Registered::Forever(id) => backend.values(id).for_each(|key, namespace, _| {
                visit(key, namespace);
                Ok(())
            })?,
            Registered::Expiring(id) => backend.values(id).for_each(|key, namespace, _| {
                visit(key, namespace);
                Ok(())
            })?,
        }
        Ok(in_canonical_order(backend, keys))
    }

    /// The configuration of a state that expires, after the cleaning that is due at each access.
    fn expiring<K: Key>(
        &self,
        backend: &mut KeyedStateBackend<K>,
        id: StateId<N, TtlValue<T>>,
        now: Timestamp,
    ) -> Result<&StateTtlConfig> {
        let config = self.kept.ttl().expect("a state that expires was registered with a time to live");
        backend.observe_time(now);
        if let Some(cleanup) = config.cleanup.incremental {
            backend.values(id).sweep(cleanup.entries, config.at(now))?;
        }
        Ok(config)
    }

    #[inline]
    pub(super) fn get(&self, context: &mut impl KeyedContext<N>) -> Result<Option<T>> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        let id = match self.id {
            Registered::Not => return Err(not_registered(self.name())),
            Registered::Forever(id) => {
                return Ok(backend.values(id).get(key, namespace)?.map(Cow::into_owned));
            }
            Registered::Expiring(id) => id,
        };
        let config = self.expiring(backend, id, now)?;
        let mut table = backend.values(id);
        let Some(kept) = table.get(key, namespace)? else { return Ok(None) };
        if config.at(now).has_passed(kept.last_used) {
            let shows = config.shows(kept.last_used, now);
            let removed = table.take(key, namespace)?;
            return Ok(removed.filter(|_| shows).map(|kept| kept.value));
        }
        let value = kept.into_owned().value;
        if config.renews_on_read() {
            table.modify(key, namespace, |kept| kept.last_used = now)?;
        }
        Ok(Some(value))
    }

    pub(super) fn put(&self, context: &mut impl KeyedContext<N>, value: T) -> Result<()> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => backend.values(id).put(key, namespace, value),
            Registered::Expiring(id) => {
                self.expiring(backend, id, now)?;
                backend.values(id).put(key, namespace, TtlValue { last_used: now, value })
            }
        }
    }

    pub(super) fn clear(&self, context: &mut impl KeyedContext<N>) -> Result<()> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => backend.values(id).take(key, namespace).map(|_| ()),
            Registered::Expiring(id) => {
                self.expiring(backend, id, now)?;
                backend.values(id).take(key, namespace).map(|_| ())
            }
        }
    }

    /// Changes the value that [`get`](Self::get) would find, in place.
    #[inline]
    pub(super) fn modify<R>(
        &self,
        context: &mut impl KeyedContext<N>,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<Option<R>> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        let id = match self.id {
            Registered::Not => return Err(not_registered(self.name())),
            Registered::Forever(id) => return backend.values(id).modify(key, namespace, change),
            Registered::Expiring(id) => id,
        };
        let config = self.expiring(backend, id, now)?;
        let mut table = backend.values(id);
        let changed = table.modify(key, namespace, |kept| {
            config.shows(kept.last_used, now).then(|| {
                kept.last_used = now;
                change(&mut kept.value)
            })
        })?;
        if matches!(changed, Some(None)) {
            table.take(key, namespace)?;
        }
        Ok(changed.flatten())
    }

    /// Changes the value that [`get`](Self::get) would find, `create`d if there is none.
    #[inline]
    pub(super) fn modify_or_insert_with<R>(
        &self,
        context: &mut impl KeyedContext<N>,
        create: impl FnOnce() -> T,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        let id = match self.id {
            Registered::Not => return Err(not_registered(self.name())),
            Registered::Forever(id) => {
                return backend.values(id).modify_or_insert_with(key, namespace, create, change);
            }
            Registered::Expiring(id) => id,
        };
        let config = self.expiring(backend, id, now)?;
        let create = Cell::new(Some(create));
        let created = || create.take().expect("a value is created at most once")();
        let insert = || TtlValue { last_used: now, value: created() };
        backend.values(id).modify_or_insert_with(key, namespace, insert, |kept| {
            if !config.shows(kept.last_used, now) {
                kept.value = created();
            }
            kept.last_used = now;
            change(&mut kept.value)
        })
    }

    /// Folds an input into the value.
    #[inline]
    pub(super) fn fold<I>(
        &self,
        context: &mut impl KeyedContext<N>,
        input: I,
        fold: &mut impl Fold<I, T>,
    ) -> Result<()> {
        let StateAccess { backend, key, namespace, processing_time: now } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => {
                let mut table = backend.values(id);
                let place = table.locate(Cow::Borrowed(key), namespace)?;
                table.fold(place, namespace, input, fold).map(|_| ())
            }
            Registered::Expiring(id) => {
                let config = self.expiring(backend, id, now)?;
                let mut table = backend.values(id);
                let place = table.locate(Cow::Borrowed(key), namespace)?;
                table.fold(place, namespace, input, &mut ExpiringFold { fold, config, now }).map(|_| ())
            }
        }
    }

    /// Removes the values of `sources` and combines them into that of `target`, which comes first.
    pub(super) fn merge_namespaces(
        &self,
        context: &mut impl KeyedContext<N>,
        target: &N,
        sources: &[N],
        mut combine: impl FnMut(&mut T, T),
    ) -> Result<()> {
        let StateAccess { backend, key, processing_time: now, .. } = context.access();
        match self.id {
            Registered::Not => Err(not_registered(self.name())),
            Registered::Forever(id) => merge(&mut backend.values(id), key, target, sources, |merged, kept| {
                combine(merged, kept);
            }),
            Registered::Expiring(id) => {
                let config = self.expiring(backend, id, now)?;
                // A value that nobody would see takes no part.
                let mut table = backend.values(id);
                for namespace in sources.iter().chain([target]) {
                    if table.get(key, namespace)?.is_some_and(|kept| !config.shows(kept.last_used, now)) {
                        table.take(key, namespace)?;
                    }
                }
                merge(&mut table, key, target, sources, |merged: &mut TtlValue<T>, kept| {
                    combine(&mut merged.value, kept.value);
                    merged.last_used = now;
                })
            }
        }
    }
}

/// Removes the values of `sources` and combines them, in their order, into that of `target`.
fn merge<K: Key, N: Namespace, V: Data>(
    table: &mut ValueTable<'_, K, N, V>,
    key: &K,
    target: &N,
    sources: &[N],
    mut combine: impl FnMut(&mut V, V),
) -> Result<()> {
    let mut merged = None;
    for namespace in std::iter::once(target).chain(sources.iter().filter(|source| *source != target)) {
        let Some(kept) = table.take(key, namespace)? else { continue };
        match &mut merged {
            None => merged = Some(kept),
            Some(_) if planted!("merge_of_namespaces_loses_a_source") => {}
            Some(merged) => combine(merged, kept),
        }
    }
    merged.map_or(Ok(()), |merged| table.put(key, target, merged))
}

/// A fold into values that expire: an expired one is none.
struct ExpiringFold<'a, F> {
    fold: &'a mut F,
    config: &'a StateTtlConfig,
    now: Timestamp,
}

impl<I, T, F: Fold<I, T>> Fold<I, TtlValue<T>> for ExpiringFold<'_, F> {
    fn first(&mut self, input: I) -> TtlValue<T> {
        TtlValue { last_used: self.now, value: self.fold.first(input) }
    }

    fn add(&mut self, kept: &mut TtlValue<T>, input: I) {
        if self.config.shows(kept.last_used, self.now) {
            self.fold.add(&mut kept.value, input);
            if !planted!("ttl_counted_from_the_first_write") {
                kept.last_used = self.now;
            }
        } else {
            *kept = self.first(input);
        }
    }
}
