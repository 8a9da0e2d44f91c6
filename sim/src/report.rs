//! The outcome report: what each scenario came to.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use tidegate::event::{Moment, Step};

use crate::{
    campaign::SeedResult,
    fault::FaultKind,
    invariant::InvariantId,
    run::Verdict,
    scenario::Scenario,
    trace::TraceHash,
    workload::{StageKind, Workload},
};

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario.
    pub scenario: String,
    /// What it claims.
    pub claim: String,
    /// Runs.
    pub runs: u64,
    /// Runs in which no fault struck.
    pub runs_unknown: u64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Checkpoints that were completed.
    pub checkpoints_completed: u64,
    /// Checkpoints that were given up.
    pub checkpoints_aborted: u64,
    /// Restarts of the job, and takeovers after the first.
    pub recoveries: u64,
    /// Runs with results that were there twice: a violation, or an outcome of going back to an older checkpoint.
    pub duplicates: u64,
    /// Runs with results that were missing.
    pub losses: u64,
    /// Violations by invariant.
    pub violations: BTreeMap<String, u64>,
    /// Runs whose repetition had another trace.
    pub diverged: u64,
    /// What it comes to: holds, violated, or unknown.
    pub verdict: String,
}

/// The report of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeReport {
    /// The commit of the source.
    pub commit: String,
    /// First seed.
    pub first_seed: u64,
    /// Seed behind the last.
    pub end_seed: u64,
    /// Runs in all.
    pub runs: u64,
    /// A hash over all traces: equal for equal seeds, in debug and release.
    pub trace_hash: TraceHash,
    /// Simulated seconds.
    pub simulated_seconds: u64,
    /// The scenarios.
    pub outcomes: Vec<Outcome>,
    /// How often each kind of fault struck.
    pub faults: BTreeMap<String, u64>,
    /// Kinds that never struck.
    pub faults_missing: Vec<String>,
    /// How often each sort of stage, each backend and each trigger was drawn in generated pipelines.
    pub drawn: BTreeMap<String, u64>,
}

/// Adds results up, in whatever order they come.
pub struct Tally {
    outcomes: Vec<Outcome>,
    hashes: BTreeMap<u64, TraceHash>,
    simulated_ms: u128,
    drawn: BTreeMap<String, u64>,
}

impl Tally {
    /// An empty tally of these scenarios.
    pub fn new(scenarios: &[Scenario]) -> Self {
        let outcomes = scenarios.iter().map(|scenario| Outcome {
            scenario: scenario.name.clone(),
            claim: scenario.claim.clone(),
            runs: 0,
            runs_unknown: 0,
            faults: BTreeMap::new(),
            checkpoints_completed: 0,
            checkpoints_aborted: 0,
            recoveries: 0,
            duplicates: 0,
            losses: 0,
            violations: BTreeMap::new(),
            diverged: 0,
            verdict: String::new(),
        });
        Self { outcomes: outcomes.collect(), hashes: BTreeMap::new(), simulated_ms: 0, drawn: BTreeMap::new() }
    }

    /// Adds a result.
    pub fn add(&mut self, seed: &SeedResult) {
        let outcome = &mut self.outcomes[seed.scenario];
        let result = &seed.result;
        outcome.runs += 1;
        outcome.runs_unknown += u64::from(result.verdict() == Verdict::Unknown);
        for (kind, times) in &result.struck {
            *outcome.faults.entry(kind.name().to_owned()).or_default() += times;
        }
        let count = |step: Step, moment: Moment| {
            result.history.facts.iter().filter(|fact| fact.step == step && fact.moment == moment).count() as u64
        };
        outcome.checkpoints_completed += count(Step::Completion, Moment::After);
        outcome.checkpoints_aborted += count(Step::AbortCheckpoint, Moment::After);
        outcome.recoveries +=
            count(Step::FailOver, Moment::Before) + count(Step::TakeLeadership, Moment::After).saturating_sub(1);
        let violated = |id: InvariantId| result.violations.iter().any(|violation| violation.invariant == id);
        outcome.duplicates += u64::from(violated(InvariantId::I2) || result.repeated > 0);
        outcome.losses += u64::from(violated(InvariantId::I1));
        for violation in &result.violations {
            *outcome.violations.entry(violation.invariant.name().to_owned()).or_default() += 1;
        }
        outcome.diverged += u64::from(seed.diverged);
        self.add_drawn(&seed.plan.workload);
        self.hashes.insert(seed.seed, result.hash);
        self.simulated_ms += result.simulated.as_millis();
    }

