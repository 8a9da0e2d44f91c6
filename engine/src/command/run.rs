//! `tidegate run`: a whole cluster in this process.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use super::{
    Ending,
    job::{Earlier, Job},
    narrator::Narrator,
    on_host, threads, unless_interrupted,
};
use crate::{
    config::ClaimMode,
    env::Env,
    error::Result,
    job::JobState,
    rest::RestServer,
    runtime::{JobClient, JobSummary, LocalCluster},
    storage::{LocalFileSystem, SharedFileSystem},
};

/// What `run` is told.
#[derive(clap::Args)]
pub(super) struct RunArguments {
    /// The pipeline, TOML or JSON. Its name is the identity of the job.
    pipeline: PathBuf,
    #[command(flatten)]
    start: StartArguments,
    /// Number of task managers in this process.
    #[arg(long, value_name = "N", default_value = "1")]
    task_managers: NonZeroU32,
    /// Number of threads; one per processor if not given.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

pub(super) fn run(arguments: RunArguments) -> Result<Ending> {
    let mut job = Job::read(&arguments.pipeline)?;
    arguments.start.set(&mut job);
    job.check_inputs()?;
    on_host(threads(arguments.threads), |env| async move {
        let Some(Start { narrator, from }) = prepare(&env, &job, arguments.start.from).await? else {
            return Ok(Ending::Done);
        };
        let mut cluster = LocalCluster::new(job.config.clone());
        cluster.task_managers = arguments.task_managers.get();
        cluster.restore_from = from;
        cluster.observer = narrator.clone();
        let (client, work) = cluster.submit(&env, job.program.clone());
        conclude(&env, &job, &narrator, client, work).await
    })
}

/// How `run` and `jobmanager` start a job.
#[derive(clap::Args)]
pub(super) struct StartArguments {
    /// Start from this checkpoint or savepoint (the directory that holds `_metadata`), unless the job has unfinished work
    /// of its own.
    #[arg(short = 's', long = "from", alias = "fromSavepoint", value_name = "PATH")]
    pub from: Option<PathBuf>,
    /// Whose that checkpoint is from then on: no_claim, the user's, and no checkpoint of the job refers to it; claim, the
    /// job's, which deletes it in the end; legacy, the user's, who must not delete it (also `-claimMode`).
    #[arg(long = "claimMode", alias = "restoreMode", value_name = "MODE", ignore_case = true, requires = "from")]
    claim_mode: Option<ClaimModeArgument>,
    /// Leave state behind whose operator the pipeline does not have any more.
    #[arg(short = 'n', long, visible_alias = "allowNonRestoredState")]
    allow_non_restored_state: bool,
    /// Answer over HTTP here; rest.address and rest.port if not given.
    #[arg(long, value_name = "HOST:PORT")]
    rest: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum ClaimModeArgument {
    #[value(name = "no_claim", alias = "no-claim")]
    NoClaim,
    Claim,
    Legacy,
}

impl StartArguments {
    /// What is said here goes before what the pipeline says.
    pub fn set(&self, job: &mut Job) {
        job.config.ignore_unclaimed_state |= self.allow_non_restored_state;
        if let Some(mode) = self.claim_mode {
            job.config.checkpoints.claim_mode = match mode {
                ClaimModeArgument::NoClaim => ClaimMode::NoClaim,
                ClaimModeArgument::Claim => ClaimMode::Claim,
                ClaimModeArgument::Legacy => ClaimMode::Legacy,
            };
        }
        if let Some(address) = &self.rest {
            job.config.rest_address = Some(address.clone());
        }
    }
}

/// How a job starts.
pub(super) struct Start {
    /// Who tells the user what happens.
    pub narrator: Arc<Narrator>,
    /// The checkpoint that the user gave, if the job has none of its own.
    pub from: Option<PathBuf>,
}

/// Finds out what earlier runs left, and says so; `None` if there is nothing to do.
pub(super) async fn prepare(env: &Env, job: &Job, from: Option<PathBuf>) -> Result<Option<Start>> {
    let file_system: SharedFileSystem = Arc::new(LocalFileSystem::new(env.clone()));
    let (newest, from) = match job.earlier(&file_system).await? {
        Earlier::Nothing => (None, from),
        Earlier::Unfinished(newest) => {
            if let Some(given) = from {
                job.say_ignored(&given, newest);
            }
            (Some(newest), None)
        }
        // What is given begins a new run.
        Earlier::Ended(_) if from.is_some() => (None, from),
        Earlier::Ended(end) => {
            job.say_ended(end)?;
            return Ok(None);
        }
    };
    let narrator = Arc::new(Narrator::of_job(job.name(), job.directory(), newest, from.clone()));
    Ok(Some(Start { narrator, from }))
}

/// Leads the job to its end and says how it ended.
pub(super) async fn conclude(
    env: &Env,
    job: &Job,
    narrator: &Narrator,
    client: JobClient,
    work: impl Future<Output = Result<JobSummary>>,
) -> Result<Ending> {
    let started = env.now();
    let rest = match &job.config.rest_address {
        Some(address) => Some(RestServer::start(env, address, client).await?),
        None => None,
    };
    if let Some(rest) = &rest {
        eprintln!("{}: answers over HTTP at {}", job.name(), rest.address());
    }
    let work = async {
        let ended = work.await;
        if let Some(rest) = rest {
            rest.wind_down(state_of(&ended)).await;
        }
        ended
    };
    match unless_interrupted(env, work).await {
        None => {
            job.say_interrupted(narrator.newest_checkpoint());
            Ok(Ending::Interrupted)
        }
        Some(Ok(JobSummary { had_ended: Some(end), .. })) => {
            job.say_ended(end)?;
            Ok(Ending::Done)
        }
        Some(Ok(summary)) => {
            say_summary(job, &summary, env.now().since(started));
            eprint!("{}", narrator.left_out());
            Ok(Ending::Done)
        }
        Some(Err(error)) => {
            eprint!("{}", narrator.left_out());
            Err(error)
        }
    }
}

fn state_of(ended: &Result<JobSummary>) -> JobState {
    match ended {
        Ok(summary) if summary.cancelled => JobState::Cancelled,
        Ok(_) => JobState::Finished,
        Err(_) => JobState::Failed,
    }
}

fn say_summary(job: &Job, summary: &JobSummary, took: Duration) {
    let JobSummary {
        restored_from: _,
        checkpoints_completed,
        checkpoints_aborted,
        restarts,
        stopped_with,
        cancelled,
        had_ended: _,
    } = summary;
    let ended = match (stopped_with, cancelled) {
        (_, true) => "cancelled".to_owned(),
        (Some(savepoint), false) => format!("stopped with the savepoint {},", savepoint.display()),
        (None, false) => "finished".to_owned(),
    };
    eprintln!("{}: {ended} in {:.1} s", job.name(), took.as_secs_f64());
    eprintln!("  checkpoints: {checkpoints_completed} completed, {checkpoints_aborted} given up");
    eprintln!("  restarts: {restarts}");
}
