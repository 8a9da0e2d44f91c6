//! Exhaustive crashes: every point of a run at which a process could die, tried one by one; or every ordered pair.
//!
//! ```text
//!   undisturbed run ──► its points p1 … pN: each step, message and disk operation, before and after
//!        one crash:     for each pi  a run in which the process of pi dies there                     N runs
//!        two crashes:   for each pi  that run again, with its points q1 … qM after the crash,
//!                       recovery included, and for each qj a run in which both die               M1 + … + MN runs
//! ```
//!
//! Points are found in the very run that is repeated, so each must strike again; one that does not is counted as
//! *unknown*. A *chunk* is what belongs to one first point: the unit of sharding and of resuming.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use crate::{
    fault::{At, Fault, FaultKind},
    nemesis::Point,
    run::{Prepared, RunResult, Verdict},
    scenario::Plan,
    trace::Keep,
};

mod state;

pub use state::{StateError, StateFile};

/// How many processes die in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crashes {
    /// One.
    One,
    /// Two, one after the other; the second also while the job recovers from the first.
    Two,
}

/// Which part of the space is explored, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExhaustExtent {
    /// How many processes die in a run.
    pub crashes: Crashes,
    /// This shard takes chunks `n` with `n mod shards == shard`.
    pub shard: usize,
    /// Number of shards.
    pub shards: usize,
    /// Workers at once.
    pub jobs: usize,
    /// How long a process that died is away, in milliseconds.
    pub away_ms: u64,
}

/// A run that violated something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExhaustFailure {
    /// The faults.
    pub faults: Vec<Fault>,
    /// The signature of its first violation.
    pub signature: String,
    /// What happened, in one sentence.
    pub sentence: String,
}

/// What the runs of one first point came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chunk {
    /// The number of the first point.
    pub number: usize,
    /// The sort of its site.
    pub sort: String,
    /// Runs in which everything held.
    pub holds: u64,
    /// Runs in which something was violated.
    pub violated: u64,
    /// Runs in which a crash did not come to its moment: they say nothing.
    pub unknown: u64,
    /// The runs that violated something.
    pub failures: Vec<ExhaustFailure>,
}

impl Chunk {
    fn add(&mut self, plan: &Plan, result: &RunResult) {
        if let Some(violation) = result.violations.first() {
            self.violated += 1;
            let (signature, sentence) = (violation.signature.clone(), violation.sentence.clone());
            self.failures.push(ExhaustFailure { faults: plan.faults.clone(), signature, sentence });
        } else if result.missed > 0 {
            self.unknown += 1;
        } else {
            self.holds += 1;
        }
    }

    /// The number of its runs.
    pub fn runs(&self) -> u64 {
        self.holds + self.violated + self.unknown
    }
}

/// The space of one plan: its undisturbed run, and where processes could die in it.
pub struct Space {
    plan: Plan,
    prepared: Prepared,
    points: Vec<At>,
}

impl Space {
    /// Runs the plan without its faults and finds the points.
    ///
    /// # Errors
    /// If the plan cannot be run, or violates something even undisturbed.
    pub fn of(plan: &Plan) -> Result<Self, String> {
        // What a claim demands is the business of its own faults.
        let plan = Plan { faults: Vec::new(), demands: Vec::new(), ..plan.clone() };
        let prepared = Prepared::new(&plan.workload)?;
        let (result, points) = prepared.run_with_points(&plan);
        match result.verdict() {
            Verdict::Holds => Ok(Self { plan, prepared, points: moments(&points) }),
            Verdict::Violated | Verdict::Unknown => {
                let sentences = result.violations.iter().map(|violation| violation.sentence.as_str());
                Err(format!("the undisturbed run fails: {}", sentences.collect::<Vec<_>>().join(" ")))
            }
        }
    }

    /// The plan without faults.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The moments of the undisturbed run at which a process can die.
    pub fn points(&self) -> &[At] {
        &self.points
    }

    /// How many points there are of each sort.
    pub fn sorts(&self) -> BTreeMap<&'static str, usize> {
        let mut sorts = BTreeMap::new();
        for point in &self.points {
            *sorts.entry(point.site.sort()).or_default() += 1;
        }
        sorts
    }

    /// The plan with crashes at these moments, one after the other.
    fn with_crashes(&self, moments: &[&At], away_ms: u64) -> Plan {
        let crash = |at: &&At| Fault::new(FaultKind::CrashProcess, (*at).clone(), away_ms);
        Plan { faults: moments.iter().map(crash).collect(), ..self.plan.clone() }
    }

    /// All runs that begin with a crash at one point.
    fn chunk(&self, number: usize, extent: &ExhaustExtent) -> Chunk {
        let first = &self.points[number];
        let mut chunk = Chunk { number, sort: first.site.sort().to_owned(), ..Chunk::default() };
        let plan = self.with_crashes(&[first], extent.away_ms);
        match extent.crashes {
            Crashes::One => chunk.add(&plan, &self.prepared.run(&plan, Keep::Hash)),
            Crashes::Two => {
                let (result, points) = self.prepared.run_with_points(&plan);
                if result.missed > 0 {
                    // Without the first crash there is no second one.
                    chunk.add(&plan, &result);
                    return chunk;
                }
                for second in &moments(&points) {
                    let plan = self.with_crashes(&[first, second], extent.away_ms);
                    chunk.add(&plan, &self.prepared.run(&plan, Keep::Hash));
                }
            }
        }
        chunk
    }

    /// Explores the extent but for the chunks that are known already; hands each new chunk to `collect`, in no
    /// particular order.
    pub fn explore(
        &self,
        extent: &ExhaustExtent,
        known: impl Fn(usize) -> bool + Sync,
        collect: impl FnMut(Chunk) + Send,
    ) {
        let next = AtomicUsize::new(0);
        let collect = Mutex::new(collect);
        std::thread::scope(|scope| {
            for _ in 0..extent.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.points.len() {
                            return;
                        }
                        if number % extent.shards != extent.shard || known(number) {
                            continue;
                        }
                        let chunk = self.chunk(number, extent);
                        let mut collect = collect.lock().unwrap_or_else(PoisonError::into_inner);
                        (*collect)(chunk);
                    }
                });
            }
        });
    }

    /// The chunks of a shard.
    pub fn chunks(&self, extent: &ExhaustExtent) -> usize {
        (extent.shard..self.points.len()).step_by(extent.shards.max(1)).count()
    }
}

