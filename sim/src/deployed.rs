//! What runs on a cluster: one job, that can be started again with another parallelism.
//!
//! A process asks when it starts, so one that was told of a change runs it from its next start on. That all of them start
//! again when the parallelism changes is the business of whoever changes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidegate::task::Program;

/// The programs of one job, by parallelism, and which of them is started.
pub(crate) struct Deployed {
    programs: BTreeMap<u32, Arc<Program>>,
    parallelism: Mutex<u32>,
    submitted: Mutex<Submitted>,
}

/// What a job manager is told when it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Submission {
    /// How often the job was submitted before.
    pub number: u64,
    /// What it starts from.
    pub restore_from: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Submitted {
    now: Submission,
    /// The processes that have ended by themselves.
    ended: BTreeSet<String>,
}

/// Which way a parallelism goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rescaling {
    /// To the next higher one that there is a program for.
    Up,
    /// To the next lower one.
    Down,
    /// To the next higher one or, if there is none, to the next lower one.
    Other,
}

impl Deployed {
    /// A job of this parallelism, of which there are other versions too.
    pub(crate) fn new(parallelism: u32, program: Arc<Program>, others: BTreeMap<u32, Arc<Program>>) -> Self {
        let mut programs = others;
        programs.insert(parallelism, program);
        Self { programs, parallelism: Mutex::new(parallelism), submitted: Mutex::default() }
    }

    fn submitted(&self) -> MutexGuard<'_, Submitted> {
        self.submitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a job manager is told that starts now.
    pub(crate) fn submission(&self) -> Submission {
        self.submitted().now.clone()
    }

    /// The job is started again.
    pub(crate) fn submit(&self, submission: Submission) {
        self.submitted().now = submission;
    }

    /// A process starts.
    pub(crate) fn process_starts(&self, name: &str) {
        self.submitted().ended.remove(name);
    }

    /// A process has ended by itself.
    pub(crate) fn process_ended(&self, name: &str) {
        self.submitted().ended.insert(name.to_owned());
    }

    /// Whether a process has ended by itself.
    pub(crate) fn has_ended(&self, name: &str) -> bool {
        self.submitted().ended.contains(name)
    }

    /// Changes the parallelism of what is started from now on; at the end of the way it stays as it is.
    pub(crate) fn rescale(&self, rescaling: Rescaling) {
        let mut parallelism = self.parallelism.lock().unwrap_or_else(PoisonError::into_inner);
        let (up, down) =
            (self.programs.range(*parallelism + 1..).next(), self.programs.range(..*parallelism).next_back());
        let next = match rescaling {
            Rescaling::Up => up,
            Rescaling::Down => down,
            Rescaling::Other => up.or(down),
        };
        if let Some((next, _)) = next {
            *parallelism = *next;
        }
    }

    /// What a process starts now.
    pub(crate) fn current(&self) -> Arc<Program> {
        let parallelism = self.parallelism.lock().unwrap_or_else(PoisonError::into_inner);
        self.programs[&*parallelism].clone()
    }

    /// The slots that any of the programs needs.
    pub(crate) fn slots_max(&self) -> u32 {
        self.programs.values().map(|program| program.graph.slots()).max().unwrap_or(0)
    }
}
