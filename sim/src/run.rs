//! One run: a declarative workload in a simulated cluster, disturbed as a plan says, recorded, and
//! judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tidegate::{id::CheckpointId, pipeline::Pipeline};

use crate::{
    cluster::{Cluster, ClusterRun},
    fault::FaultKind,
    history::{History, OutputFile},
    invariant::{self, Violation},
    model::Model,
    scenario::Plan,
    trace::{Keep, TraceHash},
    workload::{CHECKPOINTS, JOB_ID, OUTPUT},
};

/// What a run is judged to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every invariant held, and the disturbance took place.
    Holds,
    /// An invariant was violated.
    Violated,
    /// No fault struck: the run says nothing about the claim.
    Unknown,
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// Last link of the trace.
    pub hash: TraceHash,
    /// Number of events in the trace.
    pub events: u64,
    /// Lines of the trace, if they were kept.
    pub lines: Vec<String>,
    /// Faults that struck, by kind.
    pub struck: BTreeMap<FaultKind, u64>,
    /// Faults whose moment did not come.
    pub missed: usize,
    /// What the invariants found.
    pub violations: Vec<Violation>,
    /// How often the site of the planted bug was reached.
    pub planted_reached: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Everything that was recorded.
    pub history: History,
}

impl RunResult {
    /// What the run is judged to be; a plan without faults claims something about the undisturbed run.
    pub fn verdict(&self) -> Verdict {
        if !self.violations.is_empty() {
            Verdict::Violated
        } else if self.struck.is_empty() && self.missed > 0 {
            Verdict::Unknown
        } else {
            Verdict::Holds
        }
    }
}

/// Runs a plan. The same plan gives the same result, whatever else the process does.
pub fn run(plan: &Plan, keep: Keep) -> RunResult {
    run_pipeline(&plan.workload.pipeline(), plan, keep)
}

/// Runs another pipeline in the place of the plan's own.
pub(crate) fn run_pipeline(pipeline: &Pipeline, plan: &Plan, keep: Keep) -> RunResult {
    let (config, program) = match pipeline.compile() {
        Ok(compiled) => compiled,
        Err(error) => panic!("the laboratory's own pipeline does not compile: {error}"),
    };
    let model = match Model::new(pipeline) {
        Ok(model) => model,
        Err(error) => panic!("the laboratory's own pipeline cannot be evaluated: {error}"),
    };
    let cluster = Cluster {
        seed: plan.seed,
        config,
        program: Arc::new(program),
        task_managers: plan.workload.task_managers,
        faults: plan.faults.clone(),
        planted: plan.planted.clone(),
        undisturbed: Duration::from_secs(plan.workload.seconds),
    };
    let ClusterRun { end, recorded, observed } = cluster.run(keep);
    let (hash, events, lines) = (recorded.trace.hash(), recorded.trace.events(), recorded.trace.lines().to_vec());
    let seen = look_at(&observed.files);
    let history = History {
        facts: recorded.facts,
        files: recorded.files,
        completed: recorded.completed,
        output: seen.output,
        staged_left: seen.staged_left,
        checkpoints_left: seen.checkpoints_left,
        shared_left: seen.shared_left,
        healed_at: recorded.disturbed_at,
        ended_at: observed.ended_at,
        end,
    };
    let violations = invariant::judge(&history, &model);
    RunResult {
        hash,
        events,
        lines,
        struck: observed.struck,
        missed: observed.missed,
        violations,
        planted_reached: observed.planted_reached,
        simulated: observed.simulated,
        history,
    }
}

/// What a declarative workload left on the shared disk.
#[derive(Default)]
struct Seen {
    output: BTreeMap<String, Vec<OutputFile>>,
    staged_left: BTreeMap<String, Vec<String>>,
    checkpoints_left: Vec<CheckpointId>,
    shared_left: BTreeSet<String>,
}

/// The shared disk as a read-committed reader sees it.
fn look_at(files: &BTreeMap<PathBuf, Vec<u8>>) -> Seen {
    let mut seen = Seen::default();
    let mut checkpoints: BTreeSet<CheckpointId> = BTreeSet::new();
    for (path, bytes) in files {
        if let Ok(rest) = path.strip_prefix(OUTPUT) {
            let parts: Vec<String> = rest.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            match parts.as_slice() {
                [sink, staging, name] if staging == ".staging" => {
                    seen.staged_left.entry(sink.clone()).or_default().push(name.clone());
                }
                [sink, name] => {
                    let lines = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
                    seen.output.entry(sink.clone()).or_default().push(OutputFile { name: name.clone(), lines });
                }
                _ => {}
            }
        } else if let Ok(rest) = path.strip_prefix(Path::new(CHECKPOINTS).join(JOB_ID)) {
            let mut parts = rest.iter().map(|part| part.to_string_lossy().into_owned());
            let first = parts.next().unwrap_or_default();
            if first == "shared" {
                seen.shared_left.extend(parts.next());
            }
            checkpoints.extend(first.strip_prefix("chk-").and_then(|number| number.parse().ok()).map(CheckpointId));
        }
    }
    seen.checkpoints_left = checkpoints.into_iter().collect();
    seen
}
