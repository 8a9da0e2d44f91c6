//! What a job can be told: checkpointing, restarts, buffers. Defaults are Flink's.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// What a checkpoint guarantees after a failure (Flink `CheckpointingMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CheckpointingMode {
    /// Each record counts once in restored state.
    #[default]
    ExactlyOnce,
    /// Records may count again; nothing waits for barriers.
    AtLeastOnce,
}

/// Where keyed state lives while the job runs (`state.backend.type`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateBackend {
    /// On the heap (Flink `HashMapStateBackend`).
    #[default]
    HashMap,
    /// In RocksDB, on local disk (Flink `EmbeddedRocksDBStateBackend`).
    RocksDb(RocksDbOptions),
}

/// Options of the RocksDB state backend.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RocksDbOptions {
    /// Whether a checkpoint refers to the files that earlier ones have kept, instead of keeping them again
    /// (`execution.checkpointing.incremental`). Only with checkpoints in files; others hold everything.
    pub incremental: bool,
    /// Where the databases lie; empty is the process's temporary directory (`state.backend.rocksdb.localdir`).
    pub local_directories: Vec<PathBuf>,
    /// When RocksDB merges its files. A simulation sets this itself.
    pub background_work: BackgroundWork,
}

/// When RocksDB does the work that no call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackgroundWork {
    /// Whenever it sees fit, on threads of its own.
    #[default]
    Automatic,
    /// While a snapshot is taken, so that the same calls make the same files.
    AtSnapshots,
}

/// What to do when a program without RocksDB is asked for it.
pub const HOW_TO_BUILD_ROCKSDB: &str = "build it with `cargo build --release --package tidegate --features rocksdb` \
     (half an hour of C++, once), or choose `state.backend.type: hashmap`";

/// Where checkpoints are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointStorageConfig {
    /// In the job manager's memory: lost with it. For local development.
    #[default]
    JobManager,
    /// In a directory that every process of the cluster reaches.
    FileSystem {
        /// The directory (`execution.checkpointing.dir`).
        directory: PathBuf,
    },
}

/// Checkpointing of a job (Flink `CheckpointConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointConfig {
    /// Time between two triggers; `None` turns checkpointing off (`execution.checkpointing.interval`).
    pub interval: Option<Duration>,
    /// `execution.checkpointing.mode`.
    pub mode: CheckpointingMode,
    /// A checkpoint that takes longer is given up (`execution.checkpointing.timeout`).
    pub timeout: Duration,
    /// Least time between the end of one and the start of the next (`execution.checkpointing.min-pause`).
    pub min_pause: Duration,
    /// How many may be under way at once (`execution.checkpointing.max-concurrent-checkpoints`).
    pub max_concurrent: usize,
    /// How many may fail in a row before the job does (`execution.checkpointing.tolerable-failed-checkpoints`).
    pub tolerable_failures: u32,
    /// How many completed ones are kept (`execution.checkpointing.num-retained`).
    pub retained: usize,
    /// Where they are kept.
    pub storage: CheckpointStorageConfig,
    /// State of at most this many bytes goes into `_metadata` itself (`execution.checkpointing.data-inline-threshold`).
    pub inline_threshold_bytes: usize,
    /// Most bytes that one operator of one subtask may keep in the job manager's memory. Flink has no option for it
    /// either (`MemoryStateBackend(maxStateSize)`, `DEFAULT_MAX_STATE_SIZE`).
    pub memory_state_bytes_max: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            interval: None,
            mode: CheckpointingMode::ExactlyOnce,
            timeout: Duration::from_secs(600),
            min_pause: Duration::ZERO,
            max_concurrent: 1,
            tolerable_failures: 0,
            retained: 1,
            storage: CheckpointStorageConfig::JobManager,
            inline_threshold_bytes: 20 * 1024,
            memory_state_bytes_max: 5 << 20,
        }
    }
}

/// What happens after a failure (Flink `RestartStrategyOptions`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartConfig {
    /// The first failure ends the job.
    #[serde(alias = "off", alias = "disable")]
    None,
    /// A number of restarts, with a pause before each.
    FixedDelay {
        /// Restarts in total.
        attempts: u32,
        /// Pause before a restart.
        delay: Duration,
    },
    /// Restarts as long as failures are rare enough.
    FailureRate {
        /// Failures that are tolerated within the interval.
        max_failures_per_interval: u32,
        /// The interval.
        interval: Duration,
        /// Pause before a restart.
        delay: Duration,
    },
    /// Pauses that grow with each failure and are forgotten after a quiet time.
    ExponentialDelay {
        /// First pause.
        initial_backoff: Duration,
        /// Longest pause.
        max_backoff: Duration,
        /// Factor from pause to pause.
        backoff_multiplier: f64,
        /// A run this long without failure starts over with the first pause.
        reset_backoff_threshold: Duration,
        /// Random part of a pause, as a fraction of it.
        jitter_factor: f64,
        /// Failures tolerated before a reset; `None` is no limit.
        attempts_before_reset_backoff: Option<u32>,
    },
}

/// Everything about a job except its graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobConfig {
    /// The job's name.
    pub name: String,
    /// Parallelism of what states none (`parallelism.default`).
    pub parallelism: u32,
    /// Number of key groups; `None` derives it from the parallelism (`pipeline.max-parallelism`).
    pub max_parallelism: Option<u32>,
    /// Checkpointing.
    pub checkpoints: CheckpointConfig,
    /// Where keyed state lives.
    pub state_backend: StateBackend,
    /// What happens after a failure; `None` is Flink's default: exponential delay with checkpointing, none without.
    pub restart: Option<RestartConfig>,
    /// How often sources emit watermarks (`pipeline.auto-watermark-interval`).
    pub auto_watermark_interval: Duration,
    /// Whether an operator goes on with the watermark that it had at the checkpoint (`tidegate.restore-watermark`). Flink's
    /// operators have none until the sources tell one; then late records count as in time, and timers fire earlier.
    pub restore_watermark: bool,
    /// Most records in one batch.
    pub batch_records: usize,
    /// Batches that may be under way on one channel: its initial credit
    /// (`taskmanager.network.memory.buffers-per-channel`).
    pub channel_credit: usize,
    /// How often the job manager asks for a sign of life (`heartbeat.interval`).
    pub heartbeat_interval: Duration,
    /// Silence after which a process counts as dead (`heartbeat.timeout`).
    pub heartbeat_timeout: Duration,
}

impl JobConfig {
    /// Whether checkpoints share files. The job manager's memory takes them whole.
    pub fn takes_incremental_checkpoints(&self) -> bool {
        let incremental = match &self.state_backend {
            StateBackend::RocksDb(options) => options.incremental,
            StateBackend::HashMap => false,
        };
        incremental && self.checkpoints.storage != CheckpointStorageConfig::JobManager
    }
}

impl Default for JobConfig {
    fn default() -> Self {
        Self {
            name: "job".into(),
            parallelism: 1,
            max_parallelism: None,
            checkpoints: CheckpointConfig::default(),
            state_backend: StateBackend::default(),
            restart: None,
            auto_watermark_interval: Duration::from_millis(200),
            restore_watermark: true,
            batch_records: 1024,
            channel_credit: 8,
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_timeout: Duration::from_secs(50),
        }
    }
}
