//! I16 NoLeak: opened = committed + aborted + live, for transactions and for files.
//!
//! No transaction is both committed and aborted. When the job has finished none is live: no staged file is left, and no
//! checkpoint but the newest completed ones that the job retains, and no file but theirs that checkpoints share. The former is judged of every run, the latter of runs
//! that finished. A transaction of a dead attempt is aborted by whoever removes its file, without a fact.
//! Source: FLINK-13941; the ledger of Flink `TwoPhaseCommitSinkFunction`.

use std::collections::BTreeSet;

use tidegate::{
    event::{Moment, Step},
    id::CheckpointId,
};

use super::{InvariantId, Violation, committed, limited};
use crate::{
    history::{FileRecordKind, History, RunEnd},
    model::{Model, layout::StagedName},
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let mut violations = Vec::new();
    violations.extend(violation("transactions were both committed and aborted", settled_twice(history, model)));
    violations.extend(violation("transactions were settled that nobody had opened", never_opened(history)));
    if history.end == RunEnd::Finished {
        violations.extend(violation("staged files are left", staged(history)));
        violations.extend(violation("checkpoints are left that nobody needs", checkpoints(history, model)));
        violations
            .extend(violation("shared files are left that no checkpoint refers to", shared_files(history, model)));
    }
    violations
}

fn violation(what: &str, evidence: Vec<String>) -> Option<Violation> {
    (!evidence.is_empty()).then(|| Violation {
        invariant: InvariantId::I16,
        sentence: format!("{} {what}.", evidence.len()),
        signature: format!("I16 {what}"),
        evidence: limited(evidence),
    })
}

/// The transactions of these steps, by the name of the staged file.
fn transactions<'a>(history: &'a History, steps: &'a [Step]) -> impl Iterator<Item = &'a str> {
    let facts = history.facts.iter().filter(|fact| fact.moment == Moment::After && steps.contains(&fact.step));
    facts.map(|fact| fact.detail.as_str())
}

fn settled_twice(history: &History, model: &Model) -> Vec<String> {
    let aborted: BTreeSet<&str> = transactions(history, &[Step::Abort, Step::RecoverAndAbort]).collect();
    let committed = history.files.iter().filter_map(|record| {
        let FileRecordKind::Named { from } = &record.kind else { return None };
        let (_, staged) = committed::in_staging(model, from)?;
        committed::in_directory(model, &record.path)?;
        Some(staged)
    });
    let twice: BTreeSet<&str> = committed.filter(|staged| aborted.contains(staged)).collect();
    twice.into_iter().map(|staged| format!("! {staged}")).collect()
}

fn never_opened(history: &History) -> Vec<String> {
    let opened: BTreeSet<&str> = transactions(history, &[Step::BeginTransaction]).collect();
    let settled = transactions(history, &[Step::Commit, Step::RecoverAndCommit, Step::Abort, Step::RecoverAndAbort]);
    let strange: BTreeSet<&str> = settled.filter(|staged| !opened.contains(staged)).collect();
    strange.into_iter().map(|staged| format!("! {staged}")).collect()
}

fn staged(history: &History) -> Vec<String> {
    let left = history.staged_left.iter().flat_map(|(sink, names)| names.iter().map(move |name| (sink, name)));
    left.map(|(sink, name)| {
        let attempt =
            StagedName::parse(name).map(|staged| format!(" of attempt {}", staged.attempt)).unwrap_or_default();
        format!("+ {name}{attempt} in {sink}")
    })
    .collect()
}

fn checkpoints(history: &History, model: &Model) -> Vec<String> {
    let retained: BTreeSet<CheckpointId> = history.retained(model).map(|(checkpoint_id, _)| checkpoint_id).collect();
    let unneeded = history.checkpoints_left.iter().filter(|checkpoint_id| !retained.contains(checkpoint_id));
    unneeded.map(|checkpoint_id| format!("+ checkpoint {checkpoint_id}")).collect()
}

fn shared_files(history: &History, model: &Model) -> Vec<String> {
    let needed: BTreeSet<&str> = history
        .retained(model)
        .flat_map(|(_, capture)| capture.shared_files())
        .map(|file| file.name.as_str())
        .collect();
    let unneeded = history.shared_left.iter().filter(|name| !needed.contains(name.as_str()));
    unneeded.map(|name| format!("+ {name}")).collect()
}
