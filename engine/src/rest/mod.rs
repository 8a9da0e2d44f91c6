//! The job manager over HTTP: what Flink's REST API says and takes, as far as it concerns one job.
//!
//! Paths, JSON fields and the two-step protocol of long operations (a `POST` answers with a `request-id`, a `GET` with it
//! says how far the operation is) are Flink's, so that its clients understand them. `/v1` before a path changes nothing. A
//! job is named by its id, or by its name.
//!
//! | path | |
//! |---|---|
//! | `GET /overview` `/config` `/taskmanagers` `/jobmanager/config` | the cluster |
//! | `GET /jobs` `/jobs/overview` `/jobs/:id` `/jobs/:id/status` `/plan` `/config` `/exceptions` | the job |
//! | `PATCH /jobs/:id?mode=cancel` | cancels it |
//! | `GET /jobs/:id/checkpoints` `/checkpoints/config` `/checkpoints/details/:n` | its checkpoints |
//! | `POST /jobs/:id/checkpoints`, `GET …/:request` | takes one |
//! | `POST /jobs/:id/savepoints`, `GET …/:request` | takes a savepoint; with `cancel-job`, cancels the job then |
//! | `POST /jobs/:id/stop`, `GET /jobs/:id/savepoints/:request` | stops it with a savepoint |
//! | `POST /savepoint-disposal`, `GET …/:request` | deletes a savepoint |
//! | `GET /metrics` | the same numbers as text for Prometheus |
//!
//! The library is hyper over the byte streams of [`Env`](crate::env::Env): the same server answers in a simulated world.

mod client;
mod json;
mod metrics;
mod operations;
mod route;
mod server;
mod stream;

pub use client::RestClient;
pub use server::RestServer;
