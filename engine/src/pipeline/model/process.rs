//! Operations that keep state: running aggregates, functions with state and timers, buffers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Assignment, WindowTime};

/// Folds all records of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateOperation {
    /// The fields of the key, at least one.
    pub key: Vec<String>,
    /// The aggregates, in order.
    pub aggregates: Vec<Assignment>,
    /// When results are emitted.
    pub emit: Emit,
}

/// When a running aggregate emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emit {
    /// For each record, with the record's event time.
    #[default]
    Updates,
    /// Once per key at the end of the input: by an event-time timer at the end of time.
    Final,
}

/// Reduces the records of a key to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollingOperation {
    /// The fields of the key, at least one.
    pub key: Vec<String>,
    /// As for [`WindowFunction::Reduce`](super::WindowFunction::Reduce).
    pub fields: Vec<Assignment>,
}

/// Calls a function that keeps state and timers for each key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessOperation {
    /// The fields of the key, at least one.
    pub key: Vec<String>,
    /// The function.
    pub function: ProcessFunction,
    /// What the function works on: an int expression that is never null. Needed by functions that read it
    /// ([`ProcessFunction::reads_value`]).
    pub value: Option<String>,
    /// How long state lives after its last use; `None` for ever.
    pub ttl: Option<StateTtl>,
    /// The name of one more field at the end of each result: when the record or timer that caused it was processed, as an int
    /// in milliseconds since the epoch. It is the reading of the machine's clock that timers and the time to live of state
    /// go by, and one reading for all records that came together (`currentProcessingTime()` of Flink's timer service,
    /// `PROCTIME()` of its SQL). `None` leaves results as they are. Raw state has neither clock nor field.
    pub processed_at: Option<String>,
    /// Whether each record has a result: one for which the function has nothing to say gives a row in which only the
    /// key's fields, and the time, are not null. Not for raw state, which has something to say of each.
    pub every_record: bool,
}

impl ProcessOperation {
    /// The function with state that lives for ever, and results as they are.
    pub fn new(key: &[&str], function: ProcessFunction) -> Self {
        let key = key.iter().map(|field| (*field).to_owned()).collect();
        Self { key, function, value: None, ttl: None, processed_at: None, every_record: false }
    }

    /// Says what the function works on.
    #[must_use]
    pub fn with_value(self, value: impl Into<String>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}

/// The functions with keyed state. Each is an example of one kind of state.
///
/// Result: the key's fields, `value` (int) and, if the function says what, `text`; for more, see
/// [`ProcessOperation::processed_at`] and [`ProcessOperation::every_record`]. Its event time is that of the record or timer that
/// caused it. Averages truncate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessFunction {
    /// `ValueState` of count and sum: at `n` records emits their average, with the text `sum/count`, and starts anew.
    ValueAvg {
        /// At least 1.
        n: u64,
    },
    /// `ListState` of values: at `n` records emits their average, with the values joined by commas, and starts anew.
    ListAvg {
        /// At least 1.
        n: u64,
    },
    /// `MapState` from index to value: at `n` entries emits their average, with the text `sum/n`, and starts anew.
    MapAvg {
        /// At least 1.
        n: u64,
    },
    /// `MapState` from value to the number of times that it came: emits that number, with the text of the map in the order
    /// of its keys (`{1=2,5=1}`). A value that came `n` times is forgotten before the map is written.
    MapCount {
        /// At least 1.
        n: u64,
    },
    /// `ReducingState`: emits the sum so far.
    ReducingSum,
    /// `AggregatingState`: emits the value, with the text `Contains:` and all values so far joined by ` and `.
    AggregatingContains,
    /// `AggregatingState`: emits the value, with the text `sum/count` of all so far.
    AggregatingAvg,
    /// `ValueState`: emits the number of records so far.
    ValueCount,
    /// `ValueState`: passes the first record of a key, with its own fields, and drops the others.
    Dedup,
    /// Raw keyed state, which the function reads and writes as bytes: emits the number of records so far.
    RawCount,
    /// Counts records, and registers a timer `delay` after each.
    Timers {
        /// What a timer does.
        pattern: TimerPattern,
        /// How long after the record: after its event time or its arrival.
        delay: Duration,
        /// Which clock the timers are in.
        time: WindowTime,
    },
}

