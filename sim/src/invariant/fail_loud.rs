//! I20 FailLoud: what cannot be kept is reported, never silently dropped.
//!
//! The other side of it is judged here: a job fails for good only if it cannot go on. Faults leave every run recoverable
//! unless storage lost data for good, so a job that failed without that has given up for nothing, and a panic is no
//! report at all. Source: the fault model of the laboratory.

use super::{InvariantId, Violation, describe};
use crate::{
    history::{History, RunEnd},
    model::Model,
};

const LAST_FACTS: usize = 10;

pub(super) fn judge(history: &History, _model: &Model) -> Vec<Violation> {
    let (sentence, signature) = match &history.end {
        RunEnd::Finished | RunEnd::Cancelled | RunEnd::Hung => return Vec::new(),
        RunEnd::Failed { .. } if history.storage_lied => return Vec::new(),
        RunEnd::Failed { reason } => (
            format!("The job failed for good although it could go on: {reason}."),
            format!("I20 failed: {}", stable(reason)),
        ),
        RunEnd::Panicked { message } => {
            (format!("The run panicked: {message}."), format!("I20 panicked: {}", stable(message)))
        }
    };
    let last = history.facts.len().saturating_sub(LAST_FACTS);
    let evidence = history.facts[last..].iter().map(describe).collect();
    vec![Violation { invariant: InvariantId::I20, sentence, signature, evidence }]
}

/// A message without what differs from run to run: each word with a digit becomes `#`.
fn stable(message: &str) -> String {
    let word = |word: &str| if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() };
    message.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}
