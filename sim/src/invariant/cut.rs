//! I5 Cut: each state in a completed checkpoint equals the model folded over exactly the recorded source prefix.
//!
//! The sources' positions in the checkpoint are the cut. Each running aggregate must keep exactly the model's groups
//! with equal results. What a window or final aggregate keeps must be equal too; what it does not keep any more it must
//! have emitted: then it is in the output that was committed up to that checkpoint, once. So the two together are exactly
//! the model's, each once. Of output that is still missing at the end, only runs that finished are accused.
//! Pipelines of scripts are the matter of `kept`. Source: consistent cuts (Chandy and Lamport 1985; Carbone et al. 2015).

use std::collections::{BTreeMap, BTreeSet};

use tidegate::{
    id::{CheckpointId, OperatorUid},
    operator::OperatorSnapshot,
    pipeline::Datum,
};

use super::{InvariantId, Violation, committed, kept, limited, splits};
use crate::{
    history::{CompletedCapture, History, RunEnd},
    model::{AtCut, Folds, Group, Model, Results, layout},
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    if model.is_of_scripts() {
        return kept::judge(history, model);
    }
    let mut violations = Vec::new();
    for (checkpoint_id, capture) in &history.completed {
        let found = found(capture, model);
        for problem in &found.problems {
            violations.push(violation(*checkpoint_id, "state that cannot be read", vec![format!("  {problem}")]));
        }
        // Splits that are not there once each are the matter of another invariant, and there is no cut without them.
        let Ok(cut) = splits::cut(capture, model) else { continue };
        let kept = found.folds.iter().map(|(uid, folds)| (uid.clone(), folds.keys().cloned().collect())).collect();
        match model.at_cut(&cut, &kept) {
            Ok(expected) => {
                violations.extend(compare_state(*checkpoint_id, &expected, &found.folds, model));
                violations.extend(compare_output(*checkpoint_id, &expected, history));
            }
            Err(error) => {
                violations.push(violation(*checkpoint_id, "a cut without a model", vec![format!("  {error}")]));
            }
        }
    }
    violations
}

fn violation(checkpoint_id: CheckpointId, what: &str, evidence: Vec<String>) -> Violation {
    Violation {
        invariant: InvariantId::I5,
        sentence: format!("Checkpoint {checkpoint_id} has {what}."),
        signature: format!("I5 {what}"),
        evidence,
    }
}

/// The folds of all stages as they stand in a checkpoint.
#[derive(Default)]
struct Found {
    folds: BTreeMap<OperatorUid, Folds>,
    problems: Vec<String>,
}

fn found(capture: &CompletedCapture, model: &Model) -> Found {
    let mut found = Found::default();
    for (uid, aggregates) in model.folding_stages() {
        let mut folds = Folds::new();
        for (subtask, snapshot) in snapshots(capture, &uid) {
            match layout::folds(snapshot) {
                Ok(decoded) => {
                    for (key, window, accumulators) in decoded {
                        let group = Group { key, window };
                        let results: Results =
                            aggregates.iter().zip(&accumulators).map(|(a, state)| a.result(state)).collect();
                        if accumulators.len() != aggregates.len() {
                            found.problems.push(format!("{uid} has {} results for {group}", accumulators.len()));
                        }
                        if folds.contains_key(&group) {
                            found.problems.push(format!("{uid} has {group} twice, the second time in {subtask}"));
                        }
                        folds.insert(group, results);
                    }
                }
                Err(error) => found.problems.push(format!("{uid} of {subtask}: {error}")),
            }
        }
        found.folds.insert(uid, folds);
    }
    found
}

/// What can be read of an operator's state, by subtask.
fn snapshots<'a>(
    capture: &'a CompletedCapture,
    uid: &'a OperatorUid,
) -> impl Iterator<Item = (String, &'a OperatorSnapshot)> {
    capture.state.iter().filter_map(move |(subtask, operators)| {
        let snapshot = operators.get(uid)?.as_ref().ok()?;
        Some((subtask.to_string(), snapshot))
    })
}

fn compare_state(
    checkpoint_id: CheckpointId,
    expected: &AtCut,
    found: &BTreeMap<OperatorUid, Folds>,
    model: &Model,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let keeps_all = model.running_aggregates();
    for (uid, folds) in found {
        let expected = expected.folds.get(uid).cloned().unwrap_or_default();
        let groups: BTreeSet<&Group> = expected.keys().chain(folds.keys()).collect();
        let mut evidence = Vec::new();
        for group in groups {
            match (expected.get(group), folds.get(group)) {
                (Some(expected), Some(found)) if expected == found => {}
                (Some(expected), Some(found)) => {
                    evidence.push(format!("- {group}: {}", shown(expected)));
                    evidence.push(format!("+ {group}: {}", shown(found)));
                }
                (Some(expected), None) if keeps_all.contains(uid) => {
                    evidence.push(format!("- {group}: {}", shown(expected)));
                }
                // Emitted: it must be in the output then.
                (Some(_), None) | (None, None) => {}
                (None, Some(found)) => evidence.push(format!("+ {group}: {}", shown(found))),
            }
        }
        if !evidence.is_empty() {
            let what = format!("other state of {uid} than its source prefix gives");
            violations.push(violation(checkpoint_id, &what, limited(evidence)));
        }
    }
    violations
}

fn shown(results: &Results) -> String {
    let show = |result: &Option<Datum>| result.as_ref().map_or_else(|| "overflow".to_owned(), Datum::to_string);
    results.iter().map(show).collect::<Vec<_>>().join(", ")
}

fn compare_output(checkpoint_id: CheckpointId, expected: &AtCut, history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (sink, expected) in &expected.output {
        let actual = committed::lines_up_to(history, sink, checkpoint_id);
        let (lost, extra) = (expected.minus(&actual), actual.minus(expected));
        let mut evidence: Vec<String> = extra.iter().map(|(line, count)| format!("+ {count} × {line}")).collect();
        if history.end == RunEnd::Finished {
            evidence.extend(lost.iter().map(|(line, count)| format!("- {count} × {line}")));
        }
        if !evidence.is_empty() {
            let what = format!("state that, together with the output of {sink} up to it, is not its source prefix");
            violations.push(violation(checkpoint_id, &what, limited(evidence)));
        }
    }
    violations
}
