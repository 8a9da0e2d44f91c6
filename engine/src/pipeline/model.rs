//! The pipeline as a value: sources, stages and sinks with their options, everything explicit.
//!
//! It is what `run` reads, what generators build in code and what a replay capsule holds. Reading a file
//! ([`Pipeline::from_toml`]) fills in what may be left out (the name of a stage, the input that is simply the one before)
//! and writing it spells everything out; a value that passes [`Pipeline::validate`] survives both formats unchanged.
//! Nothing in it is bound to Rust: expressions and aggregates are SQL's.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    file::PipelineFile,
    row::Row,
    schema::{Field, Schema},
};
use crate::config::CheckpointingMode;

/// A job, declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "PipelineFile", into = "PipelineFile")]
pub struct Pipeline {
    /// The job's name.
    pub name: String,
    /// Parallelism of what states none.
    pub parallelism: u32,
    /// Number of key groups; `None` derives it from the parallelism.
    pub max_parallelism: Option<u32>,
    /// Checkpointing; `None` leaves it to `config`.
    pub checkpoint: Option<Checkpoint>,
    /// Options by Flink's names (see `options`).
    pub config: BTreeMap<String, String>,
    /// Where records come from.
    pub sources: Vec<Source>,
    /// What happens to them, in any order: each stage names its inputs.
    pub stages: Vec<Stage>,
    /// Where results go.
    pub sinks: Vec<Sink>,
}

impl Pipeline {
    /// A pipeline without sources, stages and sinks.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            parallelism: 1,
            max_parallelism: None,
            checkpoint: None,
            config: BTreeMap::new(),
            sources: Vec::new(),
            stages: Vec::new(),
            sinks: Vec::new(),
        }
    }

    /// Adds a source.
    #[must_use]
    pub fn source(mut self, source: Source) -> Self {
        self.sources.push(source);
        self
    }

    /// Adds a stage.
    #[must_use]
    pub fn stage(mut self, stage: Stage) -> Self {
        self.stages.push(stage);
        self
    }

    /// Adds a sink.
    #[must_use]
    pub fn sink(mut self, sink: Sink) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Sets the parallelism of what states none.
    #[must_use]
    pub fn with_parallelism(mut self, parallelism: u32) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// Turns checkpointing on.
    #[must_use]
    pub fn with_checkpoint(mut self, checkpoint: Checkpoint) -> Self {
        self.checkpoint = Some(checkpoint);
        self
    }

    /// Sets an option by Flink's name.
    #[must_use]
    pub fn with_option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }
}

/// The options of checkpointing that nearly every job sets; the others stand in `config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Time between two triggers.
    pub interval: Duration,
    /// Directory for completed checkpoints; `None` keeps them in the job manager's memory.
    pub dir: Option<String>,
    /// What a checkpoint guarantees.
    pub mode: CheckpointingMode,
}

impl Checkpoint {
    /// Exactly-once checkpoints in the job manager's memory.
    pub fn every(interval: Duration) -> Self {
        Self { interval, dir: None, mode: CheckpointingMode::ExactlyOnce }
    }
}

/// Where records come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its name, unique among sources, stages and sinks; also the identity of its state.
    pub name: String,
    /// Number of parallel readers; `None` is the pipeline's.
    pub parallelism: Option<u32>,
    /// What it reads.
    pub kind: SourceKind,
    /// How records get their event time; `None` leaves them without, and nothing emits watermarks until the end.
    pub event_time: Option<EventTime>,
}

impl Source {
    /// A source without event time.
    pub fn new(name: impl Into<String>, kind: SourceKind) -> Self {
        Self { name: name.into(), parallelism: None, kind, event_time: None }
    }

    /// Gives records an event time.
    #[must_use]
    pub fn with_event_time(mut self, event_time: EventTime) -> Self {
        self.event_time = Some(event_time);
        self
    }

    /// The fields of its records.
    pub fn schema(&self) -> Schema {
        match &self.kind {
            SourceKind::Csv(csv) => Schema::new(csv.columns.clone()),
            SourceKind::Generator(_) => GeneratorSource::schema(),
            SourceKind::Collection(collection) => Schema::new(collection.columns.clone()),
        }
    }
}

/// The kinds of sources.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    /// Delimited records of a file.
    Csv(CsvSource),
    /// Made-up records, the same for the same seed.
    Generator(GeneratorSource),
    /// Literal records.
    Collection(CollectionSource),
}

