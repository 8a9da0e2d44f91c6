//! I17 Fencing: an older attempt can commit nothing.
//!
//! Once a newer attempt restores, an older one may only repeat what is decided anyway: commit a transaction whose
//! checkpoint is completed. And a file becomes visible only for the checkpoint that its own attempt completed. Judged
//! of every run. Source: Flink's fencing by attempt and leader session; KIP-98 epochs.

use std::collections::BTreeMap;

use tidegate::{
    event::{Moment, Step},
    id::Attempt,
};

use super::{InvariantId, Violation, committed, describe};
use crate::{
    history::{FileRecordKind, History},
    model::{
        Model,
        layout::{StagedName, VisibleName},
    },
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let mut violations = commits_of_older_attempts(history);
    violations.extend(files_of_other_attempts(history, model));
    violations
}

fn commits_of_older_attempts(history: &History) -> Vec<Violation> {
    let mut facts: Vec<_> = history.facts.iter().collect();
    facts.sort_by_key(|fact| fact.sequence);
    let mut newest = Attempt::default();
    let mut violations = Vec::new();
    for fact in facts {
        match (fact.step, fact.moment) {
            (Step::Restore, Moment::Before) => newest = newest.max(fact.attempt),
            (Step::Commit | Step::RecoverAndCommit, Moment::Before) if fact.attempt < newest => {
                let decided =
                    fact.checkpoint_id.is_some_and(|id| committed::completed_before(history, id, fact.sequence));
                if !decided {
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
            _ => {}
        }
    }
    violations
}

fn files_of_other_attempts(history: &History, model: &Model) -> Vec<Violation> {
    let opened_by: BTreeMap<u64, Attempt> = history
        .files
        .iter()
        .filter_map(|record| match &record.kind {
            FileRecordKind::Named { from } => StagedName::parse(committed::in_staging(model, from)?.1),
            FileRecordKind::Created | FileRecordKind::Removed => None,
        })
        .map(|staged| (staged.token, Attempt(staged.attempt)))
        .collect();
    let mut violations = Vec::new();
    for record in history.files.iter().filter(|record| committed::appears(record)) {
        let Some((sink, name)) = committed::in_directory(model, &record.path) else { continue };
        let Some(visible) = VisibleName::parse(name) else { continue };
        let completed =
            history.completed.get(&visible.checkpoint_id).and_then(|capture| capture.metadata.as_ref().ok());
        let (Some(metadata), Some(attempt)) = (completed, opened_by.get(&visible.token)) else { continue };
        if metadata.attempt != *attempt {
            violations.push(Violation {
                invariant: InvariantId::I17,
                sentence: format!(
                    "A file of attempt {attempt} became visible in {} for checkpoint {}, which attempt {} completed.",
                    sink.name, visible.checkpoint_id, metadata.attempt
                ),
                signature: format!("I17 file of another attempt in {}", sink.name),
                evidence: vec![format!("! {name}")],
            });
        }
    }
    violations
}
