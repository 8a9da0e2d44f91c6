//! I9 Progress: after faults stop, checkpoints complete, pending transactions are resolved and the job ends, within a
//! bound.
//!
//! The bound is the run's: one that reached it has hung. A job that finds what storage lost, fails for it and tries again,
//! as often as its restart strategy says, has said so; nothing more can be asked of it. Source: the liveness phase of TigerBeetle's VOPR; FLINK-23223.

use tidegate::event::Step;

use super::{InvariantId, Violation, describe};
use crate::{
    history::{History, RunEnd},
    model::Model,
};

const LAST_FACTS: usize = 10;

pub(super) fn judge(history: &History, _model: &Model) -> Vec<Violation> {
    match history.end {
        RunEnd::Finished | RunEnd::Cancelled | RunEnd::Failed { .. } | RunEnd::Panicked { .. } => Vec::new(),
        RunEnd::Hung if history.storage_lied && says_what_is_lost(history) => Vec::new(),
        RunEnd::Hung => {
            let last = history.facts.len().saturating_sub(LAST_FACTS);
            let steps = history.facts.last().map_or("nothing", |fact| fact.step.name());
            vec![Violation {
                invariant: InvariantId::I9,
                sentence: format!(
                    "The job had not ended {} ms after the last fault stopped.",
                    history.ended_at.since(history.healed_at).as_millis()
                ),
                signature: format!("I9 hung after {steps}"),
                evidence: history.facts[last..].iter().map(describe).collect(),
            }]
        }
    }
}

/// Whether the last failure was about state or metadata that cannot be read.
fn says_what_is_lost(history: &History) -> bool {
    let last = history.facts.iter().rfind(|fact| fact.step == Step::FailOver);
    last.is_some_and(|fact| fact.detail.contains("restore") || fact.detail.contains("damaged"))
}
