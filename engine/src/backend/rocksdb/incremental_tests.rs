//! Snapshots that are the files of RocksDB, and what can be restored from them.

use std::sync::Arc;

use crate::{
    backend::{BackendError, KeyedState as _, KeyedStateBackend, StateAccess, StateId, ValueState},
    config::{BackgroundWork, RocksDbOptions, StateBackend},
    event::{NoObserver, Reporter, Subject},
    id::{Attempt, OperatorUid},
    operator::{OperatorContext, OperatorSnapshot},
    state::{
        KeyGroups, KeyedSnapshot, OldSubtasks, ParallelInstance, StateDescriptor, StateKind, StateTtlConfig,
        ValueStateDescriptor,
    },
    time::{TimeDomain, Timestamp},
};

type Backend = KeyedStateBackend<u32>;

fn context(state_backend: StateBackend, subtask_index: u32) -> OperatorContext {
    OperatorContext {
        uid: OperatorUid("sum".into()),
        subtask_index,
        parallelism: 2,
        max_parallelism: 8,
        state_backend,
        restored_checkpoint_id: None,
        processing_time: Timestamp(0),
        reporter: Reporter::new(Subject::node("test"), Attempt(0), Arc::new(NoObserver)),
    }
}

fn in_rocksdb(incremental: bool) -> StateBackend {
    let background_work = BackgroundWork::AtSnapshots;
    StateBackend::RocksDb(RocksDbOptions { incremental, background_work, ..RocksDbOptions::default() })
}

fn open(state_backend: StateBackend, restored: Option<OperatorSnapshot>) -> Backend {
    Backend::open(&context(state_backend, 0), restored).unwrap()
}

fn kept(backend: &mut Backend) -> OperatorSnapshot {
    backend.operator_snapshot().unwrap()().unwrap()
}

fn canonical(backend: &mut Backend) -> KeyedSnapshot {
    backend.snapshot().unwrap()().unwrap()
}

/// The keys of the first of two subtasks.
fn keys() -> impl Iterator<Item = u32> {
    let key_groups = KeyGroups::new(8).unwrap();
    let range = key_groups.range(ParallelInstance { index: 0, parallelism: 2 });
    (0..200).filter(move |key| range.contains(key_groups.of_key(key)))
}

/// A backend with three kinds of state.
fn written() -> Backend {
    let mut backend = open(in_rocksdb(true), None);
    register(&mut backend);
    write(&mut backend, keys());
    backend
}

/// Writes to the three states, which are registered.
fn write(backend: &mut Backend, keys: impl Iterator<Item = u32>) {
    let (value, list, map) = (StateId::new(0), StateId::new(1), StateId::new(2));
    for key in keys {
        use crate::backend::{Lists as _, Maps as _, Values as _};
        backend.values::<(), u32>(value).put(&key, &(), key * 2).unwrap();
        backend.lists::<(), String>(list).append(&key, &(), vec![format!("{key}"), "x".into()]).unwrap();
        for user_key in -2..2 {
            backend.maps::<i32, i64, String>(map).put(&key, &-1, user_key, "entry".into()).unwrap();
        }
    }
}

fn register(backend: &mut Backend) {
    backend.register_values::<(), u32>(&StateDescriptor::new("value"), StateKind::Value).unwrap();
    backend.register_lists::<(), String>(&StateDescriptor::new("list")).unwrap();
    backend.register_maps::<i32, i64, String>(&StateDescriptor::new("map")).unwrap();
}

#[test]
fn what_is_restored_from_files_is_what_was_kept_in_any_backend() {
    let mut backend = written();
    let expected = canonical(&mut backend);
    let files = kept(&mut backend);
    assert!(files.keyed.is_empty() && files.files.len() == 1, "nothing is read for an incremental snapshot");
    drop(backend);
    for state_backend in [in_rocksdb(true), in_rocksdb(false), StateBackend::HashMap] {
        let mut restored = open(state_backend.clone(), Some(files.clone()));
        register(&mut restored);
        assert_eq!(canonical(&mut restored), expected, "{state_backend:?}");
    }
    // And again, from the files of a database that came from files.
    let again = kept(&mut open(in_rocksdb(true), Some(files)));
    let mut restored = open(in_rocksdb(true), Some(again));
    register(&mut restored);
    assert_eq!(canonical(&mut restored), expected);
}

