//! The nemesis: watches every protocol fact, and strikes when a fault's moment has come.
//!
//! It is the engine's observer, so it stands exactly between a step and the next one: a process that it kills at a
//! fact does nothing after it. If a plan asks for it, it also is the witness of what processes ask of network and disk,
//! and stands between those and their effects. What has to be undone later (starts, heals) it orders from the run's
//! supervisor.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use madsim::{runtime::Handle, task::NodeId};
use tidegate::{
    env::{channel::mpsc, sim::ClockError},
    event::{Directive, Fact, Moment, Observer, Step},
};

use crate::{
    deployed::{Deployed, Rescaling},
    fault::{Fault, FaultKind, Site},
    local_disks::LocalDisks,
    operator::Desk,
    recorder::Recorder,
    schedule::{Schedule, Turns},
    workload::{CHECKPOINTS, JOB_ID},
    world::{
        disk::{DiskFault, DiskFaultKind, SimDisk},
        network::{Crash, Direction, LinkSpeed, SimNetwork, Tamper, Tampering},
        witness::{Act, Fate, Witness},
    },
};

/// Something that the supervisor is to do later.
#[derive(Debug)]
pub(crate) enum Undo {
    /// Start the process of a node.
    Start(Arc<str>),
    /// Let a node go on.
    Resume(Arc<str>),
    /// Heal the way between two nodes.
    Heal(Arc<str>, Arc<str>, Direction),
    /// Let data between two nodes flow.
    Unclog(Arc<str>, Arc<str>),
    /// Give the storage power.
    Power,
    /// Let the storage answer.
    EndStall,
    /// Drop the storage faults that have not struck.
    ClearStorageFaults,
    /// Let the local disks be sound.
    ClearLocalFaults,
    /// Let the storage lose power, after it has lied.
    LosePower,
    /// Let the storage be as fast as it was.
    EndSlowness,
    /// Let the links between two nodes be as fast as they were.
    EndSlowLink(Arc<str>, Arc<str>),
    /// Leave messages alone.
    EndTampering,
    /// Reset all connections again, and so on for this long.
    Storm(Duration),
    /// Somebody asks the job manager for something: the operator's business.
    Order(Fault),
    /// Start the job again.
    Submit,
}

/// An order with its delay.
#[derive(Debug)]
pub(crate) struct Later {
    pub after: Duration,
    pub undo: Undo,
}

pub(crate) const JOB_MANAGER: &str = "jobmanager";

/// Something that happened, and at which a process could have died.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// What.
    pub site: Site,
    /// Before or after it.
    pub moment: Moment,
    /// The subtask that it is about, `vertex-name#index`.
    pub subtask: Option<Arc<str>>,
    /// The process.
    pub node: Arc<str>,
}

/// What is watched beside the engine's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// What the plan's faults wait for.
    Faults,
    /// Everything that happens after the last fault of the plan has struck; it is written down.
    Points,
}

/// What a nemesis is told to do.
#[derive(Clone, Copy)]
pub(crate) struct Orders<'a> {
    /// The faults, one after the other.
    pub faults: &'a [Fault],
    /// What is watched beside the engine's facts.
    pub watch: Watch,
    /// By which priorities processes and subtasks take their turns.
    pub schedule: Option<Schedule>,
}

/// The nemesis of one run.
pub(crate) struct Nemesis {
    recorder: Arc<Recorder>,
    network: Arc<SimNetwork>,
    disk: SimDisk,
    local_disks: Arc<LocalDisks>,
    orders: mpsc::Sender<Later>,
    deployed: Arc<Deployed>,
    desk: Arc<Desk>,
    state: Mutex<State>,
}

struct State {
    waiting: VecDeque<Fault>,
    seen: u32,
    struck: BTreeMap<FaultKind, u64>,
    nodes: BTreeMap<Arc<str>, NodeId>,
    /// Where the first sink subtask ran last.
    sink_host: Option<Arc<str>>,
    /// What happened since the last fault struck, if that is wanted.
    points: Option<Vec<Point>>,
    /// The run has ended: nothing is disturbed any more.
    closed: bool,
    /// Who is held how long at each fact.
    turns: Option<Turns>,
    /// What is wrong with the clocks of machines: processes read them when they start.
    clocks: BTreeMap<Arc<str>, ClockError>,
}

