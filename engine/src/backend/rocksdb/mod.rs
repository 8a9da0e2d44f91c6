//! Keyed state in RocksDB: as large as the disk, at the price of encoding what is not in use right now (Flink
//! `EmbeddedRocksDBStateBackend`, `RocksDBKeyedStateBackend`).
//!
//! What a snapshot holds is the same bytes as the heap's for the same state, so a job can change its backend between a
//! checkpoint and the restore. Timers stay on the heap, as with Flink's `state.backend.rocksdb.timer-service.factory:
//! HEAP`.

mod database;
mod layout;
mod table;
mod working_directory;

pub use table::RocksDbTable;

use std::{any::Any, collections::BTreeMap, marker::PhantomData, sync::Arc};

use self::{
    database::{CheckpointDirectory, Database, Family, Format, RawEntry},
    table::chunk_of,
};
use super::{BackendError, memory::check_meta};
use crate::{
    codec::{self, Data, DecodeError},
    config::RocksDbOptions,
    error::{Error, ErrorKind, Result},
    id::OperatorUid,
    state::{
        AsyncKeyedSnapshot, Key, KeyGroupEntries, KeyGroupRange, KeyGroups, KeyedEntry, KeyedSnapshot, Namespace,
        StateMeta, StateSnapshot,
    },
};

/// The keyed state of one operator of one subtask.
pub struct RocksDbBackend<K> {
    key_groups: KeyGroups,
    range: KeyGroupRange,
    states: Vec<Registered>,
    /// Restored state that nobody has asked for. It stays in every snapshot: asking may come with a later version.
    unclaimed: Arc<KeyedSnapshot>,
    database: Arc<Database>,
    key: PhantomData<fn() -> K>,
}

struct Registered {
    state: RegisteredState,
    table: Box<dyn ErasedTable>,
}

trait ErasedTable: Send {
    /// Writes what has changed.
    fn flush(&mut self) -> Result<()>;
    /// The number of entries, in the files or not.
    fn entry_count(&self, format: Format) -> Result<usize>;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<K: Key, N: Namespace, V: Data> ErasedTable for RocksDbTable<K, N, V> {
    fn flush(&mut self) -> Result<()> {
        Self::flush(self)
    }
    fn entry_count(&self, format: Format) -> Result<usize> {
        Self::entry_count(self, format)
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// What must be known of a state to read it from a snapshot.
#[derive(Clone)]
struct RegisteredState {
    family: Family,
    meta: StateMeta,
    /// Makes the one encoding of a map of an encoding whose entries are in any order; the identity of other kinds.
    canonical: fn(Vec<u8>) -> Result<Vec<u8>, DecodeError>,
}

/// How a value is written to the database.
type Store<V> = fn(&Database, &Family, &[u8], &V) -> Result<()>;

impl<K: Key> RocksDbBackend<K> {
    /// A backend with what a checkpoint holds for the subtask's key groups.
    pub(super) fn create(
        options: &RocksDbOptions,
        uid: &OperatorUid,
        key_groups: KeyGroups,
        range: KeyGroupRange,
        restored: KeyedSnapshot,
    ) -> Result<Self, BackendError> {
        let plain = |char: char| if char.is_ascii_alphanumeric() { char } else { '_' };
        let name = format!("{}-{}", uid.0.chars().map(plain).collect::<String>(), range.start);
        let database = Database::create(options, &name, range.start)?;
        Ok(Self {
            key_groups,
            range,
            states: Vec::new(),
            unclaimed: Arc::new(restored),
            database: Arc::new(database),
            key: PhantomData,
        })
    }

    /// Registers a state of values; returns its number.
    pub(super) fn register_values<N: Namespace, V: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
    ) -> Result<usize, BackendError> {
        self.register::<N, V>(name, meta, Ok, |database, family, prefix, value| {
            database.put(family, prefix, &codec::encode(value))
        })
    }

    /// Registers a state of lists; returns its number.
    pub(super) fn register_lists<N: Namespace, T: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
    ) -> Result<usize, BackendError> {
        self.register::<N, Vec<T>>(name, meta, Ok, |database, family, prefix, list| {
            database.put(family, prefix, &chunk_of(list))
        })
    }

    /// Registers a state of maps; returns its number.
    pub(super) fn register_maps<N: Namespace, UK: Data + Ord, UV: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
    ) -> Result<usize, BackendError> {
        let canonical = |bytes: Vec<u8>| Ok(codec::encode(&codec::decode::<BTreeMap<UK, UV>>(&bytes)?));
        self.register::<N, BTreeMap<UK, UV>>(name, meta, canonical, |database, family, prefix, map| {
            map.iter().try_for_each(|(user_key, value)| {
                database.put(family, &codec::encode_into(user_key, prefix.to_vec()), &codec::encode(value))
            })
        })
    }

