//! I7 CommitAfterComplete: no commit before the checkpoint's metadata is durable.
//!
//! A sink begins to commit a transaction only when a checkpoint that holds it has been completed. Judged of every run,
//! by facts. Source: Flink `notifyCheckpointComplete`, FLINK-26304.

use tidegate::event::{Moment, Step};

use super::{InvariantId, Violation, committed::Decided, describe};
use crate::{history::History, model::Model};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let decided = Decided::of(history, model);
    let commits = history
        .facts
        .iter()
        .filter(|fact| fact.moment == Moment::Before && matches!(fact.step, Step::Commit | Step::RecoverAndCommit));
    let early = commits.filter_map(|fact| match decided.staged(&fact.detail) {
        Some(sequence) if sequence < fact.sequence => None,
        Some(_) => Some((fact, "before a checkpoint that holds it was completed")),
        None => Some((fact, "which no completed checkpoint holds")),
    });
    early
        .map(|(fact, when)| Violation {
            invariant: InvariantId::I7,
            sentence: format!("A sink began to commit a transaction, {when}."),
            signature: format!("I7 {} before completion", fact.step.name()),
            evidence: vec![describe(fact)],
        })
        .collect()
}
