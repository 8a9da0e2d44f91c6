//! I17 Fencing: an older attempt can commit nothing.
//!
//! Once a newer attempt restores, an older one may only do what is decided anyway: commit a transaction that a completed
//! checkpoint holds. By facts, and by the files that it opened. Judged of every run. Source: Flink's fencing by attempt and leader session; KIP-98 epochs.

use tidegate::{
    event::{Moment, Step},
    id::Attempt,
};

use super::{InvariantId, Violation, committed, committed::Decided, describe};
use crate::{
    history::{FileRecordKind, History},
    model::{Model, layout::StagedName},
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let decided = Decided::of(history, model);
    let mut violations = commits_of_older_attempts(history, &decided);
    violations.extend(files_of_older_attempts(history, model, &decided));
    violations
}

fn commits_of_older_attempts(history: &History, decided: &Decided) -> Vec<Violation> {
    let mut violations = Vec::new();
    for fact in &history.facts {
        if fact.moment != Moment::Before || !matches!(fact.step, Step::Commit | Step::RecoverAndCommit) {
            continue;
        }
        let newest = newest_attempt_before(history, fact.sequence);
        let is_decided = decided.staged(&fact.detail).is_some_and(|sequence| sequence < fact.sequence);
        if fact.attempt < newest && !is_decided {
            violations.push(Violation {
                invariant: InvariantId::I17,
                sentence: format!(
                    "Attempt {} commits what no completed checkpoint holds while attempt {newest} runs.",
                    fact.attempt
                ),
                signature: format!("I17 {} by an older attempt", fact.step.name()),
                evidence: vec![describe(fact)],
            });
        }
    }
    violations
}

fn files_of_older_attempts(history: &History, model: &Model, decided: &Decided) -> Vec<Violation> {
    let mut violations = Vec::new();
    for record in &history.files {
        let FileRecordKind::Named { from } = &record.kind else { continue };
        let Some((_, from)) = committed::in_staging(model, from) else { continue };
        let Some((sink, name)) = committed::in_directory(model, &record.path) else { continue };
        let Some(staged) = StagedName::parse(from) else { continue };
        let newest = newest_attempt_before(history, record.sequence);
        let is_decided = decided.visible(&sink.name, name).is_some_and(|sequence| sequence < record.sequence);
        if Attempt(staged.attempt) < newest && !is_decided {
            violations.push(Violation {
                invariant: InvariantId::I17,
                sentence: format!(
                    "A file of attempt {} became visible in {} while attempt {newest} ran, and no completed checkpoint holds it.",
                    staged.attempt, sink.name
                ),
                signature: format!("I17 file of an older attempt in {}", sink.name),
                evidence: vec![format!("! {name} at {} ms", record.at)],
            });
        }
    }
    violations
}

fn newest_attempt_before(history: &History, sequence: u64) -> Attempt {
    let restores = history.facts.iter().filter(|fact| fact.step == Step::Restore && fact.moment == Moment::Before);
    restores.filter(|fact| fact.sequence < sequence).map(|fact| fact.attempt).max().unwrap_or_default()
}