impl Nemesis {
    pub(crate) fn new(
        Orders { faults, watch, schedule }: Orders<'_>,
        recorder: Arc<Recorder>,
        network: Arc<SimNetwork>,
        (disk, local_disks): (SimDisk, Arc<LocalDisks>),
        orders: mpsc::Sender<Later>,
        (deployed, desk): (Arc<Deployed>, Arc<Desk>),
    ) -> Arc<Self> {
        let state = State {
            waiting: faults.iter().cloned().collect(),
            seen: 0,
            struck: BTreeMap::new(),
            nodes: BTreeMap::new(),
            sink_host: None,
            points: (watch == Watch::Points).then(Vec::new),
            closed: false,
            turns: schedule.map(Turns::new),
            clocks: BTreeMap::new(),
        };
        let nemesis =
            Arc::new(Self { recorder, network, disk, local_disks, orders, deployed, desk, state: Mutex::new(state) });
        if watch == Watch::Points || faults.iter().any(|fault| fault.at.site.is_of_world()) {
            let witness: Weak<dyn Witness> = Arc::<Self>::downgrade(&nemesis);
            nemesis.network.show_to(witness.clone());
            nemesis.disk.show_to(witness);
        }
        nemesis
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the nemesis about a node.
    pub(crate) fn add_node(&self, name: &str, id: NodeId) {
        self.state().nodes.insert(name.into(), id);
    }

    /// How often each kind of fault struck and had an effect.
    pub(crate) fn struck(&self) -> BTreeMap<FaultKind, u64> {
        let mut struck = self.state().struck.clone();
        let (disk, network) = (self.disk.fault_counts(), self.network.fault_counts());
        struck.retain(|kind, _| match (storage_fault(*kind), tampering(*kind, 0)) {
            _ if kind.is_of_local_disks() => {
                local_fault(*kind).iter().any(|disk_kind| self.local_disks.fault_count(*disk_kind) > 0)
            }
            (Some((disk_kind, _)), _) => disk.contains_key(disk_kind.name()),
            (None, Some(tampering)) => network.contains_key(tampering.name()),
            (None, None) => true,
        });
        struck
    }

    /// Faults that still wait for their moment.
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Nothing strikes any more, and nothing is written down.
    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    /// What happened after the last fault had struck.
    pub(crate) fn points(&self) -> Vec<Point> {
        self.state().points.take().unwrap_or_default()
    }

    /// Takes the fault whose moment this is.
    fn due(&self, site: &Site, moment: Moment, subtask: Option<&Arc<str>>, node: &Arc<str>) -> Option<Fault> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        let Some(fault) = state.waiting.front() else {
            if let Some(points) = &mut state.points {
                points.push(Point { site: site.clone(), moment, subtask: subtask.cloned(), node: node.clone() });
            }
            return None;
        };
        // Only the engine's own steps can be made to fail, or to take long.
        let possible = !matches!(fault.kind, FaultKind::FailStep | FaultKind::SlowStep) || !site.is_of_world();
        if !possible || !fault.at.concerns(site, moment, subtask.map(|subtask| &**subtask), node) {
            return None;
        }
        state.seen += 1;
        if state.seen < state.waiting.front()?.at.occurrence {
            return None;
        }
        state.seen = 0;
        let fault = state.waiting.pop_front()?;
        // What is asked for strikes when it is done, and perhaps never.
        if !fault.kind.is_order() {
            *state.struck.entry(fault.kind).or_default() += 1;
        }
        Some(fault)
    }

    fn name_of(&self, node: NodeId) -> Option<Arc<str>> {
        self.state().nodes.iter().find(|(_, id)| **id == node).map(|(name, _)| name.clone())
    }

    fn later(&self, fault: &Fault, undo: Undo) {
        self.order(Duration::from_millis(fault.lasts_ms), undo);
    }

    fn order(&self, after: Duration, undo: Undo) {
        let order = Later { after, undo };
        // The queue holds more than a plan has faults.
        let _ = self.orders.try_send(order);
    }

    fn kill(&self, fault: &Fault, node: &Arc<str>, crash: Crash) {
        let Some(id) = self.state().nodes.get(node).copied() else { return };
        let handle = Handle::current();
        if handle.is_exit(id) {
            return;
        }
        self.recorder.note(&format!("{node} dies"));
        self.network.crash(node, crash);
        if crash == Crash::Machine {
            self.local_disks.lose_power(node);
        }
        handle.kill(id);
        self.later(fault, Undo::Start(node.clone()));
    }

