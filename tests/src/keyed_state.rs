//! A keyed state of any kind that is told what to do in words, on any backend: what the conformance vectors and the property
//! tests of state drive.
//!
//! In the mode [`Mode::RestoreStorm`] the backend is thrown away and restored from its snapshot between any two steps:
//! whoever looks at the state must not be able to tell.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidegate::{
    backend::{
        AggregatingState, BackendError, KeyedContext, KeyedState, KeyedStateBackend, ListState, MapState,
        ReducingState, StateAccess, ValueState,
    },
    config::StateBackend,
    event::{NoObserver, Reporter, Subject},
    id::{Attempt, OperatorUid},
    operator::{OperatorContext, OperatorSnapshot},
    state::{
        AggregateFunction, AggregatingStateDescriptor, AsyncKeyedSnapshot, KeyGroupRange, KeyGroups, KeyedSnapshot,
        ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor, StateTtlConfig, ValueStateDescriptor,
    },
    time::Timestamp,
};

/// Keys and namespaces are texts; so are values, except where they are added up.
pub type Backend = KeyedStateBackend<String>;

/// Where state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the heap.
    Memory,
    /// In RocksDB.
    #[cfg(feature = "rocksdb")]
    RocksDb,
    /// In RocksDB, restored from its own files.
    #[cfg(feature = "rocksdb")]
    IncrementalRocksDb,
}

impl Place {
    /// Every backend there is.
    pub const ALL: &'static [Self] = &[
        Self::Memory,
        #[cfg(feature = "rocksdb")]
        Self::RocksDb,
        #[cfg(feature = "rocksdb")]
        Self::IncrementalRocksDb,
    ];

    /// A backend of 128 key groups, with what `restored` holds for the range.
    pub fn open(self, range: KeyGroupRange, restored: KeyedSnapshot) -> Backend {
        Backend::open_range(&self.context(), range, restored).expect("a backend opens")
    }

    /// A backend for all key groups, with what an operator has kept.
    pub fn reopen(self, restored: OperatorSnapshot) -> Backend {
        Backend::open(&self.context(), Some(restored)).expect("a backend opens")
    }

    fn context(self) -> OperatorContext {
        #[cfg(feature = "rocksdb")]
        use tidegate::config::RocksDbOptions;
        let state_backend = match self {
            Self::Memory => StateBackend::HashMap,
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => StateBackend::RocksDb(RocksDbOptions::default()),
            #[cfg(feature = "rocksdb")]
            Self::IncrementalRocksDb => {
                StateBackend::RocksDb(RocksDbOptions { incremental: true, ..RocksDbOptions::default() })
            }
        };
        OperatorContext {
            uid: OperatorUid("under test".into()),
            subtask_index: 0,
            parallelism: 1,
            max_parallelism: key_groups().max_parallelism(),
            state_backend,
            restored_checkpoint_id: None,
            processing_time: Timestamp::MIN,
            reporter: Reporter::new(Subject::node("test"), Attempt(0), Arc::new(NoObserver)),
        }
    }

    /// A backend for all key groups.
    pub fn open_all(self, restored: KeyedSnapshot) -> Backend {
        self.open(key_groups().all(), restored)
    }
}

/// The key groups of all tests: 128.
pub fn key_groups() -> KeyGroups {
    KeyGroups::default_for(1)
}

/// How often a backend is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Where a step says so.
    Normal,
    /// Between any two steps.
    RestoreStorm,
}

impl Mode {
    /// Both.
    pub const ALL: &'static [Self] = &[Self::Normal, Self::RestoreStorm];
}

/// Adds numbers up, from a start; the result is text or a number.
#[derive(Debug, Clone)]
pub struct Sum {
    /// What an accumulator starts with.
    pub start: i64,
    /// Whether the result is text.
    pub as_text: bool,
}

impl AggregateFunction<i64> for Sum {
    type Accumulator = i64;
    type Out = Value;

    fn create_accumulator(&self) -> i64 {
        self.start
    }
    fn add(&self, accumulator: &mut i64, value: i64) {
        *accumulator += value;
    }
    fn get_result(&self, accumulator: &i64) -> Value {
        if self.as_text { json!(accumulator.to_string()) } else { json!(accumulator) }
    }
    fn merge(&self, one: i64, other: i64) -> i64 {
        one + other - self.start
    }
}

