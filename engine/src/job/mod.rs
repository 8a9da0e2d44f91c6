//! The life of a job: where its subtasks run, when they start, what happens when one fails. Pure.

mod execution;
mod failover;
mod placement;
mod watermark_aggregator;

pub use execution::{Culprit, ExecutionAction, ExecutionGraph, ExecutionInput, JobOutcome, JobState};
pub use failover::{Dependence, FailoverRegions, ResultType};
pub use placement::{Placement, place, place_beside};
pub use watermark_aggregator::WatermarkAggregator;
