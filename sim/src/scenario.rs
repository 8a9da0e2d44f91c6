//! Scenarios: one claim each, with the disturbances that try to break it.

use std::path::{Path, PathBuf};

use rand::{Rng as _, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};
use tidegate::event::{Moment, Step};

use crate::{
    fault::{At, Fault, FaultKind},
    seed::Seed,
    workload::{Fixed, Shape, Workload},
};

/// A scenario file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: the name of its file.
    #[serde(skip)]
    pub name: String,
    /// What is claimed.
    pub claim: String,
    /// What runs.
    pub setup: String,
    /// What is done to it.
    pub disturbance: String,
    /// Which bugs it would catch.
    pub would_catch: String,
    /// The workload's state.
    pub shape: Shape,
    /// Sets parts of the workload that would be drawn.
    #[serde(default)]
    pub workload: Fixed,
    /// The disturbances, one after the other; a choice is drawn where one is left open.
    #[serde(default)]
    pub faults: Vec<FaultTemplate>,
    /// Draws faults of all kinds at all moments instead.
    #[serde(default)]
    pub swarm: Option<Swarm>,
}

/// A disturbance with open choices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultTemplate {
    /// What is done: one of these.
    pub kind: Vec<FaultKind>,
    /// At which step: one of these.
    pub step: Vec<Step>,
    /// Before or after it; drawn if both are given.
    pub moment: Vec<Moment>,
    /// A part of the subject's name.
    #[serde(default)]
    pub subject: Option<String>,
    /// The highest occurrence that may be drawn.
    #[serde(default = "one")]
    pub occurrence_max: u32,
    /// Bounds of how long it lasts, in milliseconds.
    #[serde(default = "short")]
    pub lasts_ms: [u64; 2],
}

/// Bounds of a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swarm {
    /// Most faults in a run; at least one.
    pub faults_max: u32,
}

fn one() -> u32 {
    1
}

fn short() -> [u64; 2] {
    [200, 4_000]
}

/// Everything that a run does: all options derived, nothing left open. It is what a capsule holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The scenario that it came from.
    pub scenario: String,
    /// The seed of schedule, network and disk.
    pub seed: u64,
    /// What runs.
    pub workload: Workload,
    /// What is done to it, one after the other.
    pub faults: Vec<Fault>,
    /// The planted bug that is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
}

impl Scenario {
    /// The run that a seed stands for.
    pub fn plan(&self, seed: u64) -> Plan {
        let root = Seed(seed).child(&self.name);
        let workload = Workload::drawn(self.shape, &self.workload, root);
        let mut faults: Vec<Fault> = self
            .faults
            .iter()
            .enumerate()
            .map(|(number, template)| template.draw(root.child("fault").child(&number.to_string())))
            .collect();
        if let Some(swarm) = self.swarm {
            faults.extend(swarm.draw(root.child("swarm")));
        }
        // TOML's integers are signed: a plan that is drawn keeps to what every reader of its capsule can read.
        let seed = root.0 >> 1;
        Plan { scenario: self.name.clone(), seed, workload, faults, planted: None }
    }
}

impl FaultTemplate {
    fn draw(&self, seed: Seed) -> Fault {
        let mut random = seed.random();
        let kind = *self.kind.choose(&mut random).unwrap_or(&FaultKind::CrashProcess);
        let step = *self.step.choose(&mut random).unwrap_or(&Step::Trigger);
        let moment = *self.moment.choose(&mut random).unwrap_or(&Moment::Before);
        let occurrence = random.gen_range(1..=self.occurrence_max.max(1));
        let at = At { step, moment, subject: self.subject.clone(), occurrence };
        Fault { kind, at, lasts_ms: random.gen_range(self.lasts_ms[0]..=self.lasts_ms[1]) }
    }
}

impl Swarm {
    /// Some kinds are off in a run, the others weighted wildly, as in swarm testing (Groce et al. 2012).
    pub(crate) fn draw(self, seed: Seed) -> Vec<Fault> {
        let mut random = seed.random();
        let weights: Vec<u32> =
            FaultKind::ALL.iter().map(|_| if random.gen_bool(0.4) { 0 } else { 1 << random.gen_range(0..5) }).collect();
        let total: u32 = weights.iter().sum::<u32>().max(1);
        let count = random.gen_range(1..=self.faults_max.max(1));
        (0..count)
            .map(|_| {
                let mut ticket = random.gen_range(0..total);
                let kind = FaultKind::ALL.iter().zip(&weights).find(|(_, weight)| {
                    let hit = ticket < **weight;
                    ticket = ticket.saturating_sub(**weight);
                    hit
                });
                let kind = kind.map_or(FaultKind::CrashProcess, |(kind, _)| *kind);
                let step = *SWARM_STEPS.choose(&mut random).unwrap_or(&Step::Trigger);
                let moment = if random.gen_bool(0.5) { Moment::Before } else { Moment::After };
                let at = At { step, moment, subject: None, occurrence: random.gen_range(1..=12) };
                let lasts_ms =
                    if random.gen_bool(0.3) { random.gen_range(9_000..20_000) } else { random.gen_range(10..4_000) };
                Fault { kind, at, lasts_ms }
            })
            .collect()
    }
}

/// Steps that every run takes often enough to strike at.
const SWARM_STEPS: [Step; 17] = [
    Step::Deploy,
    Step::Restore,
    Step::Trigger,
    Step::SourceSnapshot,
    Step::BarrierEmission,
    Step::Alignment,
    Step::SyncSnapshot,
    Step::AsyncSnapshot,
    Step::PreCommit,
    Step::Acknowledge,
    Step::MetadataWrite,
    Step::Completion,
    Step::CompletionNotice,
    Step::Commit,
    Step::BeginTransaction,
    Step::RecoverAndCommit,
    Step::EndOfData,
];

/// Why a catalogue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A directory or file cannot be read.
    #[error("cannot read {path}: {reason}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file is not a scenario.
    #[error("{path} is not a scenario: {reason}", path = path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why, with line and column.
        reason: String,
    },
    /// There is no scenario of this name.
    #[error("there is no scenario {name:?}; known are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

/// Reads all scenario files of a catalogue (its folder `claims`), sorted by name.
///
/// # Errors
/// [`CatalogueError`] that names the file.
pub fn read_catalogue(catalogue: &Path) -> Result<Vec<Scenario>, CatalogueError> {
    let directory = &catalogue.join("claims");
    let unreadable = |path: &Path, error: std::io::Error| CatalogueError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
        let path = entry.map_err(|error| unreadable(directory, error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            parse(&name, &text).map_err(|reason| CatalogueError::Malformed { path, reason })
        })
        .collect()
}

/// Reads one scenario.
///
/// # Errors
/// What is wrong, with line and column.
pub fn parse(name: &str, text: &str) -> Result<Scenario, String> {
    let scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
    if scenario.faults.iter().any(|fault| fault.kind.is_empty() || fault.step.is_empty() || fault.moment.is_empty()) {
        return Err("a fault needs at least one kind, one step and one moment".into());
    }
    if scenario.faults.iter().any(|fault| fault.lasts_ms[0] > fault.lasts_ms[1]) {
        return Err("lasts_ms is [least, most]".into());
    }
    if let Some(stage) = scenario.workload.unknown_stage() {
        return Err(format!("there is no kind of stage {stage:?}"));
    }
    Ok(Scenario { name: name.to_owned(), ..scenario })
}
