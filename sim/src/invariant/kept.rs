//! I5 Cut, I10 Timers, I11 Windows and I18 SnapshotPurity of pipelines of scripts: what a completed checkpoint holds, and
//! what was committed up to it, equals the model at exactly the recorded position of the script.
//!
//! The position says everything: records and watermarks have one order, so each entry of each state is known. What
//! differs tells what is broken:
//!
//! | what differs | invariant |
//! |---|---|
//! | a stage's state, and it is the model's at a later position | I18: the snapshot saw later changes |
//! | timers | I10: one was lost, fired too early, or was not removed |
//! | else, of a stage with windows: contents, triggers, sessions, firings | I11 |
//! | else | I5 |
//! | committed output, by the operation that keeps state next before the sink | I10, I11 or I5 |
//!
//! A checkpoint that holds data under way is left out: each subtask stands at a position of its own then. What it holds is
//! the matter of I22, and what comes of it that of the output. Of output that is still missing at the end, only runs that finished are accused. Source: consistent cuts (Chandy and
//! Lamport 1985; Carbone et al. 2015).

use std::collections::BTreeMap;

use tidegate::{
    id::{CheckpointId, OperatorUid},
    operator::OperatorSnapshot,
    pipeline::{PlannedOperation, ProcessFunction},
};

use super::{InvariantId, Violation, committed, drained_model, limited, model_drained_at, splits};
use crate::{
    history::{CompletedCapture, History},
    model::{Cut, Model, ScriptCut, kept::KeptByStage, layout},
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let mut violations = Vec::new();
    let drained = drained_model(history, model);
    for (checkpoint_id, capture) in history.snapshots().filter(|(_, capture)| !capture.has_data_under_way()) {
        // From the savepoint on with which it was drained, the job has no more data than up to there.
        let is_drained = history.drained.and_then(|drained| history.completed.get(&drained));
        let is_drained = is_drained.is_some_and(|drained| drained.sequence <= capture.sequence);
        // A savepoint of a drain that came to nothing, with time at its end, is of no other job than itself.
        let alone = (capture.drains && !is_drained).then(|| model_drained_at(capture, history, model)).flatten();
        let model = drained.as_ref().filter(|_| is_drained).or(alone.as_ref()).unwrap_or(model);
        // Splits that are not there once each are the matter of another invariant, and there is no cut without them.
        let Ok(cut) = splits::cut(capture, history, model) else { continue };
        let checkpoint = Checkpoint { checkpoint_id, cut, found: BTreeMap::new() };
        let (checkpoint, problems) = checkpoint.read(capture, history, model);
        violations.extend(problems);
        match model.script_at(&checkpoint.cut) {
            // Nobody can see whether a script that stands at its end has ended: what fits better is right.
            Ok(expected) => {
                let judged = expected.iter().map(|expected| checkpoint.compare(expected, (capture, history), model));
                let lines = |violations: &Vec<Violation>| violations.iter().map(|v| v.evidence.len()).sum::<usize>();
                violations.extend(judged.min_by_key(lines).unwrap_or_default());
            }
            Err(error) => {
                let evidence = vec![format!("  {error}")];
                violations.push(checkpoint.violation(InvariantId::I5, "a cut without a model", evidence));
            }
        }
    }
    violations
}

/// A completed checkpoint, read.
struct Checkpoint {
    checkpoint_id: CheckpointId,
    cut: Cut,
    found: BTreeMap<OperatorUid, KeptByStage>,
}

impl Checkpoint {
    fn read(mut self, capture: &CompletedCapture, history: &History, model: &Model) -> (Self, Vec<Violation>) {
        let mut violations = Vec::new();
        for (uid, operation) in model.stages() {
            let (kept, problems) = layout::stage::kept(operation, snapshots(capture, &uid));
            if !problems.is_empty() {
                let what = format!("state of {uid} that is not what it must be");
                violations.push(self.violation(InvariantId::I5, &what, limited(problems)));
            }
            // What had finished keeps nothing any more, and nobody can compare it.
            if !history.has_finished(&uid, capture) {
                self.found.insert(uid, kept);
            }
        }
        (self, violations)
    }

    fn violation(&self, invariant: InvariantId, what: &str, evidence: Vec<String>) -> Violation {
        Violation {
            invariant,
            sentence: format!("Checkpoint {} has {what}.", self.checkpoint_id),
            signature: format!("{} {what}", invariant.number()),
            evidence,
        }
    }

