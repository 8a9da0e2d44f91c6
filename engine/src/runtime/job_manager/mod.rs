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
mod shared_state;

use leadership::{Leadership, take_leadership};
use shared_state::SharedState;

use super::storage_actor::{self, StorageOrder, StorageResult};
use crate::{
    checkpoint::{
        CheckpointFailureReason, Ownership,
        coordinator::{CheckpointCoordinator, CoordinatorInput, CoordinatorStart, RequestId, StoreOutcome},
        retention::{CompletedCheckpoint, CompletedKind},
    },
    config::JobConfig,
    env::{ByteStream, Env, Listener, channel::mpsc},
    error::{Error, ErrorKind, Result},
    event::{Observer, Reporter},
    heartbeat::FailureDetector,
    id::{Attempt, CheckpointId, Epoch, OperatorUid, SubtaskId, TaskManagerId},
    job::{ExecutionGraph, ExecutionInput, JobOutcome, Placement, WatermarkAggregator},
    net::{FromTaskManager, StateHandle, ToTaskManager},
    restart::{Checkpointing, RestartStrategy, select},
    storage::{CheckpointMetadata, SharedFileSystem},
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
    /// A checkpoint to start from, if the job has none of its own.
    pub restore_from: Option<PathBuf>,
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
    /// The job had ended before; nothing was done.
    pub had_finished: bool,
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
    /// Files that checkpoints share.
    shared: SharedState,
    triggered_at: BTreeMap<CheckpointId, Timestamp>,
    /// Why a subtask could not take part in a checkpoint, in its own words.
    last_decline: Option<(CheckpointId, String)>,
    /// What a recovery starts from.
    restore: Option<Restore>,
    /// A checkpoint that the user gave, for a job without one of its own.
    given: Option<Restore>,
    /// The attempt that waits to know what it starts from, because a checkpoint is being stored.
    restore_wanted: Option<Attempt>,
    placement: Placement,
    watermarks: WatermarkAggregator,
    final_request: Option<FinalRequest>,
    requests: u64,
    storage: mpsc::Sender<StorageOrder>,
    summary: JobSummary,
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
    data_address: String,
}

/// A completed checkpoint, read.
#[derive(Clone)]
struct Restore {
    metadata: Arc<CheckpointMetadata>,
    directory: PathBuf,
    ownership: Ownership,
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
    Message { session: u64, message: Box<FromTaskManager> },
    Disconnected { session: u64, reason: String },
    Storage(StorageResult),
}

const MAILBOX: usize = 1024;
/// How long the end of a job waits for its task managers to go.
const DISMISSAL_TIMEOUT: Duration = Duration::from_secs(2);
const TAKE_OVER_PAUSE: Duration = Duration::from_millis(500);
/// An epoch's attempts are numbered from its own million on, so that they only grow from leader to leader.
const ATTEMPTS_PER_EPOCH: u64 = 1_000_000;

