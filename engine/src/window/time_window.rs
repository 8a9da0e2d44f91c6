//! Time windows and the arithmetic on their bounds (Flink `TimeWindow`).

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::MergedWindow;
use crate::{planted, state::Namespace, time::Timestamp};

/// What records are grouped by, beside their key.
pub trait Window: Namespace + fmt::Display {
    /// The last event time that belongs to the window: the timestamp of its results.
    fn max_timestamp(&self) -> Timestamp;
}

/// An interval of time, from `start` up to but without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TimeWindow {
    /// The first timestamp in the window.
    pub start: Timestamp,
    /// The first timestamp after the window.
    pub end: Timestamp,
}

impl TimeWindow {
    /// The window `[start, end)`.
    pub fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// Whether the windows overlap or touch: sessions that touch are one.
    pub fn intersects(&self, other: &Self) -> bool {
        self.start <= other.end && self.end >= other.start
    }

    /// The smallest window that covers both.
    #[must_use]
    pub fn cover(&self, other: &Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// Which of these windows overlap or touch, directly or through others: what sessions do.
    ///
    /// Windows that stand alone are not mentioned.
    pub fn merge(windows: &[Self]) -> Vec<MergedWindow<Self>> {
        // A session that begins and one that grows, which is what most records see.
        match *windows {
            [] | [_] => return Vec::new(),
            [one, other] if !one.intersects(&other) => return Vec::new(),
            [one, other] if one != other => {
                let sources = vec![one.min(other), one.max(other)];
                return vec![MergedWindow { result: one.cover(&other), sources }];
            }
            _ => {}
        }
        let mut sorted = windows.to_vec();
        if !planted!("session_merge_uses_overlaps_next_without_sorting") {
            sorted.sort_unstable();
        }
        sorted.dedup();
        let mut merged: Vec<MergedWindow<Self>> = Vec::new();
        for window in sorted {
            match merged.last_mut() {
                Some(last) if last.result.intersects(&window) => {
                    last.result = last.result.cover(&window);
                    last.sources.push(window);
                }
                _ => merged.push(MergedWindow { result: window, sources: vec![window] }),
            }
        }
        merged.retain(|merged| merged.sources.len() > 1);
        merged
    }
}

impl Window for TimeWindow {
    #[inline]
    fn max_timestamp(&self) -> Timestamp {
        Timestamp(self.end.0 - 1)
    }
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// A period of windows: all that start at `offset_ms` plus a multiple of `size_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowPeriod {
    /// Milliseconds from start to start; above zero.
    pub size_ms: i64,
    /// Milliseconds by which the starts are off the multiples.
    pub offset_ms: i64,
}

/// The start of the window of this period that holds `timestamp`.
///
/// Right for negative timestamps and offsets too, which `timestamp - (timestamp - offset + size) % size` is not.
#[inline]
pub fn window_start(timestamp: Timestamp, period: WindowPeriod) -> Timestamp {
    let WindowPeriod { size_ms, offset_ms } = period;
    let remainder = timestamp.0.wrapping_sub(offset_ms).wrapping_rem(size_ms);
    let into_window = if remainder < 0 { remainder + size_ms } else { remainder };
    Timestamp(timestamp.0 - into_window)
}

/// When everything about an event-time window is forgotten: no record that comes later counts.
#[inline]
pub fn cleanup_time(max_timestamp: Timestamp, allowed_lateness: Duration) -> Timestamp {
    max_timestamp.saturating_add(allowed_lateness)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_window_holds_its_timestamp_and_starts_on_the_grid(
            timestamp in -1_000_000_i64..1_000_000, size_ms in 1_i64..5_000, offset in -0.99_f64..0.99,
        ) {
            let offset_ms = (size_ms as f64 * offset) as i64;
            let start = window_start(Timestamp(timestamp), WindowPeriod { size_ms, offset_ms }).0;
            prop_assert_eq!((start - offset_ms).rem_euclid(size_ms), 0);
            prop_assert_eq!(start, timestamp - (timestamp - offset_ms).rem_euclid(size_ms));
        }
    }

    #[test]
    fn cleanup_stops_at_the_end_of_time() {
        assert_eq!(cleanup_time(Timestamp(5), Duration::from_millis(3)), Timestamp(8));
        assert_eq!(cleanup_time(Timestamp(i64::MAX - 2), Duration::from_millis(3)), Timestamp::MAX);
    }

    #[test]
    fn windows_that_touch_intersect() {
        let window = |start, end| TimeWindow::new(Timestamp(start), Timestamp(end));
        assert!(window(10, 20).intersects(&window(20, 30)));
        assert!(!window(10, 20).intersects(&window(21, 30)));
        assert_eq!(window(10, 20).cover(&window(15, 30)), window(10, 30));
    }
}
