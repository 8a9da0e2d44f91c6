//! RocksDB against the heap: the same calls must show the same state and keep the same bytes.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    backend::{
        KeyedStateBackend, ListOf, ListState, Lists as _, MapOf, MapState, Maps as _, StateAccess, StateId,
        StateRegistry, ValueState, Values as _,
    },
    config::{BackgroundWork, StateBackend},
    event::{NoObserver, Reporter, Subject},
    id::Attempt,
    operator::{OperatorContext, OperatorSnapshot},
    state::{ListStateDescriptor, MapStateDescriptor, StateDescriptor, StateKind, TimeToLive, ValueStateDescriptor},
    time::{TimeDomain, Timestamp},
};

type Backend = KeyedStateBackend<String>;
/// A map whose keys' bytes are in another order than the keys: the codec writes small negative numbers as odd ones.
type Map = MapOf<i64, Option<String>>;

struct States {
    value: StateId<i32, String>,
    list: StateId<(), ListOf<Option<u16>>>,
    map: StateId<i32, Map>,
}

fn context(state_backend: StateBackend) -> OperatorContext {
    OperatorContext {
        uid: OperatorUid("window sum".into()),
        subtask_index: 0,
        parallelism: 1,
        max_parallelism: 4,
        state_backend,
        restored_checkpoint_id: None,
        processing_time: Timestamp(0),
        reporter: Reporter::new(Subject::node("test"), Attempt(0), Arc::new(NoObserver)),
    }
}

fn rocksdb() -> OperatorContext {
    context(StateBackend::RocksDb(RocksDbOptions::default()))
}

fn deterministic() -> OperatorContext {
    let background_work = BackgroundWork::AtSnapshots;
    context(StateBackend::RocksDb(RocksDbOptions { background_work, ..RocksDbOptions::default() }))
}

fn heap() -> OperatorContext {
    context(StateBackend::HashMap)
}

fn open(context: &OperatorContext, keyed: KeyedSnapshot) -> Backend {
    Backend::open(context, Some(OperatorSnapshot { keyed, ..OperatorSnapshot::default() })).unwrap()
}

fn register(backend: &mut Backend) -> States {
    States {
        value: backend.register_values(&StateDescriptor::new("default"), StateKind::Reducing).unwrap(),
        list: backend.register_lists(&StateDescriptor::new("list")).unwrap(),
        map: backend.register_maps(&StateDescriptor::new("map")).unwrap(),
    }
}

fn snapshot(backend: &mut Backend) -> KeyedSnapshot {
    backend.snapshot().unwrap()().unwrap()
}

#[derive(Debug, Clone)]
enum Operation {
    PutValue(String, i32, String),
    ExtendValue(String, i32),
    FoldValue(String, i32, String),
    TakeValue(String, i32),
    Append(String, Vec<Option<u16>>),
    PutList(String, Vec<Option<u16>>),
    TakeList(String),
    PutEntry(String, i32, i64, Option<String>),
    RemoveEntry(String, i32, i64),
    ClearMap(String, i32),
    Snapshot,
}

fn operation() -> impl Strategy<Value = Operation> {
    // Few keys, so that they meet; one is the start of another.
    let key = || prop_oneof!["", "a", "ab", "b\0", "\u{ff}\u{ff}"].prop_map(|key: String| key);
    let key = move || key().boxed();
    let namespace = || prop_oneof![Just(-1), Just(0), Just(300)];
    let elements = || prop::collection::vec(any::<Option<u16>>(), 0..4);
    prop_oneof![
        (key(), namespace(), ".{0,3}").prop_map(|(k, n, v)| Operation::PutValue(k, n, v)),
        (key(), namespace()).prop_map(|(k, n)| Operation::ExtendValue(k, n)),
        (key(), namespace(), ".{0,3}").prop_map(|(k, n, v)| Operation::FoldValue(k, n, v)),
        (key(), namespace()).prop_map(|(k, n)| Operation::TakeValue(k, n)),
        (key(), elements()).prop_map(|(k, e)| Operation::Append(k, e)),
        (key(), elements()).prop_map(|(k, e)| Operation::PutList(k, e)),
        key().prop_map(Operation::TakeList),
        (key(), namespace(), -3..3_i64, any::<Option<String>>())
            .prop_map(|(k, n, u, v)| Operation::PutEntry(k, n, u, v)),
        (key(), namespace(), -3..3_i64).prop_map(|(k, n, u)| Operation::RemoveEntry(k, n, u)),
        (key(), namespace()).prop_map(|(k, n)| Operation::ClearMap(k, n)),
        Just(Operation::Snapshot),
    ]
}

