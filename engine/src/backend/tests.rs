//! The backend of an operator: what it refuses, and what it keeps.

use super::*;
use crate::{
    codec,
    error::{Error, ErrorKind},
    state::{KeyedEntry, StateSnapshot},
    time::Timestamp,
};

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
    let mut state = StateSnapshot { meta: StateMeta::new(StateKind::Value), groups: BTreeMap::new() };
    for (key_group, entry) in entries {
        state.groups.entry(key_group).or_default().push(entry);
    }
    KeyedSnapshot::from([("sum".into(), state)])
}

fn register(backend: &mut Backend, name: &str) -> Result<StateId<(), u32>, BackendError> {
    backend.register_values(&StateDescriptor::new(name), StateKind::Value)
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
    let again = backend.register_lists::<(), u32>(&StateDescriptor { name: "sum".into(), version: 2 });
    assert!(matches!(again, Err(BackendError::DuplicateState { .. })));
    assert!(matches!(register(&mut backend, "_sum"), Err(BackendError::Descriptor(_))));
}

#[test]
fn a_state_of_another_kind_is_refused() {
    let home = key_groups().of_key(&1_u8);
    let kept = one_state(vec![(home, entry(1, 5))]);
    let error = restored(kept).register_lists::<(), u32>(&StateDescriptor::new("sum")).unwrap_err();
    let (stored, asked) = (StateKind::Value, StateKind::List);
    assert!(matches!(&error, BackendError::Kind { stored: s, asked: a, .. } if (*s, *a) == (stored, asked)), "{error}");
}

#[test]
fn restored_state_that_nobody_asks_for_stays_in_the_snapshots() {
    let mut written = restored(KeyedSnapshot::new());
    let (sum, count) = (register(&mut written, "sum").unwrap(), register(&mut written, "count").unwrap());
    let mut timers = written.timers::<()>().unwrap();
    written.values(sum).put(&1, &(), 10).unwrap();
    written.values(count).put(&2, &(), 20).unwrap();
    timers.register(crate::time::TimeDomain::EventTime, Timestamp(5), &1, &());
    let kept = written.snapshot_with_timers(&timers).unwrap()().unwrap().keyed;
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["_timer_event", "count", "sum"]);

    let mut backend = restored(kept.clone());
    let sum = register(&mut backend, "sum").unwrap();
    assert_eq!(backend.values(sum).get(&1, &()).unwrap().as_deref(), Some(&10));
    assert_eq!(backend.snapshot().unwrap()().unwrap(), kept, "the count and the timers were not asked for");
}

#[test]
fn a_backend_takes_the_entries_of_its_key_groups_alone() {
    let mut written = restored(KeyedSnapshot::new());
    let sum = register(&mut written, "sum").unwrap();
    for key in 0..100 {
        written.values(sum).put(&key, &(), u32::from(key)).unwrap();
    }
    let kept = written.snapshot().unwrap()().unwrap();
    let mut seen = Vec::new();
    for index in 0..3 {
        let range = key_groups().range(ParallelInstance { index, parallelism: 3 });
        let mut backend = Backend::memory(key_groups(), range, kept.clone());
        let sum = register(&mut backend, "sum").unwrap();
        let mut visit = |key: &u8| {
            assert!(range.contains(key_groups().of_key(key)));
            seen.push(*key);
            Ok(())
        };
        backend.values(sum).for_each(|key, (), _| visit(key)).unwrap();
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<u8>>());
}
