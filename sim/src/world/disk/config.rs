//! How fast a disk is while nothing is wrong.

use std::time::Duration;

/// The healthy behaviour of a disk. Zero latencies cost no timer; then an operation sometimes yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskConfig {
    /// The shortest time that an operation takes.
    pub latency_min: Duration,
    /// The longest time that an operation takes.
    pub latency_max: Duration,
    /// What a sync takes on top, at most.
    pub sync_latency_max: Duration,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            latency_min: Duration::from_micros(10),
            latency_max: Duration::from_micros(200),
            sync_latency_max: Duration::from_millis(2),
        }
    }
}

impl DiskConfig {
    /// A disk that takes no time.
    pub const INSTANT: Self =
        Self { latency_min: Duration::ZERO, latency_max: Duration::ZERO, sync_latency_max: Duration::ZERO };
}