struct Concatenate;

impl crate::backend::Fold<String, String> for Concatenate {
    fn first(&mut self, input: String) -> String {
        input
    }
    fn add(&mut self, value: &mut String, input: String) {
        value.push_str(&input);
    }
}

/// Does what is asked and says everything that can be seen of the keys that it touches.
fn run(backend: &mut Backend, states: &States, operation: Operation) -> String {
    match operation {
        Operation::PutValue(k, n, v) => format!("{:?}", backend.values(states.value).put(&k, &n, v).unwrap()),
        Operation::ExtendValue(k, n) => {
            let changed = backend.values(states.value).modify(&k, &n, |value| value.push('!')).unwrap();
            backend.values(states.value).modify_or_insert_with(&k, &n, String::new, |value| value.push('?')).unwrap();
            format!("{changed:?} {:?}", backend.values(states.value).get(&k, &n).unwrap())
        }
        Operation::FoldValue(k, n, v) => {
            let mut table = backend.values(states.value);
            let place = table.locate(std::borrow::Cow::Borrowed(&k), &n).unwrap();
            let held = place.is_held();
            let folded = table.fold(place, &n, v, &mut Concatenate).unwrap();
            format!("{held} {} {}", folded.key, folded.value)
        }
        Operation::TakeValue(k, n) => format!("{:?}", backend.values(states.value).take(&k, &n).unwrap()),
        Operation::Append(k, elements) => {
            backend.lists(states.list).append(&k, &(), elements).unwrap();
            format!("{:?}", backend.lists(states.list).get(&k, &()).unwrap())
        }
        Operation::PutList(k, elements) => {
            backend.lists(states.list).put(&k, &(), elements).unwrap();
            format!("{}", backend.lists(states.list).is_empty(&k, &()).unwrap())
        }
        Operation::TakeList(k) => format!("{:?}", backend.lists(states.list).take(&k, &()).unwrap()),
        Operation::PutEntry(k, n, u, v) => {
            backend.maps(states.map).put(&k, &n, u, v).unwrap();
            let map = backend.maps(states.map);
            format!("{:?} {:?}", map.get(&k, &n, &-u).unwrap(), map.entries(&k, &n).unwrap())
        }
        Operation::RemoveEntry(k, n, u) => {
            let removed = backend.maps(states.map).remove(&k, &n, &u).unwrap();
            format!("{removed:?} {}", backend.maps(states.map).is_empty(&k, &n).unwrap())
        }
        Operation::ClearMap(k, n) => format!("{}", backend.maps(states.map).clear(&k, &n).unwrap()),
        Operation::Snapshot => format!("{:?}", snapshot(backend)),
    }
}

/// Everything in the tables, sorted.
fn contents(backend: &mut Backend, states: &States) -> Vec<String> {
    let all = std::cell::RefCell::new(Vec::new());
    let see = |entry| {
        all.borrow_mut().push(entry);
        Ok(())
    };
    backend.values(states.value).for_each(|k, n, v| see(format!("{k:?} {n} {v}"))).unwrap();
    assert_eq!(backend.values(states.value).count().unwrap(), all.borrow().len());
    backend.lists(states.list).for_each(|k, (), v| see(format!("{k:?} {v:?}"))).unwrap();
    backend.maps(states.map).for_each(|k, n, v| see(format!("{k:?} {n} {v:?}"))).unwrap();
    let mut all = all.into_inner();
    assert_eq!(backend.entry_count().unwrap(), all.len());
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn rocksdb_is_indistinguishable_from_the_heap(operations in prop::collection::vec(operation(), 0..60)) {
        let (mut rocksdb, mut heap) = (open(&deterministic(), KeyedSnapshot::new()), open(&heap(), KeyedSnapshot::new()));
        let (in_rocksdb, on_heap) = (register(&mut rocksdb), register(&mut heap));
        for operation in operations {
            let expected = run(&mut heap, &on_heap, operation.clone());
            prop_assert_eq!(run(&mut rocksdb, &in_rocksdb, operation.clone()), expected, "{:?}", operation);
        }
        prop_assert_eq!(contents(&mut rocksdb, &in_rocksdb), contents(&mut heap, &on_heap));
        let (kept, expected) = (snapshot(&mut rocksdb), snapshot(&mut heap));
        prop_assert_eq!(codec::encode(&kept), codec::encode(&expected));

        // Either reads what the other kept.
        for context in [self::rocksdb(), self::heap()] {
            let mut restored = open(&context, kept.clone());
            register(&mut restored);
            prop_assert_eq!(&snapshot(&mut restored), &kept);
        }
    }
}

