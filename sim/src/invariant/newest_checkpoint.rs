//! I19 NewestCheckpoint: recovery uses the newest completed checkpoint.
//!
//! Whenever the job manager deploys an attempt, it restores the newest checkpoint that its run has completed before; if there
//! is none what the run was started from, or nothing. And a run is started from what its operator named. Savepoints count
//! only as such, and if the job stops with them. Judged of every run, by facts. What a leader deploys after another one took
//! over is fenced, and not judged. Source: FLINK-22502, FLINK-19816.

use std::path::Path;

use tidegate::{
    event::{Moment, Step},
    id::CheckpointId,
};

use super::{InvariantId, Violation, describe};
use crate::{history::History, model::Model};

pub(super) fn judge(history: &History, _model: &Model) -> Vec<Violation> {
    restored(history).into_iter().chain(started(history)).collect()
}

/// The runs that were not started from what their operator named.
fn started(history: &History) -> impl Iterator<Item = Violation> {
    history.runs.iter().filter_map(|run| {
        let (from, named) = (run.from.as_ref()?, history.named.get(&run.submission?)?);
        (Path::new(&from.directory) != named).then(|| Violation {
            invariant: InvariantId::I19,
            sentence: format!("A run was to start from {}, and began from {}.", named.display(), from.directory),
            signature: "I19 started from what nobody named".to_owned(),
            evidence: Vec::new(),
        })
    })
}

fn restored(history: &History) -> Vec<Violation> {
    let deployments = history.facts.iter().filter(|fact| fact.step == Step::Deploy && fact.moment == Moment::Before);
    let deployments =
        deployments.filter(|fact| leader_at(history, fact.sequence).is_none_or(|leader| *leader == *fact.node));
    deployments
        .filter_map(|fact| {
            let run = history.run_at(fact.sequence);
            let completed = history
                .completed
                .iter()
                .filter(|(_, capture)| capture.sequence < fact.sequence && history.run_at(capture.sequence) == run);
            let start = history.runs.get(run).and_then(|run| run.from.as_ref()).map(|from| from.checkpoint_id);
            let newest = completed.map(|(checkpoint_id, _)| *checkpoint_id).max().or(start);
            if fact.checkpoint_id == newest {
                return None;
            }
            let what = match (fact.checkpoint_id, newest) {
                (None, _) => "nothing",
                (Some(restored), Some(newest)) if restored < newest => "an older checkpoint",
                (Some(_), _) => "an uncompleted checkpoint",
            };
            Some(Violation {
                invariant: InvariantId::I19,
                sentence: format!(
                    "A recovery restored {} while the newest completed checkpoint was {}.",
                    shown(fact.checkpoint_id),
                    shown(newest)
                ),
                signature: format!("I19 restored {what}"),
                evidence: vec![describe(fact)],
            })
        })
        .collect()
}

/// Who led at some moment; `None` if nobody said so.
fn leader_at(history: &History, sequence: u64) -> Option<&str> {
    let takeovers = history
        .facts
        .iter()
        .filter(|fact| fact.step == Step::TakeLeadership && fact.moment == Moment::After && fact.sequence < sequence);
    takeovers.max_by_key(|fact| fact.sequence).map(|fact| &*fact.node)
}

fn shown(checkpoint_id: Option<CheckpointId>) -> String {
    checkpoint_id.map_or_else(|| "none".to_owned(), |checkpoint_id| checkpoint_id.to_string())
}
