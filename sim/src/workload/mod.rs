//! The jobs that the laboratory runs: a few numbers, from which a declarative pipeline follows, or a generated pipeline.

mod generated;
mod kind;
mod script;
mod stages;
#[cfg(test)]
mod tests;
mod windows;

use std::time::Duration;

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use tidegate::pipeline::{
    AggregateOperation, Assigner, Assignment, Checkpoint, Emit, EventTime, FileSink, Format, GeneratorSource,
    KeyDistribution, Operation, Pipeline, Sink, SinkKind, Source, SourceKind, Stage, WindowOperation,
};

pub use generated::Generated;
pub use kind::{AssignerKind, FunctionKind, KeyedKind, StageKind, TriggerKind, WindowKind};
pub use script::Script;

use crate::{model::Model, seed::Seed};

/// Which state a workload is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Running aggregates in `ValueState`.
    Value,
    /// Tumbling event-time windows.
    Window,
    /// Both, each with a sink of its own.
    Both,
    /// Whatever a script and one to three stages of any kind need.
    Generated,
}

/// Where keyed state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// In memory.
    #[default]
    Memory,
    /// In RocksDB. Only builds with the feature `rocksdb` have it.
    Rocksdb,
    /// In RocksDB, with incremental checkpoints.
    RocksdbIncremental,
}

impl Backend {
    /// Those that this build has.
    pub fn available() -> Vec<Self> {
        let all = [Self::Memory, Self::Rocksdb, Self::RocksdbIncremental];
        all.into_iter().filter(|backend| *backend == Self::Memory || cfg!(feature = "rocksdb")).collect()
    }

    /// Whether this laboratory was built with it.
    pub fn is_built(self) -> bool {
        Self::available().contains(&self)
    }

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Rocksdb => "rocksdb",
            Self::RocksdbIncremental => "rocksdb_incremental",
        }
    }

    /// The backend of a name.
    ///
    /// # Errors
    /// If there is none, or this build lacks it.
    pub fn named(name: &str) -> Result<Self, String> {
        let available = Self::available();
        available.iter().copied().find(|backend| backend.name() == name).ok_or_else(|| {
            let known = available.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(", ");
            format!("this build has no backend {name:?}; it has: {known}")
        })
    }

    /// The value of the option `state.backend.type`.
    fn option(self) -> &'static str {
        match self {
            Self::Memory => "hashmap",
            Self::Rocksdb | Self::RocksdbIncremental => "rocksdb",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Parts of a workload that would be drawn, and are set instead.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixed {
    /// See [`Workload::parallelism`].
    pub parallelism: Option<u32>,
    /// See [`Workload::task_managers`].
    pub task_managers: Option<u32>,
    /// See [`Workload::inline_threshold_bytes`].
    pub inline_threshold_bytes: Option<usize>,
    /// See [`Workload::records`].
    pub records: Option<u64>,
    /// See [`Workload::keys`].
    pub keys: Option<u64>,
    /// See [`Workload::backend`].
    pub backend: Option<Backend>,
    /// Names of kinds, or first parts of them: the first stage with state of a generated pipeline is one of these.
    #[serde(default)]
    pub stage: Vec<String>,
    /// Most stages with state of a generated pipeline, from 1 to 3.
    pub stages_max: Option<u32>,
}

impl Fixed {
    /// The kinds that are pinned; none if any will do.
    fn kinds(&self) -> Vec<StageKind> {
        self.stage.iter().flat_map(|pattern| StageKind::named(pattern)).collect()
    }

    /// The first pattern that no kind has.
    pub fn unknown_stage(&self) -> Option<&str> {
        self.stage.iter().find(|pattern| StageKind::named(pattern).is_empty()).map(String::as_str)
    }
}

/// A job of the laboratory: two generated sources, keyed, into state, into transactional file sinks; or a generated
/// pipeline, of which `records`, `keys`, `skewed` and `disorder_ms` say what it was drawn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Which state.
    pub shape: Shape,
    /// Records of both sources together.
    pub records: u64,
    /// Seconds of simulated time over which the sources deliver them.
    pub seconds: u64,
    /// Different keys.
    pub keys: u64,
    /// Whether some keys come far more often than others.
    pub skewed: bool,
    /// Milliseconds by which records may be out of order.
    pub disorder_ms: u64,
    /// Length of windows in milliseconds of event time.
    pub window_ms: u64,
    /// Parallelism of sources, state and sinks.
    pub parallelism: u32,
    /// Task managers; each has slots enough for its share, and one more node waits as a spare.
    pub task_managers: u32,
    /// Milliseconds between two checkpoints.
    pub checkpoint_interval_ms: u64,
    /// Most records in a batch.
    pub batch_records: usize,
    /// Batches under way per channel.
    pub channel_credit: usize,
    /// State of at most this many bytes travels in acknowledgements.
    pub inline_threshold_bytes: usize,
    /// Seed of the generated records.
    pub data_seed: u64,
    /// Where keyed state lives.
    #[serde(default, skip_serializing_if = "Backend::is_default")]
    pub backend: Backend,
    /// The pipeline, if it is a generated one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Box<Generated>>,
}

