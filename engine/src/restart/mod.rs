//! What happens after a failure: restart, after which pause, or give up.
//!
//! A [`RestartStrategy`] is told of each failure of the job, once, and answers at once. Time and the random part of a
//! pause are arguments. Flink `RestartBackoffTimeStrategy` and its four implementations.
//!
//! ```
//! use std::time::Duration;
//! use tidegate::{config::RestartConfig, restart::{RestartDecision, RestartStrategy}, time::Timestamp};
//!
//! let config = RestartConfig::FixedDelay { attempts: 1, delay: Duration::from_secs(10) };
//! let mut strategy = RestartStrategy::new(&config);
//! assert_eq!(strategy.on_failure(Timestamp(0), 0.5), RestartDecision::RestartAfter(Duration::from_secs(10)));
//! assert!(matches!(strategy.on_failure(Timestamp(20_000), 0.5), RestartDecision::GiveUp { .. }));
//! ```

mod exponential;
mod rate;
mod selection;

use std::time::Duration;

pub use self::selection::{Checkpointing, default_exponential_delay, select};
use self::{exponential::ExponentialDelay, rate::FailureRate};
use crate::{config::RestartConfig, time::Timestamp};

/// What to do about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartDecision {
    /// Restart when this much time has passed.
    RestartAfter(Duration),
    /// The job has failed for good.
    GiveUp {
        /// Why, as a fragment that follows "not restarted: ".
        reason: String,
    },
}

/// The restart strategy of a job, with what it remembers of failures.
#[derive(Debug)]
pub struct RestartStrategy(Kind);

#[derive(Debug)]
enum Kind {
    None,
    FixedDelay { attempts: u32, delay: Duration, failures: u32 },
    FailureRate(FailureRate),
    ExponentialDelay(ExponentialDelay),
}

impl RestartStrategy {
    /// A strategy that has seen no failure.
    pub fn new(config: &RestartConfig) -> Self {
        Self(match *config {
            RestartConfig::None => Kind::None,
            RestartConfig::FixedDelay { attempts, delay } => Kind::FixedDelay { attempts, delay, failures: 0 },
            RestartConfig::FailureRate { max_failures_per_interval, interval, delay } => {
                Kind::FailureRate(FailureRate::new(max_failures_per_interval, interval, delay))
            }
            RestartConfig::ExponentialDelay {
                initial_backoff,
                max_backoff,
                backoff_multiplier,
                reset_backoff_threshold,
                jitter_factor,
                attempts_before_reset_backoff,
            } => Kind::ExponentialDelay(ExponentialDelay::new(exponential::Limits {
                initial_backoff,
                max_backoff,
                backoff_multiplier,
                reset_backoff_threshold,
                jitter_factor,
                attempts_max: attempts_before_reset_backoff,
            })),
        })
    }

    /// Takes in a failure of the job and decides about it.
    ///
    /// `random_unit` is uniform in `[0, 1)` and places a pause within its jitter.
    pub fn on_failure(&mut self, now: Timestamp, random_unit: f64) -> RestartDecision {
        match &mut self.0 {
            Kind::None => give_up("no restart strategy is configured"),
            Kind::FixedDelay { attempts, delay, failures } => {
                *failures = failures.saturating_add(1);
                if *failures > *attempts {
                    return give_up(format!("all {attempts} restarts of fixed-delay are used up"));
                }
                RestartDecision::RestartAfter(*delay)
            }
            Kind::FailureRate(rate) => rate.on_failure(now),
            Kind::ExponentialDelay(exponential) => exponential.on_failure(now, random_unit),
        }
    }
}

fn give_up(reason: impl Into<String>) -> RestartDecision {
    RestartDecision::GiveUp { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_strategy_the_first_failure_is_final() {
        let decision = RestartStrategy::new(&RestartConfig::None).on_failure(Timestamp(0), 0.0);
        assert_eq!(decision, give_up("no restart strategy is configured"));
    }

    #[test]
    fn a_used_up_fixed_delay_stays_used_up() {
        let config = RestartConfig::FixedDelay { attempts: 0, delay: Duration::ZERO };
        let mut strategy = RestartStrategy::new(&config);
        for at in 0..3 {
            assert_eq!(strategy.on_failure(Timestamp(at), 0.0), give_up("all 0 restarts of fixed-delay are used up"));
        }
    }
}
