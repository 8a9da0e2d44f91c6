//! The nemesis: watches every protocol fact, and strikes when a fault's moment has come.
//!
//! It is the engine's observer, so it stands exactly between a step and the next one: a process that it kills at a
//! fact does nothing after it. What has to be undone later (starts, heals) it orders from the run's supervisor.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use madsim::{runtime::Handle, task::NodeId};
use tidegate::{
    env::channel::mpsc,
    event::{Directive, Fact, Observer, Step},
};

use crate::{
    fault::{Fault, FaultKind},
    recorder::Recorder,
    world::{
        disk::{DiskFault, DiskFaultKind, SimDisk},
        network::{Crash, Direction, SimNetwork},
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
}

/// An order with its delay.
#[derive(Debug)]
pub(crate) struct Later {
    pub after: Duration,
    pub undo: Undo,
}

pub(crate) const JOB_MANAGER: &str = "jobmanager";

/// The nemesis of one run.
pub(crate) struct Nemesis {
    recorder: Arc<Recorder>,
    network: Arc<SimNetwork>,
    disk: SimDisk,
    orders: mpsc::Sender<Later>,
    state: Mutex<State>,
}

struct State {
    waiting: VecDeque<Fault>,
    seen: u32,
    struck: BTreeMap<FaultKind, u64>,
    nodes: BTreeMap<Arc<str>, NodeId>,
    /// Where the first sink subtask ran last.
    sink_host: Option<Arc<str>>,
}

impl Nemesis {
    pub(crate) fn new(
        faults: &[Fault],
        recorder: Arc<Recorder>,
        network: Arc<SimNetwork>,
        disk: SimDisk,
        orders: mpsc::Sender<Later>,
    ) -> Arc<Self> {
        let state = State {
            waiting: faults.iter().cloned().collect(),
            seen: 0,
            struck: BTreeMap::new(),
            nodes: BTreeMap::new(),
            sink_host: None,
        };
        Arc::new(Self { recorder, network, disk, orders, state: Mutex::new(state) })
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
        let counts = self.disk.fault_counts();
        struck.retain(|kind, _| match storage_fault(*kind) {
            Some((disk_kind, _)) => counts.contains_key(disk_kind.name()),
            None => true,
        });
        struck
    }

    /// Faults that still wait for their moment.
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Takes the fault whose moment this fact is.
    fn due(&self, fact: &Fact<'_>) -> Option<Fault> {
        let mut state = self.state();
        let fault = state.waiting.front()?;
        let subject = fact.subject.subtask.as_deref().unwrap_or(&fact.subject.node);
        let matches = fault.at.step == fact.step
            && fault.at.moment == fact.moment
            && fault
                .at
                .subject
                .as_deref()
                .is_none_or(|part| subject.contains(part) || fact.subject.node.contains(part));
        if !matches {
            return None;
        }
        state.seen += 1;
        if state.seen < state.waiting.front()?.at.occurrence {
            return None;
        }
        state.seen = 0;
        let fault = state.waiting.pop_front()?;
        *state.struck.entry(fault.kind).or_default() += 1;
        Some(fault)
    }

    fn later(&self, fault: &Fault, undo: Undo) {
        let order = Later { after: Duration::from_millis(fault.lasts_ms), undo };
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
        handle.kill(id);
        self.later(fault, Undo::Start(node.clone()));
    }

    fn sink_host(&self, otherwise: &Arc<str>) -> Arc<str> {
        self.state().sink_host.clone().unwrap_or_else(|| otherwise.clone())
    }

    /// The task manager that a fault about a link concerns.
    fn task_manager(&self, node: &Arc<str>) -> Arc<str> {
        if **node == *JOB_MANAGER { "taskmanager-1".into() } else { node.clone() }
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
            FaultKind::CrashAll => {
                let all: Vec<Arc<str>> = self.state().nodes.keys().cloned().collect();
                all.iter().for_each(|node| self.kill(fault, node, Crash::Process));
            }
            FaultKind::FailStep => return Directive::Fail("the nemesis lets it fail".into()),
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
        }
        let dead = self.state().nodes.get(node).is_some_and(|id| Handle::current().is_exit(*id));
        if dead { Directive::Hold(Box::pin(std::future::pending())) } else { Directive::Continue }
    }

    fn partition(&self, fault: &Fault, node: &Arc<str>, direction: Direction) {
        let (task_manager, job_manager) = (self.task_manager(node), Arc::<str>::from(JOB_MANAGER));
        self.network.partition(&task_manager, &job_manager, direction);
        self.later(fault, Undo::Heal(task_manager, job_manager, direction));
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
        FaultKind::CrashProcess
        | FaultKind::CrashMachine
        | FaultKind::CrashSink
        | FaultKind::CrashJobManager
        | FaultKind::CrashBoth
        | FaultKind::CrashAll
        | FaultKind::FailStep
        | FaultKind::Pause
        | FaultKind::Partition
        | FaultKind::PartitionOneWay
        | FaultKind::ResetConnections
        | FaultKind::Clog
        | FaultKind::StoragePowerLoss
        | FaultKind::StorageStall => None,
    }
}

impl Observer for Nemesis {
    fn observe(&self, fact: &Fact<'_>) -> Directive {
        self.recorder.fact(fact);
        if fact.step == Step::BeginTransaction
            && fact.subject.subtask.as_deref().is_some_and(|name| name.ends_with("#0"))
        {
            self.state().sink_host = Some(fact.subject.node.clone());
        }
        match self.due(fact) {
            Some(fault) => self.strike(&fault, &fact.subject.node),
            None => Directive::Continue,
        }
    }
}
