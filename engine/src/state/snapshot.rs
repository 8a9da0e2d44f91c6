//! What operators keep in a checkpoint: keyed state, timers and operator state, as bytes.
//!
//! This is the canonical form: it names no backend, so what one backend wrote another can read. Guarantee: equal state
//! gives equal bytes, whatever operations made it and wherever it lived.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::{DatabaseFiles, KeyGroups};
use crate::{codec, error::Result, time::Timestamp};

/// How a list of operator state is spread over the subtasks on restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListMode {
    /// Each entry goes to one subtask (`getListState`).
    Split,
    /// Each subtask gets all entries (`getUnionListState`).
    Union,
    /// The entries of a subtask stay together and go to the one that its number falls to, modulo the parallelism: for what
    /// bears the number in its name. Flink has no such state.
    PerSubtask,
}

/// One named list of operator state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSnapshot {
    /// How it is redistributed.
    pub mode: ListMode,
    /// Encoded entries, in order.
    pub entries: Vec<Vec<u8>>,
}

/// One entry of a keyed state: encoded key, encoded namespace, encoded value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyedEntry {
    /// The key.
    #[serde(serialize_with = "as_bytes")]
    pub key: Vec<u8>,
    /// The namespace: empty, or a window.
    #[serde(serialize_with = "as_bytes")]
    pub namespace: Vec<u8>,
    /// The value: of one value, of the list, or of the map from user keys to user values.
    #[serde(serialize_with = "as_bytes")]
    pub value: Vec<u8>,
}

/// The same encoding as that of a sequence of numbers, written at once.
fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// The entries of one keyed state, by key group, sorted by the bytes of key and namespace. No group is empty.
pub type KeyGroupEntries = BTreeMap<u16, Vec<KeyedEntry>>;

/// Puts entries into their key groups, and into order.
pub(crate) fn by_key_group(
    key_groups: KeyGroups,
    entries: impl FnOnce(&mut dyn FnMut(u16, KeyedEntry)),
) -> KeyGroupEntries {
    let mut groups = vec![Vec::new(); key_groups.max_parallelism() as usize];
    entries(&mut |key_group, entry| groups[usize::from(key_group)].push(entry));
    let groups = (0_u16..).zip(groups).filter(|(_, entries)| !entries.is_empty());
    let sorted = groups.map(|(key_group, mut entries): (u16, Vec<KeyedEntry>)| {
        entries.sort_unstable();
        (key_group, entries)
    });
    sorted.collect()
}

/// The kinds of keyed state. What is kept under one name must be asked for as what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StateKind {
    /// One value per key and namespace.
    Value,
    /// A list of values.
    List,
    /// A map from user keys to user values.
    Map,
    /// One value that further ones are reduced into.
    Reducing,
    /// An accumulator that values are added to.
    Aggregating,
    /// Timers of one time domain; the value is the timestamp.
    Timers,
}

impl std::fmt::Display for StateKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Value => "value state",
            Self::List => "list state",
            Self::Map => "map state",
            Self::Reducing => "reducing state",
            Self::Aggregating => "aggregating state",
            Self::Timers => "timers",
        })
    }
}

/// Whether the values of a state carry the time of their last access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum TimeToLive {
    /// They live for ever.
    #[default]
    Disabled,
    /// Each value, list element or map entry is kept with a timestamp.
    Enabled,
}

/// What a checkpoint says of a keyed state beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StateMeta {
    /// What it is.
    pub kind: StateKind,
    /// The version of the value's type.
    pub version: u32,
    /// Whether values carry timestamps.
    pub time_to_live: TimeToLive,
}

impl StateMeta {
    /// A state of version 0 that lives for ever.
    pub const fn new(kind: StateKind) -> Self {
        Self { kind, version: 0, time_to_live: TimeToLive::Disabled }
    }
}

/// One keyed state of one subtask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSnapshot {
    /// What it is.
    pub meta: StateMeta,
    /// Its entries.
    pub groups: KeyGroupEntries,
}

impl StateSnapshot {
    /// The planted mistake: the window of each entry begins where it ends.
    pub(crate) fn begin_windows_at_their_ends(&mut self) {
        for entry in self.groups.values_mut().flatten() {
            if let Ok((start, end)) = codec::decode::<(i64, i64)>(&entry.namespace) {
                entry.namespace = codec::encode(&(end, end.saturating_add(end.saturating_sub(start))));
            }
        }
    }
}

/// The keyed state of one subtask by state name. States without entries do not appear.
///
/// Timers are states too, under names that start with `_timer_`.
pub type KeyedSnapshot = BTreeMap<String, StateSnapshot>;

/// The entries of one broadcast state: encoded keys and values, sorted.
pub type BroadcastEntries = Vec<(Vec<u8>, Vec<u8>)>;

/// What one operator of one subtask keeps in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OperatorSnapshot {
    /// Keyed state and timers.
    pub keyed: KeyedSnapshot,
    /// Operator state by name.
    pub lists: BTreeMap<String, ListSnapshot>,
    /// Bytes that a function keeps for itself, in pieces that stay whole (Flink's raw operator state).
    pub raw: Vec<Vec<u8>>,
    /// Bytes that a function keeps for itself, by key group (Flink's raw keyed state).
    pub raw_keyed: BTreeMap<u16, Vec<u8>>,
    /// Broadcast state by name: encoded keys and values, sorted. It is the same in every subtask.
    pub broadcast: BTreeMap<String, BroadcastEntries>,
    /// The watermark that the operator had come to, if it has one to go by. It fires nothing when it is restored, and
    /// nothing again when the sources tell it once more. Flink does not keep it.
    pub watermark: Option<Timestamp>,
    /// Whether the operator had been told that its input has ended, and had emitted what it held back.
    pub end_of_input: EndOfInput,
    /// Keyed state that is not in `keyed`, because it stays in the files of its database. They are kept as files, beside
    /// the encoding of the rest. A subtask keeps one database at most; after a change of the parallelism it may be restored
    /// from several, the one that holds most of its key groups first.
    #[serde(skip)]
    pub files: Vec<DatabaseFiles>,
}

impl OperatorSnapshot {
    /// Whether there is anything in it that a function or a connector has kept.
    pub fn holds_state(&self) -> bool {
        !self.keyed.is_empty()
            || !self.raw.is_empty()
            || !self.raw_keyed.is_empty()
            || !self.broadcast.is_empty()
            || !self.files.is_empty()
            || self.lists.values().any(|list| !list.entries.is_empty())
    }
}

/// Whether an operator was told that its input has ended.
///
/// The end of the input has an effect once: an operator that is restored from after it is not told again, or what it
/// emitted would come twice (FLINK-25920, with which the end of a job was committed again).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum EndOfInput {
    /// It was not.
    #[default]
    Pending,
    /// It was.
    Handled,
}

/// The second half of a snapshot: everything that needs not hold up records, such as encoding.
pub type AsyncSnapshot = Box<dyn FnOnce() -> Result<OperatorSnapshot> + Send>;

/// The second half of a snapshot of keyed state.
pub type AsyncKeyedSnapshot = Box<dyn FnOnce() -> Result<KeyedSnapshot> + Send>;
