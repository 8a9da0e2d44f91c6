//! Keyed state in RocksDB: as large as the disk, at the price of encoding what is not in use right now (Flink
//! `EmbeddedRocksDBStateBackend`, `RocksDBKeyedStateBackend`).
//!
//! What a snapshot holds is the same bytes as the heap's for the same state, so a job can change its backend between a
//! checkpoint and the restore. An incremental snapshot is the files of RocksDB themselves; they can be read into the same
//! bytes, at the price of reading all of them. Timers stay on the heap, as with Flink's `state.backend.rocksdb.timer-service.factory:
//! HEAP`.

mod compaction;
mod database;
mod layout;
mod table;
mod working_directory;

pub(super) use compaction::{HasExpired, list_has_expired, value_has_expired};
pub use table::RocksDbTable;

use std::{any::Any, collections::BTreeMap, marker::PhantomData, path::Path, sync::Arc};

use self::{
    compaction::Rule,
    database::{CheckpointReader, Database, Format, RawEntry, damaged, failed, working_directory},
    layout::Parts,
    table::{Layout, chunk_of},
};
use super::{BackendError, memory::check_meta};
use crate::{
    codec::{self, Data, DecodeError},
    config::RocksDbOptions,
    error::{Error, ErrorKind, Result},
    id::OperatorUid,
    planted,
    state::{
        AsyncKeyedSnapshot, DatabaseFiles, Key, KeyGroupEntries, KeyGroupRange, KeyGroups, KeyedEntry, KeyedSnapshot,
        LocalDirectory, Namespace, StateMeta, StateSnapshot, StateTtlConfig,
    },
    time::Timestamp,
};