    pub(crate) fn kill_all(&self, fault: &Fault) {
        let all: Vec<Arc<str>> = self.state().nodes.keys().cloned().collect();
        all.iter().for_each(|node| self.kill(fault, node, Crash::Process));
    }

    fn sink_host(&self, otherwise: &Arc<str>) -> Arc<str> {
        self.state().sink_host.clone().unwrap_or_else(|| otherwise.clone())
    }

    /// The task manager that a fault about a link concerns.
    fn task_manager(&self, node: &Arc<str>) -> Arc<str> {
        if **node == *JOB_MANAGER { "taskmanager-1".into() } else { node.clone() }
    }

    /// The clock of a node's machine, as a process reads it that starts now.
    pub(crate) fn clock(&self, node: &str) -> ClockError {
        self.state().clocks.get(node).copied().unwrap_or_default()
    }

    /// The machine restarts, and its clock is another one from then on.
    fn set_clock(&self, fault: &Fault, node: &Arc<str>, clock: ClockError) {
        self.state().clocks.insert(node.clone(), clock);
        self.kill(fault, node, Crash::Process);
    }

    fn peers(&self, node: &Arc<str>) -> Vec<Arc<str>> {
        self.state().nodes.keys().filter(|peer| *peer != node).cloned().collect()
    }

