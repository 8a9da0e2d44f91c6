//! The plan: a pipeline that has been checked, with names resolved, expressions bound and every schema known.
//!
//! All problems are found in one pass; what depends on something broken is not reported as well.

mod checks;
mod names;
mod operation;
mod planner;
mod sources;

use std::{collections::BTreeMap, time::Duration};

pub use operation::{
    PlannedEnrich, PlannedIntervalJoin, PlannedOperation, PlannedProcess, PlannedReduce, PlannedWindow,
    PlannedWindowFunction, PlannedWindowJoin,
};

use super::{
    expression::Expression,
    model::{OnMissingEventTime, Pipeline, SinkKind, SourceKind},
    problem::{Problem, Problems},
    schema::Schema,
};

use planner::Planner;

type Checked<T> = Result<T, Problem>;

/// A checked pipeline.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The sources, in the order of the pipeline.
    pub sources: Vec<PlannedSource>,
    /// The stages, each after all of its inputs.
    pub stages: Vec<PlannedStage>,
    /// The sinks, in the order of the pipeline.
    pub sinks: Vec<PlannedSink>,
}

/// A stream of records in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// What a source reads: its position in [`Plan::sources`].
    Source(usize),
    /// What a stage emits: its position in [`Plan::stages`].
    Stage(usize),
    /// The late records of a window: its position in [`Plan::stages`].
    Late(usize),
}

/// A checked source.
#[derive(Debug, Clone)]
pub struct PlannedSource {
    /// Its name.
    pub name: String,
    /// Number of parallel readers.
    pub parallelism: u32,
    /// What it reads.
    pub kind: SourceKind,
    /// The fields of its records.
    pub schema: Schema,
    /// How records get their event time.
    pub event_time: Option<PlannedEventTime>,
}

/// How records get their event time.
#[derive(Debug, Clone)]
pub struct PlannedEventTime {
    /// Milliseconds since the epoch.
    pub expression: Expression,
    /// What happens with records for which it is null; never asked if it cannot be.
    pub on_missing: OnMissingEventTime,
    /// How far records may lie behind the latest one.
    pub max_out_of_orderness: Duration,
    /// A split that is silent for this long no longer holds the watermark back.
    pub idle_timeout: Option<Duration>,
}

/// A checked stage.
#[derive(Debug, Clone)]
pub struct PlannedStage {
    /// Its name.
    pub name: String,
    /// Number of parallel instances.
    pub parallelism: u32,
    /// Where its records come from; at least one.
    pub inputs: Vec<Stream>,
    /// The fields of the records that it takes.
    pub input_schema: Schema,
    /// The fields of the records that it emits.
    pub schema: Schema,
    /// What it does.
    pub operation: PlannedOperation,
}

/// A checked sink.
#[derive(Debug, Clone)]
pub struct PlannedSink {
    /// Its name.
    pub name: String,
    /// Number of parallel writers.
    pub parallelism: u32,
    /// Where its records come from; at least one.
    pub inputs: Vec<Stream>,
    /// The fields of its records.
    pub schema: Schema,
    /// What it writes to.
    pub kind: SinkKind,
}

impl Plan {
    /// The fields of a stream's records.
    pub fn schema(&self, stream: Stream) -> &Schema {
        match stream {
            Stream::Source(index) => &self.sources[index].schema,
            Stream::Stage(index) => &self.stages[index].schema,
            Stream::Late(index) => &self.stages[index].input_schema,
        }
    }
}

impl Pipeline {
    /// Checks the pipeline.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn validate(&self) -> Result<(), Problems> {
        self.plan().map(|_| ())
    }

    /// Checks the pipeline and resolves its names, expressions and schemas.
    ///
    /// # Errors
    /// As for [`Pipeline::validate`].
    pub fn plan(&self) -> Result<Plan, Problems> {
        let mut planner = Planner { pipeline: self, problems: Vec::new(), streams: BTreeMap::new() };
        let plan = planner.plan();
        let mut problems = planner.problems;
        if let Err(Problems(options)) = self.job_config() {
            problems.extend(options);
        }
        if problems.is_empty() { Ok(plan) } else { Err(Problems(problems)) }
    }
}
