//! Sessions: windows that grow with what comes and end when nothing does.
//!
//! Each element opens a window from its time to one gap later; windows of a key that overlap or touch become one. So
//! elements exactly one gap apart are in one session.

use std::time::Duration;

use super::{AssignerContext, InvalidWindows, WindowAssigner, millis};
use crate::{
    time::{TimeDomain, Timestamp},
    window::{MergedWindow, TimeWindow},
};

/// Sessions with one gap (Flink `EventTimeSessionWindows`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionWindows {
    gap_ms: i64,
    domain: TimeDomain,
}

impl SessionWindows {
    /// Sessions that end when nothing comes for longer than `gap`.
    ///
    /// # Errors
    /// If the gap is below a millisecond.
    pub fn with_gap(gap: Duration) -> Result<Self, InvalidWindows> {
        match millis(gap) {
            0 => Err(InvalidWindows::Gap { gap_ms: 0 }),
            gap_ms => Ok(Self { gap_ms, domain: TimeDomain::EventTime }),
        }
    }

    /// Sessions whose gap depends on the element: milliseconds, above zero (Flink `SessionWindowTimeGapExtractor`).
    pub fn with_dynamic_gap<F>(gap_ms: F) -> DynamicSessionWindows<F> {
        DynamicSessionWindows { gap_ms, domain: TimeDomain::EventTime }
    }

    /// The same by the machine's clock (Flink `ProcessingTimeSessionWindows`).
    #[must_use]
    pub fn in_processing_time(mut self) -> Self {
        self.domain = TimeDomain::ProcessingTime;
        self
    }
}

impl<T> WindowAssigner<T> for SessionWindows {
    type Window = TimeWindow;
    type Windows = std::iter::Once<TimeWindow>;

    #[inline]
    fn assign(&mut self, _element: &T, context: AssignerContext) -> Self::Windows {
        std::iter::once(session(context.time(self.domain), self.gap_ms))
    }

    fn time_domain(&self) -> TimeDomain {
        self.domain
    }

    #[inline]
    fn is_merging(&self) -> bool {
        true
    }

    fn merge_windows(&mut self, windows: &[TimeWindow]) -> Vec<MergedWindow<TimeWindow>> {
        TimeWindow::merge(windows)
    }

    #[inline]
    fn merge_two(&mut self, one: &TimeWindow, other: &TimeWindow) -> Option<TimeWindow> {
        one.intersects(other).then(|| one.cover(other))
    }
}

/// Sessions whose gap depends on the element (Flink `DynamicEventTimeSessionWindows`).
#[derive(Debug, Clone)]
pub struct DynamicSessionWindows<F> {
    gap_ms: F,
    domain: TimeDomain,
}

impl<F> DynamicSessionWindows<F> {
    /// The same by the machine's clock (Flink `DynamicProcessingTimeSessionWindows`).
    #[must_use]
    pub fn in_processing_time(mut self) -> Self {
        self.domain = TimeDomain::ProcessingTime;
        self
    }
}

impl<T, F: FnMut(&T) -> i64 + Send + 'static> WindowAssigner<T> for DynamicSessionWindows<F> {
    type Window = TimeWindow;
    type Windows = std::iter::Once<TimeWindow>;

    /// # Panics
    /// If the gap of the element is not above zero.
    fn assign(&mut self, element: &T, context: AssignerContext) -> Self::Windows {
        let gap_ms = (self.gap_ms)(element);
        assert!(gap_ms > 0, "the gap of a session is {gap_ms} ms, but must be above zero");
        std::iter::once(session(context.time(self.domain), gap_ms))
    }

    fn time_domain(&self) -> TimeDomain {
        self.domain
    }

    fn is_merging(&self) -> bool {
        true
    }

    fn merge_windows(&mut self, windows: &[TimeWindow]) -> Vec<MergedWindow<TimeWindow>> {
        TimeWindow::merge(windows)
    }

    #[inline]
    fn merge_two(&mut self, one: &TimeWindow, other: &TimeWindow) -> Option<TimeWindow> {
        one.intersects(other).then(|| one.cover(other))
    }
}

fn session(time: Timestamp, gap_ms: i64) -> TimeWindow {
    TimeWindow::new(time, Timestamp(time.0.saturating_add(gap_ms)))
}
