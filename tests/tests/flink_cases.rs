//! Pipelines with scripted input, answered by the engine and by Apache Flink 2.3.0: the answers are equal.
//!
//! Each case runs on a whole cluster in a simulated world, with real tasks, channels and checkpoints. What reaches each
//! subtask of a sink, records and watermarks, is compared in order; only records of one event time between two watermarks
//! may change places, because timers of one time come in the order of a heap in Flink.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod play;

use play::{play, play_one_after_the_other};
use serde_json::Value;
use tidegate::pipeline::{Case, Pipeline};
use tidegate_tests::trace::{difference as difference_of_traces, looseness, trace_of};

/// What is different between the records that became visible, in any order.
fn difference_of_committed(committed: &Value, lines: &[String]) -> Option<String> {
    let mut expected: Vec<String> = committed.as_array().unwrap().iter().map(Value::to_string).collect();
    let found = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = found.filter(|entry| entry.get("w").is_none() && entry.get("out").is_none());
    let mut found: Vec<String> = found
        .map(|mut entry| {
            entry.as_object_mut().unwrap().remove("s");
            entry.to_string()
        })
        .collect();
    expected.sort();
    found.sort();
    let index = (0..expected.len().max(found.len())).find(|index| expected.get(*index) != found.get(*index))?;
    Some(format!("committed at {index}\n    Flink {:?}\n    here  {:?}", expected.get(index), found.get(index)))
}

/// What is different with a state backend, in a few lines; `None` if nothing is.
fn difference(line: &str, backend: &str) -> (String, Option<String>) {
    let value: Value = serde_json::from_str(line).unwrap();
    let flink = &value["flink"];
    let name = value["case"]["name"].as_str().unwrap().to_owned();
    let case = match Case::from_json(&name, line) {
        Ok(case) => case,
        Err(error) => return (name, Some(format!("cannot be read: {error}"))),
    };
    // Worlds of one seed give their databases one name: each has a directory of its own.
    let directory = tempfile::tempdir().unwrap();
    let with_backend = |pipeline: Pipeline| {
        let pipeline = pipeline.with_option("state.backend.type", backend);
        match backend {
            "rocksdb" => pipeline.with_option("io.tmp.dirs", directory.path().display().to_string()),
            _ => pipeline,
        }
    };
    let (first, resumed) = (with_backend(case.pipeline), case.resumed.into_iter().map(with_backend));
    let pipelines: Vec<Pipeline> = std::iter::once(first).chain(resumed).collect();
    let (lines, ended) = match pipelines.as_slice() {
        [only] => play(only),
        all => play_one_after_the_other(all),
    };
    let expect_failure = flink["status"] == "FAILED";
    if ended.is_err() != expect_failure {
        return (name, Some(format!("ended as {ended:?}, Flink's as {}", flink["status"])));
    }
    if expect_failure {
        // What a job that failed shows, is what it had shown before.
        return (name, None);
    }
    let steps = value["case"]["steps"].as_array().unwrap();
    if steps.iter().any(|step| step.get("fail").is_some()) {
        // How much of what a failure takes back had reached Flink's sink is chance: only what was committed counts.
        return (name, difference_of_committed(&flink["committed"], &lines));
    }
    let loose = looseness(&value["case"]);
    let found = trace_of(lines.iter().map(|line| serde_json::from_str(line).unwrap()), loose);
    let expected = trace_of(flink["trace"].as_array().unwrap().iter().cloned(), loose);
    (name, difference_of_traces(&expected, &found, "Flink"))
}

/// Sessions that merge keep the contents of the smallest first. Flink takes any, by the order of a hash set, and other ones
/// in RocksDB; it shows where the function depends on the order.
const MERGE_ORDER: &str = "the order in which sessions merge";
/// Timers of one time come by key group and key here, in the order of a heap in Flink; a list behind them shows it.
const TIMER_ORDER: &str = "the order of timers of one time";

/// Flink deals out in turn from a subtask on that it draws; here it is the first one.
const FIRST_IN_TURN: &str = "which subtask comes first when records are dealt out in turn";

/// Cases that differ on purpose, with the reason.
const DENIED: [(&str, &str); 9] = [
    ("cascaded-windows", TIMER_ORDER),
    ("ft-operator-list-split-on-rescale", FIRST_IN_TURN),
    ("ft-operator-list-union-on-rescale", FIRST_IN_TURN),
    ("session-merge-order-concat-rocksdb", MERGE_ORDER),
    ("20260701-00079", MERGE_ORDER),
    ("20260701-00310", MERGE_ORDER),
    ("20260701-00323", MERGE_ORDER),
    ("20260701-00346", MERGE_ORDER),
    ("20260701-00374", MERGE_ORDER),
];

/// Why a case cannot agree.
fn denied(name: &str) -> Option<&'static str> {
    DENIED.iter().find(|(denied, _)| *denied == name).map(|(_, reason)| *reason)
}

fn check(file: &str, text: &str, backend: &str) {
    let only = std::env::var("TIDEGATE_CASE").ok();
    let mut agreeing = 0;
    let mut wrong = Vec::new();
    for line in text.lines() {
        if only.as_ref().is_some_and(|only| !line.contains(&format!("\"name\":\"{only}\""))) {
            continue;
        }
        let (name, difference) = difference(line, backend);
        match (difference, denied(&name)) {
            (None, None) => agreeing += 1,
            (Some(_), Some(_)) => {}
            (None, Some(reason)) => wrong.push(format!("{name}: agrees, and is denied for {reason}")),
            (Some(difference), None) => wrong.push(format!("{name}: {difference}")),
        }
    }
    assert!(wrong.is_empty(), "{file}: {agreeing} agree, {} do not:\n{}", wrong.len(), wrong.join("\n"));
}

const BY_HAND: &str = include_str!("../data/flink-cases/handmade.jsonl");
const RANDOM: &str = include_str!("../data/flink-cases/random.jsonl");
const FAULTS: &str = include_str!("../data/flink-cases/faults.jsonl");

#[test]
fn cases_made_by_hand_have_the_answers_of_flink() {
    check("handmade.jsonl", BY_HAND, "hashmap");
}

#[test]
fn random_cases_have_the_answers_of_flink() {
    check("random.jsonl", RANDOM, "hashmap");
}

#[test]
fn cases_with_failures_have_the_answers_of_flink() {
    check("faults.jsonl", FAULTS, "hashmap");
}

#[cfg(feature = "rocksdb")]
mod in_rocksdb {
    use super::{BY_HAND, FAULTS, RANDOM, check};

    #[test]
    fn cases_made_by_hand_have_the_same_answers() {
        check("handmade.jsonl", BY_HAND, "rocksdb");
    }

    #[test]
    fn random_cases_have_the_same_answers() {
        check("random.jsonl", RANDOM, "rocksdb");
    }

    #[test]
    fn cases_with_failures_have_the_same_answers() {
        check("faults.jsonl", FAULTS, "rocksdb");
    }
}
