//! I14 Splits: each source split has one owner; offsets are continuous.
//!
//! A completed checkpoint holds each split of each source once, at a position that the split has. From one completed
//! checkpoint to the next, no position goes back. A subtask that has finished keeps no splits: its were read to their ends. Judged of every run. Source: Flink `SourceOperator` state, FLINK-21817,
//! FLINK-6006.

use std::collections::BTreeMap;

use tidegate::id::CheckpointId;

use super::{InvariantId, Violation, limited};
use crate::{
    history::{CompletedCapture, History},
    model::{Cut, Model, layout},
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut before: Option<(CheckpointId, Cut)> = None;
    let mut run = 0;
    for (checkpoint_id, capture) in history.judgeable() {
        if history.run_at(capture.sequence) != run {
            run = history.run_at(capture.sequence);
            // A run goes on from where it was started.
            before = history.runs[run].from.as_ref().and_then(|from| {
                let start = history.started_from(from)?;
                Some((from.checkpoint_id, cut(start, history, model).ok()?))
            });
        }
        match cut(capture, history, model) {
            Err(problems) => violations.push(Violation {
                invariant: InvariantId::I14,
                sentence: format!("Checkpoint {checkpoint_id} does not hold every split of every source once."),
                signature: "I14 splits of a checkpoint".to_owned(),
                evidence: limited(problems),
            }),
            Ok(cut) => {
                let back = before.iter().flat_map(|(earlier, before)| backwards(*earlier, before, &cut));
                let evidence = limited(back);
                if !evidence.is_empty() {
                    violations.push(Violation {
                        invariant: InvariantId::I14,
                        sentence: format!("A split in checkpoint {checkpoint_id} lies before an earlier checkpoint."),
                        signature: "I14 split goes back".to_owned(),
                        evidence,
                    });
                }
                before = Some((*checkpoint_id, cut));
            }
        }
    }
    violations
}

fn backwards(earlier: CheckpointId, before: &Cut, cut: &Cut) -> Vec<String> {
    let mut back = Vec::new();
    for (uid, splits) in &before.sources {
        for (split, position) in splits {
            let now = cut.sources.get(uid).and_then(|splits| splits.get(split));
            if let Some(now) = now.filter(|now| *now < position) {
                back.push(format!("~ split {split} of {uid}: {position} in checkpoint {earlier}, then {now}"));
            }
        }
    }
    back
}

/// The cut that a checkpoint holds, or what is wrong with it.
pub(super) fn cut(capture: &CompletedCapture, history: &History, model: &Model) -> Result<Cut, Vec<String>> {
    let mut cut = Cut::default();
    let mut problems = Vec::new();
    for (uid, lengths) in model.splits() {
        let mut positions: BTreeMap<u32, u64> = BTreeMap::new();
        for (subtask, operators) in &capture.state {
            let splits = match operators.get(&uid) {
                None => continue,
                Some(Ok(snapshot)) if model.is_of_scripts() => layout::script_places(snapshot),
                Some(Ok(snapshot)) => layout::splits(snapshot),
                Some(Err(error)) => Err(error.clone()),
            };
            match splits {
                Ok(splits) => {
                    for (split, position) in splits {
                        if positions.insert(split, position).is_some() {
                            problems.push(format!("+ split {split} of {uid} in {subtask}"));
                        }
                    }
                }
                Err(error) => problems.push(format!("  {uid} of {subtask}: {error}")),
            }
        }
        let has_finished = history.has_finished(&uid, capture);
        for (split, length) in &lengths {
            if has_finished {
                positions.entry(*split).or_insert(*length);
            }
            match positions.get(split) {
                Some(position) if position <= length => {}
                Some(position) => problems.push(format!("! split {split} of {uid} at {position} of {length}")),
                None => problems.push(format!("- split {split} of {uid}")),
            }
        }
        problems.extend(
            positions
                .keys()
                .filter(|split| !lengths.contains_key(split))
                .map(|split| format!("! split {split} of {uid}")),
        );
        cut.sources.insert(uid, positions);
    }
    if problems.is_empty() { Ok(cut) } else { Err(problems) }
}
