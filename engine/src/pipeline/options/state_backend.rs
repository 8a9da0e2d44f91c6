//! The options that say where state lives while the job runs.

use std::path::PathBuf;

use super::{Expected, INCREMENTAL, Options, STATE_BACKEND, STORAGE, place};
use crate::{
    config::{CheckpointConfig, CheckpointStorageConfig, HOW_TO_BUILD_ROCKSDB, RocksDbOptions, StateBackend},
    pipeline::problem::Problem,
};

/// The name under which incremental checkpoints were asked for, if they were.
pub(super) struct Incremental<'a>(Option<&'a str>);

impl<'a> Options<'a> {
    /// Before Flink 1.13 `state.backend` said where checkpoints go as well: two of its values are presets of both.
    ///
    /// Flink ignores `incremental` where it has no effect; here whoever asks for it is told.
    pub(super) fn state_backend(&mut self, backend: &mut StateBackend) -> Incremental<'a> {
        if let Some((given, value)) = self.values.remove(STATE_BACKEND) {
            let problem = |message: String, hint: &str| Problem::new(place(given), message).with_hint(hint);
            match value.trim().to_ascii_lowercase().as_str() {
                "hashmap" => {}
                "jobmanager" => self.preset_storage(given, "jobmanager"),
                "filesystem" => self.preset_storage(given, "filesystem"),
                "rocksdb" if cfg!(feature = "rocksdb") => *backend = StateBackend::RocksDb(RocksDbOptions::default()),
                "rocksdb" => self.problems.push(problem("this program has no RocksDB".into(), HOW_TO_BUILD_ROCKSDB)),
                _ => self.problems.push(problem(
                    format!("unknown state backend `{value}`"),
                    "expected hashmap or rocksdb, or the older jobmanager or filesystem: hashmap with that storage",
                )),
            }
        }
        let mut incremental = false;
        let given = self.values.get(INCREMENTAL).map(|(given, _)| *given);
        self.set(INCREMENTAL, &mut incremental, boolean);
        match backend {
            StateBackend::RocksDb(options) => {
                options.incremental = incremental;
                self.set("io.tmp.dirs", &mut options.local_directories, directories);
                self.set("state.backend.rocksdb.localdir", &mut options.local_directories, directories);
            }
            StateBackend::HashMap => {}
        }
        let given = given.filter(|_| incremental);
        if let Some(given) = given
            && *backend == StateBackend::HashMap
        {
            let problem = Problem::new(place(given), "checkpoints of state on the heap are always full");
            let hint = "state.backend.type: rocksdb is made for state that is too large for that";
            self.problems.push(problem.with_hint(hint));
            return Incremental(None);
        }
        Incremental(given)
    }

    /// Whether incremental checkpoints have a place for their files.
    pub(super) fn incremental(&mut self, Incremental(given): Incremental<'a>, checkpoints: &CheckpointConfig) {
        if let Some(given) = given
            && checkpoints.interval.is_some()
            && checkpoints.storage == CheckpointStorageConfig::JobManager
        {
            let problem =
                Problem::new(place(given), "incremental checkpoints are made of files, and there is no place for them");
            self.problems.push(problem.with_hint("set execution.checkpointing.dir, or leave it out"));
        }
    }

    fn preset_storage(&mut self, given: &'a str, storage: &'static str) {
        match self.values.get(STORAGE) {
            Some((other, value)) if *value != storage => {
                let message = format!("`{given}` keeps checkpoints in the {storage}, but `{other}` says {value}");
                let hint = "leave one of them out; state.backend.type: hashmap says nothing of checkpoints";
                self.problems.push(Problem::new(place(given), message).with_hint(hint));
            }
            Some(_) => {}
            None => {
                self.values.insert(STORAGE, (given, storage));
            }
        }
    }
}

fn boolean(text: &str) -> Result<bool, Expected> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("true or false"),
    }
}

/// Several are separated by commas or colons, as in Flink.
pub(super) fn directories(text: &str) -> Result<Vec<PathBuf>, Expected> {
    let parts = text.split(',').map(|part| part.trim().strip_prefix("file://").unwrap_or(part.trim()));
    let paths: Vec<PathBuf> = parts.flat_map(|part| part.split(':')).map(PathBuf::from).collect();
    if paths.iter().any(|path| path.as_os_str().is_empty()) { Err("paths, separated by commas") } else { Ok(paths) }
}
