//! The interpreter against Apache Flink 2.3.0: cases with scripted input have the answers that Flink gave.
//!
//! What comes to each subtask of a sink, records and watermarks, is compared in order. Only records of one event time
//! between two watermarks may change places: timers of one time come in the order of a heap in Flink.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate::pipeline::Case;

use super::{play, trace_entries};
use crate::model::ModelError;

/// By subtask and side output: what came, in order.
type Trace = BTreeMap<(u64, String), Vec<Value>>;

/// What came, once records of one event time between two watermarks are in one order.
fn sorted(mut trace: Trace) -> Trace {
    for entries in trace.values_mut() {
        for segment in entries.split_mut(|entry| entry.get("w").is_some()) {
            let times: Vec<i64> = segment.iter().map(|entry| entry["ts"].as_i64().unwrap()).collect();
            let mut of_time: Vec<Value> = segment.to_vec();
            of_time.sort_by_key(|entry| (entry["ts"].as_i64().unwrap(), entry.to_string()));
            for (place, time) in segment.iter_mut().zip(times) {
                let next = of_time.iter().position(|entry| entry["ts"].as_i64() == Some(time)).unwrap();
                *place = of_time.remove(next);
            }
        }
    }
    trace.retain(|_, entries| !entries.is_empty());
    trace
}

/// The trace that entries in the format of cases make.
fn trace_of(entries: &[Value]) -> Trace {
    let mut trace = Trace::new();
    for entry in entries {
        // Control events have no subtask.
        let Some(subtask) = entry["s"].as_u64() else { continue };
        let out = entry["out"].as_str().unwrap_or_default().to_owned();
        let mut fields = entry.as_object().unwrap().clone();
        fields.remove("s");
        fields.remove("out");
        trace.entry((subtask, out)).or_default().push(Value::Object(fields));
    }
    sorted(trace)
}

fn check(line: &str) -> (String, Result<(), String>) {
    let value: Value = serde_json::from_str(line).unwrap();
    let name = value["case"]["name"].as_str().unwrap().to_owned();
    let case = match Case::from_json(&name, line) {
        Ok(case) => case,
        Err(error) => return (name, Err(format!("cannot be read: {error}"))),
    };
    if !case.resumed.is_empty() {
        return (name, Err("it goes on from a savepoint".to_owned()));
    }
    let must_fail = value["flink"]["status"] == "FAILED";
    let result = match play(&case.pipeline) {
        Err(ModelError::Fails { .. }) if must_fail => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(_) if must_fail => Err("Flink fails".to_owned()),
        Ok(played) => {
            let expected = trace_of(value["flink"]["trace"].as_array().unwrap());
            let found = trace_of(&trace_entries(&case.pipeline, &played).unwrap());
            let show = |entries: Option<&Vec<Value>>| Value::from(entries.cloned().unwrap_or_default()).to_string();
            match found.keys().chain(expected.keys()).find(|key| found.get(key) != expected.get(key)) {
                None => Ok(()),
                Some(key) => {
                    Err(format!("{key:?}\n  Flink {}\n  model {}", show(expected.get(key)), show(found.get(key))))
                }
            }
        }
    };
    (name, result)
}

/// Cases that the model does not answer as Flink does, with the reason.
const DENIED: &[(&str, &str)] = &[
    ("cascaded-windows", ORDER_OF_TIMERS),
    ("20260701-00103", ORDER_OF_TIMERS),
    ("20260701-00438", ORDER_OF_TIMERS),
    ("20260701-00379", "pairs of an interval join have no order"),
    ("session-merge-order-concat-rocksdb", SURVIVING_SESSION),
    ("20260701-00079", SURVIVING_SESSION),
    ("20260701-00310", SURVIVING_SESSION),
    ("20260701-00323", SURVIVING_SESSION),
    ("20260701-00346", SURVIVING_SESSION),
    ("20260701-00374", SURVIVING_SESSION),
    ("ft-rescale-1-3-hashmap", SAVEPOINT),
    ("ft-rescale-1-3-rocksdb", SAVEPOINT),
    ("ft-window-across-restore-hashmap", SAVEPOINT),
    ("ft-window-across-restore-rocksdb", SAVEPOINT),
    ("ft-operator-list-split-on-rescale", SAVEPOINT),
    ("ft-operator-list-union-on-rescale", SAVEPOINT),
    ("ft-timers-survive-restore", SAVEPOINT),
    ("ft-watermark-not-restored", RESTORE),
    ("ft-watermark-replayed", RESTORE),
];

const ORDER_OF_TIMERS: &str =
    "timers of one time come in the order of a heap in Flink, also if they lead to results of different times";
const SURVIVING_SESSION: &str =
    "of sessions that merge, Flink puts all into one that its hash order picks; here it is the earliest";
const SAVEPOINT: &str = "it goes on with another parallelism from a savepoint, which is not one run";
const RESTORE: &str = "the model knows no failure, and Flink's watermark is lost or repeated after one";

/// All cases of a file but those that are denied have the answer of Flink.
#[track_caller]
fn check_all(lines: &str, agreeing: usize) {
    let results: Vec<(String, Result<(), String>)> = lines.lines().map(check).collect();
    let denied = |name: &str| DENIED.iter().any(|(denied, _)| *denied == name);
    let mut wrong = Vec::new();
    let mut right = 0;
    for (name, result) in results {
        match result {
            Ok(()) if denied(&name) => wrong.push(format!("{name} is denied, but has the answer of Flink")),
            Ok(()) => right += 1,
            Err(_) if denied(&name) => {}
            Err(difference) => wrong.push(format!("{name}: {difference}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), wrong.len() + right, wrong.join("\n"));
    assert_eq!(right, agreeing, "the number of cases that agree is a claim of the project");
}

#[test]
fn cases_made_by_hand_have_the_answers_of_flink() {
    check_all(include_str!("../../../../tests/data/flink-cases/handmade.jsonl"), 68);
}

#[test]
fn random_cases_have_the_answers_of_flink() {
    check_all(include_str!("../../../../tests/data/flink-cases/random.jsonl"), 192);
}