    fn strike(&self, fault: &Fault, node: &Arc<str>) -> Directive {
        let job_manager: Arc<str> = JOB_MANAGER.into();
        self.recorder.note(&format!("nemesis: {fault} at {node}"));
        self.recorder.disturbed();
        match fault.kind {
            FaultKind::CrashProcess => self.kill(fault, node, Crash::Process),
            FaultKind::CrashMachine => self.kill(fault, node, Crash::Machine),
            FaultKind::CrashSink => self.kill(fault, &self.sink_host(node), Crash::Process),
            FaultKind::CrashJobManager => self.kill(fault, &job_manager, Crash::Process),
            FaultKind::CrashBoth => {
                let other = if *node == job_manager { self.sink_host(node) } else { node.clone() };
                self.kill(fault, &job_manager, Crash::Process);
                self.kill(fault, &other, Crash::Process);
            }
            FaultKind::CrashAll => self.kill_all(fault),
            FaultKind::RescaleUp => {
                self.deployed.rescale(Rescaling::Up);
                self.kill_all(fault);
            }
            FaultKind::RescaleDown => {
                self.deployed.rescale(Rescaling::Down);
                self.kill_all(fault);
            }
            FaultKind::Savepoint
            | FaultKind::StopWithSavepoint
            | FaultKind::Drain
            | FaultKind::Cancel
            | FaultKind::CancelWithSavepoint
            | FaultKind::Rescale
            | FaultKind::RestoreOlder
            | FaultKind::DisposeSavepoint => self.order(Duration::ZERO, Undo::Order(fault.clone())),
            FaultKind::FailStep => return Directive::Fail("the nemesis lets it fail".into()),
            FaultKind::SlowStep => {
                let longer = Duration::from_millis(fault.lasts_ms);
                return Directive::Hold(Box::pin(madsim::time::sleep(longer)));
            }
            FaultKind::Pause => {
                if let Some(id) = self.state().nodes.get(node).copied() {
                    Handle::current().pause(id);
                    self.later(fault, Undo::Resume(node.clone()));
                }
                // The task that stated the fact runs on until it waits: let it wait here.
                return Directive::Hold(Box::pin(madsim::time::sleep(Duration::from_micros(1))));
            }
            FaultKind::Partition => self.partition(fault, node, Direction::BothWays),
            FaultKind::PartitionOneWay => self.partition(fault, node, Direction::OneWay),
            FaultKind::ResetConnections => {
                let peers: Vec<Arc<str>> = self.state().nodes.keys().cloned().collect();
                for peer in peers {
                    self.network.reset_connections(node, &peer);
                }
            }
            FaultKind::Clog => {
                let peers: Vec<Arc<str>> = self.state().nodes.keys().filter(|peer| *peer != node).cloned().collect();
                for peer in peers {
                    self.network.clog(node, &peer, Direction::BothWays);
                    self.later(fault, Undo::Unclog(node.clone(), peer));
                }
            }
            FaultKind::StoragePowerLoss => {
                self.disk.power_loss();
                self.recorder.forget_what_was_lost(&self.disk);
                self.later(fault, Undo::Power);
            }
            FaultKind::StorageStall => {
                self.disk.stall();
                self.later(fault, Undo::EndStall);
            }
            FaultKind::WriteError
            | FaultKind::SyncError
            | FaultKind::ReadError
            | FaultKind::FullDisk
            | FaultKind::AmbiguousRename
            | FaultKind::LostRename => {
                if let Some((kind, operations)) = storage_fault(fault.kind) {
                    self.disk.inject(DiskFault { remaining: operations, ..DiskFault::once(kind, Path::new("/")) });
                    self.later(fault, Undo::ClearStorageFaults);
                }
            }
            FaultKind::LocalBitRot | FaultKind::LocalDiskError => {
                self.local_disks.inject(local_fault(fault.kind));
                self.later(fault, Undo::ClearLocalFaults);
            }
            FaultKind::BitRot | FaultKind::LyingSync | FaultKind::MisdirectedWrite | FaultKind::PhantomWrite => {
                if let Some((kind, operations)) = storage_fault(fault.kind) {
                    self.disk.inject(lie(kind, operations));
                    let lying = fault.kind == FaultKind::LyingSync;
                    self.later(fault, if lying { Undo::LosePower } else { Undo::ClearStorageFaults });
                }
            }
            FaultKind::SlowDevice => {
                self.disk.set_slowness(SLOW_DEVICE_FACTOR);
                self.later(fault, Undo::EndSlowness);
            }
            FaultKind::SlowLink => {
                for peer in self.peers(node) {
                    self.network.slow(node, &peer, Direction::BothWays, SLOW_LINK);
                    self.later(fault, Undo::EndSlowLink(node.clone(), peer));
                }
            }
            FaultKind::ReconnectStorm => {
                self.network.reset_all_connections();
                self.order(STORM_PAUSE, Undo::Storm(Duration::from_millis(fault.lasts_ms)));
            }
            FaultKind::DelayMessage | FaultKind::DuplicateMessage | FaultKind::LoseMessage => {
                let id = self.state().nodes.get(node).copied();
                if let (Some(id), Some(tampering)) = (id, tampering(fault.kind, fault.lasts_ms)) {
                    let name = match &fault.at.site {
                        Site::Message(name) => Some(name.to_string()),
                        Site::Step(_) | Site::Receipt(_) | Site::Disk(_) => None,
                    };
                    self.network.tamper(id, Tamper { tampering, name });
                    self.later(fault, Undo::EndTampering);
                }
            }
            FaultKind::ClockAhead => {
                let ahead_ms = CLOCK_FACTOR * fault.lasts_ms as i64;
                self.set_clock(fault, node, ClockError { ahead_ms, ..ClockError::default() });
            }
            FaultKind::ClockBehind => {
                let ahead_ms = -CLOCK_FACTOR * fault.lasts_ms as i64;
                self.set_clock(fault, node, ClockError { ahead_ms, ..ClockError::default() });
            }
            FaultKind::SlowClock => {
                self.set_clock(fault, node, ClockError { speed_per_mille: 500, ..ClockError::default() });
            }
        }
        let dead = self.state().nodes.get(node).is_some_and(|id| Handle::current().is_exit(*id));
        if dead { Directive::Hold(Box::pin(std::future::pending())) } else { Directive::Continue }
    }

    fn partition(&self, fault: &Fault, node: &Arc<str>, direction: Direction) {
        let (task_manager, job_manager) = (self.task_manager(node), Arc::<str>::from(JOB_MANAGER));
        self.network.partition(&task_manager, &job_manager, direction);
        self.later(fault, Undo::Heal(task_manager, job_manager, direction));
    }

    /// Starts the job again: its job managers, and the other processes that have ended. What was killed starts in its time.
    fn submit(&self) {
        let handle = Handle::current();
        let nodes = self.state().nodes.clone();
        for (name, id) in nodes {
            let runs_on = !handle.is_exit(id) && name.starts_with(JOB_MANAGER);
            if runs_on || self.deployed.has_ended(&name) {
                self.deployed.process_starts(&name);
                self.network.crash(&name, Crash::Process);
                handle.kill(id);
                self.order(START_PAUSE, Undo::Start(name));
            }
        }
    }

