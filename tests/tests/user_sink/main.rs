//! A tutorial for the author of a sink: three plausible sinks that are wrong, how the laboratory finds out, and the one
//! that is right.
//!
//! The outside world is a small [`bank`]: payments are staged and posted, what is posted is on the account. The bank
//! outlives every crash of the job; the sinks do not. The job sends forty payments, and each must be posted once.
//!
//! | step | sink | what is wrong | what the laboratory says |
//! |---|---|---|---|
//! | 1 | [`eager`] | posts in `pre_commit`, before the checkpoint is complete | payments are there twice |
//! | 2 | [`forgetful`] | keeps what it pre-committed in the memory of its process | payments are lost |
//! | 3 | [`repeating`] | a commit that is not idempotent | payments are there twice |
//! | 4 | [`right`] | nothing | holds |
//!
//! Each step is a file, and its documentation says why it looks right, when it goes wrong, and which rule of
//! [`TwoPhaseCommitSink`](tidegate::connector::TwoPhaseCommitSink) it breaks. A wrong sink shows nothing without faults:
//! an ordinary test of it passes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use tidegate::{
    Timestamp,
    api::{StreamEnvironment, WatermarkStrategy},
    connector::{GeneratorSource, TwoPhaseCommitSink},
    record::StreamRecord,
};
use tidegate_sim::testing::{Breach, Failure, Options, Simulation, Violated, replay, search};

mod bank;
mod eager;
mod forgetful;
mod repeating;
mod right;

use bank::{Bank, Payment};

/// The right sink, as a user tests it: this is all there is to write.
#[tidegate_sim::test(seeds = 150, faults = 2)]
fn every_payment_is_posted_once(sim: &mut Simulation) {
    let bank = pay_forty_times(sim, right::BankSink::new);
    assert_eq!(bank.staged(), 0, "nothing is left staged when the job has ended");
}

/// The body that all four sinks share: forty payments in four seconds, and what is on the account in the end.
fn pay_forty_times<S>(sim: &mut Simulation, sink: impl Fn(Arc<Bank>) -> S + Send + Sync + 'static) -> Arc<Bank>
where
    S: TwoPhaseCommitSink<In = Payment>,
{
    // The bank is made here, outside the simulated processes: it survives their crashes.
    let bank = Arc::new(Bank::default());
    let job = StreamEnvironment::new(sim.config());
    let parallelism = job.config().parallelism;
    let payments = GeneratorSource::new(40, |id| StreamRecord::new(Payment { id, cents: 100 * id }, Timestamp::MIN))
        .with_splits(parallelism)
        .with_rate(10.0 / f64::from(parallelism));
    let bank_of_sink = bank.clone();
    job.from_source("payments", payments, WatermarkStrategy::no_watermarks())
        .sink_exactly_once("bank", move || sink(bank_of_sink.clone()));
    sim.run(job);
    sim.observe("payments", bank.posted());
    bank
}

/// The seeds over which the wrong sinks are caught and the right one holds.
fn options(name: &str) -> Options {
    Options::new(env!("CARGO_PKG_NAME"), name).with_seeds(150).with_faults(2)
}

/// Searches for a seed at which the sink is wrong, and runs that seed again.
#[track_caller]
fn violation_of<S>(name: &str, sink: impl Fn(Arc<Bank>) -> S + Copy + Send + Sync + 'static) -> Violated
where
    S: TwoPhaseCommitSink<In = Payment>,
{
    let body = |sim: &mut Simulation| {
        pay_forty_times(sim, sink);
    };
    let options = options(name);
    let Err(Failure::Violated(violated)) = search(&options, body) else { panic!("the laboratory does not find it") };
    println!("{violated}");

    let again = replay(&options, violated.derived.seed, body);
    assert_eq!(again.verdict, Err(Failure::Violated(violated.clone())), "the printed seed shows the same again");
    assert!(again.lines.iter().any(|line| line.contains("nemesis: ")), "the trace shows the fault");
    *violated
}

/// What is wrong, without the entries that happened to be struck.
fn breaches(violated: &Violated) -> Vec<Breach> {
    violated.findings.iter().map(|finding| finding.breach).collect()
}

#[test]
fn step_1_a_sink_that_posts_in_pre_commit_posts_twice() {
    let violated = violation_of("step_1", eager::EagerSink::new);
    assert_eq!(breaches(&violated), [Breach::Duplicated], "{violated}");
}

#[test]
fn step_2_a_sink_that_stages_in_memory_loses_what_was_pre_committed() {
    let violated = violation_of("step_2", forgetful::ForgetfulSink::new);
    assert_eq!(breaches(&violated), [Breach::Lost], "{violated}");
}

#[test]
fn step_3_a_sink_whose_commit_is_not_idempotent_posts_twice() {
    let violated = violation_of("step_3", repeating::RepeatingSink::new);
    assert_eq!(breaches(&violated), [Breach::Duplicated], "{violated}");
}

#[test]
fn step_4_the_right_sink_holds_over_the_same_seeds() {
    for name in ["step_1", "step_2", "step_3"] {
        let held = search(&options(name), |sim: &mut Simulation| {
            pay_forty_times(sim, right::BankSink::new);
        })
        .unwrap();
        assert!(held.disturbed > held.unknown, "{held}");
    }
}