#[test]
fn a_snapshot_does_not_see_what_happens_after_it() {
    for context in [rocksdb(), deterministic()] {
        let mut backend = open(&context, KeyedSnapshot::new());
        let states = register(&mut backend);
        backend.values(states.value).put(&"k".into(), &0, "before".into()).unwrap();
        backend.lists(states.list).append(&"k".into(), &(), vec![Some(1)]).unwrap();
        let first = backend.snapshot().unwrap();
        let second = backend.snapshot().unwrap();
        backend.values(states.value).put(&"k".into(), &0, "after".into()).unwrap();
        backend.lists(states.list).append(&"k".into(), &(), vec![Some(2)]).unwrap();
        let third = backend.snapshot().unwrap();
        // The last first: their files are apart.
        let third = third().unwrap();
        let (first, second) = (first().unwrap(), second().unwrap());
        assert_eq!(first, second);
        let value =
            |snapshot: &KeyedSnapshot, state: &str| snapshot[state].groups.values().next().unwrap()[0].value.clone();
        assert_eq!(value(&first, "default"), codec::encode("before"));
        assert_eq!(value(&first, "list"), codec::encode(&vec![Some(1_u16)]));
        assert_eq!(value(&third, "default"), codec::encode("after"));
        assert_eq!(value(&third, "list"), codec::encode(&vec![Some(1_u16), Some(2)]));
    }
}

#[test]
fn a_snapshot_can_be_read_when_its_backend_is_gone() {
    let mut backend = open(&rocksdb(), KeyedSnapshot::new());
    let states = register(&mut backend);
    backend.values(states.value).put(&"k".into(), &0, "v".into()).unwrap();
    let kept = backend.snapshot().unwrap();
    drop(backend);
    assert_eq!(kept().unwrap().len(), 1);
}

#[test]
fn nothing_stays_on_disk_when_backend_and_snapshots_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let options = RocksDbOptions { local_directories: vec![directory.path().to_owned()], ..RocksDbOptions::default() };
    let context = context(StateBackend::RocksDb(options));
    let mut one = open(&context, KeyedSnapshot::new());
    let other = open(&context, KeyedSnapshot::new());
    register(&mut one);
    let kept = one.snapshot().unwrap();
    let there = || std::fs::read_dir(directory.path().join("tidegate-rocksdb")).unwrap().count();
    assert_eq!(there(), 2);
    drop((one, other));
    assert_eq!(there(), 1, "the snapshot is still to be read");
    drop(kept);
    assert_eq!(there(), 0);
}

#[test]
fn restored_state_and_timers_that_nobody_asks_for_stay_in_the_snapshots() {
    let mut written = open(&rocksdb(), KeyedSnapshot::new());
    let states = register(&mut written);
    let mut timers = written.timers::<()>().unwrap();
    written.values(states.value).put(&"k".into(), &0, "v".into()).unwrap();
    timers.register(TimeDomain::EventTime, Timestamp(5), &"k".into(), &());
    let kept = written.snapshot_with_timers(&timers).unwrap()().unwrap().keyed;
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["_timer_event", "default"]);
    assert_eq!(snapshot(&mut open(&rocksdb(), kept.clone())), kept);
}

#[test]
fn what_was_kept_is_asked_for_as_what_it_is() {
    let mut written = open(&heap(), KeyedSnapshot::new());
    let states = register(&mut written);
    written.values(states.value).put(&"k".into(), &0, "v".into()).unwrap();
    let kept = snapshot(&mut written);
    let asked = |descriptor: StateDescriptor, kind| {
        open(&rocksdb(), kept.clone()).register_values::<i32, String>(&descriptor, kind).unwrap_err()
    };
    let kind = asked(StateDescriptor::new("default"), StateKind::Value);
    assert!(matches!(kind.innermost(), BackendError::Kind { .. }), "{kind}");
    let version = asked(StateDescriptor { name: "default".into(), version: 1 }, StateKind::Reducing);
    assert!(matches!(version.innermost(), BackendError::Version { .. }), "{version}");

    let mut backend = open(&rocksdb(), kept.clone());
    let decode = backend.register_values::<i32, u8>(&StateDescriptor::new("default"), StateKind::Reducing).unwrap_err();
    assert!(matches!(decode.innermost(), BackendError::Decode { .. }), "{decode}");
}

