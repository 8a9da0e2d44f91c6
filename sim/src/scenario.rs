//! Scenarios: one claim each, with the disturbances that try to break it.

use std::path::{Path, PathBuf};

use rand::{Rng as _, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};
use tidegate::event::{Moment, Step};

use crate::{
    fault::{At, Fault, FaultKind, Site},
    schedule::Schedule,
    seed::Seed,
    workload::{Fixed, Parallelism, Shape, Workload},
};

mod operations;

pub use operations::Operations;

/// A scenario file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: the name of its file.
    #[serde(skip)]
    pub name: String,
    /// The planted bug that is active in its runs; none in the catalogue.
    #[serde(skip)]
    pub planted: Option<String>,
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
    /// Steps that must be taken, or the run says nothing about the claim.
    #[serde(default)]
    pub demands: Vec<Step>,
    /// Sets parts of the workload that would be drawn.
    #[serde(default)]
    pub workload: Fixed,
    /// The disturbances, one after the other; a choice is drawn where one is left open.
    #[serde(default)]
    pub faults: Vec<FaultTemplate>,
    /// Draws faults of all kinds at all moments instead.
    #[serde(default)]
    pub swarm: Option<Swarm>,
    /// Between the faults the job is started again with another parallelism, so many times at most and at least once.
    #[serde(default)]
    pub rescalings_max: u32,
    /// Between the faults somebody asks for savepoints, stops or cancels the job, and starts it again.
    #[serde(default)]
    pub operations: Option<Operations>,
}

/// A disturbance with open choices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultTemplate {
    /// What is done: one of these.
    pub kind: Vec<FaultKind>,
    /// At which step: one of these.
    #[serde(default)]
    pub step: Vec<Step>,
    /// Or at which message that a process sends.
    #[serde(default)]
    pub message: Vec<String>,
    /// Or at which operation of the storage.
    #[serde(default)]
    pub disk: Vec<String>,
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
    /// Whether storage may say what is not true. Such a run may end with a job that fails, loudly.
    #[serde(default)]
    pub storage_lies: bool,
    /// Whether clocks may be wrong.
    #[serde(default = "yes")]
    pub clocks: bool,
}

/// Whether faults of local disks are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalDisksDrawn {
    /// They are: something is kept there.
    Yes,
    /// They are not.
    No,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn short() -> [u64; 2] {
    [200, 4_000]
}

/// How faults and schedule of a run are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// As the scenario says, on a random schedule.
    Declared,
    /// Faults of all kinds, equally likely, at random moments.
    Uniform,
    /// Faults of some kinds, weighted wildly, at random moments.
    Swarm,
    /// As the scenario says, on a schedule of priorities that change a few times.
    Pct,
}

impl Strategy {
    /// All.
    pub const ALL: [Self; 4] = [Self::Declared, Self::Uniform, Self::Swarm, Self::Pct];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Uniform => "uniform",
            Self::Swarm => "swarm",
            Self::Pct => "pct",
        }
    }

    /// The strategy of a name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|strategy| strategy.name() == name);
        found.ok_or_else(|| {
            format!("there is no strategy {name:?}; there are: {}", Self::ALL.map(Self::name).join(", "))
        })
    }
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
    /// Steps that must be taken, or the run says nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub demands: Vec<Step>,
    /// The planted bug that is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
    /// By which priorities processes and subtasks take their turns; at random, if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
}

impl Scenario {
    /// The run that a seed stands for.
    pub fn plan(&self, seed: u64) -> Plan {
        self.plan_by(Strategy::Declared, seed)
    }

