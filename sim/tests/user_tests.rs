//! What a test of a user's job says in every case that is not "holds": each verdict is seen once here.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tidegate::{
    Error, ErrorKind, Result, Timestamp,
    api::{StreamEnvironment, WatermarkStrategy},
    config::JobConfig,
    connector::{CollectSink, Collected, GeneratorSource, TwoPhaseCommitSink},
    event::Step,
    id::CheckpointId,
    record::{Batch, StreamRecord},
};
use tidegate_sim::{
    run::Verdict,
    testing::{Breach, Derived, Failure, JudgedRun, Options, Part, Simulation, Violated, replay, search},
};

fn numbers(config: JobConfig, count: u64) -> (StreamEnvironment, Collected<u64>) {
    let collected: Collected<u64> = Arc::new(Mutex::new(Vec::new()));
    let job = StreamEnvironment::new(config);
    let source = GeneratorSource::new(count, |n| StreamRecord::new(n, Timestamp::MIN)).with_rate(10.0);
    let into = collected.clone();
    job.from_source("numbers", source, WatermarkStrategy::no_watermarks())
        .sink("collect", move || CollectSink::new(into.clone()));
    (job, collected)
}

fn values(collected: &Collected<u64>) -> Vec<u64> {
    collected.lock().unwrap().iter().map(|(_, record)| record.value).collect()
}

fn options(name: &str) -> Options {
    Options::new("tidegate-sim", name).with_seeds(60).with_faults(1)
}

#[track_caller]
fn violated(searched: Result<impl std::fmt::Debug, Failure>) -> Violated {
    match searched {
        Err(Failure::Violated(violated)) => *violated,
        other => panic!("expected a violation, got {other:?}"),
    }
}

#[track_caller]
fn only_breach(violated: &Violated) -> Breach {
    let [finding] = violated.findings.as_slice() else { panic!("expected one finding: {violated}") };
    finding.breach
}

#[test]
fn a_sink_without_transactions_shows_duplicates_and_the_one_fault_is_needed() {
    let violated = violated(search(&options("plain"), |sim: &mut Simulation| {
        let (job, collected) = numbers(sim.config(), 40);
        sim.run(job);
        sim.observe("numbers", values(&collected));
    }));
    assert_eq!(only_breach(&violated), Breach::Duplicated, "{violated}");
    assert_eq!(violated.run, JudgedRun::Disturbed(vec![Part::Needed]), "{violated}");
}

#[test]
fn an_assertion_that_fails_without_faults_is_told_apart() {
    let violated = violated(search(&options("assertion"), |sim: &mut Simulation| {
        let (job, collected) = numbers(sim.config(), 5);
        sim.run(job);
        assert_eq!(values(&collected).len(), 6, "six numbers");
    }));
    assert_eq!((only_breach(&violated), &violated.run), (Breach::Assertion, &JudgedRun::Undisturbed), "{violated}");
    assert!(violated.to_string().starts_with("assertion: violated at seed 0, even without faults\n"), "{violated}");
}

#[test]
fn an_error_that_the_body_returns_is_a_violation() {
    let violated = violated(search(&options("error"), |sim: &mut Simulation| {
        sim.run(numbers(sim.config(), 5).0);
        Err("the books do not balance")
    }));
    assert_eq!(only_breach(&violated), Breach::Assertion);
    assert_eq!(violated.findings[0].sentence, "the body returned \"the books do not balance\"");
}

#[test]
fn a_body_that_shows_nothing_or_runs_nothing_does_not_pass() {
    let nothing_shown = violated(search(&options("nothing"), |sim: &mut Simulation| {
        sim.run(numbers(sim.config(), 5).0);
        sim.observe("numbers", Vec::<u64>::new());
    }));
    assert_eq!(only_breach(&nothing_shown), Breach::Vacuous, "{nothing_shown}");
    let nothing_run = violated(search(&options("nothing"), |_: &mut Simulation| {}));
    assert_eq!(only_breach(&nothing_run), Breach::Vacuous, "{nothing_run}");
}

#[test]
fn a_job_that_differs_from_run_to_run_is_found_at_the_first_seed() {
    let passes = AtomicU64::new(0);
    let violated = violated(search(&options("unrepeatable"), |sim: &mut Simulation| {
        // The same output, but checkpoints at other times: as an unseeded random number would do.
        let mut config = sim.config();
        config.checkpoints.interval = Some(Duration::from_millis(500 + 10 * passes.fetch_add(1, Ordering::Relaxed)));
        sim.run(numbers(config, 20).0);
    }));
    assert_eq!((only_breach(&violated), violated.derived.seed), (Breach::NotDeterministic, 0), "{violated}");
}

#[test]
fn a_seed_whose_fault_does_not_strike_is_unknown() {
    let options = options("unknown");
    let checkpoint_steps = [Step::Trigger, Step::Alignment, Step::MetadataWrite, Step::CompletionNotice];
    let seed = (0..)
        .find(|seed| {
            let site = &Derived::new(&options, *seed).faults[0].at.site;
            checkpoint_steps.iter().any(|step| site == step)
        })
        .expect("some seed strikes at a checkpoint");
    let replay = replay(&options, seed, |sim: &mut Simulation| {
        let mut config = sim.config();
        config.checkpoints.interval = None;
        sim.run(numbers(config, 5).0);
    });
    assert_eq!(replay.verdict.expect_err("nothing struck").verdict(), Verdict::Unknown);
    assert!(!replay.lines.is_empty(), "a replay keeps the trace");
}

/// A sink whose outside world never answers a commit.
struct RefusedSink;

#[async_trait]
impl TwoPhaseCommitSink for RefusedSink {
    type In = u64;
    type Transaction = u64;

    fn describe(&self, _transaction: &u64) -> String {
        String::new()
    }
    async fn begin_transaction(&mut self) -> Result<u64> {
        Ok(0)
    }
    async fn invoke(&mut self, _transaction: &mut u64, _batch: Batch<u64>) -> Result<()> {
        Ok(())
    }
    async fn pre_commit(&mut self, _transaction: &mut u64, _checkpoint_id: CheckpointId) -> Result<()> {
        Ok(())
    }
    async fn commit(&mut self, _transaction: &u64) -> Result<()> {
        Err(Error::new(ErrorKind::Unavailable, "the bank is closed"))
    }
    async fn abort(&mut self, _transaction: &u64) -> Result<()> {
        Ok(())
    }
}

fn not_reached_without_an_end() {
    panic!("the body does not go on when the job has not ended");
}

#[test]
fn a_job_that_fails_for_good_is_told_with_its_reason() {
    let violated = violated(search(&options("refused"), |sim: &mut Simulation| {
        let job = StreamEnvironment::new(sim.config());
        let source = GeneratorSource::new(5, |n| StreamRecord::new(n, Timestamp::MIN));
        job.from_source("numbers", source, WatermarkStrategy::no_watermarks())
            .sink_exactly_once("refused", || RefusedSink);
        sim.run(job);
        not_reached_without_an_end();
    }));
    assert_eq!((only_breach(&violated), &violated.run), (Breach::Failed, &JudgedRun::Undisturbed), "{violated}");
    assert!(violated.findings[0].sentence.contains("the bank is closed"), "{violated}");
}

#[test]
fn a_job_that_does_not_end_in_time_has_no_progress() {
    let violated = violated(search(&options("endless"), |sim: &mut Simulation| {
        sim.run(numbers(sim.config(), 1_000_000).0);
        not_reached_without_an_end();
    }));
    assert_eq!((only_breach(&violated), &violated.run), (Breach::Hung, &JudgedRun::Undisturbed), "{violated}");
}
