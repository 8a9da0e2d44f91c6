//! Options by Flink's names, new and old, and what they make of a [`JobConfig`].
//!
//! A key that Flink does not have is an error with the nearest name; so is a value that the engine cannot honour. Nothing
//! is silently ignored. Defaults are Flink's (2.1).

mod high_availability;
mod local_recovery;
mod state_backend;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use self::local_recovery::{FROM_LOCAL, LOCAL_BACKUP, LOCAL_BACKUP_DIRECTORIES};
use super::{
    duration::parse_duration,
    model::Pipeline,
    nearest,
    problem::{Place, Problem, Problems},
};
use crate::config::{
    AfterTasksFinish, CheckpointConfig, CheckpointStorageConfig, CheckpointingMode, ClaimMode, FailoverStrategy,
    JobConfig, RestartConfig, RetentionPolicy,
};

/// An option that the engine has.
struct Known {
    key: &'static str,
    old: &'static [&'static str],
}

const fn known(key: &'static str, old: &'static [&'static str]) -> Known {
    Known { key, old }
}

const INTERVAL: &str = "execution.checkpointing.interval";
const INTERVAL_DURING_BACKLOG: &str = "execution.checkpointing.interval-during-backlog";
const MODE: &str = "execution.checkpointing.mode";
const DIRECTORY: &str = "execution.checkpointing.dir";
const REST_PORT: &str = "rest.port";
const REST_ADDRESS: &str = "rest.address";
const RETENTION: &str = "execution.checkpointing.externalized-checkpoint-retention";
const CLAIM_MODE: &str = "execution.state-recovery.claim-mode";
const SAVEPOINT_DIRECTORY: &str = "execution.checkpointing.savepoint-dir";
const STORAGE: &str = "execution.checkpointing.storage";
const INCREMENTAL: &str = "execution.checkpointing.incremental";
const CONCURRENT: &str = "execution.checkpointing.max-concurrent-checkpoints";
const UNALIGNED: &str = "execution.checkpointing.unaligned.enabled";
const ALIGNED_TIMEOUT: &str = "execution.checkpointing.aligned-checkpoint-timeout";
const STATE_BACKEND: &str = "state.backend.type";
const UNCLAIMED: &str = "execution.state-recovery.ignore-unclaimed-state";
const RESTART: &str = "restart-strategy.type";

const KNOWN: [Known; 52] = [
    known("parallelism.default", &[]),
    known("pipeline.name", &[]),
    known("pipeline.max-parallelism", &[]),
    known("pipeline.auto-watermark-interval", &[]),
    known(INTERVAL, &[]),
    known(MODE, &[]),
    known("execution.checkpointing.timeout", &[]),
    known("execution.checkpointing.min-pause", &[]),
    known(CONCURRENT, &[]),
    known("execution.checkpointing.tolerable-failed-checkpoints", &[]),
    known(UNALIGNED, &["execution.checkpointing.unaligned"]),
    known(ALIGNED_TIMEOUT, &["execution.checkpointing.alignment-timeout"]),
    known("execution.checkpointing.checkpoints-after-tasks-finish", &[]),
    known("execution.checkpointing.num-retained", &["state.checkpoints.num-retained"]),
    known(RETENTION, &["execution.checkpointing.externalized-checkpoint-retention.mode"]),
    known(CLAIM_MODE, &["execution.savepoint-restore-mode"]),
    known(SAVEPOINT_DIRECTORY, &["state.savepoints.dir"]),
    known(DIRECTORY, &["state.checkpoints.dir"]),
    known(STORAGE, &["state.checkpoint-storage"]),
    known(INCREMENTAL, &["state.backend.incremental"]),
    known("execution.checkpointing.data-inline-threshold", &["state.storage.fs.memory-threshold"]),
    known(LOCAL_BACKUP, &[]),
    known(LOCAL_BACKUP_DIRECTORIES, &["taskmanager.state.local.root-dirs"]),
    known(FROM_LOCAL, &["state.backend.local-recovery"]),
    known(STATE_BACKEND, &["state.backend"]),
    known("state.backend.rocksdb.localdir", &[]),
    known("io.tmp.dirs", &["taskmanager.tmp.dirs"]),
    known(RESTART, &["restart-strategy"]),
    known("jobmanager.execution.failover-strategy", &[]),
    known("restart-strategy.fixed-delay.attempts", &[]),
    known("restart-strategy.fixed-delay.delay", &[]),
    known("restart-strategy.failure-rate.max-failures-per-interval", &[]),
    known("restart-strategy.failure-rate.failure-rate-interval", &[]),
    known("restart-strategy.failure-rate.delay", &[]),
    known("restart-strategy.exponential-delay.initial-backoff", &[]),
    known("restart-strategy.exponential-delay.max-backoff", &[]),
    known("restart-strategy.exponential-delay.backoff-multiplier", &[]),
    known("restart-strategy.exponential-delay.reset-backoff-threshold", &[]),
    known("restart-strategy.exponential-delay.jitter-factor", &[]),
    known("restart-strategy.exponential-delay.attempts-before-reset-backoff", &[]),
    known(REST_PORT, &[]),
    known(REST_ADDRESS, &[]),
    known(UNCLAIMED, &["execution.savepoint.ignore-unclaimed-state"]),
    known("heartbeat.interval", &[]),
    known("heartbeat.timeout", &[]),
    known("high-availability.type", &["high-availability"]),
    known("high-availability.filesystem.lease-duration", &[]),
    known("high-availability.filesystem.retry-period", &[]),
    known("taskmanager.network.memory.buffers-per-channel", &[]),
    known("taskmanager.memory.segment-size", &[]),
    known("tidegate.batch-records", &[]),
    known("tidegate.restore-watermark", &[]),
];

/// Options of Flink for which the engine does one thing: values that mean it are accepted, any other is an error.
const FIXED: [(&str, &[&str], &[&str]); 4] = [
    ("execution.checkpointing.create-subdir", &["state.checkpoints.create-subdir"], &["true"]),
    ("execution.checkpointing.file-merging.enabled", &[], &["false"]),
    ("state.backend.rocksdb.timer-service.factory", &[], &["HEAP"]),
    ("state.changelog.enabled", &[], &["false"]),
];

impl Pipeline {
    /// What the pipeline says about the job: its own settings, `checkpoint` and `config`.
    ///
    /// # Errors
    /// Unknown options, bad values, and settings that are made twice.
    pub fn job_config(&self) -> Result<JobConfig, Problems> {
        let mut options = Options::new(&self.config);
        let mut config = JobConfig {
            name: self.name.clone(),
            parallelism: self.parallelism,
            max_parallelism: self.max_parallelism,
            ..JobConfig::default()
        };
        let twice = [
            ("parallelism.default", true, "parallelism"),
            ("pipeline.name", true, "name"),
            ("pipeline.max-parallelism", self.max_parallelism.is_some(), "max_parallelism"),
        ];
        for (key, set, field) in twice {
            // `parallelism` always has a value, so that the option would never have an effect.
            if set && options.values.contains_key(key) {
                options.conflict(key, field);
            }
        }
        options.set("pipeline.max-parallelism", &mut config.max_parallelism, |text| positive(text).map(Some));
        if let Some(checkpoint) = &self.checkpoint {
            let set = [(INTERVAL, true, "checkpoint.interval"), (MODE, true, "checkpoint.mode")];
            for (key, set, field) in set.into_iter().chain([(DIRECTORY, checkpoint.dir.is_some(), "checkpoint.dir")]) {
                if set && options.values.contains_key(key) {
                    options.conflict(key, field);
                }
            }
            if checkpoint.interval < MIN_INTERVAL {
                let place = Place::root().key("checkpoint").key("interval");
                options.problems.push(Problem::new(place, "the interval must be at least 10 ms"));
            }
            config.checkpoints.interval = Some(checkpoint.interval);
            config.checkpoints.mode = checkpoint.mode;
            if let Some(directory) = &checkpoint.dir {
                config.checkpoints.storage = CheckpointStorageConfig::FileSystem { directory: directory.into() };
            }
        }
        options.apply(&mut config);
        if options.problems.is_empty() { Ok(config) } else { Err(Problems(options.problems)) }
    }
}

/// Makes a configuration of options by name alone.
///
/// # Errors
/// Unknown options and bad values; the places are `config.KEY`.
pub fn job_config(options: &BTreeMap<String, String>) -> Result<JobConfig, Problems> {
    let mut options = Options::new(options);
    let mut config = JobConfig::default();
    options.set("pipeline.name", &mut config.name, |text| Ok(text.to_owned()));
    options.set("parallelism.default", &mut config.parallelism, positive);
    options.set("pipeline.max-parallelism", &mut config.max_parallelism, |text| positive(text).map(Some));
    options.apply(&mut config);
    if options.problems.is_empty() { Ok(config) } else { Err(Problems(options.problems)) }
}

const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// What a value would have to be.
type Expected = &'static str;

/// Options by their new names, with the names under which they were given.
struct Options<'a> {
    values: BTreeMap<&'static str, (&'a str, &'a str)>,
    problems: Vec<Problem>,
}

