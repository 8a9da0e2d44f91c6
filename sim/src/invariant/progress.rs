//! I9 Progress: after faults stop, checkpoints complete, pending transactions are resolved and the job ends, within a
//! bound.
//!
//! The bound is the run's: one that reached it has hung. A job that finds what storage lost, fails for it and tries again,
//! as often as its restart strategy says, has said so; nothing more can be asked of it. Source: the liveness phase of TigerBeetle's VOPR; FLINK-23223.

use std::time::Duration;

use tidegate::event::{Moment, Step};

use super::{InvariantId, Violation, describe};
use crate::{
    history::{FactRecord, History, RunEnd},
    model::{Clocks, Model},
};

const LAST_FACTS: usize = 10;

/// Between the moment at which a checkpoint is due and the one at which tasks are told, once nothing disturbs any more.
const PREPARATION: Duration = Duration::from_secs(2);

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let mut violations = ends(history);
    violations.extend(takes_no_checkpoints(history, model));
    violations
}

/// Tasks that all run, after the last fault, and no checkpoint begins although one is due. The first one may fail: a leader
/// that was outbid can have taken its number.
fn takes_no_checkpoints(history: &History, model: &Model) -> Option<Violation> {
    let interval = model.config().checkpoints.interval.filter(|_| history.clocks == Clocks::Right)?;
    let begins = |fact: &FactRecord| (fact.step, fact.moment) == (Step::Deploy, Moment::After);
    let ends = |fact: &&FactRecord| {
        matches!(fact.step, Step::Trigger | Step::FailOver | Step::TakeLeadership | Step::JobEnd) || begins(fact)
    };
    let idle = history.facts.iter().enumerate().find_map(|(index, fact)| {
        let next = history.facts[index + 1..].iter().find(ends)?;
        let waited = next.at.since(fact.at);
        let too_long = begins(fact) && fact.at >= history.healed_at && waited > interval * 2 + PREPARATION;
        too_long.then(|| vec![describe(fact), describe(next)])
    });
    idle.map(|evidence| Violation {
        invariant: InvariantId::I9,
        sentence: format!(
            "All tasks ran, and no checkpoint began within two intervals of {} ms.",
            interval.as_millis()
        ),
        signature: "I9 no checkpoint began".to_owned(),
        evidence,
    })
}

fn ends(history: &History) -> Vec<Violation> {
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
