//! What belongs to the user when everything has ended.

use std::{collections::BTreeSet, path::Path};

use tidegate::{
    checkpoint::retention::{Files, JobEnd},
    config::ClaimMode,
    id::CheckpointId,
};

use crate::{
    history::{CompletedCapture, Disposal, History},
    model::Model,
};

/// The user's snapshots.
#[derive(Debug, Default)]
pub(super) struct Owned<'a> {
    /// Checkpoints that were kept for the user when a run ended: the newest of it, as many as are retained.
    pub must_be_there: BTreeSet<CheckpointId>,
    /// Checkpoints that may be there: what was there, whole, when a run ended that was to keep its checkpoints. A leader that
    /// died may have left more of them than are retained.
    pub may_be_there: BTreeSet<CheckpointId>,
    /// The directories of savepoints of which the user was told, or that a recovery could have chosen.
    pub savepoints: BTreeSet<&'a Path>,
    /// Those of savepoints that may be there: whole, but nobody was told of them; or claimed by the job, and kept by it when it
    /// was cancelled.
    pub other_savepoints: BTreeSet<&'a Path>,
}

impl<'a> Owned<'a> {
    pub(super) fn by_user(history: &'a History, model: &Model) -> Self {
        let checkpoints = &model.config().checkpoints;
        let mut owned = Self::default();
        for (directory, savepoint) in &history.savepoints {
            match savepoint.disposal {
                Some(Disposal::Done) => continue,
                // Nobody knows how far that came.
                Some(Disposal::Asked) => {
                    owned.other_savepoints.insert(directory);
                    continue;
                }
                None => {}
            }
            let mut completed = history.completed.values();
            if savepoint.is_told || completed.any(|capture| capture.metadata == savepoint.capture.metadata) {
                owned.savepoints.insert(directory);
            } else {
                owned.other_savepoints.insert(directory);
            }
        }
        for (number, run) in history.runs.iter().enumerate() {
            if let Some(from) = run.from.as_ref().filter(|from| from.claim_mode == ClaimMode::Claim) {
                // It is the job's from now on, and goes with it or before.
                owned.must_be_there.remove(&from.checkpoint_id);
                owned.savepoints.remove(Path::new(&from.directory));
                owned.other_savepoints.remove(Path::new(&from.directory));
                owned.may_be_there.remove(&from.checkpoint_id);
            }
            let Some((sequence, end)) = run.ended else { continue };
            let keeps = checkpoints.retention.unwrap_or_default().files_at(end) == Files::Keep;
            if keeps && end != JobEnd::Finished {
                // A savepoint that the job was to stop with, and did not, is the user's in any case.
                let is_savepoint = |capture: &CompletedCapture| {
                    history.savepoints.values().any(|savepoint| savepoint.capture.metadata == capture.metadata)
                };
                let retained = history.retained_at(sequence, model).filter(|(_, capture)| !is_savepoint(capture));
                let own: Vec<CheckpointId> = retained.map(|(checkpoint_id, _)| checkpoint_id).collect();
                let claimed = run.from.iter().filter(|from| from.claim_mode == ClaimMode::Claim);
                let claimed = claimed.map(|from| {
                    owned.other_savepoints.insert(Path::new(&from.directory));
                    from.checkpoint_id
                });
                let claimed: Vec<CheckpointId> = claimed.collect();
                let since_before = |id: &CheckpointId| history.run_at(history.completed[id].sequence) == number;
                owned.may_be_there.extend(run.there_at_end.iter().copied().filter(since_before).chain(claimed));
                owned.must_be_there.extend(own);
            }
        }
        owned
    }
}
