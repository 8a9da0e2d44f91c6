//! The life of a job, told as inputs and the actions that answer them.

use std::time::Duration;

use super::*;
use crate::{
    config::RestartConfig,
    graph::{Distribution, Edge, Overtaking, Vertex},
    id::{CheckpointId, EdgeId, OperatorUid, VertexId},
    job::place,
};

const PAUSE: Duration = Duration::from_secs(5);

mod regions;

/// Two sources, each with its sink, on task managers with one slot each.
fn graph() -> JobGraph {
    let vertex = |id, name: &str| Vertex {
        id: VertexId(id),
        name: name.into(),
        parallelism: 2,
        operators: vec![OperatorUid(name.into())],
    };
    let edge = Edge {
        id: EdgeId(0),
        from: VertexId(0),
        to: VertexId(1),
        distribution: Distribution::Pointwise,
        overtaking: Overtaking::Forbidden,
    };
    JobGraph { vertices: vec![vertex(0, "source"), vertex(1, "sink")], edges: vec![edge], max_parallelism: 128 }
}

fn task_manager(name: &str) -> TaskManagerId {
    TaskManagerId(name.into())
}

fn both() -> BTreeSet<TaskManagerId> {
    BTreeSet::from([task_manager("a"), task_manager("b")])
}

/// An execution under test, with a clock that stands still unless it is moved.
struct Life {
    execution: ExecutionGraph,
    now: Timestamp,
}

impl Life {
    fn new(restarts: u32, checkpointing: bool) -> Self {
        let restart = RestartStrategy::new(&RestartConfig::FixedDelay { attempts: restarts, delay: PAUSE });
        Self { execution: ExecutionGraph::new(graph(), restart, checkpointing, Attempt(1)), now: Timestamp(0) }
    }

    /// A job that checkpoints and may restart once, with the given task managers registered.
    fn with_task_managers(names: &[&str]) -> Self {
        let mut life = Self::new(1, true);
        for name in names {
            life.register(name);
        }
        life
    }

    /// The same, with every subtask of attempt 1 running on `a` and `b`.
    fn running() -> Self {
        let mut life = Self::with_task_managers(&["a", "b"]);
        life.deploy_and_start(Attempt(1));
        life
    }

    fn tell(&mut self, input: ExecutionInput) -> Vec<ExecutionAction> {
        let mut actions = Vec::new();
        self.execution.handle(self.now, 0.5, input, &mut actions);
        actions
    }

    fn register(&mut self, name: &str) -> Vec<ExecutionAction> {
        self.tell(ExecutionInput::TaskManagerRegistered { task_manager: task_manager(name), slots: 1 })
    }

    fn lose(&mut self, name: &str) -> Vec<ExecutionAction> {
        self.tell(ExecutionInput::TaskManagerLost { task_manager: task_manager(name), reason: "silent".into() })
    }

    fn deployed(&mut self, name: &str, attempt: Attempt) -> Vec<ExecutionAction> {
        self.tell(ExecutionInput::Deployed { task_manager: task_manager(name), attempt })
    }

    fn fails(&mut self, attempt: Attempt) -> Vec<ExecutionAction> {
        let culprit = Culprit::Attempts(vec![attempt]);
        self.tell(ExecutionInput::Failed {
            culprit,
            reason: "boom".into(),
            recoverability: Recoverability::Recoverable,
        })
    }

    fn cancelled(&mut self, name: &str, attempt: Attempt) -> Vec<ExecutionAction> {
        self.tell(ExecutionInput::Cancelled { task_manager: task_manager(name), attempt })
    }

    fn tick_after(&mut self, pause: Duration) -> Vec<ExecutionAction> {
        self.now = self.now.saturating_add(pause);
        self.tell(ExecutionInput::Tick)
    }

    /// Tells something of every subtask; the answers one after the other.
    fn each_subtask(
        &mut self,
        attempt: Attempt,
        input: fn(ExecutionAttempt) -> ExecutionInput,
    ) -> Vec<ExecutionAction> {
        let subtasks: Vec<SubtaskId> = graph().subtasks().collect();
        subtasks.into_iter().flat_map(|subtask| self.tell(input(ExecutionAttempt { subtask, attempt }))).collect()
    }

