//! `sim replay`.

use std::path::PathBuf;

use clap::Args;

use super::{
    Outcome, Wrong,
    run::{outcome_of, run_and_show},
};
use crate::capsule::Capsule;

/// A run again.
#[derive(Args)]
pub(super) struct Replay {
    /// The capsule.
    capsule: PathBuf,
    /// Shows the trace.
    #[arg(short, long)]
    verbose: bool,
    /// Writes the result as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Replay {
    pub(super) fn run(&self) -> Result<Outcome, Wrong> {
        let capsule = Capsule::read(&self.capsule)?;
        println!("found at commit {}, expects: {}", capsule.commit, capsule.expect);
        let result = run_and_show(&capsule.plan, self.verbose, self.json.as_ref())?;
        Ok(outcome_of(&result))
    }
}
