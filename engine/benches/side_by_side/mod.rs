//! What benchmarks have in common that run variants in turn, round by round, beside a hand-written loop.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde::Serialize;
use tidegate::{
    Result,
    config::{CheckpointStorageConfig, JobConfig},
    runtime::run_locally,
    task::Program,
};

const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a job takes checkpoints while it is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Checkpoints {
    Off,
    EachSecond,
}

/// A job, ready to run.
pub type Job = (JobConfig, Program);

/// Runs a job on one worker thread, with its checkpoints in a directory of its own, and returns how many were completed.
pub fn run_job((mut config, program): Job, checkpoints: Checkpoints) -> Result<u64> {
    let directory = temporary_directory();
    if checkpoints == Checkpoints::EachSecond {
        config.checkpoints.interval = Some(CHECKPOINT_INTERVAL);
        let directory = directory.path().join("checkpoints");
        config.checkpoints.storage = CheckpointStorageConfig::FileSystem { directory };
    }
    let summary = run_locally(1, config, program)?;
    assert_eq!(summary.restarts, 0, "nothing fails in a benchmark");
    assert!(summary.checkpoints_aborted <= 1, "at most the last one, if a subtask ends while it is asked for");
    Ok(summary.checkpoints_completed)
}

pub fn temporary_directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

/// One run.
#[derive(Clone, Copy)]
pub struct Sample {
    events: u64,
    events_per_cpu_second: f64,
    pub seconds: f64,
    pub checkpoints: u64,
}

/// Times what handles so many events and says how many checkpoints it completed.
pub fn sample(events: u64, run: impl FnOnce() -> Result<u64>) -> Result<Sample> {
    let (started, cpu_started) = (Instant::now(), cpu_seconds());
    let checkpoints = run()?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu_started);
    let events_per_cpu_second = if cpu > 0.0 { events as f64 / cpu } else { 0.0 };
    Ok(Sample { events, events_per_cpu_second, seconds, checkpoints })
}

/// User and system time of the process so far, in steps of 10 ms.
fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command's name, in parentheses, may hold blanks; user and system time are fields 14 and 15 of proc(5).
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// A line of the table.
#[derive(Serialize)]
struct Line {
    variant: String,
    events: u64,
    events_per_second: f64,
    events_per_cpu_second: f64,
    /// Of the events per CPU second, in the same round.
    ratio_to_loop: f64,
    /// In the run that completed the fewest.
    checkpoints: u64,
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What was measured, variant by variant.
#[derive(Default)]
pub struct Table(Vec<Line>);

impl Table {
    /// Adds a variant that handled so many events in each round, with the samples of its loop in the same rounds.
    pub fn add(&mut self, variant: &impl fmt::Display, events: u64, samples: &[Sample], of_loop: &[Sample]) {
        let ratio =
            |(sample, of_loop): (&Sample, &Sample)| sample.events_per_cpu_second / of_loop.events_per_cpu_second;
        self.0.push(Line {
            variant: variant.to_string(),
            events,
            events_per_second: median(samples.iter().map(|sample| sample.events as f64 / sample.seconds)),
            events_per_cpu_second: median(samples.iter().map(|sample| sample.events_per_cpu_second)),
            ratio_to_loop: median(samples.iter().zip(of_loop).map(ratio)),
            checkpoints: samples.iter().map(|sample| sample.checkpoints).min().unwrap_or_default(),
        });
    }

    /// Prints the table, and writes it as JSON if a file is given.
    pub fn show(&self, json: Option<&str>) {
        println!("{:<46} {:>12} {:>16} {:>8} {:>12}", "", "M events/s", "M events/CPU s", "of loop", "checkpoints");
        for line in &self.0 {
            println!(
                "{:<46} {:>12.2} {:>16.2} {:>8.3} {:>12}",
                line.variant,
                line.events_per_second / 1e6,
                line.events_per_cpu_second / 1e6,
                line.ratio_to_loop,
                line.checkpoints
            );
        }
        if let Some(path) = json {
            let json = serde_json::to_string_pretty(&self.0).expect("the table is plain data");
            std::fs::write(path, json + "\n").unwrap_or_else(|error| panic!("cannot write {path}: {error}"));
        }
    }
}

/// What the command line asks for.
pub struct Options {
    pub events: u64,
    pub rounds: usize,
    pub only: String,
    pub json: Option<String>,
}

/// Reads the command line; without a word of it these are the numbers of events and rounds.
pub fn options(events: u64, rounds: usize) -> Options {
    let mut options = Options { events, rounds, only: String::new(), json: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--events" => options.events = value().parse().expect("--events takes a number"),
            "--rounds" => options.rounds = value().parse().expect("--rounds takes a number"),
            "--only" => options.only = value(),
            "--json" => options.json = Some(value()),
            // What cargo adds.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    options
}