/// The moments of points: each is told by its site, its subject, and how often that was seen before.
fn moments(points: &[Point]) -> Vec<At> {
    let mut seen: BTreeMap<(&crate::fault::Site, u8), Vec<&Point>> = BTreeMap::new();
    let mut moments = Vec::with_capacity(points.len());
    for point in points {
        let subject = point.subtask.as_ref().unwrap_or(&point.node).to_string();
        let mut at = At { site: point.site.clone(), moment: point.moment, subject: Some(subject), occurrence: 0 };
        let alike = seen.entry((&point.site, point.moment as u8)).or_default();
        alike.push(point);
        // A part of a name may fit others, too: they are counted as the nemesis will count them.
        let concerned =
            alike.iter().filter(|other| at.concerns(&other.site, other.moment, other.subtask.as_deref(), &other.node));
        at.occurrence = concerned.count() as u32;
        moments.push(at);
    }
    moments
}

/// What the exploration of a space came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExhaustReport {
    /// The scenario.
    pub scenario: String,
    /// The plan's seed.
    pub seed: u64,
    /// How many processes die in a run.
    pub crashes: Crashes,
    /// Points of the undisturbed run.
    pub points: usize,
    /// Points by sort of site.
    pub sorts: BTreeMap<String, usize>,
    /// Chunks of this shard.
    pub chunks: usize,
    /// Chunks of this shard that were explored.
    pub chunks_explored: usize,
    /// Runs.
    pub runs: u64,
    /// Runs in which everything held.
    pub holds: u64,
    /// Runs in which something was violated.
    pub violated: u64,
    /// Runs in which a crash did not come to its moment.
    pub unknown: u64,
    /// Failures of each signature, with the first of them.
    pub failures: BTreeMap<String, (u64, ExhaustFailure)>,
}

impl ExhaustReport {
    /// The report of the chunks of a shard that were explored.
    pub fn new(space: &Space, extent: &ExhaustExtent, chunks: &BTreeMap<usize, Chunk>) -> Self {
        let mut failures: BTreeMap<String, (u64, ExhaustFailure)> = BTreeMap::new();
        for failure in chunks.values().flat_map(|chunk| &chunk.failures) {
            failures.entry(failure.signature.clone()).or_insert_with(|| (0, failure.clone())).0 += 1;
        }
        let sum = |number: fn(&Chunk) -> u64| chunks.values().map(number).sum();
        Self {
            scenario: space.plan.scenario.clone(),
            seed: space.plan.seed,
            crashes: extent.crashes,
            points: space.points.len(),
            sorts: space.sorts().into_iter().map(|(sort, count)| (sort.to_owned(), count)).collect(),
            chunks: space.chunks(extent),
            chunks_explored: chunks.len(),
            runs: sum(Chunk::runs),
            holds: sum(|chunk| chunk.holds),
            violated: sum(|chunk| chunk.violated),
            unknown: sum(|chunk| chunk.unknown),
            failures,
        }
    }

    /// The report in words.
    pub fn text(&self) -> String {
        let sorts: Vec<String> = self.sorts.iter().map(|(sort, count)| format!("{count} at a {sort}")).collect();
        let mut text = format!("{}: {} crash points ({})\n", self.scenario, self.points, sorts.join(", "));
        let all = match self.crashes {
            Crashes::One => format!("{} of {} explored", self.chunks_explored, self.chunks),
            Crashes::Two => format!(
                "{} of {} first crashes explored, each with every second one: {} ordered pairs",
                self.chunks_explored, self.chunks, self.runs
            ),
        };
        text += &format!("{all}: {} hold, {} violated, {} unknown\n", self.holds, self.violated, self.unknown);
        for (signature, (times, first)) in &self.failures {
            text += &format!("{signature} ({times} runs)\n  {}\n", first.sentence);
            first.faults.iter().for_each(|fault| text += &format!("  {fault}\n"));
        }
        text
    }

    /// Whether it is whole and everything held: violated, then unknown, then holds.
    pub fn verdict(&self) -> Verdict {
        if self.violated > 0 {
            Verdict::Violated
        } else if self.unknown > 0 || self.chunks_explored < self.chunks || self.runs == 0 {
            Verdict::Unknown
        } else {
            Verdict::Holds
        }
    }
}

#[cfg(test)]
mod tests;
