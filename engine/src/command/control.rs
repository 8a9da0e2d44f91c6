//! The commands that ask a running job manager, over HTTP: `list`, `savepoint`, `stop`, `cancel`, `checkpoint`. Names of
//! commands and options are Flink's (`CliFrontend`).

use std::path::PathBuf;

use serde_json::Value;

use super::{Ending, on_host, table};
use crate::{
    checkpoint::SavepointFormat,
    env::Env,
    error::{Error, ErrorKind, Result},
    rest::RestClient,
    runtime::{SavepointRequest, StopTime},
    time::Timestamp,
};

/// Where the job manager is.
#[derive(clap::Args)]
pub(super) struct Where {
    /// The HTTP address of the job manager.
    #[arg(short = 'm', long = "jobmanager", value_name = "HOST:PORT", default_value = "localhost:8081")]
    job_manager: String,
}

/// What `list` is told.
#[derive(clap::Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    place: Where,
}

/// What `savepoint` is told.
#[derive(clap::Args)]
pub(super) struct SavepointArguments {
    /// The job, by its id or its name.
    #[arg(required_unless_present = "dispose")]
    job: Option<String>,
    /// Where the savepoint gets a directory of its own; execution.checkpointing.savepoint-dir if not given.
    directory: Option<PathBuf>,
    /// Delete this savepoint instead.
    #[arg(short = 'd', long, value_name = "PATH", conflicts_with_all = ["job", "directory", "format"])]
    dispose: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Where,
}

/// How a savepoint is written.
#[derive(clap::Args)]
#[group(id = "format")]
pub(super) struct Format {
    /// canonical: any state backend can be restored from it; native: the state backend's own form (also `-type`).
    #[arg(long = "type", value_name = "canonical|native", default_value = "canonical", ignore_case = true)]
    format_type: FormatType,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum FormatType {
    Canonical,
    Native,
}

/// What `stop` is told.
#[derive(clap::Args)]
pub(super) struct StopArguments {
    /// The job, by its id or its name.
    job: String,
    /// Where the savepoint gets a directory of its own; execution.checkpointing.savepoint-dir if not given.
    #[arg(short = 'p', long = "savepointPath", value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Fire all windows first, as at the end of the data. The savepoint is not meant to go on from.
    #[arg(short = 'd', long)]
    drain: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Where,
}

/// What `cancel` is told.
#[derive(clap::Args)]
pub(super) struct CancelArguments {
    /// Take a savepoint before, in this directory or in execution.checkpointing.savepoint-dir. Deprecated: `stop` also
    /// commits what is before the savepoint.
    #[arg(short = 's', long = "withSavepoint", value_name = "DIR", num_args = 0..=1)]
    with_savepoint: Option<Option<String>>,
    /// The job, by its id or its name.
    job: Option<String>,
    #[command(flatten)]
    place: Where,
}

/// What `checkpoint` is told.
#[derive(clap::Args)]
pub(super) struct CheckpointArguments {
    /// The job, by its id or its name.
    job: String,
    #[command(flatten)]
    place: Where,
}

impl Where {
    fn client(&self, env: &Env) -> RestClient {
        RestClient::new(env, self.job_manager.as_str())
    }
}

impl Format {
    fn request(&self, directory: Option<PathBuf>) -> Result<SavepointRequest> {
        let format = match self.format_type {
            FormatType::Canonical => SavepointFormat::Canonical,
            FormatType::Native => SavepointFormat::Native,
        };
        Ok(SavepointRequest { directory: directory.map(absolute).transpose()?, format })
    }
}

/// The job manager may run in another directory.
fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).map_err(|error| {
        let message = format!("{} is no path", path.display());
        Error::new(ErrorKind::Configuration, message).with_source(error)
    })
}

pub(super) fn list(arguments: &ListArguments) -> Result<Ending> {
    on_host(1, |env| async move {
        let told = arguments.place.client(&env).get("/jobs/overview").await?;
        let jobs = told["jobs"].as_array().cloned().unwrap_or_default();
        let mut rows = vec![["id", "state", "started", "name"].map(str::to_owned)];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for job in jobs {
            let started = Timestamp(job["start-time"].as_i64().unwrap_or_default());
            rows.push([text(&job["jid"]), text(&job["state"]), table::utc(started), text(&job["name"])]);
        }
        print!("{}", table::aligned(&rows, [table::Align::Left; 4]));
        Ok(Ending::Done)
    })
}

pub(super) fn savepoint(arguments: SavepointArguments) -> Result<Ending> {
    on_host(1, |env| async move {
        let client = arguments.place.client(&env);
        if let Some(path) = arguments.dispose {
            let path = absolute(path)?;
            client.dispose(&path).await?;
            println!("Savepoint '{}' disposed.", path.display());
            return Ok(Ending::Done);
        }
        let job = arguments.job.unwrap_or_default();
        let path = client.savepoint(&job, &arguments.format.request(arguments.directory)?, false).await?;
        completed(&path);
        Ok(Ending::Done)
    })
}

pub(super) fn stop(arguments: StopArguments) -> Result<Ending> {
    on_host(1, |env| async move {
        let request = arguments.format.request(arguments.directory)?;
        let time = if arguments.drain { StopTime::Drain } else { StopTime::Suspend };
        let path = arguments.place.client(&env).stop(&arguments.job, &request, time).await?;
        completed(&path);
        Ok(Ending::Done)
    })
}

pub(super) fn cancel(arguments: CancelArguments) -> Result<Ending> {
    let CancelArguments { with_savepoint, job, place } = arguments;
    // As Flink reads `cancel -s JOB`: what would be the directory is the job, if there is nothing else.
    let (with_savepoint, job) = match (with_savepoint, job) {
        (Some(Some(only)), None) => (Some(None), only),
        (with_savepoint, Some(job)) => (with_savepoint, job),
        (Some(None) | None, None) => {
            let error = Error::new(ErrorKind::Configuration, "nobody has said which job to cancel");
            return Err(error.with_hint("name it: tidegate cancel JOB; see the jobs with tidegate list"));
        }
    };
    on_host(1, |env| async move {
        let client = place.client(&env);
        let Some(directory) = with_savepoint else {
            client.cancel(&job).await?;
            println!("Cancelled job {job}.");
            return Ok(Ending::Done);
        };
        eprintln!("note: cancel -s is deprecated; `tidegate stop {job}` also commits what is before the savepoint");
        let directory = directory.map(|directory| absolute(directory.into())).transpose()?;
        let request = SavepointRequest { directory, format: SavepointFormat::Canonical };
        let path = client.savepoint(&job, &request, true).await?;
        println!("Cancelled job {job}.");
        completed(&path);
        Ok(Ending::Done)
    })
}

pub(super) fn checkpoint(arguments: &CheckpointArguments) -> Result<Ending> {
    on_host(1, |env| async move {
        let number = arguments.place.client(&env).checkpoint(&arguments.job).await?;
        println!("Checkpoint {number} completed.");
        Ok(Ending::Done)
    })
}

/// As Flink says it.
fn completed(path: &std::path::Path) {
    println!("Savepoint completed. Path: {}", path.display());
}
