//! `sim exhaust`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::ProgressBar;

use super::{Outcome, Wrong, campaign::parse_shard, cores, select, wall_clock, write_json};
use crate::{
    capsule::Capsule,
    exhaust::{Chunk, Crashes, ExhaustExtent, ExhaustReport, Space, StateFile},
    run::Verdict,
    scenario::Plan,
};

/// Every crash point of the undisturbed run of a scenario's workload, or every ordered pair.
#[derive(Args)]
pub(super) struct Exhaust {
    /// The scenario.
    #[arg(default_value = "standard")]
    scenario: String,
    /// How many processes die in a run: 1, or 2 one after the other.
    #[arg(long, default_value = "1", value_parser = parse_crashes)]
    crashes: Crashes,
    /// The seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Plants this bug.
    #[arg(long)]
    planted: Option<String>,
    /// Explores only every N-th first point: I/N.
    #[arg(long, value_parser = parse_shard, default_value = "0/1")]
    shard: (u64, u64),
    /// Workers; one per core if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// How long a process that died is away, in milliseconds of simulated time.
    #[arg(long, default_value_t = 500)]
    away_ms: u64,
    /// Keeps what is explored in this file, and goes on from it.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Where capsules of failures go.
    #[arg(long, default_value = "failures")]
    failures: PathBuf,
    /// Writes the report as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn parse_crashes(text: &str) -> Result<Crashes, String> {
    match text {
        "1" => Ok(Crashes::One),
        "2" => Ok(Crashes::Two),
        _ => Err("one crash or two: 1 or 2".into()),
    }
}

impl Exhaust {
    pub(super) fn run(&self, catalogue: &Path) -> Result<Outcome, Wrong> {
        let scenario = select(catalogue, std::slice::from_ref(&self.scenario))?.remove(0);
        let mut plan = scenario.plan(self.seed);
        plan.planted.clone_from(&self.planted);
        super::silence_panics();
        let started = wall_clock();
        let space = Space::of(&plan).map_err(Wrong)?;
        let extent = ExhaustExtent {
            crashes: self.crashes,
            shard: usize::try_from(self.shard.0)?,
            shards: usize::try_from(self.shard.1)?,
            jobs: self.jobs.unwrap_or_else(cores),
            away_ms: self.away_ms,
        };
        let (mut state, known) = match &self.state {
            Some(path) => {
                let (file, known) = StateFile::open(path, &space, &extent)?;
                (Some(file), known)
            }
            None => (None, BTreeMap::new()),
        };
        let bar = ProgressBar::new(space.chunks(&extent) as u64).with_position(known.len() as u64);
        let mut chunks: BTreeMap<usize, Chunk> = known.clone();
        let mut unwritten = None;
        space.explore(
            &extent,
            |number| known.contains_key(&number),
            |chunk| {
                bar.inc(1);
                for failure in &chunk.failures {
                    bar.println(format!("{}: {}", failure.signature, failure.sentence));
                }
                if let Some(Err(error)) = state.as_mut().map(|state| state.add(&chunk)) {
                    unwritten.get_or_insert(error);
                }
                chunks.insert(chunk.number, chunk);
            },
        );
        bar.finish_and_clear();
        let report = ExhaustReport::new(&space, &extent, &chunks);
        print!("{}", report.text());
        let (new, seconds) = (chunks.len() - known.len(), started.elapsed().as_secs_f64());
        println!("{seconds:.1} s for {new} chunks that were not known");
        self.keep_failures(&report, space.plan())?;
        write_json(self.json.as_ref(), &report)?;
        if let Some(error) = unwritten {
            return Err(error.into());
        }
        Ok(match report.verdict() {
            Verdict::Holds => Outcome::AsClaimed,
            Verdict::Violated => Outcome::Violated,
            Verdict::Unknown => Outcome::Unknown,
        })
    }

    /// Writes a capsule for the first failure of each signature.
    fn keep_failures(&self, report: &ExhaustReport, plan: &Plan) -> Result<(), Wrong> {
        for (signature, (_, failure)) in &report.failures {
            let path = self.failures.join(format!("exhaust-{}.toml", super::file_name(signature)));
            let plan = Plan { faults: failure.faults.clone(), ..plan.clone() };
            Capsule::new(plan, signature.clone()).write(&path)?;
            println!("replay with: cargo sim replay {}", path.display());
        }
        Ok(())
    }
}
