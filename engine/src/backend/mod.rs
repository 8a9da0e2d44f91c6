//! Keyed state backends: where the state of keys lives while the job runs.
//!
//! An operator owns a [`KeyedStateBackend`], registers its states by descriptor and keeps the [`StateId`]s. Per batch
//! it turns an id into a table once; per record it then works on the table itself.
//!
//! Guarantees: a snapshot holds the state at the moment of the call and is the same bytes for the same state; a
//! restored backend holds exactly the entries of its key groups, or says which state it could not read and why.
//! Flink: `KeyedStateBackend`, `AbstractKeyedStateBackend`.

pub mod memory;

use std::{fmt, marker::PhantomData};

use self::memory::{CowTable, KeyedSnapshotEncoder, MemoryBackend};
use crate::{
    codec::{Data, DecodeError},
    error::{Error, ErrorKind},
    operator::{AsyncSnapshot, KeyedSnapshot, OperatorContext, OperatorSnapshot},
    planted,
    state::{
        DescriptorError, InvalidMaxParallelism, Key, KeyGroupRange, KeyGroups, Namespace, ParallelInstance,
        StateDescriptor,
    },
    time::{TimerRestoreError, TimerService},
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
    #[error("state `{state}` was kept with version {stored}, but version {asked} is asked for")]
    Version {
        /// Name of the state.
        state: String,
        /// The version in the checkpoint.
        stored: u32,
        /// The version of the descriptor.
        asked: u32,
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
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        let (kind, hint) = match &error {
            BackendError::DuplicateState { .. } | BackendError::Descriptor(_) => {
                (ErrorKind::Configuration, "give each state of an operator a name of its own")
            }
            BackendError::KeyGroups(_) => (ErrorKind::Configuration, "set `pipeline.max-parallelism`"),
            BackendError::Version { .. } => {
                (ErrorKind::CorruptState, "ask for the version that was kept, or start without this checkpoint")
            }
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

/// A registered state: values of `V` per key and namespace `N`. Valid for the backend that gave it.
pub struct StateId<N, V> {
    index: usize,
    types: PhantomData<fn() -> (N, V)>,
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

/// The keyed state of one operator of one subtask, wherever it lives.
#[non_exhaustive]
pub enum KeyedStateBackend<K> {
    /// On the heap.
    Memory(MemoryBackend<K>),
}

impl<K: Key> KeyedStateBackend<K> {
    /// The backend of an operator, with what its restored snapshot holds for the subtask's key groups.
    ///
    /// # Errors
    /// If the context's number of key groups cannot be used.
    pub fn open(context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<Self, BackendError> {
        let key_groups = KeyGroups::new(context.max_parallelism)?;
        let instance = ParallelInstance { index: context.subtask_index, parallelism: context.parallelism };
        let restored = restored.map(|snapshot| snapshot.keyed).unwrap_or_default();
        Ok(Self::memory(key_groups, key_groups.range(instance), restored))
    }

    /// A backend in memory, with what `restored` holds for the key groups of `range`.
    pub fn memory(key_groups: KeyGroups, range: KeyGroupRange, restored: KeyedSnapshot) -> Self {
        Self::Memory(MemoryBackend::new(key_groups, range, only_range(restored, range)))
    }

    /// Registers a state that has one value per key and namespace.
    ///
    /// # Errors
    /// If the name is taken or reserved, or what was restored under it cannot be read.
    pub fn register<N: Namespace, V: Data>(
        &mut self,
        descriptor: &StateDescriptor,
    ) -> Result<StateId<N, V>, BackendError> {
        descriptor.check()?;
        match self {
            Self::Memory(backend) => backend.register(descriptor),
        }
    }

    /// The timers of the operator, with the restored ones. Called once.
    ///
    /// # Errors
    /// If restored timers cannot be read.
    pub fn timers<N: Namespace>(&mut self) -> Result<TimerService<K, N>, BackendError> {
        match self {
            Self::Memory(backend) => {
                let mut take = |name| backend.take_restored(name);
                let (event, processing) = (take(TimerService::<K, N>::EVENT), take(TimerService::<K, N>::PROCESSING));
                Ok(TimerService::restore(backend.key_groups(), event, processing)?)
            }
        }
    }

    /// The table of a state, to be read.
    #[inline]
    pub fn table<N: Namespace, V: Data>(&self, id: StateId<N, V>) -> &CowTable<K, N, V> {
        match self {
            Self::Memory(backend) => backend.table(id),
        }
    }

    /// The table of a state.
    #[inline]
    pub fn table_mut<N: Namespace, V: Data>(&mut self, id: StateId<N, V>) -> &mut CowTable<K, N, V> {
        match self {
            Self::Memory(backend) => backend.table_mut(id),
        }
    }

    /// The state at this moment, to be encoded when there is time.
    pub fn snapshot(&mut self) -> KeyedSnapshotEncoder {
        match self {
            Self::Memory(backend) => backend.snapshot(),
        }
    }

    /// The state and the timers at this moment, as an operator returns them.
    pub fn snapshot_with_timers<N: Namespace>(&mut self, timers: &TimerService<K, N>) -> AsyncSnapshot {
        let (state, timers) = (self.snapshot(), timers.snapshot());
        Box::new(move || {
            let mut keyed = state();
            timers.encode_into(&mut keyed);
            Ok(OperatorSnapshot { keyed, ..OperatorSnapshot::default() })
        })
    }

    /// The job's key groups.
    pub fn key_groups(&self) -> KeyGroups {
        match self {
            Self::Memory(backend) => backend.key_groups(),
        }
    }

    /// The subtask's key groups.
    pub fn range(&self) -> KeyGroupRange {
        match self {
            Self::Memory(backend) => backend.range(),
        }
    }
}

/// Drops the key groups of other subtasks.
fn only_range(mut snapshot: KeyedSnapshot, range: KeyGroupRange) -> KeyedSnapshot {
    for groups in snapshot.values_mut() {
        groups.retain(|&key_group, _| {
            let skipped = planted!("key_group_range_off_by_one_on_restore") && key_group == range.end;
            range.contains(key_group) && !skipped
        });
    }
    snapshot.retain(|_, groups| !groups.is_empty());
    snapshot
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{codec, operator::KeyedEntry, time::Timestamp};

    type Backend = KeyedStateBackend<u8>;

    fn key_groups() -> KeyGroups {
        KeyGroups::new(4).unwrap()
    }

    fn restored(snapshot: KeyedSnapshot) -> Backend {
        Backend::memory(key_groups(), key_groups().all(), snapshot)
    }

    fn entry(key: u8, value: u32) -> KeyedEntry {
        KeyedEntry { key: codec::encode(&key), namespace: Vec::new(), value: codec::encode(&value) }
    }

    fn one_state(entries: Vec<(u16, KeyedEntry)>) -> KeyedSnapshot {
        let mut snapshot = KeyedSnapshot::new();
        for (key_group, entry) in entries {
            snapshot.entry("sum".into()).or_default().entry(key_group).or_default().push(entry);
        }
        snapshot
    }

    fn register(backend: &mut Backend, name: &str) -> Result<StateId<(), u32>, BackendError> {
        backend.register(&StateDescriptor::new(name))
    }

    #[test]
    fn a_key_in_a_foreign_key_group_is_refused() {
        let home = key_groups().of_key(&1_u8);
        let error = register(&mut restored(one_state(vec![((home + 1) % 4, entry(1, 5))])), "sum").unwrap_err();
        assert!(matches!(&error, BackendError::WrongKeyGroup { expected, .. } if *expected == home), "{error}");
        let shown = Error::from(error);
        assert_eq!(shown.kind(), ErrorKind::CorruptState);
        assert!(shown.to_string().contains("`sum`"), "{shown}");
    }

    #[test]
    fn a_key_with_two_values_is_refused() {
        let home = key_groups().of_key(&1_u8);
        let twice = one_state(vec![(home, entry(1, 5)), (home, entry(1, 6))]);
        let error = register(&mut restored(twice), "sum").unwrap_err();
        assert!(matches!(error, BackendError::DuplicateEntry { .. }), "{error}");
    }

    #[test]
    fn two_states_cannot_share_a_name_whatever_their_versions() {
        let mut backend = restored(KeyedSnapshot::new());
        register(&mut backend, "sum").unwrap();
        let again = backend.register::<(), u32>(&StateDescriptor { name: "sum".into(), version: 2 });
        assert!(matches!(again, Err(BackendError::DuplicateState { .. })));
        assert!(matches!(register(&mut backend, "_sum"), Err(BackendError::Descriptor(_))));
    }

    #[test]
    fn restored_state_that_nobody_asks_for_stays_in_the_snapshots() {
        let mut written = restored(KeyedSnapshot::new());
        let (sum, count) = (register(&mut written, "sum").unwrap(), register(&mut written, "count").unwrap());
        let mut timers = written.timers::<()>().unwrap();
        written.table_mut(sum).insert(1, (), 10);
        written.table_mut(count).insert(2, (), 20);
        timers.register(crate::time::TimeDomain::EventTime, Timestamp(5), &1, &());
        let kept = written.snapshot_with_timers(&timers)().unwrap().keyed;
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["_timer_event", "count", "sum"]);

        let mut backend = restored(kept.clone());
        let sum = register(&mut backend, "sum").unwrap();
        assert_eq!(backend.table(sum).get(&1, &()), Some(&10));
        assert_eq!(backend.snapshot()(), kept, "the count and the timers were not asked for");
    }

    #[test]
    fn a_backend_takes_the_entries_of_its_key_groups_alone() {
        let mut written = restored(KeyedSnapshot::new());
        let sum = register(&mut written, "sum").unwrap();
        for key in 0..100 {
            written.table_mut(sum).insert(key, (), u32::from(key));
        }
        let kept = written.snapshot()();
        let mut seen = Vec::new();
        for index in 0..3 {
            let range = key_groups().range(ParallelInstance { index, parallelism: 3 });
            let mut backend = Backend::memory(key_groups(), range, kept.clone());
            let sum = register(&mut backend, "sum").unwrap();
            for (key, _, _) in backend.table(sum).iter() {
                assert!(range.contains(key_groups().of_key(key)));
                seen.push(*key);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    }
}
