//! Each backend against a naive model, and all against each other: whatever is done to a state of any kind, in any
//! namespace, with or without a time to live, restored never or between any two steps, all read the same and keep the
//! same bytes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};
use tidegate::{
    codec, planted,
    state::{CleanupRun, KeyGroupRange, KeyedSnapshot, ParallelInstance, StateTtlConfig, TtlUpdate, TtlVisibility},
    time::Timestamp,
};
use tidegate_tests::keyed_state::{Keeper, Kind, Mode, Place, Sum, key_groups, ttl_of};

/// What a step does: at which time, to which key and namespace, and what.
#[derive(Debug, Clone)]
struct Step {
    later_ms: i64,
    key: &'static str,
    namespace: &'static str,
    operation: &'static str,
    argument: Value,
}

/// What is kept under one key and namespace, with the times of last use.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    One(i64, Value),
    List(Vec<(i64, Value)>),
    Map(BTreeMap<String, (i64, Value)>),
}

/// A state as anybody would write it down.
struct Model {
    ttl: Option<StateTtlConfig>,
    /// What a sum starts with; only accumulators count it once when they are merged.
    start: i64,
    now: i64,
    cells: BTreeMap<(&'static str, String), Cell>,
}

impl Model {
    fn has_expired(&self, last_used: i64) -> bool {
        self.ttl.is_some_and(|config| last_used + config.ttl.as_millis() as i64 <= self.now)
    }

    fn shows(&self, last_used: i64) -> bool {
        let shows_expired = TtlVisibility::ReturnExpiredIfNotCleanedUp;
        !self.has_expired(last_used) || self.ttl.unwrap().visibility == shows_expired
    }

    /// The time of last use after a read.
    fn after_read(&self, last_used: i64) -> i64 {
        if self.ttl.is_some_and(|config| config.update == TtlUpdate::OnReadAndWrite) { self.now } else { last_used }
    }

    fn apply(&mut self, step: &Step) -> Option<Value> {
        let place = (step.key, step.namespace.to_owned());
        if step.operation == "clear" {
            self.cells.remove(&place);
            return None;
        }
        if step.operation == "merge_namespaces" {
            self.merge(step);
            return None;
        }
        let (now, argument) = (self.now, &step.argument);
        let cell = self.cells.remove(&place);
        let (cell, read) = match cell {
            Some(Cell::List(elements)) => self.list(step, elements),
            Some(Cell::Map(entries)) => self.map(step, entries),
            Some(Cell::One(last_used, value)) => self.one(step, last_used, value),
            // Nothing is there: the operation says what there will be.
            None => match step.operation {
                "add" if argument.is_number() => {
                    (Some(Cell::One(now, json!(self.start + argument.as_i64().unwrap()))), None)
                }
                "add" | "addAll" | "update_list" => self.list(step, Vec::new()),
                "update" if argument.is_null() => (None, None),
                "update" | "append" => (Some(Cell::One(now, argument.clone())), None),
                "append_if_held" => (None, None),
                "get" | "for_each" => (None, Some(Value::Null)),
                _ => self.map(step, BTreeMap::new()),
            },
        };
        if let Some(cell) = cell.filter(|cell| !matches!(cell, Cell::List(list) if list.is_empty()))
            && !matches!(&cell, Cell::Map(map) if map.is_empty())
        {
            self.cells.insert(place, cell);
        }
        read
    }

    fn one(&self, step: &Step, last_used: i64, value: Value) -> (Option<Cell>, Option<Value>) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (argument, shows) = (&step.argument, self.shows(last_used));
        let written = |value: Value| (Some(Cell::One(self.now, value)), None);
        match step.operation {
            "get" if self.has_expired(last_used) => (None, Some(if shows { value } else { Value::Null })),
            "get" => (Some(Cell::One(self.after_read(last_used), value.clone())), Some(value)),
            "update" if argument.is_null() => (None, None),
            "update" => written(argument.clone()),
            "append" | "append_if_held" if shows => written(json!(text(&value) + &text(argument))),
            "append" => written(argument.clone()),
            "append_if_held" => (None, None),
            "add" => {
                let before = if shows { value.as_i64().unwrap() } else { self.start };
                written(json!(before + argument.as_i64().unwrap()))
            }
            other => panic!("{other} is for another kind"),
        }
    }

