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
//! One [`SimDisk`] is one device: the shared storage of a run, or the local disk of a machine. Modules: `handle` (open
//! files), `volume` (names and bytes), `crash` (power loss), `fault`, `event`.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use madsim::time::TimeHandle;
use rand::{Rng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use tidegate::storage::{Entry, FileSystem, ReadFile, WriteFile};

mod config;
mod crash;
mod event;
mod fault;
mod handle;
mod volume;

pub use config::DiskConfig;
pub use event::{DiskEvent, DiskEventKind};
pub use fault::{DiskFault, DiskFaultKind};

use crate::world::{counts::Counts, network::wait_until, random};
use fault::{Faults, Operation};
use handle::{Handle, SimReadFile, SimWriteFile};
use volume::{Directory, File, Inode, Target, View, Volume};

/// Someone who watches what becomes visible. It may look at the disk but not change it.
pub type DiskWatcher = Box<dyn FnMut(&DiskEvent) + Send>;

/// A simulated disk. Cheap to clone; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    core: Arc<Mutex<Core>>,
    watchers: Arc<Mutex<Vec<DiskWatcher>>>,
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
    stalled: bool,
    slowness: u32,
    /// Callers that wait for the end of a stall.
    waiting: Vec<Waker>,
}

/// When an operation takes effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    First,
    Last,
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

impl Core {
    fn strike(&mut self, operation: Operation, idle: bool, paths: &[&Path]) -> Option<DiskFaultKind> {
        let struck = self.faults.strike(operation, idle, paths, &mut self.fault_random)?;
        self.counts.add(struck.name(), 1);
        Some(struck)
    }

    /// Strikes operations on which a fault can only be an error without effect.
    fn strike_plain(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        match self.strike(operation, true, &[path]) {
            None => Ok(()),
            Some(DiskFaultKind::FullDisk) => Err(no_space()),
            Some(_) => Err(device_error()),
        }
    }

