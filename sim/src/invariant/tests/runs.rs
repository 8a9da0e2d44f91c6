//! Jobs that are stopped, cancelled and started again: what counts for which run, and whose what is.

use std::{collections::BTreeSet, path::PathBuf};

use tidegate::{
    checkpoint::retention::JobEnd,
    config::ClaimMode,
    event::{Moment, Step},
    id::CheckpointId,
    storage::RestoredFrom,
};

use super::{
    FIRST, Held, InvariantId, LAST, Run, T1, T2, T4, T5, broken, judge, model, right_run, until_first_completion,
};
use crate::history::{self, CompletedCapture, Savepoint};

fn from(checkpoint_id: u64, directory: &str) -> RestoredFrom {
    RestoredFrom {
        checkpoint_id: CheckpointId(checkpoint_id),
        directory: directory.to_owned(),
        claim_mode: ClaimMode::NoClaim,
    }
}

/// The job is started again, from something that belongs to its user.
fn start_again(run: &mut Run, from: RestoredFrom) {
    run.fact(Moment::Before, Step::TakeLeadership, None, 0, String::new());
    let sequence = run.history.facts.last().unwrap().sequence;
    run.history.runs.last_mut().unwrap().ended = Some((sequence - 1, JobEnd::Cancelled));
    run.history.runs.push(history::Run { sequence, from: Some(from), ..history::Run::default() });
}

/// Checkpoints 1 and 2 are completed and committed; then the job is cancelled, and goes on from this one.
fn cancelled_after_two(from: RestoredFrom) -> Run {
    let mut run = until_first_completion();
    run.complete(1, 1, Held { offset: 3, windows: &[(10, 1, 30)], pending: &[(1, T1)] });
    run.commit(1, T1);
    run.pre_commit(2, T2);
    run.complete(2, 1, Held { offset: 4, windows: &[], pending: &[(2, T2)] });
    run.commit(2, T2);
    run.output(1, T1.1, &FIRST);
    run.output(2, T2.1, &[LAST]);
    start_again(&mut run, from);
    run
}

/// It goes back behind checkpoint 2, and does again what was done since then.
fn gone_back() -> Run {
    let mut run = cancelled_after_two(from(1, "/checkpoints/job/chk-1"));
    run.deploy(Some(1), 2);
    run.begin(T4);
    run.pre_commit(3, T4);
    run.begin(T5);
    run.complete(3, 2, Held { offset: 4, windows: &[], pending: &[(3, T4)] });
    run.commit(3, T4);
    run.abort(Step::Abort, 2, T5);
    run.output(3, T4.1, &[LAST]);
    run
}

#[test]
fn what_is_committed_again_after_going_back_is_an_outcome() {
    let run = gone_back();
    assert_eq!(judge(&run.history, &model()), []);
    assert_eq!(super::super::repeated(&run.history, &model()), 1);
    assert_eq!(super::super::repeated(&right_run().history, &model()), 0);
}

#[test]
fn nothing_may_be_twice_on_the_way_that_was_left_nor_on_the_last_one() {
    for file in 0..3 {
        let mut run = gone_back();
        run.history.output.get_mut("out").unwrap()[file].lines.push(LAST.to_owned());
        assert!(broken(&run.history).contains(&InvariantId::I2), "file {file}: {:?}", broken(&run.history));
    }
}

#[test]
fn what_lay_between_must_be_there_again() {
    let mut run = gone_back();
    run.history.output.get_mut("out").unwrap()[2].lines.clear();
    assert_eq!(broken(&run.history), [InvariantId::I1, InvariantId::I5]);
}

#[test]
fn a_run_begins_with_what_it_was_started_from_and_not_with_what_was_newer() {
    let mut run = cancelled_after_two(from(1, "/checkpoints/job/chk-1"));
    run.deploy(Some(2), 2);
    run.history.end = history::RunEnd::Cancelled;
    assert_eq!(broken(&run.history), [InvariantId::I19]);
}

fn capture_of(run: &Run, checkpoint_id: u64) -> CompletedCapture {
    run.history.completed[&CheckpointId(checkpoint_id)].clone()
}

/// A run with a savepoint, of which the user was told.
fn with_savepoint(at_end: Option<CompletedCapture>, is_told: bool) -> Vec<InvariantId> {
    let mut run = right_run();
    let mut capture = capture_of(&run, 1);
    capture.metadata.as_mut().unwrap().attempt.0 += 1;
    let at_end = at_end.map(|_| capture.clone());
    let directory = PathBuf::from("/savepoints/savepoint-1-2");
    run.history.savepoints_left.extend(at_end.iter().map(|_| directory.clone()));
    run.history.savepoints.insert(directory, Savepoint { capture, is_told, at_end, disposal: None });
    broken(&run.history)
}

#[test]
fn a_savepoint_of_which_the_user_was_told_is_there_in_the_end() {
    let there = Some(capture_of(&right_run(), 1));
    assert_eq!(with_savepoint(there.clone(), true), []);
    assert_eq!(with_savepoint(None, true), [InvariantId::I15]);
    // Nobody was told of it: it may be there or not.
    assert_eq!(with_savepoint(there, false), []);
    assert_eq!(with_savepoint(None, false), []);
}

#[test]
fn half_a_savepoint_is_a_leak() {
    let mut run = right_run();
    run.history.savepoints_left = BTreeSet::from([PathBuf::from("/savepoints/savepoint-1-2")]);
    assert_eq!(broken(&run.history), [InvariantId::I16]);
}

#[test]
fn a_savepoint_that_the_job_does_not_start_from_commits_nothing() {
    let mut run = until_first_completion();
    run.complete(1, 1, Held { offset: 3, windows: &[(10, 1, 30)], pending: &[(1, T1)] });
    let capture = run.history.completed.remove(&CheckpointId(1)).unwrap();
    let directory = PathBuf::from("/savepoints/savepoint-1-2");
    run.history.savepoints_left.insert(directory.clone());
    let savepoint = Savepoint { at_end: Some(capture.clone()), is_told: true, capture, disposal: None };
    run.history.savepoints.insert(directory, savepoint);
    run.commit(1, T1);
    run.output(1, T1.1, &FIRST);
    run.history.end = history::RunEnd::Cancelled;
    assert_eq!(broken(&run.history), [InvariantId::I3, InvariantId::I7]);

    start_again(&mut run, from(1, "/savepoints/savepoint-1-2"));
    run.history.facts.retain(|fact| fact.step != Step::Commit);
    run.history.files.clear();
    run.commit(1, T1);
    assert_eq!(broken(&run.history), [], "what a run is started from is committed by it");
}

#[test]
fn the_data_of_a_drained_job_ends_where_it_was_stopped() {
    let mut run = until_first_completion();
    run.complete(1, 1, Held { offset: 3, windows: &[], pending: &[(1, T1)] });
    run.commit(1, T1);
    run.output(1, T1.1, &FIRST);
    run.output(1, T1.1 + 1, &["a,10,20,1,30"]);
    let violations = judge(&run.history, &model());
    assert!(!violations.is_empty());
    run.history.drained = Some(CheckpointId(1));
    assert_eq!(judge(&run.history, &model()), []);
}
