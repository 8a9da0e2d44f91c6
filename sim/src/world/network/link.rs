//! The path from one node to another: what is wrong with it now.

use std::time::Duration;

/// A path from one node to another, in this direction only.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Nothing gets through; what is sent is kept by the sender's kernel and sent again after the partition heals.
    pub(super) partitioned: bool,
    /// Data of established connections stands still; connects and resets get through.
    pub(super) clogged: bool,
    /// How slow it is.
    pub(super) speed: LinkSpeed,
    /// How many flows were opened over it: names the random stream of each.
    pub(super) flows: u64,
}

/// How slow a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSpeed {
    /// Multiplies every latency.
    pub latency_factor: u32,
    /// How much each flow carries per second; `None` is unlimited.
    pub bytes_per_second: Option<u64>,
}

impl LinkSpeed {
    /// The speed of a healthy link.
    pub const FULL: Self = Self { latency_factor: 1, bytes_per_second: None };

    /// How long it takes to send `bytes`, apart from the latency.
    pub(super) fn transmission_time(self, bytes: usize) -> Duration {
        self.bytes_per_second.map_or(Duration::ZERO, |per_second| {
            Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / per_second.max(1))
        })
    }
}

impl Link {
    pub(super) fn new(from: usize, to: usize) -> Self {
        Self { from, to, partitioned: false, clogged: false, speed: LinkSpeed::FULL, flows: 0 }
    }

    /// The fault that holds data on it.
    pub(super) fn name_of_hold(&self) -> &'static str {
        if self.partitioned { "partition_bytes_held" } else { "clog_bytes_held" }
    }

    /// Whether data stands still on it.
    pub(super) fn holds_data(&self) -> bool {
        self.partitioned || self.clogged
    }
}