/// Where everything of a run is on the simulated disk.
pub const OUTPUT: &str = "/out";
/// Where its checkpoints are.
pub const CHECKPOINTS: &str = "/checkpoints";
/// The job's id.
pub const JOB_ID: &str = "job";

impl Workload {
    /// The workload of `sim bench` and of the performance claims: 2,000 records over ten simulated minutes.
    pub fn standard() -> Self {
        Self {
            shape: Shape::Both,
            records: 2_000,
            seconds: 500,
            keys: 8,
            skewed: false,
            disorder_ms: 2_000,
            window_ms: 60_000,
            parallelism: 1,
            task_managers: 2,
            checkpoint_interval_ms: 25_000,
            batch_records: 16,
            channel_credit: 4,
            inline_threshold_bytes: 512,
            data_seed: 0,
            backend: Backend::Memory,
            generated: None,
        }
    }

    /// A small workload, drawn from a seed: what campaigns run.
    pub fn drawn(shape: Shape, fixed: &Fixed, seed: Seed) -> Self {
        let mut random = seed.child("workload").random();
        let mut workload = Self {
            shape,
            records: random.gen_range(60..=300),
            seconds: random.gen_range(20..=50),
            keys: random.gen_range(1..=12),
            skewed: random.gen_bool(0.3),
            disorder_ms: if random.gen_bool(0.5) { 0 } else { random.gen_range(1..=5_000) },
            window_ms: random.gen_range(1_000..=15_000),
            parallelism: random.gen_range(1..=3),
            task_managers: random.gen_range(1..=3),
            checkpoint_interval_ms: random.gen_range(1_000..=5_000),
            batch_records: random.gen_range(1..=8),
            channel_credit: random.gen_range(1..=4),
            inline_threshold_bytes: if random.gen_bool(0.5) { 0 } else { 4_096 },
            data_seed: random.r#gen::<u64>() >> 1,
            backend: Backend::Memory,
            generated: None,
        };
        if shape == Shape::Generated {
            workload.draw_generated_numbers(seed);
        }
        workload.parallelism = fixed.parallelism.unwrap_or(workload.parallelism);
        workload.task_managers = fixed.task_managers.unwrap_or(workload.task_managers);
        workload.inline_threshold_bytes = fixed.inline_threshold_bytes.unwrap_or(workload.inline_threshold_bytes);
        workload.records = fixed.records.unwrap_or(workload.records);
        workload.keys = fixed.keys.unwrap_or(workload.keys).max(1);
        workload.backend = fixed.backend.unwrap_or(workload.backend);
        if shape == Shape::Generated {
            let bounds = generated::Bounds {
                records: workload.records,
                seconds: workload.seconds,
                keys: workload.keys,
                skewed: workload.skewed,
                disorder_ms: workload.disorder_ms,
                parallelism: workload.parallelism,
                kinds: &fixed.kinds(),
                stages_max: fixed.stages_max.unwrap_or(3),
            };
            workload.draw_generated(&bounds, seed.child("generated"));
        }
        workload
    }

    /// Draws until a pipeline has one right result: the rules that it is drawn by leave out most that have not.
    fn draw_generated(&mut self, bounds: &generated::Bounds<'_>, seed: Seed) {
        for attempt in 0..20 {
            let generated = Generated::drawn(bounds, seed.child(&attempt.to_string()));
            self.generated = Some(Box::new(generated));
            if Model::new(&self.pipeline()).is_ok() {
                return;
            }
        }
    }

    /// Scripts are shorter, and their event times lie closer together.
    fn draw_generated_numbers(&mut self, seed: Seed) {
        let mut random = seed.child("generated-workload").random();
        self.records = random.gen_range(20..=80);
        self.seconds = random.gen_range(6..=20);
        self.keys = random.gen_range(1..=5);
        self.disorder_ms = if random.gen_bool(0.4) { 0 } else { random.gen_range(1..=800) };
        self.checkpoint_interval_ms = random.gen_range(800..=2_500);
    }

