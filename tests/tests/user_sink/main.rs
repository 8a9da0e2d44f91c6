//! A tutorial for the author of a sink: four plausible attempts that are wrong, how the laboratory finds out, and the
//! one that is right.
//!
//! The outside world is a small [`bank`]: payments are staged and posted, what is posted is on the account. The bank
//! outlives every crash of the job; the sinks do not. The job sends forty payments, and each must be posted once.
//!
//! | step | sink | what is wrong | what the laboratory says |
//! |---|---|---|---|
//! | 1 | [`eager`] | posts in `pre_commit`, before the checkpoint is complete | payments are there twice |
//! | 2 | [`forgetful`] | keeps what it pre-committed in the memory of its process | payments are lost |
//! | 3 | [`repeating`] | a commit that is not idempotent | payments are there twice |
//! | 4 | [`right`], but the bank does not fence | a zombie stages after it was replaced | payments stay staged |
//! | 5 | [`right`] | nothing | holds |
//!
//! Each step is a file, and its documentation says why it looks right, when it goes wrong, and which rule of
//! [`TwoPhaseCommitSink`](tidegate::connector::TwoPhaseCommitSink) it breaks. A wrong sink shows nothing without faults:
//! an ordinary test of it passes.
//!
//! To see a run with your own eyes, break the right sink and take the command that the failing test prints.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use tidegate::{
    Timestamp,
    api::{StreamEnvironment, WatermarkStrategy},
    connector::{GeneratorSource, TwoPhaseCommitSink},
    record::StreamRecord,
};
use tidegate_sim::testing::{Breach, Failure, Options, Selection, Simulation, Violated, check, replay, search};

mod bank;
mod eager;
mod forgetful;
mod repeating;
mod right;

use bank::{Bank, Payment};
use eager::EagerSink;
use forgetful::ForgetfulSink;
use repeating::RepeatingSink;
use right::BankSink;

/// The right sink, as a user tests it: this is all there is to write.
#[tidegate_sim::test(seeds = 150, faults = 2)]
fn step_5_every_payment_is_posted_once(sim: &mut Simulation) {
    body_of_the_right_sink(sim);
}

fn body_of_the_right_sink(sim: &mut Simulation) {
    let bank = Arc::new(Bank::default());
    pay_forty_times(sim, &bank, BankSink::new);
    assert_eq!(bank.staged(), [], "nothing is left staged when the job has ended");
}

/// The body that all sinks share: forty payments in four seconds, and what is on the account in the end.
///
/// The bank is made by the caller, outside the simulated processes: it survives their crashes.
fn pay_forty_times<S>(sim: &mut Simulation, bank: &Arc<Bank>, sink: impl Fn(Arc<Bank>) -> S + Send + Sync + 'static)
where
    S: TwoPhaseCommitSink<In = Payment>,
{
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
}

/// The body for a sink that is under suspicion.
fn body_with<S>(sink: impl Fn(Arc<Bank>) -> S + Copy + Send + Sync + 'static) -> impl Fn(&mut Simulation)
where
    S: TwoPhaseCommitSink<In = Payment>,
{
    move |sim| pay_forty_times(sim, &Arc::new(Bank::default()), sink)
}

/// The right sink at a bank that serves zombies, too.
fn body_without_fencing(sim: &mut Simulation) {
    let bank = Arc::new(Bank::without_fencing());
    pay_forty_times(sim, &bank, BankSink::new);
    assert_eq!(bank.staged(), [], "nothing is left staged when the job has ended");
}

/// Searches for a seed at which the body is wrong, runs that seed again, and shows that the right sink holds over the
/// same seeds.
#[track_caller]
fn violation_of(step: &str, body: impl Fn(&mut Simulation)) -> Violated {
    let options = Options::new(env!("CARGO_PKG_NAME"), step).with_seeds(3_000).with_faults(2);
    if let Ok(Selection::One(_)) = Selection::from_environment() {
        // Somebody follows the printed command: the step is shown as the failing test that it would be.
        check(&options, &body);
    }
    let Err(Failure::Violated(violated)) = search(&options, &body) else { panic!("the laboratory does not find it") };
    println!("{violated}");

    let seed = violated.derived.seed;
    assert!(violated.to_string().ends_with(&options.replay_command(seed)), "{violated}");
    let again = replay(&options, seed, &body);
    assert_eq!(again.verdict, Err(Failure::Violated(violated.clone())), "the printed seed shows the same again");
    assert!(again.lines.iter().any(|line| line.contains("nemesis: ")), "the trace shows the fault");

    let same_seeds = options.with_seeds(seed as u32 + 1);
    let held = search(&same_seeds, body_of_the_right_sink).unwrap();
    assert_eq!(held.disturbed + held.unknown, seed + 1);
    *violated
}

/// What is wrong, without the entries that happened to be struck.
fn breaches(violated: &Violated) -> Vec<Breach> {
    violated.findings.iter().map(|finding| finding.breach).collect()
}

#[test]
fn step_1_a_sink_that_posts_in_pre_commit_posts_twice() {
    let violated = violation_of("step_1_a_sink_that_posts_in_pre_commit_posts_twice", body_with(EagerSink::new));
    assert_eq!(breaches(&violated), [Breach::Duplicated], "{violated}");
}

#[test]
fn step_2_a_sink_that_stages_in_memory_loses_what_was_pre_committed() {
    let violated =
        violation_of("step_2_a_sink_that_stages_in_memory_loses_what_was_pre_committed", body_with(ForgetfulSink::new));
    assert_eq!(breaches(&violated), [Breach::Lost], "{violated}");
}

#[test]
fn step_3_a_sink_whose_commit_is_not_idempotent_posts_twice() {
    let violated =
        violation_of("step_3_a_sink_whose_commit_is_not_idempotent_posts_twice", body_with(RepeatingSink::new));
    assert_eq!(breaches(&violated), [Breach::Duplicated], "{violated}");
}

#[test]
fn step_4_a_bank_that_serves_zombies_is_left_with_staged_payments() {
    let violated = violation_of("step_4_a_bank_that_serves_zombies_is_left_with_staged_payments", body_without_fencing);
    assert_eq!(breaches(&violated), [Breach::Assertion], "{violated}");
}
