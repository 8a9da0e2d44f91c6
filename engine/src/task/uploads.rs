//! Which files of earlier checkpoints a new one may refer to, instead of writing them again.
//!
//! ```text
//!   begin(n) ──► files written ──► acknowledged ──┬─► confirmed(n): later checkpoints may refer to its files
//!                                                 └─► aborted(n):   nobody may; what they have is written again
//! ```
//! Guarantee: a file that a checkpoint refers to exists until that checkpoint is subsumed. The job manager keeps a file as
//! long as a checkpoint that is retained refers to it. So an upload is used again only if the newest confirmed checkpoint
//! refers to it, and each one after that which is not known to be aborted does too: any of these may have completed,
//! and may have made the confirmed one superfluous before anybody here heard of it. An upload for a checkpoint that is not
//! confirmed may be deleted at any time (FLINK-25395). Flink: `RocksIncrementalSnapshotStrategy.uploadedStateIDs`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    id::{CheckpointId, OperatorUid},
    net::FileHandle,
    planted,
};

/// Kept files by operator and the name that they have in its database.
pub(super) type KeptFiles = BTreeMap<OperatorUid, BTreeMap<String, FileHandle>>;

/// The uploads of one subtask in one attempt.
#[derive(Debug, Default)]
pub(super) struct UploadLedger {
    confirmed: Option<CheckpointId>,
    /// The newest confirmed checkpoint, and all later ones that are not known to be aborted.
    taken: BTreeMap<CheckpointId, Upload>,
}

/// What the asynchronous part of a checkpoint may refer to, and where it says what the checkpoint refers to.
#[derive(Debug, Clone, Default)]
pub(super) struct Upload {
    reusable: Arc<KeptFiles>,
    refers_to: Arc<OnceLock<KeptFiles>>,
    given_up: Arc<AtomicBool>,
}

impl UploadLedger {
    /// The ledger of a subtask that was restored from a checkpoint of the job with these files.
    pub(super) fn restored(checkpoint_id: CheckpointId, files: KeptFiles) -> Self {
        let restored = Upload::default();
        restored.refers_to(files);
        Self { confirmed: Some(checkpoint_id), taken: BTreeMap::from([(checkpoint_id, restored)]) }
    }

    /// A checkpoint begins.
    pub(super) fn begin(&mut self, checkpoint_id: CheckpointId) -> Upload {
        let upload = Upload { reusable: Arc::new(self.reusable()), ..Upload::default() };
        self.taken.insert(checkpoint_id, upload.clone());
        upload
    }

    fn reusable(&self) -> KeptFiles {
        let base = self.confirmed.and_then(|confirmed| self.taken.get(&confirmed)?.refers_to.get());
        let mut reusable = base.cloned().unwrap_or_default();
        for (_, later) in self.taken.iter().filter(|(id, _)| Some(**id) > self.confirmed) {
            reusable.retain(|uid, files| {
                files.retain(|name, handle| later.reusable(uid, name) == Some(handle));
                !files.is_empty()
            });
        }
        reusable
    }

    /// A checkpoint is complete.
    pub(super) fn confirmed(&mut self, checkpoint_id: CheckpointId) {
        if self.taken.contains_key(&checkpoint_id) && Some(checkpoint_id) > self.confirmed {
            self.confirmed = Some(checkpoint_id);
            self.taken.retain(|taken, _| *taken >= checkpoint_id);
        }
    }

    /// A checkpoint was given up: what it still writes is of no use.
    pub(super) fn aborted(&mut self, checkpoint_id: CheckpointId) {
        if Some(checkpoint_id) <= self.confirmed {
            return;
        }
        if planted!("unconfirmed_upload_reused_after_abort") {
            self.confirmed(checkpoint_id);
        } else if let Some(upload) = self.taken.remove(&checkpoint_id) {
            upload.given_up.store(true, Ordering::Relaxed);
        }
    }
}