    /// The run that a seed stands for if faults and schedule are chosen in this way.
    pub fn plan_by(&self, strategy: Strategy, seed: u64) -> Plan {
        let root = Seed(seed).child(&self.name);
        let any = |is: fn(FaultKind) -> bool| self.faults.iter().flat_map(|fault| &fault.kind).any(|kind| is(*kind));
        let changing = self.rescalings_max > 0
            || any(FaultKind::changes_parallelism)
            || self.operations.as_ref().is_some_and(Operations::change_parallelism);
        let parallelism = if changing { Parallelism::Changing } else { Parallelism::Fixed };
        let mut workload = Workload::drawn(self.shape, &self.workload, parallelism, root);
        if self.operations.is_some() || any(FaultKind::is_order) {
            workload.draw_ownership(&self.workload, root.child("ownership"));
        }
        let disks = if workload.local_recovery { LocalDisksDrawn::Yes } else { LocalDisksDrawn::No };
        let own = || {
            let numbered = self.faults.iter().enumerate();
            let drawn =
                numbered.map(|(number, template)| template.draw(root.child("fault").child(&number.to_string())));
            let swarm = self.swarm.into_iter().flat_map(|swarm| swarm.draw(disks, root.child("swarm")));
            let mut faults: Vec<Fault> = drawn.chain(swarm).collect();
            if self.rescalings_max > 0 {
                rescale(&mut faults, self.rescalings_max, root.child("rescale"));
            }
            if let Some(operations) = &self.operations {
                operations.draw_into(&mut faults, root.child("operations"));
            }
            faults
        };
        let swarm = self.swarm.unwrap_or(Swarm { faults_max: 4, storage_lies: false, clocks: true });
        let faults = match strategy {
            Strategy::Declared | Strategy::Pct => own(),
            Strategy::Swarm => swarm.draw(disks, root.child("swarm")),
            Strategy::Uniform => swarm.draw_uniformly(disks, root.child("uniform")),
        };
        let schedule = (strategy == Strategy::Pct).then(|| Schedule::drawn(root.child("schedule")));
        // TOML's integers are signed: a plan that is drawn keeps to what every reader of its capsule can read.
        let seed = root.0 >> 1;
        // What another strategy does to it may not lead there.
        let demands = if strategy == Strategy::Declared { self.demands.clone() } else { Vec::new() };
        Plan { scenario: self.name.clone(), seed, workload, faults, demands, planted: self.planted.clone(), schedule }
    }
}

impl FaultTemplate {
    fn draw(&self, seed: Seed) -> Fault {
        let mut random = seed.random();
        let kind = *self.kind.choose(&mut random).unwrap_or(&FaultKind::CrashProcess);
        let sites: Vec<Site> = self.sites().collect();
        let site = sites.choose(&mut random).cloned().unwrap_or(Site::Step(Step::Trigger));
        let moment = *self.moment.choose(&mut random).unwrap_or(&Moment::Before);
        let occurrence = random.gen_range(1..=self.occurrence_max.max(1));
        let at = At { site, moment, subject: self.subject.clone(), occurrence };
        let fault = Fault::new(kind, at, random.gen_range(self.lasts_ms[0]..=self.lasts_ms[1]));
        let is_order = fault.kind.is_order();
        if is_order { Fault { format: operations::format(&mut seed.child("format").random()), ..fault } } else { fault }
    }

    fn sites(&self) -> impl Iterator<Item = Site> {
        let steps = self.step.iter().map(|step| Site::Step(*step));
        let messages = self.message.iter().map(|name| Site::Message(name.clone().into()));
        steps.chain(messages).chain(self.disk.iter().map(|name| Site::Disk(name.clone().into())))
    }
}

impl Swarm {
    fn kinds(self, disks: LocalDisksDrawn) -> impl Iterator<Item = FaultKind> {
        let wanted = move |kind: &FaultKind| {
            !kind.is_operation()
                && (disks == LocalDisksDrawn::Yes || !kind.is_of_local_disks())
                && (self.storage_lies || !kind.is_lie_of_storage())
                && (self.clocks || !kind.is_of_clock())
        };
        FaultKind::ALL.into_iter().filter(wanted)
    }

