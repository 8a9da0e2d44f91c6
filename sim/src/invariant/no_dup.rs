//! I2 NoDup: no effect is in the committed output twice.
//!
//! The lines of the visible files are compared with the model's as multisets: whatever is there beyond the model is the
//! effect of something that counted too often. Judged of every run. Source: the definition of exactly-once output
//! (Carbone et al. 2017).

use super::{InvariantId, Violation, committed, limited};
use crate::{history::History, model::Model};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let extra =
        committed::differences(history, model).into_iter().filter(|(_, difference)| !difference.extra.is_empty());
    extra
        .map(|(sink, difference)| {
            let expected = model.expected_output().get(&sink);
            let wrong = |line: &String| expected.is_some_and(|expected| expected.count(line) == 0);
            let what = if difference.extra.iter().all(wrong) { "wrong" } else { "duplicate" };
            Violation {
                invariant: InvariantId::I2,
                sentence: format!(
                    "{} lines are in the committed output of {sink} beyond those that belong there.",
                    difference.extra.len()
                ),
                signature: format!("I2 {what} lines in {sink}"),
                evidence: limited(difference.extra.iter().map(|line| format!("+ {line}"))),
            }
        })
        .collect()
}
