//! Restarts as long as failures are rare enough (Flink `FailureRateRestartBackoffTimeStrategy`).
//!
//! `max` failures within the interval are tolerated; the one after them is not. A failure exactly one interval after
//! another is still within it.

use std::{collections::VecDeque, time::Duration};

use super::{RestartDecision, give_up};
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct FailureRate {
    failures_max: u32,
    interval: Duration,
    delay: Duration,
    /// The last `failures_max + 1` failures, oldest first.
    recent: VecDeque<Timestamp>,
}

impl FailureRate {
    pub(super) fn new(failures_max: u32, interval: Duration, delay: Duration) -> Self {
        Self { failures_max, interval, delay, recent: VecDeque::new() }
    }

    pub(super) fn on_failure(&mut self, now: Timestamp) -> RestartDecision {
        let tolerated = self.failures_max as usize;
        self.recent.push_back(now);
        if self.recent.len() > tolerated + 1 {
            self.recent.pop_front();
        }
        match self.recent.front() {
            Some(oldest) if self.recent.len() > tolerated && now.since(*oldest) <= self.interval => {
                let (failures, interval) = (self.recent.len(), self.interval);
                give_up(format!("{failures} failures within {interval:?}, failure-rate tolerates {tolerated}"))
            }
            Some(_) | None => RestartDecision::RestartAfter(self.delay),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_restart_is_refused_exactly_when_too_many_failures_lie_within_the_interval(
            gaps in prop::collection::vec(0i64..40, 1..40),
            failures_max in 0u32..5,
            interval_ms in 0u64..100,
        ) {
            let interval = Duration::from_millis(interval_ms);
            let mut rate = FailureRate::new(failures_max, interval, Duration::ZERO);
            let mut failures: Vec<i64> = Vec::new();
            for gap in gaps {
                let now = failures.last().unwrap_or(&0) + gap;
                failures.push(now);
                let within = failures.iter().filter(|at| now - **at <= interval_ms as i64).count();
                let refused = matches!(rate.on_failure(Timestamp(now)), RestartDecision::GiveUp { .. });
                prop_assert_eq!(refused, within > failures_max as usize);
            }
        }
    }
}
