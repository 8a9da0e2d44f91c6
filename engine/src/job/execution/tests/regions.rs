//! A job of two regions: what fails restarts, and what does not runs on.

use super::*;

/// The regions are subtask 0 of both vertices, on `a`, and subtask 1 of both, on `b`.
const FIRST: [Attempt; 2] = [Attempt(1), Attempt(2)];

impl Life {
    /// Two regions, with every subtask running.
    fn of_regions(restarts: u32) -> Self {
        let mut life = Self::new(restarts, true);
        let execution = std::mem::replace(&mut life.execution, Self::new(0, true).execution);
        life.execution = execution.with_failover(FailoverStrategy::Region);
        assert_eq!(life.register("a"), [], "the job begins when there is room for all of it");
        assert_eq!(life.register("b"), FIRST.map(ExecutionAction::PrepareRestore));
        for (attempt, host) in FIRST.into_iter().zip(["a", "b"]) {
            life.tell(ExecutionInput::RestoreReady { attempt });
            assert_eq!(life.deployed(host, attempt), [ExecutionAction::Start(attempt)]);
        }
        assert_eq!(life.of_region(0, FIRST[0], ExecutionInput::Running), [], "the other one does not run yet");
        let all_run = life.of_region(1, FIRST[1], ExecutionInput::Running);
        assert_eq!(all_run, [ExecutionAction::AllRunning(FIRST[1])]);
        life
    }

    /// Tells something of every subtask of a region.
    fn of_region(
        &mut self,
        index: u32,
        attempt: Attempt,
        input: fn(ExecutionAttempt) -> ExecutionInput,
    ) -> Vec<ExecutionAction> {
        let tasks = with_index(&[index]).into_iter();
        tasks.flat_map(|subtask| self.tell(input(ExecutionAttempt { subtask, attempt }))).collect()
    }

    fn task_fails(&mut self, index: u32, attempt: Attempt) -> Vec<ExecutionAction> {
        let subtask = SubtaskId { vertex: VertexId(1), index };
        let culprit = Culprit::Task(ExecutionAttempt { subtask, attempt });
        let recoverability = Recoverability::Recoverable;
        self.tell(ExecutionInput::Failed { culprit, reason: "boom".into(), recoverability })
    }

    /// From the end of the pause to where all its subtasks run.
    fn restart_region(&mut self, index: u32, attempt: Attempt, host: &str) -> Vec<ExecutionAction> {
        assert_eq!(self.tick_after(PAUSE), [ExecutionAction::PrepareRestore(attempt)]);
        let placement = with_index(&[index]).into_iter().map(|task| (task, task_manager(host))).collect();
        let deployed = self.tell(ExecutionInput::RestoreReady { attempt });
        assert_eq!(deployed, [ExecutionAction::Deploy { attempt, placement }], "where its slot is");
        self.deployed(host, attempt);
        self.of_region(index, attempt, ExecutionInput::Running)
    }
}

fn sink(index: u32) -> BTreeSet<SubtaskId> {
    BTreeSet::from([SubtaskId { vertex: VertexId(1), index }])
}

fn fail_of(attempt: Attempt, index: u32, host: &str) -> [ExecutionAction; 2] {
    [stop_region(attempt, index, &sink(index), "boom"), cancel(attempt, &[host])]
}

#[test]
fn a_failure_restarts_only_its_region() {
    let mut life = Life::of_regions(1);
    assert_eq!(life.task_fails(0, FIRST[0]), fail_of(FIRST[0], 0, "a"));
    assert_eq!(life.task_fails(0, FIRST[0]), [], "one failure of an attempt is enough");
    assert_eq!(life.execution.job_state(), JobState::Restarting);
    assert_eq!(life.cancelled("a", FIRST[0]), []);

    let untouched = ExecutionAttempt { subtask: SubtaskId { vertex: VertexId(0), index: 1 }, attempt: FIRST[1] };
    assert!(life.execution.is_current(untouched));
    let next = Attempt(3);
    assert_eq!(life.restart_region(0, next, "a"), [ExecutionAction::AllRunning(next)]);
    assert!(life.execution.is_current(untouched), "nothing has become of it");
    let zombie = ExecutionAttempt { subtask: SubtaskId { vertex: VertexId(0), index: 0 }, attempt: FIRST[0] };
    assert!(!life.execution.is_current(zombie));
    assert_eq!(life.execution.live_attempts(), BTreeSet::from([FIRST[1], next]));
}

