//! Keyed state is read, written, snapshotted and restored as Flink's backends do it.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate::{
    backend::{BackendError, KeyedStateBackend, StateId},
    config::StateBackend,
    event::{NoObserver, Reporter, Subject},
    id::{Attempt, CheckpointId, OperatorUid},
    operator::{
        Collector, KeyedProcessFunction, KeyedProcessOperator, KeyedSnapshot, Operator, OperatorContext,
        OperatorSnapshot, ProcessContext, StateRegistry, ValueState,
    },
    record::StreamRecord,
    state::{KeyGroupRange, KeyGroups, StateDescriptor, ValueStateDescriptor},
    time::Timestamp,
};
use tidegate_tests::vectors::{DenyList, expect, list, numbers, run, text};

const DENIED: DenyList<'_> = &[
    ("state-list-basic-snapshots", "there is no list state yet"),
    ("state-list-apis", "there is no list state yet"),
    ("state-list-null-arguments", "there is no list state yet"),
    ("state-aggregating-merge-namespaces", "there is no aggregating state yet"),
    ("state-aggregating-add-get", "there is no aggregating state yet"),
    ("state-map-basic-snapshots", "there is no map state yet"),
    ("state-map-iterator-remove", "there is no map state yet"),
    ("state-defaults-only-for-value", "there are value states only"),
];

#[test]
fn every_vector_of_the_state_api_holds() {
    run(include_str!("../data/vectors/24_state_api.json"), DENIED, |vector| match text(vector, "id") {
        _ if vector["state"] == "value" => value_steps(vector),
        "state-default-copied" => default_is_not_shared(vector),
        "state-get-keys" => keys_of_a_namespace(vector),
        "state-async-snapshot-isolation" => snapshots_are_isolated(vector),
        "state-empty-checkpoint" => empty_checkpoint(vector),
        "state-wrong-serializer" => wrong_type(vector),
        _ if vector["new_ranges"].is_array() => rescale(vector),
        other => Err(format!("no rule for {other}")),
    });
}

/// A function that does to its state what its input says and emits what it reads.
struct Interpreter {
    default: Option<Value>,
    state: Option<ValueState<String>>,
}

/// Key, operation, argument. Values are kept as their JSON text.
type Command = (i64, String, String);

impl KeyedProcessFunction for Interpreter {
    type Key = i64;
    type In = Command;
    type Out = Option<String>;

    fn open(&mut self, states: &mut StateRegistry<'_, i64>) -> tidegate::Result<()> {
        let mut descriptor = ValueStateDescriptor::new("value");
        if let Some(default) = &self.default {
            descriptor = descriptor.with_default(default.to_string());
        }
        self.state = Some(states.value(&descriptor)?);
        Ok(())
    }

    fn process_element(
        &mut self,
        (_, operation, argument): Command,
        context: &mut ProcessContext<'_, i64, Option<String>>,
    ) -> tidegate::Result<()> {
        let state = self.state.as_ref().expect("opened");
        match operation.as_str() {
            "update" => context.update(state, (argument != "null").then_some(argument)),
            "clear" => context.clear(state),
            _ => {
                let value = context.value(state).cloned();
                context.collect(value);
            }
        }
        Ok(())
    }
}

type Interpreting = KeyedProcessOperator<fn(&Command) -> i64, Interpreter>;

fn start(default: Option<Value>, restored: Option<OperatorSnapshot>) -> Interpreting {
    let mut operator =
        KeyedProcessOperator::new((|command| command.0) as fn(&Command) -> i64, Interpreter { default, state: None });
    let context = OperatorContext {
        uid: OperatorUid("state".into()),
        subtask_index: 0,
        parallelism: 1,
        max_parallelism: 128,
        state_backend: StateBackend::default(),
        processing_time: Timestamp(0),
        reporter: Reporter::new(Subject::node("test"), Attempt(0), std::sync::Arc::new(NoObserver)),
    };
    operator.open(&context, restored).expect("opens");
    operator
}

