//! Shrinking: from a run that violates something to the smallest one that violates the same.
//!
//! What can be taken from a plan is a list of *cuts*: a fault, one of a number of things (records, keys, subtasks), an
//! option that could have its default, a part of a generated pipeline. The first cut that leaves the violation there is
//! made, until none does. Numbers are searched first, with proptest's binary search, which jumps where one by one
//! would take a run per record.
//!
//! The end is its own proof: every cut that is left was tried on the very plan that is returned, and each of them made
//! the run pass, or made it fail otherwise ([`Shrunk::proof`]). So no single part can be left out (1-minimality, as of
//! delta debugging: Zeller and Hildebrandt 2002).

use proptest::{num::u64::BinarySearch, strategy::ValueTree as _};

use crate::{
    run::{Prepared, Verdict},
    scenario::Plan,
    trace::Keep,
};

mod cuts;

use cuts::{Count, counts, cuts};

/// What is left of a run when a cut is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Without {
    /// Everything holds.
    Holds,
    /// No fault strikes any more: nothing is tried.
    Unknown,
    /// Something else is violated.
    Another {
        /// The signature of what is violated first.
        signature: String,
    },
    /// There is no such run: the pipeline is not valid, or has no model.
    Impossible {
        /// Why.
        reason: String,
    },
    /// It is still violated: the cut was not made because no runs were left for it.
    Violated,
}

impl std::fmt::Display for Without {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Holds => f.write_str("the run holds"),
            Self::Unknown => f.write_str("no fault strikes"),
            Self::Another { signature } => write!(f, "it violates something else: {signature}"),
            Self::Impossible { reason } => write!(f, "there is no such run: {reason}"),
            Self::Violated => f.write_str("still violated"),
        }
    }
}

/// A cut that could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What would be cut.
    pub cut: String,
    /// What is left then.
    pub without: Without,
}

/// A plan from which nothing more can be taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// Runs that it took.
    pub runs: u64,
    /// Every cut that is left, and what would be left of the run.
    pub proof: Vec<Proof>,
    /// Whether every cut was tried; if not, the runs had been used up.
    pub is_minimal: bool,
}

/// Most runs that shrinking takes if nobody says otherwise.
pub const RUNS_MAX: u64 = 2_000;

/// Shrinks a plan whose run violates something with this signature.
pub fn shrink(plan: &Plan, signature: &str, runs_max: u64) -> Shrunk {
    let mut shrinker = Shrinker { signature, prepared: None, runs: 0, runs_max };
    let mut smallest = plan.clone();
    for count in counts(&smallest) {
        shrinker.search(&mut smallest, &count);
    }
    loop {
        let (mut proof, mut index, mut made) = (Vec::new(), 0, 0);
        let mut candidates = cuts(&smallest);
        while index < candidates.len() {
            if shrinker.runs >= runs_max {
                return Shrunk { plan: smallest, runs: shrinker.runs, proof, is_minimal: false };
            }
            let (cut, candidate) = &candidates[index];
            match shrinker.run(candidate) {
                Without::Violated => {
                    // What could not be cut before may be cut now: the next round tries it again.
                    smallest = candidate.clone();
                    candidates = cuts(&smallest);
                    made += 1;
                }
                without => {
                    proof.push(Proof { cut: cut.clone(), without });
                    index += 1;
                }
            }
        }
        if made == 0 {
            return Shrunk { plan: smallest, runs: shrinker.runs, proof, is_minimal: true };
        }
    }
}

struct Shrinker<'a> {
    signature: &'a str,
    /// The last workload that was run: cuts of faults leave it as it is.
    prepared: Option<Prepared>,
    runs: u64,
    runs_max: u64,
}

impl Shrinker<'_> {
    fn run(&mut self, plan: &Plan) -> Without {
        self.runs += 1;
        let prepared = match self.prepared.take_if(|prepared| prepared.is_of(&plan.workload)) {
            Some(prepared) => prepared,
            None => match Prepared::new(&plan.workload) {
                Ok(prepared) => prepared,
                Err(reason) => return Without::Impossible { reason },
            },
        };
        let result = prepared.run(plan, Keep::Hash);
        self.prepared = Some(prepared);
        if result.violations.iter().any(|violation| violation.signature == self.signature) {
            return Without::Violated;
        }
        match (result.violations.first(), result.verdict()) {
            (Some(violation), _) => Without::Another { signature: violation.signature.clone() },
            (None, Verdict::Unknown) => Without::Unknown,
            (None, _) => Without::Holds,
        }
    }

    /// Finds a small number with which the run is still violated. Smaller ones may be, too: single cuts come later.
    fn search(&mut self, plan: &mut Plan, count: &Count) {
        let now = count.of(plan);
        if now <= count.least {
            return;
        }
        let mut search = BinarySearch::new_above(count.least, now);
        let mut moved = search.simplify();
        while moved && self.runs < self.runs_max {
            let candidate = count.with(plan, search.current());
            moved = match self.run(&candidate) {
                Without::Violated => {
                    *plan = candidate;
                    search.simplify()
                }
                _ => search.complicate(),
            };
        }
    }
}

impl Shrunk {
    /// The plan in words, with the proof.
    pub fn text(&self) -> String {
        let mut text = format!("the smallest plan that fails so, after {} runs:\n", self.runs);
        for fault in &self.plan.faults {
            text += &format!("  {fault}\n");
        }
        text += &format!("  {}\n", self.plan.workload.summary());
        if self.is_minimal {
            text += &format!("nothing can be left out; tried on it, {} cuts:\n", self.proof.len());
        } else {
            text += &format!("not all cuts were tried: the {} runs are used up; of those that were:\n", self.runs);
        }
        for proof in &self.proof {
            text += &format!("  {}: {}\n", proof.cut, proof.without);
        }
        text
    }
}