    fn list(&self, step: &Step, mut elements: Vec<(i64, Value)>) -> (Option<Cell>, Option<Value>) {
        let added = |argument: &Value| -> Vec<(i64, Value)> {
            argument.as_array().unwrap().iter().map(|element| (self.now, element.clone())).collect()
        };
        match step.operation {
            "add" => elements.push((self.now, step.argument.clone())),
            "addAll" => elements.extend(added(&step.argument)),
            "update" | "update_list" => elements = added(&step.argument),
            "get" | "for_each" => {
                let seen: Vec<Value> =
                    elements.iter().filter(|(at, _)| self.shows(*at)).map(|(_, element)| element.clone()).collect();
                elements.retain(|(at, _)| !self.has_expired(*at));
                elements.iter_mut().for_each(|(at, _)| *at = self.after_read(*at));
                let seen = if seen.is_empty() { Value::Null } else { json!(seen) };
                return (Some(Cell::List(elements)), Some(seen));
            }
            other => panic!("{other} is for another kind"),
        }
        (Some(Cell::List(elements)), None)
    }

    fn map(&self, step: &Step, mut entries: BTreeMap<String, (i64, Value)>) -> (Option<Cell>, Option<Value>) {
        let argument = &step.argument;
        // Reads one entry or all of them.
        let mut read = |user_key: Option<&str>| -> BTreeMap<String, Value> {
            let mut seen = BTreeMap::new();
            let of_interest = |key: &String| user_key.is_none_or(|user_key| user_key == key);
            for (key, (at, value)) in entries.iter_mut().filter(|(key, _)| of_interest(key)) {
                if self.shows(*at) {
                    seen.insert(key.clone(), value.clone());
                }
                if !self.has_expired(*at) {
                    *at = self.after_read(*at);
                }
            }
            entries.retain(|key, (at, _)| !(of_interest(key) && self.has_expired(*at)));
            seen
        };
        let result = match step.operation {
            "get" => {
                let seen = read(argument.as_str());
                Some(seen.into_values().next().unwrap_or(Value::Null))
            }
            "contains" => Some(json!(!read(argument.as_str()).is_empty())),
            // Looks at times only if there are any.
            "is_empty" if self.ttl.is_none() => Some(json!(entries.is_empty())),
            "is_empty" => Some(json!(read(None).is_empty())),
            "keys" => Some(json!(read(None).into_keys().collect::<Vec<_>>())),
            "values" => Some(json!(read(None).into_values().collect::<Vec<_>>())),
            "entries" => Some(json!(read(None))),
            "put" => {
                entries.insert(argument[0].as_str().unwrap().to_owned(), (self.now, argument[1].clone()));
                None
            }
            "putAll" => {
                let put = argument.as_object().unwrap().iter();
                entries.extend(put.map(|(user_key, value)| (user_key.clone(), (self.now, value.clone()))));
                None
            }
            "remove" => {
                entries.remove(argument.as_str().unwrap());
                None
            }
            "iterate" => {
                let seen = read(None);
                for (user_key, value) in seen {
                    if argument[0].as_array().unwrap().contains(&json!(user_key)) {
                        entries.remove(&user_key);
                    } else if value != argument[1] {
                        entries.insert(user_key, (self.now, argument[1].clone()));
                    }
                }
                None
            }
            other => panic!("{other} is for another kind"),
        };
        (Some(Cell::Map(entries)), result)
    }

