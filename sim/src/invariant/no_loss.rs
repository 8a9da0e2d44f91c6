//! I1 NoLoss: every record's effect is in the committed output when the job has drained.
//!
//! The lines of the visible files are compared with the model's as multisets. Judged of runs that finished: another
//! one need not have committed everything. Source: the definition of exactly-once output (Carbone et al. 2017).

use super::{InvariantId, Violation, committed, limited};
use crate::{
    history::{History, RunEnd},
    model::Model,
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    if history.end != RunEnd::Finished {
        return Vec::new();
    }
    let lost = committed::differences(history, model).into_iter().filter(|(_, difference)| !difference.lost.is_empty());
    lost.map(|(sink, difference)| Violation {
        invariant: InvariantId::I1,
        sentence: format!("{} lines are missing in the committed output of {sink}.", difference.lost.len()),
        signature: format!("I1 lost lines in {sink}"),
        evidence: limited(difference.lost.iter().map(|line| format!("- {line}"))),
    })
    .collect()
}