    /// Undoes what an order says.
    pub(crate) fn undo(&self, undo: Undo) {
        self.recorder.note(&format!("nemesis: {undo:?}"));
        self.recorder.disturbed();
        let handle = Handle::current();
        match undo {
            Undo::Start(node) => {
                if let Some(id) = self.state().nodes.get(&node).copied() {
                    self.network.start(&node);
                    self.local_disks.restore_power(&node);
                    handle.restart(id);
                }
            }
            Undo::Resume(node) => {
                if let Some(id) = self.state().nodes.get(&node).copied() {
                    handle.resume(id);
                }
            }
            Undo::Heal(from, to, direction) => self.network.heal(&from, &to, direction),
            Undo::Unclog(from, to) => self.network.unclog(&from, &to, Direction::BothWays),
            Undo::Power => self.disk.restore_power(),
            Undo::EndStall => self.disk.end_stall(),
            Undo::ClearStorageFaults => self.disk.clear_faults(),
            Undo::ClearLocalFaults => self.local_disks.clear_faults(),
            Undo::LosePower => {
                self.disk.clear_faults();
                self.disk.power_loss();
                self.recorder.forget_what_was_lost(&self.disk);
                self.order(STORM_PAUSE, Undo::Power);
            }
            Undo::EndSlowness => self.disk.set_slowness(1),
            Undo::EndSlowLink(from, to) => self.network.slow(&from, &to, Direction::BothWays, LinkSpeed::FULL),
            Undo::EndTampering => self.network.end_tampering(),
            Undo::Order(_) => {}
            Undo::Submit => self.submit(),
            Undo::Storm(left) => {
                self.network.reset_all_connections();
                if let Some(left) = left.checked_sub(STORM_PAUSE) {
                    self.order(STORM_PAUSE, Undo::Storm(left));
                }
            }
        }
    }
}

/// The disk's name for a kind of fault, and how many operations it strikes.
fn storage_fault(kind: FaultKind) -> Option<(DiskFaultKind, u64)> {
    match kind {
        FaultKind::WriteError => Some((DiskFaultKind::WriteError, 1)),
        FaultKind::SyncError => Some((DiskFaultKind::SyncError, 1)),
        FaultKind::ReadError => Some((DiskFaultKind::ReadError, 1)),
        FaultKind::FullDisk => Some((DiskFaultKind::FullDisk, 5)),
        FaultKind::AmbiguousRename => Some((DiskFaultKind::AmbiguousApplied, 1)),
        FaultKind::LostRename => Some((DiskFaultKind::AmbiguousNotApplied, 1)),
        FaultKind::BitRot => Some((DiskFaultKind::BitRot, 1)),
        FaultKind::LyingSync => Some((DiskFaultKind::LyingSync, 6)),
        FaultKind::MisdirectedWrite => Some((DiskFaultKind::MisdirectedWrite, 1)),
        FaultKind::PhantomWrite => Some((DiskFaultKind::PhantomWrite, 1)),
        FaultKind::CrashProcess
        | FaultKind::CrashMachine
        | FaultKind::CrashSink
        | FaultKind::CrashJobManager
        | FaultKind::CrashBoth
        | FaultKind::CrashAll
        | FaultKind::RescaleUp
        | FaultKind::RescaleDown
        | FaultKind::Savepoint
        | FaultKind::StopWithSavepoint
        | FaultKind::Drain
        | FaultKind::Cancel
        | FaultKind::CancelWithSavepoint
        | FaultKind::Rescale
        | FaultKind::RestoreOlder
        | FaultKind::DisposeSavepoint
        | FaultKind::FailStep
        | FaultKind::SlowStep
        | FaultKind::Pause
        | FaultKind::Partition
        | FaultKind::PartitionOneWay
        | FaultKind::ResetConnections
        | FaultKind::Clog
        | FaultKind::StoragePowerLoss
        | FaultKind::StorageStall
        | FaultKind::DelayMessage
        | FaultKind::DuplicateMessage
        | FaultKind::LoseMessage
        | FaultKind::SlowLink
        | FaultKind::ReconnectStorm
        | FaultKind::ClockAhead
        | FaultKind::ClockBehind
        | FaultKind::SlowClock
        | FaultKind::LocalBitRot
        | FaultKind::LocalDiskError
        | FaultKind::SlowDevice => None,
    }
}

