//! `sim bench`: how fast the laboratory is.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tidegate::event::{Moment, Step};

use super::{Outcome, Wrong, wall_clock, write_json};
use crate::{
    fault::{At, Fault, FaultKind},
    run::{Verdict, run},
    scenario::Plan,
    trace::Keep,
    workload::Workload,
};

/// The standard workload: 2 sources, keyed, into value state and windows, into 2 transactional sinks; 2,000 records,
/// 20 checkpoints, 2 faults, 10 simulated minutes. One worker.
#[derive(Args)]
pub(super) struct Bench {
    /// Runs to measure.
    #[arg(long, default_value_t = 50)]
    runs: u64,
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
}

fn standard_plan(seed: u64) -> Plan {
    let fault = |kind, step, occurrence| Fault {
        kind,
        at: At { step, moment: Moment::After, subject: None, occurrence },
        lasts_ms: 2_000,
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
    }
}
