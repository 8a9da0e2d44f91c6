//! Why a test fails, told so that it can be acted upon: what is wrong, under which faults, and how to see it again.

use std::{collections::BTreeMap, fmt};

use super::{Derived, Options, finding::Finding};
use crate::{
    fault::{Fault, FaultKind},
    run::Verdict,
};

/// Why a test fails.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// Something is wrong with the run of a seed.
    Violated(Box<Violated>),
    /// No fault of any seed struck: nothing is known about the claim.
    Unknown {
        /// What was asked for.
        options: Options,
        /// Seeds that were run.
        seeds: u64,
    },
}

/// A run with something wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Violated {
    /// What was asked for.
    pub options: Options,
    /// The seed and all that follows from it.
    pub derived: Derived,
    /// What is wrong; never empty.
    pub findings: Vec<Finding>,
    /// In which of the two runs.
    pub run: JudgedRun,
}

/// Which run of a seed something is about.
#[derive(Debug, Clone, PartialEq)]
pub enum JudgedRun {
    /// Even the one without faults.
    Undisturbed,
    /// The one with the seed's faults, with the part that each of them had, in their order.
    Disturbed(Vec<Part>),
}

/// The part that a fault of the plan had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Without it the run is right.
    Needed,
    /// It struck, but the run is wrong without it, too.
    NotNeeded,
    /// Its moment did not come.
    DidNotStrike,
}

impl Failure {
    /// *Violated* or *unknown*.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Violated(_) => Verdict::Violated,
            Self::Unknown { .. } => Verdict::Unknown,
        }
    }

    /// The seed that shows it.
    pub fn seed(&self) -> Option<u64> {
        match self {
            Self::Violated(violated) => Some(violated.derived.seed),
            Self::Unknown { .. } => None,
        }
    }

    /// What is wrong.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::Violated(violated) => &violated.findings,
            Self::Unknown { .. } => &[],
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violated(violated) => violated.fmt(f),
            Self::Unknown { options, seeds } => write!(
                f,
                "{}: unknown: no fault struck in {seeds} seeds, so nothing was tried\n  \
                 hint: let the job run longer (a slower source, more records), or allow more faults or seeds",
                options.name()
            ),
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Violated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, seed) = (self.options.name(), self.derived.seed);
        match self.run {
            JudgedRun::Undisturbed => writeln!(f, "{name}: violated at seed {seed}, even without faults")?,
            JudgedRun::Disturbed(_) => writeln!(f, "{name}: violated at seed {seed}")?,
        }
        for finding in &self.findings {
            writeln!(f, "  {}", finding.to_string().replace('\n', "\n  "))?;
        }
        if let JudgedRun::Disturbed(parts) = &self.run {
            writeln!(f, "faults, one after the other:")?;
            for ((number, fault), part) in (1..).zip(&self.derived.faults).zip(parts) {
                writeln!(f, "  {number}. {fault}: {part}")?;
            }
        }
        writeln!(f, "options: {}", self.derived)?;
        write!(f, "replay:  {}", self.options.replay_command(seed))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Needed => "struck; without it all is well",
            Self::NotNeeded => "struck; not needed",
            Self::DidNotStrike => "did not strike",
        })
    }
}

/// What was tried without finding anything wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Seeds in which a fault struck.
    pub disturbed: u64,
    /// Seeds in which none did: they say nothing.
    pub unknown: u64,
    /// Faults that struck, by kind, over all seeds.
    pub struck: BTreeMap<FaultKind, u64>,
}

impl Held {
    pub(super) fn count(&mut self, struck: &BTreeMap<FaultKind, u64>) {
        if struck.is_empty() {
            self.unknown += 1;
        } else {
            self.disturbed += 1;
        }
        for (kind, times) in struck {
            *self.struck.entry(*kind).or_default() += times;
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let struck: Vec<String> = self.struck.iter().map(|(kind, times)| format!("{} {times}", kind.name())).collect();
        write!(f, "holds in {} disturbed runs ({})", self.disturbed, struck.join(", "))?;
        if self.unknown > 0 {
            write!(f, "; in {} more no fault struck", self.unknown)?;
        }
        Ok(())
    }
}

/// The plan of a run, one line per fault.
pub(super) fn plan_lines(faults: &[Fault]) -> String {
    (1..).zip(faults).map(|(number, fault): (u32, _)| format!("  {number}. {fault}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Breach;

    #[test]
    fn a_violation_tells_seed_sentence_plan_and_the_command_that_replays_it() {
        let options = Options::new("my-job", "my_job::bank");
        let derived = Derived::new(&options.clone().with_faults(1), 3);
        let (fault, drawn) = (derived.faults[0].clone(), derived.to_string());
        let violated = Violated {
            options,
            derived,
            findings: vec![Finding::new(Breach::Duplicated, "of payments, 1 entry is there more often")],
            run: JudgedRun::Disturbed(vec![Part::Needed]),
        };
        assert_eq!(
            Failure::Violated(Box::new(violated)).to_string(),
            format!(
                "bank: violated at seed 3\n  I2 NoDup: of payments, 1 entry is there more often\n\
                 faults, one after the other:\n  1. {fault}: struck; without it all is well\n\
                 options: {drawn}\nreplay:  TIDEGATE_SEED=3 cargo test -p my-job bank -- --exact"
            )
        );
    }
}
