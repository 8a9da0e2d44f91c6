//! What a savepoint that comes to nothing may do to a job, and when it may come to nothing at all.

use tidegate::{
    event::{Moment, Step},
    id::CheckpointId,
};

use super::{broken, judge, model, right_run};
use crate::{fault::FaultKind, history::History, invariant::InvariantId};

fn restarted(asked: FaultKind, why: &str) -> History {
    let mut run = right_run();
    run.history.savepoints_begun.insert(CheckpointId(7), asked);
    let detail = format!("checkpoint 7 failed, which is one too many: {why}");
    run.fact(Moment::Before, Step::FailOver, None, 0, detail);
    run.history
}

#[test]
fn a_savepoint_that_the_storage_refused_restarts_no_job_that_goes_on_after_it() {
    let history = restarted(FaultKind::Savepoint, "FINALIZE_CHECKPOINT_FAILURE: no answer");
    assert_eq!(broken(&history), [InvariantId::I23]);
    assert_eq!(judge(&history, &model())[0].signature, "I23 restarted for a savepoint");
    assert_eq!(broken(&restarted(FaultKind::CancelWithSavepoint, "CHECKPOINT_EXPIRED")), [InvariantId::I23]);
}

#[test]
fn a_savepoint_that_a_task_declined_counts_and_one_to_stop_with_frees_its_tasks() {
    assert_eq!(broken(&restarted(FaultKind::Savepoint, "CHECKPOINT_DECLINED: out#0: no room")), []);
    assert_eq!(broken(&restarted(FaultKind::StopWithSavepoint, "IO_EXCEPTION")), []);
    assert_eq!(broken(&restarted(FaultKind::Drain, "CHECKPOINT_EXPIRED")), []);
}

#[test]
fn a_savepoint_comes_to_nothing_only_if_something_disturbs_it() {
    let mut history = right_run().history;
    history.refused.push("not available: there is no savepoint: CHECKPOINT_DECLINED: out#0: no such file".to_owned());
    assert_eq!(broken(&history), [], "something did");
    history.disturbed = false;
    assert_eq!(broken(&history), [InvariantId::I20]);
    history.refused = vec!["not available: there is no savepoint: CHECKPOINT_DECLINED_TASK_CLOSING".to_owned()];
    assert_eq!(broken(&history), [], "its tasks were about to end");
}
