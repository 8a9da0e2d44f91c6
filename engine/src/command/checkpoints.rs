//! `tidegate checkpoints`: which completed checkpoints are kept, read from the leader's log without taking part.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Ending,
    job::Job,
    on_host,
    table::{self, Align},
};
use crate::{
    checkpoint::retention::JobEnd,
    error::{Error, ErrorKind, Result},
    id::CheckpointId,
    storage::{EntryKind, LocalFileSystem, LogEntry, SharedFileSystem, current_run, read_log, read_metadata},
};

/// What `checkpoints` is told.
#[derive(clap::Args)]
pub(super) struct CheckpointsArguments {
    /// A pipeline, the checkpoint directory of a job, or a directory of several.
    #[arg(value_name = "PIPELINE|DIR")]
    place: PathBuf,
}

pub(super) fn list(arguments: &CheckpointsArguments) -> Result<Ending> {
    let place = &arguments.place;
    let directory = if fs::metadata(place).is_ok_and(|metadata| metadata.is_dir()) {
        place.clone()
    } else {
        Job::read(place)?.directory().ok_or_else(|| {
            let message = format!("{} keeps its checkpoints in memory", place.display());
            Error::new(ErrorKind::Configuration, message).with_hint("set `dir` in [checkpoint] to keep them")
        })?
    };
    on_host(1, |env| async move {
        let file_system: SharedFileSystem = Arc::new(LocalFileSystem::new(env));
        let jobs = jobs_in(&file_system, &directory).await?;
        if jobs.is_empty() {
            println!("no checkpoints in {}", directory.display());
        }
        for job in jobs {
            print!("{}", table_of(&file_system, &job).await?);
        }
        Ok(Ending::Done)
    })
}

/// The directory itself if it is a job's, else the jobs' directories in it.
async fn jobs_in(file_system: &SharedFileSystem, directory: &Path) -> Result<Vec<PathBuf>> {
    let list = async |path: &Path| {
        let listed = file_system.list(path).await;
        listed.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("cannot list {}", path.display())).with_source(error)
        })
    };
    let is_job = async |path: &Path| Ok::<_, Error>(list(path).await?.iter().any(|entry| entry.name == "ha"));
    if is_job(directory).await? {
        return Ok(vec![directory.to_owned()]);
    }
    let mut jobs = Vec::new();
    for entry in list(directory).await?.into_iter().filter(|entry| entry.kind == EntryKind::Directory) {
        let path = directory.join(entry.name);
        if is_job(&path).await? {
            jobs.push(path);
        }
    }
    Ok(jobs)
}

/// The completed checkpoints of a job as lines: id, when, size, where. A damaged one says so instead of when.
async fn table_of(file_system: &SharedFileSystem, job: &Path) -> Result<String> {
    let log = read_log(file_system, job).await?;
    let end = current_run(&log).iter().rev().find_map(LogEntry::job_end);
    let completed: BTreeSet<CheckpointId> = log.iter().filter_map(LogEntry::completed).collect();
    let mut rows = vec![["checkpoint", "triggered", "bytes", "path"].map(str::to_owned)];
    for checkpoint_id in &completed {
        let path = job.join(format!("chk-{checkpoint_id}"));
        let entries = file_system.list(&path).await.unwrap_or_default();
        if entries.is_empty() {
            continue;
        }
        let mut bytes = 0;
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            bytes += file_system.length(&path.join(&entry.name)).await.unwrap_or(0);
        }
        let triggered = match read_metadata(file_system, &path).await {
            Ok(metadata) => table::utc(metadata.triggered_at),
            Err(error) => format!("({})", error.message()),
        };
        rows.push([checkpoint_id.to_string(), triggered, bytes.to_string(), path.display().to_string()]);
    }
    let name = job.file_name().unwrap_or_default().to_string_lossy();
    let state = match end {
        None => "unfinished",
        Some(JobEnd::Finished) => "finished",
        Some(JobEnd::Cancelled) => "cancelled",
        Some(JobEnd::Failed | JobEnd::Suspended) => "failed",
    };
    let taken = completed.len();
    let kept = rows.len() - 1;
    Ok(format!(
        "{name}: {state}, {taken} checkpoints completed, {kept} kept\n{}",
        table::aligned(&rows, [Align::Right, Align::Left, Align::Right, Align::Left])
    ))
}
