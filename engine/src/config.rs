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

/// What the end of some subtasks means for checkpoints (`execution.checkpointing.checkpoints-after-tasks-finish`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterTasksFinish {
    /// They go on with those that run, and each subtask ends with a checkpoint that covers its last record (FLIP-147).
    #[default]
    Continue,
    /// There are none any more, and a subtask ends with its data: what its transactional sink wrote since the last
    /// completed checkpoint is dropped. Flink before 1.15.
    Refuse,
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

/// What becomes of the checkpoints of a job that ends (Flink `ExternalizedCheckpointRetention`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum RetentionPolicy {
    /// All are deleted.
    #[default]
    #[serde(rename = "NO_EXTERNALIZED_CHECKPOINTS")]
    NeverRetain,
    /// Kept if the job failed.
    #[serde(rename = "DELETE_ON_CANCELLATION")]
    RetainOnFailure,
    /// Kept unless the job finished.
    #[serde(rename = "RETAIN_ON_CANCELLATION")]
    RetainOnCancellation,
}

/// Whose a checkpoint or savepoint is that a job starts from (Flink `RecoveryClaimMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClaimMode {
    /// The user's. The job refers to none of its files: as soon as it has a checkpoint of its own, it may be deleted.
    #[default]
    NoClaim,
    /// The job's: it is deleted when newer ones make it superfluous.
    Claim,
    /// The user's, but checkpoints of the job may refer to its files: it must stay. Deprecated.
    Legacy,
}

/// Checkpointing of a job (Flink `CheckpointConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointConfig {
    /// Time between two triggers; `None` turns checkpointing off (`execution.checkpointing.interval`).
    pub interval: Option<Duration>,
    /// `execution.checkpointing.mode`.
    pub mode: CheckpointingMode,
    /// Whether barriers may overtake data, which becomes part of the checkpoint
    /// (`execution.checkpointing.unaligned.enabled`). Only exactly-once, and one checkpoint at a time.
    pub unaligned: bool,
    /// So long after its trigger a checkpoint stays aligned before its barriers overtake; zero is not at all
    /// (`execution.checkpointing.aligned-checkpoint-timeout`).
    pub aligned_timeout: Duration,
    /// A checkpoint that takes longer is given up (`execution.checkpointing.timeout`).
    pub timeout: Duration,
    /// Least time between the end of one and the start of the next (`execution.checkpointing.min-pause`).
    pub min_pause: Duration,
    /// How many may be under way at once (`execution.checkpointing.max-concurrent-checkpoints`).
    pub max_concurrent: usize,
    /// How many may fail in a row before the job does (`execution.checkpointing.tolerable-failed-checkpoints`).
    pub tolerable_failures: u32,
    /// Whether there are checkpoints when some subtasks have finished
    /// (`execution.checkpointing.checkpoints-after-tasks-finish`).
    pub after_tasks_finish: AfterTasksFinish,
    /// How many completed ones are kept (`execution.checkpointing.num-retained`).
    pub retained: usize,
    /// Where they are kept.
    pub storage: CheckpointStorageConfig,
    /// What becomes of them when the job ends (`execution.checkpointing.externalized-checkpoint-retention`). If nothing is
    /// said, none are kept when it has finished or was cancelled; and a job that failed is not over, other than in Flink:
    /// who starts it again, with the cause removed, lets it go on.
    pub retention: Option<RetentionPolicy>,
    /// Whose a checkpoint is that the job starts from (`execution.state-recovery.claim-mode`).
    pub claim_mode: ClaimMode,
    /// Where savepoints go for which nobody names a place (`execution.checkpointing.savepoint-dir`).
    pub savepoint_directory: Option<PathBuf>,
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
            unaligned: false,
            aligned_timeout: Duration::ZERO,
            timeout: Duration::from_secs(600),
            min_pause: Duration::ZERO,
            max_concurrent: 1,
            tolerable_failures: 0,
            after_tasks_finish: AfterTasksFinish::default(),
            retained: 1,
            storage: CheckpointStorageConfig::JobManager,
            retention: None,
            claim_mode: ClaimMode::default(),
            savepoint_directory: None,
            inline_threshold_bytes: 20 * 1024,
            memory_state_bytes_max: 5 << 20,
        }
    }
}