    fn draw_latency(&mut self, operation: Operation) -> Duration {
        let DiskConfig { latency_min, latency_max, sync_latency_max } = self.config;
        let mut latency = match latency_max {
            Duration::ZERO => Duration::ZERO,
            most => self.latency_random.gen_range(latency_min..=most.max(latency_min)),
        };
        if operation == Operation::Sync && sync_latency_max > Duration::ZERO {
            latency += self.latency_random.gen_range(Duration::ZERO..=sync_latency_max);
        }
        if self.slowness > 1 {
            self.counts.add("slow_device", 1);
        }
        latency * self.slowness
    }
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
            stalled: false,
            slowness: 1,
            waiting: Vec::new(),
        };
        Self { core: Arc::new(Mutex::new(core)), watchers: Arc::default() }
    }

    // ---- faults ----

    /// Adds a fault to those that wait. They are tried in the order of injection.
    pub fn inject(&self, fault: DiskFault) {
        if fault.remaining > 0 {
            self.core().faults.inject(fault);
        }
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

    /// The power is back; what a power loss left can be read.
    pub fn restore_power(&self) {
        self.core().has_power = true;
    }

    /// Operations wait from now on.
    pub fn stall(&self) {
        self.core().stalled = true;
    }

    /// Operations that wait go on.
    pub fn end_stall(&self) {
        let waiting = {
            let mut core = self.core();
            core.stalled = false;
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

    // ---- judges ----

    /// What a power loss leaves at least, unless a sync lied: all durable files with their durable bytes.
    pub fn durable_view(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.core().volume.files(View::Durable)
    }

    /// All files that a process can see now, without latency and without faults.
    pub fn visible_view(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.core().volume.files(View::Visible)
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

    // ---- operations ----

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out an operation: its effect at one moment, its latency before or after that.
    async fn operate<T>(
        &self,
        operation: Operation,
        effect: impl FnOnce(&mut Core, &mut Vec<DiskEvent>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.wait_for_the_end_of_a_stall().await?;
        let (latency, order, power_losses) = {
            let mut core = self.core();
            let latency = core.draw_latency(operation);
            let order = if core.latency_random.gen_bool(0.5) { Effect::First } else { Effect::Last };
            (latency, order, core.power_losses)
        };
        if order == Effect::Last {
            self.pass(latency).await;
            self.check_power(power_losses)?;
        }
        let mut events = Vec::new();
        let result = effect(&mut self.core(), &mut events);
        self.tell(&events);
        if order == Effect::First {
            self.pass(latency).await;
            self.check_power(power_losses)?;
        }
        result
    }

    async fn wait_for_the_end_of_a_stall(&self) -> io::Result<()> {
        let mut counted = false;
        poll_fn(|context| {
            let mut core = self.core();
            if !core.has_power {
                return Poll::Ready(Err(unreachable_storage()));
            }
            if !core.stalled {
                return Poll::Ready(Ok(()));
            }
            core.counts.add("stall", u64::from(!counted));
            counted = true;
            core.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn check_power(&self, power_losses: u64) -> io::Result<()> {
        let core = self.core();
        if core.has_power && core.power_losses == power_losses { Ok(()) } else { Err(unreachable_storage()) }
    }

    async fn pass(&self, latency: Duration) {
        if latency > Duration::ZERO {
            let time = TimeHandle::current();
            wait_until(&time, time.now_instant() + latency).await;
        } else if self.core().latency_random.gen_ratio(1, 4) {
            yield_once().await;
        }
    }

    fn tell(&self, events: &[DiskEvent]) {
        if events.is_empty() {
            return;
        }
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            watchers.iter_mut().for_each(|watcher| watcher(event));
        }
    }

    fn open_handle(&self, core: &mut Core, inode: volume::InodeId, path: &Path) -> Handle {
        core.volume.file(inode).handles += 1;
        Handle { disk: self.clone(), inode, path: path.to_owned(), power_losses: core.power_losses }
    }

    async fn move_name(&self, from: &Path, to: &Path, target: Target) -> io::Result<()> {
        self.operate(Operation::Rename, |core, events| {
            let struck = core.strike(Operation::Rename, false, &[from, to]);
            if struck == Some(DiskFaultKind::AmbiguousNotApplied) {
                return Err(no_answer());
            }
            core.volume.rename(from, to, target)?;
            let from = from.to_owned();
            let kind = match target {
                Target::Replace => DiskEventKind::Renamed { from },
                Target::MustBeFree => DiskEventKind::Published { from },
            };
            events.push(event(kind, to));
            if struck.is_some() { Err(no_answer()) } else { Ok(()) }
        })
        .await
    }
}

/// Lets other tasks run. The executor's own function defers to the tokio shell around it, which never comes to run.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[async_trait]
impl FileSystem for SimDisk {
    async fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let handle = self
            .operate(Operation::Create, |core, events| {
                core.strike_plain(Operation::Create, path)?;
                let inode = core.volume.create(path, Inode::File(File::default()))?;
                events.push(event(DiskEventKind::Created, path));
                Ok(self.open_handle(core, inode, path))
            })
            .await?;
        Ok(Box::new(SimWriteFile { handle, position: 0 }))
    }

    async fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let handle = self
            .operate(Operation::Look, |core, _| {
                core.strike_plain(Operation::Look, path)?;
                let inode = core.volume.resolve_file(path)?;
                Ok(self.open_handle(core, inode, path))
            })
            .await?;
        Ok(Box::new(SimReadFile { handle }))
    }

    async fn length(&self, path: &Path) -> io::Result<u64> {
        self.operate(Operation::Look, |core, _| {
            core.strike_plain(Operation::Look, path)?;
            let inode = core.volume.resolve_file(path)?;
            Ok(core.volume.file(inode).bytes.len() as u64)
        })
        .await
    }

    async fn exists(&self, path: &Path) -> io::Result<bool> {
        self.operate(Operation::Look, |core, _| {
            core.strike_plain(Operation::Look, path)?;
            match core.volume.resolve(path) {
                Ok(_) => Ok(true),
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(other) => Err(other),
            }
        })
        .await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.move_name(from, to, Target::Replace).await
    }

    async fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.move_name(from, to, Target::MustBeFree).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(Operation::Remove, |core, events| {
            core.strike_plain(Operation::Remove, path)?;
            core.volume.remove(path)?;
            events.push(event(DiskEventKind::Removed, path));
            Ok(())
        })
        .await
    }

    async fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Operation::Create, |core, events| {
            core.strike_plain(Operation::Create, path)?;
            core.volume.create(path, Inode::Directory(Directory::default()))?;
            events.push(event(DiskEventKind::DirectoryCreated, path));
            Ok(())
        })
        .await
    }

    async fn create_directories(&self, path: &Path) -> io::Result<()> {
        self.operate(Operation::Create, |core, events| {
            core.strike_plain(Operation::Create, path)?;
            if core.volume.create_directories(path)? {
                events.push(event(DiskEventKind::DirectoryCreated, path));
            }
            Ok(())
        })
        .await
    }

    async fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Operation::Remove, |core, events| {
            core.strike_plain(Operation::Remove, path)?;
            let Core { volume, fault_random, .. } = core;
            if volume.remove_directory(path, &mut |names| names.shuffle(fault_random))? {
                events.push(event(DiskEventKind::Removed, path));
            }
            Ok(())
        })
        .await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.operate(Operation::List, |core, _| {
            let fresh = core.volume.resolve(path).and_then(|inode| core.volume.directory(inode));
            let idle = fresh.map_or(true, |directory| directory.journal.is_empty());
            match core.strike(Operation::List, idle, &[path]) {
                None => core.volume.list(path, View::Visible),
                Some(DiskFaultKind::StaleList) => core.volume.list(path, View::Durable),
                Some(_) => Err(device_error()),
            }
        })
        .await
    }

    async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Operation::Sync, |core, events| {
            let inode = core.volume.resolve(path)?;
            let idle = core.volume.directory(inode)?.journal.is_empty();
            match core.strike(Operation::Sync, idle, &[path]) {
                Some(DiskFaultKind::LyingSync) => return Ok(()),
                Some(_) => return Err(device_error()),
                None => {}
            }
            core.volume.sync_directory(inode);
            events.push(event(DiskEventKind::DirectorySynced, path));
            Ok(())
        })
        .await
    }
}
