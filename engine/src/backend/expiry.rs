//! How expired values go that nobody asks for: swept record by record, left out of snapshots, and dropped when RocksDB
//! merges files.
//!
//! Guarantee: what is dropped has expired at a processing time that has come, so nobody could have seen it any more
//! unless the state shows expired values.

use std::{collections::BTreeMap, sync::Arc};

#[cfg(feature = "rocksdb")]
use super::rocksdb;
use super::{KeyedStateBackend, ListOf, Lists, MapOf, Maps, StateId, Values};
use crate::{
    codec::{self, Data},
    error::{Error, ErrorKind, Result},
    state::{
        AsyncKeyedSnapshot, CleanupRun, Expiring, Key, Namespace, StateKind, StateSnapshot, StateTtlConfig, TtlValue,
    },
    time::Timestamp,
};

/// Looks for expired entries of a state.
pub(super) type Sweep<K> = Box<dyn FnMut(&mut KeyedStateBackend<K>, Timestamp) -> Result<()> + Send>;

/// Drops what has expired from a snapshot of a state.
pub(super) type SnapshotFilter = Arc<dyn Fn(&mut StateSnapshot, Timestamp) -> Result<()> + Send + Sync>;

impl<K: Key> KeyedStateBackend<K> {
    /// Tells the processing time.
    #[inline]
    pub(super) fn observe_time(&mut self, now: Timestamp) {
        self.processing_time = self.processing_time.max(now);
        #[cfg(feature = "rocksdb")]
        if let super::Store::RocksDb(backend) = &self.store {
            backend.observe_time(now);
        }
    }

    /// A record has come: cleans up the states that ask for it at each record. Operators call this before each one.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    #[inline]
    pub fn begin_record(&mut self, now: Timestamp) -> Result<()> {
        if self.sweeps.is_empty() { Ok(()) } else { self.sweep(now) }
    }

    fn sweep(&mut self, now: Timestamp) -> Result<()> {
        self.observe_time(now);
        let mut sweeps = std::mem::take(&mut self.sweeps);
        let swept = sweeps.iter_mut().try_for_each(|sweep| sweep(self, now));
        self.sweeps = sweeps;
        swept
    }

    /// Has a state of values cleaned up as its configuration says.
    pub(super) fn expire_values<N: Namespace, T: Data>(
        &mut self,
        state: &str,
        id: StateId<N, TtlValue<T>>,
        config: &StateTtlConfig,
    ) {
        let config = *config;
        self.sweep_per_record(&config, move |backend, entries, now| backend.values(id).sweep(entries, config.at(now)));
        self.filter_snapshots::<TtlValue<T>>(state, &config);
        #[cfg(feature = "rocksdb")]
        self.filter_compactions(state, config, rocksdb::value_has_expired);
    }

    /// Has a state of lists cleaned up as its configuration says.
    pub(super) fn expire_lists<N: Namespace, T: Data>(
        &mut self,
        state: &str,
        id: StateId<N, ListOf<TtlValue<T>>>,
        config: &StateTtlConfig,
    ) {
        let config = *config;
        self.sweep_per_record(&config, move |backend, entries, now| backend.lists(id).sweep(entries, config.at(now)));
        self.filter_snapshots::<Vec<TtlValue<T>>>(state, &config);
        #[cfg(feature = "rocksdb")]
        self.filter_compactions(state, config, rocksdb::list_has_expired::<T>);
    }

    /// Has a state of maps cleaned up as its configuration says.
    pub(super) fn expire_maps<N: Namespace, UK: Data + Ord, UV: Data>(
        &mut self,
        state: &str,
        id: StateId<N, MapOf<UK, TtlValue<UV>>>,
        config: &StateTtlConfig,
    ) {
        let config = *config;
        self.sweep_per_record(&config, move |backend, entries, now| backend.maps(id).sweep(entries, config.at(now)));
        self.filter_snapshots::<BTreeMap<UK, TtlValue<UV>>>(state, &config);
        #[cfg(feature = "rocksdb")]
        self.filter_compactions(state, config, rocksdb::value_has_expired);
    }

    fn sweep_per_record(
        &mut self,
        config: &StateTtlConfig,
        mut sweep: impl FnMut(&mut Self, usize, Timestamp) -> Result<()> + Send + 'static,
    ) {
        if let Some(cleanup) = config.cleanup.incremental.filter(|cleanup| cleanup.run == CleanupRun::PerRecord) {
            self.sweeps.push(Box::new(move |backend, now| sweep(backend, cleanup.entries, now)));
        }
    }

    fn filter_snapshots<S: Expiring>(&mut self, state: &str, config: &StateTtlConfig) {
        if config.cleanup.full_snapshot {
            let config = *config;
            let filter: SnapshotFilter = Arc::new(move |snapshot, now| drop_expired::<S>(snapshot, &config, now));
            self.filters.insert(state.to_owned(), filter);
        }
    }

    #[cfg(feature = "rocksdb")]
    fn filter_compactions(&mut self, state: &str, config: StateTtlConfig, has_expired: rocksdb::HasExpired) {
        if let (super::Store::RocksDb(backend), Some(entries)) =
            (&mut self.store, config.cleanup.compaction_query_entries)
        {
            backend.expire(state, config, entries, has_expired);
        }
    }
}

/// The snapshot, without what has expired in states that ask for it.
pub(super) fn filtered(
    snapshot: AsyncKeyedSnapshot,
    filters: BTreeMap<String, SnapshotFilter>,
    now: Timestamp,
) -> AsyncKeyedSnapshot {
    if filters.is_empty() {
        return snapshot;
    }
    Box::new(move || {
        let mut keyed = snapshot()?;
        for (name, filter) in &filters {
            if let Some(state) = keyed.get_mut(name) {
                filter(state, now)?;
            }
        }
        keyed.retain(|_, state| !state.groups.is_empty());
        Ok(keyed)
    })
}

/// The planted bug `ttl_timestamps_reset_on_restore`: single values are as young as the restore.
pub(super) fn make_young(restored: &mut StateSnapshot, now: Timestamp) {
    if !matches!(restored.meta.kind, StateKind::Value | StateKind::Reducing | StateKind::Aggregating) {
        return;
    }
    for entry in restored.groups.values_mut().flatten() {
        if let Ok((_, value)) = codec::decode_prefix::<Timestamp>(&entry.value) {
            entry.value = [codec::encode(&now).as_slice(), value].concat();
        }
    }
}

fn drop_expired<S: Expiring>(snapshot: &mut StateSnapshot, config: &StateTtlConfig, now: Timestamp) -> Result<()> {
    let expiry = config.at(now);
    for entries in snapshot.groups.values_mut() {
        let mut kept = Vec::with_capacity(entries.len());
        for mut entry in entries.drain(..) {
            let mut value: S = codec::decode(&entry.value).map_err(|error| {
                Error::new(ErrorKind::Bug, "a snapshot that was just taken cannot be read").with_source(error)
            })?;
            if value.has_expired(expiry) {
                if !value.retain_unexpired(expiry) {
                    continue;
                }
                entry.value = codec::encode(&value);
            }
            kept.push(entry);
        }
        *entries = kept;
    }
    snapshot.groups.retain(|_, entries| !entries.is_empty());
    Ok(())
}