/// Delimited records of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvSource {
    /// The file.
    pub path: String,
    /// Whether the first line holds the names of the columns; they must be those of `columns`.
    pub header: Header,
    /// Between two values: one ASCII character.
    pub delimiter: char,
    /// The columns, in the order of the file.
    pub columns: Vec<Field>,
    /// Length of a split; `None` reads the file as one. Values with line breaks need one split.
    pub split_bytes: Option<u64>,
    /// Records per second over all splits, for a replay at the speed of life; `None` is as fast as possible. It starts
    /// over with each attempt of the job, and counts the records that are left out for want of an event time.
    pub rate: Option<u64>,
    /// What happens with a record that cannot be read.
    pub on_bad_record: OnBadRecord,
}

impl CsvSource {
    /// A comma-separated file with a header, read as one split, in which every record must be right.
    pub fn new(path: impl Into<String>, columns: impl Into<Vec<Field>>) -> Self {
        Self {
            path: path.into(),
            header: Header::Present,
            delimiter: ',',
            columns: columns.into(),
            split_bytes: None,
            rate: None,
            on_bad_record: OnBadRecord::Fail,
        }
    }
}

/// Whether a file starts with the names of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// The first line is a record.
    #[default]
    Absent,
    /// The first line holds the names.
    Present,
}

/// What happens with a record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRecord {
    /// The job fails.
    #[default]
    Fail,
    /// It is left out, counted and reported.
    Skip,
}

/// Made-up records: record `i` is a pure function of the seed and `i` (see [`GeneratorSource::record`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratorSource {
    /// Number of records over all splits; `None` never ends.
    pub count: Option<u64>,
    /// Records per second over all splits; `None` is as fast as possible.
    pub rate: Option<u64>,
    /// Number of different keys, at least 1.
    pub keys: u64,
    /// How often each key comes.
    pub key_distribution: KeyDistribution,
    /// Event time of record 0, before disorder: milliseconds since the epoch.
    pub start_ms: i64,
    /// Event time from one record to the next, before disorder.
    pub step: Duration,
    /// How far a record's event time may lie back: the out-of-orderness that suffices.
    pub disorder: Duration,
    /// Number of splits: split `s` holds the records `s`, `s + splits`, `s + 2 * splits`, …
    pub splits: u32,
    /// The seed.
    pub seed: u64,
}

impl Default for GeneratorSource {
    fn default() -> Self {
        Self {
            count: None,
            rate: None,
            keys: 16,
            key_distribution: KeyDistribution::Uniform,
            start_ms: 0,
            step: Duration::from_millis(1),
            disorder: Duration::ZERO,
            splits: 1,
            seed: 0,
        }
    }
}

/// How often each key comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyDistribution {
    /// All equally often.
    #[default]
    Uniform,
    /// Key 0 in half of the records, key 1 in a quarter, and so on; the last takes the rest.
    Skewed,
}

/// Literal records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionSource {
    /// The fields.
    pub columns: Vec<Field>,
    /// The records, in order. Record `i` belongs to split `i % splits`.
    pub rows: Vec<Row>,
    /// Number of splits.
    pub splits: u32,
}

/// How records get their event time, and when the watermark follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTime {
    /// Milliseconds since the epoch: an integer expression over the record.
    pub expression: String,
    /// What happens with records for which it is null; must be stated if it can be.
    pub on_missing: Option<OnMissingEventTime>,
    /// How far records may lie behind the latest one.
    pub max_out_of_orderness: Duration,
    /// A split that is silent for this long no longer holds the watermark back; `None` never.
    pub idle_timeout: Option<Duration>,
}

impl EventTime {
    /// Event time of records that are in order and always have one.
    pub fn new(expression: impl Into<String>) -> Self {
        Self {
            expression: expression.into(),
            on_missing: None,
            max_out_of_orderness: Duration::ZERO,
            idle_timeout: None,
        }
    }

    /// Tolerates records that lie behind.
    #[must_use]
    pub fn out_of_order_by(mut self, bound: Duration) -> Self {
        self.max_out_of_orderness = bound;
        self
    }
}

/// What happens with a record whose event time is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissingEventTime {
    /// It is left out.
    Drop,
    /// The job fails.
    Fail,
}

/// A step between source and sink.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name, unique among sources, stages and sinks; also the identity of its state.
    pub name: String,
    /// The names of sources and stages whose records it takes (`NAME.late` for the late records of a window); several
    /// must have the same schema.
    pub inputs: Vec<String>,
    /// Number of parallel instances; `None` is the pipeline's.
    pub parallelism: Option<u32>,
    /// What it does.
    pub operation: Operation,
}

