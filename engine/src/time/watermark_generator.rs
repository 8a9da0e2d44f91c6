//! Watermark generators: what event times say about how far a stream has come.
//!
//! Guarantee: the watermark never regresses, and depends on the largest timestamp seen alone. A generator is asked
//! periodically, not per record. Flink: `BoundedOutOfOrdernessWatermarks`, `WatermarksWithIdleness`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Timestamp;
use crate::codec::Data;

/// A generator of the author's own (Flink `WatermarkGenerator`). It is kept in checkpoints; there is one per split.
pub trait GenerateWatermarks<T>: Data {
    /// A record passes. What is returned is emitted right behind it.
    fn on_event(&mut self, value: &T, timestamp: Timestamp) -> Option<Timestamp>;

    /// Asked every `pipeline.auto-watermark-interval`.
    fn on_periodic_emit(&mut self) -> Option<Timestamp> {
        None
    }
}

/// Derives watermarks from the timestamps of one stream of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatermarkGenerator {
    /// Never says anything: for processing time.
    None,
    /// Records are at most `bound_ms` behind the largest timestamp so far. Zero is for ascending timestamps.
    BoundedOutOfOrderness {
        /// The largest timestamp so far; at first as low as it can be without the watermark wrapping round.
        max_timestamp: Timestamp,
        /// Milliseconds by which a record may be behind.
        bound_ms: i64,
    },
    /// What is kept of a generator of the author's own; by itself it stands still.
    OfAuthor {
        /// The generator, encoded.
        state: Vec<u8>,
        /// The largest watermark that it has emitted.
        watermark: Timestamp,
    },
}

impl WatermarkGenerator {
    /// Records may come up to `bound` behind the largest timestamp so far.
    pub fn bounded_out_of_orderness(bound: Duration) -> Self {
        let bound_ms = i64::try_from(bound.as_millis()).unwrap_or(i64::MAX).min(i64::MAX - 1);
        Self::BoundedOutOfOrderness { max_timestamp: Timestamp(i64::MIN + bound_ms + 1), bound_ms }
    }

    /// Timestamps never descend.
    pub fn ascending() -> Self {
        Self::bounded_out_of_orderness(Duration::ZERO)
    }

    /// A record with this timestamp passes.
    #[inline]
    pub fn on_event(&mut self, timestamp: Timestamp) {
        match self {
            Self::None | Self::OfAuthor { .. } => {}
            Self::BoundedOutOfOrderness { max_timestamp, .. } => *max_timestamp = timestamp.max(*max_timestamp),
        }
    }

    /// The watermark as of now; `None` if the generator never has one.
    #[inline]
    pub fn watermark(&self) -> Option<Timestamp> {
        match self {
            Self::None => None,
            Self::OfAuthor { watermark, .. } => Some(*watermark),
            Self::BoundedOutOfOrderness { max_timestamp, bound_ms } => Some(Timestamp(max_timestamp.0 - bound_ms - 1)),
        }
    }
}

/// Finds out that a stream is idle: no record for longer than the timeout.
///
/// The clock starts at the first check after the last record, so that a record costs no look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdlenessTimer {
    timeout: Duration,
    active_since_check: bool,
    quiet_since: Option<Timestamp>,
}

impl IdlenessTimer {
    /// A timer that calls a stream idle after `timeout`.
    ///
    /// # Panics
    /// If the timeout is zero: every stream would be idle between any two records.
    pub fn new(timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "an idleness timeout is longer than zero");
        Self { timeout, active_since_check: false, quiet_since: None }
    }

    /// Records passed.
    #[inline]
    pub fn activity(&mut self) {
        self.active_since_check = true;
    }

    /// Whether the stream is idle at `now`.
    pub fn is_idle(&mut self, now: Timestamp) -> bool {
        if std::mem::take(&mut self.active_since_check) {
            self.quiet_since = None;
            return false;
        }
        match self.quiet_since {
            Some(since) => now.since(since) > self.timeout,
            None => {
                self.quiet_since = Some(now);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_watermark_is_the_lowest_whatever_the_bound() {
        for bound in [Duration::ZERO, Duration::from_millis(10), Duration::MAX] {
            let generator = WatermarkGenerator::bounded_out_of_orderness(bound);
            assert_eq!(generator.watermark(), Some(Timestamp::MIN));
        }
        assert_eq!(WatermarkGenerator::None.watermark(), None);
    }

    #[test]
    fn an_old_record_does_not_lower_the_watermark() {
        let mut generator = WatermarkGenerator::bounded_out_of_orderness(Duration::from_millis(10));
        for timestamp in [1337, 5, 1336] {
            generator.on_event(Timestamp(timestamp));
            assert_eq!(generator.watermark(), Some(Timestamp(1326)));
        }
    }

    #[test]
    fn idleness_is_counted_from_the_first_check_after_the_last_record() {
        let mut timer = IdlenessTimer::new(Duration::from_millis(10));
        assert!(!timer.is_idle(Timestamp(0)));
        timer.activity();
        assert!(!timer.is_idle(Timestamp(5)));
        assert!(!timer.is_idle(Timestamp(6)), "the quiet before the record does not count");
        assert!(!timer.is_idle(Timestamp(16)));
        assert!(timer.is_idle(Timestamp(17)));
    }
}
