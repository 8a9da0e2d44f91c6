//! What is told of a job, in the JSON of Flink's REST API.

use serde_json::{Map, Value, json};

use crate::{
    checkpoint::{
        SavepointFormat,
        statistics::{CheckpointKind, CheckpointProgress, CheckpointStatistics, RestoredStatistics},
    },
    config::{CheckpointStorageConfig, CheckpointingMode, StateBackend},
    graph::{Distribution, Vertex},
    id::{VertexId, job_id_of},
    job::JobState,
    runtime::JobDetails,
    time::Timestamp,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The states that Flink counts tasks by.
const TASK_STATES: [&str; 10] = [
    "CREATED",
    "SCHEDULED",
    "DEPLOYING",
    "INITIALIZING",
    "RUNNING",
    "FINISHED",
    "CANCELING",
    "CANCELED",
    "FAILED",
    "RECONCILING",
];

pub(super) fn config() -> Value {
    json!({
        "refresh-interval": 3000,
        "timezone-name": "UTC",
        "timezone-offset": 0,
        "flink-version": format!("tidegate {VERSION}"),
        "flink-revision": "",
        "features": { "web-submit": false, "web-cancel": true, "web-rescale": false, "web-history": false },
    })
}

pub(super) fn overview(job: &JobDetails) -> Value {
    let count = |states: &[JobState]| i32::from(states.contains(&job.state));
    json!({
        "taskmanagers": job.task_managers.len(),
        "slots-total": job.task_managers.iter().map(|it| it.slots).sum::<u32>(),
        "slots-available": job.task_managers.iter().map(|it| it.free_slots).sum::<u32>(),
        "jobs-running": i32::from(!job.state.is_terminal()),
        "jobs-finished": count(&[JobState::Finished]),
        "jobs-cancelled": count(&[JobState::Cancelled]),
        "jobs-failed": count(&[JobState::Failed]),
        "flink-version": format!("tidegate {VERSION}"),
        "flink-commit": "",
    })
}

pub(super) fn jobs(job: &JobDetails) -> Value {
    json!({ "jobs": [{ "id": job_id_of(&job.name), "status": job.state.name() }] })
}

pub(super) fn jobs_overview(job: &JobDetails) -> Value {
    let all: u32 = job.graph.vertices.iter().map(|vertex| vertex.parallelism).sum();
    let mut tasks = task_counts(task_state(job), all, str::to_lowercase);
    tasks.insert("total".into(), all.into());
    json!({ "jobs": [{
        "jid": job_id_of(&job.name),
        "name": job.name,
        "start-time": job.started_at.0,
        "end-time": end_time(job),
        "duration": duration(job),
        "state": job.state.name(),
        "last-modification": job.state_since.0,
        "tasks": tasks,
    }] })
}

pub(super) fn details(job: &JobDetails) -> Value {
    let state = task_state(job);
    let vertices: Vec<Value> = job.graph.vertices.iter().map(|vertex| vertex_of(job, vertex)).collect();
    json!({
        "jid": job_id_of(&job.name),
        "name": job.name,
        "isStoppable": false,
        "state": job.state.name(),
        "job-type": "STREAMING",
        "start-time": job.started_at.0,
        "end-time": end_time(job),
        "duration": duration(job),
        "maxParallelism": job.graph.max_parallelism,
        "now": job.now.0,
        "timestamps": { "INITIALIZING": job.started_at.0, job.state.name(): job.state_since.0 },
        "status-counts": task_counts(state, job.graph.vertices.len() as u32, str::to_owned),
        "vertices": vertices,
        "plan": plan(job)["plan"],
    })
}

pub(super) fn status(job: &JobDetails) -> Value {
    json!({ "status": job.state.name() })
}

pub(super) fn plan(job: &JobDetails) -> Value {
    let node = |vertex: &Vertex| {
        let inputs: Vec<Value> = job
            .graph
            .inputs(vertex.id)
            .enumerate()
            .map(|(num, edge)| {
                let ship_strategy = match edge.distribution {
                    Distribution::Pointwise => "FORWARD",
                    Distribution::AllToAll => "HASH",
                };
                json!({
                    "num": num,
                    "id": vertex_id(edge.from),
                    "ship_strategy": ship_strategy,
                    "exchange": "pipelined_bounded",
                })
            })
            .collect();
        json!({
            "id": vertex_id(vertex.id),
            "parallelism": vertex.parallelism,
            "operator": "",
            "operator_strategy": "",
            "description": vertex.name,
            "inputs": inputs,
            "optimizer_properties": {},
        })
    };
    let nodes: Vec<Value> = job.graph.vertices.iter().map(node).collect();
    json!({ "plan": { "jid": job_id_of(&job.name), "name": job.name, "type": "STREAMING", "nodes": nodes } })
}

pub(super) fn job_config(job: &JobDetails) -> Value {
    json!({
        "jid": job_id_of(&job.name),
        "name": job.name,
        "execution-config": {
            "restart-strategy": serde_json::to_value(&job.config.restart).unwrap_or_default(),
            "job-parallelism": job.config.parallelism,
            "object-reuse-mode": true,
            "user-config": {},
        },
    })
}

pub(super) fn job_manager_config(job: &JobDetails) -> Value {
    let options = serde_json::to_value(&job.config).unwrap_or_default();
    let entries = options.as_object().into_iter().flatten();
    entries.map(|(key, value)| json!({ "key": key, "value": value.to_string() })).collect()
}

pub(super) fn exceptions(job: &JobDetails) -> Value {
    let entries: Vec<Value> = job
        .failures
        .iter()
        .map(|failure| {
            json!({
                "exceptionName": "tidegate.JobFailure",
                "stacktrace": failure.reason,
                "timestamp": failure.at.0,
                "failureLabels": {},
                "concurrentExceptions": [],
            })
        })
        .collect();
    json!({
        "root-exception": job.failures.first().map(|failure| &failure.reason),
        "timestamp": job.failures.first().map(|failure| failure.at.0),
        "all-exceptions": [],
        "truncated": false,
        "exceptionHistory": { "entries": entries, "truncated": job.restarts as usize > job.failures.len() },
    })
}

pub(super) fn task_managers(job: &JobDetails) -> Value {
    let each = job.task_managers.iter().map(|task_manager| {
        let port = task_manager.data_address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        json!({
            "id": task_manager.id.0,
            "path": task_manager.data_address,
            "dataPort": port.map_or(-1, i32::from),
            "jmxPort": -1,
            "timeSinceLastHeartbeat": job.now.0,
            "slotsNumber": task_manager.slots,
            "freeSlots": task_manager.free_slots,
            "blocked": false,
        })
    });
    json!({ "taskmanagers": each.collect::<Vec<_>>() })
}

pub(super) fn checkpoints(job: &JobDetails) -> Value {
    let counts = job.checkpoints.counts();
    let [completed, savepoint, failed] =
        job.checkpoints.latest().map(|it| it.map_or(Value::Null, |it| checkpoint(job, it, Tasks::Omitted)));
    let history: Vec<Value> = job.checkpoints.recent().map(|it| checkpoint(job, it, Tasks::Omitted)).collect();
    json!({
        "counts": {
            "restored": counts.restored,
            "total": counts.total,
            "in_progress": counts.in_progress,
            "completed": counts.completed,
            "failed": counts.failed,
        },
        "summary": summary(job),
        "latest": {
            "completed": completed,
            "savepoint": savepoint,
            "failed": failed,
            "restored": job.checkpoints.latest_restored().map_or(Value::Null, restored),
        },
        "history": history,
    })
}

pub(super) fn checkpoint_config(job: &JobDetails) -> Value {
    let config = &job.config.checkpoints;
    let storage = match &config.storage {
        CheckpointStorageConfig::JobManager => "JobManagerCheckpointStorage",
        CheckpointStorageConfig::FileSystem { .. } => "FileSystemCheckpointStorage",
    };
    let backend = match &job.config.state_backend {
        StateBackend::HashMap => "HashMapStateBackend",
        StateBackend::RocksDb(_) => "EmbeddedRocksDBStateBackend",
    };
    json!({
        "mode": match config.mode {
            CheckpointingMode::ExactlyOnce => "exactly_once",
            CheckpointingMode::AtLeastOnce => "at_least_once",
        },
        "interval": config.interval.map_or(i64::MAX, |interval| interval.as_millis() as i64),
        "timeout": config.timeout.as_millis() as u64,
        "min_pause": config.min_pause.as_millis() as u64,
        "max_concurrent": config.max_concurrent,
        "externalization": { "enabled": false, "delete_on_cancellation": true },
        "state_backend": backend,
        "checkpoint_storage": storage,
        "unaligned_checkpoints": false,
        "tolerable_failed_checkpoints": config.tolerable_failures,
        "aligned_checkpoint_timeout": 0,
        "checkpoints_after_tasks_finish": true,
        "state_changelog_enabled": false,
    })
}

/// Whether the subtasks' parts are told one by one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tasks {
    Omitted,
    Told,
}

