//! A cluster in a simulated world: any program, disturbed as a list of faults says, and recorded.
//!
//! Phases: start → disturb (faults strike at their moments) → heal (each fault ends by itself) → drain (the job
//! reaches the end of its input). What is made of it, a declarative workload's run or a user's test, comes on top.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use madsim::runtime::Handle;
use tidegate::{
    Timestamp,
    config::JobConfig,
    env::{Env, channel::mpsc, sim::simulate},
    event::Observer,
    id::TaskManagerId,
    planted,
    runtime::{JobManager, JobManagerSetup, SingleProgram, TaskManager, TaskManagerSetup},
    storage::SharedFileSystem,
    task::Program,
};

use crate::{
    fault::{Fault, FaultKind},
    history::RunEnd,
    nemesis::{JOB_MANAGER, Later, Nemesis},
    recorder::{Recorded, Recorder},
    seed::Seed,
    trace::Keep,
    workload::JOB_ID,
    world::{
        disk::{DiskConfig, SimDisk},
        network::{NetworkConfig, SimNetwork},
    },
};

/// What a cluster runs, and what is done to it.
pub(crate) struct Cluster {
    /// The seed of schedule, network and disk.
    pub seed: u64,
    /// The job's options.
    pub config: JobConfig,
    /// The job.
    pub program: Arc<Program>,
    /// Task managers; each has slots enough for its share, and one more node waits as a spare.
    pub task_managers: u32,
    /// What is done to it, one after the other.
    pub faults: Vec<Fault>,
    /// The planted bug that is active.
    pub planted: Option<String>,
    /// How long the job takes if nothing disturbs it: each fault may make it begin again.
    pub undisturbed: Duration,
}

/// What became of it.
pub(crate) struct ClusterRun {
    /// How it ended.
    pub end: RunEnd,
    /// What was written down.
    pub recorded: Recorded,
    /// What is seen at the end, from outside.
    pub observed: Observed,
}

/// What is seen at the end, from outside.
#[derive(Default)]
pub(crate) struct Observed {
    /// The files of the shared disk, as a reader sees them.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Faults that struck, by kind.
    pub struck: BTreeMap<FaultKind, u64>,
    /// Faults whose moment did not come.
    pub missed: usize,
    /// How often the site of the planted bug was reached.
    pub planted_reached: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// When the run ended.
    pub ended_at: Timestamp,
}

impl Cluster {
    /// Runs it to its end. The same cluster gives the same run, whatever else the process does.
    pub(crate) fn run(self, keep: Keep) -> ClusterRun {
        let recorder = Recorder::new(keep);
        let observed = Arc::new(Mutex::new(Observed::default()));
        let (seed, world) =
            (self.seed, World { cluster: self, recorder: recorder.clone(), observed: observed.clone() });
        let ended = simulate(seed, |_| {}, move || world.run());
        let observed = std::mem::take(&mut *observed.lock().unwrap_or_else(PoisonError::into_inner));
        let end = match ended {
            Ok(end) => end,
            Err(message) => RunEnd::Panicked { message },
        };
        ClusterRun { end, recorded: recorder.take(), observed }
    }
}

struct World {
    cluster: Cluster,
    recorder: Arc<Recorder>,
    observed: Arc<Mutex<Observed>>,
}

/// After the last fault has ended, the job has this much longer than its sources need.
const HEALING_TIME: Duration = Duration::from_secs(180);
/// What is left over after the end has this long to go away: zombies notice by their heartbeat timeout.
const SETTLING_TIME: Duration = Duration::from_secs(30);

impl World {
    async fn run(self) -> RunEnd {
        planted::activate(self.cluster.planted.as_deref());
        let root = Seed(self.cluster.seed);
        let network = SimNetwork::new(root.child("network").0, NetworkConfig::default());
        let disk = SimDisk::new(root.child("disk").0, DiskConfig::default());
        let watcher = (self.recorder.clone(), disk.clone());
        disk.on_visible(Box::new(move |event| watcher.0.disk(&watcher.1, event)));
        let (orders, mut later) = mpsc::channel(256);
        let (ended, mut job_end) = mpsc::channel(16);
        let nemesis = Nemesis::new(&self.cluster.faults, self.recorder.clone(), network.clone(), disk.clone(), orders);
        self.start_nodes(&network, &disk, &nemesis, &ended);

        let clock = Env::simulated(network.clone());
        let limit = self.time_limit();
        let mut undos: BTreeMap<(Timestamp, u64), crate::nemesis::Undo> = BTreeMap::new();
        let mut number = 0;
        let started = clock.now();
        let end = loop {
            let next = undos.keys().next().map(|(at, _)| *at);
            let deadline = next.unwrap_or(limit).min(limit);
            let event = clock.until(Some(deadline), next_event(&mut later, &mut job_end)).await;
            match event {
                Some(Event::Later(Later { after, undo })) => {
                    number += 1;
                    undos.insert((clock.now().saturating_add(after), number), undo);
                }
                Some(Event::Ended(end)) => break end,
                None => {
                    let now = clock.now();
                    if now >= limit {
                        break RunEnd::Hung;
                    }
                    while let Some(entry) = undos.first_entry()
                        && entry.key().0 <= now
                    {
                        nemesis.undo(entry.remove());
                    }
                }
            }
        };
        let ended_at = clock.now();
        for undo in undos.into_values() {
            nemesis.undo(undo);
        }
        network.heal_all();
        disk.clear_faults();
        clock.sleep(SETTLING_TIME).await;
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        *observed = Observed {
            struck: nemesis.struck(),
            missed: nemesis.waiting(),
            planted_reached: planted::times_reached(),
            simulated: ended_at.since(started),
            ended_at,
            files: disk.visible_view(),
        };
        planted::activate(None);
        end
    }

