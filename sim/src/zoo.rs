//! The zoo: planted bugs that the laboratory must catch to be believed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    run::run,
    scenario::{CatalogueError, Scenario},
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

/// Runs seeds with the bug planted until an expected invariant fires or the budget is spent.
pub fn hunt(bug: &PlantedBug, scenarios: &[Scenario], first_seed: u64) -> Hunt {
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
    for number in 0..bug.budget {
        let (scenario, seed) = (chosen[(number % chosen.len() as u64) as usize], first_seed + number);
        let mut plan = scenario.plan(seed);
        plan.planted = Some(bug.name.clone());
        plan.workload.backend = bug.backend;
        let result = run(&plan, Keep::Hash);
        hunt.runs += 1;
        hunt.reached += u64::from(result.planted_reached > 0);
        let mut fired: Vec<String> =
            result.violations.iter().map(|violation| violation.invariant.number().to_owned()).collect();
        fired.sort();
        fired.dedup();
        if fired.is_empty() {
            continue;
        }
        let expected = fired.iter().any(|id| bug.caught_by.contains(id));
        hunt.fired = fired;
        hunt.sentence = result.violations[0].sentence.clone();
        (hunt.scenario, hunt.seed) = (scenario.name.clone(), seed);
        if expected {
            hunt.caught = true;
            return hunt;
        }
    }
    hunt
}
