//! What the assigners make of times.

use std::time::Duration;

use super::*;
use crate::window::TimeWindow;

fn at(timestamp: i64) -> AssignerContext {
    AssignerContext { timestamp: Timestamp(timestamp), processing_time: Timestamp(-1) }
}

#[test]
fn the_remembered_window_changes_nothing() {
    let mut windows = TumblingWindows::of(Duration::from_millis(10)).unwrap();
    for (timestamp, start) in [(5, 0), (9, 0), (10, 10), (3, 0), (-1, -10), (-10, -10), (25, 20)] {
        let window = windows.assign(&(), at(timestamp)).next().unwrap();
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
    assert_eq!(SlidingWindows::of(Duration::from_millis(20), period(-1, 0)), Err(InvalidWindows::Size { size_ms: -1 }));
    assert_eq!(SessionWindows::with_gap(Duration::ZERO), Err(InvalidWindows::Gap { gap_ms: 0 }));
}

#[test]
fn staggered_windows_are_shifted_once_per_subtask() {
    let mut windows = TumblingWindows::of(Duration::from_millis(10)).unwrap().with_stagger(Stagger::Natural);
    let context = |processing_time| AssignerContext { timestamp: Timestamp(12), processing_time };
    let shifted = TimeWindow::new(Timestamp(3), Timestamp(13));
    assert_eq!(windows.assign(&(), context(Timestamp(23))).next(), Some(shifted));
    assert_eq!(windows.assign(&(), context(Timestamp(48))).next(), Some(shifted));
    let mut shifts: Vec<_> = (0..10).map(|subtask| Stagger::Random.offset_ms(Timestamp(0), 1000, subtask)).collect();
    shifts.sort_unstable();
    shifts.dedup();
    assert_eq!(shifts.len(), 10);
    assert!(shifts.iter().all(|shift| (0..1000).contains(shift)), "{shifts:?}");
}
