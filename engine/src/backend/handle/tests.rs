//! What handles promise beyond what the conformance vectors ask: errors, versions, and times to live that change.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::*;
use crate::{
    config::StateBackend,
    event::{NoObserver, Reporter, Subject},
    id::{Attempt, OperatorUid},
    operator::OperatorContext,
    state::{
        AggregateFunction, AggregatingStateDescriptor, CleanupRun, KeyedSnapshot, ListStateDescriptor,
        MapStateDescriptor, OperatorSnapshot, ReducingStateDescriptor, StateTtlConfig, TtlUpdate, TtlVisibility,
    },
};

type Backend = KeyedStateBackend<String>;

/// The backend of the operator `counter`, which is opened as in a task.
fn open(keyed: KeyedSnapshot) -> Backend {
    let context = OperatorContext {
        uid: OperatorUid("counter".into()),
        subtask_index: 0,
        parallelism: 1,
        max_parallelism: 8,
        state_backend: StateBackend::default(),
        restored_checkpoint_id: None,
        processing_time: Timestamp(0),
        reporter: Reporter::new(Subject::node("test"), Attempt(0), Arc::new(NoObserver)),
    };
    Backend::open(&context, Some(OperatorSnapshot { keyed, ..OperatorSnapshot::default() })).unwrap()
}

fn kept(backend: &mut Backend) -> KeyedSnapshot {
    backend.snapshot().unwrap()().unwrap()
}

fn key() -> String {
    "a".to_owned()
}

fn at<'a>(backend: &'a mut Backend, key: &'a String, now: i64) -> StateAccess<'a, String, ()> {
    StateAccess { backend, key, namespace: &(), processing_time: Timestamp(now) }
}

fn registered<S: KeyedState<()>>(backend: &mut Backend, mut state: S) -> S {
    StateRegistry::new(backend).register(&mut state).unwrap();
    state
}

fn refused(keyed: KeyedSnapshot, state: &mut impl KeyedState<()>) -> String {
    StateRegistry::new(&mut open(keyed)).register(state).unwrap_err().to_string()
}

#[test]
fn a_handle_that_was_not_registered_says_so() {
    let state = ListState::<u64>::new(ListStateDescriptor::new("seen"));
    let error = state.add(&mut at(&mut open(KeyedSnapshot::new()), &key(), 0), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserFunction);
    assert!(error.to_string().contains("`seen`") && error.to_string().contains("open"), "{error}");
}

#[test]
fn two_handles_of_one_name_are_refused_with_the_operator() {
    let mut backend = open(KeyedSnapshot::new());
    registered(&mut backend, ValueState::<u64>::new(ValueStateDescriptor::new("seen")));
    let mut again = ListState::<u64>::new(ListStateDescriptor::new("seen"));
    let error = StateRegistry::new(&mut backend).register(&mut again).unwrap_err().to_string();
    assert!(error.contains("`counter`") && error.contains("`seen`"), "{error}");
}

#[test]
fn a_reducing_state_goes_on_where_the_snapshot_was_taken() {
    let descriptor = || ReducingStateDescriptor::new("sum", |sum: &mut u64, value| *sum += value);
    let mut backend = open(KeyedSnapshot::new());
    let mut sum = registered(&mut backend, ReducingState::new(descriptor()));
    sum.add(&mut at(&mut backend, &key(), 0), 3).unwrap();
    let snapshot = kept(&mut backend);
    let mut backend = open(snapshot);
    let mut sum = registered(&mut backend, ReducingState::new(descriptor()));
    sum.add(&mut at(&mut backend, &key(), 0), 4).unwrap();
    assert_eq!(sum.get(&mut at(&mut backend, &key(), 0)).unwrap(), Some(7));
}

/// Concatenates; an accumulator is the text so far.
#[derive(Clone)]
struct Concat;

impl AggregateFunction<u8> for Concat {
    type Accumulator = String;
    type Out = String;

    fn create_accumulator(&self) -> String {
        String::new()
    }
    fn add(&self, accumulator: &mut String, value: u8) {
        accumulator.push_str(&value.to_string());
    }
    fn get_result(&self, accumulator: &String) -> String {
        accumulator.clone()
    }
    fn merge(&self, one: String, other: String) -> String {
        one + &other
    }
}

fn in_namespace<'a>(backend: &'a mut Backend, key: &'a String, namespace: &'a u8) -> StateAccess<'a, String, u8> {
    StateAccess { backend, key, namespace, processing_time: Timestamp(0) }
}