impl CheckpointConfig {
    /// Whether barriers may overtake data: at-least-once, nothing waits that they could overtake.
    pub fn takes_unaligned_checkpoints(&self) -> bool {
        self.unaligned && self.mode == CheckpointingMode::ExactlyOnce
    }

    /// Whether the settings go together.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.takes_unaligned_checkpoints() && self.max_concurrent != 1 {
            return Err(
                "unaligned checkpoints are taken one at a time: max-concurrent-checkpoints must be 1, or unaligned.enabled false",
            );
        }
        Ok(())
    }
}

/// Which tasks start again when one fails (`jobmanager.execution.failover-strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailoverStrategy {
    /// Those of its region: all that are connected to it, by whatever way. The others run on.
    Region,
    /// All.
    Full,
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

/// Several job managers for one job, of which one leads (`high-availability.type: filesystem`).
///
/// Flink's stores are ZooKeeper and Kubernetes; this one is the directory of the job's checkpoints. The names and defaults
/// of the times are those of `high-availability.kubernetes.leader-election.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighAvailability {
    /// A lease that is not renewed for so long has expired (`high-availability.filesystem.lease-duration`).
    pub lease_duration: Duration,
    /// How often it is renewed, and looked at (`high-availability.filesystem.retry-period`).
    pub retry_period: Duration,
}

impl Default for HighAvailability {
    fn default() -> Self {
        Self { lease_duration: Duration::from_secs(15), retry_period: Duration::from_secs(5) }
    }
}

/// Task-local recovery: copies of state files on the disks of the task managers that wrote them. A checkpoint does not need
/// them; a restart that finds them need not fetch its state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LocalRecovery {
    /// Whether subtasks are placed where they ran before, and restore from the copies there
    /// (`execution.state-recovery.from-local`).
    pub from_local: bool,
    /// Whether copies are kept (`execution.checkpointing.local-backup.enabled`).
    pub backup: bool,
    /// Where, on each task manager; empty is `tidegate-local-state` in the process's temporary directory
    /// (`execution.checkpointing.local-backup.dirs`).
    pub directories: Vec<PathBuf>,
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
    /// Copies of state where it was written.
    pub local_recovery: LocalRecovery,
    /// What happens after a failure; `None` is Flink's default: exponential delay with checkpointing, none without.
    pub restart: Option<RestartConfig>,
    /// Which tasks start again; `None` is Flink's default, those of the region.
    pub failover_strategy: Option<FailoverStrategy>,
    /// How often sources emit watermarks (`pipeline.auto-watermark-interval`).
    pub auto_watermark_interval: Duration,
    /// Whether an operator goes on with the watermark that it had at the checkpoint (`tidegate.restore-watermark`). Flink's
    /// operators have none until the sources tell one; then late records count as in time, and timers fire earlier.
    pub restore_watermark: bool,
    /// Whether state may be left behind whose operator is not in the job any more (`--allow-non-restored-state`,
    /// `execution.state-recovery.ignore-unclaimed-state`); otherwise such a job does not start.
    pub ignore_unclaimed_state: bool,
    /// Most records in one batch.
    pub batch_records: usize,
    /// Batches that may be under way on one channel: its initial credit
    /// (`taskmanager.network.memory.buffers-per-channel`).
    pub channel_credit: usize,
    /// Where the job manager answers over HTTP, `host:port`; nowhere if not given (`rest.address`, `rest.port`).
    pub rest_address: Option<String>,
    /// Bytes of a buffer between task managers (`taskmanager.memory.segment-size`). What does not fit takes several.
    pub buffer_bytes: usize,
    /// How often the job manager asks for a sign of life (`heartbeat.interval`).
    pub heartbeat_interval: Duration,
    /// Silence after which a process counts as dead (`heartbeat.timeout`).
    pub heartbeat_timeout: Duration,
    /// Whether other job managers stand by (`high-availability.type`).
    pub high_availability: Option<HighAvailability>,
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
            local_recovery: LocalRecovery::default(),
            restart: None,
            failover_strategy: None,
            auto_watermark_interval: Duration::from_millis(200),
            restore_watermark: true,
            ignore_unclaimed_state: false,
            batch_records: 1024,
            channel_credit: 8,
            rest_address: None,
            buffer_bytes: 32 * 1024,
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_timeout: Duration::from_secs(50),
            high_availability: None,
        }
    }
}
