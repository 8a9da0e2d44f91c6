//! Windows of one size that do not overlap.

use std::time::Duration;

use super::{AssignerContext, InvalidWindows, Stagger, WindowAssigner, millis};
use crate::{
    time::{TimeDomain, Timestamp},
    window::{TimeWindow, WindowPeriod, window_start},
};

/// Windows of one size that do not overlap (Flink `TumblingEventTimeWindows`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TumblingWindows {
    period: WindowPeriod,
    domain: TimeDomain,
    stagger: Stagger,
    subtask_index: u32,
    /// Where the last record fell: the next one mostly falls there too, and the division is saved.
    last: TimeWindow,
}

impl TumblingWindows {
    /// Windows of this size, the first of which starts at the epoch.
    ///
    /// # Errors
    /// If the size is below a millisecond.
    pub fn of(size: Duration) -> Result<Self, InvalidWindows> {
        Self::of_period(WindowPeriod { size_ms: millis(size), offset_ms: 0 })
    }

    /// Windows of this size and offset: an offset of -8 hours makes days of China.
    ///
    /// # Errors
    /// If the size is not above zero, or the offset not smaller than the size.
    pub fn of_period(period: WindowPeriod) -> Result<Self, InvalidWindows> {
        period.check()?;
        let last = TimeWindow::new(Timestamp(0), Timestamp(0));
        Ok(Self { period, last, domain: TimeDomain::EventTime, stagger: Stagger::Aligned, subtask_index: 0 })
    }

    /// The same windows by the machine's clock (Flink `TumblingProcessingTimeWindows`).
    #[must_use]
    pub fn in_processing_time(mut self) -> Self {
        self.domain = TimeDomain::ProcessingTime;
        self
    }

    /// Shifts the windows of each subtask.
    #[must_use]
    pub fn with_stagger(mut self, stagger: Stagger) -> Self {
        self.stagger = stagger;
        self
    }

    /// The shift is found once per subtask, when it gets its first element.
    #[cold]
    fn shift(&mut self, processing_time: Timestamp) {
        let stagger = std::mem::take(&mut self.stagger);
        let WindowPeriod { size_ms, offset_ms } = self.period;
        let shift = stagger.offset_ms(processing_time, size_ms, self.subtask_index);
        self.period.offset_ms = (i128::from(offset_ms) + i128::from(shift)).rem_euclid(i128::from(size_ms)) as i64;
    }
}

impl<T> WindowAssigner<T> for TumblingWindows {
    type Window = TimeWindow;
    type Windows = std::iter::Once<TimeWindow>;

    fn open(&mut self, subtask_index: u32) {
        self.subtask_index = subtask_index;
    }

    #[inline]
    fn assign(&mut self, _element: &T, context: AssignerContext) -> Self::Windows {
        if self.stagger != Stagger::Aligned {
            self.shift(context.processing_time);
        }
        let time = context.time(self.domain);
        if time < self.last.start || time >= self.last.end {
            let start = window_start(time, self.period);
            self.last = TimeWindow::new(start, Timestamp(start.0.saturating_add(self.period.size_ms)));
        }
        std::iter::once(self.last)
    }

    #[inline]
    fn time_domain(&self) -> TimeDomain {
        self.domain
    }
}
