//! How a job manager becomes the leader, and what it finds.

use super::{ATTEMPTS_PER_EPOCH, JobManagerSetup, Restore};
use crate::{
    config::CheckpointStorageConfig,
    error::{Error, ErrorKind, Result},
    event::{Moment, Reporter, Step, Subject},
    id::{Attempt, CheckpointId, Epoch},
    runtime::storage_actor::Storage,
    storage::{CheckpointStore, Takeover, read_metadata},
};
use std::{collections::BTreeMap, sync::Arc};

/// A leadership that has just begun.
pub(super) struct Leadership {
    pub epoch: Epoch,
    pub found: Takeover,
    pub storage: Storage,
    pub given: Option<Restore>,
    pub reporter: Reporter,
}

/// Takes the leadership: older leaders can complete nothing from now on.
///
/// Without files there is no log and no second leader to exclude: the time stands for the epoch, and the job starts
/// from nothing.
pub(super) async fn take_leadership(setup: &JobManagerSetup) -> Result<Leadership> {
    let reporter = Reporter::new(Subject::node(setup.name.as_str()), Attempt::default(), setup.observer.clone());
    let given = match &setup.restore_from {
        Some(path) => {
            let metadata = Arc::new(read_metadata(&setup.file_system, path).await?);
            let directory = if path.ends_with("_metadata") { crate::storage::parent(path) } else { path.clone() };
            Some(Restore { metadata, directory })
        }
        None => None,
    };
    state(&reporter, Moment::Before).await?;
    let (storage, found) = match &setup.config.checkpoints.storage {
        CheckpointStorageConfig::FileSystem { directory } => {
            let directory = directory.join(&setup.job_id);
            let token = setup.env.entropy();
            // What its sinks staged is swept by later attempts only.
            let after = given.as_ref().map(|given: &Restore| Epoch(given.metadata.attempt.0 / ATTEMPTS_PER_EPOCH));
            let (store, found) =
                CheckpointStore::take_over(setup.file_system.clone(), directory, token, after.unwrap_or_default())
                    .await?;
            (Storage::Files(store), found)
        }
        CheckpointStorageConfig::JobManager => {
            let found = Takeover {
                epoch: Epoch(setup.env.now().0.unsigned_abs() / 1000),
                latest_completed: None,
                retained: Vec::new(),
                abandoned: Vec::new(),
                next_checkpoint_id: CheckpointId(1),
                finished: false,
            };
            (Storage::Memory(BTreeMap::new()), found)
        }
    };
    state(&reporter, Moment::After).await?;
    Ok(Leadership { epoch: found.epoch, found, storage, given, reporter })
}

async fn state(reporter: &Reporter, moment: Moment) -> Result<()> {
    let stated = reporter.state(moment, Step::TakeLeadership, None, "").await;
    stated.map_err(|failure| Error::new(ErrorKind::Unavailable, failure.to_string()))
}
