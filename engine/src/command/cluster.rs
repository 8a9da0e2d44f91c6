//! `tidegate jobmanager` and `tidegate taskmanager`: the processes of a cluster.
//!
//! The job manager sends the pipeline itself with each deployment, so that task managers need nothing but its address. All
//! processes reach the same files under the same paths: input, output and checkpoints.

use std::{net::SocketAddr, num::NonZeroU32, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use super::{
    Ending,
    job::Job,
    narrator::Narrator,
    on_host,
    program::PipelinePrograms,
    run::{Start, StartArguments, conclude, prepare},
    threads, unless_interrupted,
};
use crate::{
    env::Env,
    error::{Error, ErrorKind, Result},
    id::TaskManagerId,
    runtime::{JobManager, JobManagerSetup, TaskManager, TaskManagerSetup, job_client},
    storage::LocalFileSystem,
};

/// What `jobmanager` is told.
#[derive(clap::Args)]
pub(super) struct JobManagerArguments {
    /// The pipeline, TOML or JSON. Its name is the identity of the job.
    pipeline: PathBuf,
    /// Where task managers reach this process.
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    #[command(flatten)]
    start: StartArguments,
}

/// What `taskmanager` is told.
#[derive(clap::Args)]
pub(super) struct TaskManagerArguments {
    /// Where the job manager listens; several that stand by for each other are divided by commas.
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT]…")]
    job_manager: String,
    /// The name of this process, different for each task manager.
    #[arg(long, value_name = "NAME")]
    id: String,
    /// How many parallel instances of the whole pipeline it can hold.
    #[arg(long, value_name = "N")]
    slots: NonZeroU32,
    /// Where other task managers reach this process; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    data_address: String,
    /// Number of threads; one per processor if not given.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// Pause before a task manager looks for its job manager again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

pub(super) fn lead(arguments: JobManagerArguments) -> Result<Ending> {
    let JobManagerArguments { pipeline, address, start } = arguments;
    let mut job = Job::read(&pipeline)?;
    start.set(&mut job);
    on_host(1, |env| async move {
        check_address(&env, &address).await?;
        let Some(Start { narrator, from }) = prepare(&env, &job, start.from).await? else { return Ok(Ending::Done) };
        eprintln!("{}: job manager at {address}, waits for {} slots", job.name(), job.program.graph.slots());
        let (client, orders) = job_client();
        let leading = JobManager::run(JobManagerSetup {
            name: "jobmanager".into(),
            address,
            listener: None,
            job_id: job.name().to_owned(),
            program: job.program.clone(),
            program_reference: job.pipeline.to_json(),
            config: job.config.clone(),
            restore_from: from,
            orders,
            submission: env.entropy(),
            env: env.clone(),
            file_system: Arc::new(LocalFileSystem::new(env.clone())),
            observer: narrator.clone(),
        });
        conclude(&env, &job, &narrator, client, leading).await
    })
}

/// Finds out whether the address can be had before the leadership is taken from a job manager that has it.
async fn check_address(env: &Env, address: &str) -> Result<()> {
    let refused = |message: String| Error::new(ErrorKind::Configuration, message);
    if address.ends_with(":0") {
        let error = refused(format!("no task manager can know the port of --address {address}"));
        return Err(error.with_hint("name a port, for example 6123"));
    }
    let listened = env.listen(address).await.map(drop);
    listened.map_err(|error| {
        let error = refused(format!("cannot listen at --address {address}")).with_source(error);
        error.with_hint("give an address of this machine and a port that no other process uses: HOST:PORT")
    })
}

pub(super) fn serve(arguments: TaskManagerArguments) -> Result<Ending> {
    let TaskManagerArguments { job_manager, id, slots, data_address, threads: wanted_threads } = arguments;
    if data_address.parse().is_ok_and(|address: SocketAddr| address.ip().is_unspecified()) {
        let message = format!("other task managers cannot connect to --data-address {data_address}");
        let error = Error::new(ErrorKind::Configuration, message);
        return Err(error.with_hint("give the address of this machine that they reach"));
    }
    if !job_manager.split(',').all(|address| address.contains(':')) {
        let message = format!("--job-manager {job_manager} has no port");
        return Err(Error::new(ErrorKind::Configuration, message).with_hint("give HOST:PORT"));
    }
    on_host(threads(wanted_threads), |env| async move {
        let narrator = Arc::new(Narrator::of_task_manager(id.as_str()));
        eprintln!("{id}: task manager with {slots} slots, looks for the job manager at {job_manager}");
        let serving = TaskManager::run(TaskManagerSetup {
            id: TaskManagerId(id.clone()),
            slots: slots.get(),
            job_manager_address: job_manager,
            data_address,
            env: env.clone(),
            file_system: Arc::new(LocalFileSystem::new(env.clone())),
            local_disk: Arc::new(LocalFileSystem::new(env.clone())),
            programs: Arc::new(PipelinePrograms::default()),
            observer: narrator.clone(),
            reconnect_pause: RECONNECT_PAUSE,
        });
        let served = unless_interrupted(&env, serving).await;
        let ending = match served {
            None => {
                eprintln!("{id}: interrupted; the job goes on when a task manager with enough slots is there");
                Ending::Interrupted
            }
            Some(Ok(())) => {
                eprintln!("{id}: the job has ended");
                Ending::Done
            }
            Some(Err(error)) => return Err(error),
        };
        eprint!("{}", narrator.left_out());
        Ok(ending)
    })
}