    fn compare(
        &self,
        expected: &ScriptCut,
        (capture, history): (&CompletedCapture, &History),
        model: &Model,
    ) -> Vec<Violation> {
        let mut violations = Vec::new();
        let branch = history.branch_of(self.checkpoint_id, capture);
        let must_be_visible = committed::must_be_visible(history, model, (self.checkpoint_id, capture));
        for (uid, operation) in model.stages() {
            if let (Some(expected), Some(found)) = (expected.kept.get(&uid), self.found.get(&uid)) {
                violations.extend(self.compare_stage((&uid, operation), expected, found, model));
            }
        }
        for (sink, expected) in &expected.output {
            let actual = committed::lines_on(history, sink, &branch);
            let (lost, extra) = (expected.minus(&actual), actual.minus(expected));
            let mut evidence: Vec<String> = extra.iter().map(|(line, count)| format!("+ {count} × {line}")).collect();
            if must_be_visible {
                evidence.extend(lost.iter().map(|(line, count)| format!("- {count} × {line}")));
            }
            if !evidence.is_empty() {
                let what = format!("other output of {sink} up to it than its script gives");
                let invariant = model.stateful_before(sink).map_or(InvariantId::I5, about);
                violations.push(self.violation(invariant, &what, limited(evidence)));
            }
        }
        violations
    }

    fn compare_stage(
        &self,
        (uid, operation): (&OperatorUid, &PlannedOperation),
        expected: &KeptByStage,
        found: &KeptByStage,
        model: &Model,
    ) -> Vec<Violation> {
        let differences = expected.differences(found);
        if differences.is_empty() {
            return Vec::new();
        }
        let lines = |is_timer: bool| {
            let lines = differences.iter().filter(move |difference| difference.is_timer == is_timer);
            lines.flat_map(|difference| difference.lines.iter().cloned()).collect::<Vec<_>>()
        };
        if let Some(later) = model.later_cut(&self.cut, uid, found) {
            let mut evidence = limited(lines(true).into_iter().chain(lines(false)));
            evidence.push(format!("  it is what there must be after step {later}"));
            let what = format!("state of {uid} that saw what came after it");
            return vec![self.violation(InvariantId::I18, &what, evidence)];
        }
        let other = match operation {
            PlannedOperation::Window(_) | PlannedOperation::WindowJoin(_) => InvariantId::I11,
            PlannedOperation::Filter { .. }
            | PlannedOperation::Map { .. }
            | PlannedOperation::Repeat { .. }
            | PlannedOperation::Aggregate { .. }
            | PlannedOperation::Rolling { .. }
            | PlannedOperation::Process(_)
            | PlannedOperation::Buffer { .. }
            | PlannedOperation::Enrich(_)
            | PlannedOperation::IntervalJoin(_) => InvariantId::I5,
        };
        let mut violations = Vec::new();
        for (invariant, name, lines) in [(InvariantId::I10, "timers", lines(true)), (other, "state", lines(false))] {
            if !lines.is_empty() {
                let what = format!("other {name} of {uid} than its script gives");
                violations.push(self.violation(invariant, &what, limited(lines)));
            }
        }
        violations
    }
}

/// What the results of an operation are about.
fn about(operation: &PlannedOperation) -> InvariantId {
    match operation {
        PlannedOperation::Window(_) | PlannedOperation::WindowJoin(_) => InvariantId::I11,
        PlannedOperation::Process(process) => match process.declared.function {
            ProcessFunction::Timers { .. } => InvariantId::I10,
            ProcessFunction::ValueAvg { .. }
            | ProcessFunction::ListAvg { .. }
            | ProcessFunction::MapAvg { .. }
            | ProcessFunction::MapCount { .. }
            | ProcessFunction::ReducingSum
            | ProcessFunction::AggregatingContains
            | ProcessFunction::AggregatingAvg
            | ProcessFunction::ValueCount
            | ProcessFunction::Dedup
            | ProcessFunction::RawCount => InvariantId::I5,
        },
        PlannedOperation::Filter { .. }
        | PlannedOperation::Map { .. }
        | PlannedOperation::Repeat { .. }
        | PlannedOperation::Aggregate { .. }
        | PlannedOperation::Rolling { .. }
        | PlannedOperation::Buffer { .. }
        | PlannedOperation::Enrich(_)
        | PlannedOperation::IntervalJoin(_) => InvariantId::I5,
    }
}

/// What can be read of an operator's state, by subtask.
fn snapshots<'a>(capture: &'a CompletedCapture, uid: &'a OperatorUid) -> impl Iterator<Item = &'a OperatorSnapshot> {
    capture.state.values().filter_map(|operators| operators.get(uid)?.as_ref().ok())
}
