//! The kill matrix as a reviewed snapshot: every planted bug × every strategy × every invariant.
//!
//! Some thousands of runs, so it is compiled in release only: the step `zoo` of `.ci/run`. The bugs in RocksDB are hunted in
//! rocksdb.rs, as declared: what they need is that backend, and no other kind of fault or strategy.
#![cfg(not(debug_assertions))]

use tidegate_sim::{
    kills::{KillExtent, run_kills},
    workload::Backend,
    zoo::PlantedBug,
};

/// Most runs by strategies other than the declared one.
const RUNS_MAX: u64 = 20;

#[test]
fn every_bug_dies_every_invariant_kills_and_every_kind_of_fault_is_needed() {
    let scenarios = tidegate_scenarios::scenarios().expect("the catalogue can be read");
    let zoo = tidegate_scenarios::zoo().expect("the zoo can be read");
    let bugs: Vec<&PlantedBug> = zoo.iter().filter(|bug| bug.backend == Backend::Memory).collect();
    let matrix = run_kills(&bugs, &scenarios, KillExtent { first_seed: 0, runs_max: RUNS_MAX, jobs: 2 }, |_| {});
    assert_eq!(matrix.survivors(), Vec::<String>::new(), "{}", matrix.text());
    assert_eq!(matrix.idle_invariants(), Vec::<String>::new(), "{}", matrix.text());
    assert_eq!(matrix.unneeded_faults(), Vec::<&str>::new(), "{}", matrix.text());
    insta::with_settings!({snapshot_path => "../../reports", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("kills", matrix.text());
    });
}
