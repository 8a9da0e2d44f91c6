//! Requests for checkpoints are ordered and admitted as Flink's `CheckpointRequestDecider` does.
//!
//! Flink's tests use "periodic savepoints", which exist here as little as there; what stands for one is a periodic
//! forced checkpoint.

use std::time::Duration;

use serde_json::Value;
use tidegate::{
    checkpoint::{
        CheckpointFailureReason,
        coordinator::{
            Admission, RequestId, TriggerKind, TriggerRequest,
            decider::{Decision, Limits, Load, QUEUED_MAX, RequestDecider, Triggering},
        },
    },
    time::Timestamp,
};
use tidegate_tests::vectors::{expect, list, number, run, text};

#[test]
fn every_vector_of_the_request_decider_holds() {
    run(include_str!("../data/vectors/19_request_decider.json"), &[], |vector| match text(vector, "id") {
        "decider-order" => order(vector),
        _ => steps(vector),
    });
}

fn request(words: &str) -> TriggerRequest {
    let (kind, admission) = match words {
        "checkpoint" | "11th checkpoint" | "periodic checkpoint" => (TriggerKind::Periodic, Admission::Queued),
        "periodic forced savepoint" => (TriggerKind::Periodic, Admission::Forced),
        "manual forced savepoint" => (TriggerKind::Manual, Admission::Forced),
        "savepoint" => (TriggerKind::Savepoint, Admission::Forced),
        "non-forced savepoint" => (TriggerKind::Savepoint, Admission::Queued),
        other => panic!("unknown request {other}"),
    };
    TriggerRequest { request: None, kind, admission }
}

fn limits(state: &Value) -> Limits {
    Limits {
        concurrent_max: number(state, "max_pending") as usize,
        queued_max: number(state, "max_queued") as usize,
        min_pause: Duration::from_millis(number(state, "min_pause_ms") as u64),
    }
}

fn steps(vector: &Value) -> Result<(), String> {
    let state = &vector["state"];
    let now = Timestamp(number(state, "clock_ms"));
    let mut decider = RequestDecider::new(limits(state));
    let mut load = Load {
        triggering: if state["is_triggering"] == true { Triggering::UnderWay } else { Triggering::Idle },
        pending: state["pending"].as_u64().unwrap_or(0) as usize,
        cleaning: state["cleaning"].as_u64().unwrap_or(0) as usize,
        last_completion: Some(Timestamp(number(state, "last_completion_ms"))),
    };
    let mut submitted = None;
    for step in list(vector, "steps") {
        if step["is_triggering"] == false {
            load.triggering = Triggering::Idle;
        }
        if let Some(cleaning) = step["set_cleaning"].as_u64() {
            load.cleaning = cleaning as usize;
        }
        let mut rejected = Vec::new();
        if let Some(words) = step["submit"].as_str() {
            submitted = Some(request(words));
            rejected.extend(decider.submit(now, request(words)));
        }
        for _ in 0..step["submit_n"].as_u64().unwrap_or(0) {
            rejected.extend(decider.submit(now, request(text(step, "kind"))));
        }
        let decision = decider.decide(now, &load);
        let reasons: Vec<_> = rejected.iter().map(|rejection| rejection.reason).collect();
        let too_many = vec![CheckpointFailureReason::TooManyCheckpointRequests];
        match text(step, "result") {
            "QUEUED" | "all queued" => {
                expect(step, &decision, &Decision::Wait)?;
                expect(step, &reasons, &Vec::new())?;
            }
            "RUN" | "RUN that request" => expect(step, &Some(decision), &submitted.map(Decision::Run))?,
            "exactly one request fails TOO_MANY_CHECKPOINT_REQUESTS" => expect(step, &reasons, &too_many)?,
            "savepoint QUEUED; the checkpoint fails TOO_MANY_CHECKPOINT_REQUESTS" => {
                expect(step, &reasons, &too_many)?;
                expect(step, &rejected[0].request, &request("checkpoint"))?;
                expect(step, &decider.queued(), &1)?;
            }
            words => {
                let words = words.strip_prefix("RUN ").unwrap_or_else(|| panic!("unknown result {words}"));
                expect(step, &decision, &Decision::Run(request(words)))?;
            }
        }
    }
    Ok(())
}

/// Submits one request of each class in the worst order, twice, and takes them out again.
fn order(vector: &Value) -> Result<(), String> {
    expect(vector, &(QUEUED_MAX as i64), &number(vector, "max_queued_default"))?;
    let best_first = [
        (TriggerKind::StopWithSavepoint, Admission::Forced),
        (TriggerKind::Savepoint, Admission::Queued),
        (TriggerKind::Manual, Admission::Forced),
        (TriggerKind::Periodic, Admission::Forced),
        (TriggerKind::Final, Admission::Queued),
        (TriggerKind::Periodic, Admission::Queued),
    ]
    .map(|(kind, admission)| TriggerRequest { request: None, kind, admission });

    let limits = Limits { concurrent_max: 1, queued_max: QUEUED_MAX, min_pause: Duration::ZERO };
    let mut decider = RequestDecider::new(limits);
    let at = |submitted_at: i64, request: TriggerRequest| TriggerRequest {
        request: Some(RequestId(submitted_at as u64)),
        ..request
    };
    for submitted_at in [7, 3] {
        for request in best_first.into_iter().rev() {
            decider.submit(Timestamp(submitted_at), at(submitted_at, request));
        }
    }
    let load = Load { triggering: Triggering::Idle, pending: 0, cleaning: 0, last_completion: None };
    for request in best_first.into_iter().flat_map(|request| [at(3, request), at(7, request)]) {
        expect(vector, &decider.decide(Timestamp(9), &load), &Decision::Run(request))?;
    }
    expect(vector, &decider.decide(Timestamp(9), &load), &Decision::Wait)
}
