//! Whether other job managers stand by.

use super::{Options, positive_duration};
use crate::{
    config::{CheckpointStorageConfig, HighAvailability, JobConfig},
    pipeline::problem::Problem,
};

const TYPE: &str = "high-availability.type";
const LEASE_DURATION: &str = "high-availability.filesystem.lease-duration";
const RETRY_PERIOD: &str = "high-availability.filesystem.retry-period";

impl Options<'_> {
    /// Flink's stores are services of their own; here the directory of the checkpoints is enough.
    pub(super) fn high_availability(&mut self, config: &mut JobConfig) {
        let given = self.values.get(TYPE).map(|(given, _)| (*given).to_owned());
        self.set(TYPE, &mut config.high_availability, |text| match text.to_ascii_lowercase().as_str() {
            "none" => Ok(None),
            "filesystem" => Ok(Some(HighAvailability::default())),
            _ => Err("none, or filesystem: there the directory of the checkpoints stands for ZooKeeper or Kubernetes"),
        });
        let (Some(terms), Some(given)) = (&mut config.high_availability, given) else { return };
        let place = super::place(&given);
        self.set(LEASE_DURATION, &mut terms.lease_duration, positive_duration);
        self.set(RETRY_PERIOD, &mut terms.retry_period, positive_duration);
        if terms.retry_period >= terms.lease_duration {
            let message = format!("`{RETRY_PERIOD}` must be shorter than `{LEASE_DURATION}`");
            let hint = "a lease that is renewed less often than it expires changes hands all the time";
            self.problems.push(Problem::new(place, message).with_hint(hint));
        } else if config.checkpoints.storage == CheckpointStorageConfig::JobManager {
            let message = "job managers that stand by for each other need checkpoints that all of them reach";
            self.problems.push(Problem::new(place, message).with_hint("set execution.checkpointing.dir"));
        }
    }
}
