//! I15 RefIntegrity: every file that a completed checkpoint names exists with its checksum.
//!
//! At the moment of its completion a checkpoint's metadata and all state that it names can be read. Judged of every run.
//! When the job has finished, the files that the retained ones share with others are still there.
//! Source: FLINK-21351, FLINK-25395.

use super::{InvariantId, Violation, limited};
use crate::{
    history::{History, RunEnd},
    model::Model,
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (checkpoint_id, capture) in &history.completed {
        let metadata = capture.metadata.as_ref().err().map(|error| format!("! metadata: {error}"));
        let state = capture.state.iter().flat_map(|(subtask, operators)| {
            let unreadable = operators.iter().filter_map(|(uid, state)| Some((uid, state.as_ref().err()?)));
            unreadable.map(move |(uid, error)| format!("! {uid} of {subtask}: {error}"))
        });
        let evidence = limited(metadata.into_iter().chain(state));
        if !evidence.is_empty() {
            let what = if capture.metadata.is_err() { "metadata" } else { "state" };
            violations.push(Violation {
                invariant: InvariantId::I15,
                sentence: format!("Checkpoint {checkpoint_id} was completed with {what} that cannot be read."),
                signature: format!("I15 unreadable {what}"),
                evidence,
            });
        }
    }
    if history.end == RunEnd::Finished {
        for (checkpoint_id, capture) in history.retained(model) {
            let missing = capture.shared_files().filter(|file| !history.shared_left.contains(&file.name));
            let evidence = limited(missing.map(|file| format!("- {}", file.name)));
            if !evidence.is_empty() {
                violations.push(Violation {
                    invariant: InvariantId::I15,
                    sentence: format!("Checkpoint {checkpoint_id} is retained, and files that it shares are gone."),
                    signature: "I15 missing shared files".to_owned(),
                    evidence,
                });
            }
        }
    }
    violations
}
