//! What the engine really leaves behind, in a run that nothing disturbs: the model's table of names and encodings fits it.

use std::collections::BTreeSet;

use crate::{
    history::RunEnd,
    invariant::InvariantId,
    run::{RunResult, run},
    scenario::Plan,
    seed::Seed,
    trace::Keep,
    workload::{Fixed, Parallelism, Shape, Workload},
};

fn undisturbed(seed: u64, shape: Shape, planted: Option<&str>) -> RunResult {
    let plan = Plan {
        scenario: "undisturbed".to_owned(),
        seed,
        workload: Workload::drawn(shape, &Fixed::default(), Parallelism::Fixed, Seed(seed)),
        faults: Vec::new(),
        planted: planted.map(str::to_owned),
        schedule: None,
        demands: Vec::new(),
    };
    run(&plan, Keep::Hash)
}

#[test]
fn an_undisturbed_run_of_each_shape_breaks_nothing() {
    for (seed, shape) in [(1, Shape::Value), (2, Shape::Window), (3, Shape::Both), (4, Shape::Both)] {
        let result = undisturbed(seed, shape, None);
        assert_eq!(result.history.end, RunEnd::Finished, "seed {seed}");
        assert_eq!(result.violations, [], "seed {seed}");
        assert!(result.history.completed.len() > 1, "seed {seed} took checkpoints");
    }
}

#[test]
fn a_sink_that_commits_when_it_should_only_prepare_is_caught() {
    let result = undisturbed(1, Shape::Value, Some("commit_on_pre_commit"));
    let broken: BTreeSet<InvariantId> = result.violations.iter().map(|violation| violation.invariant).collect();
    assert_eq!(broken, [InvariantId::I3, InvariantId::I7].into());
}
