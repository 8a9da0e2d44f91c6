//! Each judge sees a run that breaks its invariant, and the nearest one that does not.

mod failover_scope;
mod in_flight;
mod real_run;
mod right_run;
mod runs;
mod savepoint_failure;
mod script_run;

use std::collections::BTreeMap;

use tidegate::{
    event::{Moment, Step},
    id::{Attempt, CheckpointId, SubtaskId, VertexId},
};

use self::right_run::{
    FIRST, Held, LAST, Run, T1, T2, T3, T4, T5, model, right_run, splits, staged_name, staged_path, totals,
    until_first_completion, updates_pipeline, visible_path, windows,
};
use super::{InvariantId, Violation, all, judge};
use crate::{
    history::{FileRecordKind, History, RunEnd},
    model::{Model, layout},
};

/// The invariants that a history breaks.
fn broken(history: &History) -> Vec<InvariantId> {
    judge(history, &model()).into_iter().map(|violation| violation.invariant).collect()
}

fn only(history: &History) -> Violation {
    let violations = judge(history, &model());
    let [violation] = &violations[..] else { panic!("not one violation but {violations:#?}") };
    violation.clone()
}

fn broken_by(change: impl FnOnce(&mut History)) -> Vec<InvariantId> {
    let mut run = right_run();
    change(&mut run.history);
    broken(&run.history)
}

fn state_of<'a>(
    history: &'a mut History,
    checkpoint: u64,
    uid: &str,
) -> &'a mut Result<tidegate::operator::OperatorSnapshot, String> {
    let capture = history.completed.get_mut(&CheckpointId(checkpoint)).unwrap();
    capture.state.values_mut().next().unwrap().get_mut(&layout::uid(uid)).unwrap()
}

fn last_output(history: &mut History) -> &mut Vec<String> {
    &mut history.output.get_mut("out").unwrap().last_mut().unwrap().lines
}

#[test]
fn a_right_run_breaks_nothing() {
    assert_eq!(judge(&right_run().history, &model()), []);
}

#[test]
fn every_invariant_has_a_name_and_the_judged_ones_are_listed() {
    assert_eq!(InvariantId::ALL.len(), 23);
    assert_eq!(InvariantId::I4.number(), "I4");
    assert_eq!(InvariantId::I4.name(), "Order");
    assert!(InvariantId::I4.says().contains("order"));
    assert!(all().contains(&InvariantId::I21) && all().contains(&InvariantId::I23));
}

#[test]
fn a_missing_line_is_a_loss_and_an_open_window_without_output_is_a_torn_cut() {
    let mut run = right_run();
    last_output(&mut run.history).clear();
    let violations = judge(&run.history, &model());
    assert_eq!(broken(&run.history), [InvariantId::I1, InvariantId::I5]);
    assert_eq!(violations[0].evidence, [format!("- {LAST}")]);
    assert_eq!(violations[0].signature, "I1 lost lines in out");
    // A run that did not finish need not have committed it.
    run.history.end = RunEnd::Hung;
    assert_eq!(broken(&run.history), [InvariantId::I9]);
}

#[test]
fn a_line_too_many_is_a_duplicate() {
    let mut run = right_run();
    last_output(&mut run.history).push(LAST.to_owned());
    let violations = judge(&run.history, &model());
    assert_eq!(broken(&run.history), [InvariantId::I2, InvariantId::I5]);
    assert_eq!(violations[0].evidence, [format!("+ {LAST}")]);
    assert_eq!(violations[0].signature, "I2 duplicate lines in out");
}

#[test]
fn a_wrong_line_is_a_loss_and_one_too_many() {
    let mut run = right_run();
    *last_output(&mut run.history) = vec!["a,10,20,3,61".to_owned()];
    let violations = judge(&run.history, &model());
    let found: Vec<_> = violations.iter().map(|violation| violation.signature.as_str()).collect();
    assert_eq!(found[..2], ["I1 lost lines in out", "I2 wrong lines in out"]);
}

