//! Keyed state backends: where the state of keys lives while the job runs.
//!
//! An operator owns a [`KeyedStateBackend`], registers its states by descriptor and keeps the [`StateId`]s. Per batch
//! it turns an id into a table once; per record it then works on the table itself ([`Values`], [`Lists`], [`Maps`]).
//! User functions have typed handles instead ([`ValueState`] and its like).
//!
//! Guarantees: a snapshot holds the state at the moment of the call and is the same bytes for the same state; a
//! restored backend holds exactly the entries of its key groups, or says which state it could not read and why.
//! Flink: `KeyedStateBackend`, `AbstractKeyedStateBackend`.

mod expiry;
mod handle;
pub mod memory;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;
mod table;

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
    codec::{Data, DecodeError},
    config::StateBackend,
    error::{Error, ErrorKind},
    id::OperatorUid,
    operator::OperatorContext,
    planted,
    state::{
        AsyncKeyedSnapshot, AsyncSnapshot, DescriptorError, InvalidMaxParallelism, Key, KeyGroupRange, KeyGroups,
        KeyedSnapshot, Namespace, OperatorSnapshot, ParallelInstance, Rewrite, StateDescriptor, StateKind, StateMeta,
        StateSnapshot, TimeToLive,
    },
    time::{TimerRestoreError, TimerService, Timestamp},
};

