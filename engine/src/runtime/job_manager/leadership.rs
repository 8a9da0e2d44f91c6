//! How a job manager becomes the leader, and what it finds.

use super::{ATTEMPTS_PER_EPOCH, JobManagerSetup, Restore, shared_state::SharedState};
use crate::{
    checkpoint::Ownership,
    config::CheckpointStorageConfig,
    error::{Error, ErrorKind, Result},
    event::{Moment, Reporter, Step, Subject},
    id::{Attempt, CheckpointId, Epoch},
    runtime::storage_actor::Storage,
    storage::{CheckpointStore, Takeover, read_metadata, shared_beside},
};
use std::{collections::BTreeMap, sync::Arc};

/// A leadership that has just begun.
pub(super) struct Leadership {
    pub epoch: Epoch,
    pub found: Takeover,
    pub storage: Storage,
    pub given: Option<Restore>,
    pub shared: SharedState,
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
            Some(Restore { metadata, directory, ownership: Ownership::User })
        }
        None => None,
    };
    state(&reporter, Moment::Before).await?;
    let mut shared = SharedState::default();
    let (storage, found) = match &setup.config.checkpoints.storage {
        CheckpointStorageConfig::FileSystem { directory } => {
            let directory = directory.join(&setup.job_id);
            let token = setup.env.entropy();
            // What its sinks staged is swept by later attempts only.
            let after = given.as_ref().map(|given: &Restore| Epoch(given.metadata.attempt.0 / ATTEMPTS_PER_EPOCH));
            let (store, found) =
                CheckpointStore::take_over(setup.file_system.clone(), directory, token, after.unwrap_or_default())
                    .await?;
            if found.shares_files {
                find_shared(&mut shared, &store, &found, given.as_ref()).await?;
            }
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
                shares_files: false,
            };
            (Storage::Memory(BTreeMap::new()), found)
        }
    };
    state(&reporter, Moment::After).await?;
    Ok(Leadership { epoch: found.epoch, found, storage, given, shared, reporter })
}

/// Learns from the retained checkpoints which shared files are needed.
async fn find_shared(
    shared: &mut SharedState,
    store: &CheckpointStore,
    found: &Takeover,
    given: Option<&Restore>,
) -> Result<()> {
    for checkpoint_id in &found.retained {
        let metadata = match store.read_metadata(*checkpoint_id).await {
            Ok(metadata) => Some(metadata),
            // Whoever restores it will say more. Until then nothing is deleted that it may refer to.
            Err(error) if error.kind() == ErrorKind::CorruptState => {
                tracing::warn!(%checkpoint_id, %error, "a retained checkpoint cannot be read: no shared files are swept");
                None
            }
            Err(error) => return Err(error),
        };
        shared.found(metadata.as_ref());
    }
    let beside = |given: &&Restore| {
        shared_beside(&given.directory) == shared_beside(&store.checkpoint_directory(CheckpointId(0)))
    };
    if let Some(given) = given.filter(beside) {
        shared.given(&given.metadata);
    }
    Ok(())
}

async fn state(reporter: &Reporter, moment: Moment) -> Result<()> {
    let stated = reporter.state(moment, Step::TakeLeadership, None, "").await;
    stated.map_err(|failure| Error::new(ErrorKind::Unavailable, failure.to_string()))
}
