//! The command `sim`.
//!
//! Exit codes: 0 as claimed, 1 a violation was found, 2 the call was wrong, 3 unknown (no disturbance took place).

mod bench;
mod campaign;
mod diff;
mod exhaust;
mod list;
mod matrix;
mod replay;
mod run;
mod shrink;
mod zoo;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};

use crate::scenario::{CatalogueError, Scenario, read_catalogue};

/// The laboratory of Tidegate: the unchanged engine in a seeded simulated world, judged.
#[derive(Parser)]
#[command(name = "sim", version, about)]
struct Cli {
    /// The catalogue: a directory with `claims/*.toml` and `zoo.toml`.
    #[arg(long, global = true, default_value = DEFAULT_CATALOGUE)]
    catalogue: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const DEFAULT_CATALOGUE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");

#[derive(Subcommand)]
enum Command {
    /// Shows scenarios, fault kinds, invariants and planted bugs.
    List(list::List),
    /// Runs one scenario with one seed and shows the verdict, with -v the trace.
    Run(run::Run),
    /// Runs many seeds of many scenarios and reports the outcomes.
    Campaign(campaign::Campaign),
    /// Lets processes die at every point at which they can, one run for each, or at every pair of points.
    Exhaust(exhaust::Exhaust),
    /// Runs a capsule again.
    Replay(replay::Replay),
    /// Makes a failing run as small as it fails, and proves that nothing can be left out.
    Shrink(shrink::Shrink),
    /// Shows the first event in which two runs differ.
    Diff(diff::Diff),
    /// Plants each known bug and reports whether it is caught.
    Zoo(zoo::Zoo),
    /// Runs every kind of stage with a crash at every moment of a checkpoint.
    Matrix(matrix::MatrixCommand),
    /// Measures the laboratory: runs per second of the standard workload, and where the time goes.
    Bench(bench::Bench),
}

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(crate) struct Wrong(String);

impl<E: std::error::Error> From<E> for Wrong {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    AsClaimed,
    Violated,
    Unknown,
}

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let catalogue = cli.catalogue;
    let ended = match cli.command {
        Command::List(list) => list.run(&catalogue),
        Command::Run(run) => run.run(&catalogue),
        Command::Campaign(campaign) => campaign.run(&catalogue),
        Command::Exhaust(exhaust) => exhaust.run(&catalogue),
        Command::Replay(replay) => replay.run(),
        Command::Shrink(shrink) => shrink.run(),
        Command::Diff(diff) => diff.run(),
        Command::Zoo(zoo) => zoo.run(&catalogue),
        Command::Matrix(matrix) => matrix.run(),
        Command::Bench(bench) => bench.run(),
    };
    match ended {
        Ok(Outcome::AsClaimed) => ExitCode::SUCCESS,
        Ok(Outcome::Violated) => ExitCode::from(1),
        Ok(Outcome::Unknown) => ExitCode::from(3),
        Err(Wrong(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

/// The scenarios of these names, or all.
fn select(catalogue: &std::path::Path, names: &[String]) -> Result<Vec<Scenario>, CatalogueError> {
    let all = read_catalogue(catalogue)?;
    if names.is_empty() {
        return Ok(all);
    }
    let known = all.iter().map(|scenario| scenario.name.as_str()).collect::<Vec<_>>().join(", ");
    names
        .iter()
        .map(|name| {
            let found = all.iter().find(|scenario| scenario.name == *name).cloned();
            found.ok_or_else(|| CatalogueError::Unknown { name: name.clone(), known: known.clone() })
        })
        .collect()
}

fn write_json(path: Option<&PathBuf>, value: &impl serde::Serialize) -> Result<(), Wrong> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(value)?;
    std::fs::write(path, text).map_err(|error| Wrong(format!("cannot write {}: {error}", path.display())))
}

/// The name of a file about a signature.
fn file_name(signature: &str) -> String {
    signature.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(80).collect()
}

/// The wall clock, for progress and speed; nothing of it reaches a result that is compared.
#[expect(clippy::disallowed_methods, reason = "the speed of the laboratory itself is measured on the real clock")]
fn wall_clock() -> Instant {
    Instant::now()
}

/// How many workers run by default: one per core.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Keeps the standard library from printing panics of simulated processes: they are results.
fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}
