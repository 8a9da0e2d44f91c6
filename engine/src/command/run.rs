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
    env::Env,
    error::Result,
    runtime::{JobSummary, LocalCluster},
    storage::{LocalFileSystem, SharedFileSystem},
};

/// What `run` is told.
#[derive(clap::Args)]
pub(super) struct RunArguments {
    /// The pipeline, TOML or JSON. Its name is the identity of the job.
    pipeline: PathBuf,
    /// Start from this checkpoint (a directory `chk-N`), unless the job has unfinished work of its own.
    #[arg(short = 's', long = "from", value_name = "PATH")]
    from: Option<PathBuf>,
    /// Number of task managers in this process.
    #[arg(long, value_name = "N", default_value = "1")]
    task_managers: NonZeroU32,
    /// Number of threads; one per processor if not given.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

pub(super) fn run(arguments: RunArguments) -> Result<Ending> {
    let job = Job::read(&arguments.pipeline)?;
    job.check_inputs()?;
    on_host(threads(arguments.threads), |env| async move {
        let Some(Start { narrator, from }) = prepare(&env, &job, arguments.from).await? else {
            return Ok(Ending::Done);
        };
        let mut cluster = LocalCluster::new(job.config.clone());
        cluster.task_managers = arguments.task_managers.get();
        cluster.restore_from = from;
        cluster.observer = narrator.clone();
        let program = job.program.clone();
        conclude(&env, &job, &narrator, async { cluster.run(&env, program).await }).await
    })
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
        Earlier::Finished => {
            job.say_finished();
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
    work: impl Future<Output = Result<JobSummary>>,
) -> Result<Ending> {
    let started = env.now();
    match unless_interrupted(env, work).await {
        None => {
            job.say_interrupted(narrator.newest_checkpoint());
            Ok(Ending::Interrupted)
        }
        Some(Ok(summary)) if summary.had_finished => {
            job.say_finished();
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

fn say_summary(job: &Job, summary: &JobSummary, took: Duration) {
    let JobSummary { restored_from: _, checkpoints_completed, checkpoints_aborted, restarts, had_finished: _ } =
        summary;
    eprintln!("{}: finished in {:.1} s", job.name(), took.as_secs_f64());
    eprintln!("  checkpoints: {checkpoints_completed} completed, {checkpoints_aborted} given up");
    eprintln!("  restarts: {restarts}");
}
