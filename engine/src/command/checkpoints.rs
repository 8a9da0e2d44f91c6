//! `tidegate checkpoints`: which completed checkpoints are kept, read from the leader's log without taking part.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Ending, job::Job, on_host};
use crate::{
    error::{Error, ErrorKind, Result},
    id::CheckpointId,
    storage::{EntryKind, LocalFileSystem, LogEntry, SharedFileSystem, read_log, read_metadata},
    time::Timestamp,
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
    let finished = log.iter().any(|entry| matches!(entry, LogEntry::Finished { .. }));
    let completed: BTreeSet<CheckpointId> = log
        .iter()
        .filter_map(|entry| match entry {
            LogEntry::Completed { checkpoint_id, .. } => Some(*checkpoint_id),
            LogEntry::Takeover { .. } | LogEntry::Finished { .. } => None,
        })
        .collect();
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
            Ok(metadata) => utc(metadata.triggered_at),
            Err(error) => format!("({})", error.message()),
        };
        rows.push([checkpoint_id.to_string(), triggered, bytes.to_string(), path.display().to_string()]);
    }
    let name = job.file_name().unwrap_or_default().to_string_lossy();
    let state = if finished { "finished" } else { "unfinished" };
    let taken = completed.len();
    let kept = rows.len() - 1;
    Ok(format!("{name}: {state}, {taken} checkpoints completed, {kept} kept\n{}", aligned(&rows)))
}

fn aligned(rows: &[[String; 4]]) -> String {
    if rows.len() == 1 {
        return String::new();
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (id, triggered, bytes) = (width(0), width(1), width(2));
    let line = |[a, b, c, d]: &[String; 4]| format!("  {a:>id$}  {b:<triggered$}  {c:>bytes$}  {d}\n");
    rows.iter().map(line).collect()
}

/// A time as `2013-01-01T05:15:00.000Z`.
fn utc(time: Timestamp) -> String {
    let (days, millis) = (time.0.div_euclid(86_400_000), time.0.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", millis % 1000)
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the leap day is the last of its year; day 0 is 0000-03-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::utc;
    use crate::time::Timestamp;

    #[test]
    fn times_are_written_in_the_gregorian_calendar() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_357_016_400_123, "2013-01-01T05:00:00.123Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(utc(Timestamp(millis)), text);
        }
    }
}
