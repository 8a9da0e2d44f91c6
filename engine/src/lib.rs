//! Tidegate: an exactly-once stateful stream processor with Apache Flink's semantics.
//!
//! Modules, from the bottom up; each may use only those above it in this list:
//!
//! - vocabulary: [`id`], [`time`], [`record`], [`codec`], [`config`], [`error`], [`event`], [`planted`](mod@planted)
//! - pure data and rules: [`state`], [`window`], [`graph`]
//! - pure protocol cores: [`checkpoint`], [`source`], [`sink`], [`restart`], [`heartbeat`], [`job`], [`net`]
//! - seams: [`env`](mod@env) (clock, tasks, network, entropy), [`storage`], [`connector`]
//! - [`backend`], [`operator`]: what runs records
//! - shells: [`task`], [`runtime`]
//! - what people write: [`api`], [`pipeline`]
//! - what people run: [`command`]
//!
//! Nothing outside [`env`](mod@env) names an executor; what runs in the simulation is what runs for real.

pub mod api;
pub mod backend;
pub mod checkpoint;
pub mod codec;
pub mod command;
pub mod config;
pub mod connector;
pub mod env;
pub mod error;
pub mod event;
pub mod graph;
pub mod heartbeat;
pub mod id;
pub mod job;
pub mod net;
pub mod operator;
pub mod pipeline;
pub mod planted;
pub mod record;
pub mod rest;
pub mod restart;
pub mod runtime;
pub mod sink;
pub mod source;
pub mod state;
pub mod storage;
pub mod task;
pub mod time;
pub mod window;

pub use error::{Error, ErrorKind, Result};
pub use time::Timestamp;
