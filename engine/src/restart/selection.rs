//! Which restart strategy a job gets (Flink `RestartBackoffTimeStrategyFactoryLoader`).

use std::time::Duration;

use crate::config::RestartConfig;

/// Whether a job takes checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpointing {
    /// It does: a restart loses nothing.
    On,
    /// It does not: a restart begins from nothing.
    Off,
}

/// The job's own setting, else the cluster's, else the default: exponential delay with checkpoints, none without.
pub fn select(
    job: Option<&RestartConfig>,
    cluster: Option<&RestartConfig>,
    checkpointing: Checkpointing,
) -> RestartConfig {
    job.or(cluster).cloned().unwrap_or_else(|| match checkpointing {
        Checkpointing::On => default_exponential_delay(),
        Checkpointing::Off => RestartConfig::None,
    })
}

/// Exponential delay with the defaults of `restart-strategy.exponential-delay.*`.
pub fn default_exponential_delay() -> RestartConfig {
    RestartConfig::ExponentialDelay {
        initial_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(60),
        backoff_multiplier: 1.5,
        reset_backoff_threshold: Duration::from_secs(60 * 60),
        jitter_factor: 0.1,
        attempts_before_reset_backoff: None,
    }
}
