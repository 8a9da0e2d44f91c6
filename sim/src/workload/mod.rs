//! The jobs that the laboratory runs: a few numbers, from which a declarative pipeline follows, or a generated pipeline.

mod generated;
mod kind;
mod script;
mod stages;
#[cfg(test)]
mod tests;
mod windows;

use std::time::Duration;

use rand::{Rng as _, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};
use tidegate::config::{ClaimMode, RetentionPolicy};
use tidegate::pipeline::{
    AggregateOperation, Assigner, Assignment, Checkpoint, Emit, EventTime, FileSink, Format, GeneratorSource,
    KeyDistribution, Operation, Pipeline, Sink, SinkKind, Source, SourceKind, Stage, WindowOperation,
};

pub use generated::Generated;
pub use kind::{AssignerKind, FunctionKind, KeyedKind, StageKind, TriggerKind, WindowKind};
pub use script::Script;

use crate::{model::Model, seed::Seed, world::network::NetworkConfig};

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
    /// Two pipelines that share nothing: running aggregates of one source, windows of the other.
    Apart,
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

/// Whether a run changes the parallelism of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parallelism {
    /// It stays as it was drawn.
    Fixed,
    /// It goes up and down.
    Changing,
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
    /// See [`Workload::seconds`].
    pub seconds: Option<u64>,
    /// See [`Workload::disorder_ms`].
    pub disorder_ms: Option<u64>,
    /// See [`Workload::window_ms`].
    pub window_ms: Option<u64>,
    /// See [`Workload::checkpoint_interval_ms`].
    pub checkpoint_interval_ms: Option<u64>,
    /// See [`Workload::second_percent`].
    pub second_percent: Option<u64>,
    /// See [`Workload::second_parallelism`].
    pub second_parallelism: Option<u32>,
    /// See [`Workload::standby`].
    pub standby: Option<bool>,
    /// See [`Workload::backend`].
    pub backend: Option<Backend>,
    /// See [`Workload::local_recovery`].
    pub local_recovery: Option<bool>,
    /// See [`Workload::channel_credit`].
    pub channel_credit: Option<usize>,
    /// See [`Workload::batch_records`].
    pub batch_records: Option<usize>,
    /// See [`Workload::latency_ms`].
    pub latency_ms: Option<u64>,
    /// Unaligned checkpoints, with this time-out: see [`Unaligned::aligned_timeout_ms`].
    pub aligned_timeout_ms: Option<u64>,
    /// Names of kinds, or first parts of them: the first stage with state of a generated pipeline is one of these.
    #[serde(default)]
    pub stage: Vec<String>,
    /// See [`Workload::retention`].
    pub retention: Option<RetentionPolicy>,
    /// See [`Workload::claim_mode`].
    pub claim_mode: Option<ClaimMode>,
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
    /// How much of its share the second source has, in percent: less than 100 ends it early.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub second_percent: u64,
    /// Parallelism of the second of two pipelines that share nothing, if it has one of its own: then some task managers hold
    /// the first one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_parallelism: Option<u32>,
    /// Whether a second job manager stands by.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standby: bool,
    /// Where keyed state lives.
    #[serde(default, skip_serializing_if = "Backend::is_default")]
    pub backend: Backend,
    /// Whether task managers keep copies of state files, and subtasks restore from them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local_recovery: bool,
    /// How barriers may overtake data; `None` lets them not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unaligned: Option<Unaligned>,
    /// Milliseconds that a message needs at most; `None` is less than one. It takes time for credit to come back, so data
    /// waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// Bytes of a buffer between task managers: records may be larger.
    #[serde(default = "usual_buffer", skip_serializing_if = "is_usual_buffer")]
    pub buffer_bytes: usize,
    /// What becomes of checkpoints when the job is cancelled; `None` leaves the option out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionPolicy>,
    /// Whose a checkpoint or savepoint is that the job is started from.
    #[serde(default, skip_serializing_if = "is_not_claimed")]
    pub claim_mode: ClaimMode,
    /// The pipeline, if it is a generated one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Box<Generated>>,
}

/// How barriers overtake data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unaligned {
    /// Milliseconds after the trigger during which they do not.
    pub aligned_timeout_ms: u64,
}

impl Unaligned {
    /// The time-outs that are drawn: none, one that always passes, some that may, and one that never passes.
    const TIMEOUTS_MS: [u64; 7] = [0, 0, 1, 5, 50, 1_000, 86_400_000];

    fn drawn(seed: Seed) -> Option<Self> {
        let mut random = seed.random();
        let aligned_timeout_ms = *Self::TIMEOUTS_MS.choose(&mut random)?;
        random.gen_bool(0.5).then_some(Self { aligned_timeout_ms })
    }
}

/// Most networks are quick; some make data wait for as long as a checkpoint takes, or longer.
fn drawn_latency_ms(seed: Seed) -> Option<u64> {
    let mut random = seed.random();
    let latency_ms = *[5, 50, 200].choose(&mut random)?;
    random.gen_bool(0.25).then_some(latency_ms)
}