#[test]
fn merged_namespaces_come_in_order_target_first_and_the_sources_are_gone() {
    let mut backend = open(KeyedSnapshot::new());
    let mut text = AggregatingState::<u8, Concat, u8>::new(AggregatingStateDescriptor::new("text", Concat));
    let mut list = ListState::<u8, u8>::new(ListStateDescriptor::new("list"));
    StateRegistry::new(&mut backend).register(&mut text).unwrap();
    StateRegistry::new(&mut backend).register(&mut list).unwrap();
    for namespace in [1, 2, 3, 4] {
        text.add(&mut in_namespace(&mut backend, &key(), &namespace), namespace).unwrap();
        list.add_all(&mut in_namespace(&mut backend, &key(), &namespace), vec![namespace, namespace]).unwrap();
    }
    let (name, sources) = (key(), [4, 3, 7, 1, 4]);
    let context = &mut in_namespace(&mut backend, &name, &9);
    text.merge_namespaces(context, &3, &sources).unwrap();
    list.merge_namespaces(context, &3, &sources).unwrap();
    assert_eq!(text.get(&mut in_namespace(context.backend, &name, &3)).unwrap().as_deref(), Some("341"));
    assert_eq!(list.get(&mut in_namespace(context.backend, &name, &3)).unwrap(), [3, 3, 4, 4, 1, 1]);
    for (namespace, there) in [(1, false), (2, true), (3, true), (4, false), (7, false)] {
        assert_eq!(text.get_keys(context.backend, &namespace).unwrap() == [key()], there, "{namespace}");
    }
}

#[test]
fn what_an_older_type_kept_is_read_as_the_newer_one() {
    // Version 0 kept numbers of 32 bits.
    let mut old = open(KeyedSnapshot::new());
    let value = registered(&mut old, ValueState::<u32>::new(ValueStateDescriptor::new("value")));
    let list = registered(&mut old, ListState::<u32>::new(ListStateDescriptor::new("list")));
    let map = registered(&mut old, MapState::<u8, u32>::new(MapStateDescriptor::new("map")));
    value.update(&mut at(&mut old, &key(), 0), 7).unwrap();
    list.add_all(&mut at(&mut old, &key(), 0), vec![1, 2]).unwrap();
    map.put_all(&mut at(&mut old, &key(), 0), [(1, 10), (2, 20)]).unwrap();
    let version_0 = kept(&mut old);

    // Version 2 keeps text.
    let text = |old: u32| old.to_string();
    let restore = |keyed| {
        let mut new = open(keyed);
        let value = ValueStateDescriptor::<String>::new("value").with_version(2).migrate_from(0, text);
        let value = registered(&mut new, ValueState::<String>::new(value.migrate_from(1, |old: u64| old.to_string())));
        let list = ListStateDescriptor::<String>::new("list").with_version(2).migrate_from(0, text);
        let list = registered(&mut new, ListState::<String>::new(list));
        let map = MapStateDescriptor::<u8, String>::new("map").with_version(2).migrate_from(0, text);
        let map = registered(&mut new, MapState::<u8, String>::new(map));
        assert_eq!(value.value(&mut at(&mut new, &key(), 0)).unwrap().as_deref(), Some("7"));
        assert_eq!(list.get(&mut at(&mut new, &key(), 0)).unwrap(), ["1", "2"]);
        assert_eq!(map.values(&mut at(&mut new, &key(), 0)).unwrap(), ["10", "20"]);
        kept(&mut new)
    };
    let version_2 = restore(version_0);
    assert!(version_2.values().all(|state| state.meta.version == 2));
    assert_eq!(restore(version_2.clone()), version_2, "what is kept with the new version needs no migration");
}

#[test]
fn a_version_that_nobody_can_read_is_refused_with_all_names() {
    let mut old = open(KeyedSnapshot::new());
    let value = registered(&mut old, ValueState::<u32>::new(ValueStateDescriptor::new("value").with_version(3)));
    value.update(&mut at(&mut old, &key(), 0), 7).unwrap();
    let descriptor =
        ValueStateDescriptor::<u64>::new("value").with_version(4).migrate_from(2, |old: u32| u64::from(old));
    let error = refused(kept(&mut old), &mut ValueState::<u64>::new(descriptor));
    for word in ["`value`", "`counter`", "version 3", "version 4"] {
        assert!(error.contains(word), "{word} is missing in {error}");
    }
    let wrong_type = ValueStateDescriptor::<u64>::new("value").with_version(4).migrate_from(3, |_: (u8, u64)| 0);
    let error = refused(kept(&mut old), &mut ValueState::<u64>::new(wrong_type));
    assert!(error.contains("cannot migrate state `value` from version 3"), "{error}");
}

fn lives(milliseconds: u64) -> StateTtlConfig {
    StateTtlConfig::new(Duration::from_millis(milliseconds)).without_cleanup_in_background()
}

fn expiring(config: StateTtlConfig) -> ValueState<u64> {
    ValueState::new(ValueStateDescriptor::new("value").with_time_to_live(config))
}

