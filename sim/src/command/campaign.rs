//! `sim campaign`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Outcome, Wrong, cores, select, wall_clock, write_json};
use crate::{
    campaign::{Extent, SeedResult, Twice, run_seeds},
    capsule::Capsule,
    report::Tally,
    scenario::Strategy,
    shrink::{RUNS_MAX, shrink},
    workload::{Backend, Shape},
};

/// Many seeds. Seed n runs scenario n mod (number of scenarios).
#[derive(Args)]
pub(super) struct Campaign {
    /// Scenarios; all if none is named.
    scenarios: Vec<String>,
    /// Number of seeds, over all scenarios together.
    #[arg(long, conflicts_with = "budget")]
    seeds: Option<u64>,
    /// Runs until this much time is over instead: `60s`, `10m`.
    #[arg(long, value_parser = parse_budget)]
    budget: Option<Duration>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Workers; one per core if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Runs only every N-th seed: I/N.
    #[arg(long, value_parser = parse_shard, default_value = "0/1")]
    shard: (u64, u64),
    /// Runs each seed once instead of comparing the traces of two runs.
    #[arg(long)]
    once: bool,
    /// Runs generated pipelines in this backend: `memory`, `rocksdb` or `rocksdb_incremental`.
    #[arg(long, value_parser = Backend::named)]
    backend: Option<Backend>,
    /// How faults and schedule are chosen: as the scenarios declare, or `uniform`, `swarm` or `pct`.
    #[arg(long, value_parser = Strategy::named, default_value = "declared")]
    strategy: Strategy,
    /// Plants a bug, and ends with the first run that breaks an invariant.
    #[arg(long)]
    planted: Option<String>,
    /// Where capsules of failures go.
    #[arg(long, default_value = "failures")]
    failures: PathBuf,
    /// Writes the report as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn parse_budget(text: &str) -> Result<Duration, String> {
    tidegate::pipeline::duration::parse_duration(text).map_err(|error| error.to_string())
}

pub(super) fn parse_shard(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((shard, shards)) if shard < shards => Ok((shard, shards)),
        _ => Err("a shard is I/N with I below N, such as 3/16".into()),
    }
}

/// Failures of one signature.
struct Group {
    first: SeedResult,
    seeds: u64,
}

const DEFAULT_SEEDS: u64 = 2_000;

impl Campaign {
    pub(super) fn run(&self, catalogue: &Path) -> Result<Outcome, Wrong> {
        let mut scenarios = select(catalogue, &self.scenarios)?;
        for scenario in scenarios.iter_mut().filter(|scenario| scenario.shape == Shape::Generated) {
            scenario.workload.backend = self.backend.or(scenario.workload.backend);
        }
        scenarios.iter_mut().for_each(|scenario| scenario.planted.clone_from(&self.planted));
        if scenarios.is_empty() {
            return Err(Wrong(format!("there is no scenario in {}", catalogue.display())));
        }
        super::silence_panics();
        let seeds = if self.budget.is_some() { u64::MAX / 2 } else { self.seeds.unwrap_or(DEFAULT_SEEDS) };
        let extent = Extent {
            first: self.first_seed,
            end: self.first_seed.saturating_add(seeds),
            shard: self.shard.0,
            shards: self.shard.1,
            jobs: self.jobs.unwrap_or_else(cores),
            twice: if self.once { Twice::No } else { Twice::Yes },
            strategy: self.strategy,
        };
        let bar = self.progress_bar(seeds / self.shard.1);
        let (started, stop) = (wall_clock(), AtomicBool::new(false));
        let mut tally = Tally::new(&scenarios);
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let (mut highest, mut reached) = (self.first_seed, 0_u64);
        run_seeds(&scenarios, extent, &stop, |seed| {
            tally.add(&seed);
            highest = highest.max(seed.seed + 1);
            reached += u64::from(seed.result.planted_reached > 0);
            match self.budget {
                Some(budget) => {
                    bar.set_position(started.elapsed().as_secs());
                    if started.elapsed() >= budget {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                None => bar.inc(1),
            }
            if let Some(signature) = signature(&seed) {
                stop.fetch_or(self.planted.is_some(), Ordering::Relaxed);
                bar.println(format!("seed {} of {}: {signature}", seed.seed, scenarios[seed.scenario].name));
                groups.entry(signature).and_modify(|group| group.seeds += 1).or_insert(Group { first: seed, seeds: 1 });
            }
        });
        bar.finish_and_clear();
        let report = tally.report(self.first_seed, highest);
        println!("{}", report.text());
        let seconds = started.elapsed().as_secs_f64();
        println!("{seconds:.1} s, {:.1} runs per second and worker", self.speed(report.runs, seconds, extent.jobs));
        if let Some(planted) = &self.planted {
            return Ok(survived_or_not(planted, reached, &groups));
        }
        for (signature, group) in &groups {
            self.show_failure(signature, group)?;
        }
        write_json(self.json.as_ref(), &report)?;
        Ok(match report.worst() {
            "holds" => Outcome::AsClaimed,
            "unknown" => Outcome::Unknown,
            _ => Outcome::Violated,
        })
    }

    fn speed(&self, runs: u64, seconds: f64, jobs: usize) -> f64 {
        let times = if self.once { 1.0 } else { 2.0 };
        runs as f64 * times / seconds / jobs as f64
    }

    fn progress_bar(&self, seeds: u64) -> ProgressBar {
        let length = self.budget.map_or(seeds, |budget| budget.as_secs());
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}");
        ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// Shrinks a failure, keeps its capsule, and says how to see it again.
    fn show_failure(&self, signature: &str, group: &Group) -> Result<(), Wrong> {
        let first = &group.first;
        println!("\n{signature} ({} seeds, first {})", group.seeds, first.seed);
        let Some(violation) = first.result.violations.first() else {
            println!("  two runs of seed {} have different traces", first.seed);
            return Ok(());
        };
        println!("  {}", violation.sentence);
        for line in &violation.evidence {
            println!("    {line}");
        }
        let shrunk = shrink(&first.plan, &violation.signature, RUNS_MAX);
        print!("  {}", shrunk.text().trim_end().replace('\n', "\n  "));
        println!();
        let path = self.failures.join(format!("{}.toml", super::file_name(&violation.signature)));
        Capsule::new(shrunk.plan, violation.signature.clone()).write(&path)?;
        println!("  replay with: cargo sim replay {}", path.display());
        Ok(())
    }
}

/// Whether a planted bug broke an invariant, and where first; so many runs came to its site.
fn survived_or_not(planted: &str, reached: u64, groups: &BTreeMap<String, Group>) -> Outcome {
    match groups.iter().min_by_key(|(_, group)| group.first.seed) {
        None if reached == 0 => {
            println!(
                "no run came to the site of {planted}: nothing is planted under that name, or no scenario leads there"
            );
            Outcome::Unknown
        }
        None => {
            println!("{planted} survived, although {reached} runs came to its site");
            Outcome::AsClaimed
        }
        Some((signature, Group { first, .. })) => {
            println!("{planted} was caught: seed {} of {}: {signature}", first.seed, first.plan.scenario);
            Outcome::Violated
        }
    }
}

fn signature(seed: &SeedResult) -> Option<String> {
    match seed.result.violations.first() {
        Some(violation) => Some(format!("{} {}", violation.invariant.number(), violation.signature)),
        None => seed.diverged.then(|| "I21 the traces of two runs differ".to_owned()),
    }
}
