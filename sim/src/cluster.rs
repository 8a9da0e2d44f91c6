//! A cluster in a simulated world: any program, disturbed as a list of faults says, and recorded.
//!
//! Phases: start → disturb (faults strike at their moments) → heal (each fault ends by itself) → drain (the job
//! reaches the end of its input). What is made of it, a declarative workload's run or a user's test, comes on top.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    id::TaskManagerId,
    planted,
    runtime::{JobManager, JobManagerSetup, SingleProgram, TaskManager, TaskManagerSetup, job_client},
    storage::SharedFileSystem,
    task::Program,
};

use crate::{
    deployed::{Deployed, Rescaling, Submission},
    fault::{Fault, FaultKind},
    history::{CompletedCapture, RunEnd},
    local_disks::LocalDisks,
    nemesis::{JOB_MANAGER, Later, Nemesis, Orders, Point, Undo, Watch},
    operator::{Answer, Desk, JobEnded, Next, Operator},
    recorder::{Recorded, Recorder},
    schedule::Schedule,
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
    /// The same job with other parallelisms, for faults that change it.
    pub rescaled: BTreeMap<u32, Arc<Program>>,
    /// Task managers; each has slots enough for its share, and one more node waits as a spare.
    pub task_managers: u32,
    /// What is done to it, one after the other.
    pub faults: Vec<Fault>,
    /// The planted bug that is active.
    pub planted: Option<String>,
    /// What the network is like.
    pub network: NetworkConfig,
    /// By which priorities processes and subtasks take their turns.
    pub schedule: Option<Schedule>,
    /// How long the job takes if nothing disturbs it: each fault may make it begin again.
    pub undisturbed: Duration,
    /// What is watched beside the engine's facts.
    pub watch: Watch,
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
    /// Its directories, empty ones as well.
    pub directories: BTreeSet<PathBuf>,
    /// Faults that struck, by kind.
    pub struck: BTreeMap<FaultKind, u64>,
    /// The savepoints that the job manager has told of.
    pub savepoints_told: BTreeSet<PathBuf>,
    /// The savepoints and completed checkpoints that are there, by their directories.
    pub captures: BTreeMap<PathBuf, CompletedCapture>,
    /// What happened after the last fault struck, if it was to be written down.
    pub points: Vec<Point>,
    /// Faults whose moment did not come.
    pub missed: usize,
    /// How often the site of the planted bug was reached.
    pub planted_reached: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// When the run ended.
    pub ended_at: Timestamp,
    /// The files that are left on the disks of the machines themselves.
    pub local_files: Vec<String>,
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
/// How long all processes are away when the job is started again with another parallelism.
const RESCALING_MS: u64 = 300;

impl World {
    async fn run(self) -> RunEnd {
        planted::activate(self.cluster.planted.as_deref());
        let root = Seed(self.cluster.seed);
        let network = SimNetwork::new(root.child("network").0, self.cluster.network.clone());
        let disk = SimDisk::new(root.child("disk").0, DiskConfig::default());
        let local_disks = Arc::new(LocalDisks::new(root.child("local disks"), self.task_managers()));
        let recorder = self.recorder.clone();
        disk.on_visible(Box::new(move |disk, event| recorder.disk(disk, event)));
        let (orders, mut later) = mpsc::channel(256);
        let (ended, mut job_end) = mpsc::channel(16);
        let (config, program, rescaled) = (&self.cluster.config, &self.cluster.program, &self.cluster.rescaled);
        let deployed = Arc::new(Deployed::new(config.parallelism, program.clone(), rescaled.clone()));
        let desk = Arc::new(Desk::default());
        let nemesis = Nemesis::new(
            Orders { faults: &self.cluster.faults, watch: self.cluster.watch, schedule: self.cluster.schedule },
            self.recorder.clone(),
            network.clone(),
            (disk.clone(), local_disks.clone()),
            orders,
            (deployed.clone(), desk.clone()),
        );
        let mut operator = Operator::new(desk.clone(), self.recorder.clone(), disk.clone());
        let (answers, mut answered) = mpsc::channel(16);
        self.start_nodes(&network, (&disk, &local_disks), &nemesis, (&deployed, &desk), &ended);

        let clock = Env::simulated(network.clone());
        let limit = self.time_limit();
        let mut undos: BTreeMap<(Timestamp, u64), Undo> = BTreeMap::new();
        // What the job is to start again from, and why.
        let mut restart: Option<(Fault, PathBuf)> = None;
        let mut number = 0;
        let started = clock.now();
        let end = loop {
            let next = undos.keys().next().map(|(at, _)| *at);
            let deadline = next.unwrap_or(limit).min(limit);
            let event = clock.until(Some(deadline), next_event(&mut later, &mut job_end, &mut answered)).await;
            match event {
                Some(Event::Later(Later { undo: Undo::Order(fault), .. })) => {
                    operator.order(fault);
                    operator.go_on(&clock, &answers);
                }
                Some(Event::Answered(answer)) => {
                    operator.answered(answer);
                    operator.go_on(&clock, &answers);
                }
                Some(Event::Later(Later { after, undo })) => {
                    number += 1;
                    undos.insert((clock.now().saturating_add(after), number), undo);
                }
                Some(Event::Ended(ended)) => match operator.job_ended(ended) {
                    Next::Nothing => {}
                    Next::Over(end) => break end,
                    Next::StartAgain(fault, from) => {
                        self.recorder.note(&format!("operator: the job starts again from {}", from.display()));
                        number += 1;
                        let after = Duration::from_millis(fault.lasts_ms);
                        undos.insert((clock.now().saturating_add(after), number), Undo::Submit);
                        restart = Some((fault, from));
                    }
                },
                None => {
                    let now = clock.now();
                    if now >= limit {
                        break RunEnd::Hung;
                    }
                    while let Some(entry) = undos.first_entry()
                        && entry.key().0 <= now
                    {
                        let undo = entry.remove();
                        if matches!(undo, Undo::Submit)
                            && let Some((fault, from)) = restart.take()
                        {
                            let submission = Submission { number: operator.starts(), restore_from: Some(from) };
                            deployed.submit(submission);
                            if fault.kind == FaultKind::Rescale {
                                deployed.rescale(Rescaling::Other);
                                nemesis.kill_all(&Fault { lasts_ms: RESCALING_MS, ..fault });
                            }
                        }
                        nemesis.undo(undo);
                        operator.go_on(&clock, &answers);
                    }
                }
            }
        };
        let ended_at = clock.now();
        nemesis.close();
        for undo in undos.into_values() {
            nemesis.undo(undo);
        }
        network.heal_all();
        disk.clear_faults();
        local_disks.clear_faults();
        clock.sleep(SETTLING_TIME).await;
        let mut struck = nemesis.struck();
        operator.effective().iter().for_each(|kind| *struck.entry(*kind).or_default() += 1);
        let observed = Observed {
            struck,
            missed: nemesis.waiting() + operator.ineffective(),
            savepoints_told: operator.savepoints_told(),
            captures: self.recorder.look_again(&disk),
            planted_reached: planted::times_reached(),
            simulated: ended_at.since(started),
            ended_at,
            files: disk.visible_view(),
            directories: disk.visible_directories(),
            points: nemesis.points(),
            local_files: local_disks.files(),
        };
        *self.observed.lock().unwrap_or_else(PoisonError::into_inner) = observed;
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

    /// The names of the task managers.
    fn task_managers(&self) -> impl Iterator<Item = String> + use<> {
        (1..=self.cluster.task_managers + 1).map(|n| format!("taskmanager-{n}"))
    }

    fn start_nodes(
        &self,
        network: &Arc<SimNetwork>,
        (disk, local_disks): (&SimDisk, &Arc<LocalDisks>),
        nemesis: &Arc<Nemesis>,
        (deployed, desk): (&Arc<Deployed>, &Arc<Desk>),
        ended: &mpsc::Sender<JobEnded>,
    ) {
        let parts = Parts {
            config: self.cluster.config.clone(),
            deployed: deployed.clone(),
            desk: desk.clone(),
            network: network.clone(),
            file_system: Arc::new(disk.clone()),
            local_disks: local_disks.clone(),
            observer: nemesis.clone(),
            ended: ended.clone(),
        };
        let slots = deployed.slots_max().div_ceil(self.cluster.task_managers);
        let task_managers = self.task_managers();
        // The last one, so that nobody else's address depends on whether it is there.
        let standby = self.cluster.config.high_availability.map(|_| STANDBY.to_owned());
        for (number, name) in std::iter::once(JOB_MANAGER.to_owned()).chain(task_managers).chain(standby).enumerate() {
            let (node_parts, node_name) = (parts.clone(), name.clone());
            let node = Handle::current()
                .create_node()
                .name(name.clone())
                .ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number as u8 + 1)))
                .init(move || {
                    let (parts, name) = (node_parts.clone(), node_name.clone());
                    async move {
                        if name == JOB_MANAGER || name == STANDBY {
                            parts.run_job_manager(name).await;
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
    deployed: Arc<Deployed>,
    desk: Arc<Desk>,
    network: Arc<SimNetwork>,
    file_system: SharedFileSystem,
    local_disks: Arc<LocalDisks>,
    observer: Arc<Nemesis>,
    ended: mpsc::Sender<JobEnded>,
}

/// The second job manager of a cluster with high availability.
const STANDBY: &str = "jobmanager-2";

/// Where the job manager of this name listens.
fn address_of(job_manager: &str) -> String {
    format!("{job_manager}:6123")
}

impl Parts {
    async fn run_job_manager(self, name: String) {
        let env = Env::simulated(self.network).with_clock(self.observer.clock(&name));
        let (client, orders) = job_client();
        self.desk.open(&name, client);
        self.deployed.process_starts(&name);
        let submission = self.deployed.submission();
        let ended = JobManager::run(JobManagerSetup {
            address: address_of(&name),
            name: name.clone(),
            listener: None,
            job_id: JOB_ID.into(),
            program: self.deployed.current(),
            program_reference: String::new(),
            config: self.config,
            restore_from: submission.restore_from,
            orders,
            submission: submission.number,
            env,
            file_system: self.file_system,
            observer: self.observer,
        })
        .await;
        self.deployed.process_ended(&name);
        let result = ended.map_err(|error| error.to_string());
        // A supervisor that has given up needs no news.
        let _ = self.ended.send(JobEnded { submission: submission.number, result }).await;
    }

    async fn run_task_manager(self, name: String, slots: u32) {
        let data_address = format!("{name}:0");
        let env = Env::simulated(self.network).with_clock(self.observer.clock(&name));
        let mut job_manager_address = address_of(JOB_MANAGER);
        if self.config.high_availability.is_some() {
            job_manager_address = format!("{job_manager_address},{}", address_of(STANDBY));
        }
        self.deployed.process_starts(&name);
        let ended = self.deployed.clone();
        // It ends when the job manager dismisses it; that it cannot listen would show as a job that hangs.
        let local_disk = Arc::new(self.local_disks.of(&name));
        let _ = TaskManager::run(TaskManagerSetup {
            id: TaskManagerId(name.clone()),
            slots,
            job_manager_address,
            data_address,
            env,
            file_system: self.file_system,
            local_disk,
            programs: Arc::new(SingleProgram(self.deployed.current())),
            observer: self.observer,
            reconnect_pause: Duration::from_millis(500),
        })
        .await;
        ended.process_ended(&name);
    }
}

enum Event {
    Later(Later),
    Answered(Answer),
    Ended(JobEnded),
}

async fn next_event(
    later: &mut mpsc::Receiver<Later>,
    job_end: &mut mpsc::Receiver<JobEnded>,
    answered: &mut mpsc::Receiver<Answer>,
) -> Event {
    std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(Some(order)) = later.poll_recv(context) {
            return std::task::Poll::Ready(Event::Later(order));
        }
        // What was answered was answered before the job ended.
        if let std::task::Poll::Ready(Some(answer)) = answered.poll_recv(context) {
            return std::task::Poll::Ready(Event::Answered(answer));
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
