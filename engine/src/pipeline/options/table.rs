//! The table of Flink's options: each by its name, with Flink's default, its older names, a value that has an effect, and
//! one that is refused. Flink 2.1 `CheckpointingOptions`, `RestartStrategyOptions`, `StateBackendOptions`,
//! `JobManagerOptions`.

use super::{
    tests::{config, problem},
    *,
};

/// An option that the engine honours.
struct Row {
    key: &'static str,
    old: &'static [&'static str],
    default: Option<&'static str>,
    other: &'static str,
    wrong: &'static [&'static str],
    /// Options without which it has no effect.
    with: &'static [(&'static str, &'static str)],
}

const fn row(
    key: &'static str,
    old: &'static [&'static str],
    default: Option<&'static str>,
    other: &'static str,
    wrong: &'static [&'static str],
) -> Row {
    Row { key, old, default, other, wrong, with: &[] }
}

const fn row_with(
    with: &'static [(&'static str, &'static str)],
    key: &'static str,
    default: &'static str,
    other: &'static str,
    wrong: &'static [&'static str],
) -> Row {
    Row { key, old: &[], default: Some(default), other, wrong, with }
}

const FIXED_DELAY: &[(&str, &str)] = &[(RESTART, "fixed-delay")];
const FAILURE_RATE: &[(&str, &str)] = &[(RESTART, "failure-rate")];
const EXPONENTIAL_DELAY: &[(&str, &str)] = &[(RESTART, "exponential-delay")];

const NO_DURATION: &[&str] = &["", "soon", "-1 s", "1.5 s", "10 parsecs"];
const NO_POSITIVE_NUMBER: &[&str] = &["", "0", "-1", "1.5", "many"];