impl JobManager {
    /// Leads the job until it ends.
    ///
    /// # Errors
    /// If the job failed for good, another job manager leads it, or its checkpoints are damaged.
    pub async fn run(setup: JobManagerSetup) -> Result<JobSummary> {
        let mut setup = setup;
        let mut summary = JobSummary::default();
        let mut accepted = listen(&mut setup).await?;
        loop {
            let leadership = match take_leadership(&setup).await {
                Ok(leadership) => leadership,
                Err(error) if error.kind() == ErrorKind::Unavailable || error.kind() == ErrorKind::Unknown => {
                    tracing::warn!(%error, "cannot take the leadership");
                    setup.env.sleep(TAKE_OVER_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if leadership.found.finished {
                return Ok(JobSummary { had_finished: true, ..summary });
            }
            let (ended, returned, led) = Self::lead(setup, leadership, summary, &mut accepted).await;
            (setup, summary) = (returned, led);
            match ended {
                Ok(JobOutcome::Finished) => return Ok(summary),
                Ok(JobOutcome::Failed { reason }) => return Err(Error::new(ErrorKind::JobFailed, reason)),
                Err(StepDown::Again) => {}
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
        storage_actor::start(
            &env,
            leadership.storage,
            this.reporter.clone(),
            orders,
            incoming.clone(),
            JobManagerEvent::Storage,
        );
        for checkpoint_id in leadership.found.abandoned {
            this.order(StorageOrder::Discard(checkpoint_id)).await;
        }
        let mut next_session = 0;
        let ended = loop {
            if let Some(ended) = this.ended.take() {
                break ended;
            }
            let deadline = this.deadline();
            match env.until(deadline, next_of(&mut events, accepted)).await {
                Some(Next::Connection(stream)) => {
                    next_session += 1;
                    this.accept(next_session, stream, &incoming);
                }
                Some(Next::Event(JobManagerEvent::Message { session, message })) => {
                    this.on_message(session, *message).await;
                }
                Some(Next::Event(JobManagerEvent::Disconnected { session, reason })) => {
                    this.disconnected(session, reason).await;
                }
                Some(Next::Event(JobManagerEvent::Storage(result))) => this.on_storage(result).await,
                None => this.on_deadline().await,
            }
        };
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
                Some(Some(JobManagerEvent::Message { .. } | JobManagerEvent::Storage(_))) => {}
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
        let mode = if checkpointing { Checkpointing::On } else { Checkpointing::Off };
        let restart = RestartStrategy::new(&select(setup.config.restart.as_ref(), None, mode));
        let first_attempt = Attempt(leadership.epoch.0 * ATTEMPTS_PER_EPOCH + 1);
        // Output carries the checkpoint's number in its name, so the numbers go on from those of a given checkpoint.
        let after_given = leadership.given.as_ref().map(|given| given.metadata.checkpoint_id.next());
        let start = CoordinatorStart {
            next_id: after_given.max(Some(leadership.found.next_checkpoint_id)).unwrap_or_default(),
            first_trigger_delay: first_trigger_delay(&setup),
            retained: leadership
                .found
                .retained
                .iter()
                .map(|id| CompletedCheckpoint { checkpoint_id: *id, kind: CompletedKind::Checkpoint })
                .collect(),
        };
        Self {
            epoch: leadership.epoch,
            reporter: leadership.reporter.clone(),
            execution: ExecutionGraph::new(setup.program.graph.clone(), restart, checkpointing, first_attempt),
            coordinator: CheckpointCoordinator::new(checkpoints, start),
            detector: FailureDetector::new(setup.config.heartbeat_interval, setup.config.heartbeat_timeout),
            sessions: BTreeMap::new(),
            members: BTreeMap::new(),
            states: BTreeMap::new(),
            unions: BTreeMap::new(),
            shared: SharedState::default(),
            last_decline: None,
            triggered_at: BTreeMap::new(),
            restore: None,
            given: leadership.given.clone(),
            restore_wanted: None,
            placement: Placement::new(),
            watermarks: WatermarkAggregator::default(),
            final_request: None,
            requests: 0,
            storage,
            summary,
            ended: None,
            setup,
        }
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
            StorageResult::Prepared { checkpoint_id, result: Err(error) } => {
                tracing::warn!(%checkpoint_id, %error, "no location for a checkpoint");
                let reason = CheckpointFailureReason::IoException;
                self.tell_coordinator(CoordinatorInput::LocationFailed { checkpoint_id, reason }).await;
            }
            StorageResult::Stored { checkpoint_id, result } => self.on_stored(checkpoint_id, result).await,
            StorageResult::Discarded { checkpoint_id } => {
                self.tell_coordinator(CoordinatorInput::Cleaned { checkpoint_id }).await;
            }
            StorageResult::Loaded { attempt, checkpoint_id, directory, result } => {
                self.on_loaded(attempt, checkpoint_id, directory, result).await;
            }
            StorageResult::SharedDiscarded => {}
            StorageResult::Finished { result: Ok(()) } => self.ended = Some(Ok(JobOutcome::Finished)),
            // The job is over in any case; a later leader would find its last checkpoint and end it again.
            StorageResult::Finished { result: Err(error) } if error.kind() == ErrorKind::Fenced => {
                self.step_down(StepDown::Stop(error));
            }
            StorageResult::Finished { result: Err(_) } => self.order(StorageOrder::Finish).await,
        }
    }

    async fn on_stored(&mut self, checkpoint_id: CheckpointId, result: Result<()>) {
        match result {
            Ok(()) => {
                let states = self.states.remove(&checkpoint_id).unwrap_or_default();
                self.shared.completed(checkpoint_id, states.values());
                self.unions.remove(&checkpoint_id);
                self.tell_coordinator(CoordinatorInput::Stored { checkpoint_id }).await;
            }
            Err(error) => {
                tracing::warn!(%checkpoint_id, %error, "checkpoint could not be stored");
                let outcome = match error.kind() {
                    ErrorKind::Unknown => StoreOutcome::Unknown,
                    _ => StoreOutcome::NotStored,
                };
                self.tell_coordinator(CoordinatorInput::StoreFailed { checkpoint_id, outcome }).await;
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
}

/// What comes first; what is known is dealt with before new connections.
async fn next_of(events: &mut mpsc::Receiver<JobManagerEvent>, accepted: &mut mpsc::Receiver<ByteStream>) -> Next {
    std::future::poll_fn(|context| {
        if let Poll::Ready(Some(event)) = events.poll_recv(context) {
            return Poll::Ready(Next::Event(event));
        }
        match accepted.poll_recv(context) {
            Poll::Ready(Some(stream)) => Poll::Ready(Next::Connection(stream)),
            // The leader holds a sender of its events. A listener that failed brings no new task managers.
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