    fn deploy_and_start(&mut self, attempt: Attempt) {
        self.tell(ExecutionInput::RestoreReady { attempt });
        self.deployed("a", attempt);
        self.deployed("b", attempt);
        let answered = self.each_subtask(attempt, ExecutionInput::Running);
        assert_eq!(answered, [ExecutionAction::AllRunning(attempt)], "the job runs before the test begins");
    }
}

/// The subtasks of the graph with these numbers.
fn with_index(indices: &[u32]) -> BTreeSet<SubtaskId> {
    graph().subtasks().filter(|task| indices.contains(&task.index)).collect()
}

fn stop_checkpoints(attempt: Attempt, reason: &str) -> ExecutionAction {
    let all = with_index(&[0, 1]);
    ExecutionAction::StopCheckpoints { attempt, stopped: all.clone(), failed: all, reason: reason.into() }
}

/// Those of a region are stopped because of some of them.
fn stop_region(attempt: Attempt, index: u32, failed: &BTreeSet<SubtaskId>, reason: &str) -> ExecutionAction {
    let (stopped, failed) = (with_index(&[index]), failed.clone());
    ExecutionAction::StopCheckpoints { attempt, stopped, failed, reason: reason.into() }
}

fn cancel(attempt: Attempt, names: &[&str]) -> ExecutionAction {
    ExecutionAction::Cancel { attempt, task_managers: names.iter().map(|name| task_manager(name)).collect() }
}

#[test]
fn a_job_waits_for_slots_runs_and_ends_with_a_final_checkpoint() {
    let attempt = Attempt(1);
    let mut life = Life::new(1, true);
    assert_eq!(life.register("a"), [], "one of two slots");
    assert_eq!(life.register("b"), [ExecutionAction::PrepareRestore(attempt)]);

    let placement = place(&graph(), &both().into_iter().map(|id| (id, 1)).collect(), &Placement::new())
        .expect("two slots are enough");
    assert_eq!(
        life.tell(ExecutionInput::RestoreReady { attempt }),
        [ExecutionAction::Deploy { attempt, placement: placement.clone() }]
    );
    assert_eq!(placement.values().cloned().collect::<BTreeSet<_>>(), both(), "the job spreads");

    assert_eq!(life.deployed("a", attempt), []);
    assert_eq!(life.deployed("b", attempt), [ExecutionAction::Start(attempt)]);
    assert_eq!(life.each_subtask(attempt, ExecutionInput::Running), [ExecutionAction::AllRunning(attempt)]);
    assert_eq!(
        life.each_subtask(attempt, ExecutionInput::EndOfData),
        [ExecutionAction::TriggerFinalCheckpoint(attempt)]
    );
    assert_eq!(
        life.tell(ExecutionInput::FinalCheckpointCompleted(CheckpointId(7))),
        [ExecutionAction::Finish(attempt)]
    );
    assert_eq!(life.each_subtask(attempt, ExecutionInput::Finished), [ExecutionAction::End(JobOutcome::Finished)]);
}

#[test]
fn without_checkpoints_the_end_of_all_data_ends_the_tasks() {
    let mut life = Life::new(1, false);
    life.register("a");
    life.register("b");
    life.deploy_and_start(Attempt(1));
    assert_eq!(life.each_subtask(Attempt(1), ExecutionInput::EndOfData), [ExecutionAction::Finish(Attempt(1))]);
}

#[test]
fn data_that_ends_before_all_subtasks_run_ends_the_job_when_they_do() {
    let attempt = Attempt(1);
    let mut life = Life::with_task_managers(&["a", "b"]);
    life.tell(ExecutionInput::RestoreReady { attempt });
    life.deployed("a", attempt);
    life.deployed("b", attempt);
    assert_eq!(life.each_subtask(attempt, ExecutionInput::EndOfData), [], "the last subtask has not started");
    assert_eq!(
        life.each_subtask(attempt, ExecutionInput::Running),
        [ExecutionAction::AllRunning(attempt), ExecutionAction::TriggerFinalCheckpoint(attempt)]
    );
}

