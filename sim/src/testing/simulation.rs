//! One pass through the body of a test: what the body is given, and what is kept of it.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tidegate::{
    api::StreamEnvironment,
    config::JobConfig,
    event::{Moment, Step},
};

use super::{
    Derived,
    finding::{Breach, Finding, compare},
};
use crate::{
    cluster::{Cluster, ClusterRun},
    fault::{Fault, FaultKind},
    history::RunEnd,
    nemesis::Watch,
    seed::Seed,
    trace::{Keep, TraceHash},
    world::network::NetworkConfig,
};

/// A simulated cluster that waits for a job. The body of a test gets one for each of its passes.
pub struct Simulation {
    derived: Derived,
    pass: Pass,
    keep: Keep,
    observations: BTreeMap<String, Observation>,
    findings: Vec<Finding>,
    played: Option<Played>,
}

/// Which pass through the body this is.
pub(super) enum Pass {
    /// Nothing is disturbed: what the body observes is what must be.
    Undisturbed,
    /// These faults strike.
    Disturbed { faults: Vec<Fault>, undisturbed: Rc<Undisturbed> },
}

/// What the undisturbed pass left behind.
pub(super) struct Undisturbed {
    observations: BTreeMap<String, Observation>,
    simulated: Duration,
}

/// Sorted entries, and how they read.
struct Observation {
    entries: Box<dyn Any>,
    text: Vec<String>,
}

/// What is kept of the run of the job.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub hash: Option<TraceHash>,
    pub lines: Vec<String>,
    pub struck: BTreeMap<FaultKind, u64>,
    pub missed: usize,
    simulated: Duration,
}

/// A job that came to its end: what it left on the shared storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Finished {
    /// The lines of all files that lie directly in a directory, file after file in the order of their names: what a
    /// [`FileSink`](tidegate::connector::FileSink) has committed there.
    pub fn lines(&self, directory: impl AsRef<Path>) -> Vec<String> {
        let inside = self.files.iter().filter(|(path, _)| path.parent() == Some(directory.as_ref()));
        inside
            .flat_map(|(_, bytes)| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    /// All files, checkpoints and staged ones included.
    pub fn files(&self) -> &BTreeMap<PathBuf, Vec<u8>> {
        &self.files
    }
}

/// What the body of a test may return.
pub trait BodyOutcome {
    /// The error as text.
    ///
    /// # Errors
    /// If the body failed.
    fn into_result(self) -> Result<(), String>;
}

impl BodyOutcome for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Debug> BodyOutcome for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// The undisturbed job may take this long in simulated time.
const UNDISTURBED_MAX: Duration = Duration::from_secs(600);

/// Ends a pass whose findings are already written down.
struct Stop;

impl Simulation {
    /// The options that the seed stands for: a checkpoint each second, restarts without end, small batches, failures
    /// that are noticed after eight seconds, checkpoints on the shared storage. Change what your job needs otherwise.
    pub fn config(&self) -> JobConfig {
        self.derived.config.clone()
    }

    /// A seed for data of your own, the same in all passes of one seed: `sim.seed().child("payments").random()`.
    pub fn seed(&self) -> Seed {
        self.derived.user_seed()
    }

    /// Runs a job to its end on the simulated cluster. If it does not come to its end, this pass ends here, and the test
    /// says why.
    ///
    /// # Panics
    /// If the job cannot be built, or if it is the second one of a body.
    pub fn run(&mut self, job: StreamEnvironment) -> Finished {
        assert!(self.played.is_none(), "a body runs one job: give each job a test of its own");
        let config = job.config().clone();
        let program = job.build().unwrap_or_else(|error| panic!("the job cannot be built: {error}"));
        let (faults, undisturbed) = match &self.pass {
            Pass::Undisturbed => (Vec::new(), UNDISTURBED_MAX),
            Pass::Disturbed { faults, undisturbed } => (faults.clone(), undisturbed.simulated),
        };
        let cluster = Cluster {
            seed: Seed(self.derived.seed).child("world").0,
            config,
            program: Arc::new(program),
            rescaled: BTreeMap::new(),
            task_managers: self.derived.task_managers,
            faults,
            planted: None,
            network: NetworkConfig::default(),
            schedule: None,
            undisturbed,
            watch: Watch::Faults,
        };
        let ClusterRun { end, recorded, observed } = cluster.run(self.keep);
        let fail_overs: Vec<&str> = recorded
            .facts
            .iter()
            .filter(|fact| (fact.step, fact.moment) == (Step::FailOver, Moment::Before))
            .map(|fact| fact.detail.as_str())
            .collect();
        self.played = Some(Played {
            hash: Some(recorded.trace.hash()),
            lines: recorded.trace.lines().to_vec(),
            struck: observed.struck,
            missed: observed.missed,
            simulated: observed.simulated,
        });
        let finding = match end {
            RunEnd::Finished => return Finished { files: observed.files },
            RunEnd::Failed { reason } => {
                // The headline of the error says the same as the breach.
                Finding::new(Breach::Failed, reason.strip_prefix("job failed: ").unwrap_or(&reason))
            }
            RunEnd::Cancelled => Finding::new(Breach::Failed, "the job was cancelled, and kept nothing to go on from"),
            RunEnd::Panicked { message } => Finding::new(Breach::Panicked, message),
            RunEnd::Hung => Finding {
                breach: Breach::Hung,
                sentence: format!(
                    "the job did not reach its end within {} simulated seconds, although all faults had ended; \
                     it failed {} times",
                    observed.simulated.as_secs(),
                    fail_overs.len()
                ),
                evidence: fail_overs.last().map(|reason| format!("  last failure: {reason}")).into_iter().collect(),
            },
        };
        self.findings.push(finding);
        resume_unwind(Box::new(Stop))
    }

    /// Says what is visible in the outside world now, in any order: after a disturbed run it must be the same multiset
    /// as after the undisturbed one. `what` tells several observations of one body apart.
    ///
    /// # Panics
    /// If there was no observation of this name and type in the undisturbed pass: a body does the same in all passes.
    pub fn observe<T: Ord + Debug + 'static>(&mut self, what: &str, entries: impl IntoIterator<Item = T>) {
        let mut entries: Vec<T> = entries.into_iter().collect();
        entries.sort();
        if let Pass::Disturbed { undisturbed, .. } = &self.pass {
            let expected = undisturbed.observations.get(what).and_then(|seen| seen.entries.downcast_ref::<Vec<T>>());
            let expected = expected.unwrap_or_else(|| panic!("the undisturbed pass did not observe {what:?}"));
            self.findings.extend(compare(what, expected, &entries));
        }
        let text = entries.iter().map(|entry| format!("{entry:?}")).collect();
        let again = self.observations.insert(what.to_owned(), Observation { entries: Box::new(entries), text });
        assert!(again.is_none(), "a body observes {what:?} once");
    }
}