fn value_steps(vector: &Value) -> Result<(), String> {
    let default = vector.get("default").cloned();
    let mut operator = start(default.clone(), None);
    let mut snapshots = BTreeMap::new();
    for step in list(vector, "steps") {
        match text(step, "op") {
            "snapshot" => {
                // Encoded when it is needed: what comes in between must not show.
                let snapshot = operator.snapshot(CheckpointId(1)).expect("a snapshot");
                snapshots.insert(text(step, "id"), snapshot);
            }
            "restore" => {
                let snapshot = snapshots.remove(text(step, "id")).expect("a snapshot that was taken");
                operator = start(default.clone(), Some(snapshot().expect("an encoded snapshot")));
            }
            operation => {
                let key = step["key"].as_i64().expect("a key");
                let command = (key, operation.to_owned(), step["arg"].to_string());
                let mut out = Collector::default();
                operator.process(vec![StreamRecord::new(command, Timestamp(0))], &mut out).expect("processes");
                let read: Vec<_> = out.take().into_iter().map(|record| record.value).collect();
                let expected: Vec<_> =
                    step.get("expect").map(|value| (!value.is_null()).then(|| value.to_string())).into_iter().collect();
                expect(step, &read, &expected)?;
            }
        }
    }
    Ok(())
}

fn default_is_not_shared(vector: &Value) -> Result<(), String> {
    let (mut backend, state) = backend(KeyGroups::default_for(1).all(), KeyedSnapshot::new())?;
    let default = vec![0_u8];
    let table = backend.table_mut(state);
    table.entry_or_insert_with(&1, &0, || default.clone()).0.push(1);
    expect(vector, table.entry_or_insert_with(&2, &0, || default.clone()).0, &vec![0])
}

type Backend = KeyedStateBackend<i32>;
type Bytes = StateId<i32, Vec<u8>>;

fn backend(range: KeyGroupRange, restored: KeyedSnapshot) -> Result<(Backend, Bytes), String> {
    let mut backend = Backend::memory(KeyGroups::default_for(1), range, restored);
    let state = backend.register(&StateDescriptor::new("x")).map_err(|error| error.to_string())?;
    Ok((backend, state))
}

fn keys_of_a_namespace(vector: &Value) -> Result<(), String> {
    let (mut backend, state) = backend(KeyGroups::default_for(1).all(), KeyedSnapshot::new())?;
    for key in 0..2000 {
        backend.table_mut(state).insert(key, 1 + key / 1000, vec![]);
    }
    for (namespace, keys) in [(1, 0..1000), (2, 1000..2000)] {
        let mut found: Vec<i32> = backend.table(state).keys(&namespace).copied().collect();
        found.sort_unstable();
        expect(vector, &found, &keys.collect())?;
    }
    Ok(())
}

fn snapshots_are_isolated(vector: &Value) -> Result<(), String> {
    let (mut backend, state) = backend(KeyGroups::default_for(1).all(), KeyedSnapshot::new())?;
    let write = |backend: &mut Backend, version: u8| {
        for key in 0..1000 {
            backend.table_mut(state).insert(key, 0, vec![version]);
        }
    };
    write(&mut backend, 1);
    let first = backend.snapshot();
    write(&mut backend, 2);
    let second = backend.snapshot();
    let given_up = backend.snapshot();
    write(&mut backend, 3);
    drop(given_up);
    let versions = |snapshot: KeyedSnapshot| -> Result<Vec<u8>, String> {
        let (restored, state) = self::backend(KeyGroups::default_for(1).all(), snapshot)?;
        let mut versions: Vec<u8> = restored.table(state).iter().map(|(_, _, value)| value[0]).collect();
        versions.dedup();
        Ok(versions)
    };
    expect(vector, &versions(second())?, &vec![2])?;
    expect(vector, &versions(first())?, &vec![1])?;
    expect(vector, &versions(backend.snapshot()())?, &vec![3])
}

