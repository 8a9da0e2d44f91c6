//! One run: a cluster in a simulated world, disturbed as a plan says, recorded, and judged.
//!
//! Phases: start → disturb (faults strike at their moments) → heal (each fault ends by itself) → drain (the job
//! reaches the end of its input) → judge.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use madsim::runtime::Handle;
use tidegate::{
    Timestamp,
    config::JobConfig,
    env::{Env, channel::mpsc, sim::simulate},
    event::Observer,
    id::{CheckpointId, TaskManagerId},
    planted,
    runtime::{JobManager, JobManagerSetup, SingleProgram, TaskManager, TaskManagerSetup},
    storage::SharedFileSystem,
    task::Program,
};

use crate::{
    fault::FaultKind,
    history::{History, OutputFile, RunEnd},
    invariant::{self, Violation},
    model::Model,
    nemesis::{JOB_MANAGER, Later, Nemesis},
    recorder::Recorder,
    scenario::Plan,
    seed::Seed,
    trace::{Keep, TraceHash},
    workload::{CHECKPOINTS, JOB_ID, OUTPUT},
    world::{
        disk::{DiskConfig, SimDisk},
        network::{NetworkConfig, SimNetwork},
    },
};

/// What a run is judged to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every invariant held, and the disturbance took place.
    Holds,
    /// An invariant was violated.
    Violated,
    /// No fault struck: the run says nothing about the claim.
    Unknown,
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// Last link of the trace.
    pub hash: TraceHash,
    /// Number of events in the trace.
    pub events: u64,
    /// Lines of the trace, if they were kept.
    pub lines: Vec<String>,
    /// Faults that struck, by kind.
    pub struck: BTreeMap<FaultKind, u64>,
    /// Faults whose moment did not come.
    pub missed: usize,
    /// What the invariants found.
    pub violations: Vec<Violation>,
    /// How often the site of the planted bug was reached.
    pub planted_reached: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Everything that was recorded.
    pub history: History,
}

impl RunResult {
    /// What the run is judged to be; a plan without faults claims something about the undisturbed run.
    pub fn verdict(&self) -> Verdict {
        if !self.violations.is_empty() {
            Verdict::Violated
        } else if self.struck.is_empty() && self.missed > 0 {
            Verdict::Unknown
        } else {
            Verdict::Holds
        }
    }
}

/// Runs a plan. The same plan gives the same result, whatever else the process does.
pub fn run(plan: &Plan, keep: Keep) -> RunResult {
    let pipeline = plan.workload.pipeline();
    let (config, program) = match pipeline.compile() {
        Ok(compiled) => compiled,
        Err(error) => panic!("the laboratory's own pipeline does not compile: {error}"),
    };
    let model = match Model::new(&pipeline) {
        Ok(model) => model,
        Err(error) => panic!("the laboratory's own pipeline cannot be evaluated: {error}"),
    };
    let recorder = Recorder::new(keep);
    let observed = Arc::new(Mutex::new(Observed::default()));
    let world = World {
        plan: plan.clone(),
        config,
        program: Arc::new(program),
        recorder: recorder.clone(),
        observed: observed.clone(),
    };
    let ended = simulate(plan.seed, |_| {}, move || world.run());
    let observed = std::mem::take(&mut *observed.lock().unwrap_or_else(PoisonError::into_inner));
    let mut recorded = recorder.state();
    let end = match ended {
        Ok(end) => end,
        Err(message) => RunEnd::Panicked { message },
    };
    let history = History {
        facts: std::mem::take(&mut recorded.facts),
        files: std::mem::take(&mut recorded.files),
        completed: std::mem::take(&mut recorded.completed),
        output: observed.output,
        staged_left: observed.staged_left,
        checkpoints_left: observed.checkpoints_left,
        healed_at: recorded.disturbed_at,
        ended_at: observed.ended_at,
        end,
    };
    let violations = invariant::judge(&history, &model);
    RunResult {
        hash: recorded.trace.hash(),
        events: recorded.trace.events(),
        lines: recorded.trace.lines().to_vec(),
        struck: observed.struck,
        missed: observed.missed,
        violations,
        planted_reached: observed.planted_reached,
        simulated: observed.simulated,
        history,
    }
}

