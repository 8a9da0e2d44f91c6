//! I23 FailoverScope, of savepoints: one that comes to nothing concerns nobody but who asked for it. I20 FailLoud, of them:
//! it comes to nothing only if something disturbs it.
//!
//! | what failed | the job |
//! |---|---|
//! | a savepoint that it goes on after, for a reason of the job manager's: it expired, the storage refused it | goes on |
//! | such a savepoint, because a task declined it | counts it as a failed checkpoint, and may restart for it |
//! | the savepoint that it stops with | restarts: its tasks stand still |
//!
//! Judged of every run, by what the job manager says of its failures; and, of runs in which nothing happened but what the
//! operator ordered, by what that was told. A job may be about to end, so only failures of the storage and of tasks that do
//! not end have no excuse. Source: Flink `CheckpointFailureManager`, which leaves
//! out savepoints of failures that are its own (`handleJobLevelCheckpointException`), counts what a task reports
//! (`handleTaskLevelCheckpointException`), and fails the job for a synchronous one.

use tidegate::{
    checkpoint::CheckpointFailureReason,
    event::{Moment, Step},
    id::CheckpointId,
};

use super::{InvariantId, Violation, describe, limited};
use crate::{history::History, model::Model};

pub(super) fn judge(history: &History, _model: &Model) -> Vec<Violation> {
    restarts(history).into_iter().chain(without_reason(history)).collect()
}

fn restarts(history: &History) -> Option<Violation> {
    let failures = history.facts.iter().filter(|fact| (fact.step, fact.moment) == (Step::FailOver, Moment::Before));
    let wrong = failures.filter(|fact| {
        let Some((checkpoint_id, reason)) = failed_checkpoint(&fact.detail) else { return false };
        let goes_on = history.savepoints_begun.get(&checkpoint_id).is_some_and(|asked| !asked.stops_with_savepoint());
        goes_on && !is_a_task_s(reason)
    });
    let evidence: Vec<String> = wrong.map(describe).collect();
    (!evidence.is_empty()).then(|| Violation {
        invariant: InvariantId::I23,
        sentence: "The job restarted because of a savepoint that it was to go on after.".to_owned(),
        signature: "I23 restarted for a savepoint".to_owned(),
        evidence: limited(evidence),
    })
}

fn without_reason(history: &History) -> Option<Violation> {
    let reasons = [
        CheckpointFailureReason::CheckpointDeclined,
        CheckpointFailureReason::IoException,
        CheckpointFailureReason::FinalizeCheckpointFailure,
    ];
    let has_no_excuse = |why: &&String| {
        let reason = why.split_once("there is no savepoint: ").map(|(_, reason)| first_name(reason));
        reason.is_some_and(|found| reasons.iter().any(|reason| reason.name() == found))
    };
    let refused = history.refused.iter().filter(|_| !history.disturbed).filter(has_no_excuse);
    let evidence: Vec<String> = refused.map(|why| format!("! {why}")).collect();
    (!evidence.is_empty()).then(|| Violation {
        invariant: InvariantId::I20,
        sentence: "A savepoint came to nothing that nothing had disturbed.".to_owned(),
        signature: "I20 a savepoint failed undisturbed".to_owned(),
        evidence: limited(evidence),
    })
}

/// The checkpoint that the job manager says it restarts for, and why that failed.
fn failed_checkpoint(detail: &str) -> Option<(CheckpointId, &str)> {
    let (number, reason) = detail.split_once("checkpoint ")?.1.split_once(" failed, which is one too many: ")?;
    Some((CheckpointId(number.parse().ok()?), first_name(reason)))
}

/// The name of a reason, of which there may be more to say.
fn first_name(reason: &str) -> &str {
    reason.split(|c: char| !(c.is_ascii_uppercase() || c == '_')).next().unwrap_or_default()
}

/// Whether a task says so, and not the job manager.
fn is_a_task_s(reason: &str) -> bool {
    let by_tasks = [CheckpointFailureReason::CheckpointDeclined, CheckpointFailureReason::TaskClosing];
    by_tasks.iter().any(|by_task| by_task.name() == reason)
}
