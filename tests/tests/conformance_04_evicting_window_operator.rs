//! Windows with evictors emit what Flink's do, however often they are restored.

use tidegate_tests::{
    vectors::run,
    window_driver::{Kept, Mode, run_steps},
};

#[test]
fn every_vector_of_the_evicting_window_operator_holds() {
    run(include_str!("../data/vectors/04_evicting_window_operator.json"), &[], |vector| {
        for kept in [Kept::Reduced, Kept::Aggregated, Kept::Full] {
            run_steps(vector, &vector["config"], kept, Mode::Calm)?;
        }
        Ok(())
    });
}

#[test]
fn every_vector_of_the_evicting_window_operator_holds_through_a_storm_of_restores() {
    run(include_str!("../data/vectors/04_evicting_window_operator.json"), &[], |vector| {
        for kept in [Kept::Reduced, Kept::Full] {
            run_steps(vector, &vector["config"], kept, Mode::RestoreStorm)?;
        }
        Ok(())
    });
}