    fn register<N: Namespace, V: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
        canonical: fn(Vec<u8>) -> Result<Vec<u8>, DecodeError>,
        store: Store<V>,
    ) -> Result<usize, BackendError> {
        if self.states.iter().any(|registered| registered.state.family.state == name) {
            return Err(BackendError::DuplicateState { state: name.to_owned() });
        }
        let groups = match self.unclaimed.get(name) {
            Some(stored) => {
                check_meta(name, stored.meta, meta)?;
                self.take_restored(name)
            }
            None => KeyGroupEntries::new(),
        };
        let family = Family::of(name);
        self.database.create_family(&family)?;
        self.load::<N, V>(&family, groups, store)?;
        let table = RocksDbTable::<K, N, V>::new(self.database.clone(), family.clone(), self.key_groups);
        let state = RegisteredState { family, meta, canonical };
        self.states.push(Registered { state, table: Box::new(table) });
        Ok(self.states.len() - 1)
    }

    /// What a checkpoint holds under this name, while nobody has asked for it.
    pub(super) fn restored_mut(&mut self, name: &str) -> Option<&mut StateSnapshot> {
        Arc::make_mut(&mut self.unclaimed).get_mut(name)
    }

    /// What a checkpoint holds under this name. It is handed out once.
    pub(super) fn take_restored(&mut self, name: &str) -> KeyGroupEntries {
        Arc::make_mut(&mut self.unclaimed).remove(name).map(|state| state.groups).unwrap_or_default()
    }

    /// Writes restored entries, each of which must be what the state holds.
    fn load<N: Namespace, V: Data>(
        &self,
        family: &Family,
        groups: KeyGroupEntries,
        store: Store<V>,
    ) -> Result<(), BackendError> {
        let state = family.state.as_str();
        for (key_group, mut entries) in groups {
            entries.sort_unstable();
            if entries.windows(2).any(|two| (&two[0].key, &two[0].namespace) == (&two[1].key, &two[1].namespace)) {
                return Err(BackendError::DuplicateEntry { state: state.to_owned(), key_group });
            }
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
                store(&self.database, family, &layout::prefix(self.key_groups, &key, &namespace), &value)?;
            }
        }
        Ok(())
    }

    pub(super) fn table_mut<N: Namespace, V: Data>(&mut self, index: usize) -> &mut RocksDbTable<K, N, V> {
        let table = self.states[index].table.as_any_mut().downcast_mut();
        table.expect("a state id is used with the backend that gave it")
    }

    /// The state at this moment. What holds up records is the flush of the values in use and of one memory table; the
    /// rest reads files.
    pub(super) fn snapshot(&mut self) -> Result<AsyncKeyedSnapshot, BackendError> {
        self.states.iter_mut().try_for_each(|registered| registered.table.flush())?;
        let states: Vec<_> = self.states.iter().map(|registered| registered.state.clone()).collect();
        let files = self.database.checkpoint(states.iter().map(|state| &state.family))?;
        let unclaimed = self.unclaimed.clone();
        Ok(Box::new(move || {
            let mut snapshot = Arc::unwrap_or_clone(unclaimed);
            snapshot.append(&mut read(&files, &states)?);
            Ok(snapshot)
        }))
    }

    pub(super) fn entry_count(&self) -> Result<usize, BackendError> {
        let mut count = 0;
        for Registered { state, table } in &self.states {
            count += table.entry_count(Format::of(state.meta.kind))?;
        }
        Ok(count)
    }

    pub(super) fn key_groups(&self) -> KeyGroups {
        self.key_groups
    }

    pub(super) fn range(&self) -> KeyGroupRange {
        self.range
    }
}

/// What the files of a snapshot hold, in the form that names no backend.
fn read(files: &CheckpointDirectory, states: &[RegisteredState]) -> Result<KeyedSnapshot> {
    let reader = files.open(states.iter().map(|state| &state.family))?;
    let mut snapshot = KeyedSnapshot::new();
    for RegisteredState { family, meta, canonical } in states {
        let mut groups = KeyGroupEntries::new();
        reader.scan(family, Format::of(meta.kind), |RawEntry { key_group, key, namespace, value }| {
            let value = canonical(value).map_err(|error| {
                let what = format!("cannot take a snapshot of state `{}`", family.state);
                Error::new(ErrorKind::CorruptState, what).with_source(error)
            })?;
            let entry = KeyedEntry { key: key.to_vec(), namespace: namespace.to_vec(), value };
            groups.entry(key_group).or_default().push(entry);
            Ok(())
        })?;
        // RocksDB's order puts shorter keys first.
        groups.values_mut().for_each(|entries| entries.sort_unstable());
        if !groups.is_empty() {
            snapshot.insert(family.state.clone(), StateSnapshot { meta: *meta, groups });
        }
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests;
