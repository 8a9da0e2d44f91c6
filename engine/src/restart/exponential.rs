//! Pauses that grow with each failure and are forgotten after a quiet time
//! (Flink `ExponentialDelayRestartBackoffTimeStrategy`).
//!
//! ```text
//!                 failure                              failure after the restart
//!   QUIET ───────────────────▶ BACKING OFF(n = 1) ──────────────────────────────▶ BACKING OFF(n + 1) … n > attempts: give up
//!     ▲                          │   ▲  failure before the restart: same attempt, what is left of the pause
//!     │                          │   └──┘
//!     └──────────────────────────┘ failure a threshold or more after the restart: counts as the first
//! ```
//!
//! The n-th pause is `initial · multiplier^(n-1)` whole milliseconds, give or take the jitter, and then within
//! `[initial, max]`: so jitter never exceeds the maximum.

use std::time::Duration;

use super::{RestartDecision, give_up};
use crate::time::Timestamp;

/// The settings of exponential delay.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) initial_backoff: Duration,
    pub(super) max_backoff: Duration,
    pub(super) backoff_multiplier: f64,
    pub(super) reset_backoff_threshold: Duration,
    pub(super) jitter_factor: f64,
    pub(super) attempts_max: Option<u32>,
}

#[derive(Debug)]
pub(super) struct ExponentialDelay {
    limits: Limits,
    attempt: u32,
    restart_at: Option<Timestamp>,
}

impl ExponentialDelay {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, attempt: 0, restart_at: None }
    }

    pub(super) fn on_failure(&mut self, now: Timestamp, random_unit: f64) -> RestartDecision {
        match self.restart_at {
            Some(restart_at) if now <= restart_at => return self.decide(now),
            Some(restart_at) if now.since(restart_at) >= self.limits.reset_backoff_threshold => self.attempt = 0,
            Some(_) | None => {}
        }
        self.attempt = self.attempt.saturating_add(1);
        self.restart_at = Some(now.saturating_add(self.backoff(random_unit)));
        self.decide(now)
    }

    fn decide(&self, now: Timestamp) -> RestartDecision {
        match self.limits.attempts_max {
            Some(attempts_max) if self.attempt > attempts_max => {
                give_up(format!("all {attempts_max} restarts of exponential-delay are used up"))
            }
            Some(_) | None => RestartDecision::RestartAfter(self.restart_at.unwrap_or(now).since(now)),
        }
    }

    /// Float to integer conversion saturates, so that a pause that has outgrown all bounds becomes the longest one.
    fn backoff(&self, random_unit: f64) -> Duration {
        let initial_ms = millis(self.limits.initial_backoff);
        let exponent = i32::try_from(self.attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let backoff_ms = (initial_ms as f64 * self.limits.backoff_multiplier.powi(exponent)) as u64;
        let spread_ms = (backoff_ms as f64 * self.limits.jitter_factor) as u64;
        let choices = spread_ms.saturating_mul(2).saturating_add(1);
        let chosen = ((random_unit * choices as f64) as u64).min(choices - 1);
        let backoff_ms = backoff_ms.saturating_sub(spread_ms).saturating_add(chosen);
        let max_ms = millis(self.limits.max_backoff);
        Duration::from_millis(backoff_ms.max(initial_ms).min(max_ms))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            initial_backoff: Duration::from_millis(2),
            max_backoff: Duration::from_millis(100),
            backoff_multiplier: 2.0,
            reset_backoff_threshold: Duration::from_millis(80),
            jitter_factor: 0.0,
            attempts_max: None,
        }
    }

    fn restart_after(ms: u64) -> RestartDecision {
        RestartDecision::RestartAfter(Duration::from_millis(ms))
    }

    #[test]
    fn a_quiet_time_of_exactly_the_threshold_starts_over() {
        let mut strategy = ExponentialDelay::new(limits());
        assert_eq!(strategy.on_failure(Timestamp(0), 0.0), restart_after(2));
        assert_eq!(strategy.on_failure(Timestamp(81), 0.0), restart_after(4));
        assert_eq!(strategy.on_failure(Timestamp(85 + 80), 0.0), restart_after(2));
    }

    #[test]
    fn pauses_that_outgrow_every_number_stop_at_the_longest() {
        let mut strategy = ExponentialDelay::new(Limits {
            jitter_factor: 0.5,
            reset_backoff_threshold: Duration::from_millis(200),
            ..limits()
        });
        let mut now = 0;
        for _ in 0..3000 {
            strategy.on_failure(Timestamp(now), 0.999);
            now += 101;
            assert!(strategy.restart_at.unwrap() <= Timestamp(now), "no pause exceeds 100 ms");
        }
        assert_eq!(strategy.on_failure(Timestamp(now), 0.0), restart_after(100));
    }
}