/// Whoever still writes for a subtask that is gone stops.
impl Drop for UploadLedger {
    fn drop(&mut self) {
        self.taken.values().for_each(|upload| upload.given_up.store(true, Ordering::Relaxed));
    }
}

impl Upload {
    /// The upload of a file that this checkpoint may refer to.
    pub(super) fn reusable(&self, uid: &OperatorUid, name: &str) -> Option<&FileHandle> {
        self.reusable.get(uid)?.get(name)
    }

    /// Says what the checkpoint refers to, before it is acknowledged.
    pub(super) fn refers_to(&self, files: KeptFiles) {
        // A checkpoint is written once.
        let _ = self.refers_to.set(files);
    }

    /// Whether the checkpoint was given up.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[(&str, &str)]) -> KeptFiles {
        let handle = |kept: &str| FileHandle { name: kept.to_owned(), length_bytes: 1, crc32: [0; 4] };
        let files = names.iter().map(|(name, kept)| ((*name).to_owned(), handle(kept))).collect();
        KeptFiles::from([(OperatorUid("op".into()), files)])
    }

    fn reusable(upload: &Upload) -> Vec<(String, String)> {
        let all = upload.reusable.values().flatten();
        all.map(|(name, handle)| (name.clone(), handle.name.clone())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, kept)| ((*name).to_owned(), (*kept).to_owned())).collect()
    }

    #[test]
    fn only_what_a_confirmed_checkpoint_refers_to_is_used_again() {
        let mut ledger = UploadLedger::default();
        let first = ledger.begin(CheckpointId(1));
        assert_eq!(reusable(&first), []);
        first.refers_to(files(&[("1.sst", "a")]));
        ledger.confirmed(CheckpointId(1));
        let second = ledger.begin(CheckpointId(2));
        assert_eq!(reusable(&second), pairs(&[("1.sst", "a")]));
        second.refers_to(files(&[("1.sst", "a"), ("2.sst", "b")]));
        ledger.aborted(CheckpointId(2));
        assert!(second.is_given_up());
        assert_eq!(reusable(&ledger.begin(CheckpointId(3))), pairs(&[("1.sst", "a")]), "2.sst is written again");
    }

    #[test]
    fn an_upload_that_an_unsettled_checkpoint_does_not_refer_to_is_not_used_again() {
        let mut ledger = UploadLedger::default();
        let first = ledger.begin(CheckpointId(1));
        first.refers_to(files(&[("1.sst", "a")]));
        // The notice comes late: the second writes the file once more.
        let second = ledger.begin(CheckpointId(2));
        ledger.confirmed(CheckpointId(1));
        second.refers_to(files(&[("1.sst", "b")]));
        // If the second is complete, the first may be gone, and its file with it.
        assert_eq!(reusable(&ledger.begin(CheckpointId(3))), []);
        ledger.aborted(CheckpointId(3));
        ledger.confirmed(CheckpointId(2));
        assert_eq!(reusable(&ledger.begin(CheckpointId(4))), pairs(&[("1.sst", "b")]));
    }

    #[test]
    fn what_the_restored_checkpoint_holds_is_not_written_again() {
        let mut ledger = UploadLedger::restored(CheckpointId(7), files(&[("1.sst", "a")]));
        assert_eq!(reusable(&ledger.begin(CheckpointId(8))), pairs(&[("1.sst", "a")]));
        ledger.aborted(CheckpointId(7));
        ledger.confirmed(CheckpointId(6));
        assert_eq!(reusable(&ledger.begin(CheckpointId(9))), pairs(&[("1.sst", "a")]), "news of old times");
    }

    #[test]
    fn uploads_of_a_subtask_that_is_gone_are_given_up() {
        let mut ledger = UploadLedger::default();
        let upload = ledger.begin(CheckpointId(1));
        assert!(!upload.is_given_up());
        drop(ledger);
        assert!(upload.is_given_up());
    }
}
