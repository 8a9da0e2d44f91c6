//! Keyed state in memory: one copy-on-write table per state (Flink `HashMapStateBackend`, `HeapKeyedStateBackend`).

mod tables;

use std::{any::Any, marker::PhantomData, sync::Arc};

use super::BackendError;
use crate::{
    codec::{self, Data},
    state::{
        AsyncKeyedSnapshot, CowTable, Key, KeyGroupEntries, KeyGroupRange, KeyGroups, KeyedSnapshot, Namespace,
        StateMeta, StateSnapshot,
    },
};

/// The keyed state of one operator of one subtask.
pub struct MemoryBackend<K> {
    key_groups: KeyGroups,
    range: KeyGroupRange,
    tables: Vec<Registered>,
    /// Restored state that nobody has asked for. It stays in every snapshot: asking may come with a later version.
    unclaimed: Arc<KeyedSnapshot>,
    key: PhantomData<fn() -> K>,
}

struct Registered {
    name: String,
    meta: StateMeta,
    table: Box<dyn ErasedTable>,
}

trait ErasedTable: Send {
    fn entry_count(&self) -> usize;
    fn snapshot(&mut self, key_groups: KeyGroups) -> Box<dyn FnOnce() -> KeyGroupEntries + Send>;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<K: Key, N: Namespace, V: Data> ErasedTable for CowTable<K, N, V> {
    fn entry_count(&self) -> usize {
        self.len()
    }
    fn snapshot(&mut self, key_groups: KeyGroups) -> Box<dyn FnOnce() -> KeyGroupEntries + Send> {
        let snapshot = Self::snapshot(self);
        Box::new(move || snapshot.encode(key_groups))
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl<K: Key> MemoryBackend<K> {
    /// A backend with what a checkpoint holds for the subtask's key groups.
    pub(super) fn new(key_groups: KeyGroups, range: KeyGroupRange, restored: KeyedSnapshot) -> Self {
        Self { key_groups, range, tables: Vec::new(), unclaimed: Arc::new(restored), key: PhantomData }
    }

    /// Registers a table of `V`; returns its number.
    pub(super) fn register<N: Namespace, V: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
    ) -> Result<usize, BackendError> {
        if self.tables.iter().any(|registered| registered.name == name) {
            return Err(BackendError::DuplicateState { state: name.to_owned() });
        }
        let groups = match self.unclaimed.get(name) {
            Some(stored) => {
                check_meta(name, stored.meta, meta)?;
                self.take_restored(name)
            }
            None => KeyGroupEntries::new(),
        };
        let table = Box::new(self.decode_table::<N, V>(name, groups)?);
        self.tables.push(Registered { name: name.to_owned(), meta, table });
        Ok(self.tables.len() - 1)
    }

    /// What a checkpoint holds under this name, while nobody has asked for it.
    pub(super) fn restored_mut(&mut self, name: &str) -> Option<&mut StateSnapshot> {
        Arc::make_mut(&mut self.unclaimed).get_mut(name)
    }

    /// What a checkpoint holds under this name. It is handed out once.
    pub(super) fn take_restored(&mut self, name: &str) -> KeyGroupEntries {
        Arc::make_mut(&mut self.unclaimed).remove(name).map(|state| state.groups).unwrap_or_default()
    }

    fn decode_table<N: Namespace, V: Data>(
        &self,
        state: &str,
        groups: KeyGroupEntries,
    ) -> Result<CowTable<K, N, V>, BackendError> {
        let mut table = CowTable::default();
        for (key_group, entries) in groups {
            for entry in entries {
                let failed = |source| BackendError::Decode { state: state.to_owned(), key_group, source };
                let key: K = codec::decode(&entry.key).map_err(|source| BackendError::Key {
                    state: state.to_owned(),
                    key_group,
                    source,
                })?;
                let namespace: N = codec::decode(&entry.namespace).map_err(failed)?;
                let value: V = codec::decode(&entry.value).map_err(failed)?;
                let expected = self.key_groups.of_key(&key);
                if expected != key_group {
                    return Err(BackendError::WrongKeyGroup { state: state.to_owned(), key_group, expected });
                }
                if table.insert(key, namespace, value).is_some() {
                    return Err(BackendError::DuplicateEntry { state: state.to_owned(), key_group });
                }
            }
        }
        Ok(table)
    }

    #[inline]
    pub(super) fn table_mut<N: Namespace, V: Data>(&mut self, index: usize) -> &mut CowTable<K, N, V> {
        let table = self.tables[index].table.as_any_mut();
        table.downcast_mut().expect("a state id is used with the backend that gave it")
    }

    pub(super) fn snapshot(&mut self) -> AsyncKeyedSnapshot {
        let key_groups = self.key_groups;
        let encode = |registered: &mut Registered| {
            (registered.name.clone(), registered.meta, registered.table.snapshot(key_groups))
        };
        let tables: Vec<_> = self.tables.iter_mut().map(encode).collect();
        let unclaimed = self.unclaimed.clone();
        Box::new(move || {
            let mut snapshot = Arc::unwrap_or_clone(unclaimed);
            for (name, meta, encode) in tables {
                let groups = encode();
                if !groups.is_empty() {
                    snapshot.insert(name, StateSnapshot { meta, groups });
                }
            }
            Ok(snapshot)
        })
    }

    pub(super) fn entry_count(&self) -> usize {
        self.tables.iter().map(|registered| registered.table.entry_count()).sum()
    }

    pub(super) fn key_groups(&self) -> KeyGroups {
        self.key_groups
    }

    pub(super) fn range(&self) -> KeyGroupRange {
        self.range
    }
}

/// What a checkpoint holds must be what is asked for.
pub(super) fn check_meta(state: &str, stored: StateMeta, asked: StateMeta) -> Result<(), BackendError> {
    let state = state.to_owned();
    if stored.kind != asked.kind {
        return Err(BackendError::Kind { state, stored: stored.kind, asked: asked.kind });
    }
    if stored.version != asked.version {
        return Err(BackendError::Version { state, stored: stored.version, asked: asked.version });
    }
    if stored.time_to_live != asked.time_to_live {
        return Err(BackendError::TimeToLive { state, stored: stored.time_to_live });
    }
    Ok(())
}