fn rows() -> Vec<Row> {
    vec![
        row(INTERVAL, &[], None, "1 min", &["5 ms", "0", "soon", "-1 s"]),
        row(MODE, &[], Some("EXACTLY_ONCE"), "AT_LEAST_ONCE", &["", "MOSTLY_ONCE"]),
        row("execution.checkpointing.timeout", &[], Some("10 min"), "10 ms", &["9 ms", "0", "soon"]),
        row("execution.checkpointing.min-pause", &[], Some("0"), "5 s", NO_DURATION),
        row(CONCURRENT, &[], Some("1"), "5", NO_POSITIVE_NUMBER),
        row(UNALIGNED, &["execution.checkpointing.unaligned"], Some("false"), "true", &["", "maybe"]),
        Row {
            old: &["execution.checkpointing.alignment-timeout"],
            ..row_with(&[(UNALIGNED, "true")], ALIGNED_TIMEOUT, "0", "30 s", NO_DURATION)
        },
        row("execution.checkpointing.tolerable-failed-checkpoints", &[], Some("0"), "3", &["", "-1", "all"]),
        row("execution.checkpointing.checkpoints-after-tasks-finish", &[], Some("true"), "false", &["", "maybe"]),
        row(
            "execution.checkpointing.num-retained",
            &["state.checkpoints.num-retained"],
            Some("1"),
            "3",
            NO_POSITIVE_NUMBER,
        ),
        row(
            RETENTION,
            &["execution.checkpointing.externalized-checkpoint-retention.mode"],
            None,
            "RETAIN_ON_CANCELLATION",
            &["", "RETAIN"],
        ),
        row(CLAIM_MODE, &["execution.savepoint-restore-mode"], Some("NO_CLAIM"), "CLAIM", &["", "MAYBE"]),
        row(REST_PORT, &[], None, "8081", &["", "-1", "65536", "http"]),
        row_with(&[(REST_PORT, "8081")], REST_ADDRESS, "localhost", "0.0.0.0", &["", "http://localhost"]),
        row(DIRECTORY, &["state.checkpoints.dir"], None, "/checkpoints", &["", "s3://bucket/checkpoints"]),
        row(SAVEPOINT_DIRECTORY, &["state.savepoints.dir"], None, "/savepoints", &["", "s3://bucket/savepoints"]),
        row(UNCLAIMED, &["execution.savepoint.ignore-unclaimed-state"], Some("false"), "true", &["", "maybe"]),
        row(STORAGE, &["state.checkpoint-storage"], Some("jobmanager"), "jobmanager", &["", "tape"]),
        row(
            "execution.checkpointing.data-inline-threshold",
            &["state.storage.fs.memory-threshold"],
            Some("20 kb"),
            "1 mb",
            &["2 mb", "-1", "small"],
        ),
        row(FROM_LOCAL, &["state.backend.local-recovery"], Some("false"), "true", &["", "maybe"]),
        row(LOCAL_BACKUP, &[], Some("false"), "true", &["", "maybe"]),
        Row {
            key: LOCAL_BACKUP_DIRECTORIES,
            old: &["taskmanager.state.local.root-dirs"],
            default: None,
            other: "/ssd-1,/ssd-2",
            wrong: &["", "/a,,/b"],
            with: &[(FROM_LOCAL, "true")],
        },
        row(STATE_BACKEND, &["state.backend"], Some("hashmap"), "hashmap", &["", "papyrus"]),
        row(RESTART, &["restart-strategy"], None, "none", &["", "eventually"]),
        row_with(FIXED_DELAY, "restart-strategy.fixed-delay.attempts", "1", "7", &["-1", "some"]),
        row_with(FIXED_DELAY, "restart-strategy.fixed-delay.delay", "1 s", "1 min", NO_DURATION),
        row_with(FAILURE_RATE, "restart-strategy.failure-rate.max-failures-per-interval", "1", "2", NO_POSITIVE_NUMBER),
        row_with(FAILURE_RATE, "restart-strategy.failure-rate.failure-rate-interval", "1 min", "1 h", NO_DURATION),
        row_with(FAILURE_RATE, "restart-strategy.failure-rate.delay", "1 s", "2 s", NO_DURATION),
        row_with(EXPONENTIAL_DELAY, "restart-strategy.exponential-delay.initial-backoff", "1 s", "2 s", &["0", "soon"]),
        row_with(EXPONENTIAL_DELAY, "restart-strategy.exponential-delay.max-backoff", "1 min", "5 min", &["0", "x"]),
        row_with(
            EXPONENTIAL_DELAY,
            "restart-strategy.exponential-delay.backoff-multiplier",
            "1.5",
            "2",
            &["0.5", "NaN", "double"],
        ),
        row_with(
            EXPONENTIAL_DELAY,
            "restart-strategy.exponential-delay.reset-backoff-threshold",
            "1 h",
            "2 h",
            &["0", "x"],
        ),
        row_with(
            EXPONENTIAL_DELAY,
            "restart-strategy.exponential-delay.jitter-factor",
            "0.1",
            "0",
            &["-0.1", "1.1", "NaN"],
        ),
        row_with(
            EXPONENTIAL_DELAY,
            "restart-strategy.exponential-delay.attempts-before-reset-backoff",
            "infinite",
            "9",
            &["0", "-1", "none"],
        ),
        row("jobmanager.execution.failover-strategy", &[], None, "full", &["", "individual"]),
        row("pipeline.auto-watermark-interval", &[], Some("200 ms"), "1 s", NO_DURATION),
        row("pipeline.max-parallelism", &[], None, "64", NO_POSITIVE_NUMBER),
        row("heartbeat.interval", &[], Some("10 s"), "1 s", &["0", "often"]),
        row("heartbeat.timeout", &[], Some("50 s"), "1 min", &["0", "never"]),
        row("high-availability.type", &["high-availability"], Some("NONE"), "none", &["", "zookeeper", "kubernetes"]),
    ]
}

impl Row {
    fn given(&self, key: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        self.with.iter().copied().chain([(key, value)]).collect()
    }
}

#[test]
fn each_option_has_flinks_default() {
    for row in rows() {
        if let Some(default) = row.default {
            assert_eq!(config(&row.given(row.key, default)), config(row.with), "{} = {default}", row.key);
        }
    }
}

