//! Keyed state is read, written, snapshotted and restored as Flink's backends do it: on each of our backends, and also
//! if it is restored from a snapshot between any two steps.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate::{
    backend::{
        BackendError, KeyedState, KeyedStateBackend, ListState, MapState, ReducingState, StateAccess, StateRegistry,
        ValueState,
    },
    state::{
        KeyGroupRange, KeyedSnapshot, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor, StateSnapshot,
        ValueStateDescriptor,
    },
    time::Timestamp,
};
use tidegate_tests::{
    keyed_state::{Keeper, Kind, Mode, Place, Sum, backend_error, key_groups, namespace},
    vectors::{DenyList, expect, known, list, numbers, run, text},
};

const DENIED: DenyList<'_> = &[("state-list-null-arguments", "there is no null: the type of the argument says so")];

#[test]
fn every_vector_of_the_state_api_holds() {
    run(include_str!("../data/vectors/24_state_api.json"), DENIED, |vector| {
        Place::ALL.iter().try_for_each(|place| match text(vector, "id") {
            "state-map-iterator-remove" => iteration_with_removal(*place, vector),
            "state-defaults-only-for-value" => nothing_is_there_at_first(*place, vector),
            "state-default-copied" => default_is_not_shared(*place, vector),
            "state-get-keys" => keys_of_a_namespace(*place, vector),
            "state-async-snapshot-isolation" => snapshots_are_isolated(*place, vector),
            "state-empty-checkpoint" => empty_checkpoint(*place, vector),
            "state-wrong-serializer" => wrong_type(*place, vector),
            _ if vector["new_ranges"].is_array() => rescale(*place, vector),
            _ if vector["steps"].is_array() => Mode::ALL.iter().try_for_each(|mode| steps(*place, *mode, vector)),
            other => Err(format!("no rule for {other}")),
        })
    });
}

fn kind_of(vector: &Value) -> Kind {
    match text(vector, "state") {
        "value" => Kind::Value(vector.get("default").cloned()),
        "list" => Kind::List,
        "map" => Kind::Map,
        "sum" => Kind::Aggregating(Sum { start: 0, as_text: false }),
        "reducing-sum" => Kind::Reducing,
        other => panic!("no state is called {other}"),
    }
}

fn steps(place: Place, mode: Mode, vector: &Value) -> Result<(), String> {
    let mut keeper = Keeper::new(place, mode, &kind_of(vector), None);
    known(vector, &["state", "default", "steps", "max_parallelism"])?;
    for step in list(vector, "steps") {
        known(step, &["op", "id", "key", "namespace", "arg", "expect"])?;
        match text(step, "op") {
            "snapshot" => keeper.snapshot(text(step, "id")),
            "restore" => keeper.restore_from(text(step, "id")),
            "number_of_state_entries" => expect(step, &json!(keeper.entry_count()), &step["expect"])?,
            operation => {
                let read =
                    keeper.apply(&step["key"].to_string(), &namespace(&step["namespace"]), operation, &step["arg"]);
                if let Some(expected) = step.get("expect") {
                    // "Get results are sorted for comparison": the vectors' lists do not say what came first.
                    let expected = [Some(expected.clone()), None];
                    let read = [sorted_like(read, &expected[0], text(vector, "id")), None];
                    expect(step, &read, &expected)?;
                }
            }
        }
    }
    Ok(())
}

fn sorted_like(read: Option<Value>, expected: &Option<Value>, vector_id: &str) -> Option<Value> {
    match (read, expected) {
        (Some(Value::Array(mut elements)), Some(Value::Array(_))) if vector_id == "state-list-apis" => {
            elements.sort_by_key(Value::as_i64);
            Some(Value::Array(elements))
        }
        (read, _) => read,
    }
}

/// A context of a key in the void namespace.
fn at<'a>(backend: &'a mut KeyedStateBackend<String>, key: &'a String) -> StateAccess<'a, String, ()> {
    StateAccess { backend, key, namespace: &(), processing_time: Timestamp(0) }
}