#[test]
fn damaged_snapshots_are_refused() {
    let mut written = open(&heap(), KeyedSnapshot::new());
    let states = register(&mut written);
    written.values(states.value).put(&"k".into(), &0, "v".into()).unwrap();
    let kept = snapshot(&mut written);
    let refused = |change: &dyn Fn(&mut KeyGroupEntries)| {
        let mut damaged = kept.clone();
        change(&mut damaged.get_mut("default").unwrap().groups);
        let mut backend = open(&rocksdb(), damaged);
        backend.register_values::<i32, String>(&StateDescriptor::new("default"), StateKind::Reducing).unwrap_err()
    };
    let twice = refused(&|groups| {
        let entries = groups.values_mut().next().unwrap();
        entries.push(KeyedEntry { value: codec::encode("w"), ..entries[0].clone() });
    });
    assert!(matches!(twice.innermost(), BackendError::DuplicateEntry { .. }), "{twice}");
    let foreign = refused(&|groups| {
        let (key_group, entries) = groups.pop_first().unwrap();
        groups.insert((key_group + 1) % 4, entries);
    });
    assert!(matches!(foreign.innermost(), BackendError::WrongKeyGroup { .. }), "{foreign}");
}

#[test]
fn a_directory_that_cannot_be_used_is_unavailable_and_the_error_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("occupied");
    std::fs::write(&file, "").unwrap();
    let options = RocksDbOptions { local_directories: vec![file.clone()], ..RocksDbOptions::default() };
    let Err(error) = Backend::open(&context(StateBackend::RocksDb(options)), None) else {
        panic!("a file is no directory")
    };
    let error = Error::from(error);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains(file.to_str().unwrap()), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("state.backend.rocksdb.localdir")), "{error}");
}

#[test]
fn a_disk_that_fails_while_a_state_is_registered_is_unavailable() {
    let failed = BackendError::Access(Error::new(ErrorKind::Unavailable, "RocksDB in /disk cannot write"));
    let error = Error::from(open(&heap(), KeyedSnapshot::new()).in_operator(failed));
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "RocksDB in /disk cannot write"));
}

#[cfg(feature = "sim")]
#[test]
fn the_planted_bug_loses_the_values_in_use() {
    let kept_with = |bug: Option<&str>| {
        crate::planted::activate(bug);
        let mut backend = open(&deterministic(), KeyedSnapshot::new());
        let states = register(&mut backend);
        backend.values(states.value).put(&"k".into(), &0, "v".into()).unwrap();
        let kept = snapshot(&mut backend).contains_key("default");
        crate::planted::activate(None);
        kept
    };
    assert!(kept_with(None));
    assert!(!kept_with(Some("rocksdb_snapshot_without_values_in_use")));
}

#[cfg(feature = "sim")]
#[test]
fn each_planted_bug_loses_state() {
    let seen_with = |bug: Option<&str>| {
        crate::planted::activate(bug);
        let mut backend = open(&deterministic(), KeyedSnapshot::new());
        let states = register(&mut backend);
        backend.maps(states.map).put(&"k".into(), &0, 1, None).unwrap();
        let kept = snapshot(&mut backend);
        let seen = (kept.contains_key("map"), backend.maps(states.map).entries(&"k".into(), &0).unwrap().len());
        crate::planted::activate(None);
        seen
    };
    assert_eq!(seen_with(None), (true, 1));
    assert_eq!(seen_with(Some("rocksdb_snapshot_without_flush")), (false, 1));
    assert_eq!(seen_with(Some("rocksdb_prefix_scan_misses_flushed_entries")), (true, 0));
}

fn at<'a>(backend: &'a mut Backend, key: &'a String, now: i64) -> StateAccess<'a, String, ()> {
    StateAccess { backend, key, namespace: &(), processing_time: Timestamp(now) }
}

/// Snapshots until the files of each state have been merged once.
fn merge_files(backend: &mut Backend) {
    for _ in 0..4 {
        snapshot(backend);
    }
}

