//! I19 NewestCheckpoint: recovery uses the newest completed checkpoint.
//!
//! Whenever the job manager deploys an attempt, it restores the newest checkpoint that was completed before, or nothing
//! if there is none. Judged of every run, by facts. Source: FLINK-22502, FLINK-19816.

use tidegate::{
    event::{Moment, Step},
    id::CheckpointId,
};

use super::{InvariantId, Violation, describe};
use crate::{history::History, model::Model};

pub(super) fn judge(history: &History, _model: &Model) -> Vec<Violation> {
    let deployments = history.facts.iter().filter(|fact| fact.step == Step::Deploy && fact.moment == Moment::Before);
    deployments
        .filter_map(|fact| {
            let completed = history.completed.iter().filter(|(_, capture)| capture.sequence < fact.sequence);
            let newest = completed.map(|(checkpoint_id, _)| *checkpoint_id).max();
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

fn shown(checkpoint_id: Option<CheckpointId>) -> String {
    checkpoint_id.map_or_else(|| "none".to_owned(), |checkpoint_id| checkpoint_id.to_string())
}