#[test]
fn regions_that_fail_one_after_the_other_restart_side_by_side() {
    let mut life = Life::of_regions(2);
    life.task_fails(0, FIRST[0]);
    life.cancelled("a", FIRST[0]);
    life.now = Timestamp(2_000);
    assert_eq!(life.task_fails(1, FIRST[1]), fail_of(FIRST[1], 1, "b"));
    life.cancelled("b", FIRST[1]);
    assert_eq!(life.execution.deadline(), Some(Timestamp(5_000)), "each has its own pause");
    life.now = Timestamp(0);
    assert_eq!(life.restart_region(0, Attempt(3), "a"), [], "the other one still waits");
    life.now = Timestamp(2_000);
    assert_eq!(life.restart_region(1, Attempt(4), "b"), [ExecutionAction::AllRunning(Attempt(4))]);
}

#[test]
fn a_region_that_fails_while_it_restarts_leaves_the_other_one_alone() {
    let mut life = Life::of_regions(2);
    life.task_fails(0, FIRST[0]);
    life.cancelled("a", FIRST[0]);
    life.tick_after(PAUSE);
    assert_eq!(
        life.fails(Attempt(3)),
        [stop_region(Attempt(3), 0, &with_index(&[0]), "boom"), cancel(Attempt(3), &["a"])]
    );
    life.cancelled("a", Attempt(3));
    assert_eq!(life.restart_region(0, Attempt(4), "a"), [ExecutionAction::AllRunning(Attempt(4))]);
}

#[test]
fn each_region_on_a_lost_task_manager_has_failed_and_its_slot_moves() {
    let mut life = Life::of_regions(1);
    let reason = "task manager a is lost: silent";
    assert_eq!(life.lose("a"), [stop_region(FIRST[0], 0, &with_index(&[0]), reason)]);
    assert_eq!(life.tick_after(PAUSE), [], "no slot is free");
    assert_eq!(life.register("c"), [ExecutionAction::PrepareRestore(Attempt(3))]);
    let placement = with_index(&[0]).into_iter().map(|task| (task, task_manager("c"))).collect();
    let deploy = ExecutionAction::Deploy { attempt: Attempt(3), placement };
    assert_eq!(life.tell(ExecutionInput::RestoreReady { attempt: Attempt(3) }), [deploy]);
}

#[test]
fn a_failure_that_is_nobody_s_restarts_all_and_counts_once() {
    let mut life = Life::of_regions(1);
    let (culprit, recoverability) = (Culprit::Job, Recoverability::Recoverable);
    let failed = life.tell(ExecutionInput::Failed { culprit, reason: "boom".into(), recoverability });
    let (attempt, stopped) = (FIRST[1], with_index(&[0, 1]));
    let stop = ExecutionAction::StopCheckpoints { attempt, stopped, failed: BTreeSet::new(), reason: "boom".into() };
    assert_eq!(failed, [stop, cancel(FIRST[0], &["a"]), cancel(FIRST[1], &["b"])]);
    life.cancelled("a", FIRST[0]);
    life.cancelled("b", FIRST[1]);
    assert_eq!(life.tick_after(PAUSE), [3, 4].map(|attempt| ExecutionAction::PrepareRestore(Attempt(attempt))));
}

#[test]
fn while_all_stand_still_for_a_savepoint_a_failure_restarts_all() {
    let mut life = Life::of_regions(1);
    assert_eq!(life.tell(ExecutionInput::StoppingWithSavepoint), []);
    let (attempt, stopped, failed) = (FIRST[1], with_index(&[0, 1]), BTreeSet::new());
    let reason = "boom, while all tasks stand still for a savepoint".to_owned();
    let stop = ExecutionAction::StopCheckpoints { attempt, stopped, failed, reason };
    assert_eq!(life.task_fails(0, FIRST[0]), [stop, cancel(FIRST[0], &["a"]), cancel(FIRST[1], &["b"])]);
}