/// What a kind of fault does to the disks of the machines themselves.
fn local_fault(kind: FaultKind) -> &'static [DiskFaultKind] {
    match kind {
        FaultKind::LocalBitRot => &[DiskFaultKind::BitRot],
        FaultKind::LocalDiskError => &[DiskFaultKind::ReadError, DiskFaultKind::WriteError],
        _ => &[],
    }
}

/// A lie of the storage about what checkpoints consist of. What is in the leader's log, and what is in the output, is
/// spared: nobody could know any more what was promised, or to whom.
fn lie(kind: DiskFaultKind, operations: u64) -> DiskFault {
    let checkpoints = Path::new(CHECKPOINTS).join(JOB_ID);
    let except = Some(checkpoints.join("ha"));
    DiskFault { remaining: operations, except, ..DiskFault::once(kind, checkpoints) }
}

/// What a kind of fault does to a message.
fn tampering(kind: FaultKind, lasts_ms: u64) -> Option<Tampering> {
    match kind {
        FaultKind::DelayMessage => Some(Tampering::Delay(Duration::from_millis(lasts_ms))),
        FaultKind::DuplicateMessage => Some(Tampering::Duplicate),
        FaultKind::LoseMessage => Some(Tampering::Lose),
        _ => None,
    }
}

const SLOW_DEVICE_FACTOR: u32 = 200;
const SLOW_LINK: LinkSpeed = LinkSpeed { latency_factor: 400, bytes_per_second: Some(20_000) };
/// How long a process takes to start.
const START_PAUSE: Duration = Duration::from_millis(100);
const STORM_PAUSE: Duration = Duration::from_millis(300);
/// A clock is wrong by so many times as long as its fault lasts.
const CLOCK_FACTOR: i64 = 100;

impl Observer for Nemesis {
    fn audits_channels(&self) -> bool {
        true
    }

    fn observe(&self, fact: &Fact<'_>) -> Directive {
        self.recorder.fact(fact);
        if fact.step == Step::BeginTransaction
            && fact.subject.subtask.as_deref().is_some_and(|name| name.ends_with("#0"))
        {
            self.state().sink_host = Some(fact.subject.node.clone());
        }
        if (fact.step, fact.moment) == (Step::TakeLeadership, Moment::After) {
            self.desk.leads(&fact.subject.node);
        }
        match self.due(&Site::Step(fact.step), fact.moment, fact.subject.subtask.as_ref(), &fact.subject.node) {
            Some(fault) => self.strike(&fault, &fact.subject.node),
            None => self.take_turns(fact),
        }
    }
}

impl Nemesis {
    /// Holds whoever states a fact as long as the schedule says, if there is one.
    fn take_turns(&self, fact: &Fact<'_>) -> Directive {
        let mut state = self.state();
        // Where records are dropped or skipped, nobody can wait.
        let waits = !matches!(fact.step, Step::LateRecord | Step::BadRecord);
        let Some(turns) = state.turns.as_mut().filter(|_| waits) else { return Directive::Continue };
        let hold = turns.hold(fact.subject.subtask.as_ref().unwrap_or(&fact.subject.node));
        if hold.is_zero() {
            return Directive::Continue;
        }
        Directive::Hold(Box::pin(madsim::time::sleep(hold)))
    }
}

impl Witness for Nemesis {
    fn sees(&self, node: NodeId, act: Act, moment: Moment) -> Fate {
        let Some(name) = self.name_of(node) else { return Fate::Lives };
        if Handle::current().is_exit(node) {
            return Fate::Dead;
        }
        let site = match act {
            Act::Send(name) => Site::Message(name.into()),
            Act::Receive(name) => Site::Receipt(name.into()),
            Act::Disk(name) => Site::Disk(name.into()),
        };
        if let Some(fault) = self.due(&site, moment, None, &name) {
            self.strike(&fault, &name);
        }
        if Handle::current().is_exit(node) { Fate::Dead } else { Fate::Lives }
    }
}
