//! Failed checkpoints are counted as Flink's `CheckpointFailureManager` counts them.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate::{
    checkpoint::{
        CheckpointFailureReason,
        coordinator::failures::{FailureCounter, JobVerdict},
    },
    id::CheckpointId,
};
use tidegate_tests::vectors::{expect, list, number, run, text, words};

#[test]
fn every_vector_of_failure_counting_holds() {
    run(include_str!("../data/vectors/20_checkpoint_failure_counting.json"), &[], |vector| match text(vector, "id") {
        "failcount-reasons" => reasons(vector),
        "failcount-tolerable-boundary" => boundary(vector),
        _ => events(vector),
    });
}

fn reason(name: &str) -> CheckpointFailureReason {
    let found = CheckpointFailureReason::ALL.into_iter().find(|reason| reason.name() == name);
    found.unwrap_or_else(|| panic!("unknown reason {name}"))
}

fn events(vector: &Value) -> Result<(), String> {
    let mut counter = FailureCounter::new(number(vector, "tolerable") as u32);
    let mut job_failures = 0;
    for step in list(vector, "steps") {
        let checkpoint_id = CheckpointId(number(step, "checkpoint") as u64);
        match text(step, "event") {
            "success" => counter.succeeded(checkpoint_id),
            name => job_failures += i64::from(counter.failed(checkpoint_id, reason(name)) == JobVerdict::FailJob),
        }
        expect(step, &(counter.count() as i64), &number(step, "counter_after"))?;
        expect(step, &job_failures, &number(step, "job_failures_so_far"))?;
    }
    expect(vector, &job_failures, &number(vector, "job_failures"))
}

fn reasons(vector: &Value) -> Result<(), String> {
    let named = |key| words(vector, key).into_iter().map(reason).collect::<BTreeSet<_>>();
    let (counted, ignored): (BTreeSet<_>, BTreeSet<_>) =
        CheckpointFailureReason::ALL.into_iter().partition(|reason| reason.counts());
    expect(vector, &counted, &named("counted"))?;
    expect(vector, &ignored, &named("ignored"))?;

    let mut counter = FailureCounter::new(number(vector, "tolerable") as u32);
    let verdicts = CheckpointFailureReason::ALL.into_iter().map(|reason| counter.failed(CheckpointId(1), reason));
    let job_failures = verdicts.filter(|verdict| *verdict == JobVerdict::FailJob).count();
    expect(vector, &job_failures, &counted.len())
}

fn boundary(vector: &Value) -> Result<(), String> {
    for case in list(vector, "cases") {
        let mut counter = FailureCounter::new(number(case, "tolerable") as u32);
        let mut verdict = JobVerdict::KeepRunning;
        for id in 1..=number(case, "consecutive_failures") as u64 {
            verdict = counter.failed(CheckpointId(id), CheckpointFailureReason::CheckpointDeclined);
        }
        let expected = match text(case, "job") {
            "fails" => JobVerdict::FailJob,
            "keeps running" => JobVerdict::KeepRunning,
            other => panic!("unknown outcome {other}"),
        };
        expect(case, &verdict, &expected)?;
    }
    Ok(())
}
