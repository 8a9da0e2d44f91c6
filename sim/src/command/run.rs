//! `sim run`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Outcome, Wrong, select, write_json};
use crate::{
    capsule::{Capsule, HOLDS},
    run::{RunResult, Verdict, run},
    scenario::Plan,
    trace::{Keep, TraceHash},
};

/// One run.
#[derive(Args)]
pub(super) struct Run {
    /// The scenario.
    scenario: String,
    /// The seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Plants this bug.
    #[arg(long)]
    planted: Option<String>,
    /// Shows the trace.
    #[arg(short, long)]
    verbose: bool,
    /// Writes the run as a capsule.
    #[arg(long)]
    capsule: Option<PathBuf>,
    /// Writes the result as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Summary<'a> {
    plan: &'a Plan,
    verdict: Verdict,
    trace_hash: TraceHash,
    events: u64,
    simulated_seconds: f64,
    struck: Vec<(&'static str, u64)>,
    missed: usize,
    violations: Vec<(&'static str, &'a str)>,
}

impl Run {
    pub(super) fn run(&self, catalogue: &Path) -> Result<Outcome, Wrong> {
        let scenario = select(catalogue, std::slice::from_ref(&self.scenario))?.remove(0);
        let mut plan = scenario.plan(self.seed);
        plan.planted.clone_from(&self.planted);
        println!("{}: {}\nseed {}", scenario.name, scenario.claim, self.seed);
        let result = run_and_show(&plan, self.verbose, self.json.as_ref())?;
        if let Some(path) = &self.capsule {
            let expect = result.violations.first().map_or(HOLDS, |violation| violation.signature.as_str());
            Capsule::new(plan, expect).write(path)?;
            println!("capsule written to {}", path.display());
        }
        Ok(outcome_of(&result))
    }
}

pub(super) fn outcome_of(result: &RunResult) -> Outcome {
    match result.verdict() {
        Verdict::Holds => Outcome::AsClaimed,
        Verdict::Violated => Outcome::Violated,
        Verdict::Unknown => Outcome::Unknown,
    }
}

/// Prints every derived option, runs, and prints the verdict.
pub(super) fn run_and_show(plan: &Plan, verbose: bool, json: Option<&PathBuf>) -> Result<RunResult, Wrong> {
    println!("{}", toml::to_string(plan)?);
    let result = run(plan, if verbose { Keep::Lines } else { Keep::Hash });
    for line in &result.lines {
        println!("{line}");
    }
    println!(
        "{} events, {:.1} simulated seconds, trace {}",
        result.events,
        result.simulated.as_secs_f64(),
        result.hash
    );
    for (kind, times) in &result.struck {
        println!("struck: {} × {times}", kind.name());
    }
    if result.missed > 0 {
        println!("{} faults did not come to their moment", result.missed);
    }
    for step in &result.untaken {
        println!("{} did not happen", step.name());
    }
    for violation in &result.violations {
        println!("\nVIOLATED {} {}: {}", violation.invariant.number(), violation.invariant.name(), violation.sentence);
        for line in &violation.evidence {
            println!("    {line}");
        }
    }
    println!("\nverdict: {:?}", result.verdict());
    let summary = Summary {
        plan,
        verdict: result.verdict(),
        trace_hash: result.hash,
        events: result.events,
        simulated_seconds: result.simulated.as_secs_f64(),
        struck: result.struck.iter().map(|(kind, times)| (kind.name(), *times)).collect(),
        missed: result.missed,
        violations: result
            .violations
            .iter()
            .map(|violation| (violation.invariant.name(), violation.sentence.as_str()))
            .collect(),
    };
    write_json(json, &summary)?;
    Ok(result)
}
