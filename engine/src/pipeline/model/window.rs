//! Windows: which records belong together, when their result is emitted, and what it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Assignment;
use crate::pipeline::row::Float;

/// Folds the records of a key and window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowOperation {
    /// The fields of the key; none puts all records into windows of one subtask.
    pub key: Vec<String>,
    /// The windows of a record.
    pub assigner: Assigner,
    /// Which clock the windows are in.
    pub time: WindowTime,
    /// When results are emitted; `None` is the assigner's: at the window's end, never for the global window.
    pub trigger: Option<Trigger>,
    /// Which records are dropped when results are emitted; `None` drops none. With an evictor all records are kept until
    /// the window is purged.
    pub evictor: Option<Evictor>,
    /// How long after its end a window still takes records.
    pub allowed_lateness: Duration,
    /// Where records go that come too late for every window.
    pub late_records: LateRecords,
    /// What is made of the records.
    pub function: WindowFunction,
    /// Whether results say which window they are of.
    pub bounds: WindowBounds,
}

impl WindowOperation {
    /// A keyed window in event time with the assigner's trigger, which drops late records.
    pub fn new(key: &[&str], assigner: Assigner, aggregates: impl Into<Vec<Assignment>>) -> Self {
        Self {
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            assigner,
            time: WindowTime::default(),
            trigger: None,
            evictor: None,
            allowed_lateness: Duration::ZERO,
            late_records: LateRecords::Drop,
            function: WindowFunction::Aggregate(aggregates.into()),
            bounds: WindowBounds::default(),
        }
    }
}

/// What is made of the records of a window. The result's event time is the last millisecond of the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WindowFunction {
    /// Aggregates, folded as records arrive; only the folds are kept.
    ///
    /// Result: the key's fields, the bounds, the aggregates.
    Aggregate(Vec<Assignment>),
    /// Two records become one, as records arrive; only that one is kept.
    ///
    /// Fields that are not assigned keep their value in the record that was there before. The expressions are over the
    /// fields of that record (`a.NAME`) and of the one that is added (`b.NAME`). Result: the record's fields, the bounds.
    Reduce(Vec<Assignment>),
    /// Aggregates over all records, which are kept until the window is purged: those of [`WindowFunction::Aggregate`],
    /// and `firings()`, `key_firings()` and `watermark()`.
    ///
    /// Result: as for [`WindowFunction::Aggregate`].
    Process(Vec<Assignment>),
}

/// Whether results say which window they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WindowBounds {
    /// In the fields `window_start` and `window_end`: milliseconds, the end exclusive. The global window has none.
    #[default]
    Shown,
    /// They do not.
    Hidden,
}

/// Which clock windows are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowTime {
    /// That of the records.
    #[default]
    Event,
    /// That of the machine.
    Processing,
}

/// The windows of a record (Flink `WindowAssigner`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assigner {
    /// Windows of one length, side by side.
    Tumbling {
        /// Their length, more than zero.
        size: Duration,
        /// The start of one of them after the epoch; less than the size.
        offset: Duration,
    },
    /// Windows of one length that start at regular intervals.
    Sliding {
        /// Their length, more than zero.
        size: Duration,
        /// The interval, more than zero.
        slide: Duration,
        /// The start of one of them after the epoch; less than the slide.
        offset: Duration,
    },
    /// Records with pauses of less than the gap.
    Session {
        /// The pause that ends a session, more than zero.
        gap: Duration,
    },
    /// Records with pauses of less than a gap of their own.
    DynamicSession {
        /// The pause after the record that ends a session: an int expression in milliseconds, more than zero.
        gap: String,
    },
    /// One window for everything.
    Global,
    /// Windows of a number of records (Flink `countWindow`): the global window with the triggers and evictors of Flink,
    /// so none can be given.
    Count {
        /// How many, at least 1.
        size: u64,
        /// After how many records a result is emitted, over the last `size`; `None` is `size`, and the window is emptied
        /// each time.
        slide: Option<u64>,
    },
}

/// When a window emits its result (Flink `Trigger`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// When the watermark passes the window's end, and for each late record after that.
    EventTime,
    /// When the machine's clock passes the window's end.
    ProcessingTime,
    /// At every `n`-th record.
    Count {
        /// At least 1.
        n: u64,
    },
    /// At regular event times, and at the window's end.
    ContinuousEventTime {
        /// The interval, more than zero.
        interval: Duration,
    },
    /// At regular times of the machine's clock.
    ContinuousProcessingTime {
        /// The interval, more than zero.
        interval: Duration,
    },
    /// When a value differs from that of the record at which the window fired last (at first: of its first record).
    Delta {
        /// By more than this.
        threshold: Float,
        /// The value: a number.
        value: String,
    },
    /// As another trigger, but also when nothing came for a while.
    ProcessingTimeout {
        /// The other trigger.
        inner: Box<Trigger>,
        /// How long, in the machine's clock.
        timeout: Duration,
        /// Whether each record starts the time anew.
        reset_timer_on_new_record: bool,
        /// Whether the other trigger starts anew after such a firing.
        clear_on_timeout: bool,
    },
    /// Not at all.
    Never,
    /// When the input has ended.
    EndOfStream,
    /// As another trigger, but the window is emptied each time.
    Purging {
        /// The other trigger.
        inner: Box<Trigger>,
    },
}

/// Which records a window drops when it emits (Flink `Evictor`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evictor {
    /// All but the `n` that came last.
    Count {
        /// How many stay.
        n: u64,
        /// Before or after the aggregation.
        phase: EvictionPhase,
    },
    /// Those at least `size` before the latest.
    Time {
        /// The distance.
        size: Duration,
        /// Before or after the aggregation.
        phase: EvictionPhase,
    },
    /// Those whose value differs from that of the last one.
    Delta {
        /// By at least this.
        threshold: Float,
        /// The value: a number.
        value: String,
        /// Before or after the aggregation.
        phase: EvictionPhase,
    },
}

/// When an evictor acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EvictionPhase {
    /// Before the aggregation.
    #[default]
    Before,
    /// After the aggregation.
    After,
}

/// Where records go that come too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateRecords {
    /// They are counted and dropped.
    #[default]
    Drop,
    /// They can be taken as the input `NAME.late`, unchanged.
    SideOutput,
}
