//! The processes of a cluster: job manager, task managers, and both in one process.

mod connection;
mod exchange;
mod job_manager;
mod local_cluster;
mod program_source;
mod storage_actor;
mod task_manager;

pub use job_manager::{JobManager, JobManagerSetup, JobSummary};
pub use local_cluster::{LocalCluster, run_locally};
pub use program_source::{ProgramSource, SingleProgram};
pub use task_manager::{TaskManager, TaskManagerSetup};
