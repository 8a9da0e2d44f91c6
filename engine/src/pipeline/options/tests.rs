//! Options by name: what they make of a configuration, and what is said when they are wrong.

use super::*;
use crate::config::LocalRecovery;
#[cfg(feature = "rocksdb")]
use crate::config::StateBackend;

pub(super) fn config(options: &[(&str, &str)]) -> Result<JobConfig, Problems> {
    job_config(&options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

pub(super) fn problem(options: &[(&str, &str)]) -> String {
    config(options).unwrap_err().to_string()
}

#[test]
fn no_options_are_the_defaults() {
    assert_eq!(config(&[]), Ok(JobConfig::default()));
}

#[test]
fn old_and_new_names_mean_the_same() {
    let checkpoints = |options| config(options).unwrap().checkpoints;
    let new = [("execution.checkpointing.dir", "/cp"), ("execution.checkpointing.num-retained", "3")];
    let old = [("state.checkpoints.dir", "file:///cp"), ("state.checkpoints.num-retained", "3")];
    assert_eq!(checkpoints(&new), checkpoints(&old));
    assert_eq!(checkpoints(&new).retained, 3);
    assert_eq!(checkpoints(&new).storage, CheckpointStorageConfig::FileSystem { directory: "/cp".into() });
    assert_eq!(checkpoints(&[("state.storage.fs.memory-threshold", "1 kb")]).inline_threshold_bytes, 1024);
    let new = [(UNALIGNED, "true"), (ALIGNED_TIMEOUT, "5 s")];
    let old = [("execution.checkpointing.unaligned", "true"), ("execution.checkpointing.alignment-timeout", "5000")];
    assert_eq!(checkpoints(&new), checkpoints(&old));
    assert_eq!(checkpoints(&new).aligned_timeout, Duration::from_secs(5));
    let at_least_once = checkpoints(&[(UNALIGNED, "true"), (MODE, "AT_LEAST_ONCE"), (CONCURRENT, "2")]);
    assert!(at_least_once.unaligned && !at_least_once.takes_unaligned_checkpoints());
}

#[test]
fn a_restart_strategy_has_its_own_options_and_flinks_defaults() {
    let given = config(&[("restart-strategy", "failure-rate"), ("restart-strategy.failure-rate.delay", "5")]);
    let expected = RestartConfig::FailureRate {
        max_failures_per_interval: 1,
        interval: Duration::from_secs(60),
        delay: Duration::from_millis(5),
    };
    assert_eq!(given.unwrap().restart, Some(expected));
    assert_eq!(config(&[("restart-strategy.type", "disable")]).unwrap().restart, Some(RestartConfig::None));
}

#[test]
fn what_flink_has_by_default_may_be_said() {
    let options = [("state.backend", "HashMap"), ("state.changelog.enabled", "false")];
    assert_eq!(config(&options), Ok(JobConfig::default()));
}

#[test]
fn wrong_options_are_explained() {
    let problems = [
        problem(&[("execution.checkpointing.interval", "5 ms")]),
        problem(&[("execution.checkpointing.mode", "ONCE")]),
        problem(&[("state.checkpoints.dir", "a"), ("execution.checkpointing.dir", "b")]),
        problem(&[("execution.checkpointing.storage", "filesystem")]),
        problem(&[("execution.checkpointing.unaligned", "perhaps")]),
        problem(&[("execution.checkpointing.alignment-timeout", "1 s")]),
        problem(&[(UNALIGNED, "true"), (CONCURRENT, "2")]),
        problem(&[("restart-strategy.exponential-delay.jitter-factor", "2")]),
        problem(&[("sink.commiter.retries", "3")]),
    ];
    insta::assert_snapshot!(problems.join("\n"), @r#"
    config.execution.checkpointing.interval: `5 ms` is no value for `execution.checkpointing.interval` (expected a duration of at least 10 ms)
    config.execution.checkpointing.mode: `ONCE` is no value for `execution.checkpointing.mode` (expected EXACTLY_ONCE or AT_LEAST_ONCE)
    config.state.checkpoints.dir: `state.checkpoints.dir` and `execution.checkpointing.dir` are the same option
    config.execution.checkpointing.storage: checkpoints in the file system need a directory (set execution.checkpointing.dir)
    config.execution.checkpointing.unaligned: `perhaps` is no value for `execution.checkpointing.unaligned` (expected true or false)
    config.execution.checkpointing.alignment-timeout: `execution.checkpointing.alignment-timeout` has no effect here (it belongs to execution.checkpointing.unaligned.enabled: true)
    config.execution.checkpointing.unaligned.enabled: unaligned checkpoints are taken one at a time: max-concurrent-checkpoints must be 1, or unaligned.enabled false
    config.restart-strategy.exponential-delay.jitter-factor: `restart-strategy.exponential-delay.jitter-factor` has no effect here (it belongs to another restart-strategy.type)
    config.sink.commiter.retries: unknown option `sink.commiter.retries` (options have Flink's names, such as execution.checkpointing.interval)
    "#);
}

#[test]
fn the_backends_of_old_are_presets_of_state_on_the_heap_and_a_storage() {
    let filesystem = CheckpointStorageConfig::FileSystem { directory: "/cp".into() };
    let expected = |storage| JobConfig {
        checkpoints: CheckpointConfig { storage, ..CheckpointConfig::default() },
        ..JobConfig::default()
    };
    assert_eq!(config(&[("state.backend", "jobmanager")]), Ok(expected(CheckpointStorageConfig::JobManager)));
    let old = [("state.backend", "filesystem"), ("state.checkpoints.dir", "/cp")];
    assert_eq!(config(&old), Ok(expected(filesystem.clone())));
    let new = [
        ("state.backend.type", "hashmap"),
        ("execution.checkpointing.storage", "filesystem"),
        ("execution.checkpointing.dir", "/cp"),
        ("execution.checkpointing.incremental", "false"),
    ];
    assert_eq!(config(&new), Ok(expected(filesystem)));
}

#[test]
fn backends_and_storages_that_contradict_each_other_are_explained() {
    let problems = [
        problem(&[("state.backend", "filesystem")]),
        problem(&[("state.backend", "filesystem"), ("execution.checkpointing.storage", "jobmanager")]),
        problem(&[("state.backend", "jobmanager"), ("state.checkpoints.dir", "/cp")]),
        problem(&[("state.backend.type", "forst")]),
        problem(&[("state.backend.incremental", "true")]),
        problem(&[("state.backend.incremental", "yes")]),
        problem(&[("state.backend.rocksdb.localdir", "/disk")]),
        problem(&[("state.backend.rocksdb.timer-service.factory", "ROCKSDB")]),
    ];
    insta::assert_snapshot!(problems.join("\n"), @r#"
    config.state.backend: checkpoints in the file system need a directory (set execution.checkpointing.dir)
    config.state.backend: `state.backend` keeps checkpoints in the filesystem, but `execution.checkpointing.storage` says jobmanager (leave one of them out; state.backend.type: hashmap says nothing of checkpoints)
    config.state.backend: a checkpoint directory has no effect when checkpoints stay in the job manager's memory (leave one of them out)
    config.state.backend.type: unknown state backend `forst` (expected hashmap or rocksdb, or the older jobmanager or filesystem: hashmap with that storage)
    config.state.backend.incremental: checkpoints of state on the heap are always full (state.backend.type: rocksdb is made for state that is too large for that)
    config.state.backend.incremental: `yes` is no value for `state.backend.incremental` (expected true or false)
    config.state.backend.rocksdb.localdir: `state.backend.rocksdb.localdir` has no effect here (it belongs to state.backend.type: rocksdb)
    config.state.backend.rocksdb.timer-service.factory: `state.backend.rocksdb.timer-service.factory` is not supported with the value `ROCKSDB` (only HEAP is)
    "#);
}

#[test]
fn copies_are_kept_if_they_are_restored_from_unless_it_is_said_otherwise() {
    let local = |options: &[(&'static str, &'static str)]| config(options).unwrap().local_recovery;
    let of = |from_local, backup| LocalRecovery { from_local, backup, directories: Vec::new() };
    assert_eq!(local(&[]), of(false, false));
    assert_eq!(local(&[(FROM_LOCAL, "true")]), of(true, true));
    assert_eq!(local(&[(LOCAL_BACKUP, "true")]), of(false, true));
    let directories = local(&[(LOCAL_BACKUP, "true"), (LOCAL_BACKUP_DIRECTORIES, "file:///a,/b")]).directories;
    assert_eq!(directories, [PathBuf::from("/a"), PathBuf::from("/b")]);
}

#[test]
fn local_recovery_that_could_not_happen_is_explained() {
    let problems = [
        problem(&[(FROM_LOCAL, "true"), (LOCAL_BACKUP, "false")]),
        problem(&[(LOCAL_BACKUP_DIRECTORIES, "/a")]),
        problem(&[("state.backend.local-recovery", "true"), (INTERVAL, "1 s")]),
        problem(&[(FROM_LOCAL, "yes")]),
    ];
    insta::assert_snapshot!(problems.join("\n"), @r"
    config.execution.state-recovery.from-local: there would be no local copies to restore from (set execution.checkpointing.local-backup.enabled: true, or leave it out: it follows this option)
    config.execution.checkpointing.local-backup.dirs: `execution.checkpointing.local-backup.dirs` has no effect here (it belongs to execution.checkpointing.local-backup.enabled: true)
    config.state.backend.local-recovery: local copies are made of state files, and there are none (set execution.checkpointing.dir, or leave it out)
    config.execution.state-recovery.from-local: `yes` is no value for `execution.state-recovery.from-local` (expected true or false)
    ");
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_works_in_its_own_directories_or_in_those_for_temporary_files() {
    let backend = |options: &[(&str, &str)]| {
        let options: Vec<_> = [("state.backend", "rocksdb")].iter().chain(options).copied().collect();
        match config(&options).unwrap().state_backend {
            StateBackend::RocksDb(options) => options.local_directories,
            StateBackend::HashMap => panic!("rocksdb was asked for"),
        }
    };
    assert_eq!(backend(&[]), Vec::<PathBuf>::new());
    assert_eq!(backend(&[("io.tmp.dirs", "/a")]), [PathBuf::from("/a")]);
    let both = [("io.tmp.dirs", "/a"), ("state.backend.rocksdb.localdir", "file:///b, /c")];
    assert_eq!(backend(&both), [PathBuf::from("/b"), PathBuf::from("/c")]);
}

#[cfg(feature = "rocksdb")]
#[test]
fn incremental_checkpoints_go_by_both_names_and_need_files() {
    let with = |name, more: &[(&'static str, &'static str)]| {
        let first = [("state.backend", "rocksdb"), ("execution.checkpointing.interval", "1 s"), (name, "true")];
        first.iter().chain(more).copied().collect::<Vec<_>>()
    };
    for name in ["state.backend.incremental", "execution.checkpointing.incremental"] {
        let taken = config(&with(name, &[("execution.checkpointing.dir", "/cp")])).unwrap();
        assert!(taken.takes_incremental_checkpoints(), "{name}");
        let said = problem(&with(name, &[]));
        assert!(said.contains("incremental checkpoints are made of files"), "{said}");
    }
    let full = config(&[("state.backend", "rocksdb"), ("state.backend.incremental", "false")]).unwrap();
    assert!(!full.takes_incremental_checkpoints());
}

#[cfg(not(feature = "rocksdb"))]
#[test]
fn a_program_without_rocksdb_says_how_to_build_one_that_has_it() {
    let said = problem(&[("state.backend", "rocksdb")]);
    assert!(said.contains("this program has no RocksDB"), "{said}");
    assert!(said.contains("--features rocksdb"), "{said}");
}
