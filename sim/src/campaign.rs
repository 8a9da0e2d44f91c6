//! Campaigns: many seeds of many scenarios over all cores.
//!
//! Seed `n` runs scenario `n mod scenarios`, so any number of seeds covers all scenarios evenly. The order in which
//! workers finish does not show in the result.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    run::{RunResult, run},
    scenario::{Plan, Scenario},
    trace::Keep,
};

/// Which seeds are run, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First seed.
    pub first: u64,
    /// Seed behind the last.
    pub end: u64,
    /// This shard takes seeds `n` with `n mod shards == shard`.
    pub shard: u64,
    /// Number of shards.
    pub shards: u64,
    /// Workers at once.
    pub jobs: usize,
    /// Whether each seed is run again to compare traces.
    pub twice: Twice,
}

/// Whether each seed is run again to compare traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twice {
    /// Each seed runs once.
    No,
    /// Each seed runs twice; the traces must be the same (I21).
    Yes,
}

/// What one seed came to.
#[derive(Debug)]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// The scenario's number.
    pub scenario: usize,
    /// The run's plan.
    pub plan: Plan,
    /// The run.
    pub result: RunResult,
    /// The second run had another trace.
    pub diverged: bool,
}

/// Runs the seeds of an extent and hands each result to `collect`, in no particular order; stops when `stop` is set.
pub fn run_seeds(scenarios: &[Scenario], extent: Extent, stop: &AtomicBool, collect: impl FnMut(SeedResult) + Send) {
    let next = AtomicU64::new(extent.first);
    let collect = Mutex::new(collect);
    std::thread::scope(|scope| {
        for _ in 0..extent.jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= extent.end {
                        return;
                    }
                    if seed % extent.shards != extent.shard {
                        continue;
                    }
                    let result = run_seed(scenarios, seed, extent.twice);
                    let mut collect = collect.lock().unwrap_or_else(PoisonError::into_inner);
                    (*collect)(result);
                }
            });
        }
    });
}

fn run_seed(scenarios: &[Scenario], seed: u64, twice: Twice) -> SeedResult {
    let scenario = (seed % scenarios.len() as u64) as usize;
    let plan = scenarios[scenario].plan(seed);
    let mut result = run(&plan, Keep::Hash);
    let diverged = twice == Twice::Yes && run(&plan, Keep::Hash).hash != result.hash;
    // Of a run that held, only the numbers are wanted.
    if result.violations.is_empty() {
        result.history.files.clear();
        result.history.completed.clear();
        result.history.output.clear();
    }
    SeedResult { seed, scenario, plan, result, diverged }
}

/// Takes away from a failing plan what it fails without: faults first, then the size of the workload.
pub fn shrink(plan: &Plan, signature: &str) -> Plan {
    let fails = |plan: &Plan| run(plan, Keep::Hash).violations.iter().any(|violation| violation.signature == signature);
    let mut smallest = plan.clone();
    let mut index = 0;
    while index < smallest.faults.len() {
        let mut candidate = smallest.clone();
        candidate.faults.remove(index);
        if fails(&candidate) { smallest = candidate } else { index += 1 }
    }
    let simplifications: [fn(&mut Plan); 6] = [
        |plan| plan.workload.parallelism = 1,
        |plan| plan.workload.task_managers = 1,
        |plan| plan.workload.keys = 1,
        |plan| plan.workload.disorder_ms = 0,
        |plan| plan.workload.skewed = false,
        |plan| plan.workload.records = (plan.workload.records / 2).max(2),
    ];
    // Of a generated pipeline the numbers that it was drawn from say nothing any more.
    let of_numbers = if smallest.workload.generated.is_some() { 2 } else { simplifications.len() };
    for simplify in &simplifications[..of_numbers] {
        loop {
            let mut candidate = smallest.clone();
            simplify(&mut candidate);
            if candidate == smallest || !fails(&candidate) {
                break;
            }
            smallest = candidate;
        }
    }
    shrink_generated(&mut smallest, fails);
    smallest
}

/// Most runs that are spent on shrinking a generated pipeline.
const GENERATED_RUNS_MAX: usize = 400;

/// Takes the first simpler pipeline that still fails, as long as there is one.
fn shrink_generated(smallest: &mut Plan, fails: impl Fn(&Plan) -> bool) {
    let mut runs = 0;
    while let Some(generated) = &smallest.workload.generated {
        let simpler = generated.simpler().into_iter().find_map(|simpler| {
            let mut candidate = smallest.clone();
            candidate.workload.generated = Some(Box::new(simpler));
            runs += 1;
            (runs <= GENERATED_RUNS_MAX && fails(&candidate)).then_some(candidate)
        });
        match simpler {
            Some(candidate) => *smallest = candidate,
            None => return,
        }
    }
}

/// Runs a plan with and without each of its faults: which of them the failure needs.
pub fn needed_faults(plan: &Plan, signature: &str) -> BTreeMap<usize, bool> {
    let fails = |plan: &Plan| run(plan, Keep::Hash).violations.iter().any(|violation| violation.signature == signature);
    (0..plan.faults.len())
        .map(|index| {
            let mut without = plan.clone();
            without.faults.remove(index);
            (index, !fails(&without))
        })
        .collect()
}