impl<'a> Options<'a> {
    fn new(given: &'a BTreeMap<String, String>) -> Self {
        let mut options = Self { values: BTreeMap::new(), problems: Vec::new() };
        for (key, value) in given {
            let matches = |name: &str, old: &[&str]| key == name || old.contains(&key.as_str());
            if let Some(known) = KNOWN.iter().find(|known| matches(known.key, known.old)) {
                if let Some((other, _)) = options.values.insert(known.key, (key, value)) {
                    let message = format!("`{key}` and `{other}` are the same option");
                    options.problems.push(Problem::new(place(key), message));
                }
            } else if let Some((name, _, only)) = FIXED.iter().find(|(name, old, _)| matches(name, old)) {
                if !only.iter().any(|only| value.eq_ignore_ascii_case(only)) {
                    let message = format!("`{name}` is not supported with the value `{value}`");
                    options
                        .problems
                        .push(Problem::new(place(key), message).with_hint(format!("only {} is", only.join(" or "))));
                }
            } else if key == INTERVAL_DURING_BACKLOG {
                let problem = Problem::new(place(key), format!("`{key}` has no effect"));
                let hint = "no source of this engine says that it works off a backlog: leave it out";
                options.problems.push(problem.with_hint(hint));
            } else {
                options.problems.push(unknown(key));
            }
        }
        options
    }