    /// Some kinds are off in a run, the others weighted wildly, as in swarm testing (Groce et al. 2012).
    pub(crate) fn draw(self, disks: LocalDisksDrawn, seed: Seed) -> Vec<Fault> {
        // A kind draws its weight on its own, so that a new one shifts no other.
        let weigh = |kind: FaultKind| {
            let mut random = seed.child("weight").child(kind.name()).random();
            (kind, if random.gen_bool(0.4) { 0 } else { 1 << random.gen_range(0..5) })
        };
        self.draw_weighted(&self.kinds(disks).map(weigh).collect::<Vec<_>>(), seed)
    }

    /// Every kind is as likely as any other.
    pub(crate) fn draw_uniformly(self, disks: LocalDisksDrawn, seed: Seed) -> Vec<Fault> {
        self.draw_weighted(&self.kinds(disks).map(|kind| (kind, 1)).collect::<Vec<_>>(), seed)
    }

    fn draw_weighted(self, weights: &[(FaultKind, u32)], seed: Seed) -> Vec<Fault> {
        let mut random = seed.random();
        let total: u32 = weights.iter().map(|(_, weight)| weight).sum::<u32>().max(1);
        let count = random.gen_range(1..=self.faults_max.max(1));
        (0..count)
            .map(|_| {
                let mut ticket = random.gen_range(0..total);
                let kind = weights.iter().find(|(_, weight)| {
                    let hit = ticket < *weight;
                    ticket = ticket.saturating_sub(*weight);
                    hit
                });
                let kind = kind.map_or(FaultKind::CrashProcess, |(kind, _)| *kind);
                let step = *SWARM_STEPS.choose(&mut random).unwrap_or(&Step::Trigger);
                let moment = if random.gen_bool(0.5) { Moment::Before } else { Moment::After };
                let at = At { site: step.into(), moment, subject: None, occurrence: random.gen_range(1..=12) };
                let lasts_ms =
                    if random.gen_bool(0.3) { random.gen_range(9_000..20_000) } else { random.gen_range(10..4_000) };
                Fault::new(kind, at, lasts_ms)
            })
            .collect()
    }
}

/// Puts changes of the parallelism among the faults.
fn rescale(faults: &mut Vec<Fault>, rescalings_max: u32, seed: Seed) {
    let mut random = seed.random();
    for _ in 0..random.gen_range(1..=rescalings_max) {
        let kind = if random.gen_bool(0.5) { FaultKind::RescaleUp } else { FaultKind::RescaleDown };
        let step = *SWARM_STEPS.choose(&mut random).unwrap_or(&Step::Trigger);
        let moment = if random.gen_bool(0.5) { Moment::Before } else { Moment::After };
        let at = At { site: step.into(), moment, subject: None, occurrence: random.gen_range(1..=12) };
        let fault = Fault::new(kind, at, random.gen_range(10..4_000));
        faults.insert(random.gen_range(0..=faults.len()), fault);
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
    if scenario
        .faults
        .iter()
        .any(|fault| fault.kind.is_empty() || fault.sites().next().is_none() || fault.moment.is_empty())
    {
        return Err("a fault needs at least one kind, one step, message or disk operation, and one moment".into());
    }
    if scenario.faults.iter().any(|fault| fault.lasts_ms[0] > fault.lasts_ms[1]) {
        return Err("lasts_ms is [least, most]".into());
    }
    if let Some(kind) = scenario.operations.iter().flat_map(|it| &it.kinds).find(|kind| !kind.is_operation()) {
        return Err(format!("{} is no operation", kind.name()));
    }
    if scenario.operations.as_ref().is_some_and(|operations| operations.kinds.is_empty()) {
        return Err("operations need at least one kind".into());
    }
    if let Some(stage) = scenario.workload.unknown_stage() {
        return Err(format!("there is no kind of stage {stage:?}"));
    }
    Ok(Scenario { name: name.to_owned(), ..scenario })
}
