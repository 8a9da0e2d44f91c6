//! `sim list`.

use std::path::Path;

use clap::Args;

use super::{Outcome, Wrong};
use crate::{fault::FaultKind, invariant::InvariantId, scenario::read_catalogue, workload::StageKind, zoo::read_zoo};

/// What there is.
#[derive(Args)]
pub(super) struct List {
    /// Writes the list as JSON.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

impl List {
    pub(super) fn run(&self, catalogue: &Path) -> Result<Outcome, Wrong> {
        let (scenarios, zoo) = (read_catalogue(catalogue)?, read_zoo(&catalogue.join("zoo.toml"))?);
        println!("scenarios");
        for scenario in &scenarios {
            println!("  {:40} {}", scenario.name, scenario.claim);
        }
        println!("\nfault kinds");
        for kind in FaultKind::ALL {
            println!("  {:40} {}", kind.name(), kind.models());
        }
        println!("\ninvariants (those with * are checked)");
        for id in InvariantId::ALL {
            let checked = if crate::invariant::all().contains(&id) { "*" } else { " " };
            println!("  {:4}{checked} {:34} {}", id.number(), id.name(), id.says());
        }
        println!("\nplanted bugs");
        for bug in &zoo {
            println!("  {:52} {} (caught by {})", bug.name, bug.stands_for, bug.caught_by.join(", "));
        }
        println!("\nkinds of stages (those with * depend on the clock of a machine)");
        for kind in StageKind::all() {
            println!("  {}{}", kind.name(), if kind.has_clock() { " *" } else { "" });
        }
        let names = |names: Vec<String>| names;
        let json = serde_json::json!({
            "scenarios": scenarios.iter().map(|scenario| serde_json::json!({
                "name": scenario.name, "claim": scenario.claim, "setup": scenario.setup,
                "disturbance": scenario.disturbance, "would_catch": scenario.would_catch,
            })).collect::<Vec<_>>(),
            "fault_kinds": names(FaultKind::ALL.iter().map(|kind| kind.name().to_owned()).collect()),
            "invariants": names(InvariantId::ALL.iter().map(|id| id.name().to_owned()).collect()),
            "stages": names(StageKind::all().into_iter().map(StageKind::name).collect()),
            "planted_bugs": names(zoo.iter().map(|bug| bug.name.clone()).collect()),
        });
        super::write_json(self.json.as_ref(), &json)?;
        Ok(Outcome::AsClaimed)
    }
}
