//! One run: a declarative workload in a simulated cluster, disturbed as a plan says, recorded, and
//! judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tidegate::{config::JobConfig, event::Step, graph::JobGraph, id::CheckpointId, pipeline::Pipeline, task::Program};

use crate::{
    cluster::{Cluster, ClusterRun},
    fault::FaultKind,
    history::{History, OutputFile, Savepoint},
    invariant::{self, Violation},
    model::{Clocks, Model},
    nemesis::{Point, Watch},
    recorder::directory_of,
    scenario::Plan,
    trace::{Keep, TraceHash},
    workload::{CHECKPOINTS, JOB_ID, OUTPUT, SAVEPOINTS, Workload},
};

/// What a run is judged to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every invariant held, and the disturbance took place.
    Holds,
    /// An invariant was violated.
    Violated,
    /// No fault struck, or a step that the claim is about was not taken: the run says nothing about it.
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
    /// Steps that the claim is about and that were not taken.
    pub untaken: Vec<Step>,
    /// What the invariants found.
    pub violations: Vec<Violation>,
    /// Lines that are in the committed output once more because the job went back to an older checkpoint: an outcome.
    pub repeated: usize,
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
        } else if (self.struck.is_empty() && self.missed > 0) || !self.untaken.is_empty() {
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
    match Prepared::of(pipeline, &plan.workload) {
        Ok(prepared) => prepared.run(plan, keep),
        Err(error) => panic!("the laboratory's own pipeline cannot be run: {error}"),
    }
}

/// A workload made ready once for many runs: its job, and its model with what is known of cuts already.
pub struct Prepared {
    workload: Workload,
    config: JobConfig,
    program: Arc<Program>,
    model: Model,
    pipeline: Pipeline,
}

impl Prepared {
    /// Makes a workload ready.
    ///
    /// # Errors
    /// Why its pipeline does not compile, or has no model.
    pub fn new(workload: &Workload) -> Result<Self, String> {
        Self::of(&workload.pipeline(), workload)
    }

    fn of(pipeline: &Pipeline, workload: &Workload) -> Result<Self, String> {
        let (config, program) = pipeline.compile().map_err(|error| error.to_string())?;
        let model = Model::new(pipeline).map_err(|error| error.to_string())?;
        Ok(Self { workload: workload.clone(), config, program: Arc::new(program), model, pipeline: pipeline.clone() })
    }

    /// Whether it is this workload that was made ready.
    pub fn is_of(&self, workload: &Workload) -> bool {
        self.workload == *workload
    }

    /// Runs a plan of this workload.
    pub fn run(&self, plan: &Plan, keep: Keep) -> RunResult {
        self.run_watched(plan, keep, Watch::Faults).0
    }

    /// Runs a plan of this workload, and says at which points a process could have died after its last fault struck.
    pub fn run_with_points(&self, plan: &Plan) -> (RunResult, Vec<Point>) {
        self.run_watched(plan, Keep::Hash, Watch::Points)
    }

    fn run_watched(&self, plan: &Plan, keep: Keep, watch: Watch) -> (RunResult, Vec<Point>) {
        debug_assert!(self.workload == plan.workload, "a plan of another workload");
        let cluster = Cluster {
            seed: plan.seed,
            config: self.config.clone(),
            program: self.program.clone(),
            rescaled: rescaled(&self.pipeline, plan),
            task_managers: plan.workload.task_managers,
            faults: plan.faults.clone(),
            planted: plan.planted.clone(),
            schedule: plan.schedule,
            network: plan.workload.network(),
            undisturbed: Duration::from_secs(plan.workload.seconds),
            watch,
        };
        let (mut result, points) = judged(&self.model, &self.program.graph, cluster.run(keep));
        let taken = |step: &Step| result.history.facts.iter().any(|fact| fact.step == *step);
        result.untaken = plan.demands.iter().copied().filter(|step| !taken(step)).collect();
        (result, points)
    }
}

