//! What the network is like while nothing is wrong.

use std::time::Duration;

/// The healthy behaviour of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The shortest base latency that a flow (one direction of one connection) may get.
    pub latency_min: Duration,
    /// The longest base latency that a flow may get.
    pub latency_max: Duration,
    /// What is added to the base latency of each segment, at most. Order within a flow is kept.
    pub jitter_max: Duration,
    /// The latency between processes of one node.
    pub loopback_latency: Duration,
    /// How many bytes a flow holds that the receiver has not read; a writer waits beyond this.
    pub window_bytes: usize,
    /// How long a connect waits for an answer before it fails with `TimedOut`.
    pub connect_timeout: Duration,
    /// How many connections a listener holds that nobody has accepted; more get no answer.
    pub backlog: usize,
    /// How many of 1,000 reads return fewer bytes than there are, at a random place.
    pub short_reads_per_mille: u32,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            latency_min: Duration::from_micros(50),
            latency_max: Duration::from_micros(500),
            jitter_max: Duration::from_micros(100),
            loopback_latency: Duration::from_micros(5),
            window_bytes: 64 << 10,
            connect_timeout: Duration::from_secs(3),
            backlog: 128,
            short_reads_per_mille: 20,
        }
    }
}
