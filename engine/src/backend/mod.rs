//! Keyed state backends: where the state of keys lives while the job runs.
//!
//! An operator owns a [`KeyedStateBackend`], registers its states by descriptor and keeps the [`StateId`]s. Per batch
//! it turns an id into a table once; per record it then works on the table itself ([`Values`], [`Lists`], [`Maps`]).
//! User functions have typed handles instead ([`ValueState`] and its like).
//!
//! Guarantees: a snapshot holds the state at the moment of the call and is the same bytes for the same state; a
//! restored backend holds exactly the entries of its key groups, or says which state it could not read and why.
//! Flink: `KeyedStateBackend`, `AbstractKeyedStateBackend`.

mod error;
mod expiry;
mod handle;
pub mod memory;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;
mod table;

pub use error::BackendError;
pub use handle::{
    AggregatingState, KeyedContext, KeyedState, ListState, MapState, ReducingState, StateAccess, StateRegistry,
    ValueState,
};
pub use table::{Fold, Folded, ListTable, Lists, MapTable, Maps, Place, ValueTable, Values};

use std::{collections::BTreeMap, fmt, marker::PhantomData};

#[cfg(feature = "rocksdb")]
use self::rocksdb::RocksDbBackend;
use self::{
    expiry::{SnapshotFilter, Sweep},
    memory::MemoryBackend,
};
use crate::{
    codec::Data,
    config::StateBackend,
    id::OperatorUid,
    operator::OperatorContext,
    planted,
    state::{
        AsyncKeyedSnapshot, AsyncSnapshot, DatabaseFiles, Key, KeyGroupRange, KeyGroups, KeyedSnapshot, LocalDirectory,
        Namespace, OperatorSnapshot, ParallelInstance, Rewrite, StateDescriptor, StateKind, StateMeta, StateSnapshot,
        TimeToLive,
    },
    time::{TimerService, Timestamp},
};

/// A registered state, by namespace and what is kept there. Valid for the backend that gave it.
///
/// `V` is the value; [`ListOf`] marks lists and [`MapOf`] maps.
pub struct StateId<N, V> {
    index: usize,
    types: PhantomData<fn() -> (N, V)>,
}

/// Marks the id of a state of lists of `T`.
#[derive(Debug)]
pub struct ListOf<T>(PhantomData<fn() -> T>);

/// Marks the id of a state of maps.
#[derive(Debug)]
pub struct MapOf<UK, UV>(PhantomData<fn() -> (UK, UV)>);

impl<N, V> StateId<N, V> {
    fn new(index: usize) -> Self {
        Self { index, types: PhantomData }
    }
}

impl<N, V> Clone for StateId<N, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N, V> Copy for StateId<N, V> {}

impl<N, V> fmt::Debug for StateId<N, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateId({})", self.index)
    }
}

/// The keyed state of one operator of one subtask.
pub struct KeyedStateBackend<K> {
    store: Store<K>,
    /// Whose state it is, to be named in errors.
    operator: Option<OperatorUid>,
    /// The latest processing time that anybody has told.
    processing_time: Timestamp,
    /// Where the operator's watermark was in what was restored.
    restored_watermark: Timestamp,
    sweeps: Vec<Sweep<K>>,
    filters: BTreeMap<String, SnapshotFilter>,
}

/// Where the state lives.
pub(crate) enum Store<K> {
    /// On the heap.
    Memory(MemoryBackend<K>),
    /// In RocksDB.
    #[cfg(feature = "rocksdb")]
    RocksDb(RocksDbBackend<K>),
}

/// Calls a method of whichever store it is.
macro_rules! on {
    ($backend:expr, $inner:ident => $call:expr) => {
        match &$backend.store {
            Store::Memory($inner) => $call,
            #[cfg(feature = "rocksdb")]
            Store::RocksDb($inner) => $call,
        }
    };
    (mut $backend:expr, $inner:ident => $call:expr) => {
        match &mut $backend.store {
            Store::Memory($inner) => $call,
            #[cfg(feature = "rocksdb")]
            Store::RocksDb($inner) => $call,
        }
    };
}

