//! The exactly-once matrix: every kind of stage, in every backend, with a crash at every moment that matters.
//!
//! A cell is run with one seed after the other until its crash has struck as often as wanted: a run in which it did not
//! strike says nothing and does not count. A cell that never gets there is uncovered, and named.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::Serialize;
use tidegate::event::{Moment, Step};

use crate::{
    fault::FaultKind,
    model::Model,
    run::run,
    scenario::{FaultTemplate, Plan, Scenario},
    trace::Keep,
    workload::{Backend, Fixed, Shape, StageKind},
};

/// When the crash strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CrashMoment {
    /// The sink's task manager dies before its pre-commit.
    BeforePreCommit,
    /// It dies while the staged file is written out.
    DuringPreCommit,
    /// It dies when it has pre-committed, and nobody knows.
    AfterPreCommit,
    /// It dies when the checkpoint is complete, and nothing is committed.
    AfterCompletion,
    /// A process dies at a checkpoint, and one again while the next attempt restores.
    DuringRecovery,
}

impl CrashMoment {
    /// All, in the order of a checkpoint.
    pub const ALL: [Self; 5] = [
        Self::BeforePreCommit,
        Self::DuringPreCommit,
        Self::AfterPreCommit,
        Self::AfterCompletion,
        Self::DuringRecovery,
    ];

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforePreCommit => "before",
            Self::DuringPreCommit => "during",
            Self::AfterPreCommit => "after",
            Self::AfterCompletion => "completed",
            Self::DuringRecovery => "recovery",
        }
    }

    fn faults(self) -> Vec<FaultTemplate> {
        let fault = |kind, steps: &[Step], moments: &[Moment], subject: Option<&str>, occurrence_max| FaultTemplate {
            message: Vec::new(),
            disk: Vec::new(),
            kind: vec![kind],
            step: steps.to_vec(),
            moment: moments.to_vec(),
            subject: subject.map(str::to_owned),
            occurrence_max,
            lasts_ms: [200, 2_000],
        };
        let both = [Moment::Before, Moment::After];
        let process = FaultKind::CrashProcess;
        let sink = Some("main-out");
        match self {
            Self::BeforePreCommit => vec![fault(process, &[Step::PreCommit], &[Moment::Before], sink, 4)],
            Self::DuringPreCommit => vec![fault(process, &[Step::WriteStaged], &both, sink, 3)],
            Self::AfterPreCommit => vec![fault(process, &[Step::PreCommit], &[Moment::After], sink, 4)],
            Self::AfterCompletion => vec![fault(FaultKind::CrashSink, &[Step::Completion], &[Moment::After], None, 4)],
            Self::DuringRecovery => vec![
                fault(process, &[Step::Acknowledge], &both, None, 6),
                fault(process, &[Step::Restore], &both, None, 3),
            ],
        }
    }
}

/// Which part of the matrix is run.
#[derive(Debug, Clone)]
pub struct MatrixExtent {
    /// Runs per cell in which the crash struck.
    pub seeds_per_cell: u64,
    /// The first seed of each cell.
    pub first_seed: u64,
    /// The rows.
    pub kinds: Vec<StageKind>,
    /// The backends.
    pub backends: Vec<Backend>,
    /// Workers at once.
    pub jobs: usize,
}

/// What a cell came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The kind of stage: the row.
    pub kind: String,
    /// The backend.
    pub backend: Backend,
    /// When the crash struck.
    pub moment: CrashMoment,
    /// Runs in which it struck.
    pub runs: u64,
    /// Runs in all.
    pub attempts: u64,
    /// Violations by invariant, of runs in which it struck or not.
    pub violations: BTreeMap<String, u64>,
    /// The first seed with a violation, and its sentence.
    pub first_violation: Option<(u64, String)>,
    /// Why it could not be run.
    pub refused: Option<String>,
}

impl Cell {
    /// What it comes to: holds, violated, or uncovered.
    pub fn verdict(&self) -> &'static str {
        if !self.violations.is_empty() {
            "violated"
        } else if self.runs == 0 {
            "uncovered"
        } else {
            "holds"
        }
    }

    /// How it is called where a cell is named.
    pub fn name(&self) -> String {
        format!("{} in {}, {}", self.kind, self.backend.name(), self.moment.name())
    }
}

/// The matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// The cells, row by row.
    pub cells: Vec<Cell>,
}

/// The scenario that a cell runs.
pub fn scenario(kind: StageKind, backend: Backend, moment: CrashMoment) -> Scenario {
    Scenario {
        planted: None,
        name: format!("matrix {} {} {}", kind.name(), backend.name(), moment.name()),
        claim: "each result is there once".to_owned(),
        setup: format!("a generated pipeline with {}", kind.name()),
        disturbance: format!("a crash, {}", moment.name()),
        would_catch: "all".to_owned(),
        shape: Shape::Generated,
        workload: Fixed { stage: vec![kind.name()], stages_max: Some(1), backend: Some(backend), ..Fixed::default() },
        demands: Vec::new(),
        faults: moment.faults(),
        swarm: None,
        rescalings_max: 0,
        operations: None,
    }
}