#[test]
fn evidence_is_cut_down_to_ten_lines() {
    let mut run = right_run();
    last_output(&mut run.history).extend((0..12).map(|number| format!("{number}")));
    let violations = judge(&run.history, &model());
    assert_eq!(violations[0].evidence.len(), 11);
    assert_eq!(violations[0].evidence[10], "  and 2 more");
}

#[test]
fn a_file_that_is_visible_before_its_checkpoint_is_complete_is_dirty() {
    let mut early = until_first_completion();
    early.show(1, T1);
    early.complete(1, 1, Held { offset: 3, windows: &[(10, 1, 30)], pending: &[(1, T1)] });
    early.history.end = RunEnd::Hung;
    assert_eq!(broken(&early.history), [InvariantId::I3, InvariantId::I9]);

    let mut in_time = until_first_completion();
    in_time.complete(1, 1, Held { offset: 3, windows: &[(10, 1, 30)], pending: &[(1, T1)] });
    in_time.show(1, T1);
    in_time.history.end = RunEnd::Hung;
    assert_eq!(broken(&in_time.history), [InvariantId::I9]);
}

#[test]
fn a_file_of_a_failed_checkpoint_is_dirty_unless_a_later_one_holds_it() {
    let with_pending = |pending| {
        let mut run = until_first_completion();
        run.pre_commit(2, T2);
        run.complete(3, 1, Held { offset: 3, windows: &[(10, 1, 30)], pending });
        run.show(2, T2);
        run.history.end = RunEnd::Hung;
        broken(&run.history)
    };
    assert_eq!(with_pending(&[(1, T1)]), [InvariantId::I3, InvariantId::I9]);
    assert_eq!(with_pending(&[(1, T1), (2, T2)]), [InvariantId::I9]);
}

#[test]
fn a_visible_file_stays_as_it_is() {
    let removed = |by: Option<&str>, after_commit: bool| {
        let mut run = until_first_completion();
        run.complete(1, 1, Held { offset: 3, windows: &[(10, 1, 30)], pending: &[(1, T1)] });
        run.show(1, T1);
        if after_commit {
            run.fact(Moment::After, Step::Commit, Some(1), 1, staged_name(T1));
        }
        run.file(visible_path(1, T1.1), FileRecordKind::Removed);
        run.history.files.last_mut().unwrap().node = by.map(Into::into);
        run.history.end = RunEnd::Hung;
        broken(&run.history)
    };
    assert_eq!(removed(Some("taskmanager-1"), false), [InvariantId::I3, InvariantId::I9]);
    assert_eq!(removed(None, true), [InvariantId::I3, InvariantId::I9]);
    // A power loss may take back a name that no commit has vouched for.
    assert_eq!(removed(None, false), [InvariantId::I9]);

    let mut over = right_run();
    over.file(visible_path(3, T4.1), FileRecordKind::Named { from: staged_path(T5) });
    over.history.facts.retain(|fact| fact.step != Step::Abort);
    assert_eq!(only(&over.history).signature, "I3 visible file was written over in out");
    let mut again = right_run();
    again.show(3, T4);
    assert_eq!(broken(&again.history), [], "a commit is repeated after a power loss took the name back");
}

#[test]
fn nothing_but_committed_files_appears_in_an_output_directory() {
    let appears = |path: &str| {
        let mut run = right_run();
        run.file(path.into(), FileRecordKind::Created);
        broken(&run.history)
    };
    assert_eq!(appears("/out/part-0-3-44.tmp"), [InvariantId::I3]);
    assert_eq!(appears("/out/.staging"), []);
    assert_eq!(appears("/out/.staging/part-0-2-0000000000000066"), []);
    assert_eq!(appears("/elsewhere/file"), []);
}