#[test]
fn a_time_to_live_can_be_changed_but_not_given_or_taken_away() {
    let mut backend = open(KeyedSnapshot::new());
    let state = registered(&mut backend, expiring(lives(100)));
    state.update(&mut at(&mut backend, &key(), 10), 7).unwrap();
    let snapshot = kept(&mut backend);

    let mut longer = open(snapshot.clone());
    let state = registered(&mut longer, expiring(lives(1_000)));
    assert_eq!(state.value(&mut at(&mut longer, &key(), 1_009)).unwrap(), Some(7), "it was written at 10");
    assert_eq!(state.value(&mut at(&mut longer, &key(), 1_010)).unwrap(), None);

    let mut for_ever = ValueState::<u64>::new(ValueStateDescriptor::new("value"));
    let error = refused(snapshot, &mut for_ever);
    assert!(error.contains("`counter`") && error.contains("with a time to live"), "{error}");
    let mut backend = open(KeyedSnapshot::new());
    registered(&mut backend, for_ever).update(&mut at(&mut backend, &key(), 0), 7).unwrap();
    assert!(refused(kept(&mut backend), &mut expiring(lives(100))).contains("without a time to live"));
}

#[test]
fn a_disabled_time_to_live_is_none_and_a_short_one_is_refused() {
    let disabled = expiring(lives(1).with_update(TtlUpdate::Disabled));
    let mut backend = open(KeyedSnapshot::new());
    let state = registered(&mut backend, disabled);
    state.update(&mut at(&mut backend, &key(), 0), 7).unwrap();
    assert_eq!(state.value(&mut at(&mut backend, &key(), i64::MAX)).unwrap(), Some(7));
    let none = expiring(StateTtlConfig::new(Duration::from_micros(999)));
    assert!(refused(KeyedSnapshot::new(), &mut { none }).contains("less than a millisecond"));
}

#[test]
fn an_expired_value_is_shown_once_if_that_is_asked_for() {
    let mut backend = open(KeyedSnapshot::new());
    let state =
        registered(&mut backend, expiring(lives(100).with_visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp)));
    state.update(&mut at(&mut backend, &key(), 0), 7).unwrap();
    assert_eq!(state.value(&mut at(&mut backend, &key(), 100)).unwrap(), Some(7));
    assert_eq!(state.value(&mut at(&mut backend, &key(), 100)).unwrap(), None);
}

#[test]
fn a_full_snapshot_leaves_out_what_has_expired_by_the_last_known_time() {
    let mut backend = open(KeyedSnapshot::new());
    let descriptor = MapStateDescriptor::new("map").with_time_to_live(lives(100).with_cleanup_in_full_snapshot());
    let map = registered(&mut backend, MapState::<u8, u8>::new(descriptor));
    map.put(&mut at(&mut backend, &key(), 0), 1, 1).unwrap();
    map.put(&mut at(&mut backend, &"b".to_owned(), 0), 1, 1).unwrap();
    map.put(&mut at(&mut backend, &key(), 50), 2, 2).unwrap();
    backend.begin_record(Timestamp(120)).unwrap();
    assert!(!map.contains(&mut at(&mut backend, &"c".to_owned(), 120), &1).unwrap());
    let snapshot = kept(&mut backend);
    assert_eq!(snapshot["map"].groups.values().map(Vec::len).sum::<usize>(), 1, "{snapshot:?}");
    assert_eq!(backend.entry_count().unwrap(), 2, "the backend keeps what it has");
    let kept_map: BTreeMap<u8, crate::state::TtlValue<u8>> =
        codec::decode(&snapshot["map"].groups.values().next().unwrap()[0].value).unwrap();
    assert_eq!(kept_map.keys().collect::<Vec<_>>(), [&2]);
}

#[test]
fn each_record_sweeps_a_few_entries_of_the_states_that_ask_for_it() {
    let mut backend = open(KeyedSnapshot::new());
    let config = lives(100).with_incremental_cleanup(2, CleanupRun::PerRecord);
    let state = registered(&mut backend, expiring(config));
    for number in 0..10 {
        state.update(&mut at(&mut backend, &number.to_string(), 0), number).unwrap();
    }
    backend.begin_record(Timestamp(99)).unwrap();
    assert_eq!(backend.entry_count().unwrap(), 10);
    for record in 1..=5 {
        backend.begin_record(Timestamp(100)).unwrap();
        assert_eq!(backend.entry_count().unwrap(), 10 - 2 * record);
    }
}

#[test]
fn a_migrated_value_keeps_the_time_of_its_last_use() {
    let mut old = open(KeyedSnapshot::new());
    let state = registered(&mut old, expiring(lives(100)));
    state.update(&mut at(&mut old, &key(), 30), 7).unwrap();
    let mut new = open(kept(&mut old));
    let descriptor = ValueStateDescriptor::<String>::new("value")
        .with_version(1)
        .migrate_from(0, |old: u64| old.to_string())
        .with_time_to_live(lives(100));
    let state = registered(&mut new, ValueState::<String>::new(descriptor));
    assert_eq!(state.value(&mut at(&mut new, &key(), 129)).unwrap().as_deref(), Some("7"));
    assert_eq!(state.value(&mut at(&mut new, &key(), 130)).unwrap(), None);
}
