//! The simulated disk: a file system that keeps its promises and not a bit more.
//!
//! Fault model:
//! - content is volatile until `sync`; names are volatile until `sync_directory` of their directory
//!   (`create_directories` is durable at once); see `crash` for what a power loss leaves;
//! - a process that dies loses nothing on a disk that keeps its power;
//! - an operation takes effect at one moment, at the start or at the end of the time that it takes: a caller that
//!   dies in between never learns whether it did;
//! - reads, writes and syncs fail, lie or corrupt where a [`DiskFault`] was injected; the device can be slow or stall;
//! - while the power is off every call fails with `ConnectionReset`; files open from before fail with EIO.
//!
//! One [`SimDisk`] is one device: the shared storage of a run, or the local disk of a machine. Modules:
//! `file_system` (the operations) and `handle` (open files) → `device` (how an operation passes) → `volume` (names and
//! bytes), `crash` (power loss), `fault`, `event`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
};

use madsim::task::NodeId;
use rand_chacha::ChaCha8Rng;

mod config;
mod crash;
mod device;
mod event;
mod fault;
mod file_system;
mod handle;
mod volume;

pub use config::DiskConfig;
pub use event::{DiskEvent, DiskEventKind};
pub use fault::{DiskFault, DiskFaultKind, FaultId};

use crate::world::{
    counts::Counts,
    random,
    witness::{Witness, WitnessStand},
};
use fault::Faults;
use volume::{View, Volume};

/// Someone who watches what becomes visible. It may look at the disk, which it is shown, but not change it. It must not hold
/// the disk, which holds it.
pub type DiskWatcher = Box<dyn FnMut(&SimDisk, &DiskEvent) + Send>;

/// A simulated disk. Cheap to clone; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    core: Arc<Mutex<Core>>,
    watchers: Arc<Mutex<Vec<DiskWatcher>>>,
    witnesses: WitnessStand,
}

struct Core {
    config: DiskConfig,
    volume: Volume,
    faults: Faults,
    counts: Counts,
    fault_random: ChaCha8Rng,
    crash_random: ChaCha8Rng,
    latency_random: ChaCha8Rng,
    power_losses: u64,
    has_power: bool,
    stalled: Stall,
    slowness: u32,
    /// Callers that wait for the end of a stall.
    waiting: Vec<Waker>,
}

/// Whose operations wait.
enum Stall {
    Nobody,
    Nodes(BTreeSet<NodeId>),
    Everybody,
}

impl Stall {
    fn concerns(&self, node: NodeId) -> bool {
        match self {
            Self::Nobody => false,
            Self::Nodes(nodes) => nodes.contains(&node),
            Self::Everybody => true,
        }
    }
}

fn device_error() -> io::Error {
    const EIO: i32 = 5;
    io::Error::from_raw_os_error(EIO)
}

fn no_space() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn unreachable_storage() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the storage lost power")
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer from the storage: it may have taken effect")
}

fn event(kind: DiskEventKind, path: &Path) -> DiskEvent {
    DiskEvent { kind, path: path.to_owned(), node: madsim::plugin::node() }
}

impl SimDisk {
    /// An empty disk; its latencies, its crashes and its faults follow from `seed`.
    pub fn new(seed: u64, config: DiskConfig) -> Self {
        let core = Core {
            config,
            volume: Volume::new(),
            faults: Faults::default(),
            counts: Counts::default(),
            fault_random: random::stream(seed, "disk faults"),
            crash_random: random::stream(seed, "disk crashes"),
            latency_random: random::stream(seed, "disk latencies"),
            power_losses: 0,
            has_power: true,
            stalled: Stall::Nobody,
            slowness: 1,
            waiting: Vec::new(),
        };
        Self { core: Arc::new(Mutex::new(core)), watchers: Arc::default(), witnesses: WitnessStand::default() }
    }

    /// Adds a fault to those that wait. They are tried in the order of injection.
    pub fn inject(&self, fault: DiskFault) -> FaultId {
        self.core().faults.inject(fault)
    }

    /// Withdraws a fault; one that is used up is no longer there, which is no error.
    pub fn withdraw(&self, fault: FaultId) {
        self.core().faults.withdraw(fault);
    }

    /// Drops all faults that wait, and ends stall and slowness. The power stays as it is.
    pub fn clear_faults(&self) {
        self.core().faults.clear();
        self.set_slowness(1);
        self.end_stall();
    }

    /// The power fails: what was not synced is lost, torn or kept, and every call fails until it is back.
    pub fn power_loss(&self) {
        let waiting = {
            let mut core = self.core();
            let Core { volume, crash_random, counts, .. } = &mut *core;
            volume.lose_power(crash_random, counts);
            core.counts.add("power_loss", 1);
            core.power_losses += 1;
            core.has_power = false;
            std::mem::take(&mut core.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Everything on it is gone, as if another disk were in its place.
    pub fn erase(&self) {
        self.core().volume.erase();
    }

    /// The power is back; what a power loss left can be read.
    pub fn restore_power(&self) {
        self.core().has_power = true;
    }

    /// Operations wait from now on.
    pub fn stall(&self) {
        self.core().stalled = Stall::Everybody;
    }

    /// Operations of this node wait from now on, as if it had lost its path to the storage.
    pub fn stall_node(&self, node: NodeId) {
        let mut core = self.core();
        match &mut core.stalled {
            Stall::Everybody => {}
            Stall::Nodes(nodes) => {
                nodes.insert(node);
            }
            Stall::Nobody => core.stalled = Stall::Nodes(BTreeSet::from([node])),
        }
    }

    /// Operations that wait go on, whoever asked for them.
    pub fn end_stall(&self) {
        let waiting = {
            let mut core = self.core();
            core.stalled = Stall::Nobody;
            std::mem::take(&mut core.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Multiplies every latency; 1 is healthy.
    pub fn set_slowness(&self, factor: u32) {
        self.core().slowness = factor.max(1);
    }

    /// How often, or on how many bytes or names, each kind of fault had an effect. Kinds without effect are missing.
    ///
    /// The names of [`DiskFaultKind`], and `power_loss`, `unsynced_bytes_lost`, `unsynced_bytes_kept`, `torn_write`,
    /// `unsynced_names_lost`, `unsynced_names_kept`, `stall`, `slow_device` (operations).
    pub fn fault_counts(&self) -> BTreeMap<&'static str, u64> {
        self.core().counts.snapshot()
    }

    /// What a power loss leaves at least, unless a sync lied: all durable files with their durable bytes.
    pub fn durable_view(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.core().volume.files(View::Durable)
    }

    /// All files that a process can see now, without latency and without faults.
    pub fn visible_view(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.core().volume.files(View::Visible)
    }

    /// All directories that a process can see now, without latency and without faults.
    pub fn visible_directories(&self) -> BTreeSet<PathBuf> {
        self.core().volume.directories(View::Visible)
    }

    /// The bytes of a file that a process can see now, without latency and without faults.
    pub fn visible_file(&self, path: &Path) -> Option<Vec<u8>> {
        let mut core = self.core();
        let inode = core.volume.resolve_file(path).ok()?;
        Some(core.volume.file(inode).bytes.clone())
    }

    /// Calls `watcher` with each event at the moment when it becomes visible, before its cause returns.
    pub fn on_visible(&self, watcher: DiskWatcher) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(watcher);
    }

    /// Shows every operation to a witness, right before and right after the moment at which it takes effect.
    pub fn show_to(&self, witness: Weak<dyn Witness>) {
        self.witnesses.take(witness);
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
