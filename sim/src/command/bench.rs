//! `sim bench`: how fast the laboratory is.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tidegate::event::{Moment, Step};

use super::{Outcome, Wrong, wall_clock, write_json};
use crate::{
    fault::{At, Fault, FaultKind},
    matrix::{self, CrashMoment},
    run::{Verdict, run},
    scenario::Plan,
    trace::Keep,
    workload::{Backend, StageKind, Workload},
};

/// The standard workload: 2 sources, keyed, into value state and windows, into 2 transactional sinks; 2,000 records,
/// 20 checkpoints, 2 faults, 10 simulated minutes. One worker.
#[derive(Args)]
pub(super) struct Bench {
    /// Runs to measure.
    #[arg(long, default_value_t = 50)]
    runs: u64,
    /// Measures generated pipelines instead: one line for each state type and window, in each backend.
    #[arg(long)]
    kinds: bool,
    /// Writes the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Figures {
    runs: u64,
    runs_per_second: f64,
    simulated_seconds_per_second: f64,
    events_per_second: f64,
    events_per_run: f64,
    checkpoints_per_run: f64,
    faults_per_run: f64,
    simulated_seconds_per_run: f64,
}

impl Bench {
    pub(super) fn run(&self) -> Result<Outcome, Wrong> {
        if self.kinds {
            return self.run_kinds();
        }
        let (mut events, mut checkpoints, mut faults, mut simulated) = (0, 0, 0, 0.0);
        let started = wall_clock();
        for seed in 0..self.runs {
            let result = run(&standard_plan(seed), Keep::Hash);
            if result.verdict() == Verdict::Violated {
                return Err(Wrong(format!("seed {seed} of the standard workload failed: {:?}", result.violations)));
            }
            events += result.events;
            checkpoints += result
                .history
                .facts
                .iter()
                .filter(|fact| fact.step == Step::Completion && fact.moment == Moment::After)
                .count();
            faults += result.struck.values().sum::<u64>();
            simulated += result.simulated.as_secs_f64();
        }
        let seconds = started.elapsed().as_secs_f64();
        let runs = self.runs as f64;
        let figures = Figures {
            runs: self.runs,
            runs_per_second: runs / seconds,
            simulated_seconds_per_second: simulated / seconds,
            events_per_second: events as f64 / seconds,
            events_per_run: events as f64 / runs,
            checkpoints_per_run: checkpoints as f64 / runs,
            faults_per_run: faults as f64 / runs,
            simulated_seconds_per_run: simulated / runs,
        };
        println!("{}", serde_json::to_string_pretty(&figures)?);
        write_json(self.json.as_ref(), &figures)?;
        Ok(Outcome::AsClaimed)
    }

    /// One line for each sort of stage and backend: generated pipelines of it with a crash of the sink.
    fn run_kinds(&self) -> Result<Outcome, Wrong> {
        let mut sorts: Vec<String> = StageKind::all().into_iter().map(StageKind::sort).collect();
        sorts.dedup();
        println!("{:32} {:8} {:>10} {:>18} {:>12}", "stage", "backend", "runs/s", "events/CPU s", "events/run");
        let mut lines = Vec::new();
        for sort in &sorts {
            for backend in Backend::available() {
                let Some(line) = self.measure(sort, backend) else {
                    println!("{sort:32} {:8} cannot be run yet", backend.name());
                    continue;
                };
                println!(
                    "{sort:32} {:8} {:>10.1} {:>18.0} {:>12.0}",
                    backend.name(),
                    line.runs_per_second,
                    line.events_per_cpu_second,
                    line.events_per_run
                );
                lines.push(line);
            }
        }
        write_json(self.json.as_ref(), &lines)?;
        Ok(Outcome::AsClaimed)
    }

    fn measure(&self, sort: &str, backend: Backend) -> Option<Line> {
        let kinds: Vec<StageKind> = StageKind::all().into_iter().filter(|kind| kind.sort() == sort).collect();
        let (mut events, mut runs) = (0, 0);
        let (started, cpu_started) = (wall_clock(), cpu_seconds());
        for seed in 0..self.runs {
            let kind = kinds[(seed % kinds.len() as u64) as usize];
            let plan = matrix::scenario(kind, backend, CrashMoment::AfterPreCommit).plan(seed);
            if matrix::refusal(&plan).is_none() {
                runs += 1;
                events += run(&plan, Keep::Hash).events;
            }
        }
        let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu_started);
        let per_run = |number: f64| number / f64::from(runs);
        (runs > 0).then(|| Line {
            stage: sort.to_owned(),
            backend,
            runs_per_second: f64::from(runs) / seconds,
            events_per_cpu_second: events as f64 / cpu,
            events_per_run: per_run(events as f64),
        })
    }
}

#[derive(Serialize)]
struct Line {
    stage: String,
    backend: Backend,
    runs_per_second: f64,
    events_per_cpu_second: f64,
    events_per_run: f64,
}

/// User and system time of the whole process: on a machine that others use as well, it says more than the clock.
fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command's name, in parentheses, may hold blanks; user and system time are fields 14 and 15 of proc(5).
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

fn standard_plan(seed: u64) -> Plan {
    let fault = |kind, step: Step, occurrence| {
        Fault::new(kind, At { site: step.into(), moment: Moment::After, subject: None, occurrence }, 2_000)
    };
    Plan {
        scenario: "standard".into(),
        seed,
        workload: Workload { data_seed: seed, ..Workload::standard() },
        faults: vec![
            fault(FaultKind::CrashProcess, Step::PreCommit, 9),
            fault(FaultKind::CrashJobManager, Step::MetadataWrite, 6),
        ],
        planted: None,
        schedule: None,
        demands: Vec::new(),
    }
}
