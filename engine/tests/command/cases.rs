//! A case of Flink is run like any pipeline, and its trace is what Flink's was.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate::env::Env;

use super::{process::Process, workspace::Workspace};

#[test]
fn a_case_is_run_like_a_pipeline_and_prints_its_trace() {
    let cases = include_str!("../../../tests/data/flink-cases/handmade.jsonl");
    let line = cases.lines().find(|line| line.contains("\"name\":\"tumbling-late-dropped\"")).unwrap();
    let workspace = Workspace::new();
    let path = workspace.write("case.json", line);
    let exit = Env::run_on_host(2, |env| async move { Process::run(&env, &["run", &path]).await }).unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.said);
    let trace = |entries: &[Value]| entries.iter().map(Value::to_string).collect::<BTreeSet<_>>();
    let flink: Value = serde_json::from_str(line).unwrap();
    let said: Vec<Value> = exit.said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(trace(&said), trace(flink["flink"]["trace"].as_array().unwrap()), "{}", exit.said);
}
