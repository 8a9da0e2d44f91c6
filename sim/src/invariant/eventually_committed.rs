//! I8 EventuallyCommitted: whatever belongs to a completed checkpoint gets committed.
//!
//! Two things belong to a completed checkpoint: the transactions in its sinks' state, and those that were pre-committed
//! for it by the attempts that took part in it. Each of the latter must be among the former, and each that is not empty must
//! be visible at the end. Judged of runs that finished. Source: Flink `TwoPhaseCommitSinkFunction`, FLINK-26403.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::{
    event::{Moment, Step},
    id::CheckpointId,
};

use super::{InvariantId, Violation, committed, describe, limited};
use crate::{
    history::{CompletedCapture, FactRecord, History, RunEnd},
    model::{Model, layout::StagedName},
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    if history.end != RunEnd::Finished {
        return Vec::new();
    }
    let mut lost: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut forgotten = Vec::new();
    for (checkpoint_id, capture) in history.snapshots() {
        // What the job went back behind was committed, or is done again.
        let must_be_visible = history.is_on_last_branch(checkpoint_id, capture);
        let mut tokens = BTreeSet::new();
        for sink in model.sinks() {
            let visible: BTreeSet<&str> =
                history.output.get(&sink.name).into_iter().flatten().map(|file| file.name.as_str()).collect();
            for transaction in committed::pending(capture, &sink.name) {
                tokens.insert(transaction.token);
                let name = transaction.visible().unwrap_or_else(|| transaction.staged.clone());
                if must_be_visible && transaction.bytes > 0 && !visible.contains(name.as_str()) {
                    lost.entry(sink.name.clone()).or_default().insert(name);
                }
            }
        }
        let known =
            |fact: &&FactRecord| StagedName::parse(&fact.detail).is_some_and(|name| tokens.contains(&name.token));
        forgotten.extend(pre_committed(history, checkpoint_id, capture).filter(|fact| !known(fact)));
    }
    let lost = lost.into_iter().map(|(sink, names)| Violation {
        invariant: InvariantId::I8,
        sentence: format!("{} files of completed checkpoints never became visible in {sink}.", names.len()),
        signature: format!("I8 uncommitted files of {sink}"),
        evidence: limited(names.into_iter().map(|name| format!("- {name}"))),
    });
    let mut violations: Vec<Violation> = lost.collect();
    if !forgotten.is_empty() {
        violations.push(Violation {
            invariant: InvariantId::I8,
            sentence: format!(
                "{} pre-committed transactions are not in the checkpoint that they were for.",
                forgotten.len()
            ),
            signature: "I8 transactions missing in a checkpoint".to_owned(),
            evidence: limited(forgotten.into_iter().map(describe)),
        });
    }
    violations
}

/// The pre-commits for a checkpoint by the attempts that took part in it.
fn pre_committed<'a>(
    history: &'a History,
    checkpoint_id: CheckpointId,
    capture: &'a CompletedCapture,
) -> impl Iterator<Item = &'a FactRecord> {
    let attempts = capture.metadata.as_ref().map(|metadata| history.attempts_in(metadata)).unwrap_or_default();
    history.facts.iter().filter(move |fact| {
        let took_part = |subtask: &str| attempts.get(subtask) == Some(&fact.attempt);
        fact.step == Step::PreCommit
            && fact.moment == Moment::After
            && fact.checkpoint_id == Some(checkpoint_id)
            && fact.subtask.as_deref().is_some_and(took_part)
    })
}
