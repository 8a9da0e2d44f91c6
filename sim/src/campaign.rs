//! Campaigns: many seeds of many scenarios over all cores.
//!
//! Seed `n` runs scenario `n mod scenarios`, so any number of seeds covers all scenarios evenly. The order in which
//! workers finish does not show in the result.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::{
    run::{RunResult, run},
    scenario::{Plan, Scenario, Strategy},
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
    /// How faults and schedule are chosen.
    pub strategy: Strategy,
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
                    let result = run_seed(scenarios, seed, extent);
                    let mut collect = collect.lock().unwrap_or_else(PoisonError::into_inner);
                    (*collect)(result);
                }
            });
        }
    });
}

fn run_seed(scenarios: &[Scenario], seed: u64, extent: Extent) -> SeedResult {
    let scenario = (seed % scenarios.len() as u64) as usize;
    let plan = scenarios[scenario].plan_by(extent.strategy, seed);
    let mut result = run(&plan, Keep::Hash);
    let diverged = extent.twice == Twice::Yes && run(&plan, Keep::Hash).hash != result.hash;
    // Of a run that held, only the numbers are wanted.
    if result.violations.is_empty() {
        result.history.files.clear();
        result.history.completed.clear();
        result.history.output.clear();
    }
    SeedResult { seed, scenario, plan, result, diverged }
}
