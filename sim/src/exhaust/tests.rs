//! Which runs an exploration makes, and how it goes on.

use std::collections::BTreeSet;

use tidegate::event::{Moment, Step};

use super::*;
use crate::{
    fault::Site,
    seed::Seed,
    shrink::{Without, shrink},
    workload::{Fixed, Parallelism, Shape, Workload},
};

fn point(site: Site, subtask: Option<&str>, node: &str) -> Point {
    Point { site, moment: Moment::Before, subtask: subtask.map(Into::into), node: node.into() }
}

#[test]
fn a_moment_counts_whatever_its_subject_would_also_fit() {
    let commit = || Site::Step(Step::Commit);
    let points = [
        point(commit(), Some("out#1"), "taskmanager-1"),
        point(commit(), Some("out#11"), "taskmanager-2"),
        point(commit(), Some("out#1"), "taskmanager-1"),
        point(Site::Disk("sync".into()), None, "taskmanager-1"),
        point(commit(), Some("out#11"), "taskmanager-2"),
    ];
    let occurrences: Vec<u32> = moments(&points).iter().map(|at| at.occurrence).collect();
    assert_eq!(occurrences, [1, 1, 3, 1, 2]);
}

/// A job of a few records and two checkpoints on one task manager.
fn tiny(planted: Option<&str>) -> Plan {
    let fixed = Fixed {
        parallelism: Some(1),
        task_managers: Some(1),
        records: Some(6),
        keys: Some(1),
        seconds: Some(2),
        checkpoint_interval_ms: Some(1_000),
        ..Fixed::default()
    };
    let workload = Workload::drawn(Shape::Value, &fixed, Parallelism::Fixed, Seed(3));
    let planted = planted.map(str::to_owned);
    Plan {
        scenario: "tiny".into(),
        seed: 3,
        workload,
        faults: Vec::new(),
        demands: Vec::new(),
        planted,
        schedule: None,
    }
}

const WHOLE: ExhaustExtent = ExhaustExtent { crashes: Crashes::One, shard: 0, shards: 1, jobs: 2, away_ms: 500 };

fn explored(space: &Space, extent: &ExhaustExtent, known: &BTreeMap<usize, Chunk>) -> BTreeMap<usize, Chunk> {
    let mut chunks = BTreeMap::new();
    space.explore(
        extent,
        |number| known.contains_key(&number),
        |chunk| {
            chunks.insert(chunk.number, chunk);
        },
    );
    chunks
}

#[test]
fn every_point_of_every_sort_strikes_and_the_job_survives_it() {
    let space = Space::of(&tiny(None)).unwrap();
    assert_eq!(space.sorts().keys().copied().collect::<Vec<_>>(), ["disk", "message", "receipt", "step"]);
    let report = ExhaustReport::new(&space, &WHOLE, &explored(&space, &WHOLE, &BTreeMap::new()));
    assert_eq!(report.verdict(), Verdict::Holds, "{}", report.text());
    assert_eq!(report.holds, space.points().len() as u64);
    assert!(report.text().contains(&format!("{0} of {0} explored", space.points().len())), "{}", report.text());
}

#[test]
fn shards_together_are_the_whole_and_what_a_state_file_knows_is_not_run_again() {
    let space = Space::of(&tiny(None)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let mut numbers = BTreeSet::new();
    for shard in 0..40 {
        let extent = ExhaustExtent { shard, shards: 40, ..WHOLE };
        assert_eq!(space.chunks(&extent), (0..space.points().len()).filter(|number| number % 40 == shard).count());
        numbers.extend((0..space.points().len()).filter(|number| number % 40 == shard));
    }
    assert_eq!(numbers.len(), space.points().len());

    let extent = ExhaustExtent { shard: 7, shards: 40, ..WHOLE };
    let (mut file, known) = StateFile::open(&path, &space, &extent).unwrap();
    assert_eq!(known, BTreeMap::new());
    let chunks = explored(&space, &extent, &known);
    chunks.values().for_each(|chunk| file.add(chunk).unwrap());
    // The process dies while it writes the last line.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 5]).unwrap();
    let (_, known) = StateFile::open(&path, &space, &extent).unwrap();
    assert_eq!(known.len(), chunks.len() - 1);
    assert_eq!(explored(&space, &extent, &known).len(), 1);
    let other = ExhaustExtent { crashes: Crashes::Two, ..extent };
    assert!(StateFile::open(&path, &space, &other).unwrap_err().to_string().contains("another exploration"));
}

#[test]
fn a_bug_that_one_crash_exposes_is_found_and_shrinks_to_that_crash_with_its_proof() {
    let plan = tiny(Some("pre_committed_transaction_aborted_on_recovery"));
    let space = Space::of(&plan).unwrap();
    let chunks = explored(&space, &ExhaustExtent { shard: 0, shards: 3, ..WHOLE }, &BTreeMap::new());
    let failure = chunks.values().flat_map(|chunk| &chunk.failures).next().expect("some crash exposes it");
    let mut failing = Plan { faults: failure.faults.clone(), ..plan };
    // Faults that have no part in it.
    let harmless = |step: Step| {
        let at = At { site: step.into(), moment: Moment::Before, subject: None, occurrence: 1 };
        Fault::new(FaultKind::SlowDevice, at, 20)
    };
    failing.faults.push(harmless(Step::EndOfData));
    failing.faults.push(harmless(Step::JobEnd));
    let shrunk = shrink(&failing, &failure.signature, 2_000);
    assert!(shrunk.is_minimal);
    assert_eq!(shrunk.plan.faults.len(), 1, "{}", shrunk.text());
    assert!(shrunk.proof.iter().all(|proof| proof.without != Without::Violated));
    assert!(shrunk.text().contains("nothing can be left out"), "{}", shrunk.text());
    assert!(shrunk.plan.workload.records <= 6 && shrunk.plan.workload.seconds <= 2);
}

#[test]
fn a_pair_strikes_twice_the_second_time_also_during_recovery() {
    let space = Space::of(&tiny(None)).unwrap();
    let extent = ExhaustExtent { crashes: Crashes::Two, shard: 1, shards: space.points().len() / 2, ..WHOLE };
    let chunk = space.chunk(space.points().len() / 2, &extent);
    assert!(chunk.runs() > 100, "{chunk:?}");
    assert_eq!((chunk.violated, chunk.unknown), (0, 0), "{chunk:?}");
}
