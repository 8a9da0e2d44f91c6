//! Transcripts of the coordinator, and the sites of planted bugs.

use std::time::Duration;

use super::*;
use crate::id::VertexId;

pub(super) fn task(index: u32) -> SubtaskId {
    SubtaskId { vertex: VertexId(0), index }
}

pub(super) fn plan(tasks: u32) -> CheckpointPlan {
    CheckpointPlan { tasks: (0..tasks).map(task).collect(), to_trigger: vec![task(0)] }
}

pub(super) fn config() -> CheckpointConfig {
    CheckpointConfig {
        interval: Some(Duration::from_millis(100)),
        timeout: Duration::from_millis(1000),
        min_pause: Duration::from_millis(50),
        tolerable_failures: 1,
        ..CheckpointConfig::default()
    }
}

fn acknowledge(checkpoint_id: u64, index: u32) -> CoordinatorInput {
    CoordinatorInput::Acknowledge { checkpoint_id: CheckpointId(checkpoint_id), task: task(index) }
}

fn location_ready(checkpoint_id: u64) -> CoordinatorInput {
    CoordinatorInput::LocationReady { checkpoint_id: CheckpointId(checkpoint_id) }
}

fn stored(checkpoint_id: u64) -> CoordinatorInput {
    CoordinatorInput::Stored { checkpoint_id: CheckpointId(checkpoint_id) }
}

fn decline(checkpoint_id: u64, index: u32) -> CoordinatorInput {
    CoordinatorInput::Decline {
        checkpoint_id: CheckpointId(checkpoint_id),
        task: task(index),
        reason: CheckpointFailureReason::CheckpointDeclined,
    }
}

fn request(request: u64, kind: TriggerKind) -> CoordinatorInput {
    CoordinatorInput::TriggerRequested(TriggerRequest::new(RequestId(request), kind))
}

fn transcript(config: &CheckpointConfig, inputs: impl IntoIterator<Item = (i64, CoordinatorInput)>) -> String {
    let mut coordinator = CheckpointCoordinator::new(config, CoordinatorStart::first(Duration::ZERO));
    let mut lines = Vec::new();
    for (now, input) in inputs {
        lines.push(format!("@{now} {}", describe_input(&input)));
        let mut actions = Vec::new();
        coordinator.handle(Timestamp(now), input, &mut actions);
        lines.extend(actions.iter().map(|action| format!("     {}", describe(action))));
    }
    lines.push(format!("deadline {:?}", coordinator.deadline().map(|deadline| deadline.0)));
    lines.join("\n")
}

fn describe_input(input: &CoordinatorInput) -> String {
    match input {
        CoordinatorInput::Tick => "tick".into(),
        CoordinatorInput::TriggerRequested(request) => format!("request {:?}", request.kind),
        CoordinatorInput::TasksRunning(plan) => format!("{} tasks run", plan.tasks.len()),
        CoordinatorInput::TasksFinished { finished, .. } => format!("{} finished", names(finished)),
        CoordinatorInput::TasksFailed { tasks } => {
            format!("{} failed", names(&tasks.iter().copied().collect::<Vec<_>>()))
        }
        CoordinatorInput::TasksStopped => "tasks stopped".into(),
        CoordinatorInput::LocationReady { checkpoint_id } => format!("location {checkpoint_id} ready"),
        CoordinatorInput::LocationFailed { checkpoint_id, reason } => {
            format!("location {checkpoint_id} failed: {reason}")
        }
        CoordinatorInput::Acknowledge { checkpoint_id, task } => format!("{task} acknowledges {checkpoint_id}"),
        CoordinatorInput::Decline { checkpoint_id, task, reason } => {
            format!("{task} declines {checkpoint_id}: {reason}")
        }
        CoordinatorInput::Stored { checkpoint_id } => format!("stored {checkpoint_id}"),
        CoordinatorInput::StoreFailed { checkpoint_id, outcome } => {
            format!("store {checkpoint_id} failed: {outcome:?}")
        }
        CoordinatorInput::Cleaned { checkpoint_id } => format!("cleaned {checkpoint_id}"),
    }
}

