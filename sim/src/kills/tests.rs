//! What the matrix says of bugs that were caught, and that it says the same whoever makes it.

use std::path::Path;

use super::*;
use crate::{scenario::read_catalogue, zoo::read_zoo};

fn hunt_of(bug: &str, strategy: Strategy, runs: u64, fired: &[&str]) -> (Strategy, Hunt) {
    let hunt = Hunt {
        bug: bug.to_owned(),
        caught: !fired.is_empty(),
        runs,
        reached: runs,
        fired: fired.iter().map(|id| (*id).to_owned()).collect(),
        sentence: "Something is wrong.".to_owned(),
        scenario: "standard".to_owned(),
        seed: runs - 1,
    };
    (strategy, hunt)
}

fn matrix() -> KillMatrix {
    let hunts = |hunts: &[(Strategy, Hunt)]| hunts.iter().cloned().collect::<BTreeMap<_, _>>();
    let lost = hunts(&[
        hunt_of("lost", Strategy::Declared, 3, &["I1", "I8"]),
        hunt_of("lost", Strategy::Uniform, 40, &[]),
        hunt_of("lost", Strategy::Swarm, 7, &["I1"]),
        hunt_of("lost", Strategy::Pct, 1, &["I1"]),
    ]);
    let leaked = hunts(&[hunt_of("leaked", Strategy::Declared, 1, &["I16"])]);
    let survived = hunts(&[hunt_of("survived", Strategy::Declared, 9, &[])]);
    let kill = |bug: &str, hunts, needs: &[FaultKind]| Kill {
        bug: bug.to_owned(),
        hunts,
        needs: needs.iter().map(|kind| kind.name()).collect(),
    };
    KillMatrix {
        kills: vec![
            kill("lost", lost, &[FaultKind::CrashSink, FaultKind::Clog]),
            kill("leaked", leaked, &[FaultKind::CrashSink]),
            kill("survived", survived, &[]),
        ],
    }
}

#[test]
fn the_matrix_counts_what_was_caught_by_what_and_with_what() {
    let text = matrix().text();
    let lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for expected in [
        "lost 3 - 7 1 clog crash_sink",
        "leaked 1 - - - crash_sink",
        "survived - - - - none",
        "declared 3 2 3 3 1",
        "uniform 1 0 0 0 0",
        "I1 NoLoss 1 0",
        "I8 EventuallyCommitted 1 0",
        "I16 NoLeak 1 1",
        "I2 NoDup 0 0",
        "crash_sink 2 1",
        "clog 1 0",
        "pause 0 0",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected} is not in\n{text}");
    }
    let fired = |bug: &str| lines.iter().filter(|line| line.starts_with(bug)).nth(1).cloned().unwrap_or_default();
    assert!(fired("lost").starts_with("lost 3 . . . . . 1 ."), "I1 by three strategies, I8 by one: {}", fired("lost"));
}

#[test]
fn what_survived_and_what_was_of_no_use_is_named() {
    let matrix = matrix();
    assert_eq!(matrix.survivors(), ["survived: Something is wrong."]);
    let idle = matrix.idle_invariants();
    assert_eq!(idle.len(), invariant::all().len() - 3);
    assert!(idle.contains(&"I2 NoDup".to_owned()) && !idle.contains(&"I16 NoLeak".to_owned()), "{idle:?}");
    let unneeded = matrix.unneeded_faults();
    assert_eq!(unneeded.len(), FaultKind::ALL.len() - 2);
    assert!(unneeded.contains(&"pause") && !unneeded.contains(&"clog"), "{unneeded:?}");
}

#[test]
fn the_matrix_is_the_same_whatever_the_number_of_workers() {
    let catalogue = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let scenarios = read_catalogue(&catalogue).unwrap();
    let zoo = read_zoo(&catalogue.join("zoo.toml")).unwrap();
    let quick = ["commit_on_pre_commit", "notify_before_stored", "subsumed_checkpoint_never_deleted"];
    let bugs: Vec<&PlantedBug> = zoo.iter().filter(|bug| quick.contains(&bug.name.as_str())).collect();
    assert_eq!(bugs.len(), quick.len());
    let matrix = |jobs| run_kills(&bugs, &scenarios, KillExtent { first_seed: 0, runs_max: 2, jobs }, |_| {});
    let (one, three) = (matrix(1), matrix(3));
    assert_eq!(one, three);
    assert_eq!(one.survivors(), [""; 0]);
}