    fn conflict(&mut self, key: &str, field: &str) {
        if let Some((given, _)) = self.values.remove(key) {
            let message = format!("`{given}` sets what `{field}` sets");
            self.problems.push(Problem::new(place(given), message).with_hint("leave one of them out"));
        }
    }

    /// Sets a value if its option is there.
    fn set<T>(&mut self, key: &'static str, target: &mut T, parse: impl FnOnce(&str) -> Result<T, Expected>) {
        let Some((given, value)) = self.values.remove(key) else { return };
        match parse(value.trim()) {
            Ok(value) => *target = value,
            Err(expected) => {
                let problem = Problem::new(place(given), format!("`{value}` is no value for `{given}`"));
                self.problems.push(problem.with_hint(format!("expected {expected}")));
            }
        }
    }

    fn apply(&mut self, config: &mut JobConfig) {
        let incremental = self.state_backend(&mut config.state_backend);
        self.checkpoints(&mut config.checkpoints);
        self.incremental(incremental, &config.checkpoints);
        self.local_recovery(&mut config.local_recovery, &config.checkpoints);
        self.restart(&mut config.restart);
        let key = "jobmanager.execution.failover-strategy";
        self.set(key, &mut config.failover_strategy, |text| match text.to_ascii_lowercase().as_str() {
            "region" => Ok(Some(FailoverStrategy::Region)),
            "full" => Ok(Some(FailoverStrategy::Full)),
            _ => Err("region or full"),
        });
        self.high_availability(config);
        self.set("pipeline.auto-watermark-interval", &mut config.auto_watermark_interval, duration);
        self.rest(&mut config.rest_address);
        self.set("heartbeat.interval", &mut config.heartbeat_interval, positive_duration);
        self.set("heartbeat.timeout", &mut config.heartbeat_timeout, positive_duration);
        self.set("taskmanager.network.memory.buffers-per-channel", &mut config.channel_credit, positive);
        self.set("taskmanager.memory.segment-size", &mut config.buffer_bytes, buffer_size);
        self.set("tidegate.batch-records", &mut config.batch_records, positive);
        self.set(UNCLAIMED, &mut config.ignore_unclaimed_state, truth);
        self.set("tidegate.restore-watermark", &mut config.restore_watermark, truth);
        for (key, (given, _)) in std::mem::take(&mut self.values) {
            let message = format!("`{given}` has no effect here");
            let hint = match key {
                _ if key.starts_with("restart-strategy.") => "it belongs to another restart-strategy.type",
                ALIGNED_TIMEOUT => "it belongs to execution.checkpointing.unaligned.enabled: true",
                _ if key.starts_with("high-availability.") => "it belongs to high-availability.type: filesystem",
                LOCAL_BACKUP_DIRECTORIES => "it belongs to execution.checkpointing.local-backup.enabled: true",
                "state.backend.rocksdb.localdir" | "io.tmp.dirs" => "it belongs to state.backend.type: rocksdb",
                _ => "see the other options",
            };
            self.problems.push(Problem::new(place(given), message).with_hint(hint));
        }
    }

