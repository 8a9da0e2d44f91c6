//! Staggered windows: not all subtasks release their results at the same moment (Flink `WindowStagger`).

use crate::{
    time::Timestamp,
    window::{WindowPeriod, window_start},
};

/// By how much the windows of a subtask are shifted, beside their offset.
///
/// The shift is no part of a checkpoint: after a restore it is found anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stagger {
    /// Not at all.
    #[default]
    Aligned,
    /// By what follows from the number of the subtask, evenly spread over the size of a window.
    Random,
    /// By how far into a window the processing time is when the first element comes.
    Natural,
}

impl Stagger {
    /// Milliseconds by which windows of this size are shifted, from 0 up to but without the size.
    pub fn offset_ms(self, processing_time: Timestamp, size_ms: i64, subtask_index: u32) -> i64 {
        match self {
            Self::Aligned => 0,
            Self::Random => {
                // The fractional part of multiples of the golden ratio never clusters.
                let spread = u64::from(subtask_index).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                ((u128::from(spread) * size_ms.unsigned_abs() as u128) >> 64) as i64
            }
            Self::Natural => {
                processing_time.0 - window_start(processing_time, WindowPeriod { size_ms, offset_ms: 0 }).0
            }
        }
    }
}
