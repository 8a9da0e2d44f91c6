//! `sim diff`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Outcome, Wrong, write_json};
use crate::{
    capsule::Capsule,
    run::{RunResult, run},
    trace::Keep,
};

/// Two runs, up to the first event in which they differ.
#[derive(Args)]
pub(super) struct Diff {
    /// A capsule.
    first: PathBuf,
    /// Another one; the first one without its last fault, if it is not given.
    second: Option<PathBuf>,
    /// How many events are shown before and after.
    #[arg(long, default_value_t = 8)]
    context: usize,
    /// Writes the events as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Divergence<'a> {
    /// How many events are the same.
    same: usize,
    /// The events of each run from there on.
    first: &'a [String],
    second: &'a [String],
}

impl Diff {
    pub(super) fn run(&self) -> Result<Outcome, Wrong> {
        let first = Capsule::read(&self.first)?;
        let mut second = match &self.second {
            Some(path) => Capsule::read(path)?,
            None => first.clone(),
        };
        let mut name = self.second.as_deref().unwrap_or(Path::new("")).display().to_string();
        if self.second.is_none() {
            let Some(fault) = second.plan.faults.pop() else {
                return Err(Wrong(format!("{} has no fault: give another capsule to compare", self.first.display())));
            };
            name = format!("the same without {fault}");
        }
        super::silence_panics();
        let (a, b) = (run(&first.plan, Keep::Lines), run(&second.plan, Keep::Lines));
        let same = a.lines.iter().zip(&b.lines).take_while(|(a, b)| a == b).count();
        if same == a.lines.len() && same == b.lines.len() {
            println!("the runs are the same: {same} events, trace {}", a.hash);
            return Ok(Outcome::AsClaimed);
        }
        println!("the first {same} events are the same");
        a.lines[same.saturating_sub(self.context)..same].iter().for_each(|line| println!("  {line}"));
        for (name, result) in [(self.first.display().to_string(), &a), (name, &b)] {
            println!("{name}: {}", told(result));
            self.after(same, result).iter().for_each(|line| println!("> {line}"));
        }
        let divergence = Divergence { same, first: self.after(same, &a), second: self.after(same, &b) };
        write_json(self.json.as_ref(), &divergence)?;
        Ok(Outcome::Violated)
    }

    fn after<'a>(&self, same: usize, result: &'a RunResult) -> &'a [String] {
        &result.lines[same..(same + self.context).min(result.lines.len())]
    }
}

fn told(result: &RunResult) -> String {
    let verdict = match result.violations.first() {
        Some(violation) => violation.sentence.clone(),
        None => format!("{:?}", result.verdict()).to_lowercase(),
    };
    format!("{verdict} ({} events, trace {})", result.events, result.hash)
}