fn iteration_with_removal(place: Place, vector: &Value) -> Result<(), String> {
    let key = "key".to_owned();
    let mut backend = place.open_all(KeyedSnapshot::new());
    let mut state = MapState::<i32, i32>::new(MapStateDescriptor::new("map"));
    StateRegistry::new(&mut backend).register(&mut state).expect("registers");
    let mut context = at(&mut backend, &key);
    state.put_all(&mut context, (0..4096).map(|user_key| (user_key, 2 * user_key))).expect("puts");
    let mut visited = Vec::new();
    let visit = |user_key: &i32, value: &mut i32| {
        visited.push((*user_key, *value));
        *value += 1;
        // Any third of them.
        user_key.wrapping_mul(7) % 3 != 0
    };
    state.retain(&mut context, visit).expect("iterates");
    let all: Vec<_> = (0..4096).map(|user_key| (user_key, 2 * user_key)).collect();
    expect(vector, &visited, &all)?;
    let left = all.into_iter().filter(|(user_key, _)| user_key * 7 % 3 != 0).map(|(key, value)| (key, value + 1));
    expect(vector, &state.entries(&mut context).expect("entries"), &left.collect())?;
    state.retain(&mut context, |_, _| false).expect("iterates");
    expect(vector, &state.is_empty(&mut context).expect("reads"), &true)?;
    expect(vector, &backend.entry_count().expect("counts"), &0)
}

fn nothing_is_there_at_first(place: Place, vector: &Value) -> Result<(), String> {
    let sum = Sum { start: 0, as_text: false };
    for kind in [Kind::Reducing, Kind::Aggregating(sum), Kind::List, Kind::Value(None)] {
        let mut keeper = Keeper::new(place, Mode::Normal, &kind, None);
        expect(vector, &keeper.apply("key", "", "get", &Value::Null), &Some(Value::Null))?;
    }
    let mut keeper = Keeper::new(place, Mode::Normal, &Kind::Map, None);
    expect(vector, &keeper.apply("key", "", "entries", &Value::Null), &Some(json!({})))?;
    expect(vector, &keeper.apply("key", "", "is_empty", &Value::Null), &Some(json!(true)))
}

fn default_is_not_shared(place: Place, vector: &Value) -> Result<(), String> {
    let (one, two) = ("1".to_owned(), "2".to_owned());
    let mut backend = place.open_all(KeyedSnapshot::new());
    let descriptor = ValueStateDescriptor::new("value").with_default(vec![0_u8]);
    let state: ValueState<Vec<u8>> = StateRegistry::new(&mut backend).value(&descriptor).expect("registers");
    let mut default = state.value(&mut at(&mut backend, &one)).expect("reads").expect("the default");
    default.push(1);
    state.update(&mut at(&mut backend, &one), default).expect("updates");
    expect(vector, &state.value(&mut at(&mut backend, &two)).expect("reads"), &Some(vec![0]))?;
    expect(vector, &state.value(&mut at(&mut backend, &one)).expect("reads"), &Some(vec![0, 1]))
}

fn keys_of_a_namespace(place: Place, vector: &Value) -> Result<(), String> {
    let mut keeper = Keeper::new(place, Mode::Normal, &Kind::Value(None), None);
    let namespace = |key: i32| if key < 1000 { "ns1" } else { "ns2" };
    for key in 0..2000 {
        keeper.apply(&key.to_string(), namespace(key), "update", &json!(key * 2));
    }
    for (namespace, keys) in [("ns1", 0..1000), ("ns2", 1000..2000)] {
        let mut found: Vec<i32> = keeper.keys(namespace).iter().map(|key| key.parse().expect("a number")).collect();
        found.sort_unstable();
        expect(vector, &found, &keys.collect())?;
    }
    Ok(())
}

type Bytes = ValueState<Vec<u8>>;

fn bytes(place: Place, range: KeyGroupRange, kept: KeyedSnapshot) -> (KeyedStateBackend<String>, Bytes) {
    let mut backend = place.open(range, kept);
    let state = StateRegistry::new(&mut backend).value(&ValueStateDescriptor::new("x")).expect("registers");
    (backend, state)
}

