//! I5 Cut: each state in a completed checkpoint equals the model folded over exactly the recorded source prefix.
//!
//! The sources' positions in the checkpoint are the cut. Each running aggregate must keep exactly the model's groups
//! with equal results. What a window or final aggregate keeps must be equal too; what it does not keep any more it must
//! have emitted: then it is in the output that was committed up to that checkpoint, once. So the two together are exactly
//! the model's, each once. Records that the checkpoint holds as under way to a stage have been read and not reached it: the
//! stage's state is that of the others. Of output that is still missing at the end, only runs that finished are accused.
//! Pipelines of scripts are the matter of `kept`. Source: consistent cuts (Chandy and Lamport 1985; Carbone et al. 2015).

use std::collections::{BTreeMap, BTreeSet};

use tidegate::{
    graph::JobGraph,
    id::{CheckpointId, OperatorUid},
    net::WireElement,
    operator::OperatorSnapshot,
    pipeline::Datum,
};

use super::{InvariantId, Violation, committed, kept, limited, splits};
use crate::{
    history::{CompletedCapture, History},
    model::{AtCut, Folds, Group, Model, Results, UnderWay, layout},
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    if model.is_of_scripts() {
        return kept::judge(history, model);
    }
    let mut violations = Vec::new();
    for (checkpoint_id, capture) in history.snapshots() {
        let checkpoint_id = &checkpoint_id;
        let found = found(capture, model);
        for problem in &found.problems {
            violations.push(violation(*checkpoint_id, "state that cannot be read", vec![format!("  {problem}")]));
        }
        // Splits that are not there once each are the matter of another invariant, and there is no cut without them.
        let Ok(cut) = splits::cut(capture, history, model) else { continue };
        let kept = found.folds.iter().map(|(uid, folds)| (uid.clone(), folds.keys().cloned().collect())).collect();
        let at_cut = under_way(capture, &history.graph, model)
            .and_then(|under_way| model.at_cut(&cut, &kept, &under_way).map_err(|error| error.to_string()));
        match at_cut {
            Ok(expected) => {
                violations.extend(compare_state(*checkpoint_id, (capture, history), &expected, &found.folds, model));
                violations.extend(compare_output((*checkpoint_id, capture), &expected, history, model));
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

/// The records that a checkpoint holds as under way, by the stage at the other end.
fn under_way(capture: &CompletedCapture, graph: &JobGraph, model: &Model) -> Result<UnderWay, String> {
    let folding = model.folding_stages();
    let mut under_way = UnderWay::new();
    for (subtask, state) in &capture.in_flight {
        let state =
            state.as_ref().map_err(|error| format!("what is under way at {subtask} cannot be read: {error}"))?;
        let inputs = state.inputs.iter().map(|channel| (channel, Some(subtask.vertex)));
        let outputs = state
            .outputs
            .iter()
            .map(|channel| (channel, graph.outputs(subtask.vertex).nth(channel.edge as usize).map(|edge| edge.to)));
        for (channel, to) in inputs.chain(outputs) {
            let to = to.and_then(|to| graph.vertices.get(to.0 as usize)?.operators.first());
            let to = to.ok_or_else(|| format!("{subtask} has no edge {}", channel.edge))?;
            for element in &channel.elements {
                let WireElement::Batch(bytes) = element else { continue };
                let records = layout::under_way(bytes, folding.contains_key(to))?;
                under_way.entry(to.clone()).or_default().extend(records);
            }
        }
    }
    Ok(under_way)
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
    (capture, history): (&CompletedCapture, &History),
    expected: &AtCut,
    found: &BTreeMap<OperatorUid, Folds>,
    model: &Model,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let keeps_all = model.running_aggregates();
    for (uid, folds) in found {
        let expected = expected.folds.get(uid).cloned().unwrap_or_default();
        // What had finished keeps nothing any more.
        let keeps_all = keeps_all.contains(uid) && !history.has_finished(uid, capture);
        let groups: BTreeSet<&Group> = expected.keys().chain(folds.keys()).collect();
        let mut evidence = Vec::new();
        for group in groups {
            match (expected.get(group), folds.get(group)) {
                (Some(expected), Some(found)) if expected == found => {}
                (Some(expected), Some(found)) => {
                    evidence.push(format!("- {group}: {}", shown(expected)));
                    evidence.push(format!("+ {group}: {}", shown(found)));
                }
                (Some(expected), None) if keeps_all => {
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

fn compare_output(
    (checkpoint_id, capture): (CheckpointId, &CompletedCapture),
    expected: &AtCut,
    history: &History,
    model: &Model,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let branch = history.branch_of(checkpoint_id, capture);
    let must_be_visible = committed::must_be_visible(history, model, (checkpoint_id, capture));
    for (sink, expected) in &expected.output {
        let actual = committed::lines_on(history, sink, &branch);
        let (lost, extra) = (expected.minus(&actual), actual.minus(expected));
        let mut evidence: Vec<String> = extra.iter().map(|(line, count)| format!("+ {count} × {line}")).collect();
        if must_be_visible {
            evidence.extend(lost.iter().map(|(line, count)| format!("- {count} × {line}")));
        }
        if !evidence.is_empty() {
            let what = format!("state that, together with the output of {sink} up to it, is not its source prefix");
            violations.push(violation(checkpoint_id, &what, limited(evidence)));
        }
    }
    violations
}
