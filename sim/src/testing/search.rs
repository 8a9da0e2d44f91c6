//! Seed after seed: undisturbed run, disturbed run, verdict.
//!
//! ```text
//!   seed ─► undisturbed ──wrong──► violated, even without faults
//!               │ observed
//!               ▼
//!           disturbed ──differs, hangs, asserts──► which faults are needed? ──► violated
//!               │ equal
//!               ▼
//!           a fault struck? ──in no seed──► unknown
//!               │ yes
//!               ▼
//!             holds
//! ```

use std::{collections::BTreeMap, rc::Rc};

use super::{
    Derived, Options, Selection,
    failure::{Failure, Held, JudgedRun, Part, Violated, plan_lines},
    finding::{Breach, Finding},
    simulation::{BodyOutcome, Pass, Passed, Simulation, Undisturbed, pass},
};
use crate::{
    fault::{Fault, FaultKind},
    trace::Keep,
};

/// Runs a body as `#[tidegate_sim::test]` does: all seeds of the test, or the one that the environment selects, with its
/// trace on the standard output.
///
/// # Panics
/// With the whole report if something is wrong, or if nothing was tried.
pub fn check<R: BodyOutcome>(options: &Options, body: impl Fn(&mut Simulation) -> R) {
    let selection = Selection::from_environment().unwrap_or_else(|error| panic!("{error}"));
    let verdict = match selection {
        Selection::All => search(options, body),
        Selection::One(seed) => {
            let replay = replay(options, seed, body);
            println!("{replay}");
            replay.verdict
        }
    };
    match verdict {
        Ok(held) => println!("{}: {held}", options.name()),
        Err(failure) => panic!("{failure}"),
    }
}

/// Runs a body for the seeds `0..seeds` and stops at the first that shows something wrong. The first seed is run twice:
/// a job that is not repeatable is found at once.
///
/// # Errors
/// The first violation; or *unknown*, if no fault struck in any seed.
pub fn search<R: BodyOutcome>(options: &Options, body: impl Fn(&mut Simulation) -> R) -> Result<Held, Failure> {
    let mut held = Held::default();
    for seed in 0..u64::from(options.seeds()) {
        let times = if seed == 0 { Times::Twice } else { Times::Once };
        held.count(&run_seed(options, seed, Keep::Hash, times, &body).verdict?);
    }
    conclude(options, held)
}

fn conclude(options: &Options, held: Held) -> Result<Held, Failure> {
    if held.disturbed == 0 {
        return Err(Failure::Unknown { options: options.clone(), seeds: held.unknown });
    }
    Ok(held)
}

/// One seed, run again.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The seed and all that follows from it.
    pub derived: Derived,
    /// The trace of the disturbed run, or of the undisturbed one if that is already wrong.
    pub lines: Vec<String>,
    /// What the seed shows.
    pub verdict: Result<Held, Failure>,
}

/// Runs one seed and keeps its trace.
pub fn replay<R: BodyOutcome>(options: &Options, seed: u64, body: impl Fn(&mut Simulation) -> R) -> Replay {
    let SeedRun { derived, lines, verdict } = run_seed(options, seed, Keep::Lines, Times::Twice, &body);
    let verdict = verdict.and_then(|struck| {
        let mut held = Held::default();
        held.count(&struck);
        conclude(options, held)
    });
    Replay { derived, lines, verdict }
}

impl std::fmt::Display for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {}: {}", self.derived.seed, self.derived)?;
        f.write_str(&plan_lines(&self.derived.faults))?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// How often the disturbed run is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    Once,
    /// Both must be the same run (I21).
    Twice,
}

struct SeedRun {
    derived: Derived,
    lines: Vec<String>,
    /// What struck, if nothing is wrong.
    verdict: Result<BTreeMap<FaultKind, u64>, Failure>,
}

fn run_seed<R: BodyOutcome>(
    options: &Options,
    seed: u64,
    keep: Keep,
    times: Times,
    body: &impl Fn(&mut Simulation) -> R,
) -> SeedRun {
    let derived = Derived::new(options, seed);
    let violated = |findings, run| {
        let violated = Violated { options: options.clone(), derived: derived.clone(), findings, run };
        Err(Failure::Violated(Box::new(violated)))
    };
    let mut calm = pass(&derived, Pass::Undisturbed, keep, body);
    let calm_lines = std::mem::take(&mut calm.played.lines);
    let undisturbed = match calm.into_undisturbed() {
        Ok(undisturbed) => undisturbed,
        Err(findings) => {
            let verdict = violated(findings, JudgedRun::Undisturbed);
            return SeedRun { derived: derived.clone(), lines: calm_lines, verdict };
        }
    };
    let disturbed = |faults: &[Fault]| -> Passed {
        let undisturbed: Rc<Undisturbed> = undisturbed.clone();
        pass(&derived, Pass::Disturbed { faults: faults.to_vec(), undisturbed }, keep, body)
    };
    let mut stormy = disturbed(&derived.faults);
    if times == Times::Twice && !stormy.equals(&disturbed(&derived.faults)) {
        stormy.findings.push(Finding::new(
            Breach::NotDeterministic,
            "the same seed gave two different runs: the job or the test draws on something that no seed reaches, such \
             as the host's clock, threads, random numbers, or the order of a map with a random hasher",
        ));
    }
    let (lines, findings) = (std::mem::take(&mut stormy.played.lines), std::mem::take(&mut stormy.findings));
    let verdict = if findings.is_empty() {
        Ok(stormy.played.struck)
    } else {
        let parts = parts(&derived.faults, stormy.played.missed, |faults| !disturbed(faults).findings.is_empty());
        violated(findings, JudgedRun::Disturbed(parts))
    };
    SeedRun { derived: derived.clone(), lines, verdict }
}

/// The part of each fault: one after the other is left out for good as long as the run stays wrong.
fn parts(faults: &[Fault], missed: usize, mut is_wrong: impl FnMut(&[Fault]) -> bool) -> Vec<Part> {
    let struck = faults.len() - missed.min(faults.len());
    let mut parts: Vec<Part> =
        (0..faults.len()).map(|number| if number < struck { Part::Needed } else { Part::DidNotStrike }).collect();
    for number in (0..struck).rev() {
        parts[number] = Part::NotNeeded;
        let rest: Vec<Fault> = faults
            .iter()
            .zip(&parts)
            .filter(|(_, part)| **part == Part::Needed)
            .map(|(fault, _)| fault.clone())
            .collect();
        if !is_wrong(&rest) {
            parts[number] = Part::Needed;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_faults_that_matter_are_needed() {
        let faults = Derived::new(&Options::new("p", "bank").with_faults(40), 5).faults;
        assert!(faults.len() >= 4, "{faults:?}");
        let culprit = faults[1].clone();
        let found = parts(&faults, 1, |rest| rest.contains(&culprit));
        let expected: Vec<Part> = (0..faults.len())
            .map(|number| match number {
                1 => Part::Needed,
                last if last == faults.len() - 1 => Part::DidNotStrike,
                _ => Part::NotNeeded,
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn seeds_without_a_strike_prove_nothing() {
        let options = Options::new("p", "bank");
        let unknown = conclude(&options, Held { unknown: 7, ..Held::default() }).expect_err("nothing was tried");
        assert_eq!(unknown.verdict(), crate::run::Verdict::Unknown);
        assert!(unknown.to_string().starts_with("bank: unknown: no fault struck in 7 seeds"), "{unknown}");
    }
}
