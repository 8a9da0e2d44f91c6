//! The life of a job: where its subtasks run, when they start, what happens when one fails. Pure.

mod execution;
mod placement;
mod watermark_aggregator;

pub use execution::{ExecutionAction, ExecutionGraph, ExecutionInput, JobOutcome};
pub use placement::{Placement, place};
pub use watermark_aggregator::WatermarkAggregator;
