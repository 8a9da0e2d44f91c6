//! I13 KeyGroups: each key group has exactly one owner; state lies only inside the owner's range.
//!
//! In a completed checkpoint each entry of keyed state, timers included, lies under the key group of its key, in the one
//! subtask that owns that key group among as many subtasks as there are. Judged of every run. Source: Flink
//! `KeyGroupRangeAssignment`, FLINK-10809.

use tidegate::{id::SubtaskId, operator::OperatorSnapshot};

use super::{InvariantId, Violation, limited};
use crate::{
    history::{CompletedCapture, History},
    model::{Model, layout},
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (checkpoint_id, capture) in history.snapshots() {
        for (uid, _) in model.stages() {
            let mut evidence = Vec::new();
            for (subtask, operators) in &capture.state {
                if let Some(Ok(snapshot)) = operators.get(&uid) {
                    evidence.extend(misplaced(snapshot, *subtask, parallelism(capture, *subtask), model));
                }
            }
            if !evidence.is_empty() {
                violations.push(Violation {
                    invariant: InvariantId::I13,
                    sentence: format!("Checkpoint {checkpoint_id} has state of {uid} where it does not belong."),
                    signature: format!("I13 misplaced state of {uid}"),
                    evidence: limited(evidence),
                });
            }
        }
    }
    violations
}

/// The number of subtasks that a vertex has in a checkpoint.
fn parallelism(capture: &CompletedCapture, subtask: SubtaskId) -> u32 {
    let same = capture.state.keys().filter(|other| other.vertex == subtask.vertex);
    same.map(|other| other.index + 1).max().unwrap_or(1)
}

fn misplaced(snapshot: &OperatorSnapshot, subtask: SubtaskId, parallelism: u32, model: &Model) -> Vec<String> {
    let mut misplaced = Vec::new();
    for (name, key_group, key) in layout::keys(snapshot) {
        let Ok(key) = key else {
            misplaced.push(format!("! {name} of {subtask}: a key that cannot be read"));
            continue;
        };
        let (right, owner) = (model.key_group(&key), model.owner(key_group, parallelism));
        if right != key_group {
            misplaced.push(format!("! {name} of {subtask}: key {key} under key group {key_group} in place of {right}"));
        } else if owner != subtask.index as usize {
            misplaced.push(format!("! {name} of {subtask}: key group {key_group} belongs to subtask {owner}"));
        }
    }
    misplaced
}
