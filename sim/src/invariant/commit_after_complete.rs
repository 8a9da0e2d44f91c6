//! I7 CommitAfterComplete: no commit before the checkpoint's metadata is durable.
//!
//! A sink begins to commit a transaction only when the checkpoint that it was pre-committed for has been completed.
//! Judged of every run, by facts. Source: Flink `notifyCheckpointComplete`, FLINK-26304.

use tidegate::event::{Moment, Step};

use super::{InvariantId, Violation, committed, describe};
use crate::{history::History, model::Model};

pub(super) fn judge(history: &History, _model: &Model) -> Vec<Violation> {
    let commits = history
        .facts
        .iter()
        .filter(|fact| fact.moment == Moment::Before && matches!(fact.step, Step::Commit | Step::RecoverAndCommit));
    let early = commits.filter(|fact| {
        fact.checkpoint_id
            .is_none_or(|checkpoint_id| !committed::completed_before(history, checkpoint_id, fact.sequence))
    });
    early
        .map(|fact| {
            let checkpoint =
                fact.checkpoint_id.map_or_else(|| "no checkpoint".to_owned(), |id| format!("checkpoint {id}"));
            let never = fact.checkpoint_id.is_none_or(|id| !history.completed.contains_key(&id));
            let when = if never { "which never was completed" } else { "before that was completed" };
            Violation {
                invariant: InvariantId::I7,
                sentence: format!("A sink began to commit a transaction of {checkpoint}, {when}."),
                signature: format!("I7 {} before completion", fact.step.name()),
                evidence: vec![describe(fact)],
            }
        })
        .collect()
}
