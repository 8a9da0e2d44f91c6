//! I17 Fencing: an older attempt can commit nothing.
//!
//! Once a newer attempt of a region restores, an older one may only do what is decided anyway: commit a transaction that a
//! completed checkpoint holds. A new leader begins new attempts of all regions. By facts, and by the files that it opened.
//! Judged of every run. Source: Flink's fencing by attempt and leader session; KIP-98 epochs.

use std::collections::BTreeMap;

use tidegate::{
    event::{Moment, Step},
    id::Attempt,
};

use super::{InvariantId, Violation, committed, committed::Decided, describe};
use crate::{
    history::{FactRecord, FileRecordKind, History},
    model::{Model, layout::StagedName},
    regions::Regions,
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let decided = Decided::of(history, model);
    let attempts = Attempts::of(history);
    let mut violations = commits_of_older_attempts(history, &decided, &attempts);
    violations.extend(files_of_older_attempts(history, model, &decided, &attempts));
    violations
}

fn commits_of_older_attempts(history: &History, decided: &Decided, attempts: &Attempts<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for fact in &history.facts {
        if fact.moment != Moment::Before || !matches!(fact.step, Step::Commit | Step::RecoverAndCommit) {
            continue;
        }
        let Some(subtask) = fact.subtask.as_deref() else { continue };
        let newest = attempts.newest_before(fact.sequence, subtask, fact.attempt);
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

fn files_of_older_attempts(
    history: &History,
    model: &Model,
    decided: &Decided,
    attempts: &Attempts<'_>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for record in &history.files {
        let FileRecordKind::Named { from } = &record.kind else { continue };
        let Some((_, from)) = committed::in_staging(model, from) else { continue };
        let Some((sink, name)) = committed::in_directory(model, &record.path) else { continue };
        let Some(staged) = StagedName::parse(from) else { continue };
        let subtask = attempts.opener(from);
        let newest = attempts.newest_before(record.sequence, subtask, Attempt(staged.attempt));
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

/// The attempts of each region.
struct Attempts<'a> {
    regions: Regions,
    /// Their beginnings.
    restores: Vec<&'a FactRecord>,
    /// Who opened each transaction, by the name of the staged file.
    openers: BTreeMap<&'a str, &'a str>,
}

impl<'a> Attempts<'a> {
    fn of(history: &'a History) -> Self {
        let mut this = Self { regions: Regions::of(&history.graph), restores: Vec::new(), openers: BTreeMap::new() };
        for fact in &history.facts {
            match (fact.step, fact.moment) {
                (Step::Restore, Moment::Before) => this.restores.push(fact),
                (Step::BeginTransaction, _) => {
                    this.openers.extend(fact.subtask.as_deref().map(|subtask| (fact.detail.as_str(), subtask)));
                }
                _ => {}
            }
        }
        this
    }

    /// Who opened the transaction of a staged file; nobody that is known, if it was not said.
    fn opener(&self, staged: &str) -> &'a str {
        self.openers.get(staged).copied().unwrap_or_default()
    }

    /// The newest attempt that had begun in the place of this one: of its region, or of any under a later leader.
    fn newest_before(&self, sequence: u64, subtask: &str, attempt: Attempt) -> Attempt {
        let takes_its_place = |fact: &&&FactRecord| {
            let is_of_region = fact.subtask.as_deref().is_some_and(|other| self.regions.share(subtask, other));
            fact.sequence < sequence && (is_of_region || fact.attempt.epoch() > attempt.epoch())
        };
        self.restores.iter().filter(takes_its_place).map(|fact| fact.attempt).max().unwrap_or_default()
    }
}
