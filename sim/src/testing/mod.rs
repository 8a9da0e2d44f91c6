//! Simulated tests for the authors of jobs, sources and sinks.
//!
//! You write a job, let it run once, and say what the outside world shows at its end. The laboratory lets that body run
//! many times: for each seed once without faults and once with faults that the seed draws — processes die between
//! pre-commit and commit, job managers lose their leadership, connections break, the storage loses power — and demands
//! that both show the same. Everything runs in one thread under a simulated clock; the engine is the one of production.
//!
//! ```
//! #[tidegate_sim::test(seeds = 200, faults = 2)]
//! fn words_are_counted_once(sim: &mut tidegate_sim::testing::Simulation) { /* as below */ }
//! ```
//!
//! The attribute makes an ordinary test of it. The same without the attribute, in full:
//!
//! ```
//! use tidegate::{
//!     Timestamp,
//!     api::{StreamEnvironment, WatermarkStrategy},
//!     connector::{FileSink, GeneratorSource},
//!     record::StreamRecord,
//! };
//! use tidegate_sim::testing::{Options, Simulation, check};
//!
//! fn words_are_counted_once(sim: &mut Simulation) {
//!     let job = StreamEnvironment::new(sim.config());
//!     let words = GeneratorSource::new(60, |n| StreamRecord::new(n % 7, Timestamp::MIN)).with_rate(10.0);
//!     job.from_source("words", words, WatermarkStrategy::no_watermarks())
//!         .sink_exactly_once("file", || {
//!             FileSink::new("/out/words", |word: &u64, line| line.extend(format!("{word}\n").bytes()))
//!         });
//!     let finished = sim.run(job);
//!     sim.observe("words", finished.lines("/out/words"));
//! }
//!
//! check(&Options::new("my-job", "words_are_counted_once").with_seeds(5), words_are_counted_once);
//! ```
//!
//! # What the body does
//!
//! 1. It makes the **outside world**: anything that it owns, such as an `Arc<Mutex<…>>` that a sink writes to. It lies
//!    outside the simulated processes, so it survives their crashes; each pass through the body makes a fresh one.
//! 2. It builds a **job** with the options of [`Simulation::config`] and gives it to [`Simulation::run`], which returns
//!    when the job has ended.
//! 3. It **observes**: [`Simulation::observe`] with all that is visible now, as values with `Ord` and `Debug`. The
//!    disturbed run must show the same multiset as the undisturbed one; say what else must be with `assert_eq!`.
//!
//! What the job reads must be a function of the position alone, and the body must do the same in each pass: no clock of
//! the host, no threads, no random numbers but those of [`Simulation::seed`] and of `Env::entropy`. The first seed is run
//! twice, and two different runs fail the test.
//!
//! # What it says
//!
//! A test *holds* if all seeds are right and at least one was disturbed; if no fault struck at all it fails as
//! *unknown*, because then nothing was tried. A violation tells the seed, what is wrong in a sentence, the faults with the
//! part that each had, and the command that runs that seed again and prints its trace:
//!
//! ```text
//! payments_reach_the_bank_once: violated at seed 4
//!   I2 NoDup: of payments, 3 entries are there more often than without faults (40 in all)
//!     + Payment { id: 12, cents: 1200 } (2 times instead of 1)
//! faults, one after the other:
//!   1. crash_process after commit #2 for 1200 ms: struck; without it all is well
//! replay:  TIDEGATE_SEED=4 cargo test -p my-job payments_reach_the_bank_once -- --exact
//! ```
//!
//! A seed stands for faults *in this version of the engine and of the test*: it may mean something else after a change.
//!
//! # A wrong use does not compile
//!
//! ```compile_fail
//! #[tidegate_sim::test(seed = 7)] // there is no option `seed`; known are `seeds`, `faults`, `task_managers`
//! fn bank(sim: &mut tidegate_sim::testing::Simulation) {}
//! ```
//! ```compile_fail
//! #[tidegate_sim::test] // expected `fn bank(sim: &mut tidegate_sim::testing::Simulation)`
//! fn bank() {}
//! ```

mod derived;
mod failure;
mod finding;
mod options;
mod search;
mod simulation;

pub use derived::Derived;
pub use failure::{Failure, Held, JudgedRun, Part, Violated};
pub use finding::{Breach, Finding};
pub use options::{MalformedSeed, Options, SEED_VARIABLE, Selection};
pub use search::{Replay, check, replay, search};
pub use simulation::{BodyOutcome, Finished, Simulation};