    /// The pipeline that follows.
    pub fn pipeline(&self) -> Pipeline {
        let mut pipeline = Pipeline::new(JOB_ID).with_parallelism(self.parallelism);
        pipeline.max_parallelism = Some(16);
        let mut checkpoint = Checkpoint::every(Duration::from_millis(self.checkpoint_interval_ms));
        checkpoint.dir = Some(CHECKPOINTS.into());
        pipeline.checkpoint = Some(checkpoint);
        pipeline.config = self.options();
        if let Some(generated) = &self.generated {
            let Pipeline { sources, stages, sinks, .. } = generated.pipeline();
            return Pipeline { sources, stages, sinks, ..pipeline };
        }
        pipeline = pipeline.source(self.source("left", 0)).source(self.source("right", 1));
        if matches!(self.shape, Shape::Value | Shape::Both) {
            pipeline = pipeline.stage(self.totals()).sink(sink("totals-out", "totals"));
        }
        if matches!(self.shape, Shape::Window | Shape::Both) {
            pipeline = pipeline.stage(self.windows()).sink(sink("windows-out", "windows"));
        }
        pipeline
    }

    fn options(&self) -> std::collections::BTreeMap<String, String> {
        let incremental = self.backend == Backend::RocksdbIncremental;
        let options = [
            ("execution.checkpointing.timeout", "20 s".to_owned()),
            ("execution.checkpointing.tolerable-failed-checkpoints", "1000".to_owned()),
            ("execution.checkpointing.num-retained", "2".to_owned()),
            ("execution.checkpointing.data-inline-threshold", format!("{} b", self.inline_threshold_bytes)),
            ("restart-strategy.type", "fixed-delay".to_owned()),
            ("restart-strategy.fixed-delay.attempts", "1000".to_owned()),
            ("restart-strategy.fixed-delay.delay", "500 ms".to_owned()),
            ("heartbeat.interval", "2 s".to_owned()),
            ("heartbeat.timeout", "8 s".to_owned()),
            ("pipeline.auto-watermark-interval", "1 s".to_owned()),
            ("state.backend.type", self.backend.option().to_owned()),
            ("tidegate.batch-records", self.batch_records.to_string()),
            ("taskmanager.network.memory.buffers-per-channel", self.channel_credit.to_string()),
        ];
        let incremental = incremental.then(|| ("execution.checkpointing.incremental", "true".to_owned()));
        options.into_iter().chain(incremental).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn source(&self, name: &str, number: u64) -> Source {
        let count = (self.records / 2).max(1);
        let generator = GeneratorSource {
            count: Some(count),
            rate: Some((count / self.seconds.max(1)).max(1)),
            keys: self.keys,
            key_distribution: if self.skewed { KeyDistribution::Skewed } else { KeyDistribution::Uniform },
            start_ms: 0,
            step: Duration::from_millis((self.seconds * 1_000 / count).max(1)),
            disorder: Duration::from_millis(self.disorder_ms),
            splits: self.parallelism,
            seed: self.data_seed.wrapping_add(number),
        };
        let event_time = EventTime::new("time_ms").out_of_order_by(Duration::from_millis(self.disorder_ms));
        Source::new(name, SourceKind::Generator(generator)).with_event_time(event_time)
    }

    fn totals(&self) -> Stage {
        let aggregate = AggregateOperation {
            key: vec!["key".into()],
            aggregates: vec![Assignment::new("records", "count()"), Assignment::new("total", "sum(value)")],
            emit: Emit::Updates,
        };
        let mut stage = Stage::new("totals", "left", Operation::Aggregate(aggregate));
        stage.inputs.push("right".into());
        stage
    }

    fn windows(&self) -> Stage {
        let assigner = Assigner::Tumbling { size: Duration::from_millis(self.window_ms), offset: Duration::ZERO };
        let aggregates = [Assignment::new("records", "count()"), Assignment::new("total", "sum(value)")];
        let window = WindowOperation::new(&["key"], assigner, aggregates);
        let mut stage = Stage::new("windows", "left", Operation::Window(window));
        stage.inputs.push("right".into());
        stage
    }
}

fn sink(name: &str, input: &str) -> Sink {
    Sink::new(name, input, SinkKind::File(FileSink::new(format!("{OUTPUT}/{name}"), Format::Csv)))
}
