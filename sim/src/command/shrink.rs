//! `sim shrink`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Outcome, Wrong, write_json};
use crate::{
    capsule::Capsule,
    run::run,
    scenario::Plan,
    shrink::{RUNS_MAX, shrink},
    trace::Keep,
};

/// A failing run, made as small as it fails.
#[derive(Args)]
pub(super) struct Shrink {
    /// The capsule.
    capsule: PathBuf,
    /// Where the small one goes; beside the capsule, with `.small.toml`, if it is not given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Most runs.
    #[arg(long, default_value_t = RUNS_MAX)]
    runs: u64,
    /// Writes plan and proof as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Summary<'a> {
    signature: &'a str,
    plan: &'a Plan,
    runs: u64,
    is_minimal: bool,
    proof: Vec<(&'a str, String)>,
}

impl Shrink {
    pub(super) fn run(&self) -> Result<Outcome, Wrong> {
        let capsule = Capsule::read(&self.capsule)?;
        super::silence_panics();
        let result = run(&capsule.plan, Keep::Hash);
        // What the capsule was kept for; if that does not fail any more, whatever fails first.
        let expected = result.violations.iter().find(|violation| violation.signature == capsule.expect);
        let Some(violation) = expected.or(result.violations.first()) else {
            println!("the run of {} violates nothing: there is nothing to shrink", self.capsule.display());
            return Ok(Outcome::AsClaimed);
        };
        println!("{}: {}", violation.signature, violation.sentence);
        let shrunk = shrink(&capsule.plan, &violation.signature, self.runs);
        print!("{}", shrunk.text());
        let out = self.out.clone().unwrap_or_else(|| self.capsule.with_extension("small.toml"));
        Capsule::new(shrunk.plan.clone(), violation.signature.clone()).write(&out)?;
        println!("replay with: cargo sim replay {}", out.display());
        let summary = Summary {
            signature: &violation.signature,
            plan: &shrunk.plan,
            runs: shrunk.runs,
            is_minimal: shrunk.is_minimal,
            proof: shrunk.proof.iter().map(|proof| (proof.cut.as_str(), proof.without.to_string())).collect(),
        };
        write_json(self.json.as_ref(), &summary)?;
        Ok(Outcome::Violated)
    }
}