/// What is kept of a pass.
pub(super) struct Passed {
    pub played: Played,
    pub findings: Vec<Finding>,
    observations: BTreeMap<String, Observation>,
}

/// Goes through the body once.
pub(super) fn pass<R: BodyOutcome>(
    derived: &Derived,
    pass: Pass,
    keep: Keep,
    body: &impl Fn(&mut Simulation) -> R,
) -> Passed {
    let mut simulation = Simulation {
        derived: derived.clone(),
        pass,
        keep,
        observations: BTreeMap::new(),
        findings: Vec::new(),
        played: None,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&mut simulation).into_result()));
    let Simulation { mut findings, played, observations, .. } = simulation;
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(message)) => findings.push(Finding::new(Breach::Assertion, format!("the body returned {message}"))),
        Err(payload) if payload.is::<Stop>() => {}
        Err(payload) => findings.push(Finding::new(Breach::Assertion, panic_message(&*payload))),
    }
    if played.is_none() && findings.is_empty() {
        findings.push(Finding::new(Breach::Vacuous, "the body never called `Simulation::run`"));
    }
    Passed { played: played.unwrap_or_default(), findings, observations }
}

impl Passed {
    /// What the disturbed passes are compared with.
    ///
    /// # Errors
    /// Everything that is wrong even without faults.
    pub(super) fn into_undisturbed(self) -> Result<Rc<Undisturbed>, Vec<Finding>> {
        let mut findings = self.findings;
        if !self.observations.is_empty() && self.observations.values().all(|seen| seen.text.is_empty()) {
            findings.push(Finding::new(Breach::Vacuous, "the job shows nothing at its end, so nothing could get lost"));
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        Ok(Rc::new(Undisturbed { observations: self.observations, simulated: self.played.simulated }))
    }

    /// Whether two passes were the same in everything that is seen of them.
    pub(super) fn equals(&self, other: &Self) -> bool {
        let texts = |passed: &Self| {
            passed.observations.iter().map(|(what, seen)| (what.clone(), seen.text.clone())).collect::<Vec<_>>()
        };
        self.played.hash == other.played.hash && self.findings == other.findings && texts(self) == texts(other)
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("panic without a message").to_owned()
}
