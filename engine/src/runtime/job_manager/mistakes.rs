//! What planted bugs do that takes more than a line at their site. Nothing here is called but by one that is active.

use std::path::PathBuf;

use super::JobManagerSetup;
use crate::{
    config::CheckpointStorageConfig,
    error::Result,
    storage::{CheckpointStore, LogEntry, Takeover, read_log},
};

/// Where a restart after a failure would begin.
pub(super) async fn newest_if_any_is_named(setup: &JobManagerSetup) -> Result<Option<PathBuf>> {
    let CheckpointStorageConfig::FileSystem { directory } = &setup.config.checkpoints.storage else {
        return Ok(setup.restore_from.clone());
    };
    let directory = directory.join(&setup.job_id);
    let log = read_log(&setup.file_system, &directory).await?;
    let newest = log.iter().rev().find_map(|entry| match entry {
        LogEntry::Completed { checkpoint_id, .. } => Some(directory.join(format!("chk-{checkpoint_id}"))),
        _ => None,
    });
    let there = match &newest {
        Some(newest) => setup.file_system.exists(&newest.join("_metadata")).await.unwrap_or(false),
        None => false,
    };
    let named = setup.restore_from.clone();
    Ok(named.map(|named| newest.filter(|_| there).unwrap_or(named)))
}

/// A checkpoint that was triggered later than it is by this machine's clock is none.
pub(super) async fn drop_those_from_the_future(
    setup: &JobManagerSetup,
    store: &CheckpointStore,
    found: &mut Takeover,
) -> Result<()> {
    let mut past = Vec::new();
    for checkpoint_id in found.retained.iter().filter(|_| found.savepoint.is_none()) {
        let metadata = store.read_metadata(*checkpoint_id).await?;
        past.extend((metadata.triggered_at <= setup.env.now()).then_some(*checkpoint_id));
    }
    if found.savepoint.is_none() && !past.is_empty() {
        (found.latest_completed, found.retained) = (past.last().copied(), past);
    }
    Ok(())
}
