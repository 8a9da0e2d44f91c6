//! Watermark alignment: splits that run too far ahead of the slowest one are not read for a while.
//!
//! Guarantee: the slowest split of a group is never paused for longer than until its subtask hears again, so that alignment
//! cannot stop a source. Splits of one subtask are compared at once; subtasks by way of the job manager
//! (`job::WatermarkAggregator`), each time one of them has reported. Flink: `WatermarkAlignmentParams`, FLIP-182, FLIP-217.

use std::time::Duration;

use super::Timestamp;

/// How far apart the splits of a group of sources may be in event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkAlignment {
    /// Names the sources that belong together.
    pub group: String,
    /// A split may be that far ahead of the slowest.
    pub max_drift: Duration,
    /// How often is decided who is paused.
    pub update_interval: Duration,
}

/// How far a source subtask is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlignmentReport {
    /// Its group.
    pub group: String,
    /// The least watermark of its splits; [`Timestamp::MAX`] if all are idle or at their ends.
    pub watermark: Timestamp,
}

/// Which splits of one subtask are paused.
#[derive(Debug)]
pub struct SplitAlignment {
    alignment: WatermarkAlignment,
    /// The least watermark of the splits here, when it was last looked at.
    own: Timestamp,
    /// That of the other subtasks, as last heard.
    others: Timestamp,
    next_update_at: Timestamp,
    reported: Option<Timestamp>,
}

impl SplitAlignment {
    /// Nobody is paused.
    pub fn new(alignment: WatermarkAlignment) -> Self {
        let (own, others) = (Timestamp::MAX, Timestamp::MAX);
        Self { alignment, own, others, next_update_at: Timestamp::MIN, reported: None }
    }

    /// Looks at the splits again if it is time: the watermarks of all that are neither idle nor at their ends; those that
    /// have none yet do not count. Returns what the job manager should be told.
    pub fn update(&mut self, now: Timestamp, watermarks: impl Iterator<Item = Timestamp>) -> Option<AlignmentReport> {
        let mut nobody = true;
        let started = watermarks.inspect(|_| nobody = false).filter(|watermark| *watermark > Timestamp::MIN).min();
        let own = match started {
            Some(least) => least,
            None if nobody => Timestamp::MAX,
            None => return None,
        };
        // That nothing more comes is the last thing that can be said: it must not get lost between two updates.
        if now < self.next_update_at && !(own == Timestamp::MAX && self.reported != Some(own)) {
            return None;
        }
        self.own = own;
        self.next_update_at = now.saturating_add(self.alignment.update_interval);
        self.reported = Some(own);
        Some(AlignmentReport { group: self.alignment.group.clone(), watermark: own })
    }

    /// How far the slowest of the other subtasks is.
    pub fn on_others(&mut self, watermark: Timestamp) {
        self.others = watermark;
    }

    /// Until when a split with this watermark is paused, if it is.
    pub fn paused_until(&self, watermark: Timestamp) -> Option<Timestamp> {
        let max_allowed = self.own.min(self.others).saturating_add(self.alignment.max_drift);
        (watermark > max_allowed).then_some(self.next_update_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned() -> SplitAlignment {
        let (max_drift, update_interval) = (Duration::from_millis(20), Duration::from_millis(10));
        SplitAlignment::new(WatermarkAlignment { group: "orders".into(), max_drift, update_interval })
    }

    fn update(alignment: &mut SplitAlignment, now: i64, watermarks: &[i64]) -> Option<i64> {
        let watermarks = watermarks.iter().copied().map(Timestamp);
        alignment.update(Timestamp(now), watermarks).map(|report| report.watermark.0)
    }

    #[test]
    fn a_split_may_be_ahead_of_the_slowest_by_the_drift() {
        let mut alignment = aligned();
        assert_eq!(alignment.paused_until(Timestamp(90)), None, "nobody has been compared yet");
        assert_eq!(update(&mut alignment, 0, &[i64::MIN]), None);
        assert_eq!(update(&mut alignment, 0, &[50, 30, i64::MIN, 90]), Some(30));
        assert_eq!(alignment.paused_until(Timestamp(50)), None);
        assert_eq!(alignment.paused_until(Timestamp(51)), Some(Timestamp(10)));
        assert_eq!(update(&mut alignment, 9, &[50, 80, 90]), None);
        assert_eq!(update(&mut alignment, 10, &[50, 80, 90]), Some(50));
        assert_eq!(alignment.paused_until(Timestamp(70)), None);
    }

    #[test]
    fn other_subtasks_hold_back_as_the_splits_here_do() {
        let mut alignment = aligned();
        update(&mut alignment, 0, &[50]);
        alignment.on_others(Timestamp(10));
        assert_eq!(alignment.paused_until(Timestamp(50)), Some(Timestamp(10)));
        alignment.on_others(Timestamp(60));
        assert_eq!(alignment.paused_until(Timestamp(70)), None);
        assert_eq!(alignment.paused_until(Timestamp(71)), Some(Timestamp(10)));
    }

    #[test]
    fn the_end_is_said_at_once_and_once() {
        let mut alignment = aligned();
        assert_eq!(update(&mut alignment, 0, &[50]), Some(50));
        assert_eq!(update(&mut alignment, 1, &[]), Some(i64::MAX));
        assert_eq!(update(&mut alignment, 2, &[]), None);
        assert_eq!(alignment.paused_until(Timestamp(1_000)), None);
    }
}
