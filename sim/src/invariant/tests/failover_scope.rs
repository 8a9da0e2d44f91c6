//! I23 on a job of two regions of which one fails, and on the nearest wrong ones.

use tidegate::{
    event::{Moment, Step},
    graph::{Distribution, Edge, JobGraph, Overtaking, Vertex},
    id::{Attempt, CheckpointId, EdgeId, Epoch, VertexId},
};

use super::{InvariantId, judge, model, right_run::Run};
use crate::fault::FaultKind;

/// `in` feeds `out`, one to one: each has two subtasks, and so there are two regions.
fn graph() -> JobGraph {
    let vertex = |id, name: &str| Vertex { id: VertexId(id), name: name.into(), parallelism: 2, operators: Vec::new() };
    let edge = Edge {
        id: EdgeId(0),
        from: VertexId(0),
        to: VertexId(1),
        distribution: Distribution::Pointwise,
        overtaking: Overtaking::Allowed,
    };
    JobGraph { vertices: vec![vertex(0, "in"), vertex(1, "out")], edges: vec![edge], max_parallelism: 8 }
}

/// What a leader does with two regions, the first of which is attempt 1, and the second attempt 2.
struct Told(Run);

impl Told {
    fn both_run() -> Self {
        let mut told = Self(Run::new());
        told.0.history.graph = graph();
        told.deploy(1, &["0#0", "1#0"]).deploy(2, &["0#1", "1#1"]);
        told
    }

    /// An attempt is deployed, and nobody hears of it.
    fn only_deploy(&mut self, attempt: u64, subtasks: &[&str]) -> &mut Self {
        let detail = format!("attempt={attempt} deployed={}", subtasks.join(","));
        self.0.fact(Moment::Before, Step::Deploy, None, 0, detail);
        self
    }

    fn restore(&mut self, attempt: u64, subtasks: &[&str]) -> &mut Self {
        let facts = subtasks.iter().map(|subtask| (*subtask).to_owned());
        facts.for_each(|subtask| self.0.fact(Moment::After, Step::Restore, None, attempt, subtask));
        self
    }

    fn deploy(&mut self, attempt: u64, subtasks: &[&str]) -> &mut Self {
        self.only_deploy(attempt, subtasks).restore(attempt, subtasks)
    }

    fn fail(&mut self, said: &str) -> &mut Self {
        self.0.fact(Moment::Before, Step::FailOver, None, 0, said.to_owned());
        self
    }

    fn broken(&self) -> Vec<String> {
        let violations = judge(&self.0.history, &model()).into_iter();
        let of_scope = violations.filter(|it| it.invariant == InvariantId::I23);
        of_scope.map(|violation| violation.signature).collect()
    }
}

const SCOPE: &str = "I23 other tasks stopped";
const UNTOUCHED: &str = "I23 an untouched region restarted";
const FIRST: [&str; 2] = ["0#0", "1#0"];
const SECOND: [&str; 2] = ["0#1", "1#1"];
const FIRST_FAILS: &str = "stopped=0#0,1#0 failed=1#0 boom";

#[test]
fn the_region_of_what_failed_is_stopped_and_starts_again() {
    assert_eq!(Told::both_run().fail(FIRST_FAILS).deploy(3, &FIRST).broken(), [""; 0]);
    let all = "stopped=0#0,0#1,1#0,1#1";
    let lost = format!("{all} failed=0#1,1#0 a task manager is lost");
    assert_eq!(Told::both_run().fail(&lost).deploy(3, &FIRST).deploy(4, &SECOND).broken(), [""; 0]);
    let checkpoint = format!("{all} failed=none checkpoint 7 failed");
    assert_eq!(Told::both_run().fail(&checkpoint).deploy(3, &FIRST).deploy(4, &SECOND).broken(), [""; 0]);
}

#[test]
fn more_or_less_than_a_region_is_seen() {
    let said = |said: &str| Told::both_run().fail(said).broken();
    assert_eq!(said("stopped=0#0,0#1,1#0,1#1 failed=1#0 boom"), [SCOPE]);
    assert_eq!(said("stopped=1#0 failed=1#0 boom"), [SCOPE]);
    assert_eq!(said("stopped=0#1,1#1 failed=1#0 boom"), [SCOPE]);
    assert_eq!(said("stopped=0#0,0#1,1#0,1#1 failed=none boom"), [SCOPE], "somebody failed");
    assert_eq!(said("boom"), [SCOPE], "nobody knows what was stopped");
}

#[test]
fn who_starts_again_without_having_been_stopped_is_seen() {
    assert_eq!(Told::both_run().fail(FIRST_FAILS).deploy(3, &FIRST).deploy(4, &SECOND).broken(), [UNTOUCHED]);
    // The beginning of whoever nobody deployed has no reason either.
    assert_eq!(Told::both_run().fail(FIRST_FAILS).deploy(3, &FIRST).restore(4, &SECOND).broken(), [UNTOUCHED]);
}

#[test]
fn an_attempt_that_nobody_heard_of_excuses_no_later_one() {
    let mut run = Told::both_run();
    run.fail(FIRST_FAILS).only_deploy(3, &FIRST).fail(FIRST_FAILS).deploy(4, &FIRST);
    assert_eq!(run.broken(), [""; 0]);
    assert_eq!(
        run.deploy(5, &FIRST).broken(),
        [UNTOUCHED],
        "two stops before three beginnings, but none before the last"
    );
}

#[test]
fn a_stop_that_was_overtaken_by_another_one_excuses_no_later_attempt() {
    // The region fails again while it waits: that is one restart, not two.
    let mut run = Told::both_run();
    run.fail(FIRST_FAILS).fail(FIRST_FAILS).deploy(3, &FIRST);
    assert_eq!(run.broken(), [""; 0]);
    assert_eq!(run.deploy(4, &FIRST).broken(), [UNTOUCHED]);
}

#[test]
fn a_new_leader_begins_all_regions_anew() {
    let epoch = Attempt::first_of(Epoch(1)).0;
    assert_eq!(Told::both_run().deploy(epoch, &FIRST).deploy(epoch + 1, &SECOND).broken(), [""; 0]);
}

#[test]
fn all_are_stopped_for_a_savepoint_only_while_they_stand_still_for_one() {
    let all = "stopped=0#0,0#1,1#0,1#1 failed=none boom, while all tasks stand still for a savepoint";
    assert_eq!(Told::both_run().fail(all).broken(), [SCOPE]);
    let mut stopping = Told::both_run();
    stopping.0.history.savepoints_begun.insert(CheckpointId(4), FaultKind::StopWithSavepoint);
    stopping.0.fact(Moment::Before, Step::Trigger, Some(4), 0, String::new());
    assert_eq!(stopping.fail(all).broken(), [""; 0]);
    assert_eq!(stopping.deploy(3, &FIRST).deploy(4, &SECOND).fail(all).broken(), [SCOPE], "that stop is over");
}