/// The keyed state of one operator of one subtask.
pub struct RocksDbBackend<K> {
    key_groups: KeyGroups,
    range: KeyGroupRange,
    states: Vec<Registered>,
    /// Restored state that nobody has asked for. It stays in every snapshot: asking may come with a later version.
    unclaimed: Arc<KeyedSnapshot>,
    /// The same, of what was restored with the database and lies in it.
    unclaimed_in_database: BTreeMap<String, StateMeta>,
    incremental: bool,
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
    fn entry_count(&self) -> Result<usize>;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<K: Key, N: Namespace, V: Data> ErasedTable for RocksDbTable<K, N, V> {
    fn flush(&mut self) -> Result<()> {
        Self::flush(self)
    }
    fn entry_count(&self) -> Result<usize> {
        Self::entry_count(self)
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// What must be known of a state to read it from a snapshot.
#[derive(Clone)]
struct RegisteredState {
    name: String,
    meta: StateMeta,
    /// Makes the one encoding of a map of an encoding whose entries are in any order; the identity of other kinds.
    canonical: fn(Vec<u8>) -> Result<Vec<u8>, DecodeError>,
}

/// How a value is kept.
struct Kept<V> {
    /// Makes the one encoding of a map of an encoding whose entries are in any order; the identity of other kinds.
    canonical: fn(Vec<u8>) -> Result<Vec<u8>, DecodeError>,
    layout: Layout<V>,
    /// Writes a value to the database.
    store: fn(&Database, &str, &[u8], &V) -> Result<()>,
}

impl<K: Key> RocksDbBackend<K> {
    /// A backend with what a checkpoint holds for the subtask's key groups.
    pub(super) fn create(
        options: &RocksDbOptions,
        uid: &OperatorUid,
        key_groups: KeyGroups,
        range: KeyGroupRange,
        restored: KeyedSnapshot,
        files: Vec<DatabaseFiles>,
    ) -> Result<Self, BackendError> {
        if let Some(stranger) = files.iter().find(|files| files.key_groups.intersection(range).is_none()) {
            return Err(BackendError::OtherKeyGroups { stored: stranger.key_groups, asked: range });
        }
        // The first database goes on, without the key groups of others; what the rest hold is read into it.
        let (mut restored, mut files) = (restored, files.into_iter());
        let first = files.next();
        for others in files {
            super::merge(
                &mut restored,
                super::only_range(read_files(others.directory.path(), &others.states)?, range),
            )?;
        }
        let name = format!("{}-{}", plain(&uid.0), range.start);
        let database = Database::create(options, &name, range.start, first.as_ref())?;
        if let Some(first) = first.as_ref().filter(|first| first.key_groups != range) {
            first.states.keys().try_for_each(|state| database.cut_to(state, range))?;
        }
        Ok(Self {
            key_groups,
            range,
            states: Vec::new(),
            unclaimed: Arc::new(restored),
            unclaimed_in_database: first.map(|first| first.states).unwrap_or_default(),
            incremental: options.incremental,
            database: Arc::new(database),
            key: PhantomData,
        })
    }

    /// Tells the processing time.
    pub(super) fn observe_time(&self, now: Timestamp) {
        self.database.expirations().tell_time(now);
    }

    /// Drops entries of a state that have expired when files are merged, and looks at the time every `query_entries`.
    pub(super) fn expire(&self, state: &str, config: StateTtlConfig, query_entries: u64, has_expired: HasExpired) {
        self.database.expirations().add_rule(state, Rule { config, query_entries, has_expired });
    }

    /// Registers a state of values; returns its number.
    pub(super) fn register_values<N: Namespace, V: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
    ) -> Result<usize, BackendError> {
        let kept = Kept {
            canonical: Ok,
            layout: Layout { encode: codec::encode, format: Format::Value },
            store: |database, state, prefix, value| database.put(state, prefix, &codec::encode(value)),
        };
        self.register::<N, V>(name, meta, &kept)
    }

    /// Registers a state of lists; returns its number.
    pub(super) fn register_lists<N: Namespace, T: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
    ) -> Result<usize, BackendError> {
        let kept = Kept {
            canonical: Ok,
            layout: Layout { encode: chunk_of, format: Format::List },
            store: |database, state, prefix, list| database.put(state, prefix, &chunk_of(list)),
        };
        self.register::<N, Vec<T>>(name, meta, &kept)
    }

    /// Registers a state of maps; returns its number.
    pub(super) fn register_maps<N: Namespace, UK: Data + Ord, UV: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
    ) -> Result<usize, BackendError> {
        let kept = Kept::<BTreeMap<UK, UV>> {
            canonical: |bytes| Ok(codec::encode(&codec::decode::<BTreeMap<UK, UV>>(&bytes)?)),
            layout: Layout { encode: codec::encode, format: Format::Map },
            store: |database, state, prefix, map| {
                map.iter().try_for_each(|(user_key, value)| {
                    database.put(state, &codec::encode_into(user_key, prefix.to_vec()), &codec::encode(value))
                })
            },
        };
        self.register::<N, BTreeMap<UK, UV>>(name, meta, &kept)
    }

