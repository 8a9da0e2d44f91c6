//! I21: the same plan gives the same trace — again, on other threads, in another order, beside other runs.

use std::collections::BTreeMap;

use tidegate_sim::{
    run::run,
    scenario::Plan,
    trace::{Keep, TraceHash},
};

fn plans() -> Vec<Plan> {
    let scenarios = tidegate_scenarios::scenarios().expect("the catalogue can be read");
    let chosen = ["swarm_value", "swarm_window", "storage_power_loss_window", "crash_during_recovery_value"];
    let chosen: Vec<_> = scenarios.iter().filter(|scenario| chosen.contains(&scenario.name.as_str())).collect();
    assert_eq!(chosen.len(), 4);
    (0..24).map(|seed| chosen[seed % 4].plan(seed as u64)).collect()
}

fn hashes(plans: &[Plan]) -> BTreeMap<u64, TraceHash> {
    plans.iter().map(|plan| (plan.seed, run(plan, Keep::Hash).hash)).collect()
}

#[test]
fn a_run_repeats_itself_on_other_threads_and_in_another_order() {
    let plans = plans();
    let backwards: Vec<Plan> = plans.iter().rev().cloned().collect();
    let (forwards, again) = std::thread::scope(|scope| {
        let forwards = scope.spawn(|| hashes(&plans));
        let again = scope.spawn(|| hashes(&backwards));
        (forwards.join().expect("no run panics"), again.join().expect("no run panics"))
    });
    assert_eq!(forwards, again);
}

#[test]
fn keeping_the_lines_of_a_trace_does_not_change_it() {
    for plan in plans().iter().take(4) {
        let kept = run(plan, Keep::Lines);
        assert_eq!(kept.hash, run(plan, Keep::Hash).hash);
        assert_eq!(kept.events as usize, kept.lines.len());
    }
}

#[test]
fn another_seed_is_another_run() {
    let hashes: std::collections::BTreeSet<TraceHash> = hashes(&plans()).into_values().collect();
    assert_eq!(hashes.len(), plans().len());
}