    fn checkpoints(&mut self, config: &mut CheckpointConfig) {
        self.set(INTERVAL, &mut config.interval, |text| {
            let interval = duration(text)?;
            if interval < MIN_INTERVAL { Err("a duration of at least 10 ms") } else { Ok(Some(interval)) }
        });
        self.set(MODE, &mut config.mode, |text| match text.to_ascii_uppercase().as_str() {
            "EXACTLY_ONCE" => Ok(CheckpointingMode::ExactlyOnce),
            "AT_LEAST_ONCE" => Ok(CheckpointingMode::AtLeastOnce),
            _ => Err("EXACTLY_ONCE or AT_LEAST_ONCE"),
        });
        self.set("execution.checkpointing.timeout", &mut config.timeout, |text| {
            let timeout = duration(text)?;
            if timeout < MIN_INTERVAL { Err("a duration of at least 10 ms") } else { Ok(timeout) }
        });
        self.set("execution.checkpointing.min-pause", &mut config.min_pause, duration);
        self.set(CONCURRENT, &mut config.max_concurrent, positive);
        self.set("execution.checkpointing.tolerable-failed-checkpoints", &mut config.tolerable_failures, whole);
        let key = "execution.checkpointing.checkpoints-after-tasks-finish";
        self.set(key, &mut config.after_tasks_finish, |text| {
            truth(text).map(|continues| if continues { AfterTasksFinish::Continue } else { AfterTasksFinish::Refuse })
        });
        self.set("execution.checkpointing.num-retained", &mut config.retained, positive);
        self.set("execution.checkpointing.data-inline-threshold", &mut config.inline_threshold_bytes, inline_threshold);
        self.set(RETENTION, &mut config.retention, |text| match text.to_ascii_uppercase().as_str() {
            "NO_EXTERNALIZED_CHECKPOINTS" => Ok(Some(RetentionPolicy::NeverRetain)),
            "DELETE_ON_CANCELLATION" => Ok(Some(RetentionPolicy::RetainOnFailure)),
            "RETAIN_ON_CANCELLATION" => Ok(Some(RetentionPolicy::RetainOnCancellation)),
            _ => Err("NO_EXTERNALIZED_CHECKPOINTS, DELETE_ON_CANCELLATION or RETAIN_ON_CANCELLATION"),
        });
        self.set(CLAIM_MODE, &mut config.claim_mode, |text| match text.to_ascii_uppercase().as_str() {
            "NO_CLAIM" => Ok(ClaimMode::NoClaim),
            "CLAIM" => Ok(ClaimMode::Claim),
            "LEGACY" => Ok(ClaimMode::Legacy),
            _ => Err("NO_CLAIM, CLAIM or LEGACY"),
        });
        self.set(SAVEPOINT_DIRECTORY, &mut config.savepoint_directory, |text| directory_of(text).map(Some));
        self.storage(&mut config.storage);
        let given = self.values.get(UNALIGNED).map(|(given, _)| *given);
        self.set(UNALIGNED, &mut config.unaligned, truth);
        if config.unaligned {
            self.set(ALIGNED_TIMEOUT, &mut config.aligned_timeout, duration);
        }
        if let (Some(given), Err(error)) = (given, config.check()) {
            self.problems.push(Problem::new(place(given), error));
        }
    }