    fn register<N: Namespace, V: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
        kept: &Kept<V>,
    ) -> Result<usize, BackendError> {
        if self.states.iter().any(|registered| registered.state.name == name) {
            return Err(BackendError::DuplicateState { state: name.to_owned() });
        }
        if let Some(stored) = self.unclaimed_in_database.get(name) {
            check_meta(name, *stored, meta)?;
            self.check_ends::<N, V>(name, Format::of(meta.kind))?;
            self.unclaimed_in_database.remove(name);
        } else {
            self.database.create_family(name, meta.time_to_live)?;
        }
        if let Some(stored) = self.unclaimed.get(name) {
            check_meta(name, stored.meta, meta)?;
            let groups = self.take_restored(name);
            self.load::<N, V>(name, groups, kept)?;
        }
        let (database, key_groups) = (self.database.clone(), self.key_groups);
        let table = RocksDbTable::<K, N, V>::new(database, name.to_owned(), key_groups, kept.layout);
        let state = RegisteredState { name: name.to_owned(), meta, canonical: kept.canonical };
        self.states.push(Registered { state, table: Box::new(table) });
        Ok(self.states.len() - 1)
    }

    /// Takes a state that was restored with the database out of it, unless it is kept as it is asked for: then what
    /// differs can be dealt with entry by entry, as if it came from a full checkpoint.
    pub(super) fn unload_unless(&mut self, name: &str, asked: StateMeta) -> Result<(), BackendError> {
        let Some(&meta) = self.unclaimed_in_database.get(name).filter(|stored| **stored != asked) else {
            return Ok(());
        };
        let state = RegisteredState { name: name.to_owned(), meta, canonical: Ok };
        let groups = entries(&state, |visit| self.database.scan(name, Format::of(meta.kind), visit))?;
        self.database.drop_family(name)?;
        self.unclaimed_in_database.remove(name);
        let unloaded = KeyedSnapshot::from([(name.to_owned(), StateSnapshot { meta, groups })]);
        super::merge(Arc::make_mut(&mut self.unclaimed), unloaded)
    }

    /// Whether the first and the last entry that a checkpoint's files hold of a state are of these types and key groups.
    /// To look at all of them would take as long as a full checkpoint does.
    fn check_ends<N: Namespace, V: Data>(&self, state: &str, format: Format) -> Result<(), BackendError> {
        for (bytes, value) in self.database.ends(state)?.into_iter().flatten() {
            let damaged = || damaged(self.database.path(), state);
            let Parts { key_group, key, namespace, user_key, .. } = layout::parts(&bytes).ok_or_else(damaged)?;
            let value = match format {
                Format::Value => value,
                Format::List => layout::joined(&value).ok_or_else(damaged)?,
                Format::Map => layout::map([(user_key, value.as_slice())].into_iter()),
            };
            let failed = |source| BackendError::Decode { state: state.to_owned(), key_group, source };
            let key: K = codec::decode(key).map_err(|source| BackendError::Key {
                state: state.to_owned(),
                key_group,
                source,
            })?;
            let _: N = codec::decode(namespace).map_err(failed)?;
            let _: V = codec::decode(&value).map_err(failed)?;
            let expected = self.key_groups.of_key(&key);
            if expected != key_group || !self.range.contains(key_group) {
                return Err(BackendError::WrongKeyGroup { state: state.to_owned(), key_group, expected });
            }
        }
        Ok(())
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
        state: &str,
        groups: KeyGroupEntries,
        kept: &Kept<V>,
    ) -> Result<(), BackendError> {
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
                (kept.store)(&self.database, state, &layout::prefix(self.key_groups, &key, &namespace), &value)?;
            }
        }
        Ok(())
    }

    pub(super) fn table_mut<N: Namespace, V: Data>(&mut self, index: usize) -> &mut RocksDbTable<K, N, V> {
        let table = self.states[index].table.as_any_mut().downcast_mut();
        table.expect("a state id is used with the backend that gave it")
    }

    /// Writes what has changed in front of the database.
    fn flush(&mut self) -> Result<()> {
        if planted!("rocksdb_snapshot_without_values_in_use") {
            return Ok(());
        }
        self.states.iter_mut().try_for_each(|registered| registered.table.flush())
    }

    /// The state at this moment. What holds up records is that changes are written and one memory table is flushed; the
    /// rest reads files.
    pub(super) fn snapshot(&mut self) -> Result<AsyncKeyedSnapshot, BackendError> {
        self.flush()?;
        let states = self.all_states();
        let files = self.database.checkpoint(states.iter().map(|state| state.name.as_str()))?;
        let unclaimed = self.unclaimed.clone();
        Ok(Box::new(move || {
            let mut snapshot = Arc::unwrap_or_clone(unclaimed);
            snapshot.append(&mut read(&files.open(states.iter().map(|state| state.name.as_str()))?, &states)?);
            Ok(snapshot)
        }))
    }

    /// As [`snapshot`](Self::snapshot), as the files that there are; `None` if this backend takes full snapshots.
    /// What is not in the database comes beside them.
    pub(super) fn snapshot_of_files(&mut self) -> Result<Option<(DatabaseFiles, Arc<KeyedSnapshot>)>, BackendError> {
        if !self.incremental {
            return Ok(None);
        }
        self.flush()?;
        let states = self.all_states();
        let files = self.database.checkpoint(states.iter().map(|state| state.name.as_str()))?;
        let directory = LocalDirectory::new(files.path().to_owned(), Arc::new(files));
        let states = states.into_iter().map(|state| (state.name, state.meta)).collect();
        Ok(Some((DatabaseFiles { directory, key_groups: self.range, states }, self.unclaimed.clone())))
    }

    /// All states of which there is a column family.
    fn all_states(&self) -> Vec<RegisteredState> {
        let registered = self.states.iter().map(|registered| registered.state.clone());
        registered.chain(untyped(&self.unclaimed_in_database)).collect()
    }

    pub(super) fn entry_count(&self) -> Result<usize, BackendError> {
        let mut count = 0;
        for registered in &self.states {
            count += registered.table.entry_count()?;
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

/// What the files of a database hold, in the form that names no backend: what any backend can be restored from.
///
/// # Errors
/// If they cannot be read, or hold no such states.
pub fn read_files(directory: &Path, states: &BTreeMap<String, StateMeta>) -> Result<KeyedSnapshot> {
    let states: Vec<_> = untyped(states).collect();
    read(&CheckpointReader::open(directory, states.iter().map(|state| state.name.as_str()))?, &states)
}

/// An empty directory for the files of a checkpoint, where the database of this operator is to work.
///
/// # Errors
/// If it cannot be made.
pub fn download_directory(options: &RocksDbOptions, uid: &OperatorUid, range: KeyGroupRange) -> Result<LocalDirectory> {
    let name = format!("{}-{}-restored", plain(&uid.0), range.start);
    let directory = working_directory(options, &name, range.start)?;
    let path = directory.path().join("db");
    std::fs::create_dir(&path).map_err(|error| failed(&path, "create its working directory", error))?;
    Ok(LocalDirectory::new(path, Arc::new(directory)))
}

/// A uid, as part of a name of a directory.
fn plain(uid: &str) -> String {
    uid.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect()
}

/// States whose types nobody has named: the entries of their maps stay in the order of their bytes.
fn untyped(states: &BTreeMap<String, StateMeta>) -> impl Iterator<Item = RegisteredState> {
    states.iter().map(|(name, meta)| RegisteredState { name: name.clone(), meta: *meta, canonical: Ok })
}

/// What the files of a snapshot hold.
fn read(reader: &CheckpointReader, states: &[RegisteredState]) -> Result<KeyedSnapshot> {
    let mut snapshot = KeyedSnapshot::new();
    for state in states {
        let groups = entries(state, |visit| reader.scan(&state.name, Format::of(state.meta.kind), visit))?;
        if !groups.is_empty() {
            snapshot.insert(state.name.clone(), StateSnapshot { meta: state.meta, groups });
        }
    }
    Ok(snapshot)
}

/// The entries of a state, from a scan of it.
fn entries(
    RegisteredState { name, canonical, .. }: &RegisteredState,
    scan: impl FnOnce(&mut dyn FnMut(RawEntry<'_>) -> Result<()>) -> Result<()>,
) -> Result<KeyGroupEntries> {
    let mut groups = KeyGroupEntries::new();
    scan(&mut |RawEntry { key_group, key, namespace, value }| {
        let value = canonical(value).map_err(|error| {
            Error::new(ErrorKind::CorruptState, format!("cannot take a snapshot of state `{name}`")).with_source(error)
        })?;
        let entry = KeyedEntry { key: key.to_vec(), namespace: namespace.to_vec(), value };
        groups.entry(key_group).or_default().push(entry);
        Ok(())
    })?;
    // RocksDB's order puts shorter keys first.
    groups.values_mut().for_each(|entries| entries.sort_unstable());
    Ok(groups)
}

#[cfg(test)]
mod incremental_tests;
#[cfg(test)]
mod tests;