#[test]
fn a_region_that_has_finished_is_not_missed_and_does_not_run_again() {
    let mut life = Life::of_regions(1);
    let finished = life.of_region(1, FIRST[1], ExecutionInput::Finished);
    assert!(matches!(finished[..], [ExecutionAction::TaskFinished { .. }, ExecutionAction::TaskFinished { .. }]));
    assert_eq!(life.lose("b"), []);
    life.task_fails(0, FIRST[0]);
    life.cancelled("a", FIRST[0]);
    assert_eq!(life.restart_region(0, Attempt(3), "a"), [ExecutionAction::AllRunning(Attempt(3))]);
    assert_eq!(life.execution.finished_subtasks(), with_index(&[1]));
    let ended = life.of_region(0, Attempt(3), ExecutionInput::EndOfData);
    assert_eq!(ended, [ExecutionAction::TriggerFinalCheckpoint(Attempt(3))]);
    life.tell(ExecutionInput::FinalCheckpointCompleted(CheckpointId(9)));
    let ended = life.of_region(0, Attempt(3), ExecutionInput::Finished);
    assert_eq!(ended.last(), Some(&ExecutionAction::End(JobOutcome::Finished)));
}

#[test]
fn a_region_that_fails_while_all_come_to_their_end_takes_another_final_checkpoint() {
    let mut life = Life::of_regions(1);
    for index in [0, 1] {
        life.of_region(index, FIRST[index as usize], ExecutionInput::EndOfData);
    }
    let told = life.tell(ExecutionInput::FinalCheckpointCompleted(CheckpointId(3)));
    assert_eq!(told, FIRST.map(ExecutionAction::Finish));
    assert_eq!(life.task_fails(0, FIRST[0]), fail_of(FIRST[0], 0, "a"));
    life.cancelled("a", FIRST[0]);
    assert_eq!(life.restart_region(0, Attempt(3), "a"), [ExecutionAction::AllRunning(Attempt(3))]);
    let ended = life.of_region(0, Attempt(3), ExecutionInput::EndOfData);
    assert_eq!(ended, [ExecutionAction::TriggerFinalCheckpoint(Attempt(3))]);
    let told = life.tell(ExecutionInput::FinalCheckpointCompleted(CheckpointId(4)));
    assert_eq!(told, [ExecutionAction::Finish(Attempt(3))]);
    assert_eq!(life.of_region(1, FIRST[1], ExecutionInput::Finished), [], "it has been told before");
    let ended = life.of_region(0, Attempt(3), ExecutionInput::Finished);
    assert_eq!(ended.last(), Some(&ExecutionAction::End(JobOutcome::Finished)));
}

#[test]
fn the_failure_of_one_region_after_the_last_restart_ends_the_job_and_the_other_one_with_it() {
    let mut life = Life::of_regions(0);
    let (attempt, stopped) = (FIRST[1], with_index(&[0, 1]));
    let stop = ExecutionAction::StopCheckpoints { attempt, stopped, failed: sink(0), reason: "boom".into() };
    assert_eq!(life.task_fails(0, FIRST[0]), [stop, cancel(FIRST[0], &["a"]), cancel(FIRST[1], &["b"])]);
    assert_eq!(life.cancelled("a", FIRST[0]), []);
    let reason = "all 0 restarts of fixed-delay are used up; the last failure: boom".to_owned();
    assert_eq!(life.cancelled("b", FIRST[1]), [ExecutionAction::End(JobOutcome::Failed { reason })]);
}

#[test]
fn a_job_of_which_a_region_restarts_can_be_cancelled() {
    let mut life = Life::of_regions(1);
    life.task_fails(0, FIRST[0]);
    life.cancelled("a", FIRST[0]);
    let answered = life.tell(ExecutionInput::Cancel);
    assert_eq!(answered, [ExecutionAction::AbandonCheckpoints(FIRST[1]), cancel(FIRST[1], &["b"])]);
    assert_eq!(life.cancelled("b", FIRST[1]), [ExecutionAction::End(JobOutcome::Cancelled)]);
}