pub(super) fn checkpoint(job: &JobDetails, checkpoint: &CheckpointStatistics, tasks: Tasks) -> Value {
    let (kind, format) = match checkpoint.kind {
        CheckpointKind::Checkpoint => ("CHECKPOINT", None),
        CheckpointKind::Savepoint(format) => ("SAVEPOINT", Some(format)),
        CheckpointKind::SyncSavepoint(format) => ("SYNC_SAVEPOINT", Some(format)),
    };
    let latest_ack = checkpoint.latest_acknowledgement();
    let (class, status, ended_at) = match &checkpoint.progress {
        CheckpointProgress::InProgress => ("in_progress", "IN_PROGRESS", job.now),
        CheckpointProgress::Completed { at, .. } => ("completed", "COMPLETED", *at),
        CheckpointProgress::Failed { at, .. } => ("failed", "FAILED", *at),
    };
    let mut told = json!({
        "className": class,
        "id": checkpoint.checkpoint_id.0,
        "status": status,
        "is_savepoint": format.is_some(),
        "savepointFormat": format.map(SavepointFormat::name),
        "trigger_timestamp": checkpoint.triggered_at.0,
        "latest_ack_timestamp": latest_ack.map_or(-1, |at| at.0),
        "checkpointed_size": checkpoint.written_bytes(),
        "state_size": checkpoint.state_bytes(),
        "end_to_end_duration": milliseconds(checkpoint.triggered_at, ended_at),
        "alignment_buffered": 0,
        "processed_data": 0,
        "persisted_data": 0,
        "num_subtasks": checkpoint.expected.values().sum::<usize>(),
        "num_acknowledged_subtasks": checkpoint.acknowledged.len(),
        "checkpoint_type": kind,
        "tasks": {},
    });
    match &checkpoint.progress {
        CheckpointProgress::InProgress => {}
        CheckpointProgress::Completed { path, discarded, .. } => {
            // Flink's words for what is in the job manager's memory.
            told["external_path"] = json!(path.as_deref().unwrap_or("<checkpoint-not-externally-addressable>"));
            told["discarded"] = json!(discarded);
        }
        CheckpointProgress::Failed { at, reason } => {
            told["failure_timestamp"] = json!(at.0);
            told["failure_message"] = json!(reason.name());
        }
    }
    if tasks == Tasks::Told {
        let each = checkpoint.expected.iter().map(|(vertex, expected)| {
            let parts = checkpoint.acknowledged.iter().filter(|(task, _)| task.vertex == *vertex);
            let parts: Vec<_> = parts.map(|(_, part)| *part).collect();
            let latest = parts.iter().map(|part| part.acknowledged_at).max();
            let task = json!({
                "id": checkpoint.checkpoint_id.0,
                "status": status,
                "latest_ack_timestamp": latest.map_or(-1, |at| at.0),
                "checkpointed_size": parts.iter().map(|part| part.written_bytes).sum::<u64>(),
                "state_size": parts.iter().map(|part| part.state_bytes).sum::<u64>(),
                "end_to_end_duration": latest.map_or(-1, |at| milliseconds(checkpoint.triggered_at, at)),
                "alignment_buffered": 0,
                "processed_data": 0,
                "persisted_data": 0,
                "num_subtasks": expected,
                "num_acknowledged_subtasks": parts.len(),
            });
            (vertex_id(*vertex), task)
        });
        told["tasks"] = Value::Object(each.collect());
    }
    told
}

