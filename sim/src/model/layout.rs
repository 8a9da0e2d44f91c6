//! What the model assumes of the engine's checkpoints: names and encodings, in this one place.
//!
//! | of | uid | state | key | namespace | value |
//! |---|---|---|---|---|---|
//! | source | its name | list `splits` | | | [`KeptSplit`] |
//! | aggregate | its name | keyed `aggregate` | `Row` of the key's fields | `()` | `Vec<Accumulator>` |
//! | window | its name | keyed `window-contents` | `Row` of the key's fields | `TimeWindow` | `Vec<Accumulator>` |
//! | script | its name | list `splits` | | | [`ScriptPlace`] |
//! | sink | its name | list `transactions` | | | `LedgerState<FileTransaction>` |
//!
//! Data under way to an aggregate or window that folds is a batch of [`ReducedRecord`], to other stages of `Row`.
//!
//! Stages of scripts keep more; [`names`] has the names, [`stage`] the encodings by operation:
//!
//! | operation | state | namespace | value |
//! |---|---|---|---|
//! | rolling | `reduced` | `()` | `Row` |
//! | window, folded | `window-contents` | window | `Vec<Accumulator>` or `Row` |
//! | window, of all records | `window-contents` | window | list of `Row`; with an evictor of `StreamRecord<Row>` |
//! | window join | `window-contents` | window | list of `Tagged<Row, Row>` |
//! | windows | `merging-window-set` | `()` | list of pairs of windows |
//! | windows | `trigger-count`, `trigger-next-event-time`, `trigger-delta-last` | window | `u64`, `Timestamp`, `Row` |
//! | windows | `firings`, `key-firings` | window, `()` | `i64` |
//! | process | one of its own | `()` | see [`stage`] |
//! | interval join | `left-buffer`, `right-buffer` | `()` | map from `Timestamp` to `Vec<Row>` |
//! | buffer | list `buffered` | | `Row` |
//! | enrich | broadcast `rules` | | `Row` to `Row` |
//! | timers | `_timer_event`, `_timer_processing` | that of the operation | `Timestamp` |
//!
//! A window is a `TimeWindow`, or nothing at all if it is the global one.
//!
//! All are in the engine's codec. Accumulators are compared by their results, not by their bytes.

pub mod names;
pub mod stage;

use std::path::Path;

use serde::{Deserialize, Serialize};
use tidegate::{
    Timestamp, codec,
    connector::visible_file_name,
    id::{CheckpointId, OperatorUid},
    operator::{KeyedEntry, OperatorSnapshot},
    pipeline::{Accumulator, Row},
    record::Batch,
    sink::LedgerState,
    time::WatermarkGenerator,
    window::TimeWindow,
};

use names::{AGGREGATE, WINDOW_CONTENTS};

/// The state of a source.
const SPLITS: &str = "splits";
/// The state of a sink.
const TRANSACTIONS: &str = "transactions";
/// Where a file sink keeps files that are not visible yet, inside its directory.
pub const STAGING: &str = ".staging";

/// The identity of the state of a source, stage or sink.
pub fn uid(name: &str) -> OperatorUid {
    OperatorUid(name.to_owned())
}

/// What a script keeps of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptPlace {
    /// The next step.
    pub step: u64,
    /// The last watermark that it emitted.
    pub watermark: Timestamp,
}

/// What a source keeps of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSplit {
    /// The split.
    pub split: RowSplit,
    /// Its watermark.
    pub generator: WatermarkGenerator,
}

/// A split of a source of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowSplit {
    /// A range of a file, which the model does not read. It is here to hold the place of its number.
    Csv,
    /// The records `split`, `split + splits`, … of a generator or collection.
    Strided {
        /// Which split.
        split: u32,
        /// How many of its records were read.
        offset: u64,
    },
}

/// A file transaction as a sink keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTransaction {
    /// The name of the staged file.
    pub staged: String,
    /// Which subtask wrote it.
    pub subtask_index: u32,
    /// What makes its name unique.
    pub token: u64,
    /// What it was pre-committed for.
    pub checkpoint_id: Option<CheckpointId>,
    /// Its length; an empty one never becomes visible.
    pub bytes: u64,
}

impl FileTransaction {
    /// The name under which it becomes visible, once it was pre-committed.
    pub fn visible(&self) -> Option<String> {
        Some(visible_file_name(self.subtask_index, self.checkpoint_id?, self.token))
    }
}

/// A record under way to a stage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum UnderWayRecord {
    /// As it was sent.
    Row(Row),
    /// What a fold needs of it.
    Reduced(ReducedRecord),
}

/// What a fold needs of a record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReducedRecord {
    /// The values of the key's fields.
    pub key: Row,
    /// The argument of each aggregate.
    pub arguments: Row,
}

/// The records of a batch that is under way to a stage, with their event times; one that folds gets them reduced.
///
/// # Errors
/// If the bytes are not what this table says.
pub fn under_way(bytes: &[u8], folds: bool) -> Result<Vec<(UnderWayRecord, Option<i64>)>, String> {
    fn records<T>(batch: Batch<T>, of: fn(T) -> UnderWayRecord) -> Vec<(UnderWayRecord, Option<i64>)> {
        let time_ms = |timestamp: Timestamp| Some(timestamp.0).filter(|_| timestamp != Timestamp::MIN);
        batch.into_iter().map(|record| (of(record.value), time_ms(record.timestamp))).collect()
    }
    if folds {
        return Ok(records(decode::<Batch<ReducedRecord>>(bytes)?, UnderWayRecord::Reduced));
    }
    Ok(records(decode::<Batch<Row>>(bytes)?, UnderWayRecord::Row))
}

