//! The numbers of a job as text for Prometheus, in the format of OpenMetrics.

use std::borrow::Cow;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::{checkpoint::statistics::CheckpointProgress, job::JobState, runtime::JobDetails};

/// What the text is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The numbers of a moment. Names follow Flink's (`flink_jobmanager_job_*`).
pub(super) fn text(job: &JobDetails) -> String {
    let mut registry = Registry::with_prefix("tidegate");
    let of_job = registry
        .sub_registry_with_prefix("jobmanager")
        .sub_registry_with_label((Cow::Borrowed("job_name"), Cow::Owned(job.name.clone())));
    let seconds = |milliseconds: u128| milliseconds as f64 / 1000.0;

    let running = i64::from(job.state == JobState::Running);
    of_job.register("job_running", "Whether the tasks of the job are deployed or run", ConstGauge::new(running));
    let uptime = seconds(job.now.since(job.started_at).as_millis());
    let gauge = ConstGauge::new(uptime);
    of_job.register_with_unit("job_uptime", "How long this leader has led", Unit::Seconds, gauge);
    of_job.register("job_restarts", "Attempts after the first", ConstCounter::new(job.restarts));
    let registered = job.task_managers.len() as i64;
    of_job.register("taskmanagers", "Registered task managers", ConstGauge::new(registered));
    let slots: u32 = job.task_managers.iter().map(|it| it.slots).sum();
    of_job.register("slots", "Slots of all task managers", ConstGauge::new(i64::from(slots)));
    let free: u32 = job.task_managers.iter().map(|it| it.free_slots).sum();
    of_job.register("slots_available", "Slots that are free", ConstGauge::new(i64::from(free)));

    let counts = job.checkpoints.counts();
    of_job.register("job_checkpoints_triggered", "Checkpoints and savepoints", ConstCounter::new(counts.total));
    of_job.register("job_checkpoints_completed", "Those that are complete", ConstCounter::new(counts.completed));
    of_job.register("job_checkpoints_failed", "Those that came to nothing", ConstCounter::new(counts.failed));
    let in_progress = counts.in_progress as i64;
    of_job.register("job_checkpoints_in_progress", "Those that are under way", ConstGauge::new(in_progress));
    of_job.register("job_restores", "Restores from a checkpoint", ConstCounter::new(counts.restored));
    if let Some(last) = job.checkpoints.latest()[0] {
        let id = last.checkpoint_id.0 as i64;
        of_job.register("job_last_checkpoint_id", "The newest complete checkpoint", ConstGauge::new(id));
        let size = ConstGauge::new(last.state_bytes() as i64);
        of_job.register_with_unit("job_last_checkpoint_state", "All state in it", Unit::Bytes, size);
        let written = ConstGauge::new(last.written_bytes() as i64);
        of_job.register_with_unit("job_last_checkpoint_written", "What was written for it", Unit::Bytes, written);
        if let CheckpointProgress::Completed { at, .. } = last.progress {
            let took = ConstGauge::new(seconds(at.since(last.triggered_at).as_millis()));
            of_job.register_with_unit(
                "job_last_checkpoint_duration",
                "From trigger to completion",
                Unit::Seconds,
                took,
            );
        }
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("text can be written to memory");
    text
}
