//! State in RocksDB, the real one, inside the simulation. Needs the feature `rocksdb`.
//!
//! Its threads and its disk are the machine's, beyond the reach of a seed; but what it shows must follow from the calls
//! alone, so that a run repeats itself to the last fact.
#![cfg(feature = "rocksdb")]

use tidegate_sim::{
    matrix::{Cell, MatrixExtent, run_matrix},
    run::{Verdict, run},
    scenario::Plan,
    trace::Keep,
    workload::{Backend, StageKind},
    zoo::{Hunting, hunt},
};

/// One plan of every third scenario, with its state in RocksDB, and checkpoints incremental in every other of them: the
/// real disk makes these runs slow.
fn plans() -> impl Iterator<Item = Plan> {
    let scenarios = tidegate_scenarios::scenarios().expect("the catalogue can be read");
    let chosen: Vec<Plan> = scenarios.iter().zip(0..).step_by(3).map(|(scenario, seed)| scenario.plan(seed)).collect();
    let backends = [Backend::RocksdbIncremental, Backend::Rocksdb].into_iter().cycle();
    chosen.into_iter().zip(backends).map(|(mut plan, backend)| {
        plan.workload.backend = backend;
        plan
    })
}

#[test]
fn runs_with_state_in_rocksdb_hold_and_repeat_themselves_on_another_thread() {
    let plans: Vec<Plan> = plans().collect();
    let runs = || plans.iter().map(|plan| run(plan, Keep::Lines)).collect::<Vec<_>>();
    let (first, again) = std::thread::scope(|scope| {
        let (first, again) = (scope.spawn(runs), scope.spawn(runs));
        (first.join().expect("no run panics"), again.join().expect("no run panics"))
    });
    for ((plan, first), again) in plans.iter().zip(first).zip(again) {
        let name = format!("{} with seed {}", plan.scenario, plan.seed);
        assert_ne!(first.verdict(), Verdict::Violated, "{name}: {:?}", first.violations);
        let differs = first.lines.iter().zip(&again.lines).position(|(first, again)| first != again);
        if let Some(at) = differs {
            let before = &first.lines[at.saturating_sub(5)..at];
            panic!("{name} is not repeated, after {before:#?}:\n{}\n{}", first.lines[at], again.lines[at]);
        }
        assert_eq!((first.lines.len(), first.hash), (again.lines.len(), again.hash), "{name}");
    }
}

#[test]
fn a_task_that_starts_again_finds_the_files_of_its_database_where_they_were() {
    let scenarios = tidegate_scenarios::scenarios().expect("the catalogue can be read");
    let scenario = scenarios.iter().find(|scenario| scenario.name == "local_recovery_after_a_task_failure_value");
    let mut plan = scenario.expect("it is in the catalogue").plan(0);
    plan.workload.backend = Backend::RocksdbIncremental;
    let result = run(&plan, Keep::Lines);
    assert_eq!(result.verdict(), Verdict::Holds, "{:?}", result.violations);
    let steps = |name: &str| result.lines.iter().filter(|line| line.contains(name)).cloned().collect::<Vec<_>>();
    assert_ne!(steps("restore_local"), Vec::<String>::new());
    assert_eq!(steps("restore_remote"), Vec::<String>::new());
}

#[test]
fn every_planted_bug_of_the_backend_is_caught_by_an_invariant_that_should_catch_it() {
    let scenarios = tidegate_scenarios::scenarios().expect("the catalogue can be read");
    let zoo = tidegate_scenarios::zoo().expect("the zoo can be read");
    let bugs: Vec<_> = zoo.iter().filter(|bug| bug.backend != Backend::Memory).collect();
    assert!(!bugs.is_empty());
    for bug in bugs {
        let hunt = hunt(bug, &scenarios, Hunting::declared(0));
        assert!(hunt.caught, "{} survived {} runs, reached in {}: {:?}", hunt.bug, hunt.runs, hunt.reached, hunt.fired);
    }
}

#[test]
fn every_kind_of_stage_holds_in_rocksdb_with_a_crash_at_every_moment_of_a_checkpoint() {
    let extent = MatrixExtent {
        seeds_per_cell: 1,
        first_seed: 0,
        kinds: StageKind::all(),
        backends: vec![Backend::Rocksdb],
        jobs: 2,
    };
    let matrix = run_matrix(&extent, |_| {});
    let named = |cells: Vec<&Cell>| cells.into_iter().map(Cell::name).collect::<Vec<_>>();
    assert_eq!(named(matrix.violated()), Vec::<String>::new(), "{}", matrix.text());
    assert_eq!(named(matrix.uncovered()), Vec::<String>::new(), "{}", matrix.text());
    insta::with_settings!({snapshot_path => "../../reports", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("matrix_rocksdb", matrix.text());
    });
}