    fn merge(&mut self, step: &Step) {
        let target = step.argument[0].as_str().unwrap().to_owned();
        let sources = step.argument[1].as_array().unwrap().iter().map(|source| source.as_str().unwrap().to_owned());
        let mut merged: Option<Cell> = None;
        let mut seen = BTreeSet::new();
        for namespace in std::iter::once(target.clone()).chain(sources) {
            if !seen.insert(namespace.clone()) {
                continue;
            }
            let is_target = namespace == target;
            let Some(cell) = self.cells.remove(&(step.key, namespace)) else { continue };
            merged = match (merged, cell) {
                (merged, Cell::One(at, _)) if !self.shows(at) => merged,
                (None, Cell::List(mut elements)) => {
                    elements.retain(|(at, _)| is_target || self.shows(*at));
                    Some(Cell::List(elements))
                }
                (None, cell) => Some(cell),
                (Some(Cell::One(_, one)), Cell::One(_, other)) => {
                    let sum = one.as_i64().unwrap() + other.as_i64().unwrap() - self.start;
                    Some(Cell::One(self.now, json!(sum)))
                }
                (Some(Cell::List(mut list)), Cell::List(more)) => {
                    list.extend(more.into_iter().filter(|(at, _)| self.shows(*at)));
                    Some(Cell::List(list))
                }
                (merged, cell) => panic!("{merged:?} and {cell:?} are of different kinds"),
            };
        }
        if let Some(cell) = merged.filter(|cell| !matches!(cell, Cell::List(list) if list.is_empty())) {
            self.cells.insert((step.key, target), cell);
        }
    }

    fn keys(&self, namespace: &str) -> BTreeSet<String> {
        self.cells.keys().filter(|(_, of_cell)| of_cell == namespace).map(|(key, _)| (*key).to_owned()).collect()
    }
}

/// A database is opened at each restore, which takes its time.
const CASES: u32 = if cfg!(feature = "rocksdb") { 12 } else { 192 };

const KEYS: [&str; 3] = ["one", "two", "three"];
const NAMESPACES: [&str; 3] = ["", "early", "late"];

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![Just("a"), Just("b"), Just("something longer")].prop_map(|text| json!(text))
}

fn merges() -> impl Strategy<Value = (&'static str, Value)> {
    let namespace = || prop::sample::select(&NAMESPACES[..]);
    (namespace(), prop::collection::vec(namespace(), 0..4))
        .prop_map(|(target, sources)| ("merge_namespaces", json!([target, sources])))
}

fn plain(operation: &'static str) -> BoxedStrategy<(&'static str, Value)> {
    Just((operation, Value::Null)).boxed()
}

fn value_operations() -> BoxedStrategy<(&'static str, Value)> {
    prop_oneof![
        3 => plain("get"),
        1 => plain("clear"),
        1 => plain("update"),
        3 => text().prop_map(|value| ("update", value)),
        2 => text().prop_map(|value| ("append", value)),
        2 => text().prop_map(|value| ("append_if_held", value)),
    ]
    .boxed()
}

fn list_operations() -> BoxedStrategy<(&'static str, Value)> {
    let list = || prop::collection::vec(text(), 0..4).prop_map(|list| json!(list));
    prop_oneof![
        3 => plain("get"),
        1 => plain("for_each"),
        1 => plain("clear"),
        3 => text().prop_map(|value| ("add", value)),
        2 => list().prop_map(|list| ("addAll", list)),
        1 => list().prop_map(|list| ("update", list)),
        1 => merges(),
    ]
    .boxed()
}

fn map_operations() -> BoxedStrategy<(&'static str, Value)> {
    let user_key = || prop::sample::select(&["x", "y", "zz"][..]);
    let value = || prop_oneof![1 => Just(Value::Null), 4 => text()];
    let entries = prop::collection::btree_map(user_key().prop_map(str::to_owned), value(), 0..3);
    prop_oneof![
        2 => user_key().prop_map(|user_key| ("get", json!(user_key))),
        1 => user_key().prop_map(|user_key| ("contains", json!(user_key))),
        1 => prop::sample::select(&["is_empty", "keys", "values", "entries", "clear"][..]).prop_flat_map(plain),
        4 => (user_key(), value()).prop_map(|(user_key, value)| ("put", json!([user_key, value]))),
        1 => entries.prop_map(|entries| ("putAll", json!(entries))),
        2 => user_key().prop_map(|user_key| ("remove", json!(user_key))),
        1 => (prop::collection::vec(user_key(), 0..2), text()).prop_map(|(removed, value)| ("iterate", json!([removed, value]))),
    ]
    .boxed()
}