impl<K: Key> KeyedStateBackend<K> {
    /// The backend of an operator, with what its restored snapshot holds for the subtask's key groups.
    ///
    /// # Errors
    /// If the context's number of key groups cannot be used.
    pub fn open(context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<Self, BackendError> {
        let key_groups = KeyGroups::new(context.max_parallelism)?;
        let instance = ParallelInstance { index: context.subtask_index, parallelism: context.parallelism };
        let OperatorSnapshot { keyed, files, watermark, .. } = restored.unwrap_or_default();
        let backend = Self::open_restored(context, key_groups.range(instance), keyed, files)?;
        Ok(Self { restored_watermark: watermark.unwrap_or(Timestamp::MIN), ..backend })
    }

    /// The backend of an operator, for any range of key groups.
    ///
    /// # Errors
    /// If the context's number of key groups cannot be used, or the backend that it names.
    pub fn open_range(
        context: &OperatorContext,
        range: KeyGroupRange,
        restored: KeyedSnapshot,
    ) -> Result<Self, BackendError> {
        Self::open_restored(context, range, restored, Vec::new())
    }

    fn open_restored(
        context: &OperatorContext,
        range: KeyGroupRange,
        restored: KeyedSnapshot,
        files: Vec<DatabaseFiles>,
    ) -> Result<Self, BackendError> {
        let key_groups = KeyGroups::new(context.max_parallelism)?;
        let backend = match &context.state_backend {
            StateBackend::HashMap => {
                let mut restored = restored;
                for files in &files {
                    merge(&mut restored, only_range(read_files(files)?, range))?;
                }
                Self::memory(key_groups, range, restored)
            }
            #[cfg(feature = "rocksdb")]
            StateBackend::RocksDb(options) => {
                let restored = only_range(restored, range);
                let backend = RocksDbBackend::create(options, &context.uid, key_groups, range, restored, files);
                let named = |error| BackendError::Operator { operator: context.uid.clone(), error: Box::new(error) };
                Self::new(Store::RocksDb(backend.map_err(|error| match error {
                    error @ BackendError::Access(_) => error,
                    error => named(error),
                })?))
            }
            #[cfg(not(feature = "rocksdb"))]
            StateBackend::RocksDb(_) => return Err(BackendError::NotBuilt),
        };
        Ok(Self { operator: Some(context.uid.clone()), processing_time: context.processing_time, ..backend })
    }

    /// A backend in memory, with what `restored` holds for the key groups of `range`.
    pub fn memory(key_groups: KeyGroups, range: KeyGroupRange, restored: KeyedSnapshot) -> Self {
        Self::new(Store::Memory(MemoryBackend::new(key_groups, range, only_range(restored, range))))
    }

    fn new(store: Store<K>) -> Self {
        let (processing_time, restored_watermark) = (Timestamp::MIN, Timestamp::MIN);
        Self {
            store,
            operator: None,
            processing_time,
            restored_watermark,
            sweeps: Vec::new(),
            filters: BTreeMap::new(),
        }
    }

    /// Registers a state that has one value per key and namespace: as a value, reducing or aggregating state.
    ///
    /// # Errors
    /// If the name is taken or reserved, or what was restored under it is something else or cannot be read.
    pub fn register_values<N: Namespace, V: Data>(
        &mut self,
        descriptor: &StateDescriptor,
        kind: StateKind,
    ) -> Result<StateId<N, V>, BackendError> {
        let meta = self.declare(descriptor, kind, TimeToLive::Disabled, |_| None)?;
        self.add_values(&descriptor.name, meta)
    }

    /// Registers a state that has a list per key and namespace.
    ///
    /// # Errors
    /// As for [`KeyedStateBackend::register_values`].
    pub fn register_lists<N: Namespace, T: Data>(
        &mut self,
        descriptor: &StateDescriptor,
    ) -> Result<StateId<N, ListOf<T>>, BackendError> {
        let meta = self.declare(descriptor, StateKind::List, TimeToLive::Disabled, |_| None)?;
        self.add_lists(&descriptor.name, meta)
    }

    /// Registers a state that has a map per key and namespace.
    ///
    /// # Errors
    /// As for [`KeyedStateBackend::register_values`].
    pub fn register_maps<N: Namespace, UK: Data + Ord, UV: Data>(
        &mut self,
        descriptor: &StateDescriptor,
    ) -> Result<StateId<N, MapOf<UK, UV>>, BackendError> {
        let meta = self.declare(descriptor, StateKind::Map, TimeToLive::Disabled, |_| None)?;
        self.add_maps(&descriptor.name, meta)
    }

    /// Checks what is asked for, and makes restored values of an older version such of the version asked for.
    /// `migrate_from` says how, if anybody knows.
    fn declare(
        &mut self,
        descriptor: &StateDescriptor,
        kind: StateKind,
        time_to_live: TimeToLive,
        migrate_from: impl FnOnce(u32) -> Option<Rewrite>,
    ) -> Result<StateMeta, BackendError> {
        descriptor.check().map_err(|error| self.in_operator(error.into()))?;
        let asked = StateMeta { kind, version: descriptor.version, time_to_live };
        if planted!("reducing_state_not_restored") && kind == StateKind::Reducing {
            on!(mut self, backend => backend.take_restored(&descriptor.name));
        }
        #[cfg(feature = "rocksdb")]
        if let Store::RocksDb(backend) = &mut self.store {
            let unloaded = backend.unload_unless(&descriptor.name, asked);
            unloaded.map_err(|error| self.in_operator(error))?;
        }
        let Some(restored) = on!(mut self, backend => backend.restored_mut(&descriptor.name)) else { return Ok(asked) };
        if planted!("ttl_timestamps_reset_on_restore") && time_to_live == TimeToLive::Enabled {
            expiry::make_young(restored, self.processing_time);
        }
        // What is wrong beside the version is said when the table is made.
        let differs_in_version = StateMeta { version: asked.version, ..restored.meta } == asked;
        if restored.meta.version != asked.version
            && differs_in_version
            && let Some(rewrite) = migrate_from(restored.meta.version)
        {
            migrate(&descriptor.name, restored, asked, &rewrite).map_err(|error| self.in_operator(error))?;
        }
        Ok(asked)
    }

    fn add_values<N: Namespace, V: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
    ) -> Result<StateId<N, V>, BackendError> {
        let index = match &mut self.store {
            Store::Memory(backend) => backend.register::<N, V>(name, meta),
            #[cfg(feature = "rocksdb")]
            Store::RocksDb(backend) => backend.register_values::<N, V>(name, meta),
        };
        index.map(StateId::new).map_err(|error| self.in_operator(error))
    }

