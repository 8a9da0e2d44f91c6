//! The disks of the machines themselves: what a task manager keeps there survives its process, and goes with its machine.
//!
//! Fault model: a machine that loses power loses, keeps or tears what was not synced, and in half of the cases it comes
//! back with an empty disk, as another machine under the same name. A disk can rot, or refuse everything. None of that may
//! be seen in what a job does, except that it fetches its state from elsewhere; so these faults are no lies of storage.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use crate::{
    seed::Seed,
    world::disk::{DiskConfig, DiskFault, DiskFaultKind, SimDisk},
};

/// The local disks of a cluster, by node.
pub(crate) struct LocalDisks {
    disks: BTreeMap<Arc<str>, SimDisk>,
    /// Which machines come back empty.
    luck: Mutex<ChaCha8Rng>,
}

impl LocalDisks {
    /// Empty disks, one for each of these nodes.
    pub(crate) fn new(seed: Seed, nodes: impl IntoIterator<Item = String>) -> Self {
        let disk = |node: String| (node.as_str().into(), SimDisk::new(seed.child(&node).0, DiskConfig::default()));
        Self { disks: nodes.into_iter().map(disk).collect(), luck: Mutex::new(seed.child("luck").random()) }
    }

    /// The disk of a node.
    pub(crate) fn of(&self, node: &str) -> SimDisk {
        let disk = self.disks.get(node).cloned();
        disk.unwrap_or_else(|| SimDisk::new(0, DiskConfig::default()))
    }

    /// The machine of a node loses power.
    pub(crate) fn lose_power(&self, node: &str) {
        let Some(disk) = self.disks.get(node) else { return };
        disk.power_loss();
        if self.luck.lock().unwrap_or_else(PoisonError::into_inner).gen_bool(0.5) {
            disk.erase();
        }
    }

    /// The machine of a node starts again.
    pub(crate) fn restore_power(&self, node: &str) {
        if let Some(disk) = self.disks.get(node) {
            disk.restore_power();
        }
    }

    /// A fault of all local disks, until it is cleared.
    pub(crate) fn inject(&self, kinds: &[DiskFaultKind]) {
        for disk in self.disks.values() {
            kinds.iter().for_each(|kind| _ = disk.inject(DiskFault::always(*kind, Path::new("/"))));
        }
    }

    /// The disks are sound again; what has rotted stays so.
    pub(crate) fn clear_faults(&self) {
        self.disks.values().for_each(SimDisk::clear_faults);
    }

    /// How often a kind of fault had an effect.
    pub(crate) fn fault_count(&self, kind: DiskFaultKind) -> u64 {
        self.disks.values().filter_map(|disk| disk.fault_counts().get(kind.name()).copied()).sum()
    }

    /// The files on all of them, each with its node in front.
    pub(crate) fn files(&self) -> Vec<String> {
        let of = |(node, disk): (&Arc<str>, &SimDisk)| {
            let paths = disk.visible_view().into_keys();
            paths.map(|path| format!("{node}:{}", path.display())).collect::<Vec<_>>()
        };
        self.disks.iter().flat_map(of).collect()
    }
}
