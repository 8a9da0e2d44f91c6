//! Everything that follows from a seed: the job's options and the faults.

use std::{fmt, time::Duration};

use rand::{Rng as _, seq::SliceRandom as _};
use tidegate::{
    config::{CheckpointConfig, CheckpointStorageConfig, JobConfig, RestartConfig},
    event::Step,
};

use super::Options;
use crate::{
    fault::Fault,
    scenario::{LocalDisksDrawn, Swarm},
    seed::Seed,
    workload::CHECKPOINTS,
};

/// What a seed stands for in one test: nothing is left open. The same seed means the same in every run of the test.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// The seed as the user knows it.
    pub seed: u64,
    /// The options that the body is offered.
    pub config: JobConfig,
    /// Task managers, without the spare one.
    pub task_managers: u32,
    /// What is done to the job, one after the other.
    pub faults: Vec<Fault>,
}

/// The steps around a sink's transactions: a user's test strikes at these as often as at all others.
const SINK_STEPS: [Step; 6] = [
    Step::BeginTransaction,
    Step::PreCommit,
    Step::Acknowledge,
    Step::Completion,
    Step::CompletionNotice,
    Step::Commit,
];

/// Jobs of tests are short: later occurrences would not come.
const OCCURRENCE_MAX: u32 = 4;

impl Derived {
    /// What `seed` stands for in a test.
    pub fn new(options: &Options, seed: u64) -> Self {
        let root = root(options, seed);
        let mut faults = Swarm { faults_max: options.faults(), storage_lies: false, clocks: false }
            .draw(LocalDisksDrawn::No, root.child("swarm"));
        let mut random = root.child("aim").random();
        for (number, fault) in faults.iter_mut().enumerate() {
            // Recovery comes after a failure only: the first fault would wait for it for ever.
            let never = number == 0 && fault.at.site == Step::RecoverAndCommit;
            if random.gen_bool(0.5) || never {
                fault.at.site = (*SINK_STEPS.choose(&mut random).unwrap_or(&Step::PreCommit)).into();
            }
            fault.at.occurrence = (fault.at.occurrence - 1) % OCCURRENCE_MAX + 1;
        }
        Self { seed, config: config(root.child("config")), task_managers: options.task_managers(), faults }
    }

    /// The seed of the user's own draws.
    pub(super) fn user_seed(&self) -> Seed {
        Seed(self.seed).child("user")
    }
}

/// Two tests with the same seed number are not the same run.
pub(super) fn root(options: &Options, seed: u64) -> Seed {
    Seed(seed).child(options.name())
}

/// Options under which a short job meets every situation: frequent checkpoints, small batches, little credit, restarts
/// without end, and failures that are noticed within seconds.
fn config(seed: Seed) -> JobConfig {
    let mut random = seed.random();
    JobConfig {
        parallelism: random.gen_range(1..=2),
        checkpoints: CheckpointConfig {
            interval: Some(Duration::from_secs(1)),
            timeout: Duration::from_secs(20),
            tolerable_failures: 1_000,
            retained: 2,
            storage: CheckpointStorageConfig::FileSystem { directory: CHECKPOINTS.into() },
            inline_threshold_bytes: if random.gen_bool(0.5) { 0 } else { 4_096 },
            ..CheckpointConfig::default()
        },
        restart: Some(RestartConfig::FixedDelay { attempts: 1_000, delay: Duration::from_millis(500) }),
        auto_watermark_interval: Duration::from_secs(1),
        batch_records: random.gen_range(1..=8),
        channel_credit: random.gen_range(1..=4),
        heartbeat_interval: Duration::from_secs(2),
        heartbeat_timeout: Duration::from_secs(8),
        ..JobConfig::default()
    }
}

impl fmt::Display for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        write!(
            f,
            "parallelism {}, {} task managers and a spare one, batches of {}, {} batches of credit, state of up to {} bytes inline",
            config.parallelism,
            self.task_managers,
            config.batch_records,
            config.channel_credit,
            config.checkpoints.inline_threshold_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_every_time_and_something_else_in_another_test() {
        let (bank, queue) = (Options::new("p", "bank").with_faults(3), Options::new("p", "queue").with_faults(3));
        assert_eq!(Derived::new(&bank, 17), Derived::new(&bank, 17));
        assert_ne!(Derived::new(&bank, 17).faults, Derived::new(&bank, 18).faults);
        assert_ne!(Derived::new(&bank, 17).faults, Derived::new(&queue, 17).faults);
    }

    #[test]
    fn every_plan_has_a_fault_whose_moment_can_come() {
        let options = Options::new("p", "bank").with_faults(2);
        for seed in 0..500 {
            let faults = Derived::new(&options, seed).faults;
            assert!((1..=2).contains(&faults.len()), "{faults:?}");
            assert!(faults[0].at.site != Step::RecoverAndCommit, "{faults:?}");
            assert!(faults.iter().all(|fault| (1..=OCCURRENCE_MAX).contains(&fault.at.occurrence)), "{faults:?}");
        }
    }
}
