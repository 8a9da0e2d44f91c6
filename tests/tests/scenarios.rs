//! The catalogue, run: the outcome report and the matrix of stages as reviewed snapshots, the planted bugs, and the runs that
//! once failed. What else there is to say of planted bugs is in kills.rs.

use std::{collections::BTreeMap, sync::atomic::AtomicBool};

use tidegate_sim::{
    campaign::{Extent, Twice, run_seeds},
    capsule::HOLDS,
    matrix::{Cell, MatrixExtent, run_matrix},
    report::Tally,
    run::{Verdict, run},
    scenario::Strategy,
    trace::Keep,
    workload::{Backend, StageKind},
    zoo::{Hunting, hunt},
};

fn reviewed(name: &str, text: &str) {
    insta::with_settings!({snapshot_path => "../../reports", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn every_claim_holds_and_the_outcomes_are_the_reviewed_ones() {
    const SEEDS_PER_SCENARIO: u64 = 7;
    let scenarios = tidegate_scenarios::scenarios().expect("the catalogue can be read");
    let end = SEEDS_PER_SCENARIO * scenarios.len() as u64;
    let extent = Extent { first: 0, end, shard: 0, shards: 1, jobs: 2, twice: Twice::No, strategy: Strategy::Declared };
    let mut tally = Tally::new(&scenarios);
    let mut failures = BTreeMap::new();
    run_seeds(&scenarios, extent, &AtomicBool::new(false), |seed| {
        for violation in &seed.result.violations {
            failures.insert(seed.seed, format!("{}: {}", scenarios[seed.scenario].name, violation.sentence));
        }
        tally.add(&seed);
    });
    assert_eq!(failures, BTreeMap::new());
    let report = tally.report(0, end);
    assert_eq!(report.worst(), "holds");
    reviewed("outcomes", &report.text_without_trace());
}

#[test]
fn every_planted_bug_is_caught_by_an_invariant_that_should_catch_it() {
    let scenarios = tidegate_scenarios::scenarios().expect("the catalogue can be read");
    let zoo = tidegate_scenarios::zoo().expect("the zoo can be read");
    // The bugs of other backends have a test of their own, which needs that backend.
    let hunts = zoo.iter().filter(|bug| bug.backend == Backend::Memory);
    let hunts = hunts.map(|bug| hunt(bug, &scenarios, Hunting::declared(0)));
    let survivors = hunts.filter(|hunt| !hunt.caught);
    let survivors: Vec<String> = survivors
        .map(|hunt| {
            format!(
                "{} in {} runs, reached in {}: {:?}, {}",
                hunt.bug, hunt.runs, hunt.reached, hunt.fired, hunt.sentence
            )
        })
        .collect();
    assert_eq!(survivors, Vec::<String>::new());
}

#[test]
fn runs_that_once_failed_hold() {
    let capsules = tidegate_scenarios::capsules().expect("the capsules can be read");
    assert!(!capsules.is_empty());
    for (name, capsule) in capsules {
        assert_eq!(capsule.expect, HOLDS, "{name}");
        assert!(capsule.text().len() <= 2048, "{name} is larger than 2 KiB");
        let result = run(&capsule.plan, Keep::Hash);
        assert_eq!(result.verdict(), Verdict::Holds, "{name}: {:?}", result.violations);
    }
}

#[test]
fn every_kind_of_stage_holds_with_a_crash_at_every_moment_of_a_checkpoint() {
    let extent = MatrixExtent {
        seeds_per_cell: 1,
        first_seed: 0,
        kinds: StageKind::all(),
        // The half that is about RocksDB is in rocksdb.rs.
        backends: vec![Backend::Memory],
        jobs: 2,
    };
    let matrix = run_matrix(&extent, |_| {});
    let named = |cells: Vec<&Cell>| cells.into_iter().map(Cell::name).collect::<Vec<_>>();
    assert_eq!(named(matrix.violated()), Vec::<String>::new(), "{}", matrix.text());
    assert_eq!(named(matrix.uncovered()), Vec::<String>::new(), "{}", matrix.text());
    reviewed("matrix", &matrix.text());
}
