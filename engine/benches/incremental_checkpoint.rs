//! What an incremental checkpoint of much state in RocksDB writes, when little of it has changed.
//!
//! A value state is filled (by default a GiB: a million keys of a KiB that lz4 cannot make smaller) and checkpointed. Then
//! a share of the keys, all over the state, is written anew before each further checkpoint. The bytes that a checkpoint
//! wrote are told by the job manager and counted once more in the directory: files that were not there before. A whole
//! checkpoint of the same state stands beside, which is what each of them would be without increments.
//!
//! ```sh
//! cargo bench -p tidegate --features rocksdb --bench incremental_checkpoint -- \
//!     [--megabytes N] [--changed PERCENT,PERCENT] [--rounds N] [--json FILE]
//! ```
//!
//! RocksDB merges files in the background, and what it merges is a new file: over many checkpoints a change is written
//! more than once, which is its write amplification.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock of the machine")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde::Serialize;
use tidegate::{
    Result, Timestamp,
    api::StreamEnvironment,
    backend::{StateRegistry, ValueState},
    checkpoint::statistics::CheckpointStatistics,
    config::{CheckpointStorageConfig, JobConfig, RocksDbOptions, StateBackend},
    connector::{DiscardSink, ReadStatus, Source, SourceContext, SplitReader},
    env::Env,
    operator::{KeyedProcessFunction, ProcessContext},
    record::{Batch, StreamRecord},
    runtime::{JobClient, LocalCluster},
    state::ValueStateDescriptor,
    time::WatermarkStrategy,
};

const VALUE_BYTES: u64 = 1024;
const MEGABYTE: u64 = 1 << 20;
/// A prime, so that neighbours in time are none in the state.
const STRIDE: u64 = 7_919;
/// How often the benchmark looks whether the job is where it should be.
const PAUSE: Duration = Duration::from_millis(5);

/// How far the records may go, and how far they have come.
#[derive(Default)]
struct Progress {
    allowed: AtomicU64,
    stored: AtomicU64,
}

/// Numbers up to the one that is allowed.
struct Gated {
    env: Env,
    progress: Arc<Progress>,
}

struct Numbers(Arc<Progress>);

#[async_trait]
impl Source for Numbers {
    type Item = u64;
    type Split = u64;

    async fn enumerate(&self, _context: &SourceContext) -> Result<Vec<u64>> {
        Ok(vec![0])
    }

    fn reader(&self, context: &SourceContext) -> Box<dyn SplitReader<u64, u64>> {
        Box::new(Gated { env: context.env.clone(), progress: self.0.clone() })
    }
}

#[async_trait]
impl SplitReader<u64, u64> for Gated {
    async fn read(&mut self, next: &mut u64, limit: usize, out: &mut Batch<u64>) -> Result<ReadStatus> {
        let end = self.progress.allowed.load(Ordering::Acquire).min(*next + limit as u64);
        if *next == end {
            return Ok(ReadStatus::NotBefore(self.env.now().saturating_add(PAUSE)));
        }
        out.extend((*next..end).map(|number| StreamRecord::new(number, Timestamp(0))));
        *next = end;
        Ok(ReadStatus::More)
    }
}

/// Keeps bytes that depend on the number for the key that the number falls to.
#[derive(Clone)]
struct Store {
    progress: Arc<Progress>,
    state: Option<ValueState<Vec<u8>>>,
}

impl KeyedProcessFunction for Store {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn open(&mut self, states: &mut StateRegistry<'_, u64>) -> Result<()> {
        self.state = Some(states.value(&ValueStateDescriptor::new("bytes"))?);
        Ok(())
    }

    fn process_element(&mut self, number: u64, context: &mut ProcessContext<'_, u64, u64>) -> Result<()> {
        self.state.as_ref().expect("a function is opened before anything else").update(context, noise(number))?;
        self.progress.stored.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

/// Bytes without a pattern (splitmix64).
fn noise(number: u64) -> Vec<u8> {
    let words = (0..VALUE_BYTES / 8).map(|word| {
        let mut mixed = (number * VALUE_BYTES + word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    });
    words.flat_map(u64::to_le_bytes).collect()
}

struct Options {
    megabytes: u64,
    changed: Vec<f64>,
    rounds: u64,
    json: Option<String>,
}

fn options() -> Options {
    let mut options = Options { megabytes: 1024, changed: vec![0.0, 0.1, 1.0, 10.0], rounds: 5, json: None };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        let percent = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text} is no number"));
        match argument.as_str() {
            "--megabytes" => options.megabytes = value.parse().expect("--megabytes takes a number"),
            "--changed" => options.changed = value.split(',').map(percent).collect(),
            "--rounds" => options.rounds = value.parse().expect("--rounds takes a number"),
            "--json" => options.json = Some(value),
            other => panic!("unknown option {other}"),
        }
    }
    options
}

/// One checkpoint.
#[derive(Serialize)]
struct Row {
    checkpoint: String,
    changed_bytes: u64,
    state_bytes: u64,
    /// As the job manager says.
    written_bytes: u64,
    /// As the directory says.
    new_file_bytes: u64,
    /// Nothing if nothing was changed.
    written_to_changed: Option<f64>,
    seconds: f64,
}

/// Regular files below a directory, with their lengths.
fn files(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        // The job manager removes what is subsumed meanwhile.
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => directories.push(entry.path()),
                Ok(metadata) => _ = found.insert(entry.path(), metadata.len()),
                Err(_) => {}
            }
        }
    }
    found
}

