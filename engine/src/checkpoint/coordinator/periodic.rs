//! When the next periodic checkpoint is due.

use std::time::Duration;

use crate::time::Timestamp;

/// A trigger at a fixed rate, which a pause can put off.
#[derive(Debug)]
pub struct PeriodicTrigger {
    interval: Option<Duration>,
    first_delay: Duration,
    next: Option<Timestamp>,
}

impl PeriodicTrigger {
    /// A trigger that stands still; without an interval for ever.
    pub fn new(interval: Option<Duration>, first_delay: Duration) -> Self {
        Self { interval, first_delay, next: None }
    }

    /// The tasks run: the first trigger comes after the first delay.
    pub fn start(&mut self, now: Timestamp) {
        self.next = self.interval.map(|_| now.saturating_add(self.first_delay));
    }

    /// No further triggers.
    pub fn stop(&mut self) {
        self.next = None;
    }

    /// The next trigger comes at this time and the rate counts from there.
    pub fn resume_at(&mut self, at: Timestamp) {
        if self.next.is_some() {
            self.next = Some(at);
        }
    }

    /// When the next trigger is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// Whether a trigger is due; if so the next one is set, at the same rate, after `now`.
    pub fn is_due(&mut self, now: Timestamp) -> bool {
        let (Some(due), Some(interval)) = (self.next, self.interval) else { return false };
        if now < due {
            return false;
        }
        let interval_ms = interval.as_millis().max(1);
        let missed = now.since(due).as_millis() / interval_ms;
        let step_ms = u64::try_from((missed + 1).saturating_mul(interval_ms)).unwrap_or(u64::MAX);
        self.next = Some(due.saturating_add(Duration::from_millis(step_ms)));
        true
    }
}
