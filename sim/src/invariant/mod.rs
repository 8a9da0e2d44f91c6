//! The judges: from a history and the model of its pipeline to violations.
//!
//! Each invariant is one file and one function. All comparisons are equalities. What is judged only of a run that
//! finished says so; what holds at every moment is judged of any run, however it ended.

mod commit_after_complete;
mod committed;
mod cut;
mod eventually_committed;
mod fail_loud;
mod failover_scope;
mod fencing;
mod id;
mod in_flight;
mod kept;
mod key_groups;
mod newest_checkpoint;
mod no_dirty;
mod no_dup;
mod no_leak;
mod no_loss;
mod order;
mod ownership;
mod progress;
mod ref_integrity;
mod savepoint_failure;
mod splits;
#[cfg(test)]
mod tests;
mod watermark;

pub use id::InvariantId;

use crate::{
    history::{CompletedCapture, History},
    model::Model,
};

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: InvariantId,
    /// What happened, in one sentence.
    pub sentence: String,
    /// What violations of one cause have in common: no seeds, tokens, numbers or times.
    pub signature: String,
    /// Lines marked `+` duplicate, `-` lost, `!` dirty, `~` reordered, or a space for what happened.
    pub evidence: Vec<String>,
}

/// Judges one invariant.
pub type Judge = fn(&History, &Model) -> Vec<Violation>;

/// The invariants that are judged here, with their judges. One judge may tell several kinds of violations apart.
const JUDGES: [(&[InvariantId], Judge); 19] = [
    (&[InvariantId::I1], no_loss::judge),
    (&[InvariantId::I2], no_dup::judge),
    (&[InvariantId::I3], no_dirty::judge),
    (&[InvariantId::I4], order::judge),
    (&[InvariantId::I5, InvariantId::I10, InvariantId::I11, InvariantId::I18], cut::judge),
    (&[InvariantId::I7], commit_after_complete::judge),
    (&[InvariantId::I8], eventually_committed::judge),
    (&[InvariantId::I9], progress::judge),
    (&[InvariantId::I12], watermark::judge),
    (&[InvariantId::I13], key_groups::judge),
    (&[InvariantId::I14], splits::judge),
    (&[InvariantId::I15], ref_integrity::judge),
    (&[InvariantId::I16], no_leak::judge),
    (&[InvariantId::I17], fencing::judge),
    (&[InvariantId::I19], newest_checkpoint::judge),
    (&[InvariantId::I20], fail_loud::judge),
    (&[InvariantId::I22], in_flight::judge),
    (&[InvariantId::I23], failover_scope::judge),
    (&[InvariantId::I20, InvariantId::I23], savepoint_failure::judge),
];

/// The invariants that are judged: those of [`judge`], and determinism, which takes two runs.
pub fn all() -> Vec<InvariantId> {
    let mut all: Vec<InvariantId> = JUDGES.iter().flat_map(|(invariants, _)| invariants.iter().copied()).collect();
    all.push(InvariantId::I21);
    all.sort_unstable();
    all.dedup();
    all
}

/// Everything that is wrong with a run.
pub fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let drained = drained_model(history, model);
    let judged = JUDGES.iter().flat_map(|(invariants, judge)| {
        // The whole output of a job that was drained is that of the data up to there.
        let is_of_output =
            invariants.iter().all(|it| matches!(it, InvariantId::I1 | InvariantId::I2 | InvariantId::I4));
        judge(history, drained.as_ref().filter(|_| is_of_output).unwrap_or(model))
    });
    judged.chain(no_dup::judge_left_branches(history, model)).collect()
}

/// How many lines are in the committed output once more because the job went back behind them.
pub(crate) fn repeated(history: &History, model: &Model) -> usize {
    committed::repeated(history, model)
}

/// What a job must do that was drained: its data ended with the savepoint. `None` if it was not, or nobody can say where.
fn drained_model(history: &History, model: &Model) -> Option<Model> {
    model_drained_at(history.completed.get(&history.drained?)?, history, model)
}

/// What a job must do whose data ended with this savepoint. `None` if nobody can say where that is.
fn model_drained_at(savepoint: &CompletedCapture, history: &History, model: &Model) -> Option<Model> {
    model.drained_at(&splits::cut(savepoint, history, model).ok()?).ok()
}

/// Most lines of evidence of one violation.
const EVIDENCE_MAX: usize = 10;

/// Cuts evidence down, and says how much was left out.
fn limited(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines = lines.into_iter();
    let mut evidence: Vec<String> = lines.by_ref().take(EVIDENCE_MAX).collect();
    let more = lines.count();
    if more > 0 {
        evidence.push(format!("  and {more} more"));
    }
    evidence
}

/// How a fact reads in evidence.
fn describe(fact: &crate::history::FactRecord) -> String {
    use tidegate::event::Moment;
    let who = fact.subtask.as_deref().unwrap_or(&fact.node);
    let moment = match fact.moment {
        Moment::Before => "before",
        Moment::After => "after",
    };
    let checkpoint = fact.checkpoint_id.map(|checkpoint_id| format!("(cp {checkpoint_id})")).unwrap_or_default();
    let text = format!(
        "  {} ms: {who} {moment} {}{checkpoint} attempt {} {}",
        fact.at,
        fact.step.name(),
        fact.attempt,
        fact.detail
    );
    text.trim_end().to_owned()
}