fn kept(backend: &mut KeyedStateBackend<String>) -> KeyedSnapshot {
    backend.snapshot().expect("a snapshot")().expect("an encoded snapshot")
}

/// All keys with their values, by key.
fn contents(backend: &mut KeyedStateBackend<String>, state: &Bytes) -> Vec<(String, Vec<u8>)> {
    let mut contents = Vec::new();
    let read = |access: &mut StateAccess<'_, String, ()>| {
        contents.push((access.key.clone(), state.value(access)?.expect("the key has a value")));
        Ok(())
    };
    state.apply_to_all_keys(backend, &(), Timestamp(0), read).expect("reads");
    contents.sort();
    contents
}

fn snapshots_are_isolated(place: Place, vector: &Value) -> Result<(), String> {
    let (mut backend, state) = bytes(place, key_groups().all(), KeyedSnapshot::new());
    let write = |backend: &mut KeyedStateBackend<String>, version: u8| {
        for key in 0..1000 {
            state.update(&mut at(backend, &key.to_string()), vec![version]).expect("updates");
        }
    };
    write(&mut backend, 1);
    let first = backend.snapshot().expect("a snapshot");
    write(&mut backend, 2);
    let second = backend.snapshot().expect("a snapshot");
    let given_up = backend.snapshot().expect("a snapshot");
    write(&mut backend, 3);
    drop(given_up);
    let versions = |snapshot: KeyedSnapshot| {
        let (mut restored, state) = bytes(place, key_groups().all(), snapshot);
        let mut versions: Vec<u8> = contents(&mut restored, &state).iter().map(|(_, value)| value[0]).collect();
        versions.dedup();
        versions
    };
    expect(vector, &versions(second().expect("encoded")), &vec![2])?;
    expect(vector, &versions(first().expect("encoded")), &vec![1])?;
    expect(vector, &versions(kept(&mut backend)), &vec![3])
}

fn empty_checkpoint(place: Place, vector: &Value) -> Result<(), String> {
    let empty = kept(&mut place.open_all(KeyedSnapshot::new()));
    expect(vector, &empty, &KeyedSnapshot::new())?;
    let (restored, _) = bytes(place, key_groups().all(), empty);
    expect(vector, &restored.entry_count().expect("counts"), &0)
}

/// What is wrong if a state is asked for as something that it was not.
fn refused<K: tidegate::state::Key>(kept: &KeyedSnapshot, state: &mut impl KeyedState<()>) -> Option<tidegate::Error> {
    let mut backend = KeyedStateBackend::<K>::memory(key_groups(), key_groups().all(), kept.clone());
    StateRegistry::new(&mut backend).register(state).err()
}