fn describe(action: &CoordinatorAction) -> String {
    match action {
        CoordinatorAction::PrepareLocation { checkpoint_id } => format!("prepare location {checkpoint_id}"),
        CoordinatorAction::TriggerTasks { checkpoint_id, barrier, tasks } => {
            format!("trigger {checkpoint_id} at {} {:?} {}", names(tasks), barrier.alignment, barrier.triggered_at)
        }
        CoordinatorAction::KeepState { checkpoint_id, task } => format!("keep {checkpoint_id} of {task}"),
        CoordinatorAction::DiscardState { checkpoint_id, task } => format!("discard {checkpoint_id} of {task}"),
        CoordinatorAction::Store { checkpoint_id } => format!("store {checkpoint_id}"),
        CoordinatorAction::NotifyComplete { permit, tasks } => {
            format!("complete {} to {}", permit.checkpoint_id(), names(tasks))
        }
        CoordinatorAction::NotifyAborted { checkpoint_id, latest_completed, tasks } => {
            let latest = latest_completed.map_or_else(|| "none".into(), |id| id.to_string());
            format!("aborted {checkpoint_id} to {}, latest completed {latest}", names(tasks))
        }
        CoordinatorAction::NotifySubsumed { checkpoint_id, tasks } => {
            format!("subsumed {checkpoint_id} to {}", names(tasks))
        }
        CoordinatorAction::Discard { checkpoint_id } => format!("discard {checkpoint_id}"),
        CoordinatorAction::DropCompleted { checkpoint_id, files } => format!("drop {checkpoint_id}: {files:?} files"),
        CoordinatorAction::FailJob { checkpoint_id, reason } => format!("FAIL JOB for {checkpoint_id}: {reason}"),
        CoordinatorAction::CompleteRequest { request, checkpoint_id } => {
            format!("answer request {}: {checkpoint_id}", request.0)
        }
        CoordinatorAction::RejectRequest { request, reason } => format!("answer request {}: {reason}", request.0),
    }
}