    fn add_lists<N: Namespace, T: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
    ) -> Result<StateId<N, ListOf<T>>, BackendError> {
        let index = match &mut self.store {
            Store::Memory(backend) => backend.register::<N, Vec<T>>(name, meta),
            #[cfg(feature = "rocksdb")]
            Store::RocksDb(backend) => backend.register_lists::<N, T>(name, meta),
        };
        index.map(StateId::new).map_err(|error| self.in_operator(error))
    }

    fn add_maps<N: Namespace, UK: Data + Ord, UV: Data>(
        &mut self,
        name: &str,
        meta: StateMeta,
    ) -> Result<StateId<N, MapOf<UK, UV>>, BackendError> {
        let index = match &mut self.store {
            Store::Memory(backend) => backend.register::<N, BTreeMap<UK, UV>>(name, meta),
            #[cfg(feature = "rocksdb")]
            Store::RocksDb(backend) => backend.register_maps::<N, UK, UV>(name, meta),
        };
        index.map(StateId::new).map_err(|error| self.in_operator(error))
    }

    /// The error, with the operator that it is about.
    fn in_operator(&self, error: BackendError) -> BackendError {
        match (&self.operator, error) {
            // What is wrong is the machine, not the operator's state; it says where.
            (_, error @ BackendError::Access(_)) => error,
            (Some(operator), error) => BackendError::Operator { operator: operator.clone(), error: Box::new(error) },
            (None, error) => error,
        }
    }

    /// The timers of the operator, with the restored ones. Called once.
    ///
    /// # Errors
    /// If restored timers cannot be read.
    pub fn timers<N: Namespace>(&mut self) -> Result<TimerService<K, N>, BackendError> {
        let key_groups = self.key_groups();
        let mut take = |name| on!(mut self, backend => backend.take_restored(name));
        let (event, processing) = (take(TimerService::<K, N>::EVENT), take(TimerService::<K, N>::PROCESSING));
        let watermark = if planted!("watermark_lost_at_restore") { Timestamp::MIN } else { self.restored_watermark };
        let mut timers = TimerService::restore(key_groups, watermark, event, processing)
            .map_err(|error| self.in_operator(error.into()))?;
        let overdue = timers.processing_time_deadline().is_some_and(|first| first <= self.processing_time);
        if overdue && planted!("overdue_processing_timers_dropped_at_restore") {
            while timers.pop_due_processing_time(self.processing_time).is_some() {}
        }
        Ok(timers)
    }

    /// The table of a state of values.
    #[inline]
    pub fn values<N: Namespace, V: Data>(&mut self, id: StateId<N, V>) -> ValueTable<'_, K, N, V> {
        match &mut self.store {
            Store::Memory(backend) => ValueTable::Memory(backend.table_mut(id.index)),
            #[cfg(feature = "rocksdb")]
            Store::RocksDb(backend) => ValueTable::RocksDb(backend.table_mut(id.index)),
        }
    }

    /// The table of a state of lists.
    #[inline]
    pub fn lists<N: Namespace, T: Data>(&mut self, id: StateId<N, ListOf<T>>) -> ListTable<'_, K, N, T> {
        match &mut self.store {
            Store::Memory(backend) => ListTable::Memory(backend.table_mut(id.index)),
            #[cfg(feature = "rocksdb")]
            Store::RocksDb(backend) => ListTable::RocksDb(backend.table_mut(id.index)),
        }
    }

    /// The table of a state of maps.
    #[inline]
    pub fn maps<N: Namespace, UK: Data + Ord, UV: Data>(
        &mut self,
        id: StateId<N, MapOf<UK, UV>>,
    ) -> MapTable<'_, K, N, UK, UV> {
        match &mut self.store {
            Store::Memory(backend) => MapTable::Memory(backend.table_mut(id.index)),
            #[cfg(feature = "rocksdb")]
            Store::RocksDb(backend) => MapTable::RocksDb(backend.table_mut(id.index)),
        }
    }

    /// The state at this moment, to be encoded when there is time.
    ///
    /// # Errors
    /// If the backend cannot hold the moment.
    pub fn snapshot(&mut self) -> Result<AsyncKeyedSnapshot, BackendError> {
        let snapshot = match &mut self.store {
            Store::Memory(backend) => backend.snapshot(),
            #[cfg(feature = "rocksdb")]
            Store::RocksDb(backend) => backend.snapshot()?,
        };
        Ok(expiry::filtered(snapshot, self.filters.clone(), self.processing_time))
    }

    /// The state at this moment, as an operator returns it: the backend's own files, if it takes incremental snapshots.
    /// Those keep what has expired: dropping it means reading everything.
    ///
    /// # Errors
    /// As for [`KeyedStateBackend::snapshot`].
    pub fn operator_snapshot(&mut self) -> Result<AsyncSnapshot, BackendError> {
        #[cfg(feature = "rocksdb")]
        if let Store::RocksDb(backend) = &mut self.store
            && let Some((files, rest)) = backend.snapshot_of_files()?
        {
            return Ok(Box::new(move || {
                let keyed = std::sync::Arc::unwrap_or_clone(rest);
                Ok(OperatorSnapshot { keyed, files: vec![files], ..OperatorSnapshot::default() })
            }));
        }
        let state = self.snapshot()?;
        Ok(Box::new(move || Ok(OperatorSnapshot { keyed: state()?, ..OperatorSnapshot::default() })))
    }

    /// The state and the timers at this moment, as an operator returns them.
    ///
    /// # Errors
    /// As for [`KeyedStateBackend::snapshot`].
    pub fn snapshot_with_timers<N: Namespace>(
        &mut self,
        timers: &TimerService<K, N>,
    ) -> Result<AsyncSnapshot, BackendError> {
        let (state, watermark, timers) = (self.operator_snapshot()?, timers.watermark(), timers.snapshot());
        let watermark = (watermark > Timestamp::MIN).then_some(watermark);
        Ok(Box::new(move || {
            let mut snapshot = state()?;
            timers.encode_into(&mut snapshot.keyed);
            Ok(OperatorSnapshot { watermark, ..snapshot })
        }))
    }

    /// The number of (key, namespace) entries over all states, timers not counted. May have to look at all of them.
    ///
    /// # Errors
    /// If the backend cannot be read.
    pub fn entry_count(&self) -> Result<usize, BackendError> {
        match &self.store {
            Store::Memory(backend) => Ok(backend.entry_count()),
            #[cfg(feature = "rocksdb")]
            Store::RocksDb(backend) => backend.entry_count(),
        }
    }

    /// The job's key groups.
    pub fn key_groups(&self) -> KeyGroups {
        on!(self, backend => backend.key_groups())
    }

    /// The subtask's key groups.
    pub fn range(&self) -> KeyGroupRange {
        on!(self, backend => backend.range())
    }
}

