//! How a job manager becomes the leader, and what it finds.

use super::{JobManagerSetup, mistakes, restore::Restore, shared_state::SharedState};
use crate::{
    checkpoint::{
        Ownership,
        retention::{CompletedCheckpoint, CompletedKind, Files, JobEnd},
    },
    config::{CheckpointStorageConfig, ClaimMode},
    error::{Error, ErrorKind, Result},
    event::{Moment, Reporter, Step, Subject},
    id::{Attempt, CheckpointId, Epoch},
    planted,
    runtime::storage_actor::Storage,
    storage::{
        CheckpointMetadata, CheckpointStore, LogEntry, RestoredFrom, Rival, Takeover, current_run, discard,
        discard_claimed, parent, read_log, read_metadata, shared_beside,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A leadership that has just begun.
pub(super) struct Leadership {
    pub epoch: Epoch,
    pub found: Takeover,
    pub storage: Storage,
    /// What a recovery may choose from.
    pub retained: Vec<CompletedCheckpoint>,
    /// Where those of them are that do not lie among the job's checkpoints.
    pub elsewhere: BTreeMap<CheckpointId, PathBuf>,
    pub shared: SharedState,
    pub reporter: Reporter,
}

/// Takes the leadership: older leaders can complete nothing from now on.
///
/// Without files there is no log and no second leader to exclude: the time stands for the epoch, and the job starts
/// from nothing, or from what the user gave.
pub(super) async fn take_leadership(setup: &JobManagerSetup) -> Result<Leadership> {
    let reporter = Reporter::new(Subject::node(setup.name.as_str()), Attempt::default(), setup.observer.clone());
    let named = match planted!("run_begins_from_the_newest_whatever_was_named") {
        true => mistakes::newest_if_any_is_named(setup).await?,
        false => setup.restore_from.clone(),
    };
    let given = match &named {
        // What a run was started from may be gone when its process comes back: claimed and subsumed, or deleted by its user.
        Some(path) if !goes_on(setup, path).await? || planted!("restart_reads_what_its_run_was_started_from") => {
            Some(read_given(setup, path).await?)
        }
        Some(_) | None => None,
    };
    state(&reporter, Moment::Before).await?;
    let mut shared = SharedState::default();
    let (storage, found, elsewhere) = match &setup.config.checkpoints.storage {
        CheckpointStorageConfig::FileSystem { directory } => {
            let directory = directory.join(&setup.job_id);
            let token = setup.env.entropy();
            // What its sinks staged is swept by later attempts only.
            let after = given.as_ref().map(|(_, metadata)| metadata.attempt.epoch());
            let rival = match setup.config.high_availability {
                Some(_) => Rival::YieldTo,
                None => Rival::Outbid,
            };
            let (mut store, mut found) = CheckpointStore::take_over(
                setup.file_system.clone(),
                directory,
                token,
                after.unwrap_or_default(),
                rival,
            )
            .await?;
            if let Some((from, _)) = given
                && begins_run(&found, &from, setup.submission)
            {
                store.begin_run(&mut found, from, setup.submission).await?;
            }
            adopt_claimed(setup, &mut store, &mut found).await?;
            if planted!("checkpoint_from_the_future_not_believed") {
                mistakes::drop_those_from_the_future(setup, &store, &mut found).await?;
            }
            let elsewhere = find_elsewhere(setup, &mut found).await;
            if found.shares_files {
                find_shared(&mut shared, &store, &found, &elsewhere).await?;
            }
            if let Some(end) = found.ended {
                clean_up_after(setup, &store, &found, &mut shared, end).await?;
            }
            (Storage::Files(store), found, elsewhere)
        }
        CheckpointStorageConfig::JobManager => {
            let mut found = Takeover {
                epoch: Epoch(setup.env.now().0.unsigned_abs() / 1000),
                latest_completed: None,
                retained: Vec::new(),
                savepoint: None,
                abandoned: Vec::new(),
                abandoned_savepoints: Vec::new(),
                next_checkpoint_id: CheckpointId(1),
                kept: Vec::new(),
                restored: None,
                ended: None,
                submission: None,
                shares_files: false,
            };
            if let Some((from, _)) = given {
                found.next_checkpoint_id = from.checkpoint_id.next();
                found.restored = Some(from);
            }
            let elsewhere = find_elsewhere(setup, &mut found).await;
            (Storage::Memory(BTreeMap::new()), found, elsewhere)
        }
    };
    state(&reporter, Moment::After).await?;
    let retained = retained(&found, &elsewhere);
    Ok(Leadership { epoch: found.epoch, found, storage, retained, elsewhere, shared, reporter })
}

/// Whether the job goes on with a run that has begun already, so that what the user gave is not what it starts from: the
/// contrary of [`begins_run`], known before anything is read.
async fn goes_on(setup: &JobManagerSetup, given: &Path) -> Result<bool> {
    let CheckpointStorageConfig::FileSystem { directory } = &setup.config.checkpoints.storage else { return Ok(false) };
    let log = read_log(&setup.file_system, &directory.join(&setup.job_id)).await?;
    let run = current_run(&log);
    let restored = match run.first() {
        Some(LogEntry::Restored { from, submission, .. }) => Some((from, *submission)),
        Some(_) | None => None,
    };
    if run.iter().any(|entry| entry.job_end().is_some()) {
        return Ok(restored.is_some_and(|(_, submission)| submission == setup.submission));
    }
    let given = directory_of(given);
    let is_completed = run.iter().any(|entry| entry.completed().is_some());
    Ok(is_completed || restored.is_some_and(|(from, _)| Path::new(&from.directory) == given))
}

/// The directory of a checkpoint, of which the `_metadata` may be named.
fn directory_of(path: &Path) -> PathBuf {
    if path.ends_with("_metadata") { parent(path) } else { path.to_owned() }
}

async fn read_given(setup: &JobManagerSetup, path: &Path) -> Result<(RestoredFrom, Arc<CheckpointMetadata>)> {
    let metadata = read_metadata(&setup.file_system, path).await.map_err(|error| match error.kind() {
        ErrorKind::CorruptState => error.with_hint(
            "name the directory of a whole checkpoint or savepoint, one that holds its file _metadata; nothing was changed",
        ),
        _ => error,
    })?;
    let directory = directory_of(path);
    // What does not fit the job is refused before anything is written.
    let restore = Restore::new(setup, metadata, directory.clone(), Ownership::User)?;
    let metadata = restore.metadata;
    let from = RestoredFrom {
        checkpoint_id: metadata.checkpoint_id,
        directory: directory.to_string_lossy().into_owned(),
        claim_mode: setup.config.checkpoints.claim_mode,
    };
    Ok((from, metadata))
}

/// Whether the job starts from what the user gave: it has no unfinished work of its own, and this submission of it is not
/// one that has ended already.
fn begins_run(found: &Takeover, from: &RestoredFrom, submission: u64) -> bool {
    match found.ended {
        Some(_) => found.submission != Some(submission),
        None => found.latest_completed.is_none() && found.restored.as_ref() != Some(from),
    }
}

/// Where the checkpoints are that a recovery may choose and that are not among the job's.
async fn find_elsewhere(setup: &JobManagerSetup, found: &mut Takeover) -> BTreeMap<CheckpointId, PathBuf> {
    let mut elsewhere: BTreeMap<CheckpointId, PathBuf> =
        found.latest_completed.into_iter().zip(found.savepoint.clone()).collect();
    elsewhere.extend(found.abandoned_savepoints.iter().cloned());
    let Some(from) = found.restored.as_ref().filter(|from| !found.retained.contains(&from.checkpoint_id)) else {
        return elsewhere;
    };
    let directory = PathBuf::from(&from.directory);
    let is_needed = match from.claim_mode {
        ClaimMode::NoClaim | ClaimMode::Legacy => found.latest_completed.is_none(),
        ClaimMode::Claim => {
            let there = setup.file_system.exists(&directory.join("_metadata")).await.unwrap_or(true);
            // Its deletion may have been interrupted.
            if !there && let Err(error) = discard_claimed(&setup.file_system, &directory).await {
                tracing::warn!(%error, "what is left of a claimed checkpoint could not be deleted");
            }
            there || found.latest_completed.is_none()
        }
    };
    if is_needed {
        elsewhere.insert(from.checkpoint_id, directory);
    }
    elsewhere
}

/// A claimed checkpoint that an earlier run of the job has kept is one of its own again.
async fn adopt_claimed(setup: &JobManagerSetup, store: &mut CheckpointStore, found: &mut Takeover) -> Result<()> {
    let Some(from) = found.restored.as_ref().filter(|from| from.claim_mode == ClaimMode::Claim) else { return Ok(()) };
    let (checkpoint_id, directory) = (from.checkpoint_id, PathBuf::from(&from.directory));
    if store.checkpoint_directory(checkpoint_id) != directory || !found.kept.contains(&checkpoint_id) {
        return Ok(());
    }
    store.adopt(checkpoint_id);
    found.kept.retain(|kept| *kept != checkpoint_id);
    let there = setup.file_system.exists(&directory.join("_metadata")).await.unwrap_or(true);
    if there || found.latest_completed.is_none() {
        found.retained.insert(0, checkpoint_id);
        return Ok(());
    }
    // Its deletion was interrupted.
    store.discard(checkpoint_id).await
}

/// What a recovery may choose from.
fn retained(found: &Takeover, elsewhere: &BTreeMap<CheckpointId, PathBuf>) -> Vec<CompletedCheckpoint> {
    let restored = found.restored.as_ref().filter(|from| elsewhere.contains_key(&from.checkpoint_id));
    let restored = restored.map(|from| CompletedCheckpoint {
        checkpoint_id: from.checkpoint_id,
        kind: match from.claim_mode {
            ClaimMode::Claim if planted!("claimed_checkpoint_never_deleted") => CompletedKind::Unclaimed,
            ClaimMode::Claim => CompletedKind::Checkpoint,
            ClaimMode::NoClaim | ClaimMode::Legacy if planted!("unclaimed_checkpoint_deleted") => {
                CompletedKind::Checkpoint
            }
            ClaimMode::NoClaim | ClaimMode::Legacy => CompletedKind::Unclaimed,
        },
    });
    let is_known = |checkpoint_id: &&CheckpointId| {
        Some(**checkpoint_id) == found.latest_completed || !planted!("checkpoints_found_at_takeover_never_deleted")
    };
    let own = found.retained.iter().filter(is_known).map(|checkpoint_id| {
        let is_savepoint = found.savepoint.is_some() && Some(*checkpoint_id) == found.latest_completed;
        let kind = if is_savepoint { CompletedKind::StopWithSavepoint } else { CompletedKind::Checkpoint };
        CompletedCheckpoint { checkpoint_id: *checkpoint_id, kind }
    });
    restored.into_iter().chain(own).collect()
}

/// Learns from the checkpoints that are there which shared files are needed.
async fn find_shared(
    shared: &mut SharedState,
    store: &CheckpointStore,
    found: &Takeover,
    elsewhere: &BTreeMap<CheckpointId, PathBuf>,
) -> Result<()> {
    for checkpoint_id in found.retained.iter().filter(|checkpoint_id| !elsewhere.contains_key(checkpoint_id)) {
        shared.found(readable(*checkpoint_id, store.read_metadata(*checkpoint_id).await)?.as_ref());
    }
    for checkpoint_id in &found.kept {
        shared.of_user(readable(*checkpoint_id, store.read_metadata(*checkpoint_id).await)?.as_ref());
    }
    if let Some(from) = &found.restored
        && from.claim_mode != ClaimMode::Claim
        && is_beside(store, Path::new(&from.directory))
    {
        match read_metadata(store.file_system(), Path::new(&from.directory)).await {
            Ok(metadata) => shared.of_user(Some(&metadata)),
            // The user may have deleted it.
            Err(error) if error.kind() == ErrorKind::CorruptState => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a checkpoint in this directory shares files with those of the job.
fn is_beside(store: &CheckpointStore, directory: &Path) -> bool {
    shared_beside(directory) == shared_beside(&store.checkpoint_directory(CheckpointId(0)))
}

/// `None` if a checkpoint is damaged: whoever restores it will say more. Until then nothing is deleted that it may refer to.
fn readable(checkpoint_id: CheckpointId, read: Result<CheckpointMetadata>) -> Result<Option<CheckpointMetadata>> {
    match read {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::CorruptState => {
            tracing::warn!(%checkpoint_id, %error, "a retained checkpoint cannot be read: no shared files are swept");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The job has ended, and its last leader may have died before it had deleted what nobody needs any more.
async fn clean_up_after(
    setup: &JobManagerSetup,
    store: &CheckpointStore,
    found: &Takeover,
    shared: &mut SharedState,
    end: JobEnd,
) -> Result<()> {
    for checkpoint_id in &found.abandoned {
        store.discard(*checkpoint_id).await?;
    }
    for (_, directory) in &found.abandoned_savepoints {
        discard(&setup.file_system, directory).await?;
    }
    if setup.config.checkpoints.retention.unwrap_or_default().files_at(end) == Files::Delete {
        for checkpoint_id in &found.retained {
            store.discard(*checkpoint_id).await?;
            shared.gone(*checkpoint_id);
        }
        let claimed = found.restored.as_ref().filter(|from| from.claim_mode == ClaimMode::Claim);
        if let Some(from) = claimed.filter(|from| !found.retained.contains(&from.checkpoint_id)) {
            discard_claimed(&setup.file_system, Path::new(&from.directory)).await?;
        }
    }
    let newest = Attempt::last_of(found.epoch);
    match shared.sweep(newest, BTreeSet::new()).filter(|_| found.shares_files) {
        Some(sweep) => store.sweep_shared(&sweep).await,
        None => Ok(()),
    }
}

async fn state(reporter: &Reporter, moment: Moment) -> Result<()> {
    let stated = reporter.state(moment, Step::TakeLeadership, None, "").await;
    stated.map_err(|failure| Error::new(ErrorKind::Unavailable, failure.to_string()))
}