#[test]
fn each_option_has_an_effect_and_the_same_under_its_older_names() {
    for row in rows() {
        let given = config(&row.given(row.key, row.other));
        assert!(given.is_ok(), "{} = {}: {given:?}", row.key, row.other);
        if row.default.is_none_or(|default| !default.eq_ignore_ascii_case(row.other)) {
            assert_ne!(given, config(row.with), "{} = {}", row.key, row.other);
        }
        for old in row.old {
            assert_eq!(config(&row.given(old, row.other)), given, "{old} is {}", row.key);
            let twice: Vec<_> =
                [(row.key, row.other), (*old, row.other)].into_iter().chain(row.with.to_vec()).collect();
            assert!(problem(&twice).contains("are the same option"), "{old} and {}", row.key);
        }
    }
}

#[test]
fn a_value_that_means_nothing_is_refused_by_the_name_under_which_it_was_given() {
    for row in rows() {
        for name in [row.key].into_iter().chain(row.old.iter().copied()) {
            for wrong in row.wrong {
                let refused = config(&row.given(name, wrong));
                let said = refused.map_or_else(|problems| problems.to_string(), |_| "accepted".to_owned());
                assert!(said.starts_with(&format!("config.{name}: ")), "{name} = {wrong:?}: {said}");
            }
        }
    }
}

#[test]
fn every_option_but_those_that_only_this_engine_has_is_in_the_table() {
    const ELSEWHERE: [&str; 4] = ["parallelism.default", "pipeline.name", "io.tmp.dirs", INCREMENTAL];
    let rows = rows();
    for known in KNOWN {
        let own = known.key.starts_with("tidegate.")
            || known.key.starts_with("high-availability.filesystem.")
            || known.key.starts_with("state.backend.rocksdb.")
            || known.key.starts_with("taskmanager.");
        let Some(row) = rows.iter().find(|row| row.key == known.key) else {
            assert!(own || ELSEWHERE.contains(&known.key), "{} is not in the table", known.key);
            continue;
        };
        assert_eq!(row.old, known.old, "{}", known.key);
    }
}

#[test]
fn what_the_engine_does_in_one_way_is_accepted_when_it_is_asked_for_and_refused_otherwise() {
    for (key, old, only) in FIXED {
        for name in [key].into_iter().chain(old.iter().copied()) {
            for value in only {
                assert_eq!(config(&[(name, *value)]), config(&[]), "{name} = {value}");
            }
            let said = problem(&[(name, "something else")]);
            assert!(said.contains(key) && said.contains("is not supported"), "{said}");
        }
    }
}

#[test]
fn a_standby_needs_a_lease_that_lasts_and_storage_that_both_reach() {
    let given = |options: &[(&'static str, &'static str)]| {
        [("high-availability.type", "filesystem")].iter().chain(options).copied().collect::<Vec<_>>()
    };
    let directory = ("execution.checkpointing.dir", "/cp");
    let terms = config(&given(&[directory])).unwrap().high_availability.unwrap();
    assert_eq!((terms.lease_duration, terms.retry_period), (Duration::from_secs(15), Duration::from_secs(5)));
    let short = ("high-availability.filesystem.lease-duration", "5 s");
    let problems = [
        problem(&given(&[])),
        problem(&given(&[directory, short])),
        problem(&[short]),
        problem(&[("high-availability.storageDir", "/ha")]),
    ];
    insta::assert_snapshot!(problems.join("\n"), @r"
    config.high-availability.type: job managers that stand by for each other need checkpoints that all of them reach (set execution.checkpointing.dir)
    config.high-availability.type: `high-availability.filesystem.retry-period` must be shorter than `high-availability.filesystem.lease-duration` (a lease that is renewed less often than it expires changes hands all the time)
    config.high-availability.filesystem.lease-duration: `high-availability.filesystem.lease-duration` has no effect here (it belongs to high-availability.type: filesystem)
    config.high-availability.storageDir: unknown option `high-availability.storageDir` (did you mean `high-availability.type`?)
    ");
}

#[test]
fn an_interval_for_backlogs_is_refused_because_no_source_here_has_one() {
    let said = problem(&[("execution.checkpointing.interval-during-backlog", "1 min")]);
    assert_eq!(
        said,
        "config.execution.checkpointing.interval-during-backlog: `execution.checkpointing.interval-during-backlog` has no \
         effect (no source of this engine says that it works off a backlog: leave it out)"
    );
}
