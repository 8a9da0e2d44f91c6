//! A job manager and task managers in one process, over loopback TCP: the same code as in separate processes.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use super::{
    JobClient, JobManager, JobManagerSetup, JobSummary, Orders, SingleProgram, TaskManager, TaskManagerSetup,
    job_client,
};
use crate::{
    config::JobConfig,
    env::Env,
    error::{Error, ErrorKind, Result},
    event::{NoObserver, Observer},
    id::TaskManagerId,
    storage::{LocalFileSystem, SharedFileSystem},
    task::Program,
};

/// How a job is run in one process.
pub struct LocalCluster {
    /// The job; also the name of its directory among the checkpoints.
    pub job_id: String,
    /// The job's options.
    pub config: JobConfig,
    /// Number of task managers.
    pub task_managers: u32,
    /// A checkpoint to start from, if the job has none of its own.
    pub restore_from: Option<PathBuf>,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
}

impl LocalCluster {
    /// One task manager, nobody watching.
    pub fn new(config: JobConfig) -> Self {
        let job_id = config.name.clone();
        Self { job_id, config, task_managers: 1, restore_from: None, observer: Arc::new(NoObserver) }
    }

    /// Runs the program until the job ends.
    ///
    /// # Errors
    /// What ended the job, other than its success.
    pub async fn run(self, env: &Env, program: Arc<Program>) -> Result<JobSummary> {
        let (_, orders) = job_client();
        self.run_with(env, program, orders).await
    }

    /// Starts the program: a client that asks and orders, and the end of the job, which has to be awaited for anything to
    /// happen.
    pub fn submit(
        self,
        env: &Env,
        program: Arc<Program>,
    ) -> (JobClient, impl Future<Output = Result<JobSummary>> + Send + use<>) {
        let (client, orders) = job_client();
        let env = env.clone();
        (client, async move { self.run_with(&env, program, orders).await })
    }

    async fn run_with(self, env: &Env, program: Arc<Program>, orders: Orders) -> Result<JobSummary> {
        let listener = env.listen("127.0.0.1:0").await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "no free port on the loopback interface").with_source(error)
        })?;
        let address = listener.local_address();
        let file_system: SharedFileSystem = Arc::new(LocalFileSystem::new(env.clone()));
        let slots = program.graph.slots().div_ceil(self.task_managers.max(1));
        for number in 1..=self.task_managers.max(1) {
            let setup = TaskManagerSetup {
                id: TaskManagerId(format!("taskmanager-{number}")),
                slots,
                job_manager_address: address.clone(),
                data_address: "127.0.0.1:0".into(),
                env: env.clone(),
                file_system: file_system.clone(),
                local_disk: file_system.clone(),
                programs: Arc::new(SingleProgram(program.clone())),
                observer: self.observer.clone(),
                reconnect_pause: Duration::from_millis(50),
            };
            env.spawn(async move {
                if let Err(error) = TaskManager::run(setup).await {
                    tracing::error!(%error, "task manager ended");
                }
            });
        }
        JobManager::run(JobManagerSetup {
            name: "jobmanager".into(),
            address,
            listener: Some(listener),
            job_id: self.job_id,
            program,
            program_reference: String::new(),
            config: self.config,
            restore_from: self.restore_from,
            orders,
            submission: env.entropy(),
            env: env.clone(),
            file_system,
            observer: self.observer,
        })
        .await
    }
}

/// Runs a program in this process on so many threads.
///
/// # Errors
/// What ended the job, other than its success.
pub fn run_locally(worker_threads: usize, config: JobConfig, program: Program) -> Result<JobSummary> {
    let ran =
        Env::run_on_host(
            worker_threads,
            |env| async move { LocalCluster::new(config).run(&env, Arc::new(program)).await },
        );
    ran.map_err(|error| Error::new(ErrorKind::Unavailable, "cannot start the runtime").with_source(error))?
}