#[test]
fn a_database_goes_on_with_the_files_that_it_was_restored_from() {
    let names = |snapshot: &OperatorSnapshot| -> Vec<String> {
        let entries = std::fs::read_dir(snapshot.files[0].directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".sst")).collect();
        names.sort();
        names
    };
    let files = kept(&mut written());
    let before = names(&files);
    assert_eq!(before.len(), 3, "one for each state");
    let mut restored = open(in_rocksdb(true), Some(files));
    assert_eq!(names(&kept(&mut restored)), before);
    let value = restored.register_values::<(), u32>(&StateDescriptor::new("value"), StateKind::Value).unwrap();
    crate::backend::Values::put(&mut restored.values(value), &keys().next().unwrap(), &(), 7).unwrap();
    let after = names(&kept(&mut restored));
    assert_eq!(after.len(), 4);
    assert!(before.iter().all(|name| after.contains(name)), "{before:?} {after:?}");
}

#[test]
fn state_and_timers_that_nobody_asks_for_stay() {
    let mut backend = written();
    let mut timers = backend.timers::<()>().unwrap();
    timers.register(TimeDomain::EventTime, Timestamp(5), &keys().next().unwrap(), &());
    let first = backend.snapshot_with_timers(&timers).unwrap()().unwrap();
    assert_eq!(first.keyed.keys().collect::<Vec<_>>(), ["_timer_event"]);
    let expected = canonical(&mut backend);
    let second = kept(&mut open(in_rocksdb(true), Some(first.clone())));
    assert_eq!(second.keyed, first.keyed);
    let mut full = canonical(&mut open(in_rocksdb(false), Some(second)));
    assert!(full.remove("_timer_event").is_some());
    let mut restored = open(StateBackend::HashMap, Some(OperatorSnapshot { keyed: full, ..Default::default() }));
    register(&mut restored);
    assert_eq!(canonical(&mut restored), expected);
}

#[test]
fn what_was_kept_is_asked_for_as_what_it_is() {
    let files = kept(&mut written());
    let refused = |register: &dyn Fn(&mut Backend) -> BackendError| {
        register(&mut open(in_rocksdb(true), Some(files.clone()))).innermost().to_string()
    };
    let kind = refused(&|backend| backend.register_lists::<(), u32>(&StateDescriptor::new("value")).unwrap_err());
    assert_eq!(kind, "`value` was kept as value state, but is asked for as list state");
    let version = refused(&|backend| {
        let descriptor = StateDescriptor { name: "value".into(), version: 3 };
        backend.register_values::<(), u32>(&descriptor, StateKind::Value).unwrap_err()
    });
    assert!(version.contains("version 0, but version 3"), "{version}");
    let value = refused(&|backend| {
        backend.register_values::<(), String>(&StateDescriptor::new("value"), StateKind::Value).unwrap_err()
    });
    assert!(value.contains("cannot restore state `value`"), "{value}");
    let mut other_keys = KeyedStateBackend::<String>::open(&context(in_rocksdb(true), 0), Some(files.clone())).unwrap();
    let error = other_keys.register_values::<(), u32>(&StateDescriptor::new("value"), StateKind::Value).unwrap_err();
    assert!(matches!(error.innermost(), BackendError::Key { .. } | BackendError::WrongKeyGroup { .. }), "{error}");
    let Err(error) = Backend::open(&context(in_rocksdb(true), 1), Some(files)) else { panic!("another subtask's") };
    let error = crate::Error::from(error).to_string();
    assert!(error.contains("key groups 0..=3, and this subtask has 4..=7"), "{error}");
    assert!(error.contains("operator `sum`"), "{error}");
}

/// All entries, by key group, of a state that all subtasks of a job keep.
fn all_entries(parts: impl IntoIterator<Item = KeyedSnapshot>) -> KeyedSnapshot {
    parts.into_iter().fold(KeyedSnapshot::new(), |mut all, part| {
        crate::backend::merge(&mut all, part).unwrap();
        all
    })
}