/// The function of the reducing states.
pub type Add = fn(&mut i64, i64);

/// Which state.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A value, with its default.
    Value(Option<Value>),
    /// A list.
    List,
    /// A map.
    Map,
    /// A sum.
    Reducing,
    /// A sum with an accumulator of its own.
    Aggregating(Sum),
}

/// A handle of some kind of state.
#[derive(Clone)]
enum Handle {
    Value(ValueState<String, String>),
    List(ListState<String, String>),
    Map(MapState<String, Option<String>, String>),
    Reducing(ReducingState<i64, Add, String>),
    Aggregating(AggregatingState<i64, Sum, String>),
}

/// The state, its backend, and the snapshots that were taken of it.
pub struct Keeper {
    place: Place,
    mode: Mode,
    backend: Backend,
    handle: Handle,
    snapshots: BTreeMap<String, AsyncKeyedSnapshot>,
    /// The processing time.
    pub now: Timestamp,
}

/// The name of the state.
pub const STATE: &str = "state";

fn handle(kind: &Kind, ttl: Option<StateTtlConfig>) -> Handle {
    macro_rules! descriptor {
        ($descriptor:expr) => {
            match ttl {
                Some(config) => $descriptor.with_time_to_live(config),
                None => $descriptor,
            }
        };
    }
    match kind {
        Kind::Value(default) => {
            let mut descriptor = ValueStateDescriptor::new(STATE);
            if let Some(default) = default {
                descriptor = descriptor.with_default(default.to_string());
            }
            Handle::Value(ValueState::new(descriptor!(descriptor)))
        }
        Kind::List => Handle::List(ListState::new(descriptor!(ListStateDescriptor::new(STATE)))),
        Kind::Map => Handle::Map(MapState::new(descriptor!(MapStateDescriptor::new(STATE)))),
        Kind::Reducing => {
            let add: Add = |sum, value| *sum += value;
            Handle::Reducing(ReducingState::new(descriptor!(ReducingStateDescriptor::new(STATE, add))))
        }
        Kind::Aggregating(sum) => {
            let descriptor = AggregatingStateDescriptor::new(STATE, sum.clone());
            Handle::Aggregating(AggregatingState::new(descriptor!(descriptor)))
        }
    }
}

/// Does the same with whichever handle it is.
macro_rules! each {
    ($handle:expr, $state:ident => $call:expr) => {
        match $handle {
            Handle::Value($state) => $call,
            Handle::List($state) => $call,
            Handle::Map($state) => $call,
            Handle::Reducing($state) => $call,
            Handle::Aggregating($state) => $call,
        }
    };
}

/// A list of values as their texts.
fn texts(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(Value::to_string).collect()
}

fn values(texts: Vec<String>) -> Value {
    if texts.is_empty() { Value::Null } else { texts.iter().map(|text| parsed(text)).collect() }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("what was kept is the text of a value")
}

