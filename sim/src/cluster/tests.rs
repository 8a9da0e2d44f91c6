//! What a cluster does when nothing disturbs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use tidegate::{
    api::{StreamEnvironment, WatermarkStrategy},
    config::CheckpointStorageConfig,
    connector::{CollectSink, Collected, GeneratorSource},
    event::{Moment, Step},
    id::Attempt,
    record::StreamRecord,
};

use super::*;

/// Three subtasks of each vertex, on a task manager each: every channel but one of three crosses the network.
const PARALLELISM: u32 = 3;

fn bounded_job(count: u64, interval: Option<Duration>, concurrent: usize) -> (StreamEnvironment, Collected<u64>) {
    let mut config = JobConfig { parallelism: PARALLELISM, ..JobConfig::default() };
    config.checkpoints.interval = interval;
    config.checkpoints.max_concurrent = concurrent;
    config.checkpoints.storage = CheckpointStorageConfig::FileSystem { directory: "/checkpoints".into() };
    let collected: Collected<u64> = Arc::new(Mutex::new(Vec::new()));
    let job = StreamEnvironment::new(config);
    let source = GeneratorSource::new(count, |n| StreamRecord::new(n, Timestamp::MIN)).with_rate(40.0);
    let into = collected.clone();
    job.from_source("numbers", source, WatermarkStrategy::no_watermarks())
        .key_by(|n| n % 7)
        .reduce(|greatest, n| *greatest = n.max(*greatest))
        .key_by(|n| n % 5)
        .reduce(|greatest, n| *greatest = n.max(*greatest))
        .sink("collect", move || CollectSink::new(into.clone()));
    (job, collected)
}

#[track_caller]
fn check_one_attempt(seed: u64, count: u64, interval: Option<Duration>, concurrent: usize) {
    let (job, collected) = bounded_job(count, interval, concurrent);
    let cluster = Cluster {
        seed: Seed(seed).child("world").0,
        config: job.config().clone(),
        program: Arc::new(job.build().unwrap()),
        rescaled: BTreeMap::new(),
        task_managers: PARALLELISM,
        faults: Vec::new(),
        planted: None,
        network: NetworkConfig::default(),
        schedule: None,
        undisturbed: Duration::from_secs(60),
        watch: Watch::Faults,
    };
    let ClusterRun { end, recorded, .. } = cluster.run(Keep::Hash);
    assert!(matches!(end, RunEnd::Finished), "seed {seed}: {end:?}");
    let failed: Vec<&str> = recorded
        .facts
        .iter()
        .filter(|fact| (fact.step, fact.moment) == (Step::FailOver, Moment::Before))
        .map(|fact| fact.detail.as_str())
        .collect();
    assert_eq!(failed, [""; 0], "seed {seed}");
    let of_subtasks = recorded.facts.iter().filter(|fact| fact.subtask.is_some());
    let attempts: BTreeSet<Attempt> = of_subtasks.map(|fact| fact.attempt).collect();
    assert_eq!(attempts.len(), 1, "seed {seed}: {attempts:?}");
    assert_eq!(collected.lock().unwrap().len() as u64, count, "seed {seed}");
}

#[test]
fn an_undisturbed_bounded_job_takes_one_attempt() {
    for seed in 0..40 {
        check_one_attempt(seed, 40 + seed, Some(Duration::from_millis(200 + 30 * (seed % 9))), 1 + seed as usize % 3);
    }
}

#[test]
fn an_undisturbed_bounded_job_without_checkpoints_takes_one_attempt() {
    for seed in 0..20 {
        check_one_attempt(seed, 20 + seed, None, 1);
    }
}
