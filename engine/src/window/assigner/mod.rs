//! Window assigners: the windows that a record belongs to (Flink `WindowAssigner`).
//!
//! An assigner is a type of its own, so that on the record path it is inlined and allocates nothing.

mod global;
mod session;
mod sliding;
mod stagger;
mod tumbling;

pub use global::GlobalWindows;
pub use session::{DynamicSessionWindows, SessionWindows};
pub use sliding::{SlidingWindows, SlidingWindowsOfRecord};
pub use stagger::Stagger;
pub use tumbling::TumblingWindows;

use super::{DefaultTrigger, MergedWindow, Window, WindowPeriod};
use crate::{
    error::{Error, ErrorKind},
    time::{TimeDomain, Timestamp},
};

/// What an assigner is told beside the element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignerContext {
    /// The element's event time.
    pub timestamp: Timestamp,
    /// The processing time, as last told to the operator.
    pub processing_time: Timestamp,
}

impl AssignerContext {
    /// The time that counts in a domain.
    #[inline]
    pub fn time(self, domain: TimeDomain) -> Timestamp {
        match domain {
            TimeDomain::EventTime => self.timestamp,
            TimeDomain::ProcessingTime => self.processing_time,
        }
    }
}

/// Says which windows an element belongs to. Asked once per element.
pub trait WindowAssigner<T>: Send + 'static {
    /// Type of the windows.
    type Window: Window;
    /// The windows of one element.
    type Windows: Iterator<Item = Self::Window>;

    /// The operator starts, as this subtask.
    fn open(&mut self, subtask_index: u32) {
        let _ = subtask_index;
    }

    /// The windows of an element.
    fn assign(&mut self, element: &T, context: AssignerContext) -> Self::Windows;

    /// Which clock the windows are about. Only windows in event time can be late; they need timestamps.
    fn time_domain(&self) -> TimeDomain {
        TimeDomain::EventTime
    }

    /// What releases the results unless the author says otherwise.
    fn default_trigger(&self) -> DefaultTrigger {
        DefaultTrigger::of(self.time_domain())
    }

    /// Whether windows of one key can merge (Flink `MergingWindowAssigner`).
    fn is_merging(&self) -> bool {
        false
    }

    /// Which of the windows of a key are to become one; not asked unless [`WindowAssigner::is_merging`].
    fn merge_windows(&mut self, windows: &[Self::Window]) -> Vec<MergedWindow<Self::Window>> {
        let _ = windows;
        Vec::new()
    }

    /// What [`WindowAssigner::merge_windows`] would make of two windows, if that is one. Spares the record path of sessions
    /// most of their lists. An assigner may keep the default, which tells of no two; one that tells of any must tell of
    /// all, whichever others there are.
    #[inline]
    fn merge_two(&mut self, one: &Self::Window, other: &Self::Window) -> Option<Self::Window> {
        let _ = (one, other);
        None
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
    /// Sessions that would end as they begin.
    #[error("the gap of sessions is {gap_ms} ms, but must be above zero")]
    Gap {
        /// The gap.
        gap_ms: i64,
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

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