impl Stage {
    /// A stage with one input.
    pub fn new(name: impl Into<String>, input: impl Into<String>, operation: Operation) -> Self {
        Self { name: name.into(), inputs: vec![input.into()], parallelism: None, operation }
    }
}

/// What a stage does.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Keeps the records for which a condition is true (not false, not null).
    Filter {
        /// A bool expression.
        condition: String,
    },
    /// Makes a record of another.
    Map {
        /// The fields of the result with their values, in order.
        fields: Vec<Assignment>,
    },
    /// Folds the records of a key and window.
    ///
    /// Result: the key's fields, `window_start` and `window_end` (milliseconds, the end exclusive; absent for the global
    /// window), the aggregates. Its event time is the last millisecond of the window.
    Window(WindowOperation),
    /// Folds all records of a key.
    ///
    /// Result: the key's fields, the aggregates.
    Aggregate(AggregateOperation),
}

impl Operation {
    /// Its name in a file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Filter { .. } => "filter",
            Self::Map { .. } => "map",
            Self::Window(_) => "window",
            Self::Aggregate(_) => "aggregate",
        }
    }
}

/// A named expression or aggregate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Assignment {
    /// The field that gets the value.
    pub name: String,
    /// The text of the expression or aggregate.
    pub expression: String,
}

impl Assignment {
    /// A named expression.
    pub fn new(name: impl Into<String>, expression: impl Into<String>) -> Self {
        Self { name: name.into(), expression: expression.into() }
    }
}

/// Folds the records of a key and window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowOperation {
    /// The fields of the key; none puts all records into windows of one subtask.
    pub key: Vec<String>,
    /// The windows of a record.
    pub assigner: Assigner,
    /// When results are emitted; `None` is the assigner's: at the window's end, never for the global window.
    pub trigger: Option<Trigger>,
    /// Which records are dropped when results are emitted; `None` drops none.
    pub evictor: Option<Evictor>,
    /// How long after its end a window still takes records.
    pub allowed_lateness: Duration,
    /// Where records go that come too late for every window.
    pub late_records: LateRecords,
    /// The aggregates, in order.
    pub aggregates: Vec<Assignment>,
}

impl WindowOperation {
    /// A keyed window with the assigner's trigger, which drops late records.
    pub fn new(key: &[&str], assigner: Assigner, aggregates: impl Into<Vec<Assignment>>) -> Self {
        Self {
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            assigner,
            trigger: None,
            evictor: None,
            allowed_lateness: Duration::ZERO,
            late_records: LateRecords::Drop,
            aggregates: aggregates.into(),
        }
    }
}

/// The windows of a record (Flink `WindowAssigner`). All are in event time.
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
    /// One window for everything.
    Global,
}

/// When a window emits its result (Flink `Trigger`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// When the watermark passes the window's end, and for each late record after that.
    EventTime,
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

/// Where records go that come too late for every window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateRecords {
    /// They are counted and dropped.
    #[default]
    Drop,
    /// They can be taken as the input `NAME.late`, unchanged.
    SideOutput,
}

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

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// Its name, unique among sources, stages and sinks; also the identity of its state.
    pub name: String,
    /// The names of sources and stages whose records it takes; several must have the same schema.
    pub inputs: Vec<String>,
    /// Number of parallel writers; `None` is the pipeline's.
    pub parallelism: Option<u32>,
    /// What it writes to.
    pub kind: SinkKind,
}

impl Sink {
    /// A sink with one input.
    pub fn new(name: impl Into<String>, input: impl Into<String>, kind: SinkKind) -> Self {
        Self { name: name.into(), inputs: vec![input.into()], parallelism: None, kind }
    }
}

/// The kinds of sinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// Files in a directory.
    File(FileSink),
    /// Standard output, one line per record, with the subtask's index.
    Print,
    /// Nothing.
    Discard,
}

/// Files in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSink {
    /// The directory.
    pub path: String,
    /// How records are written.
    pub format: Format,
    /// What is guaranteed after a failure.
    pub delivery: Delivery,
}

impl FileSink {
    /// Transactional files.
    pub fn new(path: impl Into<String>, format: Format) -> Self {
        Self { path: path.into(), format, delivery: Delivery::ExactlyOnce }
    }
}

/// How records are written: one per line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated values, null as nothing.
    #[default]
    Csv,
    /// A JSON object.
    Json,
}

/// What a sink guarantees after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Each result is visible once: what is written becomes visible with a completed checkpoint.
    #[default]
    ExactlyOnce,
    /// Results are visible at once, and some may be there twice after a failure.
    AtLeastOnce,
}