fn names(tasks: &[SubtaskId]) -> String {
    tasks.iter().map(SubtaskId::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_periodic_checkpoint_completes_when_it_is_stored_and_drops_the_one_before() {
    let script = transcript(
        &config(),
        [
            (0, CoordinatorInput::TasksRunning(plan(2))),
            (0, CoordinatorInput::Tick),
            (1, location_ready(1)),
            (2, acknowledge(1, 1)),
            (3, acknowledge(1, 0)),
            (4, acknowledge(1, 0)),
            (90, stored(1)),
            (91, acknowledge(1, 0)),
            (100, CoordinatorInput::Tick),
            (140, CoordinatorInput::Tick),
            (141, location_ready(2)),
            (142, acknowledge(2, 0)),
            (143, acknowledge(2, 1)),
            (144, stored(2)),
        ],
    );
    insta::assert_snapshot!(script);
}

#[test]
fn failures_beyond_the_tolerable_ones_fail_the_job_and_end_everything() {
    let script = transcript(
        &config(),
        [
            (0, CoordinatorInput::TasksRunning(plan(2))),
            (0, CoordinatorInput::Tick),
            (1, location_ready(1)),
            (2, acknowledge(1, 1)),
            (3, decline(1, 0)),
            (4, acknowledge(1, 0)),
            (100, CoordinatorInput::Tick),
            (101, request(7, TriggerKind::Manual)),
            (1100, CoordinatorInput::Tick),
            (1101, location_ready(2)),
            (1102, CoordinatorInput::TasksStopped),
            (1200, CoordinatorInput::TasksRunning(plan(2))),
        ],
    );
    insta::assert_snapshot!(script);
}

#[test]
fn a_completion_that_nobody_knows_of_keeps_its_files_until_the_next_one_is_complete() {
    let script = transcript(
        &config(),
        [
            (0, CoordinatorInput::TasksRunning(plan(1))),
            (0, request(1, TriggerKind::Manual)),
            (1, location_ready(1)),
            (2, acknowledge(1, 0)),
            (3, CoordinatorInput::StoreFailed { checkpoint_id: CheckpointId(1), outcome: StoreOutcome::Unknown }),
            (4, acknowledge(1, 0)),
            (5, request(2, TriggerKind::Manual)),
            (6, location_ready(2)),
            (7, acknowledge(2, 0)),
            (8, stored(2)),
        ],
    );
    insta::assert_snapshot!(script);
}

#[test]
fn a_failover_while_a_checkpoint_is_being_stored_waits_for_its_fate() {
    let mut coordinator = CheckpointCoordinator::new(&config(), CoordinatorStart::first(Duration::ZERO));
    let mut actions = Vec::new();
    for input in [
        CoordinatorInput::TasksRunning(plan(1)),
        CoordinatorInput::Tick,
        location_ready(1),
        acknowledge(1, 0),
        CoordinatorInput::TasksStopped,
    ] {
        coordinator.handle(Timestamp(0), input, &mut actions);
    }
    assert_eq!(coordinator.storing(), Some(CheckpointId(1)));
    coordinator.handle(Timestamp(0), stored(1), &mut actions);
    assert_eq!((coordinator.storing(), coordinator.completed().latest()), (None, Some(CheckpointId(1))));
    assert!(!actions.iter().any(|action| matches!(action, CoordinatorAction::Discard { .. })));
}

/// Runs inputs through a coordinator of two tasks that have begun checkpoint 1; what the last one leads to.
fn after_checkpoint_1_began(inputs: impl IntoIterator<Item = CoordinatorInput>) -> Vec<CoordinatorAction> {
    let mut coordinator = CheckpointCoordinator::new(&config(), CoordinatorStart::first(Duration::ZERO));
    let begin = [CoordinatorInput::TasksRunning(plan(2)), CoordinatorInput::Tick, location_ready(1)];
    let mut actions = Vec::new();
    for input in begin.into_iter().chain(inputs) {
        actions.clear();
        coordinator.handle(Timestamp(0), input, &mut actions);
    }
    actions
}

fn fails(index: usize) -> CoordinatorInput {
    CoordinatorInput::TasksFailed { tasks: plan(2).tasks.into_iter().skip(index).take(1).collect() }
}

/// The tasks of the plan of two from this one on.
fn tasks_from(index: usize) -> Vec<SubtaskId> {
    plan(2).tasks.into_iter().skip(index).collect()
}

#[test]
fn a_region_that_fails_ends_the_checkpoint_and_those_that_run_on_are_told() {
    let failed = after_checkpoint_1_began([acknowledge(1, 0), fails(0)]);
    let (checkpoint_id, latest_completed) = (CheckpointId(1), None);
    assert_eq!(
        failed,
        [
            CoordinatorAction::Discard { checkpoint_id },
            CoordinatorAction::NotifyAborted { checkpoint_id, latest_completed, tasks: tasks_from(1) }
        ]
    );
    let late = after_checkpoint_1_began([acknowledge(1, 0), fails(0), acknowledge(1, 1)]);
    assert!(!late.iter().any(|action| matches!(action, CoordinatorAction::Store { .. })), "{late:?}");
}

#[test]
fn no_checkpoint_begins_until_a_failed_region_runs_again() {
    let manual = || request(9, TriggerKind::Manual);
    let refused = after_checkpoint_1_began([fails(0), manual()]);
    let reason = CheckpointFailureReason::NotAllRequiredTasksRunning;
    assert_eq!(refused, [CoordinatorAction::RejectRequest { request: RequestId(9), reason }]);
    let cleaned = CoordinatorInput::Cleaned { checkpoint_id: CheckpointId(1) };
    let begun = after_checkpoint_1_began([fails(0), cleaned, CoordinatorInput::TasksRunning(plan(2)), manual()]);
    assert_eq!(begun, [CoordinatorAction::PrepareLocation { checkpoint_id: CheckpointId(2) }]);
}

#[test]
fn a_checkpoint_that_is_stored_while_a_region_restarts_is_told_to_those_that_run_on() {
    let told = |failed: &[usize]| {
        let failures = failed.iter().map(|index| fails(*index));
        let acknowledged = [acknowledge(1, 0), acknowledge(1, 1)];
        after_checkpoint_1_began(acknowledged.into_iter().chain(failures).chain([stored(1)]))
    };
    let tasks_told = |actions: Vec<CoordinatorAction>| -> Vec<Vec<SubtaskId>> {
        let notices = actions.into_iter().filter_map(|action| match action {
            CoordinatorAction::NotifyComplete { tasks, .. } => Some(tasks),
            _ => None,
        });
        notices.collect()
    };
    assert_eq!(tasks_told(told(&[0])), [tasks_from(1)]);
    assert_eq!(tasks_told(told(&[0, 1])), Vec::<Vec<SubtaskId>>::new(), "recovery settles it for all");
}

#[test]
fn a_savepoint_commits_nothing_and_the_one_that_stops_the_job_does() {
    let script = transcript(
        &config(),
        [
            (0, CoordinatorInput::TasksRunning(plan(1))),
            (0, request(1, TriggerKind::Savepoint)),
            (1, location_ready(1)),
            (2, acknowledge(1, 0)),
            (3, stored(1)),
            (4, request(2, TriggerKind::StopWithSavepoint)),
            (4, request(3, TriggerKind::Manual)),
            (5, location_ready(2)),
            (6, acknowledge(2, 0)),
            (7, stored(2)),
        ],
    );
    insta::assert_snapshot!(script);
}

#[cfg(feature = "sim")]
mod planted_bugs {
    use super::*;

    fn complete_notices(inputs: impl IntoIterator<Item = CoordinatorInput>) -> usize {
        let transcript = transcript(&config(), inputs.into_iter().map(|input| (0, input)));
        transcript.lines().filter(|line| line.contains("complete 1 to")).count()
    }

    fn begun() -> Vec<CoordinatorInput> {
        vec![CoordinatorInput::TasksRunning(plan(2)), CoordinatorInput::Tick, location_ready(1), acknowledge(1, 0)]
    }

    #[test]
    fn one_missing_acknowledgement_is_overlooked_only_by_the_planted_bug() {
        let inputs = || begun().into_iter();
        assert_eq!(complete_notices(inputs()), 0);
        crate::planted::activate(Some("complete_with_one_acknowledgement_missing"));
        let notices = complete_notices(inputs().chain([stored(1)]));
        crate::planted::activate(None);
        assert_eq!(notices, 1);
    }

    #[test]
    fn tasks_hear_of_completion_before_it_is_stored_only_by_the_planted_bug() {
        let inputs = || begun().into_iter().chain([acknowledge(1, 1)]);
        assert_eq!(complete_notices(inputs()), 0);
        crate::planted::activate(Some("notify_before_stored"));
        let notices = complete_notices(inputs());
        crate::planted::activate(None);
        assert_eq!(notices, 1);
    }
}