#[test]
fn merging_files_drops_what_has_expired_of_every_kind_of_state_and_nothing_else() {
    let mut backend = open(&deterministic(), KeyedSnapshot::new());
    let lives = StateTtlConfig::new(Duration::from_millis(100));
    let mut value = ValueState::new(ValueStateDescriptor::<u8>::new("value").with_time_to_live(lives));
    let mut list = ListState::new(ListStateDescriptor::<u8>::new("list").with_time_to_live(lives));
    let mut map = MapState::new(MapStateDescriptor::<u8, u8>::new("map").with_time_to_live(lives));
    let kept = lives.without_cleanup_in_background();
    let mut keeps = ValueState::new(ValueStateDescriptor::<u8>::new("keeps").with_time_to_live(kept));
    StateRegistry::new(&mut backend).register(&mut value).unwrap();
    StateRegistry::new(&mut backend).register(&mut list).unwrap();
    StateRegistry::new(&mut backend).register(&mut map).unwrap();
    StateRegistry::new(&mut backend).register(&mut keeps).unwrap();
    let mixed = "mixed".to_owned();
    for (key, used) in [("old", 0), ("young", 50)] {
        let key = key.to_owned();
        let context = &mut at(&mut backend, &key, used);
        value.update(context, 1).unwrap();
        keeps.update(context, 1).unwrap();
        list.add_all(context, vec![1, 2]).unwrap();
        map.put(context, 1, 1).unwrap();
        map.put(&mut at(&mut backend, &mixed, used), used as u8, 1).unwrap();
        // An element of each age: the list stays as it is.
        list.add(&mut at(&mut backend, &mixed, used), used as u8).unwrap();
    }
    let counts = |backend: &mut Backend| {
        merge_files(backend);
        let snapshot = snapshot(backend);
        ["value", "keeps", "list", "map"].map(|state| snapshot[state].groups.values().map(Vec::len).sum::<usize>())
    };
    value.value(&mut at(&mut backend, &"other".to_owned(), 99)).unwrap();
    assert_eq!(counts(&mut backend), [2, 2, 3, 3], "nothing has expired by the last known time");
    value.value(&mut at(&mut backend, &"other".to_owned(), 100)).unwrap();
    assert_eq!(counts(&mut backend), [1, 2, 2, 2]);
    assert_eq!(map.entries(&mut at(&mut backend, &mixed, 100)).unwrap(), [(50, 1)]);
    value.value(&mut at(&mut backend, &"other".to_owned(), 150)).unwrap();
    merge_files(&mut backend);
    assert_eq!(snapshot(&mut backend).keys().collect::<Vec<_>>(), ["keeps"]);
}

/// A table that holds values in that much memory.
fn table(memory_bytes: usize) -> RocksDbTable<String, (), u64> {
    let options = RocksDbOptions { background_work: BackgroundWork::AtSnapshots, ..RocksDbOptions::default() };
    let database = Database::create(&options, "test", 0, None).unwrap();
    database.create_family("count", TimeToLive::Disabled).unwrap();
    let layout = Layout { encode: codec::encode, format: Format::Value };
    RocksDbTable::new(Arc::new(database), "count".into(), KeyGroups::new(4).unwrap(), layout).with_memory(memory_bytes)
}

#[test]
fn more_values_than_there_is_memory_for_are_all_there() {
    // Memory for two thousand, for twice as many as are held at first, and for all.
    for memory_bytes in [300_000, 2_500_000, 100_000_000] {
        let mut table = table(memory_bytes);
        let keys = 20_000_u64;
        let add = |table: &mut RocksDbTable<String, (), u64>, number: u64| {
            table.modify_or_insert_with(&number.to_string(), &(), || 0, |count| *count += 1).unwrap();
        };
        (0..keys).for_each(|number| add(&mut table, number));
        // One that changes so often that it is seen how much memory is used.
        (0..70_000).for_each(|_| add(&mut table, 7));
        (0..keys).step_by(3).for_each(|number| add(&mut table, number));
        assert_eq!(table.take(&"5".to_owned(), &()).unwrap(), Some(1));
        let expected = |number: u64| match number {
            7 => 70_001,
            _ => 1 + u64::from(number.is_multiple_of(3)),
        };
        for number in (0..keys).filter(|number| *number != 5) {
            let value = table.get(&number.to_string(), &()).unwrap().map(|count| *count);
            assert_eq!(value, Some(expected(number)), "{number}");
        }
        assert_eq!(table.count().unwrap() as u64, keys - 1);
        table.flush().unwrap();
        let mut kept = 0;
        table
            .for_each(|_, (), _| {
                kept += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(kept, keys - 1);
    }
}