/// Why a backend could not give a state.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Two states of one operator have one name.
    #[error("state `{state}` is registered twice")]
    DuplicateState {
        /// Name of the state.
        state: String,
    },
    /// The name cannot be used.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// The number of key groups cannot be used.
    #[error(transparent)]
    KeyGroups(#[from] InvalidMaxParallelism),
    /// The checkpoint holds another version of the state.
    #[error("state `{state}` was kept with version {stored}, but version {asked} is asked for, which cannot read it")]
    Version {
        /// Name of the state.
        state: String,
        /// The version in the checkpoint.
        stored: u32,
        /// The version of the descriptor.
        asked: u32,
    },
    /// The checkpoint holds another kind of state under the name.
    #[error("`{state}` was kept as {stored}, but is asked for as {asked}")]
    Kind {
        /// Name of the state.
        state: String,
        /// What the checkpoint holds.
        stored: StateKind,
        /// What the descriptor asks for.
        asked: StateKind,
    },
    /// The checkpoint's values carry timestamps and the descriptor asks for such that do not, or the other way round.
    #[error("state `{state}` was kept {}, and cannot be read {}", kept(*.stored), kept(other(*.stored)))]
    TimeToLive {
        /// Name of the state.
        state: String,
        /// What the checkpoint holds.
        stored: TimeToLive,
    },
    /// A value of an older version cannot be read as the type that a migration says it has.
    #[error("cannot migrate state `{state}` from version {stored}, key group {key_group}")]
    Migrate {
        /// Name of the state.
        state: String,
        /// The version in the checkpoint.
        stored: u32,
        /// The key group that holds the entry.
        key_group: u16,
        /// What the decoder said.
        source: DecodeError,
    },
    /// A key cannot be read.
    #[error("cannot restore state `{state}`, key group {key_group}: the type of the key is another one")]
    Key {
        /// Name of the state.
        state: String,
        /// The key group that holds the entry.
        key_group: u16,
        /// What the decoder said.
        source: DecodeError,
    },
    /// One of the above, and where.
    #[error("operator `{operator}`: {error}")]
    Operator {
        /// Whose state it is.
        operator: OperatorUid,
        /// What is wrong.
        error: Box<BackendError>,
    },
    /// An entry cannot be read.
    #[error("cannot restore state `{state}`, key group {key_group}")]
    Decode {
        /// Name of the state.
        state: String,
        /// The key group that holds the entry.
        key_group: u16,
        /// What the decoder said.
        source: DecodeError,
    },
    /// A key lies in a key group where nobody would look for it.
    #[error("cannot restore state `{state}`: key group {key_group} holds a key of key group {expected}")]
    WrongKeyGroup {
        /// Name of the state.
        state: String,
        /// The key group that holds the entry.
        key_group: u16,
        /// The key group of its key.
        expected: u16,
    },
    /// One key has two values.
    #[error("cannot restore state `{state}`: key group {key_group} holds a key twice")]
    DuplicateEntry {
        /// Name of the state.
        state: String,
        /// The key group that holds the entries.
        key_group: u16,
    },
    /// The timers cannot be read.
    #[error(transparent)]
    Timers(#[from] TimerRestoreError),
    /// The place where the state lives cannot be used.
    #[error(transparent)]
    Access(#[from] Error),
    /// This program has no such backend.
    #[error("this program was built without RocksDB")]
    NotBuilt,
}

fn kept(time_to_live: TimeToLive) -> &'static str {
    match time_to_live {
        TimeToLive::Disabled => "without a time to live",
        TimeToLive::Enabled => "with a time to live",
    }
}

fn other(time_to_live: TimeToLive) -> TimeToLive {
    match time_to_live {
        TimeToLive::Disabled => TimeToLive::Enabled,
        TimeToLive::Enabled => TimeToLive::Disabled,
    }
}

impl BackendError {
    /// What is wrong, wherever it is.
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Operator { error, .. } => error.innermost(),
            error => error,
        }
    }
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        let error = match error {
            BackendError::Access(error) => return error,
            other => other,
        };
        let (kind, hint) = match error.innermost() {
            BackendError::NotBuilt => (ErrorKind::Configuration, crate::config::HOW_TO_BUILD_ROCKSDB),
            BackendError::Access(_) | BackendError::Operator { .. } => {
                unreachable!("it is an error for users already, or goes around one that is about a state")
            }
            BackendError::TimeToLive { .. } => (
                ErrorKind::CorruptState,
                "a time to live can be changed, but not given to a state or taken from it: give the new state a name of its own",
            ),
            BackendError::Migrate { .. } => {
                (ErrorKind::CorruptState, "let `migrate_from` name the type that this version of the state had")
            }
            BackendError::Key { .. } => (
                ErrorKind::CorruptState,
                "the type of a key cannot be migrated: key the stream as it was, or give the operator another uid",
            ),
            BackendError::DuplicateState { .. } | BackendError::Descriptor(_) => {
                (ErrorKind::Configuration, "give each state of an operator a name of its own")
            }
            BackendError::KeyGroups(_) => (ErrorKind::Configuration, "set `pipeline.max-parallelism`"),
            BackendError::Kind { .. } => {
                (ErrorKind::CorruptState, "give the new state a name of its own, or ask for what was kept")
            }
            BackendError::Version { .. } => (
                ErrorKind::CorruptState,
                "add `migrate_from` for the version that was kept to the descriptor, or ask for that version",
            ),
            BackendError::Decode { .. } | BackendError::Timers(_) => (
                ErrorKind::CorruptState,
                "the type of a key, window or value has changed without a new version, or the file is damaged",
            ),
            BackendError::WrongKeyGroup { .. } | BackendError::DuplicateEntry { .. } => (
                ErrorKind::CorruptState,
                "the hash of the key type or the maximal parallelism has changed since the checkpoint",
            ),
        };
        Self::new(kind, "cannot set up keyed state").with_source(error).with_hint(hint)
    }
}

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
        let OperatorSnapshot { keyed, watermark, .. } = restored.unwrap_or_default();
        let backend = Self::open_range(context, key_groups.range(instance), keyed)?;
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
        let key_groups = KeyGroups::new(context.max_parallelism)?;
        let backend = match &context.state_backend {
            StateBackend::HashMap => Self::memory(key_groups, range, restored),
            #[cfg(feature = "rocksdb")]
            StateBackend::RocksDb(options) => {
                let restored = only_range(restored, range);
                Self::new(Store::RocksDb(RocksDbBackend::create(options, &context.uid, key_groups, range, restored)?))
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
        TimerService::restore(key_groups, watermark, event, processing).map_err(|error| self.in_operator(error.into()))
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

    /// The state and the timers at this moment, as an operator returns them.
    ///
    /// # Errors
    /// As for [`KeyedStateBackend::snapshot`].
    pub fn snapshot_with_timers<N: Namespace>(
        &mut self,
        timers: &TimerService<K, N>,
    ) -> Result<AsyncSnapshot, BackendError> {
        let (state, watermark, timers) = (self.snapshot()?, timers.watermark(), timers.snapshot());
        let watermark = (watermark > Timestamp::MIN).then_some(watermark);
        Ok(Box::new(move || {
            let mut keyed = state()?;
            timers.encode_into(&mut keyed);
            Ok(OperatorSnapshot { keyed, watermark, ..OperatorSnapshot::default() })
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
