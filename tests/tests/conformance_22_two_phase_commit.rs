//! A two-phase-commit sink is called as Flink's `TwoPhaseCommitSinkFunction` calls its hooks.
//!
//! The sink is a mock that writes down what is asked of it; the engine's side is the real one. A restart is a new sink
//! over the same outside world, opened with the state that the snapshot of a checkpoint kept.

use serde_json::Value;
use tidegate::{ErrorKind, Result, codec, env::Env, id::CheckpointId, sink::LedgerState};
use tidegate_tests::{
    recording_sink::{Subtask, on_host},
    vectors::{DenyList, expect, list, number, run, text, words},
};

const DENIED: DenyList<'_> = &[
    (
        "2pc-restore-after-finish",
        "the engine opens a transaction after every snapshot, also after the end of data; it stays empty and is aborted \
         when the sink closes or recovers, as `the_transaction_after_the_last_snapshot_is_empty_and_aborted` says",
    ),
    (
        "2pc-ignore-failures-after-timeout",
        "there is no option to lose what a completed checkpoint holds; a commit that fails on recovery fails the attempt",
    ),
    ("2pc-timeout-warnings", "only a connector knows whether its transactions time out, and warns in its own words"),
];

#[test]
fn every_vector_of_two_phase_commit_holds() {
    run(include_str!("../data/vectors/22_two_phase_commit.json"), DENIED, |vector| match text(vector, "id") {
        "2pc-rescale" => rescaling(vector),
        "2pc-timeout-warnings" => Err("there are no time-outs to warn of".into()),
        _ => scripted(vector),
    });
}

fn scripted(vector: &Value) -> Result<(), String> {
    on_host(|env| async move {
        let mut subtask = Subtask::new(&env);
        for step in list(vector, "steps") {
            carry_out(&mut subtask, step).await?;
            let calls = subtask.take_calls();
            if step["calls"].is_array() {
                expect(step, &calls.iter().map(String::as_str).collect(), &words(step, "calls"))?;
            }
            if step["externally_visible"].is_array() {
                let visible = subtask.visible();
                expect(step, &visible.iter().map(String::as_str).collect(), &words(step, "externally_visible"))?;
            }
        }
        Ok(())
    })
}

async fn carry_out(subtask: &mut Subtask, step: &Value) -> Result<(), String> {
    let done = match text(step, "op") {
        "open" => subtask.open().await,
        "write" => subtask.write(text(step, "value")).await,
        "snapshot" => match subtask.snapshot(number(step, "checkpoint")).await {
            Ok(state) => return expect_state(step, &state),
            Err(error) => Err(error),
        },
        "notify_complete" => subtask.notify_complete(number(step, "checkpoint")).await,
        "crash_and_restore" => subtask.crash_and_restore(number(step, "from_checkpoint")).await,
        "close" => subtask.sink.close().await,
        // The end of data asks nothing of a sink: the final checkpoint does.
        "finish" => Ok(()),
        other => return Err(format!("no such operation: {other}")),
    };
    done.map_err(|error| format!("at {step}: {error}"))
}

fn expect_state(step: &Value, state: &LedgerState<String>) -> Result<(), String> {
    let expected = &step["state"];
    if expected.is_null() {
        return Ok(());
    }
    expect(step, &state.current.as_deref(), &expected["pending_transaction"].as_str())?;
    let pending = state.pending.iter().map(|(_, transaction)| transaction.as_str()).collect();
    expect(step, &pending, &words(expected, "pending_commit"))
}

/// The cases are prose: both are played with the states that they speak of.
fn rescaling(vector: &Value) -> Result<(), String> {
    let scales = |case: &Value| (number(case, "old_parallelism"), number(case, "new_parallelism"));
    let described: Vec<_> = list(vector, "cases").iter().map(scales).collect();
    expect(vector, &described, &vec![(2, 1), (1, 2)])?;
    on_host(|env| async move {
        let played: Result<_> = async { Ok((two_into_one(&env).await?, one_into_two(&env).await?)) }.await;
        let (merged, split) = played.map_err(|error| error.to_string())?;
        let calls =
            ["recoverAndCommit t1", "recoverAndCommit u1", "recoverAndAbort t2", "recoverAndAbort u2", "begin t3"];
        expect(vector, &merged, &calls.map(str::to_owned).to_vec())?;
        let calls = [vec!["recoverAndCommit t1", "recoverAndAbort t2", "begin t3"], vec!["begin t1"]];
        expect(vector, &split, &calls.map(|calls| calls.into_iter().map(str::to_owned).collect()))
    })
}

/// A subtask with one pre-committed transaction in checkpoint 1, and another one open.
async fn after_checkpoint_one(env: &Env) -> Result<Subtask> {
    let mut subtask = Subtask::new(env);
    subtask.open().await?;
    subtask.write("a").await?;
    subtask.snapshot(1).await?;
    subtask.take_calls();
    Ok(subtask)
}

async fn two_into_one(env: &Env) -> Result<Vec<String>> {
    let mut subtask = after_checkpoint_one(env).await?;
    let merged = subtask.snapshots.get_mut(&1).expect("checkpoint 1 was just taken");
    let other = LedgerState { current: Some("u2".to_owned()), pending: vec![(CheckpointId(1), "u1".to_owned())] };
    let entries = merged.lists.values_mut().next().expect("a sink keeps one list");
    entries.entries.push(codec::encode(&other));
    subtask.crash_and_restore(1).await?;
    Ok(subtask.take_calls())
}

async fn one_into_two(env: &Env) -> Result<[Vec<String>; 2]> {
    let mut first = after_checkpoint_one(env).await?;
    first.crash_and_restore(1).await?;
    let mut second = Subtask::new(env);
    second.crash_and_restore(1).await?;
    Ok([first.take_calls(), second.take_calls()])
}

#[test]
fn the_transaction_after_the_last_snapshot_is_empty_and_aborted() {
    on_host(|env| async move {
        let mut subtask = after_checkpoint_one(&env).await.unwrap();
        subtask.notify_complete(1).await.unwrap();
        subtask.sink.close().await.unwrap();
        assert_eq!(subtask.take_calls(), ["commit t1", "abort t2"]);
        assert_eq!(subtask.visible(), ["a"]);
    });
}

#[test]
fn a_commit_that_fails_on_recovery_fails_the_attempt_and_opens_nothing() {
    on_host(|env| async move {
        let mut subtask = after_checkpoint_one(&env).await.unwrap();
        subtask.outside.lock().unwrap().commits_fail = true;
        let error = subtask.crash_and_restore(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(subtask.take_calls(), ["recoverAndCommit t1"]);
        subtask.outside.lock().unwrap().commits_fail = false;
        subtask.crash_and_restore(1).await.unwrap();
        assert_eq!(subtask.take_calls(), ["recoverAndCommit t1", "recoverAndAbort t2", "begin t3"]);
        assert_eq!(subtask.visible(), ["a"]);
    });
}

#[test]
fn of_several_transactions_all_are_committed_even_if_the_first_one_fails() {
    on_host(|env| async move {
        let mut subtask = after_checkpoint_one(&env).await.unwrap();
        subtask.write("b").await.unwrap();
        subtask.snapshot(2).await.unwrap();
        subtask.take_calls();
        subtask.outside.lock().unwrap().commits_fail = true;
        assert_eq!(subtask.notify_complete(2).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(subtask.take_calls(), ["commit t1", "commit t2"]);
        assert_eq!(subtask.visible(), [""; 0]);
    });
}