/// A user key: `1` and `"1"` are one, as in the vectors.
fn user_key(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn user_value(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}

impl Keeper {
    /// A state without entries.
    pub fn new(place: Place, mode: Mode, kind: &Kind, ttl: Option<StateTtlConfig>) -> Self {
        let nothing = KeyedSnapshot::new();
        Self { mode, ..Self::of_range(place, key_groups().all(), kind, ttl, nothing) }
    }

    /// A state with what was kept for a range of key groups.
    pub fn of_range(
        place: Place,
        range: KeyGroupRange,
        kind: &Kind,
        ttl: Option<StateTtlConfig>,
        kept: KeyedSnapshot,
    ) -> Self {
        let mut keeper = Self {
            place,
            mode: Mode::Normal,
            backend: place.open(range, kept),
            handle: handle(kind, ttl),
            snapshots: BTreeMap::new(),
            now: Timestamp(0),
        };
        keeper.register().expect("a state can be registered");
        keeper
    }

    fn register(&mut self) -> tidegate::Result<()> {
        let Self { backend, handle, .. } = self;
        each!(handle, state => state.register_with(backend))
    }

    /// What a checkpoint would hold now.
    pub fn canonical(&mut self) -> KeyedSnapshot {
        self.backend.snapshot().expect("a snapshot")().expect("an encoded snapshot")
    }

    /// Continues from a snapshot on another backend.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn restore(&mut self, place: Place, snapshot: KeyedSnapshot) -> tidegate::Result<()> {
        self.place = place;
        self.backend = place.open_all(snapshot);
        self.register()
    }

    /// Takes a snapshot that is encoded when it is needed: what comes in between must not show.
    pub fn snapshot(&mut self, id: &str) {
        let snapshot = self.backend.snapshot().expect("a snapshot");
        self.snapshots.insert(id.to_owned(), snapshot);
    }

    /// Goes back to a snapshot.
    pub fn restore_from(&mut self, id: &str) {
        let snapshot = self.snapshots.remove(id).expect("a snapshot that was taken");
        self.restore(self.place, snapshot().expect("an encoded snapshot")).expect("restores");
    }

    /// The number of entries.
    pub fn entry_count(&self) -> usize {
        self.backend.entry_count().expect("counts")
    }

    /// The keys that have something in a namespace.
    pub fn keys(&mut self, namespace: &str) -> Vec<String> {
        let Self { backend, handle, .. } = self;
        each!(handle, state => state.get_keys(backend, &namespace.to_owned())).expect("keys")
    }

    /// What operators do before each record.
    pub fn begin_record(&mut self) {
        self.backend.begin_record(self.now).expect("sweeps");
    }

    /// Does what a step says to the state of a key and namespace; returns what was read.
    ///
    /// # Panics
    /// If the state does not know the operation, or the backend fails.
    pub fn apply(&mut self, key: &str, namespace: &str, operation: &str, argument: &Value) -> Option<Value> {
        if self.mode == Mode::RestoreStorm {
            let kept = self.backend.operator_snapshot().expect("a snapshot")().expect("an encoded snapshot");
            self.backend = self.place.reopen(kept);
            self.register().expect("restores what was just kept");
        }
        let (key, namespace) = (key.to_owned(), namespace.to_owned());
        let Self { backend, handle, now, .. } = self;
        let mut context = StateAccess { backend, key: &key, namespace: &namespace, processing_time: *now };
        handle.apply(&mut context, operation, argument).unwrap_or_else(|error| panic!("{operation}: {error}"))
    }
}

impl Handle {
    fn apply(
        &mut self,
        context: &mut impl KeyedContext<String>,
        operation: &str,
        argument: &Value,
    ) -> tidegate::Result<Option<Value>> {
        if operation == "clear" {
            return each!(self, state => state.clear(context)).map(|()| None);
        }
        match self {
            Self::Value(state) => value_operation(state, context, operation, argument),
            Self::List(state) => list_operation(state, context, operation, argument),
            Self::Map(state) => map_operation(state, context, operation, argument),
            Self::Reducing(state) => match operation {
                "get" => Ok(Some(json!(state.get(context)?))),
                "merge_namespaces" => {
                    let (target, sources) = merge_of(argument);
                    state.merge_namespaces(context, &target, &sources).map(|()| None)
                }
                // What another kind of state calls an update.
                "add" | "update" => state.add(context, number(argument)).map(|()| None),
                other => panic!("no operation {other}"),
            },
            Self::Aggregating(state) => match operation {
                "get" => Ok(Some(state.get(context)?.unwrap_or(Value::Null))),
                "merge_namespaces" => {
                    let (target, sources) = merge_of(argument);
                    state.merge_namespaces(context, &target, &sources).map(|()| None)
                }
                // What another kind of state calls an update.
                "add" | "update" => state.add(context, number(argument)).map(|()| None),
                other => panic!("no operation {other}"),
            },
        }
    }
}

/// `[target, [source…]]`
fn merge_of(argument: &Value) -> (String, Vec<String>) {
    (namespace(&argument[0]), argument[1].as_array().expect("sources").iter().map(namespace).collect())
}

/// A namespace: `null` is the void one.
pub fn namespace(value: &Value) -> String {
    if value.is_null() { String::new() } else { user_key(value) }
}

