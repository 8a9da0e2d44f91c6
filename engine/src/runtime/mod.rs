//! The processes of a cluster: job manager, task managers, and both in one process.

mod connection;
mod exchange;
mod job_client;
mod job_details;
mod job_manager;
mod local_cluster;
mod program_source;
mod storage_actor;
mod task_manager;

pub use job_client::{JobClient, JobStatus, Orders, SavepointRequest, StopTime, job_client};
pub use job_details::{FailureDetails, JobDetails, TaskManagerDetails};
pub use job_manager::{JobManager, JobManagerSetup, JobSummary};
pub use local_cluster::{LocalCluster, run_locally};
pub use program_source::{ProgramSource, SingleProgram};
pub use task_manager::{TaskManager, TaskManagerSetup};