    /// The port says that the job manager answers; the address is that of this machine, if not given.
    fn rest(&mut self, rest: &mut Option<String>) {
        let (mut address, mut port): (Option<String>, Option<u16>) = (None, None);
        self.set(REST_ADDRESS, &mut address, |text| {
            if text.is_empty() || text.contains('/') {
                Err("a host name or an IP address")
            } else {
                Ok(Some(text.into()))
            }
        });
        self.set(REST_PORT, &mut port, |text| text.parse().map(Some).map_err(|_| "a port, from 0 to 65535"));
        *rest = port.map(|port| format!("{}:{port}", address.as_deref().unwrap_or("localhost")));
    }

    fn storage(&mut self, storage: &mut CheckpointStorageConfig) {
        let mut directory: Option<PathBuf> = None;
        self.set(DIRECTORY, &mut directory, |text| directory_of(text).map(Some));
        if let Some(directory) = directory {
            *storage = CheckpointStorageConfig::FileSystem { directory };
        }
        let Some((given, value)) = self.values.remove(STORAGE) else { return };
        let problem = |message: &str, hint: &str| Problem::new(place(given), message).with_hint(hint);
        match (value, &storage) {
            ("jobmanager", CheckpointStorageConfig::JobManager) => {}
            ("jobmanager", CheckpointStorageConfig::FileSystem { .. }) => self.problems.push(problem(
                "a checkpoint directory has no effect when checkpoints stay in the job manager's memory",
                "leave one of them out",
            )),
            ("filesystem", CheckpointStorageConfig::FileSystem { .. }) => {}
            ("filesystem", CheckpointStorageConfig::JobManager) => self
                .problems
                .push(problem("checkpoints in the file system need a directory", "set execution.checkpointing.dir")),
            _ => self.problems.push(problem("unknown checkpoint storage", "expected jobmanager or filesystem")),
        }
    }

    /// Flink's defaults of a strategy that is asked for by name.
    fn restart(&mut self, restart: &mut Option<RestartConfig>) {
        self.set(RESTART, restart, |text| {
            Ok(Some(match text {
                "none" | "off" | "disable" => RestartConfig::None,
                "fixed-delay" | "fixeddelay" => {
                    RestartConfig::FixedDelay { attempts: 1, delay: Duration::from_secs(1) }
                }
                "failure-rate" | "failurerate" => RestartConfig::FailureRate {
                    max_failures_per_interval: 1,
                    interval: Duration::from_secs(60),
                    delay: Duration::from_secs(1),
                },
                "exponential-delay" | "exponentialdelay" => RestartConfig::ExponentialDelay {
                    initial_backoff: Duration::from_secs(1),
                    max_backoff: Duration::from_secs(60),
                    backoff_multiplier: 1.5,
                    reset_backoff_threshold: Duration::from_secs(3600),
                    jitter_factor: 0.1,
                    attempts_before_reset_backoff: None,
                },
                _ => return Err("none, fixed-delay, failure-rate or exponential-delay"),
            }))
        });
        match restart {
            None | Some(RestartConfig::None) => {}
            Some(RestartConfig::FixedDelay { attempts, delay }) => {
                self.set("restart-strategy.fixed-delay.attempts", attempts, whole);
                self.set("restart-strategy.fixed-delay.delay", delay, duration);
            }
            Some(RestartConfig::FailureRate { max_failures_per_interval, interval, delay }) => {
                let key = "restart-strategy.failure-rate.max-failures-per-interval";
                self.set(key, max_failures_per_interval, positive);
                self.set("restart-strategy.failure-rate.failure-rate-interval", interval, positive_duration);
                self.set("restart-strategy.failure-rate.delay", delay, duration);
            }
            Some(RestartConfig::ExponentialDelay {
                initial_backoff,
                max_backoff,
                backoff_multiplier,
                reset_backoff_threshold,
                jitter_factor,
                attempts_before_reset_backoff,
            }) => {
                const PREFIX: [&str; 6] = [
                    "restart-strategy.exponential-delay.initial-backoff",
                    "restart-strategy.exponential-delay.max-backoff",
                    "restart-strategy.exponential-delay.backoff-multiplier",
                    "restart-strategy.exponential-delay.reset-backoff-threshold",
                    "restart-strategy.exponential-delay.jitter-factor",
                    "restart-strategy.exponential-delay.attempts-before-reset-backoff",
                ];
                self.set(PREFIX[0], initial_backoff, positive_duration);
                self.set(PREFIX[1], max_backoff, positive_duration);
                self.set(PREFIX[2], backoff_multiplier, |text| {
                    number_in(text, 1.0, f64::MAX, "a number of at least 1")
                });
                self.set(PREFIX[3], reset_backoff_threshold, positive_duration);
                self.set(PREFIX[4], jitter_factor, |text| number_in(text, 0.0, 1.0, "a number from 0 to 1"));
                self.set(PREFIX[5], attempts_before_reset_backoff, |text| match text {
                    "infinite" => Ok(None),
                    _ => positive(text).map(Some).map_err(|_| "a whole number of at least 1, or infinite"),
                });
            }
        }
    }
}