fn value_operation(
    state: &ValueState<String, String>,
    context: &mut impl KeyedContext<String>,
    operation: &str,
    argument: &Value,
) -> tidegate::Result<Option<Value>> {
    match operation {
        "get" => return Ok(Some(state.value(context)?.map_or(Value::Null, |text| parsed(&text)))),
        "update" => state.update(context, user_value(argument))?,
        "append" => {
            let appended = format!("\"{}\"", argument.as_str().expect("text"));
            state.modify_or_insert_with(
                context,
                || "\"\"".to_owned(),
                |text| {
                    *text = format!("{}{}", &text[..text.len() - 1], &appended[1..]);
                },
            )?;
        }
        "append_if_held" => {
            let appended = format!("\"{}\"", argument.as_str().expect("text"));
            state.modify(context, |text| *text = format!("{}{}", &text[..text.len() - 1], &appended[1..]))?;
        }
        other => panic!("a value state does not know {other}"),
    }
    Ok(None)
}

fn list_operation(
    state: &ListState<String, String>,
    context: &mut impl KeyedContext<String>,
    operation: &str,
    argument: &Value,
) -> tidegate::Result<Option<Value>> {
    match operation {
        "get" => {
            let read = state.get(context)?;
            return Ok(Some(values(read)));
        }
        "for_each" => {
            let mut visited = Vec::new();
            state.for_each(context, |element| {
                visited.push(element.clone());
                Ok(())
            })?;
            return Ok(Some(values(visited)));
        }
        "is_empty" => return Ok(Some(json!(state.is_empty(context)?))),
        "add" => state.add(context, argument.to_string())?,
        "addAll" => state.add_all(context, texts(argument))?,
        "update" => state.update(context, texts(argument))?,
        "merge_namespaces" => {
            let (target, sources) = merge_of(argument);
            state.merge_namespaces(context, &target, &sources)?;
        }
        other => panic!("a list state does not know {other}"),
    }
    Ok(None)
}

fn map_operation(
    state: &MapState<String, Option<String>, String>,
    context: &mut impl KeyedContext<String>,
    operation: &str,
    argument: &Value,
) -> tidegate::Result<Option<Value>> {
    let value = |kept: Option<String>| kept.map_or(Value::Null, |text| parsed(&text));
    match operation {
        "get" => return Ok(Some(value(state.get(context, &user_key(argument))?.flatten()))),
        "contains" => return Ok(Some(json!(state.contains(context, &user_key(argument))?))),
        "is_empty" => return Ok(Some(json!(state.is_empty(context)?))),
        "keys" => return Ok(Some(json!(state.keys(context)?))),
        "values" => return Ok(Some(state.values(context)?.into_iter().map(value).collect())),
        "entries" => {
            let entries = state.entries(context)?.into_iter().map(|(user_key, kept)| (user_key, value(kept)));
            return Ok(Some(Value::Object(entries.collect())));
        }
        "put" => state.put(context, user_key(&argument[0]), user_value(&argument[1]))?,
        "putAll" => {
            let entries = argument.as_object().expect("a map").iter();
            state.put_all(context, entries.map(|(user_key, kept)| (user_key.clone(), user_value(kept))))?;
        }
        "remove" => state.remove(context, &user_key(argument))?,
        // Removes the user keys of the argument's list, and gives all others its value.
        "iterate" => {
            let removed: Vec<String> = argument[0].as_array().expect("user keys").iter().map(user_key).collect();
            state.retain(context, |user_key, kept| {
                *kept = user_value(&argument[1]);
                !removed.contains(user_key)
            })?;
        }
        other => panic!("a map state does not know {other}"),
    }
    Ok(None)
}

/// The configuration of a state whose values live so many milliseconds.
pub fn ttl_of(milliseconds: u64) -> StateTtlConfig {
    StateTtlConfig::new(Duration::from_millis(milliseconds)).without_cleanup_in_background()
}

/// What is wrong with a state, wherever it is.
pub fn backend_error(error: &tidegate::Error) -> Option<&BackendError> {
    std::error::Error::source(error)?.downcast_ref::<BackendError>().map(BackendError::innermost)
}
