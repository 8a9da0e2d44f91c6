//! A directory for one job: its pipeline, its input, its output and its checkpoints.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tidegate::env::Env;

use super::process::BOUND;

/// A directory that is removed at the end.
pub struct Workspace(TempDir);

/// How the flights pipeline is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Flights {
    pub parallelism: u32,
    /// Records per second; `None` is as fast as possible.
    pub rate: Option<u32>,
    /// Whether the file is read as several splits.
    pub splits: bool,
}

/// The input of the flights pipeline.
pub fn flights_csv() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/flights-2013-01-week1.csv").canonicalize().unwrap()
}

impl Workspace {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A path as it stands in a pipeline and on a command line.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file; its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        self.text(name)
    }

    /// Writes the flights pipeline with paths in here; its path.
    pub fn flights(&self, options: Flights) -> String {
        let mut text = include_str!("../../../tests/data/pipelines/flights.toml").to_owned();
        let mut replace = |what: &str, with: &str| {
            assert_eq!(text.matches(what).count(), 1, "{what}");
            text = text.replace(what, with);
        };
        replace("parallelism = 2", &format!("parallelism = {}", options.parallelism));
        replace("interval = \"1 s\"", "interval = \"100 ms\"");
        replace(
            "fixed-delay.attempts\" = 3",
            "fixed-delay.attempts\" = 1000\n\"restart-strategy.fixed-delay.delay\" = \"50 ms\"",
        );
        replace("tests/data/flights-2013-01-week1.csv", flights_csv().to_str().unwrap());
        replace("out/checkpoints", &self.text("checkpoints"));
        replace("out/hourly", &self.text("hourly"));
        replace("out/carriers", &self.text("carriers"));
        let rate = options.rate.map(|rate| format!("rate = {rate}\n")).unwrap_or_default();
        let splits = if options.splits { "split_bytes = 65536\n" } else { "" };
        replace("split_bytes = 65536\n", &format!("{splits}{rate}"));
        self.write("flights.toml", text)
    }

    /// The names of the committed files of a sink.
    pub fn committed_files(&self, sink: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(sink)) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != ".staging").collect()
    }

    /// The lines of all committed files of a sink, sorted.
    pub fn committed(&self, sink: &str) -> Vec<String> {
        let files = self.committed_files(sink);
        let content = files.iter().map(|name| fs::read_to_string(self.path(sink).join(name)).unwrap());
        let mut lines: Vec<String> =
            content.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.sort();
        lines
    }

    /// The names of the files of a sink that are staged.
    pub fn staged(&self, sink: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(sink).join(".staging")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Of a subtask and a checkpoint there is one file at most, and nothing is left staged.
    pub fn assert_settled(&self, sink: &str) {
        let files = self.committed_files(sink);
        let mut seen = BTreeSet::new();
        for name in &files {
            let (subtask_and_checkpoint, _token) = name.rsplit_once('-').unwrap();
            assert!(seen.insert(subtask_and_checkpoint), "two files of one subtask and checkpoint: {files:?}");
        }
        assert_eq!(self.staged(sink), Vec::<String>::new());
    }

    /// Waits until a file is there.
    pub async fn appears(&self, env: &Env, name: &str) {
        let deadline = env.now().saturating_add(BOUND);
        while !self.path(name).exists() {
            assert!(env.now() < deadline, "{name} never appeared");
            env.sleep(Duration::from_millis(5)).await;
        }
    }
}