#[test]
fn windows_of_a_key_stay_in_order_within_a_subtask() {
    let mut run = right_run();
    let files = run.history.output.get_mut("out").unwrap();
    files[0].lines = vec![LAST.to_owned(), FIRST[1].to_owned()];
    files[1].lines = vec![FIRST[0].to_owned()];
    assert_eq!(broken(&run.history), [InvariantId::I4, InvariantId::I5]);
    // Lines of different keys have no order.
    assert_eq!(
        broken_by(|history| history.output.get_mut("out").unwrap()[0].lines.reverse()),
        [],
        "keys are independent"
    );
}

#[test]
fn a_cut_that_is_not_the_source_prefix_is_seen() {
    let with_windows = |open: &[right_run::OpenWindow]| {
        let open = windows(open);
        broken_by(|history| *state_of(history, 1, "sums") = Ok(open))
    };
    assert_eq!(with_windows(&[(10, 2, 31)]), [InvariantId::I5], "a record behind the cut is in state");
    assert_eq!(with_windows(&[]), [InvariantId::I5], "a window is neither kept nor emitted");
    assert_eq!(with_windows(&[(10, 1, 30), (0, 1, 10)]), [InvariantId::I5], "a window is kept and emitted");
    assert_eq!(with_windows(&[(10, 1, 30), (20, 1, 1)]), [InvariantId::I5], "a window of no record");
    assert_eq!(with_windows(&[(10, 1, 30)]), []);
    let behind = broken_by(|history| *state_of(history, 1, "events") = Ok(splits(&[(0, 2)])));
    assert_eq!(behind, [InvariantId::I5], "the position is behind the state");
}

#[test]
fn a_group_in_two_subtasks_is_seen() {
    let twice = broken_by(|history| {
        let capture = history.completed.get_mut(&CheckpointId(1)).unwrap();
        let other = BTreeMap::from([(layout::uid("sums"), Ok(windows(&[(10, 1, 30)])))]);
        capture.state.insert(SubtaskId { vertex: VertexId(0), index: 1 }, other);
    });
    assert_eq!(twice, [InvariantId::I5, InvariantId::I13]);
}

#[test]
fn a_commit_before_completion_is_seen() {
    let run_with = |early: bool| {
        let mut run = until_first_completion();
        let commit = |run: &mut Run| run.fact(Moment::Before, Step::Commit, Some(1), 1, staged_name(T1));
        if early {
            commit(&mut run);
        }
        run.complete(1, 1, Held { offset: 3, windows: &[(10, 1, 30)], pending: &[(1, T1)] });
        commit(&mut run);
        run.history.end = RunEnd::Hung;
        broken(&run.history)
    };
    assert_eq!(run_with(true), [InvariantId::I7, InvariantId::I9]);
    assert_eq!(run_with(false), [InvariantId::I9]);
}

#[test]
fn what_a_completed_checkpoint_holds_must_become_visible() {
    let invisible = broken_by(|history| {
        history.output.get_mut("out").unwrap().pop();
    });
    assert_eq!(invisible, [InvariantId::I1, InvariantId::I5, InvariantId::I8]);

    let forgotten = |attempt| {
        broken_by(|history| {
            let mut fact = history.facts.iter().find(|fact| fact.step == Step::PreCommit).unwrap().clone();
            fact.detail = "part-1-1-0000000000000077".to_owned();
            fact.attempt = Attempt(attempt);
            history.facts.push(fact);
        })
    };
    assert_eq!(forgotten(1), [InvariantId::I8], "the attempt that completed the checkpoint");
    assert_eq!(forgotten(2), [], "another attempt's");
}

#[test]
fn a_run_that_does_not_end_makes_no_progress() {
    let mut run = right_run();
    run.history.end = RunEnd::Hung;
    let violation = only(&run.history);
    assert_eq!(violation.invariant, InvariantId::I9);
    assert_eq!(violation.sentence, "The job had not ended 50 ms after the last fault stopped.");
    assert_eq!(violation.evidence.len(), 10);
    let at = run.history.facts.last().unwrap().at;
    assert_eq!(violation.evidence[9], format!("  {at} ms: out#0 after abort attempt 2 {}", staged_name(T5)));
}

