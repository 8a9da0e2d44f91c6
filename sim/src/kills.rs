//! The kill matrix: which invariants catch which planted bug, with which faults, and how many seeds each strategy needs.
//!
//! It judges the laboratory. An invariant that kills nothing has never been seen to fail, and a kind of fault that no bug
//! needs has never been seen to matter: both are named. The matrix of all bugs that are not in RocksDB is a reviewed snapshot, `reports/kills.snap`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::Serialize;

use crate::{
    fault::FaultKind,
    invariant::{self, InvariantId},
    scenario::{Scenario, Strategy},
    zoo::{Hunt, Hunting, PlantedBug, hunt},
};

/// How a bug died.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kill {
    /// The bug.
    pub bug: String,
    /// What hunting it by each strategy came to.
    pub hunts: BTreeMap<Strategy, Hunt>,
    /// The kinds of faults that the hunts needed.
    pub needs: BTreeSet<&'static str>,
}

/// The matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KillMatrix {
    /// The bugs, in the order of the zoo.
    pub kills: Vec<Kill>,
}

/// How it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillExtent {
    /// The first seed of each hunt.
    pub first_seed: u64,
    /// Most runs by strategies other than the declared one, which has the bug's own budget.
    pub runs_max: u64,
    /// Workers at once.
    pub jobs: usize,
}

/// Hunts every bug by every strategy.
pub fn run_kills(
    bugs: &[&PlantedBug],
    scenarios: &[Scenario],
    extent: KillExtent,
    progress: impl Fn(&Kill) + Sync,
) -> KillMatrix {
    let next = AtomicUsize::new(0);
    let kills = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..extent.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(bug) = bugs.get(index) else { return };
                    let kill = kill(bug, scenarios, extent);
                    progress(&kill);
                    kills.lock().unwrap_or_else(PoisonError::into_inner).insert(index, kill);
                }
            });
        }
    });
    KillMatrix { kills: kills.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect() }
}

fn kill(bug: &PlantedBug, scenarios: &[Scenario], extent: KillExtent) -> Kill {
    let mut kill = Kill { bug: bug.name.clone(), hunts: BTreeMap::new(), needs: BTreeSet::new() };
    for strategy in Strategy::ALL {
        let runs_max = if strategy == Strategy::Declared { u64::MAX } else { extent.runs_max };
        let hunt = hunt(bug, scenarios, Hunting { first_seed: extent.first_seed, strategy, runs_max });
        let scenario = scenarios.iter().find(|scenario| scenario.name == hunt.scenario);
        if let Some(scenario) = scenario.filter(|_| hunt.caught) {
            let needed = bug.needed_faults(&bug.plan(scenario, hunt.seed, strategy));
            kill.needs.extend(needed.into_iter().map(FaultKind::name));
        }
        kill.hunts.insert(strategy, hunt);
    }
    kill
}

impl Kill {
    /// The hunts that caught it.
    fn caught(&self) -> impl Iterator<Item = &Hunt> {
        self.hunts.values().filter(|hunt| hunt.caught)
    }

    /// The invariants that fired in a run that caught it, each with the number of strategies by which it did.
    fn invariants(&self) -> BTreeMap<&str, usize> {
        let mut invariants = BTreeMap::new();
        self.caught().flat_map(|hunt| &hunt.fired).for_each(|id| *invariants.entry(id.as_str()).or_default() += 1);
        invariants
    }
}

impl KillMatrix {
    /// The bugs that nothing caught as declared, with what was seen instead.
    pub fn survivors(&self) -> Vec<String> {
        let declared = self.kills.iter().filter_map(|kill| kill.hunts.get(&Strategy::Declared));
        declared.filter(|hunt| !hunt.caught).map(|hunt| format!("{}: {}", hunt.bug, hunt.sentence)).collect()
    }

    /// The invariants that fired in no run that caught a bug, by number and name.
    pub fn idle_invariants(&self) -> Vec<String> {
        let all = invariant::all().into_iter();
        all.filter(|id| self.killed_by(*id).next().is_none())
            .map(|id| format!("{} {}", id.number(), id.name()))
            .collect()
    }