/// Why a plan cannot be run or judged, if it cannot.
pub fn refusal(plan: &Plan) -> Option<String> {
    let pipeline = plan.workload.pipeline();
    let compiled = pipeline.compile().map(|_| ()).map_err(|error| error.to_string());
    compiled.and_then(|()| Model::new(&pipeline).map(|_| ()).map_err(|error| error.to_string())).err()
}

/// So many runs of a cell in which its crash did not strike are enough.
const MISSES_MAX: u64 = 12;

fn run_cell(extent: &MatrixExtent, kind: StageKind, backend: Backend, moment: CrashMoment) -> Cell {
    let mut cell = Cell {
        kind: kind.name(),
        backend,
        moment,
        runs: 0,
        attempts: 0,
        violations: BTreeMap::new(),
        first_violation: None,
        refused: None,
    };
    let scenario = scenario(kind, backend, moment);
    while cell.runs < extent.seeds_per_cell && cell.attempts - cell.runs < MISSES_MAX {
        let seed = extent.first_seed + cell.attempts;
        let plan = scenario.plan(seed);
        cell.attempts += 1;
        if let Some(reason) = refusal(&plan) {
            cell.refused = Some(reason);
            continue;
        }
        let result = run(&plan, Keep::Hash);
        cell.runs += u64::from(result.missed == 0);
        for violation in &result.violations {
            *cell.violations.entry(violation.invariant.number().to_owned()).or_default() += 1;
        }
        if let Some(violation) = result.violations.first() {
            cell.first_violation.get_or_insert((seed, violation.sentence.clone()));
        }
    }
    cell
}

/// Runs every cell.
pub fn run_matrix(extent: &MatrixExtent, progress: impl Fn(&Cell) + Sync) -> Matrix {
    let mut wanted = Vec::new();
    for kind in &extent.kinds {
        for backend in &extent.backends {
            wanted.extend(CrashMoment::ALL.map(|moment| (*kind, *backend, moment)));
        }
    }
    let next = AtomicUsize::new(0);
    let cells = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..extent.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((kind, backend, moment)) = wanted.get(index) else { return };
                    let cell = run_cell(extent, *kind, *backend, *moment);
                    progress(&cell);
                    cells.lock().unwrap_or_else(PoisonError::into_inner).insert(index, cell);
                }
            });
        }
    });
    Matrix { cells: cells.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect() }
}

impl Matrix {
    /// The cells in which no crash struck.
    pub fn uncovered(&self) -> Vec<&Cell> {
        self.cells.iter().filter(|cell| cell.runs == 0).collect()
    }

    /// The cells with violations.
    pub fn violated(&self) -> Vec<&Cell> {
        self.cells.iter().filter(|cell| !cell.violations.is_empty()).collect()
    }

    /// The matrix as a table: for each row the runs in which the crash struck, by moment, and the verdict.
    pub fn text(&self) -> String {
        let mut rows: Vec<(&str, Backend, Vec<&Cell>)> = Vec::new();
        for cell in &self.cells {
            match rows.last_mut() {
                Some((kind, backend, cells)) if *kind == cell.kind && *backend == cell.backend => cells.push(cell),
                _ => rows.push((&cell.kind, cell.backend, vec![cell])),
            }
        }
        let width = rows.iter().map(|(kind, ..)| kind.len()).max().unwrap_or(0);
        let mut text = format!("{:width$} backend", "stage");
        for moment in CrashMoment::ALL {
            let _ = write!(text, " {:>9}", moment.name());
        }
        text.push_str("  verdict\n");
        for (kind, backend, cells) in &rows {
            let _ = write!(text, "{kind:width$} {:7}", backend.name());
            for moment in CrashMoment::ALL {
                let runs: u64 = cells.iter().filter(|cell| cell.moment == moment).map(|cell| cell.runs).sum();
                let _ = write!(text, " {runs:>9}");
            }
            let worst = ["violated", "uncovered"]
                .into_iter()
                .find(|verdict| cells.iter().any(|cell| cell.verdict() == *verdict));
            let _ = writeln!(text, "  {}", worst.unwrap_or("holds"));
        }
        let runs: u64 = self.cells.iter().map(|cell| cell.runs).sum();
        let (violated, uncovered) = (self.violated(), self.uncovered());
        let _ = writeln!(
            text,
            "\n{} rows, {} cells, {runs} runs with the crash; {} cells violated, {} uncovered",
            rows.len(),
            self.cells.len(),
            violated.len(),
            uncovered.len()
        );
        for cell in violated {
            let (seed, sentence) = cell.first_violation.clone().unwrap_or_default();
            let _ = writeln!(text, "violated: {}: {:?}, seed {seed}: {sentence}", cell.name(), cell.violations);
        }
        for cell in uncovered {
            let reason = cell.refused.as_deref().unwrap_or("its crash never struck");
            let _ = writeln!(text, "uncovered: {}: {reason}", cell.name());
        }
        text
    }
}