/// A job that runs, and what is asked of it.
struct Job {
    env: Env,
    client: JobClient,
    progress: Arc<Progress>,
    keys: u64,
    directory: PathBuf,
}

impl Job {
    /// Writes so many keys.
    async fn write(&self, count: u64) {
        let end = self.progress.allowed.load(Ordering::Relaxed) + count;
        self.progress.allowed.store(end, Ordering::Release);
        while self.progress.stored.load(Ordering::Acquire) < end {
            self.env.sleep(PAUSE).await;
        }
    }

    async fn checkpoint(&self, name: String, changed: u64) -> Result<Row> {
        let (before, started) = (files(&self.directory), Instant::now());
        let id = self.client.trigger_checkpoint().await?;
        let seconds = started.elapsed().as_secs_f64();
        let details = self.client.details().await?;
        let statistics: &CheckpointStatistics =
            details.checkpoints.of(id).expect("a checkpoint that is just complete is remembered");
        let new = files(&self.directory).into_iter().filter(|(path, _)| !before.contains_key(path));
        let new_file_bytes = new.map(|(_, length)| length).sum();
        let (changed_bytes, written_bytes) = (changed * VALUE_BYTES, statistics.written_bytes());
        Ok(Row {
            checkpoint: name,
            changed_bytes,
            state_bytes: statistics.state_bytes(),
            written_bytes,
            new_file_bytes,
            written_to_changed: (changed_bytes > 0).then(|| written_bytes as f64 / changed_bytes as f64),
            seconds,
        })
    }

    async fn measure(&self, options: &Options, incremental: bool) -> Result<Vec<Row>> {
        self.write(self.keys).await;
        let kind = if incremental { "incremental" } else { "whole" };
        let mut rows = vec![self.checkpoint(format!("{kind}, the first"), self.keys).await?];
        print(&rows[0]);
        for &percent in &options.changed {
            let changed = (self.keys as f64 * percent / 100.0) as u64;
            // One is enough to see that it does not depend on what has changed.
            for round in 1..=if incremental { options.rounds } else { 1 } {
                self.write(changed).await;
                rows.push(self.checkpoint(format!("{kind}, {percent} % changed, {round}"), changed).await?);
                print(&rows[rows.len() - 1]);
            }
        }
        self.client.cancel().await?;
        Ok(rows)
    }
}

async fn run(env: Env, options: &Options, incremental: bool) -> Result<Vec<Row>> {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let checkpoints = directory.path().join("checkpoints");
    let (progress, keys) = (Arc::new(Progress::default()), options.megabytes * MEGABYTE / VALUE_BYTES);
    let rocksdb = RocksDbOptions {
        incremental,
        local_directories: vec![directory.path().join("local")],
        ..RocksDbOptions::default()
    };
    let mut config = JobConfig { state_backend: StateBackend::RocksDb(rocksdb), ..JobConfig::default() };
    config.checkpoints.interval = Some(Duration::from_secs(86_400));
    config.checkpoints.storage = CheckpointStorageConfig::FileSystem { directory: checkpoints.clone() };
    let job = StreamEnvironment::new(config.clone());
    job.from_source("numbers", Numbers(progress.clone()), WatermarkStrategy::no_watermarks())
        .key_by(move |number: &u64| number.wrapping_mul(STRIDE) % keys)
        .process(Store { progress: progress.clone(), state: None })
        .sink("out", DiscardSink::default);
    let (client, ended) = LocalCluster::new(config).submit(&env, Arc::new(job.build()?));
    env.spawn(async move {
        // It is cancelled.
        let _ = ended.await;
    });
    Job { env, client, progress, keys, directory: checkpoints }.measure(options, incremental).await
}

fn print(row: &Row) {
    let megabytes = |bytes: u64| bytes as f64 / MEGABYTE as f64;
    println!(
        "{:36} {:>12.2} {:>12.2} {:>12.2} {:>12.2} {:>8} {:>8.2}",
        row.checkpoint,
        megabytes(row.changed_bytes),
        megabytes(row.state_bytes),
        megabytes(row.written_bytes),
        megabytes(row.new_file_bytes),
        row.written_to_changed.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        row.seconds
    );
}

fn main() -> Result<()> {
    let options = options();
    println!(
        "{:36} {:>12} {:>12} {:>12} {:>12} {:>8} {:>8}",
        "MiB", "changed", "state", "written", "new files", "ratio", "seconds"
    );
    let mut rows = Vec::new();
    for incremental in [true, false] {
        let ran = Env::run_on_host(2, |env| run(env, &options, incremental));
        rows.extend(ran.expect("the runtime can be started")?);
    }
    if let Some(path) = options.json {
        let text = serde_json::to_string_pretty(&rows).expect("rows are plain values");
        std::fs::write(&path, text + "\n").unwrap_or_else(|error| panic!("cannot write {path}: {error}"));
    }
    Ok(())
}
