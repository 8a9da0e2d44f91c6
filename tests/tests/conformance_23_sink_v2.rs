//! What Flink's Sink V2 asks of writers and committers, asked of the engine's sinks.
//!
//! Here writer and committer are one subtask, and what is committed is a transaction: the committables of a checkpoint are the
//! records of the transaction that was pre-committed for it. Nothing stands behind a committer, so that the output which a
//! vector has for a post-commit topology has no counterpart.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use serde_json::{Value, json};
use tidegate::{
    Result, Timestamp, codec,
    connector::PlainSink,
    env::Env,
    id::CheckpointId,
    operator::{
        CheckpointedFunction, FunctionInitializationContext, FunctionSnapshotContext, ListMode, ListSnapshot,
        OperatorListState, OperatorSnapshot,
    },
    record::{AnyBatch, Batch, StreamRecord},
    sink::{LedgerState, TransactionLedger},
    task::{SinkFactory, checkpointed_sink, plain_sink},
};
use tidegate_tests::{
    recording_sink::{Subtask, on_host},
    vectors::{DenyList, expect, known, list, number, numbers, run, text, words},
};

const DENIED: DenyList<'_> = &[
    (
        "sinkv2-writer-double-end-of-input",
        "the end of the input asks nothing of a sink: what was written belongs to the checkpoint whose barrier comes next, \
         as `what_is_written_before_the_end_belongs_to_the_next_checkpoint` says",
    ),
    ("sinkv2-writer-restores-legacy-committer-state", "there is no older kind of sink to take committables over from"),
    (
        "sinkv2-committer-retries",
        "a commit is tried once per attempt: if it fails, the attempt does, and the next one recovers and commits",
    ),
    (
        "sinkv2-committable-manager-commit",
        "writer and committer are one subtask: what a checkpoint has to commit is never there in part",
    ),
    ("sinkv2-subtask-manager-states", "nothing that a completed checkpoint holds is ever dropped as failed"),
    ("sinkv2-subtask-manager-merge", "nothing is counted as failed; merging is in `sinkv2-committer-restore-scaling`"),
    ("sinkv2-global-committer-incomplete", "there is no global committer"),
    (
        "sinkv2-commit-request-outcomes",
        "a commit that returns has succeeded, also if it had before; any other outcome is an error, which fails the attempt",
    ),
];

#[test]
fn every_vector_of_sinks_holds() {
    run(include_str!("../data/vectors/23_sink_v2.json"), DENIED, |vector| match text(vector, "id") {
        "sinkv2-writer-emits-on-barrier" => emits_on_barrier(vector),
        "sinkv2-writer-no-committer" => flushes(vector),
        "sinkv2-writer-end-of-input-streaming" => list(vector, "cases").iter().try_for_each(end_of_input),
        "sinkv2-writer-state-restore" => list(vector, "cases").iter().try_for_each(restores_its_state),
        "sinkv2-committer-commits-on-notify" => commits_on_notify(vector),
        "sinkv2-committer-restore-scaling" => list(vector, "cases").iter().try_for_each(commits_on_restore),
        "sinkv2-committable-manager-duplicate-summary" => pre_commits_once(vector),
        "sinkv2-collector-up-to" => completes_up_to(vector),
        other => Err(format!("{other} has no counterpart")),
    });
}

