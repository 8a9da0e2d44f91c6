//! The job manager: leads one job. Its decisions are the pure cores' ([`ExecutionGraph`], [`CheckpointCoordinator`],
//! [`FailureDetector`]); this actor feeds them what happens and carries out what they say, in order.
//!
//! ```text
//!   take the leadership ──► listen ──► loop { event │ deadline → cores → actions } ──► job ended
//!            ▲                                           │
//!            └────── it is unknown whether a checkpoint was completed: read the log again
//! ```
//! Flink `JobMaster`, `CheckpointCoordinator`, `DefaultScheduler`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    task::Poll,
    time::Duration,
};

mod checkpoints;
mod execution;
mod leadership;
mod members;
mod mistakes;
mod operations;
mod restore;
mod shared_state;
mod standby;
mod statistics;

use leadership::{Leadership, take_leadership};
use operations::{Endings, Operation};
use restore::Restore;
use shared_state::SharedState;
use statistics::JobStatistics;

use super::{
    job_client::{Order, Orders},
    storage_actor::{self, StorageOrder, StorageResult, StorageSetup},
};
use crate::{
    checkpoint::{
        CheckpointFailureReason,
        coordinator::{CheckpointCoordinator, CoordinatorInput, CoordinatorStart, RequestId, StoreOutcome},
        retention::JobEnd,
    },
    config::{AfterTasksFinish, CheckpointStorageConfig, FailoverStrategy, JobConfig},
    env::{ByteStream, Env, Listener, channel::mpsc},
    error::{Error, ErrorKind, Result},
    event::{Observer, Reporter},
    heartbeat::FailureDetector,
    id::{Attempt, CheckpointId, Epoch, OperatorUid, SubtaskId, TaskManagerId},
    job::{ExecutionGraph, ExecutionInput, JobOutcome, Placement, WatermarkAggregator},
    net::{FromTaskManager, StateHandle, ToTaskManager},
    planted,
    restart::{Checkpointing, RestartStrategy, select},
    storage::{RestoredFrom, SharedFileSystem},
    task::Program,
    time::Timestamp,
};

/// What a job manager is made from.
pub struct JobManagerSetup {
    /// Its name in facts.
    pub name: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// A listener that is bound already, instead of the address.
    pub listener: Option<Box<dyn Listener>>,
    /// The job; also the name of its directory among the checkpoints.
    pub job_id: String,
    /// The job's code; the job manager uses its graph only.
    pub program: Arc<Program>,
    /// What task managers find the code by.
    pub program_reference: String,
    /// The job's options.
    pub config: JobConfig,
    /// A checkpoint to start from, if the job has no unfinished work of its own.
    pub restore_from: Option<PathBuf>,
    /// Tells submissions of the job apart: a process that comes back with the same one goes on with what it did, also if
    /// that has ended.
    pub submission: u64,
    /// What clients want of it.
    pub orders: Orders,
    /// The world.
    pub env: Env,
    /// Files.
    pub file_system: SharedFileSystem,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
}

/// What a job did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobSummary {
    /// The checkpoint that it started from.
    pub restored_from: Option<CheckpointId>,
    /// Checkpoints that were completed.
    pub checkpoints_completed: u64,
    /// Checkpoints that were given up.
    pub checkpoints_aborted: u64,
    /// Attempts after the first.
    pub restarts: u64,
    /// The savepoint that it stopped with, now or when it ended before.
    pub stopped_with: Option<PathBuf>,
    /// Somebody cancelled it.
    pub cancelled: bool,
    /// The job had ended before, in this way; nothing was done.
    pub had_ended: Option<JobEnd>,
}

