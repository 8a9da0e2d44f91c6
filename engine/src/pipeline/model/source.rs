//! Sources: where records come from, and how they get their event time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ScriptSource;
use crate::pipeline::{
    row::Row,
    schema::{Field, Schema},
};

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
            SourceKind::Script(script) => Schema::new(script.columns.clone()),
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
    /// Records, watermarks and pauses in a given order.
    Script(ScriptSource),
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