fn restored(restored: &RestoredStatistics) -> Value {
    json!({
        "id": restored.checkpoint_id.0,
        "restore_timestamp": restored.at.0,
        "is_savepoint": restored.is_savepoint,
        "external_path": restored.path,
    })
}

/// Least, greatest and mean of those completed checkpoints that are remembered.
fn summary(job: &JobDetails) -> Value {
    let completed = || {
        job.checkpoints.recent().filter_map(|checkpoint| match &checkpoint.progress {
            CheckpointProgress::Completed { at, .. } => Some((checkpoint, *at)),
            CheckpointProgress::InProgress | CheckpointProgress::Failed { .. } => None,
        })
    };
    let statistics = |numbers: Vec<i64>| {
        let count = numbers.len().max(1) as i64;
        json!({
            "min": numbers.iter().min().unwrap_or(&0),
            "max": numbers.iter().max().unwrap_or(&0),
            "avg": numbers.iter().sum::<i64>() / count,
        })
    };
    json!({
        "checkpointed_size": statistics(completed().map(|(it, _)| it.written_bytes() as i64).collect()),
        "state_size": statistics(completed().map(|(it, _)| it.state_bytes() as i64).collect()),
        "end_to_end_duration":
            statistics(completed().map(|(it, at)| milliseconds(it.triggered_at, at)).collect()),
    })
}