/// What a run of the model's pipeline came to.
fn judged(model: &Model, graph: &JobGraph, run: ClusterRun) -> (RunResult, Vec<Point>) {
    let ClusterRun { end, recorded, observed } = run;
    let (hash, events, lines) = (recorded.trace.hash(), recorded.trace.events(), recorded.trace.lines().to_vec());
    let storage_lied = observed.struck.keys().any(|kind| kind.is_lie_of_storage());
    let mut directories = observed.directories;
    if storage_lied {
        // One whose removal was not durable, against the storage's word, comes back empty after a loss of power.
        directories.retain(|directory| observed.files.keys().any(|path| path.starts_with(directory)));
    }
    let seen = look_at(&observed.files, &directories);
    let at_end = |directory: &PathBuf| observed.captures.get(directory).cloned();
    let savepoints = recorded.savepoints.into_iter().map(|(directory, capture)| {
        let at_end = at_end(&directory);
        let is_told = observed.savepoints_told.contains(&directory);
        let disposal = recorded.disposals.get(&directory).copied();
        (directory, Savepoint { capture, is_told, at_end, disposal })
    });
    let completed_at_end = recorded.completed.keys().filter_map(|id| Some((*id, at_end(&directory_of(*id))?)));
    let history = History {
        graph: graph.clone(),
        facts: recorded.facts,
        files: recorded.files,
        completed_at_end: completed_at_end.collect(),
        completed: recorded.completed,
        runs: recorded.runs,
        refused: recorded.refused,
        disturbed: observed.struck.keys().any(|kind| !kind.is_order()),
        named: recorded.named,
        savepoints: savepoints.collect(),
        drained: recorded.drained,
        drain_asked: recorded.drain_asked,
        savepoints_begun: recorded.savepoints_begun,
        savepoints_left: seen.savepoints_left,
        output: seen.output,
        staged_left: seen.staged_left,
        checkpoints_left: seen.checkpoints_left,
        shared_left: seen.shared_left,
        copies_left: if observed.struck.is_empty() { observed.local_files } else { Vec::new() },
        shared_removed: recorded.shared_removed,
        job_ended: recorded.job_ended,
        storage_lied,
        clocks: if observed.struck.keys().any(|kind| kind.is_of_clock()) { Clocks::Wrong } else { Clocks::Right },
        healed_at: recorded.disturbed_at,
        ended_at: observed.ended_at,
        end,
    };
    let violations = invariant::judge(&history, model);
    let repeated = invariant::repeated(&history, model);
    let result = RunResult {
        hash,
        events,
        lines,
        struck: observed.struck,
        missed: observed.missed,
        untaken: Vec::new(),
        violations,
        repeated,
        planted_reached: observed.planted_reached,
        simulated: observed.simulated,
        history,
    };
    (result, observed.points)
}

/// The same job with other parallelisms, if a fault changes it: from one to two more than it has.
fn rescaled(pipeline: &Pipeline, plan: &Plan) -> BTreeMap<u32, Arc<Program>> {
    if !plan.faults.iter().any(|fault| fault.kind.changes_parallelism()) {
        return BTreeMap::new();
    }
    let compiled = (1..=pipeline.parallelism + 2).map(|parallelism| {
        let rescaled = Pipeline { parallelism, ..pipeline.clone() };
        match rescaled.compile() {
            Ok((_, program)) => (parallelism, Arc::new(program)),
            Err(error) => {
                panic!("the laboratory's own pipeline does not compile at parallelism {parallelism}: {error}")
            }
        }
    });
    compiled.collect()
}

/// What a declarative workload left on the shared disk.
#[derive(Default)]
struct Seen {
    output: BTreeMap<String, Vec<OutputFile>>,
    staged_left: BTreeMap<String, Vec<String>>,
    checkpoints_left: Vec<CheckpointId>,
    shared_left: BTreeSet<String>,
    savepoints_left: BTreeSet<PathBuf>,
}

/// The shared disk as a read-committed reader sees it.
fn look_at(files: &BTreeMap<PathBuf, Vec<u8>>, directories: &BTreeSet<PathBuf>) -> Seen {
    let mut seen = Seen::default();
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
        }
        if let Ok(shared) = path.strip_prefix(Path::new(CHECKPOINTS).join(JOB_ID).join("shared")) {
            seen.shared_left.extend(shared.iter().next().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    seen.savepoints_left.extend(below(directories, Path::new(SAVEPOINTS)).cloned());
    let job = Path::new(CHECKPOINTS).join(JOB_ID);
    let checkpoints = below(directories, &job)
        .filter_map(|path| path.file_name()?.to_string_lossy().strip_prefix("chk-")?.parse().ok().map(CheckpointId));
    let checkpoints: BTreeSet<CheckpointId> = checkpoints.collect();
    seen.checkpoints_left = checkpoints.into_iter().collect();
    seen
}

/// The directories that lie in another one.
fn below<'a>(directories: &'a BTreeSet<PathBuf>, parent: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
    directories.iter().filter(move |path| path.parent() == Some(parent))
}
