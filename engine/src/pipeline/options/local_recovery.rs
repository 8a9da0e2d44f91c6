//! Whether subtasks keep copies of their state on the machine where they run, and start from them.

use super::{Options, place, state_backend::directories, truth};
use crate::{
    config::{CheckpointConfig, CheckpointStorageConfig, LocalRecovery},
    pipeline::problem::Problem,
};

pub(super) const FROM_LOCAL: &str = "execution.state-recovery.from-local";
pub(super) const LOCAL_BACKUP: &str = "execution.checkpointing.local-backup.enabled";
pub(super) const LOCAL_BACKUP_DIRECTORIES: &str = "execution.checkpointing.local-backup.dirs";

impl Options<'_> {
    /// As in Flink, copies are kept if they are to be restored from, unless something else is said.
    pub(super) fn local_recovery(&mut self, local: &mut LocalRecovery, checkpoints: &CheckpointConfig) {
        let given = |options: &Self, key| options.values.get(key).map(|(given, _)| (*given).to_owned());
        let (read, written) = (given(self, FROM_LOCAL), given(self, LOCAL_BACKUP));
        self.set(FROM_LOCAL, &mut local.from_local, truth);
        local.backup = local.from_local;
        self.set(LOCAL_BACKUP, &mut local.backup, truth);
        if local.backup {
            self.set(LOCAL_BACKUP_DIRECTORIES, &mut local.directories, directories);
        }
        let Some(given) = written.filter(|_| local.backup).or(read).filter(|_| local.backup || local.from_local) else {
            return;
        };
        if !local.backup {
            let problem = Problem::new(place(&given), "there would be no local copies to restore from");
            let hint = format!("set {LOCAL_BACKUP}: true, or leave it out: it follows this option");
            self.problems.push(problem.with_hint(hint));
        } else if checkpoints.interval.is_some() && checkpoints.storage == CheckpointStorageConfig::JobManager {
            let problem = Problem::new(place(&given), "local copies are made of state files, and there are none");
            self.problems.push(problem.with_hint("set execution.checkpointing.dir, or leave it out"));
        }
    }
}