#[test]
fn a_final_checkpoint_that_nobody_waits_for_ends_nothing() {
    let mut life = Life::with_task_managers(&["a", "b"]);
    let early = life.tell(ExecutionInput::FinalCheckpointCompleted(CheckpointId(1)));
    assert_eq!(early, [], "the job is not even deployed");
}

#[test]
fn a_failure_while_deploying_cancels_everywhere_and_restarts_after_the_pause() {
    let (first, second) = (Attempt(1), Attempt(2));
    let mut life = Life::with_task_managers(&["a", "b"]);
    life.tell(ExecutionInput::RestoreReady { attempt: first });
    life.deployed("a", first);
    assert_eq!(life.fails(first), [stop_checkpoints(first, "boom"), cancel(first, &["a", "b"])]);

    assert_eq!(life.deployed("b", first), [], "a late answer starts nothing");
    assert_eq!(life.cancelled("a", first), []);
    assert_eq!(life.execution.deadline(), None, "the pause begins when nothing of the attempt runs");
    assert_eq!(life.cancelled("b", first), []);
    assert_eq!(life.execution.deadline(), Some(Timestamp(5_000)));

    assert_eq!(life.tick_after(PAUSE - Duration::from_millis(1)), []);
    assert_eq!(life.execution.attempt(), first);
    assert_eq!(life.tick_after(Duration::from_millis(1)), [ExecutionAction::PrepareRestore(second)]);
    assert_eq!(life.execution.attempt(), second);
}

#[test]
fn a_task_manager_that_is_lost_fails_the_attempt_and_is_not_waited_for() {
    let first = Attempt(1);
    let mut life = Life::running();
    let (stopped, failed) = (with_index(&[0, 1]), with_index(&[1]));
    let reason = "task manager b is lost: silent".to_owned();
    let stop = ExecutionAction::StopCheckpoints { attempt: first, stopped, failed, reason };
    assert_eq!(life.lose("b"), [stop, cancel(first, &["a"])]);
    assert_eq!(life.cancelled("a", first), []);
    assert_eq!(life.tick_after(PAUSE), [], "one slot is not enough");
    assert_eq!(life.register("c"), [ExecutionAction::PrepareRestore(Attempt(2))]);
}

#[test]
fn a_task_manager_that_is_lost_while_cancelling_needs_not_answer_any_more() {
    let first = Attempt(1);
    let mut life = Life::running();
    life.fails(first);
    life.cancelled("a", first);
    assert_eq!(life.execution.deadline(), None);
    assert_eq!(life.lose("b"), [], "no second failure of the same attempt");
    assert_eq!(life.execution.deadline(), Some(Timestamp(5_000)));
}

#[test]
fn when_every_task_manager_is_lost_nobody_is_asked_to_cancel() {
    let mut life = Life::running();
    life.lose("a");
    assert_eq!(life.lose("b"), []);
    assert_eq!(life.execution.deadline(), Some(Timestamp(5_000)));
}

#[test]
fn a_task_manager_without_tasks_can_go_without_harm() {
    let mut life = Life::running();
    assert_eq!(life.register("idle"), []);
    assert_eq!(life.lose("idle"), []);
    assert_eq!(life.each_subtask(Attempt(1), ExecutionInput::EndOfData).len(), 1, "the attempt goes on");
}

#[test]
fn the_failure_after_the_last_restart_ends_the_job_once_all_is_cancelled() {
    let (first, second) = (Attempt(1), Attempt(2));
    let mut life = Life::running();
    life.fails(first);
    life.cancelled("a", first);
    life.cancelled("b", first);
    life.tick_after(PAUSE);
    life.deploy_and_start(second);

    assert_eq!(life.fails(second), [stop_checkpoints(second, "boom"), cancel(second, &["a", "b"])]);
    assert_eq!(life.cancelled("a", second), []);
    let reason = "all 1 restarts of fixed-delay are used up; the last failure: boom".to_owned();
    assert_eq!(life.cancelled("b", second), [ExecutionAction::End(JobOutcome::Failed { reason })]);
    assert_eq!(life.execution.deadline(), None);
}