/// What is seen at the end, from outside.
#[derive(Default)]
struct Observed {
    output: BTreeMap<String, Vec<OutputFile>>,
    staged_left: BTreeMap<String, Vec<String>>,
    checkpoints_left: Vec<CheckpointId>,
    struck: BTreeMap<FaultKind, u64>,
    missed: usize,
    planted_reached: u64,
    simulated: Duration,
    ended_at: Timestamp,
}

struct World {
    plan: Plan,
    config: JobConfig,
    program: Arc<Program>,
    recorder: Arc<Recorder>,
    observed: Arc<Mutex<Observed>>,
}

/// After the last fault has ended, the job has this much longer than its sources need.
const HEALING_TIME: Duration = Duration::from_secs(180);
/// What is left over after the end has this long to go away: zombies notice by their heartbeat timeout.
const SETTLING_TIME: Duration = Duration::from_secs(30);

impl World {
    async fn run(self) -> RunEnd {
        planted::activate(self.plan.planted.as_deref());
        let root = Seed(self.plan.seed);
        let network = SimNetwork::new(root.child("network").0, NetworkConfig::default());
        let disk = SimDisk::new(root.child("disk").0, DiskConfig::default());
        let watcher = (self.recorder.clone(), disk.clone());
        disk.on_visible(Box::new(move |event| watcher.0.disk(&watcher.1, event)));
        let (orders, mut later) = mpsc::channel(256);
        let (ended, mut job_end) = mpsc::channel(16);
        let nemesis =
            Nemesis::new(&self.plan.faults, self.recorder.clone(), network.clone(), disk.clone(), orders);
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
            ..look_at(&disk)
        };
        planted::activate(None);
        end
    }

    /// Long enough for the sources, every fault, and healing.
    fn time_limit(&self) -> Timestamp {
        let faults: Duration = self.plan.faults.iter().map(|fault| Duration::from_millis(fault.lasts_ms)).sum();
        // Each failure may replay everything since the last checkpoint.
        let replay = Duration::from_secs(self.plan.workload.seconds) * (1 + self.plan.faults.len() as u32);
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
            config: self.config.clone(),
            program: self.program.clone(),
            network: network.clone(),
            file_system: Arc::new(disk.clone()),
            observer: nemesis.clone(),
            ended: ended.clone(),
        };
        let slots = self.program.graph.slots().div_ceil(self.plan.workload.task_managers);
        let task_managers = (1..=self.plan.workload.task_managers + 1).map(|n| format!("taskmanager-{n}"));
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

/// The shared disk as a read-committed reader sees it.
fn look_at(disk: &SimDisk) -> Observed {
    let mut observed = Observed::default();
    let mut checkpoints: BTreeSet<CheckpointId> = BTreeSet::new();
    for (path, bytes) in disk.visible_view() {
        if let Ok(rest) = path.strip_prefix(OUTPUT) {
            let parts: Vec<String> = rest.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            match parts.as_slice() {
                [sink, staging, name] if staging == ".staging" => {
                    observed.staged_left.entry(sink.clone()).or_default().push(name.clone());
                }
                [sink, name] => {
                    let lines = String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect();
                    observed.output.entry(sink.clone()).or_default().push(OutputFile { name: name.clone(), lines });
                }
                _ => {}
            }
        } else if let Ok(rest) = path.strip_prefix(Path::new(CHECKPOINTS).join(JOB_ID)) {
            let first = rest.iter().next().map(|part| part.to_string_lossy().into_owned()).unwrap_or_default();
            checkpoints.extend(first.strip_prefix("chk-").and_then(|number| number.parse().ok()).map(CheckpointId));
        }
    }
    observed.checkpoints_left = checkpoints.into_iter().collect();
    observed
}
