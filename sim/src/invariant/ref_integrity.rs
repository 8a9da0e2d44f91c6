//! I15 RefIntegrity: every file that a completed checkpoint names exists with its checksum.
//!
//! At the moment of its completion a checkpoint's metadata and all state that it names can be read. Judged of every run.
//! Source: FLINK-21351, FLINK-25395.

use super::{InvariantId, Violation, limited};
use crate::{history::History, model::Model};

pub(super) fn judge(history: &History, _model: &Model) -> Vec<Violation> {
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
    violations
}