fn empty_checkpoint(vector: &Value) -> Result<(), String> {
    let key_groups = KeyGroups::default_for(1);
    let empty = Backend::memory(key_groups, key_groups.all(), KeyedSnapshot::new()).snapshot()();
    expect(vector, &empty, &KeyedSnapshot::new())?;
    let (restored, state) = backend(key_groups.all(), empty)?;
    expect(vector, &restored.table(state).len(), &0)
}

fn wrong_type(vector: &Value) -> Result<(), String> {
    let (mut written, state) = backend(KeyGroups::default_for(1).all(), KeyedSnapshot::new())?;
    written.table_mut(state).insert(1, 0, vec![1, 2, 3]);
    let kept = written.snapshot()();
    let restored = || Backend::memory(KeyGroups::default_for(1), KeyGroups::default_for(1).all(), kept.clone());
    let wrong_value = restored().register::<i32, bool>(&StateDescriptor::new("x")).err();
    expect(vector, &matches!(&wrong_value, Some(BackendError::Decode { state, .. }) if state == "x"), &true)?;
    let wrong_namespace = restored().register::<(), Vec<u8>>(&StateDescriptor::new("x")).err();
    expect(vector, &matches!(wrong_namespace, Some(BackendError::Decode { .. })), &true)?;
    let version = StateDescriptor { name: "x".into(), version: 1 };
    let wrong_version = restored().register::<i32, Vec<u8>>(&version).err();
    expect(vector, &matches!(wrong_version, Some(BackendError::Version { stored: 0, asked: 1, .. })), &true)
}

fn rescale(vector: &Value) -> Result<(), String> {
    let ranges = |field| {
        let bound = |number: i64| u16::try_from(number).expect("a key group");
        list(vector, field).iter().map(move |range| {
            let range: Vec<i64> = serde_json::from_value(range.clone()).expect("a range");
            KeyGroupRange { start: bound(range[0]), end: bound(range[1]) }
        })
    };
    let key_groups = KeyGroups::default_for(1);
    // The first key of each key group.
    let mut key_of_group = BTreeMap::new();
    for key in (0..).take_while(|key| *key < 100_000) {
        key_of_group.entry(key_groups.of_key(&key)).or_insert(key);
    }
    expect(vector, &key_of_group.len(), &128)?;

    let mut kept = Vec::new();
    for (old, range) in ranges("old_ranges").enumerate() {
        let (mut backend, state) = backend(range, KeyedSnapshot::new())?;
        for key_group in range.iter() {
            let value = format!("{old}:{key_group}").into_bytes();
            backend.table_mut(state).insert(key_of_group[&key_group], 0, value);
        }
        kept.push((range, backend.snapshot()()));
    }
    for (new, range) in ranges("new_ranges").enumerate() {
        let reads: Vec<usize> = kept
            .iter()
            .enumerate()
            .filter(|(_, (old, _))| old.intersection(range).is_some())
            .map(|(old, _)| old)
            .collect();
        let expected = numbers(&serde_json::json!({ "reads": vector["new_reads_from_old"][new] }), "reads");
        expect(vector, &reads, &expected.into_iter().map(|old| old as usize).collect())?;
        let mut restored = KeyedSnapshot::new();
        for (name, groups) in reads.iter().flat_map(|old| kept[*old].1.clone()) {
            restored.entry(name).or_default().extend(groups);
        }
        let (backend, state) = backend(range, restored)?;
        let mut found: Vec<_> = backend.table(state).iter().map(|(key, _, value)| (*key, value.clone())).collect();
        found.sort();
        let owner = |group: u16| kept.iter().position(|(old, _)| old.contains(group)).expect("every group was owned");
        let mut wanted: Vec<_> = range
            .iter()
            .map(|group| (key_of_group[&group], format!("{}:{group}", owner(group)).into_bytes()))
            .collect();
        wanted.sort();
        expect(vector, &found, &wanted)?;
    }
    Ok(())
}