    /// Long enough for the sources, every fault, and healing.
    fn time_limit(&self) -> Timestamp {
        let faults: Duration = self.cluster.faults.iter().map(|fault| Duration::from_millis(fault.lasts_ms)).sum();
        // Each failure may replay everything since the last checkpoint.
        let replay = self.cluster.undisturbed * (1 + self.cluster.faults.len() as u32);
        Timestamp(tidegate::env::sim::EPOCH_MS).saturating_add(replay + faults + HEALING_TIME)
    }

    fn start_nodes(
        &self,
        network: &Arc<SimNetwork>,
        disk: &SimDisk,
        nemesis: &Arc<Nemesis>,
        ended: &mpsc::Sender<RunEnd>,
    ) {
        let parts = Parts {
            config: self.cluster.config.clone(),
            program: self.cluster.program.clone(),
            network: network.clone(),
            file_system: Arc::new(disk.clone()),
            observer: nemesis.clone(),
            ended: ended.clone(),
        };
        let slots = self.cluster.program.graph.slots().div_ceil(self.cluster.task_managers);
        let task_managers = (1..=self.cluster.task_managers + 1).map(|n| format!("taskmanager-{n}"));
        for (number, name) in std::iter::once(JOB_MANAGER.to_owned()).chain(task_managers).enumerate() {
            let (node_parts, node_name) = (parts.clone(), name.clone());
            let node = Handle::current()
                .create_node()
                .name(name.clone())
                .ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number as u8 + 1)))
                .init(move || {
                    let (parts, name) = (node_parts.clone(), node_name.clone());
                    async move {
                        if name == JOB_MANAGER {
                            parts.run_job_manager().await;
                        } else {
                            parts.run_task_manager(name, slots).await;
                        }
                    }
                })
                .build();
            network.add_node(node.id(), &name);
            nemesis.add_node(&name, node.id());
            self.recorder.add_node(&name, node.id());
        }
    }
}

/// What every process of the cluster is made from.
#[derive(Clone)]
struct Parts {
    config: JobConfig,
    program: Arc<Program>,
    network: Arc<SimNetwork>,
    file_system: SharedFileSystem,
    observer: Arc<dyn Observer>,
    ended: mpsc::Sender<RunEnd>,
}

const JOB_MANAGER_ADDRESS: &str = "jobmanager:6123";

impl Parts {
    async fn run_job_manager(self) {
        let ended = JobManager::run(JobManagerSetup {
            name: JOB_MANAGER.into(),
            address: JOB_MANAGER_ADDRESS.into(),
            listener: None,
            job_id: JOB_ID.into(),
            program: self.program,
            program_reference: String::new(),
            config: self.config,
            restore_from: None,
            env: Env::simulated(self.network),
            file_system: self.file_system,
            observer: self.observer,
        })
        .await;
        let end = match ended {
            Ok(_) => RunEnd::Finished,
            Err(error) => RunEnd::Failed { reason: error.to_string() },
        };
        // A supervisor that has given up needs no news.
        let _ = self.ended.send(end).await;
    }

    async fn run_task_manager(self, name: String, slots: u32) {
        let data_address = format!("{name}:0");
        // It ends when the job manager dismisses it; that it cannot listen would show as a job that hangs.
        let _ = TaskManager::run(TaskManagerSetup {
            id: TaskManagerId(name),
            slots,
            job_manager_address: JOB_MANAGER_ADDRESS.into(),
            data_address,
            env: Env::simulated(self.network),
            file_system: self.file_system,
            programs: Arc::new(SingleProgram(self.program)),
            observer: self.observer,
            reconnect_pause: Duration::from_millis(500),
        })
        .await;
    }
}

enum Event {
    Later(Later),
    Ended(RunEnd),
}

async fn next_event(later: &mut mpsc::Receiver<Later>, job_end: &mut mpsc::Receiver<RunEnd>) -> Event {
    std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(Some(order)) = later.poll_recv(context) {
            return std::task::Poll::Ready(Event::Later(order));
        }
        match job_end.poll_recv(context) {
            std::task::Poll::Ready(Some(end)) => std::task::Poll::Ready(Event::Ended(end)),
            std::task::Poll::Ready(None) | std::task::Poll::Pending => std::task::Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests;