fn wrong_type(place: Place, vector: &Value) -> Result<(), String> {
    let (mut written, state) = bytes(place, key_groups().all(), KeyedSnapshot::new());
    state.update(&mut at(&mut written, &"a key".to_owned()), vec![1, 2, 3]).expect("updates");
    let mut elements = ListState::<String>::new(ListStateDescriptor::new("list"));
    let mut map = MapState::<String, String>::new(MapStateDescriptor::new("map"));
    let mut reduced =
        ReducingState::<String, _>::new(ReducingStateDescriptor::new("sum", |text: &mut String, more: String| {
            text.push_str(&more)
        }));
    let mut registry = StateRegistry::new(&mut written);
    registry.register(&mut elements).expect("registers");
    registry.register(&mut map).expect("registers");
    registry.register(&mut reduced).expect("registers");
    let key = "a key".to_owned();
    elements.add(&mut at(&mut written, &key), "element".to_owned()).expect("adds");
    map.put(&mut at(&mut written, &key), "user key".to_owned(), "value".to_owned()).expect("puts");
    reduced.add(&mut at(&mut written, &key), "reduced".to_owned()).expect("adds");
    let kept = kept(&mut written);
    expect(vector, &kept.len(), &4)?;

    let named = |error: Option<tidegate::Error>, name: &str| {
        let error = error.ok_or_else(|| format!("{name} was read as something else"))?;
        let decode = matches!(backend_error(&error), Some(BackendError::Decode { state, .. }) if state == name);
        expect(vector, &decode, &true).map_err(|message| format!("{message}: {error}"))
    };
    named(refused::<String>(&kept, &mut ValueState::<bool>::new(ValueStateDescriptor::new("x"))), "x")?;
    named(refused::<String>(&kept, &mut ListState::<(u64, bool)>::new(ListStateDescriptor::new("list"))), "list")?;
    named(refused::<String>(&kept, &mut MapState::<(), u8>::new(MapStateDescriptor::new("map"))), "map")?;
    let wrong_value = ReducingStateDescriptor::new("sum", |_: &mut bool, _: bool| {});
    named(refused::<String>(&kept, &mut ReducingState::new(wrong_value)), "sum")?;

    let wrong_key = refused::<u8>(&kept, &mut Bytes::new(ValueStateDescriptor::new("x")));
    let is_key =
        |error: &tidegate::Error| matches!(backend_error(error), Some(BackendError::Key { state, .. }) if state == "x");
    expect(vector, &wrong_key.as_ref().is_some_and(is_key), &true)?;
    let wrong_version = refused::<String>(&kept, &mut Bytes::new(ValueStateDescriptor::new("x").with_version(1)));
    let is_version = |error: &tidegate::Error| {
        matches!(backend_error(error), Some(BackendError::Version { stored: 0, asked: 1, .. }))
    };
    expect(vector, &wrong_version.as_ref().is_some_and(is_version), &true)
}

fn rescale(place: Place, vector: &Value) -> Result<(), String> {
    let ranges = |field| {
        let bound = |number: i64| u16::try_from(number).expect("a key group");
        list(vector, field).iter().map(move |range| {
            let range: Vec<i64> = serde_json::from_value(range.clone()).expect("a range");
            KeyGroupRange { start: bound(range[0]), end: bound(range[1]) }
        })
    };
    // The first key of each key group.
    let mut key_of_group = BTreeMap::new();
    for key in (0..10_000).map(|key: i32| key.to_string()) {
        key_of_group.entry(key_groups().of_key(&key)).or_insert(key);
    }
    expect(vector, &key_of_group.len(), &128)?;

    let mut old_snapshots = Vec::new();
    for (old, range) in ranges("old_ranges").enumerate() {
        let (mut backend, state) = bytes(place, range, KeyedSnapshot::new());
        for key_group in range.iter() {
            let value = format!("{old}:{key_group}").into_bytes();
            state.update(&mut at(&mut backend, &key_of_group[&key_group]), value).expect("updates");
        }
        old_snapshots.push((range, kept(&mut backend)));
    }
    for (new, range) in ranges("new_ranges").enumerate() {
        let reads: Vec<usize> = old_snapshots
            .iter()
            .enumerate()
            .filter(|(_, (old, _))| old.intersection(range).is_some())
            .map(|(old, _)| old)
            .collect();
        let expected = numbers(&json!({ "reads": vector["new_reads_from_old"][new] }), "reads");
        expect(vector, &reads, &expected.into_iter().map(|old| old as usize).collect())?;
        let mut restored = KeyedSnapshot::new();
        for (name, StateSnapshot { meta, groups }) in reads.iter().flat_map(|old| old_snapshots[*old].1.clone()) {
            let state = restored.entry(name).or_insert_with(|| StateSnapshot { meta, groups: BTreeMap::new() });
            state.groups.extend(groups);
        }
        let (mut backend, state) = bytes(place, range, restored);
        let owner = |group: u16| old_snapshots.iter().position(|(old, _)| old.contains(group)).expect("was owned");
        let mut wanted: Vec<_> = range
            .iter()
            .map(|group| (key_of_group[&group].clone(), format!("{}:{group}", owner(group)).into_bytes()))
            .collect();
        wanted.sort();
        expect(vector, &contents(&mut backend, &state), &wanted)?;
    }
    Ok(())
}