fn failed(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What was pre-committed at a barrier, in the words of the vectors.
async fn pre_committed(subtask: &mut Subtask, checkpoint: i64) -> Result<Vec<Value>> {
    let state = subtask.snapshot(checkpoint).await?;
    let mut output = Vec::new();
    for (checkpoint_id, transaction) in &state.pending {
        let committables = subtask.contents(transaction);
        output.push(json!({"summary": {"checkpoint": checkpoint_id.0, "committables": committables.len()}}));
        output.extend(committables.iter().map(|record| json!(format!("committable {record}"))));
    }
    Ok(output)
}

async fn write(subtask: &mut Subtask, step: &Value) -> std::result::Result<(), String> {
    for value in numbers(step, "values") {
        subtask.write(&value.to_string()).await.map_err(failed)?;
    }
    Ok(())
}

fn emits_on_barrier(vector: &Value) -> std::result::Result<(), String> {
    on_host(|env| async move {
        let mut subtask = Subtask::new(&env);
        subtask.open().await.map_err(failed)?;
        for step in list(vector, "steps") {
            match text(step, "op") {
                "write" => write(&mut subtask, step).await?,
                "prepare_snapshot_pre_barrier" => {
                    let output = pre_committed(&mut subtask, number(step, "checkpoint")).await.map_err(failed)?;
                    expect(step, &json!(output), &step["output"])?;
                }
                other => return Err(format!("no such operation: {other}")),
            }
        }
        Ok(())
    })
}

/// A sink that holds records back until it is told to flush, and can keep what it holds.
#[derive(Clone, Default)]
struct Buffering {
    buffer: Arc<Mutex<Vec<String>>>,
    flushed: Arc<Mutex<Vec<String>>>,
    kept: Option<OperatorListState<String>>,
}

impl Buffering {
    fn buffered(&self) -> Vec<String> {
        self.buffer.lock().expect("no test panics while it holds this").clone()
    }
}

#[async_trait]
impl PlainSink for Buffering {
    type In = String;

    async fn write(&mut self, batch: Batch<String>) -> Result<()> {
        let mut buffer = self.buffer.lock().expect("no test panics while it holds this");
        buffer.extend(batch.into_iter().map(|record| record.value));
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        // What is kept in state needs not be written out.
        if self.kept.is_none() {
            let mut buffer = self.buffer.lock().expect("no test panics while it holds this");
            self.flushed.lock().expect("no test panics while it holds this").append(&mut buffer);
        }
        Ok(())
    }
}

impl CheckpointedFunction for Buffering {
    fn initialize_state(&mut self, context: &mut FunctionInitializationContext<'_>) -> Result<()> {
        let mut kept = OperatorListState::new("buffer");
        context.list_state(&mut kept)?;
        let restored = kept.get(context)?.to_vec();
        *self.buffer.lock().expect("no test panics while it holds this") = restored;
        self.kept = Some(kept);
        Ok(())
    }

    fn snapshot_state(&mut self, context: &mut FunctionSnapshotContext<'_>) -> Result<()> {
        let buffered = self.buffered();
        self.kept.as_ref().map_or(Ok(()), |kept| kept.update(context, buffered))
    }
}

fn flushes(vector: &Value) -> std::result::Result<(), String> {
    let sink = Buffering::default();
    let made = sink.clone();
    on_host(|env| async move {
        let mut subtask = plain_sink(move || made.clone())();
        subtask.open(&Subtask::new(&env).context, None).await.map_err(failed)?;
        for step in list(vector, "steps") {
            match text(step, "op") {
                "write" => {
                    for value in numbers(step, "values") {
                        let record = StreamRecord::new(value.to_string(), Timestamp(0));
                        subtask.write(AnyBatch::new(vec![record])).await.map_err(failed)?;
                    }
                }
                "prepare_snapshot_pre_barrier" => {
                    let checkpoint_id = CheckpointId(number(step, "checkpoint") as u64);
                    let kept = subtask.snapshot(checkpoint_id).await.and_then(|kept| kept()).map_err(failed)?;
                    expect(step, &kept, &OperatorSnapshot::default())?;
                    let buffered = sink.buffered();
                    expect(step, &buffered.iter().map(String::as_str).collect(), &words(step, "writer_buffer"))?;
                }
                other => return Err(format!("no such operation: {other}")),
            }
            expect(step, &step["output"], &json!([]))?;
        }
        let flushed = sink.flushed.lock().expect("no test panics while it holds this").clone();
        expect(vector, &flushed, &vec!["1".to_owned()])
    })
}

fn end_of_input(case: &Value) -> std::result::Result<(), String> {
    known(case, &["checkpointing", "steps", "total_output"])?;
    on_host(|env| async move {
        let mut subtask = Subtask::new(&env);
        subtask.open().await.map_err(failed)?;
        let mut output = Vec::new();
        for step in list(case, "steps") {
            match text(step, "op") {
                "write" => write(&mut subtask, step).await?,
                // With checkpoints, the next one takes what was written; without, the end of the job commits it.
                "end_input" if case["checkpointing"] == true => {}
                "end_input" => {
                    subtask.sink.commit_without_checkpoint().await.map_err(failed)?;
                    let visible = subtask.visible();
                    // There is no checkpoint whose number it could have: it counts as the first.
                    output.push(json!({"summary": {"checkpoint": 1, "committables": visible.len()}}));
                    output.extend(visible.iter().map(|record| json!(format!("committable {record}"))));
                }
                "prepare_snapshot_pre_barrier" => {
                    output = pre_committed(&mut subtask, number(step, "checkpoint")).await.map_err(failed)?;
                }
                other => return Err(format!("no such operation: {other}")),
            }
        }
        expect(case, &json!(output), &case["total_output"])
    })
}

fn restores_its_state(case: &Value) -> std::result::Result<(), String> {
    known(case, &["stateful", "written_before", "records_in_restored_writer"])?;
    let stateful = case["stateful"] == true;
    let factory = |sink: &Buffering| -> SinkFactory {
        let sink = sink.clone();
        if stateful { checkpointed_sink(move || sink.clone()) } else { plain_sink(move || sink.clone()) }
    };
    on_host(|env| async move {
        let context = Subtask::new(&env).context;
        let mut first = factory(&Buffering::default())();
        first.open(&context, None).await.map_err(failed)?;
        for number in 0..number(case, "written_before") {
            let record = StreamRecord::new(number.to_string(), Timestamp(0));
            first.write(AnyBatch::new(vec![record])).await.map_err(failed)?;
        }
        let kept = first.snapshot(CheckpointId(1)).await.and_then(|kept| kept()).map_err(failed)?;
        let restored = Buffering::default();
        factory(&restored)().open(&context, Some(kept)).await.map_err(failed)?;
        expect(case, &(restored.buffered().len() as i64), &number(case, "records_in_restored_writer"))
    })
}

fn commits_on_notify(vector: &Value) -> std::result::Result<(), String> {
    on_host(|env| async move {
        let mut subtask = Subtask::new(&env);
        subtask.open().await.map_err(failed)?;
        for step in list(vector, "steps") {
            match (text(step, "op"), step["msg"].as_str()) {
                ("receive", Some(committable)) => {
                    expect(step, &committable, &"committable \"1\" cp 1")?;
                    subtask.write("1").await.map_err(failed)?;
                    subtask.snapshot(1).await.map_err(failed)?;
                    expect(step, &subtask.visible(), &Vec::new())?;
                }
                // Here it is the transaction itself that says how much there is.
                ("receive", None) => {}
                ("notify_complete", _) => {
                    subtask.notify_complete(number(step, "checkpoint")).await.map_err(failed)?;
                    let visible = subtask.visible();
                    expect(step, &visible.iter().map(String::as_str).collect(), &words(step, "commits"))?;
                }
                (other, _) => return Err(format!("no such operation: {other}")),
            }
        }
        expect(vector, &vector["output_without"], &json!([]))
    })
}

fn commits_on_restore(case: &Value) -> std::result::Result<(), String> {
    expect(case, &text(case, "state"), &"cp 0: subtask 0 -> \"1\", subtask 1 -> \"2\"")?;
    let ledger =
        |transaction: &str| LedgerState { current: None, pending: vec![(CheckpointId(0), transaction.to_owned())] };
    let entries = ["a", "b"].map(|transaction| codec::encode(&ledger(transaction)));
    let list = ListSnapshot { mode: ListMode::PerSubtask, entries: entries.to_vec() };
    let kept = OperatorSnapshot { lists: [("transactions".to_owned(), list)].into(), ..OperatorSnapshot::default() };
    on_host(|env: Env| async move {
        let mut subtask = Subtask::new(&env);
        subtask.stage("a", "1");
        subtask.stage("b", "2");
        subtask.context.subtask_index = number(case, "restored_subtask") as u32;
        subtask.context.parallelism = number(case, "new_parallelism") as u32;
        subtask.snapshots.insert(0, kept);
        subtask.crash_and_restore(0).await.map_err(failed)?;
        let visible = subtask.visible();
        expect(case, &visible.iter().map(String::as_str).collect(), &words(case, "commits_on_restore"))
    })
}

/// Whether a second transaction for one checkpoint is refused.
fn pre_commits_once(vector: &Value) -> std::result::Result<(), String> {
    let mut ledger = TransactionLedger::default();
    for step in list(vector, "steps") {
        let checkpoint_id = CheckpointId(number(&step["summary"], "checkpoint") as u64);
        ledger.begin("t");
        let done = catch_unwind(AssertUnwindSafe(|| ledger.pre_committed(checkpoint_id)));
        expect(step, &done.is_err(), &step["error"].is_string())?;
    }
    Ok(())
}

fn completes_up_to(vector: &Value) -> std::result::Result<(), String> {
    let mut ledger = TransactionLedger::default();
    for checkpoint in numbers(vector, "summaries_for_checkpoints") {
        ledger.begin(checkpoint);
        ledger.pre_committed(CheckpointId(checkpoint as u64));
    }
    let completed = ledger.completed(CheckpointId(number(vector, "up_to") as u64));
    let completed = completed.into_iter().map(|(_, checkpoint)| checkpoint).collect();
    expect(vector, &completed, &numbers(vector, "returned_checkpoints"))
}

#[test]
fn what_is_written_before_the_end_belongs_to_the_next_checkpoint() {
    on_host(|env| async move {
        let mut subtask = Subtask::new(&env);
        subtask.open().await.expect("nothing fails");
        subtask.write("1").await.expect("nothing fails");
        subtask.snapshot(1).await.expect("nothing fails");
        subtask.crash_and_restore(1).await.expect("nothing fails");
        subtask.write("2").await.expect("nothing fails");
        let output = pre_committed(&mut subtask, 3).await.expect("nothing fails");
        assert_eq!(output, [json!({"summary": {"checkpoint": 3, "committables": 1}}), json!("committable 2")]);
        subtask.notify_complete(3).await.expect("nothing fails");
        assert_eq!(subtask.visible(), ["1", "2"]);
    });
}
