//! A small job in a simulated world, on real files.

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use madsim::task::JoinHandle;
use tidegate::{
    Error,
    env::{Env, sim::simulate},
    pipeline::{
        Assigner, Assignment, Checkpoint, EventTime, FileSink, Format, GeneratorSource, KeyDistribution, Operation,
        Pipeline, Sink, SinkKind, Source, SourceKind, Stage, WindowOperation,
    },
    runtime::{JobClient, JobSummary, LocalCluster},
};
use tidegate_sim::world::network::{NetworkConfig, SimNetwork};

const RECORDS: u64 = 400;

/// Counts per key in windows of ten seconds of event time; a record every 50 ms of either time.
pub fn pipeline(place: &Path) -> Pipeline {
    let generator = GeneratorSource {
        count: Some(RECORDS),
        rate: Some(20),
        keys: 3,
        key_distribution: KeyDistribution::Uniform,
        start_ms: 0,
        step: Duration::from_millis(50),
        disorder: Duration::ZERO,
        splits: 2,
        seed: 7,
    };
    let source = Source::new("numbers", SourceKind::Generator(generator)).with_event_time(EventTime::new("time_ms"));
    let assigner = Assigner::Tumbling { size: Duration::from_secs(10), offset: Duration::ZERO };
    let aggregates = [Assignment::new("records", "count()"), Assignment::new("total", "sum(value)")];
    let window = WindowOperation::new(&["key"], assigner, aggregates);
    let sink = SinkKind::File(FileSink::new(place.join("out").display().to_string(), Format::Csv));
    let mut pipeline = Pipeline::new("job").with_parallelism(2);
    pipeline.checkpoint = Some(Checkpoint::every(Duration::from_secs(3)));
    pipeline
        .source(source)
        .stage(Stage::new("windows", "numbers", Operation::Window(window)))
        .sink(Sink::new("out", "windows", sink))
}

/// The lines that a reader of committed files sees, sorted.
pub fn committed(place: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(place.join("out")) else { return Vec::new() };
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let mut lines: Vec<String> = files
        .flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    lines
}

/// A job that runs.
pub struct Running {
    pub client: JobClient,
    pub ended: JoinHandle<Result<JobSummary, Error>>,
}

pub fn submit(env: &Env, pipeline: &Pipeline, restore_from: Option<PathBuf>) -> Running {
    let (config, program) = pipeline.compile().unwrap();
    let cluster = LocalCluster { task_managers: 2, restore_from, ..LocalCluster::new(config) };
    let (client, ended) = cluster.submit(env, Arc::new(program));
    Running { client, ended: madsim::task::spawn(ended) }
}

/// Plays a body in a simulated world of its own, with a directory that is empty at first.
pub fn in_world<F: Future<Output = ()> + 'static>(body: impl FnOnce(Env, PathBuf) -> F + Send + 'static) {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    let run = move || async move {
        let network = SimNetwork::new(1, NetworkConfig::default());
        network.add_node(madsim::plugin::node(), "cluster");
        body(Env::simulated(network), place).await;
    };
    simulate(1, |_| {}, run).unwrap();
}

/// What comes out if nothing disturbs it.
pub async fn undisturbed(env: &Env, place: &Path) -> Vec<String> {
    let place = place.join("undisturbed");
    submit(env, &pipeline(&place), None).ended.await.unwrap().unwrap();
    committed(&place)
}
