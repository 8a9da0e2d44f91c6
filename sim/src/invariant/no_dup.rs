//! I2 NoDup: no effect is in the committed output twice.
//!
//! The lines of the visible files are compared with the model's as multisets: whatever is there beyond the model is the
//! effect of something that counted too often. Judged of every run. Source: the definition of exactly-once output
//! (Carbone et al. 2017).
//!
//! A job that was started again from an older checkpoint commits again what it had committed since then: that is what was
//! asked for. So each branch of its runs is judged on its own: on none may anything be twice. What lies beside the last one is
//! there twice in all, and exactly that: I5 demands of each cut on a branch that what was committed up to it is what its
//! sources had given, no more and no less.

use std::collections::BTreeMap;

use super::{InvariantId, Violation, committed, limited};
use crate::{
    history::History,
    model::{Model, UpdatesDifference},
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    beyond(committed::differences(history, model), model)
}

/// The same of the branches that the job left by going back. The model is that of all its data, whether it was drained later
/// or not.
pub(super) fn judge_left_branches(history: &History, model: &Model) -> Vec<Violation> {
    let mut branches = history.branches();
    branches.pop();
    branches.iter().flat_map(|branch| beyond(committed::differences_on(history, model, branch), model)).collect()
}

fn beyond(differences: BTreeMap<String, UpdatesDifference>, model: &Model) -> Vec<Violation> {
    let extra = differences.into_iter().filter(|(_, difference)| !difference.extra.is_empty());
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