#[test]
fn what_an_earlier_attempt_says_changes_nothing() {
    let (first, second) = (Attempt(1), Attempt(2));
    let mut life = Life::running();
    life.fails(first);
    life.cancelled("a", first);
    life.cancelled("b", first);
    life.tick_after(PAUSE);
    life.deploy_and_start(second);

    assert_eq!(life.each_subtask(first, ExecutionInput::EndOfData), []);
    assert_eq!(life.each_subtask(first, ExecutionInput::Finished), []);
    assert_eq!(life.fails(first), []);
    assert_eq!(life.cancelled("a", first), []);
    assert_eq!(life.tell(ExecutionInput::RestoreReady { attempt: first }), []);
    assert_eq!(life.each_subtask(second, ExecutionInput::EndOfData), [ExecutionAction::TriggerFinalCheckpoint(second)]);
}

#[test]
fn a_failure_while_finishing_restarts_the_job() {
    let first = Attempt(1);
    let mut life = Life::running();
    life.each_subtask(first, ExecutionInput::EndOfData);
    life.tell(ExecutionInput::FinalCheckpointCompleted(CheckpointId(3)));
    assert_eq!(life.fails(first), [stop_checkpoints(first, "boom"), cancel(first, &["a", "b"])]);
}

#[test]
fn a_state_that_cannot_be_read_now_is_tried_again_and_a_damaged_one_ends_the_job() {
    let (first, second) = (Attempt(1), Attempt(2));
    let mut life = Life::with_task_managers(&["a", "b"]);
    let failed = |attempt, recoverability| {
        let reason = "unreadable".into();
        let culprit = Culprit::Attempts(vec![attempt]);
        ExecutionInput::Failed { culprit, reason, recoverability }
    };
    assert_eq!(
        life.tell(failed(first, Recoverability::Recoverable)),
        [stop_checkpoints(first, "unreadable"), cancel(first, &["a", "b"])]
    );
    life.cancelled("a", first);
    life.cancelled("b", first);
    assert_eq!(life.tick_after(PAUSE), [ExecutionAction::PrepareRestore(second)]);
    assert_eq!(
        life.tell(failed(second, Recoverability::NonRecoverable)),
        [stop_checkpoints(second, "unreadable"), cancel(second, &["a", "b"])]
    );
    life.cancelled("a", second);
    let reason = "unreadable".to_owned();
    assert_eq!(life.cancelled("b", second), [ExecutionAction::End(JobOutcome::CannotRestore { reason })]);
}

#[test]
fn a_failure_that_no_restart_can_help_ends_a_job_that_was_about_to_restart() {
    let first = Attempt(1);
    let mut life = Life::running();
    life.fails(first);
    let (reason, recoverability) = ("a state file is lost".to_owned(), Recoverability::NonRecoverable);
    let culprit = Culprit::Task(execution(0));
    assert_eq!(life.tell(ExecutionInput::Failed { culprit, reason: reason.clone(), recoverability }), []);
    life.cancelled("a", first);
    assert_eq!(life.cancelled("b", first), [ExecutionAction::End(JobOutcome::Failed { reason })]);
}

/// The subtasks of [`graph`], in order: two sources, two sinks.
fn execution(number: usize) -> ExecutionAttempt {
    let subtask = graph().subtasks().nth(number).expect("there are four");
    ExecutionAttempt { subtask, attempt: Attempt(1) }
}

#[test]
fn subtasks_finish_one_after_the_other_and_the_last_one_ends_the_job() {
    let mut life = Life::running();
    let mut finished = BTreeSet::new();
    for number in [0, 2, 1] {
        let ExecutionAttempt { subtask, .. } = execution(number);
        finished.insert(subtask);
        assert_eq!(
            life.tell(ExecutionInput::Finished(execution(number))),
            [ExecutionAction::TaskFinished { subtask, finished: finished.clone() }]
        );
    }
    assert_eq!(life.tell(ExecutionInput::Finished(execution(3))), [ExecutionAction::End(JobOutcome::Finished)]);
}