impl ProcessFunction {
    /// Its name in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::ValueAvg { .. } => "value_avg",
            Self::ListAvg { .. } => "list_avg",
            Self::MapAvg { .. } => "map_avg",
            Self::MapCount { .. } => "map_count",
            Self::ReducingSum => "reducing_sum",
            Self::AggregatingContains => "aggregating_contains",
            Self::AggregatingAvg => "aggregating_avg",
            Self::ValueCount => "value_count",
            Self::Dedup => "dedup",
            Self::RawCount => "raw_count",
            Self::Timers { pattern, .. } => match pattern {
                TimerPattern::Every => "every",
                TimerPattern::Timeout => "timeout",
                TimerPattern::Replace => "replace",
            },
        }
    }

    /// Whether it works on the value of an expression.
    pub fn reads_value(self) -> bool {
        match self {
            Self::ValueAvg { .. }
            | Self::ListAvg { .. }
            | Self::MapAvg { .. }
            | Self::MapCount { .. }
            | Self::ReducingSum
            | Self::AggregatingContains
            | Self::AggregatingAvg => true,
            Self::ValueCount | Self::Dedup | Self::RawCount | Self::Timers { .. } => false,
        }
    }

    /// Whether its results have a `text`.
    pub fn has_text(self) -> bool {
        match self {
            Self::ValueAvg { .. }
            | Self::ListAvg { .. }
            | Self::MapAvg { .. }
            | Self::MapCount { .. }
            | Self::AggregatingContains
            | Self::AggregatingAvg
            | Self::Timers { .. } => true,
            Self::ReducingSum | Self::ValueCount | Self::Dedup | Self::RawCount => false,
        }
    }
}

/// What a timer does. A timer `T` that finds no state emits the value -1 with the text `stale@T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerPattern {
    /// Each emits the number of records so far, with the text `timer@T,wm=W`: the time and the watermark.
    Every,
    /// The one that belongs to the latest record emits the number of records with the text `timeout@T` and clears the state;
    /// the others do nothing.
    Timeout,
    /// Each record deletes the timer of the one before it; a timer emits the number of records with the text `replace@T` and
    /// clears the state.
    Replace,
}

/// How long state lives (Flink `StateTtlConfig`), in processing time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateTtl {
    /// How long, more than zero.
    pub ttl: Duration,
    /// What counts as use.
    pub update: TtlUpdate,
    /// Whether a value is seen after its time.
    pub visibility: TtlVisibility,
    /// When values are removed whose time is over, besides when they are read.
    pub cleanup: TtlCleanup,
}

impl StateTtl {
    /// Flink's defaults: writing is use, what expired is not seen, the backend cleans up in the background.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, update: TtlUpdate::default(), visibility: TtlVisibility::default(), cleanup: TtlCleanup::default() }
    }
}

/// What counts as use of a state (Flink `StateTtlConfig.UpdateType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TtlUpdate {
    /// State lives for ever.
    Disabled,
    /// Writing.
    #[default]
    OnCreateAndWrite,
    /// Reading too.
    OnReadAndWrite,
}

/// Whether a value is seen after its time (Flink `StateTtlConfig.StateVisibility`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TtlVisibility {
    /// Never.
    #[default]
    NeverReturnExpired,
    /// As long as it has not been removed.
    ReturnExpiredIfNotCleanedUp,
}

/// When values are removed whose time is over (Flink `StateTtlConfig.CleanupStrategies`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TtlCleanup {
    /// As the backend likes: a few at a time in memory, at compactions in RocksDB. False if only what follows counts.
    pub in_background: bool,
    /// They are left out of full snapshots.
    pub full_snapshot: bool,
    /// In memory: how many entries are looked at for each access of the state; `None` is the backend's default.
    pub incremental: Option<u32>,
    /// In memory: entries are looked at for each record too.
    pub run_for_every_record: bool,
    /// In RocksDB: after how many entries of a compaction the clock is asked again; `None` is the backend's default.
    pub query_time_after_entries: Option<u64>,
}

impl Default for TtlCleanup {
    fn default() -> Self {
        Self {
            in_background: true,
            full_snapshot: false,
            incremental: None,
            run_for_every_record: false,
            query_time_after_entries: None,
        }
    }
}

/// Collects records in operator state and folds them when there are enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferOperation {
    /// How many records are enough, at least 1.
    pub threshold: u64,
    /// How what waits is kept, and dealt out when the parallelism changes.
    pub mode: BufferMode,
    /// The aggregates over the records, in order.
    pub aggregates: Vec<Assignment>,
}

/// How a buffer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BufferMode {
    /// As a list whose entries are divided among the subtasks.
    #[default]
    Split,
    /// As a list that each subtask gets whole.
    Union,
    /// As raw bytes, divided among the subtasks.
    Raw,
}