/// Flink's size of a buffer.
const USUAL_BUFFER: usize = 32 * 1024;
/// The sizes that are drawn: every record is larger than the smallest.
const BUFFERS: [usize; 5] = [USUAL_BUFFER, USUAL_BUFFER, 200, 40, 5];

fn usual_buffer() -> usize {
    USUAL_BUFFER
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_not_claimed(claim_mode: &ClaimMode) -> bool {
    *claim_mode == ClaimMode::default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_buffer(buffer_bytes: &usize) -> bool {
    *buffer_bytes == USUAL_BUFFER
}

fn whole() -> u64 {
    100
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_whole(percent: &u64) -> bool {
    *percent == whole()
}

/// Whether its results do not depend on the parallelism: a buffer in several subtasks holds other records in each.
fn is_the_same_at_any_parallelism(pipeline: &Pipeline) -> bool {
    let one_buffer = |stage: &Stage| !matches!(stage.operation, Operation::Buffer(_)) || stage.parallelism == Some(1);
    pipeline.stages.iter().all(one_buffer)
}

/// Where everything of a run is on the simulated disk.
pub const OUTPUT: &str = "/out";
/// Where its checkpoints are.
pub const CHECKPOINTS: &str = "/checkpoints";
/// Where its savepoints are.
pub const SAVEPOINTS: &str = "/savepoints";
/// Where its copies of state are on the disk of each machine: two directories, which take turns.
const LOCAL_STATE: &str = "/local-1,/local-2";
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
            second_percent: whole(),
            second_parallelism: None,
            standby: false,
            backend: Backend::Memory,
            local_recovery: false,
            unaligned: None,
            latency_ms: None,
            buffer_bytes: USUAL_BUFFER,
            retention: None,
            claim_mode: ClaimMode::default(),
            generated: None,
        }
    }

    /// A small workload, drawn from a seed: what campaigns run. One that is to be rescaled has the same results at any
    /// parallelism.
    pub fn drawn(shape: Shape, fixed: &Fixed, parallelism: Parallelism, seed: Seed) -> Self {
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
            standby: seed.child("standby").random().gen_bool(0.2),
            second_percent: seed.child("second-source").random().gen_range(1..=3) * 100 / 3,
            second_parallelism: None,
            backend: Backend::Memory,
            local_recovery: seed.child("local-recovery").random().gen_bool(0.25),
            unaligned: Unaligned::drawn(seed.child("unaligned")),
            latency_ms: drawn_latency_ms(seed.child("latency")),
            buffer_bytes: *BUFFERS.choose(&mut seed.child("buffer").random()).unwrap_or(&USUAL_BUFFER),
            retention: None,
            claim_mode: ClaimMode::default(),
            generated: None,
        };
        if shape == Shape::Generated {
            workload.draw_generated_numbers(seed);
        }
        workload.parallelism = fixed.parallelism.unwrap_or(workload.parallelism);
        if shape == Shape::Apart {
            let is_narrow = seed.child("second-parallelism").random().gen_bool(0.5);
            workload.second_parallelism = fixed.second_parallelism.or(is_narrow.then_some(1));
        }
        workload.task_managers = fixed.task_managers.unwrap_or(workload.task_managers);
        workload.inline_threshold_bytes = fixed.inline_threshold_bytes.unwrap_or(workload.inline_threshold_bytes);
        workload.records = fixed.records.unwrap_or(workload.records);
        workload.keys = fixed.keys.unwrap_or(workload.keys).max(1);
        workload.seconds = fixed.seconds.unwrap_or(workload.seconds);
        workload.disorder_ms = fixed.disorder_ms.unwrap_or(workload.disorder_ms);
        workload.window_ms = fixed.window_ms.unwrap_or(workload.window_ms).max(1);
        workload.checkpoint_interval_ms =
            fixed.checkpoint_interval_ms.unwrap_or(workload.checkpoint_interval_ms).max(1);
        workload.second_percent = fixed.second_percent.unwrap_or(workload.second_percent).clamp(1, 100);
        workload.standby = fixed.standby.unwrap_or(workload.standby);
        workload.backend = fixed.backend.unwrap_or(workload.backend);
        workload.local_recovery = fixed.local_recovery.unwrap_or(workload.local_recovery);
        workload.channel_credit = fixed.channel_credit.unwrap_or(workload.channel_credit);
        workload.latency_ms = fixed.latency_ms.or(workload.latency_ms);
        workload.batch_records = fixed.batch_records.unwrap_or(workload.batch_records);
        if let Some(aligned_timeout_ms) = fixed.aligned_timeout_ms {
            workload.unaligned = Some(Unaligned { aligned_timeout_ms });
        }
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
            workload.draw_generated(&bounds, parallelism, seed.child("generated"));
        }
        workload
    }

    /// Draws what becomes of checkpoints and savepoints: only jobs that somebody stops or cancels need to know.
    pub(crate) fn draw_ownership(&mut self, fixed: &Fixed, seed: Seed) {
        let mut random = seed.random();
        let retention = [RetentionPolicy::RetainOnCancellation, RetentionPolicy::RetainOnFailure];
        let retention = if random.gen_bool(0.8) { retention[0] } else { retention[1] };
        let claim_modes = [ClaimMode::NoClaim, ClaimMode::NoClaim, ClaimMode::Claim, ClaimMode::Legacy];
        let claim_mode = claim_modes.choose(&mut random).copied().unwrap_or_default();
        self.retention = fixed.retention.or(Some(retention));
        self.claim_mode = fixed.claim_mode.unwrap_or(claim_mode);
    }

    /// Draws until a pipeline has one right result: the rules that it is drawn by leave out most that have not.
    fn draw_generated(&mut self, bounds: &generated::Bounds<'_>, parallelism: Parallelism, seed: Seed) {
        for attempt in 0..20 {
            let generated = Generated::drawn(bounds, seed.child(&attempt.to_string()));
            self.generated = Some(Box::new(generated));
            let pipeline = self.pipeline();
            let fits = parallelism == Parallelism::Fixed || is_the_same_at_any_parallelism(&pipeline);
            if fits && Model::new(&pipeline).is_ok() {
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
        if self.shape == Shape::Apart {
            let (mut totals, mut windows) = (self.totals(), self.windows());
            totals.inputs = vec!["left".into()];
            windows.inputs = vec!["right".into()];
            let mut windows_out = sink("windows-out", "windows");
            pipeline.sources[1].parallelism = self.second_parallelism;
            (windows.parallelism, windows_out.parallelism) = (self.second_parallelism, self.second_parallelism);
            let totals = pipeline.stage(totals).sink(sink("totals-out", "totals"));
            return totals.stage(windows).sink(windows_out);
        }
        if matches!(self.shape, Shape::Value | Shape::Both) {
            pipeline = pipeline.stage(self.totals()).sink(sink("totals-out", "totals"));
        }
        if matches!(self.shape, Shape::Window | Shape::Both) {
            pipeline = pipeline.stage(self.windows()).sink(sink("windows-out", "windows"));
        }
        pipeline
    }

    /// The network that it runs over.
    pub(crate) fn network(&self) -> NetworkConfig {
        let Some(latency_ms) = self.latency_ms else { return NetworkConfig::default() };
        let latency_max = Duration::from_millis(latency_ms);
        NetworkConfig { latency_min: latency_max / 4, latency_max, ..NetworkConfig::default() }
    }

    /// The workload in a line.
    pub fn summary(&self) -> String {
        let what = match &self.generated {
            Some(generated) => {
                format!("{}, script: {}", generated.kinds.join(" → "), String::from(generated.script.clone()))
            }
            None => format!("{} records, {} keys, {} s", self.records, self.keys, self.seconds),
        };
        format!(
            "{what}; parallelism {}, {} task managers, a checkpoint every {} ms",
            self.parallelism, self.task_managers, self.checkpoint_interval_ms
        )
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
            ("taskmanager.memory.segment-size", format!("{} b", self.buffer_bytes)),
        ];
        let unaligned = self.unaligned.map(|Unaligned { aligned_timeout_ms }| {
            [
                ("execution.checkpointing.unaligned.enabled", "true".to_owned()),
                ("execution.checkpointing.aligned-checkpoint-timeout", format!("{aligned_timeout_ms} ms")),
            ]
        });
        let incremental = incremental.then(|| ("execution.checkpointing.incremental", "true".to_owned()));
        let retention = self.retention.map(|policy| {
            let policy = match policy {
                RetentionPolicy::NeverRetain => "NO_EXTERNALIZED_CHECKPOINTS",
                RetentionPolicy::RetainOnFailure => "DELETE_ON_CANCELLATION",
                RetentionPolicy::RetainOnCancellation => "RETAIN_ON_CANCELLATION",
            };
            ("execution.checkpointing.externalized-checkpoint-retention", policy.to_owned())
        });
        let claim_mode = match self.claim_mode {
            ClaimMode::NoClaim => None,
            ClaimMode::Claim => Some("CLAIM"),
            ClaimMode::Legacy => Some("LEGACY"),
        };
        let claim_mode = claim_mode.map(|mode| ("execution.state-recovery.claim-mode", mode.to_owned()));
        let local_recovery = [
            ("execution.state-recovery.from-local", "true"),
            ("execution.checkpointing.local-backup.dirs", LOCAL_STATE),
        ];
        let local_recovery = local_recovery.into_iter().filter(|_| self.local_recovery);
        let local_recovery = local_recovery.map(|(name, value)| (name, value.to_owned()));
        let standby = [
            ("high-availability.type", "filesystem"),
            ("high-availability.filesystem.lease-duration", "6 s"),
            ("high-availability.filesystem.retry-period", "1 s"),
        ];
        let standby = standby.into_iter().filter(|_| self.standby).map(|(name, value)| (name, value.to_owned()));
        options
            .into_iter()
            .chain(incremental)
            .chain(retention)
            .chain(claim_mode)
            .chain(local_recovery)
            .chain(standby)
            .chain(unaligned.into_iter().flatten())
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn source(&self, name: &str, number: u64) -> Source {
        let count = (self.records / 2).max(1);
        let percent = if number == 0 { 100 } else { self.second_percent };
        let generator = GeneratorSource {
            count: Some((count * percent / 100).max(1)),
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