#[test]
fn each_split_is_in_a_checkpoint_once_and_never_goes_back() {
    let with_splits = |checkpoint, positions: &[(u32, u64)]| {
        let positions = splits(positions);
        broken_by(|history| *state_of(history, checkpoint, "events") = Ok(positions))
    };
    assert_eq!(with_splits(1, &[]), [InvariantId::I14]);
    assert_eq!(with_splits(1, &[(0, 3), (0, 3)]), [InvariantId::I14]);
    assert_eq!(with_splits(1, &[(0, 3), (1, 0)]), [InvariantId::I14]);
    assert_eq!(with_splits(1, &[(0, 5)]), [InvariantId::I14]);
    assert_eq!(with_splits(1, &[(0, 3)]), []);
    assert_eq!(with_splits(3, &[(0, 2)]), [InvariantId::I5, InvariantId::I14]);
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_seen() {
    let metadata = broken_by(|history| {
        history.completed.get_mut(&CheckpointId(1)).unwrap().metadata = Err("torn".to_owned());
    });
    assert_eq!(metadata, [InvariantId::I15]);
    let state = broken_by(|history| *state_of(history, 1, "events") = Err("torn".to_owned()));
    assert_eq!(state, [InvariantId::I14, InvariantId::I15]);
}

#[test]
fn what_is_left_behind_is_a_leak() {
    let left = |history: &mut History| {
        history.staged_left.insert("out".to_owned(), vec![staged_name(T3)]);
    };
    assert_eq!(broken_by(left), [InvariantId::I16]);
    assert_eq!(
        broken_by(|history| {
            left(history);
            history.end = RunEnd::Hung;
        }),
        [InvariantId::I9],
        "a run that did not end has open transactions"
    );
    assert_eq!(broken_by(|history| history.checkpoints_left.push(CheckpointId(1))), [InvariantId::I16]);
    assert_eq!(broken_by(|history| history.checkpoints_left.clear()), []);
    let shared = |history: &mut History| history.shared_left.extend(["1-v1-0-aa".to_owned()]);
    assert_eq!(broken_by(shared), [InvariantId::I16]);
    let copies = |history: &mut History| history.copies_left.push("taskmanager-1:/local/state".to_owned());
    assert_eq!(broken_by(copies), [InvariantId::I16]);
    let removed = |history: &mut History| history.shared_removed.push((u64::MAX, "1-v1-0-aa".to_owned()));
    assert_eq!(broken_by(removed), [], "no checkpoint refers to it");
}

#[test]
fn a_transaction_is_opened_once_and_settled_in_one_way() {
    let mut both = right_run();
    both.abort(Step::RecoverAndAbort, 2, T4);
    assert_eq!(only(&both.history).signature, "I16 transactions were both committed and aborted");
    let mut unknown = right_run();
    unknown.abort(Step::RecoverAndAbort, 2, (1, 0x99));
    assert_eq!(only(&unknown.history).signature, "I16 transactions were settled that nobody had opened");
    let mut again = right_run();
    again.abort(Step::RecoverAndAbort, 2, T3);
    assert_eq!(broken(&again.history), []);
}

#[test]
fn an_older_attempt_commits_nothing_that_is_not_decided() {
    let commit_at_the_end = |transaction| {
        let mut run = right_run();
        run.fact(Moment::Before, Step::Commit, Some(2), 1, staged_name(transaction));
        broken(&run.history)
    };
    assert_eq!(commit_at_the_end(T2), [InvariantId::I7, InvariantId::I17]);
    assert_eq!(commit_at_the_end(T1), [], "again what is decided");

    let mut shown = right_run();
    shown.file(visible_path(2, T2.1), FileRecordKind::Named { from: staged_path(T2) });
    assert_eq!(broken(&shown.history), [InvariantId::I3, InvariantId::I16, InvariantId::I17]);
}

#[test]
fn recovery_uses_the_newest_completed_checkpoint() {
    let restored = |checkpoint| {
        let mut run = right_run();
        run.deploy(checkpoint, 3);
        judge(&run.history, &model()).into_iter().map(|violation| violation.signature).collect::<Vec<_>>()
    };
    assert_eq!(restored(Some(3)), Vec::<String>::new());
    assert_eq!(restored(Some(1)), ["I19 restored an older checkpoint"]);
    assert_eq!(restored(Some(4)), ["I19 restored an uncompleted checkpoint"]);
    assert_eq!(restored(None), ["I19 restored nothing"]);
}

#[test]
fn a_leader_that_was_superseded_may_not_know_the_newest_checkpoint() {
    let deployed_by = |leader: &str| {
        let mut run = right_run();
        run.fact(Moment::After, Step::TakeLeadership, None, 0, String::new());
        run.history.facts.last_mut().unwrap().node = leader.into();
        run.deploy(Some(1), 3);
        broken(&run.history)
    };
    assert_eq!(deployed_by("taskmanager-1"), [InvariantId::I19]);
    assert_eq!(deployed_by("another"), []);
}

/// A running aggregate over two splits, with one checkpoint of everything.
fn judged_updates(kept: &[(&str, i64, i128)], lines: &[&str]) -> Vec<InvariantId> {
    let mut run = until_first_completion();
    run.complete(1, 1, Held { offset: 2, windows: &[], pending: &[(1, T1)] });
    run.commit(1, T1);
    run.abort(Step::Abort, 1, T2);
    run.output(1, T1.1, lines);
    *state_of(&mut run.history, 1, "events") = Ok(splits(&[(0, 2), (1, 2)]));
    *state_of(&mut run.history, 1, "sums") = Ok(totals(kept));
    let model = Model::new(&updates_pipeline()).unwrap();
    judge(&run.history, &model).into_iter().map(|violation| violation.invariant).collect()
}

#[test]
fn updates_are_judged_by_what_leads_from_one_to_the_next() {
    let right = [("a", 3, 41), ("b", 1, 20)];
    let lines = ["a,1,1", "b,1,20", "a,2,11", "a,3,41"];
    assert_eq!(judged_updates(&right, &lines), []);
    assert_eq!(judged_updates(&right, &lines[..3]), [InvariantId::I1]);
    assert_eq!(judged_updates(&right, &["a,1,1", "b,1,20", "b,1,20", "a,2,11", "a,3,41"]), [InvariantId::I2]);
    assert_eq!(judged_updates(&right, &["a,2,11", "b,1,20", "a,1,1", "a,3,41"]), [InvariantId::I4]);
}

#[test]
fn a_running_aggregate_keeps_every_key_for_ever() {
    let lines = ["a,1,1", "b,1,20", "a,2,11", "a,3,41"];
    assert_eq!(judged_updates(&[("a", 3, 41)], &lines), [InvariantId::I5]);
    assert_eq!(judged_updates(&[("a", 3, 42), ("b", 1, 20)], &lines), [InvariantId::I5]);
}

#[test]
fn a_run_that_gives_up_or_panics_is_seen() {
    let end = |end| {
        let mut run = right_run();
        run.history.end = end;
        only(&run.history)
    };
    let failed = end(RunEnd::Failed { reason: "checkpoint 17 failed".to_owned() });
    assert_eq!((failed.invariant, failed.signature.as_str()), (InvariantId::I20, "I20 failed: checkpoint # failed"));
    let panicked = end(RunEnd::Panicked { message: "a channel ends once".to_owned() });
    assert_eq!(panicked.invariant, InvariantId::I20);
}
