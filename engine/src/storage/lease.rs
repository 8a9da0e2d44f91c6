//! The lease of a job's leader, as a file that it replaces again and again: `DIR/<job>/lease`.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{FileSystem, checkpoints, read_file, replace_file};
use crate::{
    error::{Error, ErrorKind, Result},
    heartbeat::Lease,
};

/// The file of a job's lease.
pub fn lease_of_job(job_directory: &Path) -> PathBuf {
    job_directory.join("lease")
}

/// What stands in a job's lease; `None` if nobody has ever led it with one.
///
/// # Errors
/// If it cannot be read, or is damaged.
pub async fn read_lease(file_system: &dyn FileSystem, job_directory: &Path) -> Result<Option<Lease>> {
    let path = lease_of_job(job_directory);
    match read_file(file_system, &path).await {
        Ok(bytes) => checkpoints::unseal(&path, &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", &path, error)),
    }
}

/// Replaces what stands in a job's lease. The directory must exist.
///
/// # Errors
/// If it cannot be written: whether it was, is unknown.
pub async fn write_lease(file_system: &dyn FileSystem, job_directory: &Path, lease: &Lease) -> Result<()> {
    let path = lease_of_job(job_directory);
    let temporary = job_directory.join(format!(".lease-{}", lease.epoch));
    let replaced = replace_file(file_system, &temporary, &path, &checkpoints::seal(lease)).await;
    replaced.map_err(|error| failed("write", &path, error))
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot {what} the lease {}", path.display())).with_source(error)
}
