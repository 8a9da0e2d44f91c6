//! I4 Order: order per key and partition is kept.
//!
//! Within the files of one subtask, in the order of their checkpoints, lines of one sequence come in its order: records
//! of a split by position, updates of a key by count, results of a key by window. Lines that stand for several places,
//! and sinks to which records are dealt out more than once on the way, say nothing. Judged of every run.
//! Source: Flink's guarantee that order is kept between one sending and one receiving subtask.

use std::collections::{BTreeMap, BTreeSet};

use super::{InvariantId, Violation, committed, limited};
use crate::{
    history::{Branch, History},
    model::{Model, Place},
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let mut violations = Vec::new();
    for sink in model.sinks() {
        let updates = model.updates().get(&sink.name);
        let place = |line: &str| match updates {
            Some(updates) if updates.is_ordered() => updates.place(line),
            Some(_) => None,
            None => sink.places.get(line).cloned(),
        };
        let branches = history.branches();
        let of_branch = branches.iter().map(|branch| reordered(history, &sink.name, branch, place));
        let reordered: BTreeSet<String> = of_branch.flatten().collect();
        if !reordered.is_empty() {
            violations.push(Violation {
                invariant: InvariantId::I4,
                sentence: format!(
                    "{} lines of {} come after later ones of their sequence.",
                    reordered.len(),
                    sink.name
                ),
                signature: format!("I4 reordered lines in {}", sink.name),
                evidence: limited(reordered),
            });
        }
    }
    violations
}

/// What was committed on a branch of the job's runs, in its order.
fn reordered(history: &History, sink: &str, branch: &Branch, place: impl Fn(&str) -> Option<Place>) -> Vec<String> {
    let mut latest: BTreeMap<(u32, String), i64> = BTreeMap::new();
    let mut reordered = Vec::new();
    for (name, file) in
        committed::files(history, sink).into_iter().filter(|(name, _)| branch.contains(name.checkpoint_id))
    {
        for line in &file.lines {
            let Some(Place { sequence, position }) = place(line) else { continue };
            let latest = latest.entry((name.subtask_index, sequence)).or_insert(position);
            // The same place again is a duplicate, of which another invariant speaks.
            if position < *latest {
                reordered.push(format!("~ {line} in {}", file.name));
            }
            *latest = position.max(*latest);
        }
    }
    reordered
}