/// One entry of a fold's state: key, window if there is one, accumulators.
pub type DecodedFold = (Row, Option<TimeWindow>, Vec<Accumulator>);

fn list<'a>(snapshot: &'a OperatorSnapshot, name: &str) -> impl Iterator<Item = &'a [u8]> {
    snapshot.lists.get(name).into_iter().flat_map(|list| list.entries.iter().map(Vec::as_slice))
}

/// The splits that one subtask of a source keeps: number and position.
///
/// # Errors
/// If the state is not what this table says.
pub fn splits(snapshot: &OperatorSnapshot) -> Result<Vec<(u32, u64)>, String> {
    let decode = |entry: &[u8]| match codec::decode::<KeptSplit>(entry).map_err(|error| error.to_string())?.split {
        RowSplit::Strided { split, offset } => Ok((split, offset)),
        RowSplit::Csv => Err("a split of a file, which the model does not read".to_owned()),
    };
    list(snapshot, SPLITS).map(decode).collect()
}

/// The positions that one subtask of a script keeps: of split 0.
///
/// # Errors
/// If the state is not what this table says.
pub fn script_places(snapshot: &OperatorSnapshot) -> Result<Vec<(u32, u64)>, String> {
    list(snapshot, SPLITS).map(|entry| Ok((0, decode::<ScriptPlace>(entry)?.step))).collect()
}

/// The folds that one subtask keeps.
///
/// # Errors
/// If the state is not what this table says.
pub fn folds(snapshot: &OperatorSnapshot) -> Result<Vec<DecodedFold>, String> {
    let mut folds = Vec::new();
    for entry in keyed(snapshot, AGGREGATE) {
        decode::<()>(&entry.namespace)?;
        folds.push((decode(&entry.key)?, None, decode(&entry.value)?));
    }
    for entry in keyed(snapshot, WINDOW_CONTENTS) {
        folds.push((decode(&entry.key)?, Some(decode(&entry.namespace)?), decode(&entry.value)?));
    }
    Ok(folds)
}

/// The keys of all keyed states and timers that one subtask keeps: name of the state, key group, key.
pub fn keys(snapshot: &OperatorSnapshot) -> impl Iterator<Item = (&str, u16, Result<Row, String>)> {
    snapshot.keyed.iter().flat_map(|(name, state)| {
        let entries = state.groups.iter().flat_map(|(key_group, entries)| {
            entries.iter().map(move |entry| (name.as_str(), *key_group, decode(&entry.key)))
        });
        entries.collect::<Vec<_>>()
    })
}

fn keyed<'a>(snapshot: &'a OperatorSnapshot, name: &str) -> impl Iterator<Item = &'a KeyedEntry> {
    snapshot.keyed.get(name).into_iter().flat_map(|state| state.groups.values()).flatten()
}

pub(super) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    codec::decode(bytes).map_err(|error| error.to_string())
}

/// The transactions that one subtask of a file sink keeps for a checkpoint to commit.
///
/// # Errors
/// If the state is not what this table says.
pub fn pending(snapshot: &OperatorSnapshot) -> Result<Vec<(CheckpointId, FileTransaction)>, String> {
    let mut pending = Vec::new();
    for entry in list(snapshot, TRANSACTIONS) {
        pending.extend(decode::<LedgerState<FileTransaction>>(entry)?.pending);
    }
    Ok(pending)
}

/// What the name of a visible file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisibleName {
    /// Which subtask wrote it.
    pub subtask_index: u32,
    /// The checkpoint that it belongs to.
    pub checkpoint_id: CheckpointId,
    /// What makes it unique.
    pub token: u64,
}

impl VisibleName {
    /// Reads a name; `None` if it is not exactly one that a file sink gives.
    pub fn parse(name: &str) -> Option<Self> {
        let [subtask_index, checkpoint_id, token] = name.strip_prefix("part-")?.split('-').collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let parsed = Self {
            subtask_index: subtask_index.parse().ok()?,
            checkpoint_id: CheckpointId(checkpoint_id.parse().ok()?),
            token: u64::from_str_radix(token, 16).ok()?,
        };
        (visible_file_name(parsed.subtask_index, parsed.checkpoint_id, parsed.token) == name).then_some(parsed)
    }
}

/// What the name of a staged file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedName {
    /// Which subtask wrote it.
    pub subtask_index: u32,
    /// The attempt that opened it.
    pub attempt: u64,
    /// What makes it unique.
    pub token: u64,
}

impl StagedName {
    /// Reads a name; `None` if it is not one that a file sink gives.
    pub fn parse(name: &str) -> Option<Self> {
        let [subtask_index, attempt, token] = name.strip_prefix("part-")?.split('-').collect::<Vec<_>>()[..] else {
            return None;
        };
        Some(Self {
            subtask_index: subtask_index.parse().ok()?,
            attempt: attempt.parse().ok()?,
            token: u64::from_str_radix(token, 16).ok()?,
        })
    }
}

/// Whether two paths are one, however they say where the root is.
pub fn same_path(one: &Path, other: &Path) -> bool {
    use std::path::Component;
    let names = |path: &Path| {
        let normal = |component: Component<'_>| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
        };
        path.components().filter_map(normal).collect::<Vec<_>>()
    };
    names(one) == names(other)
}
