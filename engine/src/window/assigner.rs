//! Window assigners: the windows that a record belongs to (Flink `WindowAssigner`).
//!
//! An assigner is a type of its own, so that on the record path it is inlined and allocates nothing.

use std::time::Duration;

use super::{TimeWindow, Window, WindowPeriod, window_start};
use crate::{
    error::{Error, ErrorKind},
    time::{TimeDomain, Timestamp},
};

/// Says which windows a record belongs to.
pub trait WindowAssigner: Send + 'static {
    /// Type of the windows.
    type Window: Window;
    /// The windows of one record.
    type Windows: Iterator<Item = Self::Window>;

    /// The windows of a record: by its `timestamp` in event time, by the clock in processing time.
    fn assign(&mut self, timestamp: Timestamp) -> Self::Windows;

    /// Which clock the windows are about.
    fn time_domain(&self) -> TimeDomain {
        TimeDomain::EventTime
    }
}

/// Sizes that make no windows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindows {
    /// Windows of no length.
    #[error("the size of a window is {size_ms} ms, but must be above zero")]
    Size {
        /// The size.
        size_ms: i64,
    },
    /// An offset that shifts windows by more than one.
    #[error("the offset of windows is {offset_ms} ms, but must be between minus and plus {size_ms} ms, their size")]
    Offset {
        /// The offset.
        offset_ms: i64,
        /// The size.
        size_ms: i64,
    },
}

impl From<InvalidWindows> for Error {
    fn from(error: InvalidWindows) -> Self {
        Self::new(ErrorKind::Configuration, "cannot use these windows").with_source(error)
    }
}

/// Windows of one size that do not overlap, in event time (Flink `TumblingEventTimeWindows`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TumblingWindows {
    period: WindowPeriod,
    /// Where the last record fell: the next one mostly falls there too, and the division is saved.
    last: TimeWindow,
}

impl TumblingWindows {
    /// Windows of this size, the first of which starts at the epoch.
    ///
    /// # Errors
    /// If the size is below a millisecond.
    pub fn of(size: Duration) -> Result<Self, InvalidWindows> {
        Self::of_period(WindowPeriod { size_ms: i64::try_from(size.as_millis()).unwrap_or(i64::MAX), offset_ms: 0 })
    }

    /// Windows of this size and offset: an offset of -8 hours makes days of China.
    ///
    /// # Errors
    /// If the size is not above zero, or the offset not smaller than the size.
    pub fn of_period(period: WindowPeriod) -> Result<Self, InvalidWindows> {
        let WindowPeriod { size_ms, offset_ms } = period;
        if size_ms <= 0 {
            return Err(InvalidWindows::Size { size_ms });
        }
        if offset_ms.unsigned_abs() >= size_ms.unsigned_abs() {
            return Err(InvalidWindows::Offset { offset_ms, size_ms });
        }
        Ok(Self { period, last: TimeWindow::new(Timestamp(0), Timestamp(0)) })
    }
}

impl WindowAssigner for TumblingWindows {
    type Window = TimeWindow;
    type Windows = std::iter::Once<TimeWindow>;

    #[inline]
    fn assign(&mut self, timestamp: Timestamp) -> Self::Windows {
        if timestamp < self.last.start || timestamp >= self.last.end {
            let start = window_start(timestamp, self.period);
            self.last = TimeWindow::new(start, Timestamp(start.0.saturating_add(self.period.size_ms)));
        }
        std::iter::once(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remembered_window_changes_nothing() {
        let mut windows = TumblingWindows::of(Duration::from_millis(10)).unwrap();
        for (timestamp, start) in [(5, 0), (9, 0), (10, 10), (3, 0), (-1, -10), (-10, -10), (25, 20)] {
            let window = windows.assign(Timestamp(timestamp)).next().unwrap();
            assert_eq!(window, TimeWindow::new(Timestamp(start), Timestamp(start + 10)), "of {timestamp}");
        }
    }
}