    /// The kinds of faults that no bug needs, by name.
    pub fn unneeded_faults(&self) -> Vec<&'static str> {
        let kinds = FaultKind::ALL.into_iter().map(FaultKind::name);
        kinds.filter(|kind| self.needing(kind).next().is_none()).collect()
    }

    fn killed_by(&self, id: InvariantId) -> impl Iterator<Item = &Kill> {
        self.kills.iter().filter(move |kill| kill.invariants().contains_key(id.number()))
    }

    fn needing<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Kill> {
        self.kills.iter().filter(move |kill| kill.needs.contains(kind))
    }

    /// The matrix as tables, with what was of no use.
    pub fn text(&self) -> String {
        let tables = [
            self.runs_to_detection(),
            self.who_fired(),
            self.of_strategies(),
            self.of_invariants(),
            self.of_faults(),
            format!(
                "Invariants that kill no bug: {}\nKinds of faults that no bug needs: {}\n",
                listed(&self.idle_invariants()),
                listed(&self.unneeded_faults())
            ),
        ];
        tables.join("\n")
    }

    /// The width of a column of names of bugs.
    fn width(&self) -> usize {
        self.kills.iter().map(|kill| kill.bug.len()).max().unwrap_or(0).max("planted bug".len())
    }

    fn runs_to_detection(&self) -> String {
        let width = self.width();
        let mut text =
            "Runs until a bug was caught, by strategy, and the faults without which it would not have been:\n"
                .to_owned();
        let _ = write!(text, "{:width$}", "planted bug");
        Strategy::ALL.iter().for_each(|strategy| _ = write!(text, " {:>8}", strategy.name()));
        text.push_str("  faults\n");
        for kill in &self.kills {
            let _ = write!(text, "{:width$}", kill.bug);
            for strategy in Strategy::ALL {
                let caught = kill.hunts.get(&strategy).filter(|hunt| hunt.caught);
                let runs = caught.map_or_else(|| "-".to_owned(), |hunt| hunt.runs.to_string());
                let _ = write!(text, " {runs:>8}");
            }
            let needs: Vec<&str> = kill.needs.iter().copied().collect();
            let _ = writeln!(text, "  {}", if needs.is_empty() { "none".to_owned() } else { needs.join(" ") });
        }
        text
    }

    fn who_fired(&self) -> String {
        let (width, all) = (self.width(), invariant::all());
        let mut text = "Invariants that fired in the runs that caught it, by how many of the strategies:\n".to_owned();
        let _ = write!(text, "{:width$}", "planted bug");
        all.iter().for_each(|id| _ = write!(text, " {:>3}", id.number()));
        text.push('\n');
        for kill in &self.kills {
            let fired = kill.invariants();
            let mut line = format!("{:width$}", kill.bug);
            for id in &all {
                let strategies = fired.get(id.number()).map_or_else(|| ".".to_owned(), usize::to_string);
                let _ = write!(line, " {strategies:>3}");
            }
            let _ = writeln!(text, "{line}");
        }
        text
    }

    fn of_strategies(&self) -> String {
        let mut text = format!(
            "{:10} {:>6} {:>6} {:>6} {:>5}  caught by no other\n",
            "strategy", "hunted", "caught", "median", "most"
        );
        for strategy in Strategy::ALL {
            let hunts = || self.kills.iter().filter_map(|kill| kill.hunts.get(&strategy));
            let mut runs: Vec<u64> = hunts().filter(|hunt| hunt.caught).map(|hunt| hunt.runs).collect();
            runs.sort_unstable();
            let median = runs.get(runs.len() / 2).copied().unwrap_or(0);
            let alone =
                |kill: &&Kill| kill.caught().count() == 1 && kill.hunts.get(&strategy).is_some_and(|it| it.caught);
            let _ = writeln!(
                text,
                "{:10} {:>6} {:>6} {median:>6} {:>5}  {}",
                strategy.name(),
                hunts().count(),
                runs.len(),
                runs.last().copied().unwrap_or(0),
                self.kills.iter().filter(alone).count()
            );
        }
        text
    }

    fn of_invariants(&self) -> String {
        let mut text = format!("{:24} {:>5}  of which alone\n", "invariant", "kills");
        for id in invariant::all() {
            let alone = self.killed_by(id).filter(|kill| kill.invariants().len() == 1).count();
            let name = format!("{} {}", id.number(), id.name());
            let _ = writeln!(text, "{name:24} {:>5}  {alone}", self.killed_by(id).count());
        }
        text
    }

    fn of_faults(&self) -> String {
        let mut text = format!("{:24} {:>9}  of which alone\n", "kind of fault", "needed by");
        for kind in FaultKind::ALL.into_iter().map(FaultKind::name) {
            let alone = self.needing(kind).filter(|kill| kill.needs.len() == 1).count();
            let _ = writeln!(text, "{kind:24} {:>9}  {alone}", self.needing(kind).count());
        }
        text
    }
}

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests;