#[test]
fn databases_are_cut_and_joined_when_the_parallelism_changes() {
    let subtask = |backend: StateBackend, index: u32, parallelism: u32, restored: Option<OperatorSnapshot>| {
        let context = OperatorContext { parallelism, ..context(backend, index) };
        let mut backend = Backend::open(&context, restored).unwrap();
        register(&mut backend);
        backend
    };
    let restored = |old: &[OperatorSnapshot], index: u32, parallelism: u32| {
        let old = OldSubtasks { parallelism: old.len() as u32, snapshots: (0..).zip(old.iter().cloned()).collect() };
        let new = ParallelInstance { index, parallelism };
        old.assign_to(new, KeyGroups::new(8).unwrap().range(new)).unwrap()
    };
    let mut only = subtask(in_rocksdb(true), 0, 1, None);
    write(&mut only, 0..200);
    let expected = canonical(&mut only);
    let mut kept_by_old = vec![kept(&mut only)];
    drop(only);
    for parallelism in [3, 2, 5, 1, 4] {
        let mut new: Vec<Backend> = (0..parallelism)
            .map(|index| {
                subtask(in_rocksdb(true), index, parallelism, Some(restored(&kept_by_old, index, parallelism)))
            })
            .collect();
        assert_eq!(all_entries(new.iter_mut().map(canonical)), expected, "{parallelism}");
        let on_heap = (0..parallelism).map(|index| {
            canonical(&mut subtask(
                StateBackend::HashMap,
                index,
                parallelism,
                Some(restored(&kept_by_old, index, parallelism)),
            ))
        });
        assert_eq!(all_entries(on_heap), expected, "{parallelism} on the heap");
        kept_by_old = new.iter_mut().map(kept).collect();
    }
}

#[test]
fn state_that_nobody_asks_for_stays_when_databases_are_joined() {
    let open_at = |index: u32, parallelism: u32, restored: Option<OperatorSnapshot>| {
        let context = OperatorContext { parallelism, ..context(in_rocksdb(true), index) };
        Backend::open(&context, restored).unwrap()
    };
    let mut old: Vec<Backend> = (0..2).map(|index| open_at(index, 2, None)).collect();
    let all = KeyGroups::new(8).unwrap();
    for (index, backend) in (0..).zip(&mut old) {
        register(backend);
        let range = all.range(ParallelInstance { index, parallelism: 2 });
        write(backend, (0..200).filter(|key| range.contains(all.of_key(key))));
    }
    let expected = all_entries(old.iter_mut().map(canonical));
    let old = OldSubtasks { parallelism: 2, snapshots: (0..).zip(old.iter_mut().map(kept)).collect() };
    let joined = old.assign_to(ParallelInstance { index: 0, parallelism: 1 }, all.all()).unwrap();
    let again = kept(&mut open_at(0, 1, Some(joined)));
    let mut asked = open_at(0, 1, Some(again));
    register(&mut asked);
    assert_eq!(canonical(&mut asked), expected);
}

#[test]
fn values_of_an_older_version_are_migrated_out_of_the_files() {
    let mut old = open(in_rocksdb(true), None);
    let id = old.register_values::<(), u32>(&StateDescriptor::new("value"), StateKind::Value).unwrap();
    let key = keys().next().unwrap();
    crate::backend::Values::put(&mut old.values(id), &key, &(), 41).unwrap();
    let files = kept(&mut old);
    let mut new = open(in_rocksdb(true), Some(files));
    let descriptor = ValueStateDescriptor::<u64>::new("value").with_version(1);
    let mut state = ValueState::new(descriptor.migrate_from::<u32>(0, |old| u64::from(old) + 1));
    state.register_with(&mut new).unwrap();
    let read = |backend: &mut Backend| {
        let mut access = StateAccess { backend, key: &key, namespace: &(), processing_time: Timestamp(0) };
        state.value(&mut access).unwrap()
    };
    assert_eq!(read(&mut new), Some(42));
    let files = kept(&mut new);
    let mut again = open(in_rocksdb(true), Some(files));
    let mut state = ValueState::new(ValueStateDescriptor::<u64>::new("value").with_version(1));
    state.register_with(&mut again).unwrap();
    let mut access = StateAccess { backend: &mut again, key: &key, namespace: &(), processing_time: Timestamp(0) };
    assert_eq!(state.value(&mut access).unwrap(), Some(42));
}

#[test]
fn a_time_to_live_is_not_given_to_state_in_files() {
    let files = kept(&mut written());
    let ttl = StateTtlConfig::new(std::time::Duration::from_millis(10));
    let mut state: ValueState<u32, ()> =
        ValueState::new(ValueStateDescriptor::<u32>::new("value").with_time_to_live(ttl));
    let error = state.register_with(&mut open(in_rocksdb(true), Some(files))).unwrap_err();
    assert!(format!("{error}").contains("was kept without a time to live"), "{error}");
}
