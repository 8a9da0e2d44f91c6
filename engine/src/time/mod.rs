//! Time: event time and processing time in milliseconds, watermarks, timers.

mod combined_watermark;
mod multiplexer;
mod split_watermarks;
mod timer_service;
mod valve;
mod watermark_alignment;
mod watermark_generator;
mod watermark_strategy;

pub use combined_watermark::CombinedWatermark;
pub use multiplexer::WatermarkMultiplexer;
pub use split_watermarks::{PlacedWatermark, SplitProgress, SplitWatermarks};
pub use timer_service::{TimeDomain, Timer, TimerRestoreError, TimerService, TimersSnapshot};
pub use valve::StatusWatermarkValve;
pub use watermark_alignment::{AlignmentReport, SplitAlignment, WatermarkAlignment};
pub use watermark_generator::{GenerateWatermarks, IdlenessTimer, WatermarkGenerator};
pub use watermark_strategy::WatermarkStrategy;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::record::WatermarkStatus;

/// What combining watermarks leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatermarkOutput {
    /// The combined watermark has advanced.
    Watermark(Timestamp),
    /// The combination has become idle or active.
    Status(WatermarkStatus),
}

/// Milliseconds since the Unix epoch, signed: event time, watermarks and processing time alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before everything: "no timestamp", and the watermark before the first one.
    pub const MIN: Self = Self(i64::MIN);
    /// After everything: the watermark at the end of a bounded input.
    pub const MAX: Self = Self(i64::MAX);

    /// This time plus a duration, stopping at [`Timestamp::MAX`].
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This time minus a duration, stopping at [`Timestamp::MIN`].
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
