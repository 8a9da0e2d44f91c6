//! The pipeline as a value: sources, stages and sinks with their options, everything explicit.
//!
//! It is what `run` reads, what generators build in code and what a replay capsule holds. Reading a file
//! ([`Pipeline::from_toml`]) fills in what may be left out (the name of a stage, the input that is simply the one before)
//! and writing it spells everything out; a value that passes [`Pipeline::validate`] survives both formats unchanged.
//! Nothing in it is bound to Rust: expressions and aggregates are SQL's.

mod join;
mod process;
mod script;
mod sink;
mod source;
mod window;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

pub use join::{
    BoundKind, EnrichOperation, IntervalJoinOperation, JoinKind, JoinSides, Unmatched, WindowJoinOperation,
};
pub use process::{
    AggregateOperation, BufferMode, BufferOperation, Emit, ProcessFunction, ProcessOperation, RollingOperation,
    StateTtl, TimerPattern, TtlCleanup, TtlUpdate, TtlVisibility,
};
pub use script::{AtScriptEnd, RestoredWatermark, ScriptAction, ScriptSource, ScriptStep};
pub use sink::{Delivery, FileSink, Format, Sink, SinkKind};
pub use source::{
    CollectionSource, CsvSource, EventTime, GeneratorSource, Header, KeyDistribution, OnBadRecord, OnMissingEventTime,
    Source, SourceKind,
};
pub use window::{
    Assigner, EvictionPhase, Evictor, LateRecords, Trigger, WindowBounds, WindowFunction, WindowOperation, WindowTime,
};

use super::file::PipelineFile;
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

/// A step between source and sink.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name, unique among sources, stages and sinks; also the identity of its state.
    pub name: String,
    /// The names of sources and stages whose records it takes (`NAME.late` for late records); several
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

/// What a stage does. Several inputs of one stage are a union; joins have exactly two, left and right.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Emits each record several times.
    ///
    /// Result: the record's fields, and one that numbers its copies from 0.
    Repeat {
        /// How often.
        count: u64,
        /// The field that holds the number.
        index: String,
    },
    /// Folds the records of a key and window.
    Window(WindowOperation),
    /// Folds all records of a key.
    ///
    /// Result: the key's fields, the aggregates.
    Aggregate(AggregateOperation),
    /// Reduces the records of a key to one, which is emitted after each (Flink `KeyedStream.reduce`).
    ///
    /// Result: the fields of the input, with the record's event time.
    Rolling(RollingOperation),
    /// Calls a function that keeps state and timers for each key.
    Process(ProcessOperation),
    /// Collects records in operator state and folds them when there are enough.
    ///
    /// Result: the aggregates, with the event time of the last record.
    Buffer(BufferOperation),
    /// Joins records with rules that all subtasks know (Flink's broadcast state).
    Enrich(EnrichOperation),
    /// Joins records of two streams that lie close to each other in event time.
    IntervalJoin(IntervalJoinOperation),
    /// Joins the records of two streams that share key and window.
    WindowJoin(WindowJoinOperation),
}

impl Operation {
    /// Its name in a file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Filter { .. } => "filter",
            Self::Map { .. } => "map",
            Self::Repeat { .. } => "repeat",
            Self::Window(_) => "window",
            Self::Aggregate(_) => "aggregate",
            Self::Rolling(_) => "rolling",
            Self::Process(_) => "process",
            Self::Buffer(_) => "buffer",
            Self::Enrich(_) => "enrich",
            Self::IntervalJoin(_) => "interval_join",
            Self::WindowJoin(_) => "window_join",
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
