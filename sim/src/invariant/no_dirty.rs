//! I3 NoDirty: nothing of an uncompleted or aborted checkpoint is visible to a read-committed reader, at any moment.
//!
//! Everything that appears in a sink's directory must be a file whose transaction a checkpoint holds that was completed before. What has
//! appeared stays: it is not removed, renamed or written over. Only the disk itself may take a name back in a power loss,
//! as long as the commit has not said that it is done. Judged of every run.
//! Source: the contract of two-phase-commit sinks (Flink `TwoPhaseCommitSinkFunction`), seen from the reader's side.

use std::{collections::BTreeMap, path::Path};

use tidegate::event::{Moment, Step};

use super::{InvariantId, Violation, committed, committed::Decided};
use crate::{
    history::{FileRecord, FileRecordKind, History},
    model::{
        Model, SinkModel,
        layout::{StagedName, VisibleName},
    },
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let decided = Decided::of(history, model);
    // With the name that each had before, if it had one.
    let mut visible: BTreeMap<&Path, Option<&Path>> = BTreeMap::new();
    let mut violations = Vec::new();
    for record in &history.files {
        if let FileRecordKind::Named { from } = &record.kind
            && visible.remove(from.as_path()).is_some()
            && let Some((sink, name)) = committed::in_directory(model, from)
        {
            violations.push(vanished(sink, name, "lost its name"));
        }
        let Some((sink, name)) = committed::in_directory(model, &record.path) else { continue };
        if committed::appears(record) {
            let from = match &record.kind {
                FileRecordKind::Named { from } => Some(from.as_path()),
                FileRecordKind::Created | FileRecordKind::Removed => None,
            };
            // The same file once more: a power loss had taken its name back, and the commit is made again.
            if visible.insert(&record.path, from).is_some_and(|before| before.is_none() || before != from) {
                violations.push(vanished(sink, name, "was written over"));
            }
            violations.extend(appeared(&decided, record, sink, name));
        } else if visible.remove(record.path.as_path()).is_some() && !may_vanish(history, record, name) {
            violations.push(vanished(sink, name, "was removed"));
        }
    }
    violations
}

fn appeared(decided: &Decided, record: &FileRecord, sink: &SinkModel, name: &str) -> Option<Violation> {
    let Some(visible) = VisibleName::parse(name) else {
        return Some(Violation {
            invariant: InvariantId::I3,
            sentence: format!("Something that is no committed file appeared in the directory of {}.", sink.name),
            signature: format!("I3 foreign file in {}", sink.name),
            evidence: vec![format!("! {name}")],
        });
    };
    let (what, signature) = match decided.visible(&sink.name, name) {
        Some(sequence) if sequence < record.sequence => return None,
        Some(_) => ("before a checkpoint that holds it was completed", "early file"),
        None => ("and no completed checkpoint holds it", "file of an uncompleted checkpoint"),
    };
    Some(Violation {
        invariant: InvariantId::I3,
        sentence: format!("A file of checkpoint {} became visible in {}, {what}.", visible.checkpoint_id, sink.name),
        signature: format!("I3 {signature} in {}", sink.name),
        evidence: vec![format!("! {name} at {} ms", record.at)],
    })
}

fn vanished(sink: &SinkModel, name: &str, what: &str) -> Violation {
    Violation {
        invariant: InvariantId::I3,
        sentence: format!("A visible file of {} {what}.", sink.name),
        signature: format!("I3 visible file {what} in {}", sink.name),
        evidence: vec![format!("- {name}")],
    }
}

/// A power loss takes back what nobody was told to be durable.
fn may_vanish(history: &History, record: &FileRecord, name: &str) -> bool {
    let Some(visible) = VisibleName::parse(name) else { return false };
    let committed = history.facts.iter().any(|fact| {
        fact.sequence < record.sequence
            && fact.moment == Moment::After
            && matches!(fact.step, Step::Commit | Step::RecoverAndCommit)
            && StagedName::parse(&fact.detail).is_some_and(|staged| staged.token == visible.token)
    });
    record.node.is_none() && !committed
}
