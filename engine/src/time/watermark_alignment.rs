//! Watermark alignment: splits that run too far ahead of the slowest one are not read for a while.
//!
//! Guarantee: the slowest split that is not idle is never paused, so that alignment cannot stop a source.
//! Flink: `WatermarkAlignmentParams`, FLIP-182 and FLIP-217. There the splits of all subtasks of all sources of a group are
//! aligned with each other; here those of one subtask.

use std::time::Duration;

use super::Timestamp;

/// How far apart the splits of a source may be in event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkAlignment {
    /// Names the sources that belong together.
    pub group: String,
    /// A split may be that far ahead of the slowest.
    pub max_drift: Duration,
    /// How often is decided who is paused.
    pub update_interval: Duration,
}

impl WatermarkAlignment {
    /// How far a split may have come, given the watermarks of all that are neither idle nor at their end.
    pub fn max_allowed(&self, watermarks: impl Iterator<Item = Timestamp>) -> Timestamp {
        watermarks.min().map_or(Timestamp::MAX, |least| least.saturating_add(self.max_drift))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_may_be_ahead_of_the_slowest_by_the_drift() {
        let (max_drift, update_interval) = (Duration::from_millis(20), Duration::from_secs(1));
        let alignment = WatermarkAlignment { group: "orders".into(), max_drift, update_interval };
        let allowed = |watermarks: &[i64]| alignment.max_allowed(watermarks.iter().copied().map(Timestamp));
        assert_eq!(allowed(&[50, 30, 90]), Timestamp(50));
        assert_eq!(allowed(&[i64::MIN, 30]), Timestamp(i64::MIN + 20));
        assert_eq!(allowed(&[]), Timestamp::MAX, "nobody is there to wait for");
    }
}
