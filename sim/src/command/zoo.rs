//! `sim zoo`.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::{Outcome, Wrong, wall_clock, write_json};
use crate::{
    kills::{KillExtent, run_kills},
    scenario::{Scenario, Strategy, read_catalogue},
    zoo::{Hunt, Hunting, PlantedBug, hunt, read_zoo},
};

/// All planted bugs, or some.
#[derive(Args)]
pub(super) struct Zoo {
    /// Bugs; all if none is named.
    bugs: Vec<String>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// How faults and schedule are chosen: as the scenarios declare, or `uniform`, `swarm` or `pct`.
    #[arg(long, value_parser = Strategy::named, default_value = "declared")]
    strategy: Strategy,
    /// Hunts each bug by every strategy, and says which invariants catch it and which faults that needs.
    #[arg(long)]
    matrix: bool,
    /// With --matrix: most runs by strategies other than the declared one.
    #[arg(long, default_value_t = 40)]
    runs: u64,
    /// With --matrix: workers; one per core if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Writes the table as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    hunt: Hunt,
    expected: Vec<String>,
    stands_for: String,
    seconds: f64,
}

#[derive(Serialize)]
struct Table {
    caught: usize,
    bugs: usize,
    median_runs: u64,
    rows: Vec<Row>,
}

impl Zoo {
    pub(super) fn run(&self, catalogue: &Path) -> Result<Outcome, Wrong> {
        let scenarios = read_catalogue(catalogue)?;
        let zoo = read_zoo(&catalogue.join("zoo.toml"))?;
        if let Some(unknown) = self.bugs.iter().find(|name| !zoo.iter().any(|bug| bug.name == **name)) {
            let known = zoo.iter().map(|bug| bug.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Wrong(format!("there is no planted bug {unknown:?}; known are: {known}")));
        }
        super::silence_panics();
        if self.matrix {
            return self.run_matrix(&zoo, &scenarios);
        }
        println!("{:52} {:>6} {:>5} {:>7} {:>8}  fired", "bug", "caught", "runs", "reached", "seconds");
        let mut rows = Vec::new();
        for bug in zoo.iter().filter(|bug| self.bugs.is_empty() || self.bugs.contains(&bug.name)) {
            if !bug.backend.is_built() {
                println!("{:52} needs the feature rocksdb", bug.name);
                continue;
            }
            let started = wall_clock();
            let hunting = Hunting { first_seed: self.first_seed, strategy: self.strategy, runs_max: u64::MAX };
            let hunt = hunt(bug, &scenarios, hunting);
            let seconds = started.elapsed().as_secs_f64();
            let caught = if hunt.caught { "yes" } else { "NO" };
            let fired = hunt.fired.join(" ");
            println!("{:52} {caught:>6} {:>5} {:>7} {seconds:>8.2}  {fired}", hunt.bug, hunt.runs, hunt.reached);
            if !hunt.caught {
                println!("    expected one of {}; {}", bug.caught_by.join(" "), hunt.sentence);
            }
            let (expected, stands_for) = (bug.caught_by.clone(), bug.stands_for.clone());
            rows.push(Row { hunt, expected, stands_for, seconds });
        }
        let mut runs: Vec<u64> = rows.iter().map(|row| row.hunt.runs).collect();
        runs.sort_unstable();
        let caught = rows.iter().filter(|row| row.hunt.caught).count();
        let table =
            Table { caught, bugs: rows.len(), median_runs: runs.get(runs.len() / 2).copied().unwrap_or(0), rows };
        println!("\n{caught} of {} caught, median {} runs", table.bugs, table.median_runs);
        write_json(self.json.as_ref(), &table)?;
        Ok(if caught == table.bugs { Outcome::AsClaimed } else { Outcome::Violated })
    }

    fn run_matrix(&self, zoo: &[PlantedBug], scenarios: &[Scenario]) -> Result<Outcome, Wrong> {
        let named = |bug: &&PlantedBug| self.bugs.is_empty() || self.bugs.contains(&bug.name);
        let bugs: Vec<&PlantedBug> = zoo.iter().filter(named).filter(|bug| bug.backend.is_built()).collect();
        let jobs = self.jobs.unwrap_or_else(super::cores);
        let bar = ProgressBar::new(bugs.len() as u64);
        let extent = KillExtent { first_seed: self.first_seed, runs_max: self.runs, jobs };
        let matrix = run_kills(&bugs, scenarios, extent, |_| bar.inc(1));
        bar.finish_and_clear();
        println!("{}", matrix.text());
        for survivor in matrix.survivors() {
            println!("NOT CAUGHT: {survivor}");
        }
        write_json(self.json.as_ref(), &matrix)?;
        Ok(if matrix.survivors().is_empty() { Outcome::AsClaimed } else { Outcome::Violated })
    }
}