/// Adds what the files of a database hold, in the form that names no backend.
///
/// # Errors
/// If they cannot be read, or hold something else under the name of a state.
pub fn add_files(into: &mut KeyedSnapshot, files: &DatabaseFiles) -> Result<(), BackendError> {
    merge(into, read_files(files)?)
}

/// What the files of a database hold, in the form that names no backend.
#[cfg(feature = "rocksdb")]
fn read_files(files: &DatabaseFiles) -> Result<KeyedSnapshot, BackendError> {
    Ok(rocksdb::read_files(files.directory.path(), &files.states)?)
}

#[cfg(not(feature = "rocksdb"))]
fn read_files(_: &DatabaseFiles) -> Result<KeyedSnapshot, BackendError> {
    Err(BackendError::NotBuilt)
}

/// An empty directory for the files of a checkpoint, from which the state of this operator is to be restored.
///
/// # Errors
/// If it cannot be made, or this program cannot read such files.
#[cfg(feature = "rocksdb")]
pub fn download_directory(
    backend: &StateBackend,
    uid: &OperatorUid,
    range: KeyGroupRange,
) -> Result<LocalDirectory, BackendError> {
    let elsewhere = crate::config::RocksDbOptions::default();
    let options = if let StateBackend::RocksDb(options) = backend { options } else { &elsewhere };
    Ok(rocksdb::download_directory(options, uid, range)?)
}

