//! The watermark multiplexer: one watermark of a source subtask out of those of its splits.
//!
//! Guarantees: the combined watermark is the least over the splits that are not idle, and never regresses; a
//! split that leaves takes nothing back. Flink: `WatermarkOutputMultiplexer`, `CombinedWatermarkStatus`.

use std::collections::BTreeMap;

use super::{Timestamp, WatermarkOutput};
use crate::record::WatermarkStatus;

#[derive(Debug, Clone, Copy)]
struct Split {
    watermark: Timestamp,
    status: WatermarkStatus,
}

/// Combines the watermarks of the splits of one source subtask.
///
/// What splits report with [`set_watermark`](Self::set_watermark) and [`set_idle`](Self::set_idle) counts at the
/// next [`combine`](Self::combine): call that after each report, or periodically.
#[derive(Debug, Clone)]
pub struct WatermarkMultiplexer<Id> {
    splits: BTreeMap<Id, Split>,
    combined: Timestamp,
    status: WatermarkStatus,
}

impl<Id> Default for WatermarkMultiplexer<Id> {
    fn default() -> Self {
        Self { splits: BTreeMap::new(), combined: Timestamp::MIN, status: WatermarkStatus::Active }
    }
}

impl<Id: Ord> WatermarkMultiplexer<Id> {
    /// A split joins. It holds the watermark back until it has one of its own.
    ///
    /// # Panics
    /// If the split is there already.
    pub fn register(&mut self, split: Id) {
        let joined = Split { watermark: Timestamp::MIN, status: WatermarkStatus::Active };
        assert!(self.splits.insert(split, joined).is_none(), "a split joins a multiplexer once");
    }

    /// How many splits there are.
    pub fn len(&self) -> usize {
        self.splits.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.splits.is_empty()
    }

    /// A split leaves. Whether it was there.
    pub fn unregister(&mut self, split: &Id) -> bool {
        self.splits.remove(split).is_some()
    }

    /// A split is active and has come to `watermark`; lower than before counts as activity alone.
    ///
    /// # Panics
    /// If the split is not registered.
    pub fn set_watermark(&mut self, split: &Id, watermark: Timestamp) {
        let split = self.split(split);
        split.watermark = split.watermark.max(watermark);
        split.status = WatermarkStatus::Active;
    }

    /// A split is idle: it does not hold back the others.
    ///
    /// # Panics
    /// If the split is not registered.
    pub fn set_idle(&mut self, split: &Id) {
        self.split(split).status = WatermarkStatus::Idle;
    }

    fn split(&mut self, split: &Id) -> &mut Split {
        self.splits.get_mut(split).expect("a split is registered before it reports")
    }

    /// Adds what follows from the reports so far to `out`. Without any split nothing follows.
    pub fn combine(&mut self, out: &mut Vec<WatermarkOutput>) {
        if self.splits.is_empty() {
            return;
        }
        let active = self.splits.values().filter(|split| split.status == WatermarkStatus::Active);
        let least = active.map(|split| split.watermark).min();
        let status = if least.is_some() { WatermarkStatus::Active } else { WatermarkStatus::Idle };
        if self.status != status {
            self.status = status;
            out.push(WatermarkOutput::Status(status));
        }
        if let Some(least) = least.filter(|least| *least > self.combined) {
            self.combined = least;
            out.push(WatermarkOutput::Watermark(least));
        }
    }

    /// The combined watermark so far.
    pub fn watermark(&self) -> Timestamp {
        self.combined
    }

    /// Whether all splits are idle, as of the last combination.
    pub fn status(&self) -> WatermarkStatus {
        self.status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_split_holds_the_watermark_back_and_takes_nothing_back() {
        let (mut multiplexer, mut out) = (WatermarkMultiplexer::default(), Vec::new());
        multiplexer.register(1);
        multiplexer.set_watermark(&1, Timestamp(5));
        multiplexer.combine(&mut out);
        multiplexer.register(2);
        multiplexer.set_watermark(&1, Timestamp(9));
        multiplexer.combine(&mut out);
        assert_eq!(out, [WatermarkOutput::Watermark(Timestamp(5))]);
        multiplexer.set_watermark(&2, Timestamp(7));
        multiplexer.combine(&mut out);
        assert_eq!(out[1..], [WatermarkOutput::Watermark(Timestamp(7))]);
    }

    #[test]
    fn the_status_is_stated_when_it_changes() {
        let (mut multiplexer, mut out) = (WatermarkMultiplexer::default(), Vec::new());
        multiplexer.register(1);
        multiplexer.set_idle(&1);
        multiplexer.combine(&mut out);
        multiplexer.combine(&mut out);
        multiplexer.set_watermark(&1, Timestamp(5));
        multiplexer.combine(&mut out);
        let expected = [
            WatermarkOutput::Status(WatermarkStatus::Idle),
            WatermarkOutput::Status(WatermarkStatus::Active),
            WatermarkOutput::Watermark(Timestamp(5)),
        ];
        assert_eq!(out, expected);
    }
}