#[test]
fn a_task_manager_all_of_whose_subtasks_have_finished_is_not_missed() {
    let mut life = Life::running();
    let placement = place(&graph(), &both().into_iter().map(|id| (id, 1)).collect(), &Placement::new())
        .expect("two slots are enough");
    for (subtask, _) in placement.iter().filter(|(_, host)| **host == task_manager("a")) {
        life.tell(ExecutionInput::Finished(ExecutionAttempt { subtask: *subtask, attempt: Attempt(1) }));
    }
    assert_eq!(life.lose("a"), []);
    assert_ne!(life.lose("b"), [], "there the others ran");
}

#[test]
fn after_a_restart_nobody_has_finished_yet() {
    let (first, second) = (Attempt(1), Attempt(2));
    let mut life = Life::running();
    life.tell(ExecutionInput::Finished(execution(0)));
    life.fails(first);
    life.cancelled("a", first);
    life.cancelled("b", first);
    life.tick_after(PAUSE);
    life.deploy_and_start(second);
    assert_eq!(life.execution.finished_subtasks(), BTreeSet::new());
}

#[test]
fn a_job_that_stops_with_a_savepoint_ends_when_its_tasks_have_without_being_told_to() {
    let attempt = Attempt(1);
    let mut life = Life::running();
    assert_eq!(life.tell(ExecutionInput::StoppedWithSavepoint(CheckpointId(7))), []);
    assert_eq!(life.execution.job_state(), JobState::Running);
    assert_eq!(life.each_subtask(attempt, ExecutionInput::Finished), [ExecutionAction::End(JobOutcome::Finished)]);
    assert_eq!(life.execution.job_state(), JobState::Finished);
}

#[test]
fn a_job_that_fails_while_it_stops_with_a_savepoint_goes_on() {
    let attempt = Attempt(1);
    let mut life = Life::running();
    life.tell(ExecutionInput::StoppedWithSavepoint(CheckpointId(7)));
    assert_eq!(life.fails(attempt), [stop_checkpoints(attempt, "boom"), cancel(attempt, &["a", "b"])]);
    life.cancelled("a", attempt);
    life.cancelled("b", attempt);
    assert_eq!(life.tick_after(PAUSE), [ExecutionAction::PrepareRestore(Attempt(2))]);
}

#[test]
fn a_cancelled_job_ends_when_nothing_of_it_runs() {
    let attempt = Attempt(1);
    let mut life = Life::running();
    let answered = life.tell(ExecutionInput::Cancel);
    assert_eq!(answered, [ExecutionAction::AbandonCheckpoints(attempt), cancel(attempt, &["a", "b"])]);
    assert_eq!((life.execution.job_state(), life.tell(ExecutionInput::Cancel)), (JobState::Cancelling, vec![]));
    assert_eq!(life.fails(attempt), [], "what fails now changes nothing");
    assert_eq!(life.cancelled("a", attempt), []);
    assert_eq!(life.lose("b"), [ExecutionAction::End(JobOutcome::Cancelled)]);
    assert_eq!(life.tell(ExecutionInput::Cancel), [], "it has ended");
}

#[test]
fn a_job_that_waits_or_restarts_can_be_cancelled() {
    let mut waiting = Life::new(1, true);
    assert_eq!(waiting.tell(ExecutionInput::Cancel), [ExecutionAction::End(JobOutcome::Cancelled)]);

    let mut failing = Life::running();
    failing.fails(Attempt(1));
    assert_eq!(failing.tell(ExecutionInput::Cancel), [], "its tasks are being stopped already");
    failing.cancelled("a", Attempt(1));
    assert_eq!(failing.cancelled("b", Attempt(1)), [ExecutionAction::End(JobOutcome::Cancelled)]);

    let mut backing_off = Life::running();
    backing_off.fails(Attempt(1));
    backing_off.cancelled("a", Attempt(1));
    backing_off.cancelled("b", Attempt(1));
    assert_eq!(backing_off.execution.job_state(), JobState::Restarting);
    assert_eq!(backing_off.tell(ExecutionInput::Cancel), [ExecutionAction::End(JobOutcome::Cancelled)]);
    assert_eq!(backing_off.tick_after(PAUSE), [], "it has ended");
}