fn sum_operations() -> BoxedStrategy<(&'static str, Value)> {
    prop_oneof![
        3 => plain("get"),
        1 => plain("clear"),
        4 => (-100..100_i64).prop_map(|number| ("add", json!(number))),
        1 => merges(),
    ]
    .boxed()
}

fn kinds() -> impl Strategy<Value = (Kind, BoxedStrategy<(&'static str, Value)>)> {
    prop_oneof![
        Just((Kind::Value(None), value_operations())),
        Just((Kind::List, list_operations())),
        Just((Kind::Map, map_operations())),
        Just((Kind::Reducing, sum_operations())),
        Just((Kind::Aggregating(Sum { start: 3, as_text: false }), sum_operations())),
    ]
}

fn lifetimes() -> impl Strategy<Value = Option<StateTtlConfig>> {
    let update = prop_oneof![Just(TtlUpdate::OnCreateAndWrite), Just(TtlUpdate::OnReadAndWrite)];
    let visibility =
        prop_oneof![Just(TtlVisibility::NeverReturnExpired), Just(TtlVisibility::ReturnExpiredIfNotCleanedUp)];
    prop::option::of(
        (update, visibility)
            .prop_map(|(update, visibility)| ttl_of(100).with_update(update).with_visibility(visibility)),
    )
}

fn steps_of(operations: BoxedStrategy<(&'static str, Value)>) -> impl Strategy<Value = Vec<Step>> {
    let later = prop_oneof![4 => Just(0), 3 => 1..40_i64, 1 => 40..150_i64];
    let step = (later, prop::sample::select(&KEYS[..]), prop::sample::select(&NAMESPACES[..]), operations);
    let step = step.prop_map(|(later_ms, key, namespace, (operation, argument))| Step {
        later_ms,
        key,
        namespace,
        operation,
        argument,
    });
    prop::collection::vec(step, 1..40)
}

/// A kind of state, how long its values live, and what is done to it.
fn stories() -> impl Strategy<Value = (Kind, Option<StateTtlConfig>, Vec<Step>)> {
    (kinds(), lifetimes()).prop_flat_map(|((kind, operations), ttl)| (Just(kind), Just(ttl), steps_of(operations)))
}

fn model_of(kind: &Kind, ttl: Option<StateTtlConfig>) -> Model {
    let start = if let Kind::Aggregating(sum) = kind { sum.start } else { 0 };
    Model { ttl, start, now: 0, cells: BTreeMap::new() }
}

fn is_list(kind: &Kind) -> bool {
    matches!(kind, Kind::List)
}

/// The model does not know what kind an `update` of nothing is for.
fn for_model(step: &Step, kind: &Kind) -> Step {
    match step.operation {
        "update" if is_list(kind) => Step { operation: "update_list", ..step.clone() },
        _ => step.clone(),
    }
}

/// Does the steps on every backend, in every mode, and to the model.
fn compare(kind: &Kind, ttl: Option<StateTtlConfig>, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = model_of(kind, ttl);
    let all = Place::ALL.iter().flat_map(|place| Mode::ALL.iter().map(move |mode| (*place, *mode)));
    let mut keepers: Vec<_> = all.map(|(place, mode)| (place, mode, Keeper::new(place, mode, kind, ttl))).collect();
    for step in steps {
        model.now += step.later_ms;
        let expected = model.apply(&for_model(step, kind));
        for (place, mode, keeper) in &mut keepers {
            keeper.now = Timestamp(model.now);
            let read = keeper.apply(step.key, step.namespace, step.operation, &step.argument);
            prop_assert_eq!(&read, &expected, "{:?} {:?} {:?}", place, mode, step);
            prop_assert_eq!(keeper.entry_count(), model.cells.len(), "{:?} {:?} {:?}", place, mode, step);
            for namespace in NAMESPACES {
                let keys: BTreeSet<String> = keeper.keys(namespace).into_iter().collect();
                prop_assert_eq!(keys, model.keys(namespace), "{:?} {:?} {:?}", place, mode, step);
            }
        }
    }
    let kept: Vec<Vec<u8>> = keepers.iter_mut().map(|(_, _, keeper)| codec::encode(&keeper.canonical())).collect();
    prop_assert!(kept.iter().all(|bytes| *bytes == kept[0]), "the bytes differ");
    Ok(())
}

#[test]
fn what_is_planted_is_found() {
    for bug in [
        "list_state_update_appends",
        "map_state_clear_leaves_entries",
        "merge_of_namespaces_loses_a_source",
        "reducing_state_not_restored",
        "ttl_timestamps_reset_on_restore",
    ] {
        let config =
            ProptestConfig { cases: 500, max_shrink_iters: 0, failure_persistence: None, ..Default::default() };
        let algorithm = RngAlgorithm::ChaCha;
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(algorithm));
        planted::activate(Some(bug));
        let outcome = runner.run(&stories(), |(kind, ttl, steps)| compare(&kind, ttl, &steps));
        planted::activate(None);
        assert!(outcome.is_err(), "nobody saw {bug}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn every_backend_is_the_naive_model_and_all_keep_the_same_bytes((kind, ttl, steps) in stories()) {
        compare(&kind, ttl, &steps)?;
    }

    /// What one backend has kept, any number of subtasks on any backend take over; together they keep the same again.
    #[test]
    fn state_moves_between_backends_and_numbers_of_subtasks(
        (kind, ttl, steps) in stories(),
        parallelisms in prop::collection::vec(1..9_u32, 1..4),
        seed in any::<usize>(),
    ) {
        let mut keeper = Keeper::new(Place::Memory, Mode::Normal, &kind, ttl);
        for step in &steps {
            keeper.now = Timestamp(keeper.now.0 + step.later_ms);
            keeper.apply(step.key, step.namespace, step.operation, &step.argument);
        }
        let original = keeper.canonical();
        let mut kept = original.clone();
        for (turn, parallelism) in parallelisms.into_iter().enumerate() {
            let mut gathered = KeyedSnapshot::new();
            for index in 0..parallelism {
                let place = Place::ALL[(seed + turn + index as usize) % Place::ALL.len()];
                let range = key_groups().range(ParallelInstance { index, parallelism });
                add(&mut gathered, taken_over(place, range, &kind, ttl, kept.clone()));
            }
            prop_assert_eq!(&gathered, &original);
            kept = gathered;
        }
    }

    /// Cleaning up in the background is not seen.
    #[test]
    fn nobody_can_tell_whether_expired_values_were_cleaned_up(
        (kind, _, steps) in stories(),
        entries in 1..4_usize,
    ) {
        let left = ttl_of(100);
        let cleaned = left.with_incremental_cleanup(entries, CleanupRun::PerRecord).with_cleanup_in_full_snapshot();
        for place in Place::ALL {
            let mut left = Keeper::new(*place, Mode::Normal, &kind, Some(left));
            let mut cleaned = Keeper::new(*place, Mode::RestoreStorm, &kind, Some(cleaned));
            for step in &steps {
                let now = Timestamp(left.now.0 + step.later_ms);
                (left.now, cleaned.now) = (now, now);
                cleaned.begin_record();
                let expected = left.apply(step.key, step.namespace, step.operation, &step.argument);
                let read = cleaned.apply(step.key, step.namespace, step.operation, &step.argument);
                prop_assert_eq!(read, expected, "{:?}", step);
            }
        }
    }
}

/// The snapshot of a backend that was restored for a range.
fn taken_over(
    place: Place,
    range: KeyGroupRange,
    kind: &Kind,
    ttl: Option<StateTtlConfig>,
    kept: KeyedSnapshot,
) -> KeyedSnapshot {
    let mut keeper = Keeper::of_range(place, range, kind, ttl, kept);
    keeper.canonical()
}

fn add(gathered: &mut KeyedSnapshot, part: KeyedSnapshot) {
    for (name, state) in part {
        match gathered.get_mut(&name) {
            Some(whole) => {
                assert_eq!(whole.meta, state.meta);
                for (key_group, entries) in state.groups {
                    assert_eq!(whole.groups.insert(key_group, entries), None, "key group {key_group} has two owners");
                }
            }
            None => {
                gathered.insert(name, state);
            }
        }
    }
}
