//! Windows of one size that overlap, or leave gaps.

use std::time::Duration;

use super::{AssignerContext, InvalidWindows, WindowAssigner, millis};
use crate::{
    time::{TimeDomain, Timestamp},
    window::{TimeWindow, WindowPeriod, window_start},
};

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
        let size_ms = millis(size);
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

    #[inline]
    fn next(&mut self) -> Option<TimeWindow> {
        let start = self.next_start;
        if start <= self.last_without {
            return None;
        }
        self.next_start = start.saturating_sub(self.slide_ms);
        Some(TimeWindow::new(Timestamp(start), Timestamp(start.saturating_add(self.size_ms))))
    }
}

impl<T> WindowAssigner<T> for SlidingWindows {
    type Window = TimeWindow;
    type Windows = SlidingWindowsOfRecord;

    #[inline]
    fn assign(&mut self, _element: &T, context: AssignerContext) -> SlidingWindowsOfRecord {
        let time = context.time(self.domain);
        SlidingWindowsOfRecord {
            next_start: window_start(time, self.slides).0,
            last_without: time.0.saturating_sub(self.size_ms),
            size_ms: self.size_ms,
            slide_ms: self.slides.size_ms,
        }
    }

    #[inline]
    fn time_domain(&self) -> TimeDomain {
        self.domain
    }
}
