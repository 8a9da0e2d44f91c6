//! Several job managers for one job: one leads and renews its lease, the others stand by (`high-availability.type`).
//!
//! Who stands by accepts no task manager: it drops their connections, and they try the next address. The log of the leader
//! keeps two that believe to lead from harming each other; the lease only says when to take over.

use std::path::PathBuf;

use super::{JobManagerEvent, JobManagerSetup};
use crate::{
    config::{CheckpointStorageConfig, HighAvailability},
    env::{ByteStream, TaskHandle, channel::mpsc},
    error::ErrorKind,
    heartbeat::{Lease, LeaseWatch, Standing},
    id::Epoch,
    planted,
    storage::{read_lease, write_lease},
};

/// The directory of the job and the terms of its lease, if there is one.
fn terms(setup: &JobManagerSetup) -> Option<(PathBuf, HighAvailability)> {
    let terms = setup.config.high_availability?;
    match &setup.config.checkpoints.storage {
        CheckpointStorageConfig::FileSystem { directory } => Some((directory.join(&setup.job_id), terms)),
        // Nobody else sees the memory of this process.
        CheckpointStorageConfig::JobManager => None,
    }
}

/// Waits until nobody seems to lead the job, or this process itself does, since the epoch `led`.
pub(super) async fn stand_by(setup: &JobManagerSetup, accepted: &mut mpsc::Receiver<ByteStream>, led: Option<Epoch>) {
    let Some((directory, terms)) = terms(setup) else { return };
    let mut watch = LeaseWatch::new(terms.lease_duration, terms.retry_period);
    loop {
        let lease = read_lease(setup.file_system.as_ref(), &directory).await;
        let now = setup.env.now();
        let standing = match lease {
            Ok(Some(lease)) if Some(lease.epoch) == led => return,
            Ok(lease) => watch.look(now, lease),
            Err(error) if error.kind() == ErrorKind::CorruptState && !planted!("damaged_lease_waited_for") => {
                tracing::warn!(%error, "the lease is damaged: unless a leader replaces it, nobody leads");
                watch.damaged(now)
            }
            Err(error) => {
                tracing::warn!(%error, "a standby cannot see whether somebody leads");
                watch.later(now)
            }
        };
        let Standing::StandBy(look_again) = standing else { return };
        while let Some(Some(stream)) = setup.env.until(Some(look_again), accepted.recv()).await {
            drop(stream);
        }
        // A listener that has ended wakes nobody.
        setup.env.sleep_until(look_again).await;
    }
}

/// Renews the lease of a leader until it is stopped, or finds that somebody else leads.
pub(super) fn renew(
    setup: &JobManagerSetup,
    epoch: Epoch,
    events: mpsc::Sender<JobManagerEvent>,
) -> Option<TaskHandle> {
    let (directory, terms) = terms(setup)?;
    let (env, file_system) = (setup.env.clone(), setup.file_system.clone());
    Some(setup.env.spawn(async move {
        let mut renewals = 0;
        loop {
            match read_lease(file_system.as_ref(), &directory).await {
                Ok(Some(lease)) if lease.epoch > epoch => {
                    let _ = events.send(JobManagerEvent::Superseded(lease.epoch)).await;
                    return;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the leader cannot see whether somebody else leads"),
            }
            let lease = Lease { epoch, renewals };
            if let Err(error) = write_lease(file_system.as_ref(), &directory, &lease).await {
                tracing::warn!(%error, "the leader cannot renew its lease");
            }
            renewals += 1;
            env.sleep(terms.retry_period).await;
        }
    }))
}