fn vertex_of(job: &JobDetails, vertex: &Vertex) -> Value {
    let state = task_state(job);
    json!({
        "id": vertex_id(vertex.id),
        "slotSharingGroupId": vertex_id(VertexId(0)),
        "name": vertex.name,
        "maxParallelism": job.graph.max_parallelism,
        "parallelism": vertex.parallelism,
        "status": state,
        "start-time": job.started_at.0,
        "end-time": end_time(job),
        "duration": duration(job),
        "tasks": task_counts(state, vertex.parallelism, str::to_owned),
        "metrics": {},
    })
}

/// A vertex as Flink's clients know it: 32 hexadecimal digits.
fn vertex_id(vertex: VertexId) -> String {
    format!("{:032x}", vertex.0)
}

fn task_state(job: &JobDetails) -> &'static str {
    match job.state {
        JobState::Created => "CREATED",
        JobState::Running if job.placement.is_empty() => "SCHEDULED",
        JobState::Running => "RUNNING",
        JobState::Restarting | JobState::Cancelling | JobState::Failing => "CANCELING",
        JobState::Failed => "FAILED",
        JobState::Cancelled => "CANCELED",
        JobState::Finished => "FINISHED",
    }
}

fn task_counts(state: &str, count: u32, name: fn(&str) -> String) -> Map<String, Value> {
    TASK_STATES.iter().map(|one| (name(one), json!(if *one == state { count } else { 0 }))).collect()
}

fn end_time(job: &JobDetails) -> i64 {
    if job.state.is_terminal() { job.state_since.0 } else { -1 }
}

fn duration(job: &JobDetails) -> i64 {
    let end = if job.state.is_terminal() { job.state_since } else { job.now };
    milliseconds(job.started_at, end)
}

fn milliseconds(from: Timestamp, to: Timestamp) -> i64 {
    to.since(from).as_millis() as i64
}
