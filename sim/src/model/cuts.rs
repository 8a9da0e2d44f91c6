//! Cuts that were evaluated already: runs of one workload meet the same ones again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use tidegate::id::OperatorUid;

use super::{AtCut, Cut, Group, ModelError};

/// The groups that each stage still keeps.
pub type KeptGroups = BTreeMap<OperatorUid, BTreeSet<Group>>;

/// So many cuts are remembered: enough for all of a small workload.
const CUTS_MAX: usize = 4_096;

/// What is true at a cut depends on nothing else, so that all runs and threads share it.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownCuts(Arc<Mutex<Known>>);

type Known = BTreeMap<(Cut, KeptGroups), Arc<AtCut>>;

impl KnownCuts {
    /// What is known of a cut, or what `find` says of it.
    pub(super) fn or_find(
        &self,
        cut: &Cut,
        kept: &KeptGroups,
        find: impl FnOnce() -> Result<AtCut, ModelError>,
    ) -> Result<Arc<AtCut>, ModelError> {
        let key = (cut.clone(), kept.clone());
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known.clone());
        }
        // Not under the lock: others may look for other cuts meanwhile.
        let found = Arc::new(find()?);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CUTS_MAX {
            known.clear();
        }
        known.insert(key, found.clone());
        Ok(found)
    }
}
