//! Keyed state in memory: one copy-on-write table per state (Flink `HashMapStateBackend`, `HeapKeyedStateBackend`).

mod cow_table;
mod table_snapshot;

pub use cow_table::{CowTable, PAGE_ENTRIES, Slot};
pub use table_snapshot::TableSnapshot;

use std::{any::Any, collections::BTreeMap, marker::PhantomData, sync::Arc};

use super::{BackendError, StateId};
use crate::{
    codec::{self, Data},
    operator::{KeyedEntry, KeyedSnapshot},
    state::{Key, KeyGroupRange, KeyGroups, Namespace, StateDescriptor},
};

/// The second half of a snapshot of keyed state.
pub type KeyedSnapshotEncoder = Box<dyn FnOnce() -> KeyedSnapshot + Send>;

type KeyGroupEntries = BTreeMap<u16, Vec<KeyedEntry>>;

/// The keyed state of one operator of one subtask.
pub struct MemoryBackend<K> {
    key_groups: KeyGroups,
    range: KeyGroupRange,
    tables: Vec<(String, Box<dyn ErasedTable>)>,
    /// Restored state that nobody has asked for. It stays in every snapshot: asking may come with a later version.
    unclaimed: Arc<KeyedSnapshot>,
    key: PhantomData<fn() -> K>,
}

trait ErasedTable: Send {
    fn snapshot(&mut self, key_groups: KeyGroups) -> Box<dyn FnOnce() -> KeyGroupEntries + Send>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<K: Key, N: Namespace, V: Data> ErasedTable for CowTable<K, N, V> {
    fn snapshot(&mut self, key_groups: KeyGroups) -> Box<dyn FnOnce() -> KeyGroupEntries + Send> {
        let snapshot = Self::snapshot(self);
        Box::new(move || snapshot.encode(key_groups))
    }
    fn as_any(&self) -> &dyn Any {
        self
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

    pub(super) fn register<N: Namespace, V: Data>(
        &mut self,
        descriptor: &StateDescriptor,
    ) -> Result<StateId<N, V>, BackendError> {
        let stored_name = descriptor.stored_name();
        let is_same = |stored: &String| StateDescriptor::parse_stored_name(stored).name == descriptor.name;
        if self.tables.iter().any(|(stored, _)| is_same(stored)) {
            return Err(BackendError::DuplicateState { state: descriptor.name.clone() });
        }
        let groups = self.take_restored(&stored_name);
        if let Some(other) = self.unclaimed.keys().find(|stored| is_same(stored)) {
            let stored = StateDescriptor::parse_stored_name(other).version;
            return Err(BackendError::Version { state: descriptor.name.clone(), stored, asked: descriptor.version });
        }
        let table = self.decode_table::<N, V>(&descriptor.name, groups)?;
        self.tables.push((stored_name, Box::new(table)));
        Ok(StateId { index: self.tables.len() - 1, types: PhantomData })
    }

    /// What a checkpoint holds under this name. It is handed out once.
    pub(super) fn take_restored(&mut self, stored_name: &str) -> KeyGroupEntries {
        Arc::make_mut(&mut self.unclaimed).remove(stored_name).unwrap_or_default()
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
                let key: K = codec::decode(&entry.key).map_err(failed)?;
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

    pub(super) fn table<N: Namespace, V: Data>(&self, id: StateId<N, V>) -> &CowTable<K, N, V> {
        self.tables[id.index].1.as_any().downcast_ref().expect("a state id is used with the backend that gave it")
    }

    pub(super) fn table_mut<N: Namespace, V: Data>(&mut self, id: StateId<N, V>) -> &mut CowTable<K, N, V> {
        let table = self.tables[id.index].1.as_any_mut();
        table.downcast_mut().expect("a state id is used with the backend that gave it")
    }

    pub(super) fn snapshot(&mut self) -> KeyedSnapshotEncoder {
        let key_groups = self.key_groups;
        let tables: Vec<_> =
            self.tables.iter_mut().map(|(name, table)| (name.clone(), table.snapshot(key_groups))).collect();
        let unclaimed = self.unclaimed.clone();
        Box::new(move || {
            let mut snapshot = Arc::unwrap_or_clone(unclaimed);
            for (name, encode) in tables {
                let groups = encode();
                if !groups.is_empty() {
                    snapshot.insert(name, groups);
                }
            }
            snapshot
        })
    }

    pub(super) fn key_groups(&self) -> KeyGroups {
        self.key_groups
    }

    pub(super) fn range(&self) -> KeyGroupRange {
        self.range
    }
}