/// A job manager.
pub struct JobManager {
    setup: JobManagerSetup,
    epoch: Epoch,
    reporter: Reporter,
    execution: ExecutionGraph,
    coordinator: CheckpointCoordinator,
    detector: FailureDetector<TaskManagerId>,
    sessions: BTreeMap<u64, Session>,
    members: BTreeMap<TaskManagerId, Member>,
    /// State that was acknowledged for checkpoints under way.
    states: BTreeMap<CheckpointId, BTreeMap<SubtaskId, BTreeMap<OperatorUid, StateHandle>>>,
    /// The operators of which such state has lists for every subtask.
    unions: BTreeMap<CheckpointId, BTreeSet<OperatorUid>>,
    /// The data under way that was acknowledged with it.
    in_flight: BTreeMap<CheckpointId, BTreeMap<SubtaskId, StateHandle>>,
    /// Files that checkpoints share.
    shared: SharedState,
    triggered_at: BTreeMap<CheckpointId, Timestamp>,
    /// Why a checkpoint comes to nothing of which the coordinator is being told, in the words of what failed.
    failing: Option<(CheckpointId, String)>,
    /// What a recovery starts from.
    restore: Option<Restore>,
    /// What the run started from.
    restored_from: Option<RestoredFrom>,
    /// The attempts that wait to know what they start from, because a checkpoint is being stored.
    restore_wanted: BTreeSet<Attempt>,
    placement: Placement,
    watermarks: WatermarkAggregator,
    final_request: Option<FinalRequest>,
    requests: u64,
    /// What clients wait for.
    operations: BTreeMap<RequestId, Operation>,
    endings: Endings,
    statistics: JobStatistics,
    storage: mpsc::Sender<StorageOrder>,
    summary: JobSummary,
    /// How the job ends, while that is being noted.
    ending: Option<JobOutcome>,
    ended: Option<Result<JobOutcome, StepDown>>,
}

/// A connection, from its acceptance on.
struct Session {
    outgoing: mpsc::Sender<ToTaskManager>,
    task_manager: Option<TaskManagerId>,
}

/// A registered task manager.
struct Member {
    session: u64,
    slots: u32,
    data_address: String,
}

/// The request for the checkpoint that ends a bounded job.
enum FinalRequest {
    /// The coordinator has it.
    Made(RequestId),
    /// It failed: ask again then.
    AgainAt(Timestamp),
}

/// Why a leadership ended before the job.
#[derive(Debug)]
enum StepDown {
    /// The log must be read again.
    Again,
    /// Somebody else leads, or storage is damaged: this process cannot go on.
    Stop(Error),
}

enum JobManagerEvent {
    Message {
        session: u64,
        message: Box<FromTaskManager>,
    },
    Disconnected {
        session: u64,
        reason: String,
    },
    Storage(StorageResult),
    /// Somebody else leads, in this epoch.
    Superseded(Epoch),
}

const MAILBOX: usize = 1024;
/// How long the end of a job waits for its task managers to go.
const DISMISSAL_TIMEOUT: Duration = Duration::from_secs(2);
const TAKE_OVER_PAUSE: Duration = Duration::from_millis(500);