fn place(key: &str) -> Place {
    Place::root().key("config").key(key.to_owned())
}

fn unknown(key: &str) -> Problem {
    let problem = Problem::new(place(key), format!("unknown option `{key}`"));
    let names = KNOWN.iter().flat_map(|known| [known.key].into_iter().chain(known.old.iter().copied()));
    let names = names.chain(FIXED.iter().flat_map(|(name, old, _)| [*name].into_iter().chain(old.iter().copied())));
    match nearest::nearest(key, names) {
        Some(name) => problem.with_hint(format!("did you mean `{name}`?")),
        None => problem.with_hint("options have Flink's names, such as execution.checkpointing.interval"),
    }
}

fn duration(text: &str) -> Result<Duration, Expected> {
    parse_duration(text).map_err(|_| "a whole number and a unit (ms, s, min, h, d), such as 10 min; without unit: ms")
}

fn directory_of(text: &str) -> Result<PathBuf, Expected> {
    let path = text.strip_prefix("file://").unwrap_or(text);
    if path.is_empty() || path.contains("://") { Err("a path or a file:// URI") } else { Ok(path.into()) }
}

fn positive_duration(text: &str) -> Result<Duration, Expected> {
    duration(text).and_then(|duration| if duration.is_zero() { Err("a duration above zero") } else { Ok(duration) })
}

fn whole<T: TryFrom<u64>>(text: &str) -> Result<T, Expected> {
    let number: Option<u64> = text.parse().ok();
    number.and_then(|number| T::try_from(number).ok()).ok_or("a whole number")
}

fn truth(text: &str) -> Result<bool, Expected> {
    text.parse().map_err(|_| "true or false")
}

fn positive<T: TryFrom<u64>>(text: &str) -> Result<T, Expected> {
    let number: Option<u64> = text.parse().ok().filter(|number| *number > 0);
    number.and_then(|number| T::try_from(number).ok()).ok_or("a whole number of at least 1")
}

fn number_in(text: &str, least: f64, greatest: f64, expected: Expected) -> Result<f64, Expected> {
    text.parse().ok().filter(|number| (least..=greatest).contains(number)).ok_or(expected)
}

fn inline_threshold(text: &str) -> Result<usize, Expected> {
    let most = 1024 * 1024;
    size(text).filter(|bytes| *bytes <= most).ok_or("a size of at most 1 mb, such as 20 kb or 4096")
}

fn buffer_size(text: &str) -> Result<usize, Expected> {
    let most = 64 * 1024 * 1024;
    size(text).filter(|bytes| (1..=most).contains(bytes)).ok_or("a size from 1 byte to 64 mb, such as 32 kb")
}

/// `20kb`, `1 mb`, `4096`.
fn size(text: &str) -> Option<usize> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let number: usize = digits.parse().ok()?;
    let unit_bytes = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 1,
        "k" | "kb" | "kibibytes" => 1024,
        "m" | "mb" | "mebibytes" => 1024 * 1024,
        _ => return None,
    };
    number.checked_mul(unit_bytes)
}
