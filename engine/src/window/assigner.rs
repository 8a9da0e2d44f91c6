//! Window assigners: the windows that a record belongs to (Flink `WindowAssigner`).
//!
//! An assigner is a type of its own, so that on the record path it is inlined and allocates nothing.

use std::time::Duration;

use super::{DefaultTrigger, TimeWindow, Window, WindowPeriod, window_start};
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

    /// What releases the results unless the author says otherwise.
    fn default_trigger(&self) -> DefaultTrigger {
        DefaultTrigger { domain: self.time_domain() }
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

impl WindowPeriod {
    fn check(self) -> Result<(), InvalidWindows> {
        let Self { size_ms, offset_ms } = self;
        if size_ms <= 0 {
            return Err(InvalidWindows::Size { size_ms });
        }
        if offset_ms.unsigned_abs() >= size_ms.unsigned_abs() {
            return Err(InvalidWindows::Offset { offset_ms, size_ms });
        }
        Ok(())
    }
}

impl From<InvalidWindows> for Error {
    fn from(error: InvalidWindows) -> Self {
        Self::new(ErrorKind::Configuration, "cannot use these windows").with_source(error)
    }
}

/// Windows of one size that do not overlap (Flink `TumblingEventTimeWindows`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TumblingWindows {
    period: WindowPeriod,
    domain: TimeDomain,
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
        period.check()?;
        let last = TimeWindow::new(Timestamp(0), Timestamp(0));
        Ok(Self { period, last, domain: TimeDomain::EventTime })
    }

    /// The same windows by the machine's clock (Flink `TumblingProcessingTimeWindows`).
    #[must_use]
    pub fn in_processing_time(mut self) -> Self {
        self.domain = TimeDomain::ProcessingTime;
        self
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

    #[inline]
    fn time_domain(&self) -> TimeDomain {
        self.domain
    }
}

/// Windows of one size that start every slide, so that a record belongs to several (Flink `SlidingEventTimeWindows`).
///
/// If the slide is longer than the size there are gaps, and a record in a gap belongs to none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlidingWindows {
    size_ms: i64,
    slides: WindowPeriod,
    domain: TimeDomain,
}

impl SlidingWindows {
    /// Windows of this size that start every `slides.size_ms`, shifted by `slides.offset_ms`.
    ///
    /// # Errors
    /// If size or slide is below a millisecond, or the offset not smaller than the slide.
    pub fn of(size: Duration, slides: WindowPeriod) -> Result<Self, InvalidWindows> {
        let size_ms = i64::try_from(size.as_millis()).unwrap_or(i64::MAX);
        if size_ms == 0 {
            return Err(InvalidWindows::Size { size_ms });
        }
        slides.check()?;
        Ok(Self { size_ms, slides, domain: TimeDomain::EventTime })
    }

    /// The same windows by the machine's clock (Flink `SlidingProcessingTimeWindows`).
    #[must_use]
    pub fn in_processing_time(mut self) -> Self {
        self.domain = TimeDomain::ProcessingTime;
        self
    }
}

/// The sliding windows of one record, the latest first.
#[derive(Debug, Clone)]
pub struct SlidingWindowsOfRecord {
    next_start: i64,
    /// Windows that start at or before this have ended before the record.
    last_without: i64,
    size_ms: i64,
    slide_ms: i64,
}

impl Iterator for SlidingWindowsOfRecord {
    type Item = TimeWindow;

    fn next(&mut self) -> Option<TimeWindow> {
        let start = self.next_start;
        if start <= self.last_without {
            return None;
        }
        self.next_start = start.saturating_sub(self.slide_ms);
        Some(TimeWindow::new(Timestamp(start), Timestamp(start.saturating_add(self.size_ms))))
    }
}

impl WindowAssigner for SlidingWindows {
    type Window = TimeWindow;
    type Windows = SlidingWindowsOfRecord;

    #[inline]
    fn assign(&mut self, timestamp: Timestamp) -> SlidingWindowsOfRecord {
        SlidingWindowsOfRecord {
            next_start: window_start(timestamp, self.slides).0,
            last_without: timestamp.0.saturating_sub(self.size_ms),
            size_ms: self.size_ms,
            slide_ms: self.slides.size_ms,
        }
    }

    fn time_domain(&self) -> TimeDomain {
        self.domain
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

    #[test]
    fn windows_of_no_length_or_shifted_by_more_than_one_are_refused() {
        let period = |size_ms, offset_ms| WindowPeriod { size_ms, offset_ms };
        assert_eq!(TumblingWindows::of(Duration::ZERO), Err(InvalidWindows::Size { size_ms: 0 }));
        for offset_ms in [10, -10, 11] {
            let refused = InvalidWindows::Offset { offset_ms, size_ms: 10 };
            assert_eq!(TumblingWindows::of_period(period(10, offset_ms)), Err(refused.clone()));
            assert_eq!(SlidingWindows::of(Duration::from_millis(20), period(10, offset_ms)), Err(refused));
        }
        assert_eq!(SlidingWindows::of(Duration::ZERO, period(10, 0)), Err(InvalidWindows::Size { size_ms: 0 }));
        assert_eq!(
            SlidingWindows::of(Duration::from_millis(20), period(-1, 0)),
            Err(InvalidWindows::Size { size_ms: -1 })
        );
    }
}