impl JobManager {
    /// Leads the job until it ends.
    ///
    /// # Errors
    /// If the job failed for good, another job manager leads it, or its checkpoints are damaged.
    pub async fn run(setup: JobManagerSetup) -> Result<JobSummary> {
        let mut setup = setup;
        let checkpoints = &setup.config.checkpoints;
        checkpoints.check().map_err(|message| Error::new(ErrorKind::Configuration, message))?;
        if checkpoints.unaligned && !checkpoints.takes_unaligned_checkpoints() {
            tracing::warn!("unaligned checkpoints need the mode EXACTLY_ONCE; barriers overtake nothing in this job");
        }
        let mut summary = JobSummary::default();
        // The epoch in which this process led last, and may go on without waiting for its own lease.
        let mut led = None;
        let mut accepted = listen(&mut setup).await?;
        loop {
            standby::stand_by(&setup, &mut accepted, led).await;
            let leadership = match take_leadership(&setup).await {
                Ok(leadership) => leadership,
                Err(error) if error.kind() == ErrorKind::Unavailable || error.kind() == ErrorKind::Unknown => {
                    tracing::warn!(%error, "cannot take the leadership");
                    setup.env.sleep(TAKE_OVER_PAUSE).await;
                    continue;
                }
                // Somebody else took it in the middle of this.
                Err(error)
                    if error.kind() == ErrorKind::Fenced
                        && setup.config.high_availability.is_some()
                        && !planted!("slower_job_manager_gives_up") =>
                {
                    tracing::info!(%error, "another job manager was quicker: this one stands by");
                    led = None;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(end) = leadership.found.ended {
                let stopped_with = leadership.found.savepoint;
                return Ok(JobSummary { had_ended: Some(end), stopped_with, ..summary });
            }
            led = Some(leadership.epoch);
            let (ended, returned, did) = Self::lead(setup, leadership, summary, &mut accepted).await;
            (setup, summary) = (returned, did);
            match ended {
                Ok(JobOutcome::Finished) => return Ok(summary),
                Ok(JobOutcome::Cancelled) => return Ok(JobSummary { cancelled: true, ..summary }),
                Ok(JobOutcome::Failed { reason } | JobOutcome::CannotRestore { reason }) => {
                    return Err(Error::new(ErrorKind::JobFailed, reason));
                }
                Err(StepDown::Again) => {}
                Err(StepDown::Stop(error))
                    if error.kind() == ErrorKind::Fenced && setup.config.high_availability.is_some() =>
                {
                    tracing::info!(%error, "another job manager leads: this one stands by");
                    led = None;
                }
                Err(StepDown::Stop(error)) => return Err(error),
            }
        }
    }

    async fn lead(
        setup: JobManagerSetup,
        leadership: Leadership,
        summary: JobSummary,
        accepted: &mut mpsc::Receiver<ByteStream>,
    ) -> (Result<JobOutcome, StepDown>, JobManagerSetup, JobSummary) {
        let env = setup.env.clone();
        let (incoming, mut events) = mpsc::channel(MAILBOX);
        let (storage, orders) = mpsc::channel(MAILBOX);
        let mut this = Self::new(setup, &leadership, summary, storage);
        this.shared = leadership.shared;
        let storage = StorageSetup {
            env: env.clone(),
            file_system: this.setup.file_system.clone(),
            storage: leadership.storage,
            elsewhere: leadership.elsewhere,
            reporter: this.reporter.clone(),
        };
        storage_actor::start(storage, orders, incoming.clone(), JobManagerEvent::Storage);
        for checkpoint_id in leadership.found.abandoned {
            this.order(StorageOrder::DiscardAbandoned(checkpoint_id)).await;
        }
        for (checkpoint_id, _) in leadership.found.abandoned_savepoints {
            this.order(StorageOrder::Discard(checkpoint_id)).await;
        }
        let renewing = standby::renew(&this.setup, this.epoch, incoming.clone());
        let mut next_session = 0;
        let ended = loop {
            if let Some(ended) = this.ended.take() {
                break ended;
            }
            let deadline = this.deadline();
            match env.until(deadline, next_of(&mut events, accepted, &mut this.setup.orders)).await {
                Some(Next::Connection(stream)) => {
                    next_session += 1;
                    this.accept(next_session, stream, &incoming);
                }
                Some(Next::Order(order)) => this.on_order(order).await,
                Some(Next::Event(JobManagerEvent::Message { session, message })) => {
                    this.on_message(session, *message).await;
                }
                Some(Next::Event(JobManagerEvent::Disconnected { session, reason })) => {
                    this.disconnected(session, reason).await;
                }
                Some(Next::Event(JobManagerEvent::Storage(result))) => this.on_storage(result).await,
                Some(Next::Event(JobManagerEvent::Superseded(epoch))) => {
                    let message = format!("another job manager leads this job in epoch {epoch}");
                    this.step_down(StepDown::Stop(Error::new(ErrorKind::Fenced, message)));
                }
                None => this.on_deadline().await,
            }
        };
        if let Some(renewing) = renewing {
            renewing.abort();
        }
        if ended.is_ok() {
            this.dismiss(&mut events).await;
        }
        (ended, this.setup, this.summary)
    }

    /// Sends the task managers away and sees them go: this process may end right after, and with it what it had to say.
    async fn dismiss(&mut self, events: &mut mpsc::Receiver<JobManagerEvent>) {
        for session in self.sessions.values() {
            let _ = session.outgoing.try_send(ToTaskManager::Shutdown);
        }
        let env = self.setup.env.clone();
        let deadline = env.now().saturating_add(DISMISSAL_TIMEOUT);
        while self.sessions.values().any(|session| session.task_manager.is_some()) {
            match env.until(Some(deadline), events.recv()).await {
                Some(Some(JobManagerEvent::Disconnected { session, .. })) => {
                    self.sessions.remove(&session);
                }
                Some(Some(
                    JobManagerEvent::Message { .. } | JobManagerEvent::Storage(_) | JobManagerEvent::Superseded(_),
                )) => {}
                Some(None) | None => return,
            }
        }
    }

    fn new(
        setup: JobManagerSetup,
        leadership: &Leadership,
        summary: JobSummary,
        storage: mpsc::Sender<StorageOrder>,
    ) -> Self {
        let checkpoints = &setup.config.checkpoints;
        let checkpointing = checkpoints.interval.is_some();
        let ends_with_checkpoint = checkpointing && checkpoints.after_tasks_finish == AfterTasksFinish::Continue;
        if checkpointing && !ends_with_checkpoint {
            tracing::warn!(
                "tasks end with their data: what transactional sinks wrote since the last checkpoint will be dropped"
            );
        }
        let mode = if checkpointing { Checkpointing::On } else { Checkpointing::Off };
        let restart = RestartStrategy::new(&select(setup.config.restart.as_ref(), None, mode));
        let first_attempt = Attempt::first_of(leadership.epoch);
        let graph = setup.program.graph.clone();
        let strategy = setup.config.failover_strategy.unwrap_or(FailoverStrategy::Region);
        let mut execution =
            ExecutionGraph::new(graph, restart, ends_with_checkpoint, first_attempt).with_failover(strategy);
        if setup.config.local_recovery.from_local {
            execution = execution.with_prior_locations();
        }
        let start = CoordinatorStart {
            // Output carries the checkpoint's number in its name: numbers go on from those of what is restored.
            next_id: leadership.found.next_checkpoint_id,
            first_trigger_delay: first_trigger_delay(&setup),
            retained: leadership.retained.clone(),
        };
        Self {
            epoch: leadership.epoch,
            reporter: leadership.reporter.clone(),
            execution,
            coordinator: CheckpointCoordinator::new(checkpoints, start),
            detector: FailureDetector::new(setup.config.heartbeat_interval, setup.config.heartbeat_timeout),
            sessions: BTreeMap::new(),
            members: BTreeMap::new(),
            states: BTreeMap::new(),
            unions: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            shared: SharedState::default(),
            failing: None,
            triggered_at: BTreeMap::new(),
            restore: None,
            restored_from: leadership.found.restored.clone(),
            restore_wanted: BTreeSet::new(),
            placement: Placement::new(),
            watermarks: WatermarkAggregator::default(),
            final_request: None,
            requests: 0,
            operations: BTreeMap::new(),
            endings: Endings::default(),
            statistics: JobStatistics::new(setup.env.now()),
            storage,
            summary,
            ending: None,
            ended: None,
            setup,
        }
    }

    /// Where a checkpoint or savepoint under way is; `None` if it is in memory.
    fn path_of(&self, checkpoint_id: CheckpointId) -> Option<String> {
        let directory =
            self.directory_of_savepoint(checkpoint_id).or_else(|| match &self.setup.config.checkpoints.storage {
                CheckpointStorageConfig::FileSystem { directory } => {
                    Some(directory.join(&self.setup.job_id).join(format!("chk-{checkpoint_id}")))
                }
                CheckpointStorageConfig::JobManager => None,
            });
        directory.map(|directory| directory.display().to_string())
    }

    /// Random number in [0, 1).
    fn random_unit(&self) -> f64 {
        (self.setup.env.entropy() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn deadline(&self) -> Option<Timestamp> {
        let final_retry = match self.final_request {
            Some(FinalRequest::AgainAt(time)) => Some(time),
            Some(FinalRequest::Made(_)) | None => None,
        };
        [self.execution.deadline(), self.coordinator.deadline(), self.detector.deadline(), final_retry]
            .into_iter()
            .flatten()
            .min()
    }

    async fn on_deadline(&mut self) {
        let now = self.setup.env.now();
        self.tell_execution(ExecutionInput::Tick).await;
        self.tell_coordinator(CoordinatorInput::Tick).await;
        self.check_members(now).await;
        if let Some(FinalRequest::AgainAt(time)) = self.final_request
            && time <= now
        {
            self.request_final_checkpoint().await;
        }
    }

    async fn order(&mut self, order: StorageOrder) {
        if self.storage.send(order).await.is_err() {
            self.step_down(StepDown::Again);
        }
    }

    fn step_down(&mut self, why: StepDown) {
        self.ended.get_or_insert(Err(why));
    }

    async fn on_storage(&mut self, result: StorageResult) {
        match result {
            StorageResult::Prepared { checkpoint_id, result: Ok(()) } => {
                self.tell_coordinator(CoordinatorInput::LocationReady { checkpoint_id }).await;
            }
            StorageResult::Prepared { result: Err(error), .. } if error.kind() == ErrorKind::Fenced => {
                self.step_down(StepDown::Stop(error));
            }
            // Whether the log has an entry more must be known before the next one.
            StorageResult::Prepared { result: Err(error), .. } if error.kind() == ErrorKind::Unknown => {
                self.step_down(StepDown::Again);
            }
            StorageResult::Prepared { checkpoint_id, result: Err(error) } => {
                tracing::warn!(%checkpoint_id, %error, "no location for a checkpoint");
                let reason = CheckpointFailureReason::IoException;
                let input = CoordinatorInput::LocationFailed { checkpoint_id, reason };
                self.tell_failure(checkpoint_id, error.to_string(), input).await;
            }
            StorageResult::Stored { checkpoint_id, result } => self.on_stored(checkpoint_id, result).await,
            StorageResult::Discarded { checkpoint_id } => {
                self.tell_coordinator(CoordinatorInput::Cleaned { checkpoint_id }).await;
            }
            StorageResult::Loaded { attempts, checkpoint_id, directory, result } => {
                self.on_loaded(attempts, checkpoint_id, directory, result).await;
            }
            StorageResult::SharedDiscarded | StorageResult::Disposed => {}
            StorageResult::Ended { end, result: Ok(()) } => self.clean_up_after(end).await,
            StorageResult::CleanedUp => self.ended_as_noted(),
            StorageResult::Ended { result: Err(error), .. } if error.kind() == ErrorKind::Fenced => {
                self.step_down(StepDown::Stop(error));
            }
            // What made the job fail may be what makes this fail. Nothing was deleted: it can go on from where it was.
            StorageResult::Ended { end: JobEnd::Failed, result: Err(_) } => self.ended_as_noted(),
            // The job is over in any case; a later leader would find its last checkpoint and end it again.
            StorageResult::Ended { end, result: Err(_) } => self.order(StorageOrder::End(end)).await,
        }
    }

    async fn on_stored(&mut self, checkpoint_id: CheckpointId, result: Result<()>) {
        match result {
            Ok(()) => {
                let states = self.states.remove(&checkpoint_id).unwrap_or_default();
                // A savepoint refers to no shared files.
                if self.commits_side_effects(checkpoint_id) {
                    self.shared.completed(checkpoint_id, states.values());
                }
                self.unions.remove(&checkpoint_id);
                let (path, now) = (self.path_of(checkpoint_id), self.setup.env.now());
                self.statistics.checkpoint_completed(checkpoint_id, path, now);
                self.in_flight.remove(&checkpoint_id);
                self.tell_coordinator(CoordinatorInput::Stored { checkpoint_id }).await;
            }
            Err(error) => {
                tracing::warn!(%checkpoint_id, %error, "checkpoint could not be stored");
                let outcome = match error.kind() {
                    ErrorKind::Unknown => StoreOutcome::Unknown,
                    _ => StoreOutcome::NotStored,
                };
                let input = CoordinatorInput::StoreFailed { checkpoint_id, outcome };
                self.tell_failure(checkpoint_id, error.to_string(), input).await;
                match error.kind() {
                    ErrorKind::Unknown => self.step_down(StepDown::Again),
                    ErrorKind::Fenced => self.step_down(StepDown::Stop(error)),
                    _ => {}
                }
            }
        }
        self.prepare_wanted_restore().await;
    }
}

/// Listens once for all leaderships of this process.
async fn listen(setup: &mut JobManagerSetup) -> Result<mpsc::Receiver<ByteStream>> {
    let mut listener = match setup.listener.take() {
        Some(listener) => listener,
        None => setup.env.listen(&setup.address).await.map_err(|error| {
            Error::new(ErrorKind::Configuration, format!("cannot listen at {}", setup.address)).with_source(error)
        })?,
    };
    let (accepting, accepted) = mpsc::channel(MAILBOX);
    setup.env.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            if accepting.send(stream).await.is_err() {
                return;
            }
        }
    });
    Ok(accepted)
}

enum Next {
    Event(JobManagerEvent),
    Connection(ByteStream),
    Order(Order),
}

/// What comes first; what is known is dealt with before new connections, and those before what clients want.
async fn next_of(
    events: &mut mpsc::Receiver<JobManagerEvent>,
    accepted: &mut mpsc::Receiver<ByteStream>,
    orders: &mut Orders,
) -> Next {
    std::future::poll_fn(|context| {
        if let Poll::Ready(Some(event)) = events.poll_recv(context) {
            return Poll::Ready(Next::Event(event));
        }
        if let Poll::Ready(Some(stream)) = accepted.poll_recv(context) {
            return Poll::Ready(Next::Connection(stream));
        }
        match orders.queue.poll_recv(context) {
            Poll::Ready(Some(order)) => Poll::Ready(Next::Order(order)),
            // The leader holds senders of its events and orders. A listener that failed brings no new task managers.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The first periodic checkpoint comes after a random part of the interval, but not before the pause.
fn first_trigger_delay(setup: &JobManagerSetup) -> Duration {
    let checkpoints = &setup.config.checkpoints;
    let interval = checkpoints.interval.unwrap_or_default().max(checkpoints.min_pause);
    let spread_ms = (interval - checkpoints.min_pause).as_millis() as u64;
    checkpoints.min_pause + Duration::from_millis(setup.env.entropy() % (spread_ms + 1))
}