    fn add_drawn(&mut self, workload: &Workload) {
        let Some(generated) = &workload.generated else { return };
        let mut count = |name: String| *self.drawn.entry(name).or_default() += 1;
        count(format!("backend {}", workload.backend.name()));
        for kind in generated.kinds.iter().flat_map(|name| StageKind::named(name)) {
            count(kind.sort());
            if let StageKind::Window(window) = kind {
                count(format!("trigger {}", window.trigger.name()));
                count(format!("function {}", window.function.name()));
            }
        }
    }

    /// The report of what was added.
    pub fn report(&self, first_seed: u64, end_seed: u64) -> OutcomeReport {
        let mut outcomes = self.outcomes.clone();
        let mut faults: BTreeMap<String, u64> = BTreeMap::new();
        for outcome in &mut outcomes {
            outcome.verdict = verdict(outcome).to_owned();
            for (kind, times) in &outcome.faults {
                *faults.entry(kind.clone()).or_default() += times;
            }
        }
        let missing = FaultKind::ALL.iter().filter(|kind| !faults.contains_key(kind.name()));
        let chain = self.hashes.values().fold(0xcbf2_9ce4_8422_2325_u64, |chain, hash| {
            (chain ^ hash.0).wrapping_mul(0x100_0000_01b3).rotate_left(23)
        });
        OutcomeReport {
            commit: crate::capsule::commit().to_owned(),
            first_seed,
            end_seed,
            runs: self.hashes.len() as u64,
            trace_hash: TraceHash(chain),
            simulated_seconds: (self.simulated_ms / 1000) as u64,
            faults_missing: missing.map(|kind| kind.name().to_owned()).collect(),
            outcomes,
            faults,
            drawn: self.drawn.clone(),
        }
    }
}

fn verdict(outcome: &Outcome) -> &'static str {
    if !outcome.violations.is_empty() || outcome.diverged > 0 {
        "violated"
    } else if outcome.runs == outcome.runs_unknown {
        "unknown"
    } else {
        "holds"
    }
}

impl OutcomeReport {
    /// Whether every scenario holds.
    pub fn worst(&self) -> &'static str {
        let any = |verdict: &str| self.outcomes.iter().any(|outcome| outcome.verdict == verdict);
        if any("violated") {
            "violated"
        } else if any("unknown") {
            "unknown"
        } else {
            "holds"
        }
    }

    /// The report as a table.
    pub fn text(&self) -> String {
        format!(
            "{}\n{} runs, {} simulated seconds, seeds {}..{}, trace {}\n",
            self.text_without_trace(),
            self.runs,
            self.simulated_seconds,
            self.first_seed,
            self.end_seed,
            self.trace_hash
        )
    }

    /// The table alone: what it says changes with what the engine does, not with its schedule's every detail.
    pub fn text_without_trace(&self) -> String {
        let width = self.outcomes.iter().map(|outcome| outcome.scenario.len()).max().unwrap_or(8).max(8);
        let mut text = String::new();
        let mut line = |cells: [&str; 10]| {
            let [name, numbers @ .., last] = cells;
            let _ = write!(text, "{name:width$}");
            for number in numbers {
                let _ = write!(text, " {number:>9}");
            }
            let _ = writeln!(text, "  {last}");
        };
        line([
            "scenario",
            "runs",
            "no fault",
            "faults",
            "completed",
            "aborted",
            "recovered",
            "twice",
            "lost",
            "verdict",
        ]);
        for outcome in &self.outcomes {
            let numbers = [
                outcome.runs,
                outcome.runs_unknown,
                outcome.faults.values().sum(),
                outcome.checkpoints_completed,
                outcome.checkpoints_aborted,
                outcome.recoveries,
                outcome.duplicates,
                outcome.losses,
            ]
            .map(|number| number.to_string());
            let [a, b, c, d, e, f, g, h] = &numbers;
            line([&outcome.scenario, a, b, c, d, e, f, g, h, &outcome.verdict]);
        }
        text.push('\n');
        let _ = writeln!(text, "{:width$} {:>9}", "fault kind", "struck");
        for kind in FaultKind::ALL {
            let struck = self.faults.get(kind.name()).copied().unwrap_or(0);
            let _ = writeln!(text, "{:width$} {struck:>9}", kind.name());
        }
        if !self.drawn.is_empty() {
            let _ = writeln!(text, "\n{:width$} {:>9}", "generated", "drawn");
        }
        for (name, times) in &self.drawn {
            let _ = writeln!(text, "{name:width$} {times:>9}");
        }
        for outcome in self.outcomes.iter().filter(|outcome| outcome.verdict != "holds") {
            let _ = writeln!(text, "{}: {} {:?}", outcome.scenario, outcome.verdict, outcome.violations);
        }
        text
    }
}
