//! What the engine really leaves behind, in a run that nothing disturbs: the model's table of names and encodings fits it.

use crate::{
    history::RunEnd,
    run::run,
    scenario::Plan,
    seed::Seed,
    trace::Keep,
    workload::{Shape, Workload},
};

#[test]
fn an_undisturbed_run_of_each_shape_breaks_nothing() {
    for (seed, shape) in [(1, Shape::Value), (2, Shape::Window), (3, Shape::Both), (4, Shape::Both)] {
        let plan = Plan {
            scenario: "undisturbed".to_owned(),
            seed,
            workload: Workload::drawn(shape, Seed(seed)),
            faults: Vec::new(),
            planted: None,
        };
        let result = run(&plan, Keep::Hash);
        assert_eq!(result.history.end, RunEnd::Finished, "seed {seed}");
        assert_eq!(result.violations, [], "seed {seed}");
        assert!(result.history.completed.len() > 1, "seed {seed} took checkpoints");
    }
}
