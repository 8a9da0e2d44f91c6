//! The zoo: planted bugs that the laboratory must catch to be believed.

use std::{collections::BTreeSet, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    fault::FaultKind,
    invariant::InvariantId,
    run::{RunResult, run},
    scenario::{CatalogueError, Plan, Scenario, Strategy},
    trace::Keep,
    workload::Backend,
};

/// A planted bug, as the catalogue describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlantedBug {
    /// The name at its site in the engine.
    pub name: String,
    /// What it does.
    pub mutation: String,
    /// The real bug that it stands for.
    pub stands_for: String,
    /// The invariants that must fire: at least one of these, by id (`I1`).
    pub caught_by: Vec<String>,
    /// The scenarios that are run, in turn.
    pub scenarios: Vec<String>,
    /// Most runs.
    pub budget: u64,
    /// Where the runs keep their state: the bug is in this backend.
    #[serde(default)]
    pub backend: Backend,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Zoo {
    bug: Vec<PlantedBug>,
}

/// What hunting a bug came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hunt {
    /// The bug.
    pub bug: String,
    /// Whether an expected invariant fired.
    pub caught: bool,
    /// Runs until then, or all.
    pub runs: u64,
    /// Runs in which the site was reached.
    pub reached: u64,
    /// The invariants that fired in the run that caught it, or in any run if none did.
    pub fired: Vec<String>,
    /// The first violation's sentence.
    pub sentence: String,
    /// The scenario that caught it.
    pub scenario: String,
    /// The seed that caught it.
    pub seed: u64,
}

/// Reads the zoo.
///
/// # Errors
/// [`CatalogueError`] that names the file.
pub fn read_zoo(path: &Path) -> Result<Vec<PlantedBug>, CatalogueError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CatalogueError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
    let zoo: Zoo = toml::from_str(&text)
        .map_err(|error| CatalogueError::Malformed { path: path.to_owned(), reason: error.to_string() })?;
    Ok(zoo.bug)
}

/// How bugs are hunted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hunting {
    /// The first seed.
    pub first_seed: u64,
    /// How faults and schedule are chosen.
    pub strategy: Strategy,
    /// Most runs, if that is less than the bug's own budget.
    pub runs_max: u64,
}

impl Hunting {
    /// As the zoo declares.
    pub fn declared(first_seed: u64) -> Self {
        Self { first_seed, strategy: Strategy::Declared, runs_max: u64::MAX }
    }
}

/// Runs seeds with the bug planted until an expected invariant fires or the budget is spent.
pub fn hunt(bug: &PlantedBug, scenarios: &[Scenario], hunting: Hunting) -> Hunt {
    let chosen: Vec<&Scenario> = scenarios.iter().filter(|scenario| bug.scenarios.contains(&scenario.name)).collect();
    let mut hunt = Hunt {
        bug: bug.name.clone(),
        caught: false,
        runs: 0,
        reached: 0,
        fired: Vec::new(),
        sentence: String::new(),
        scenario: String::new(),
        seed: 0,
    };
    if chosen.is_empty() {
        hunt.sentence = "none of its scenarios exists".into();
        return hunt;
    }
    for number in 0..bug.budget.min(hunting.runs_max) {
        let (scenario, seed) = (chosen[(number % chosen.len() as u64) as usize], hunting.first_seed + number);
        let plan = bug.plan(scenario, seed, hunting.strategy);
        let (result, fired) = bug.judged(&plan);
        hunt.runs += 1;
        hunt.reached += u64::from(result.planted_reached > 0);
        if fired.is_empty() {
            continue;
        }
        let expected = bug.expects(&fired);
        hunt.fired = fired;
        let first = result.violations.first().map(|violation| violation.sentence.as_str());
        hunt.sentence = first.unwrap_or(NOT_DETERMINISTIC).to_owned();
        (hunt.scenario, hunt.seed) = (scenario.name.clone(), seed);
        if expected {
            hunt.caught = true;
            return hunt;
        }
    }
    hunt
}

/// What is said of a run that does not repeat itself.
const NOT_DETERMINISTIC: &str = "The same plan gave another trace.";

impl PlantedBug {
    /// The run of a seed with the bug planted.
    pub fn plan(&self, scenario: &Scenario, seed: u64, strategy: Strategy) -> Plan {
        let mut plan = scenario.plan_by(strategy, seed);
        plan.planted = Some(self.name.clone());
        plan.workload.backend = self.backend;
        plan
    }

    /// A run, with the invariants that fired in it, by number. What must be caught by its trace runs twice (I21).
    fn judged(&self, plan: &Plan) -> (RunResult, Vec<String>) {
        let result = run(plan, Keep::Hash);
        let mut fired: BTreeSet<&str> =
            result.violations.iter().map(|violation| violation.invariant.number()).collect();
        let determinism = InvariantId::I21.number();
        if self.caught_by.iter().any(|id| id == determinism) && run(plan, Keep::Hash).hash != result.hash {
            fired.insert(determinism);
        }
        let fired = fired.into_iter().map(str::to_owned).collect();
        (result, fired)
    }

    /// Whether one of these invariants is one that must fire.
    fn expects(&self, fired: &[String]) -> bool {
        fired.iter().any(|id| self.caught_by.contains(id))
    }

    /// The kinds of faults without which the run that caught it would not have.
    pub fn needed_faults(&self, caught: &Plan) -> BTreeSet<FaultKind> {
        let mut plan = caught.clone();
        let mut index = 0;
        while index < plan.faults.len() {
            let mut without = plan.clone();
            without.faults.remove(index);
            if self.expects(&self.judged(&without).1) { plan = without } else { index += 1 }
        }
        plan.faults.iter().map(|fault| fault.kind).collect()
    }
}