/// As with RocksDB, which this program was built without.
///
/// # Errors
/// Always.
#[cfg(not(feature = "rocksdb"))]
pub fn download_directory(_: &StateBackend, _: &OperatorUid, _: KeyGroupRange) -> Result<LocalDirectory, BackendError> {
    Err(BackendError::NotBuilt)
}

/// Rewrites the restored values of a state for the version that is asked for.
fn migrate(state: &str, restored: &mut StateSnapshot, asked: StateMeta, rewrite: &Rewrite) -> Result<(), BackendError> {
    for (&key_group, entries) in &mut restored.groups {
        for entry in entries {
            entry.value = rewrite(&entry.value).map_err(|source| BackendError::Migrate {
                state: state.to_owned(),
                stored: restored.meta.version,
                key_group,
                source,
            })?;
        }
    }
    restored.meta = asked;
    Ok(())
}

/// Adds the key groups of other parts of the same states.
fn merge(into: &mut KeyedSnapshot, other: KeyedSnapshot) -> Result<(), BackendError> {
    for (name, mut state) in other {
        match into.get_mut(&name) {
            Some(known) => {
                memory::check_meta(&name, known.meta, state.meta)?;
                known.groups.append(&mut state.groups);
            }
            None => {
                into.insert(name, state);
            }
        }
    }
    Ok(())
}

/// Drops the key groups of other subtasks.
fn only_range(mut snapshot: KeyedSnapshot, range: KeyGroupRange) -> KeyedSnapshot {
    for state in snapshot.values_mut() {
        state.groups.retain(|&key_group, _| {
            let skipped = planted!("key_group_range_off_by_one_on_restore") && key_group == range.end;
            range.contains(key_group) && !skipped
        });
    }
    snapshot.retain(|_, state| !state.groups.is_empty());
    snapshot
}

#[cfg(test)]
mod tests;
