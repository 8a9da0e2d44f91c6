//! The checkpoint coordinator: decides when checkpoints begin, when one is complete, and what becomes of it.
//!
//! Guarantees:
//! 1. ids rise; one is consumed by every attempt, also by a failed one, and never used again;
//! 2. a checkpoint is stored only after every task that takes part acknowledged, and at most one is being stored;
//! 3. tasks are told that it is complete only after it is stored — [`CommitPermit`](super::CommitPermit) is the proof;
//! 4. it is either complete or aborted, never both; while it is being stored nothing but the outcome decides;
//! 5. files of a checkpoint that a recovery may find are never discarded;
//! 6. each request is answered once: with a completed checkpoint or with a reason.
//!
//! The life of one checkpoint is drawn in [`PendingCheckpoint`]'s module. The shell feeds [`CoordinatorInput`]s into
//! [`CheckpointCoordinator::handle`], carries out the [`CoordinatorAction`]s in order, and sends a `Tick` at
//! [`CheckpointCoordinator::deadline`]. Flink `CheckpointCoordinator`; Carbone et al. 2015, 2017.
//!
//! A whole checkpoint, driven by a loop:
//!
//! ```
//! use std::{collections::VecDeque, time::Duration};
//! use tidegate::{
//!     checkpoint::coordinator::{
//!         CheckpointCoordinator, CheckpointPlan, CoordinatorAction, CoordinatorInput, CoordinatorStart,
//!     },
//!     config::CheckpointConfig,
//!     id::{SubtaskId, VertexId},
//!     time::Timestamp,
//! };
//!
//! let source = SubtaskId { vertex: VertexId(0), index: 0 };
//! let sink = SubtaskId { vertex: VertexId(1), index: 0 };
//! let config = CheckpointConfig { interval: Some(Duration::from_secs(1)), ..CheckpointConfig::default() };
//! let mut coordinator = CheckpointCoordinator::new(&config, CoordinatorStart::first(Duration::ZERO));
//!
//! let plan = CheckpointPlan { tasks: [source, sink].into(), to_trigger: vec![source] };
//! let mut inputs = VecDeque::from([CoordinatorInput::TasksRunning(plan), CoordinatorInput::Tick]);
//! let mut committed = Vec::new();
//!
//! while let Some(input) = inputs.pop_front() {
//!     let mut actions = Vec::new();
//!     coordinator.handle(Timestamp(0), input, &mut actions);
//!     for action in actions {
//!         match action {
//!             CoordinatorAction::PrepareLocation { checkpoint_id } => {
//!                 inputs.push_back(CoordinatorInput::LocationReady { checkpoint_id });
//!             }
//!             CoordinatorAction::TriggerTasks { checkpoint_id, .. } => {
//!                 for task in [source, sink] {
//!                     inputs.push_back(CoordinatorInput::Acknowledge { checkpoint_id, task });
//!                 }
//!             }
//!             CoordinatorAction::Store { checkpoint_id } => {
//!                 inputs.push_back(CoordinatorInput::Stored { checkpoint_id });
//!             }
//!             CoordinatorAction::NotifyComplete { permit, .. } => committed.push(permit.checkpoint_id().0),
//!             other => println!("{other:?}"),
//!         }
//!     }
//! }
//!
//! assert_eq!(committed, [1]);
//! assert_eq!(coordinator.deadline(), Some(Timestamp(1000)));
//! ```

mod completion;
pub mod decider;
pub mod failures;
mod message;
mod pending;
mod periodic;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

pub use self::{
    decider::{Admission, RequestId, TriggerKind, TriggerRequest},
    message::{CoordinatorAction, CoordinatorInput, StoreOutcome},
    pending::{CheckpointPlan, PendingCheckpoint, Phase},
};
use self::{
    decider::{Decision, Limits, Load, QUEUED_MAX, RequestDecider, Triggering},
    failures::FailureCounter,
    periodic::PeriodicTrigger,
};
use super::{
    Alignment, CheckpointBarrier, CheckpointFailureReason, SnapshotType,
    retention::{CompletedCheckpoint, CompletedCheckpoints, Dropped, JobEnd, RetentionPolicy, Survival},
};
use crate::{
    config::{AfterTasksFinish, CheckpointConfig, CheckpointingMode},
    id::{CheckpointId, SubtaskId},
    planted,
    time::Timestamp,
};

/// Longest pause between checkpoints.
const MIN_PAUSE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How many failures are remembered.
const REMEMBERED: usize = 16;

/// What a coordinator begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorStart {
    /// The id of its first checkpoint; above all that were ever used.
    pub next_id: CheckpointId,
    /// From `TasksRunning` to the first periodic trigger; uniformly random between the pause and the interval.
    pub first_trigger_delay: Duration,
    /// What a recovery found in the store.
    pub retained: Vec<CompletedCheckpoint>,
}

impl CoordinatorStart {
    /// The start of a job that has no past.
    pub fn first(first_trigger_delay: Duration) -> Self {
        Self { next_id: CheckpointId(1), first_trigger_delay, retained: Vec::new() }
    }
}

/// The coordinator. See the module's documentation.
#[derive(Debug)]
pub struct CheckpointCoordinator {
    timeout: Duration,
    alignment: Alignment,
    after_tasks_finish: AfterTasksFinish,
    /// Ids below it were handed out by earlier leaders: of their fate this one knows nothing.
    first_id: CheckpointId,
    next_id: CheckpointId,
    /// Who takes part; `None` while not all tasks run.
    plan: Option<CheckpointPlan>,
    /// Who runs, and is told of outcomes.
    running: BTreeSet<SubtaskId>,
    pending: BTreeMap<CheckpointId, PendingCheckpoint>,
    decider: RequestDecider,
    periodic: PeriodicTrigger,
    failures: FailureCounter,
    completed: CompletedCheckpoints,
    /// Savepoints that are complete and not in the store; the user's for ever.
    savepoints: BTreeSet<CheckpointId>,
    cleaning: BTreeSet<CheckpointId>,
    last_completion: Option<Timestamp>,
    /// Why the last ones were given up, oldest first: for reports only.
    given_up: VecDeque<(CheckpointId, CheckpointFailureReason)>,
}

/// Who made a checkpoint fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Coordinator,
    Task,
}

impl CheckpointCoordinator {
    /// A coordinator of a job whose tasks do not run yet.
    pub fn new(config: &CheckpointConfig, start: CoordinatorStart) -> Self {
        let min_pause = config.min_pause.min(MIN_PAUSE_MAX);
        let limits = Limits { concurrent_max: config.max_concurrent, queued_max: QUEUED_MAX, min_pause };
        let alignment = match config.mode {
            CheckpointingMode::AtLeastOnce => Alignment::AtLeastOnce,
            CheckpointingMode::ExactlyOnce if !config.unaligned => Alignment::Aligned,
            CheckpointingMode::ExactlyOnce if config.aligned_timeout.is_zero() => Alignment::Unaligned,
            CheckpointingMode::ExactlyOnce => Alignment::AlignedWithTimeout(config.aligned_timeout),
        };
        assert!(
            config.max_concurrent == 1 || !alignment.may_overtake(),
            "no barrier overtakes data of an unaligned checkpoint that is under way"
        );
        let completed = CompletedCheckpoints::new(config.retained, start.retained);
        assert!(completed.latest() < Some(start.next_id), "ids of completed checkpoints are never used again");
        Self {
            timeout: config.timeout,
            alignment,
            after_tasks_finish: config.after_tasks_finish,
            first_id: start.next_id,
            next_id: start.next_id,
            plan: None,
            running: BTreeSet::new(),
            pending: BTreeMap::new(),
            decider: RequestDecider::new(limits),
            periodic: PeriodicTrigger::new(
                config.interval.map(|interval| interval.max(min_pause)),
                start.first_trigger_delay,
            ),
            failures: FailureCounter::new(config.tolerable_failures),
            completed,
            savepoints: BTreeSet::new(),
            cleaning: BTreeSet::new(),
            last_completion: None,
            given_up: VecDeque::new(),
        }
    }

    /// Takes in what happened and appends what has to be done.
    pub fn handle(&mut self, now: Timestamp, input: CoordinatorInput, actions: &mut Vec<CoordinatorAction>) {
        match input {
            CoordinatorInput::Tick => self.tick(now, actions),
            CoordinatorInput::TriggerRequested(request) => self.submit(now, request, actions),
            CoordinatorInput::TasksRunning(plan) => self.tasks_running(now, plan),
            CoordinatorInput::TasksFinished { finished, to_trigger } => {
                self.tasks_finished(&finished, to_trigger, actions);
            }
            CoordinatorInput::TasksFailed { tasks } => {
                self.running.retain(|task| !tasks.contains(task));
                self.suspend(actions);
            }
            CoordinatorInput::TasksStopped => self.stop(actions),
            CoordinatorInput::LocationReady { checkpoint_id } => self.location_ready(checkpoint_id, actions),
            CoordinatorInput::LocationFailed { checkpoint_id, reason } => {
                self.abort(checkpoint_id, reason, Blame::Coordinator, actions);
            }
            CoordinatorInput::Acknowledge { checkpoint_id, task } => self.acknowledge(checkpoint_id, task, actions),
            CoordinatorInput::Decline { checkpoint_id, task: _, reason } => {
                self.abort(checkpoint_id, reason, Blame::Task, actions);
            }
            CoordinatorInput::Stored { checkpoint_id } => self.stored(now, checkpoint_id, actions),
            CoordinatorInput::StoreFailed { checkpoint_id, outcome } => {
                self.store_failed(checkpoint_id, outcome, actions);
            }
            CoordinatorInput::Cleaned { checkpoint_id } => {
                self.cleaning.remove(&checkpoint_id);
            }
        }
        self.store_next(actions);
        self.start_next(now, actions);
    }

    /// When the next `Tick` is wanted.
    pub fn deadline(&self) -> Option<Timestamp> {
        let expiring = self.pending.values().filter(|pending| pending.can_expire());
        expiring.map(|pending| pending.expires_at).chain(self.periodic.next()).min()
    }

    /// The checkpoint whose fate is open: asked to be stored, no outcome reported. Recovery must wait for it.
    pub fn storing(&self) -> Option<CheckpointId> {
        self.pending.values().find(|pending| pending.phase == Phase::Storing).map(|pending| pending.checkpoint_id)
    }

    /// The checkpoints under way, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &PendingCheckpoint> {
        self.pending.values()
    }

    /// The job has ended so: says which completed checkpoints leave the store, and what becomes of their files.
    pub fn shut_down(&mut self, policy: RetentionPolicy, end: JobEnd) -> Vec<Dropped> {
        self.completed.shut_down(policy, end, Survival::EndsWithLeader)
    }

    /// The completed checkpoints.
    pub fn completed(&self) -> &CompletedCheckpoints {
        &self.completed
    }

    /// Why a checkpoint was given up, if that was not long ago.
    pub fn failure_of(&self, checkpoint_id: CheckpointId) -> Option<CheckpointFailureReason> {
        let mut given_up = self.given_up.iter();
        given_up.find(|(given_up, _)| *given_up == checkpoint_id).map(|(_, reason)| *reason)
    }

    fn remember_given_up(&mut self, checkpoint_id: CheckpointId, reason: CheckpointFailureReason) {
        self.given_up.push_back((checkpoint_id, reason));
        if self.given_up.len() > REMEMBERED {
            self.given_up.pop_front();
        }
    }

    /// How many requests wait for their turn.
    pub fn queued(&self) -> usize {
        self.decider.queued()
    }

    fn tick(&mut self, now: Timestamp, actions: &mut Vec<CoordinatorAction>) {
        let expired = |pending: &&PendingCheckpoint| pending.can_expire() && pending.expires_at <= now;
        let expired: Vec<_> = self.pending.values().filter(expired).map(|pending| pending.checkpoint_id).collect();
        for checkpoint_id in expired {
            self.abort(checkpoint_id, CheckpointFailureReason::CheckpointExpired, Blame::Coordinator, actions);
        }
        // One periodic request in the queue is enough: a backlog would run without any pause once it clears.
        if self.periodic.is_due(now) && !self.decider.has_periodic() {
            self.submit(now, TriggerRequest::PERIODIC, actions);
        }
    }

    fn submit(&mut self, now: Timestamp, mut request: TriggerRequest, actions: &mut Vec<CoordinatorAction>) {
        if self.alignment.may_overtake() {
            // One checkpoint at a time, whoever asks (Flink `CheckpointTriggerRequest.isForce`).
            request.admission = Admission::Queued;
        }
        if self.plan.as_ref().is_none_or(|plan| plan.to_trigger.is_empty()) {
            reject(request.request, CheckpointFailureReason::NotAllRequiredTasksRunning, actions);
        } else if let Some(rejection) = self.decider.submit(now, request) {
            reject(rejection.request.request, rejection.reason, actions);
        }
    }

    fn tasks_running(&mut self, now: Timestamp, plan: CheckpointPlan) {
        assert!(
            self.pending.is_empty() || planted!("checkpoint_survives_the_failure_of_a_region"),
            "tasks are restored only when the fate of every older checkpoint is known"
        );
        assert!(plan.to_trigger.iter().all(|task| plan.tasks.contains(task)), "who is triggered takes part");
        self.running.clone_from(&plan.tasks);
        self.plan = Some(plan);
        if self.next_id == self.first_id || !planted!("no_periodic_checkpoints_after_a_restart") {
            self.periodic.start(now);
        }
    }

    fn tasks_finished(
        &mut self,
        finished: &[SubtaskId],
        to_trigger: Vec<SubtaskId>,
        actions: &mut Vec<CoordinatorAction>,
    ) {
        self.running.retain(|task| !finished.contains(task));
        let Some(plan) = &mut self.plan else { return };
        plan.tasks.retain(|task| !finished.contains(task));
        plan.to_trigger = to_trigger;
        assert!(plan.to_trigger.iter().all(|task| plan.tasks.contains(task)), "who is triggered takes part");
        if self.after_tasks_finish == AfterTasksFinish::Refuse {
            // Those under way that the finished ones have acknowledged may still complete.
            plan.to_trigger.clear();
        }
        if plan.to_trigger.is_empty() {
            self.periodic.stop();
            for request in self.decider.clear() {
                reject(request.request, CheckpointFailureReason::NotAllRequiredTasksRunning, actions);
            }
        }
        let hopeless = |pending: &&PendingCheckpoint| finished.iter().any(|task| pending.waits_for(*task));
        let hopeless: Vec<_> = self.pending.values().filter(hopeless).map(|pending| pending.checkpoint_id).collect();
        for checkpoint_id in hopeless {
            self.abort(checkpoint_id, CheckpointFailureReason::TaskClosing, Blame::Task, actions);
        }
    }

    fn location_ready(&mut self, checkpoint_id: CheckpointId, actions: &mut Vec<CoordinatorAction>) {
        let Some(pending) = self.pending.get_mut(&checkpoint_id) else {
            // Aborted meanwhile; what was created after the abortion would remain for ever.
            self.discard(checkpoint_id, actions);
            return;
        };
        assert!(pending.phase == Phase::Preparing, "a location is prepared once");
        pending.phase = Phase::Collecting;
        // A savepoint is the user's, who may restore it into another job: nothing is under way in it.
        let alignment = match self.alignment {
            Alignment::Unaligned | Alignment::AlignedWithTimeout(_)
                if pending.kind.is_savepoint() && !planted!("savepoint_taken_unaligned") =>
            {
                Alignment::Aligned
            }
            alignment => alignment,
        };
        let barrier = CheckpointBarrier {
            checkpoint_id,
            triggered_at: pending.triggered_at,
            alignment,
            snapshot: SnapshotType::Checkpoint,
        };
        actions.push(CoordinatorAction::TriggerTasks { checkpoint_id, barrier, tasks: pending.to_trigger.clone() });
    }

    /// Starts queued requests as long as the decider lets it.
    fn start_next(&mut self, now: Timestamp, actions: &mut Vec<CoordinatorAction>) {
        // Whatever a stopping job still did would be beyond the savepoint that it stops with.
        if self.pending.values().any(|pending| pending.kind == TriggerKind::StopWithSavepoint) {
            return;
        }
        loop {
            let Some(plan) = &self.plan else { return };
            let is_preparing = self.pending.values().any(|pending| pending.phase == Phase::Preparing);
            let load = Load {
                triggering: if is_preparing { Triggering::UnderWay } else { Triggering::Idle },
                pending: self.pending.len(),
                cleaning: self.cleaning.len(),
                last_completion: self.last_completion,
            };
            match self.decider.decide(now, &load) {
                Decision::Wait => return,
                Decision::TooEarly { dropped, resume_at } => {
                    reject(dropped.request, CheckpointFailureReason::MinimumTimeBetweenCheckpoints, actions);
                    self.periodic.resume_at(resume_at);
                }
                Decision::Run(request) => {
                    let checkpoint_id = self.next_id;
                    self.next_id = checkpoint_id.next();
                    let pending = PendingCheckpoint::new(checkpoint_id, request, now, self.timeout, plan.clone());
                    self.pending.insert(checkpoint_id, pending);
                    actions.push(CoordinatorAction::PrepareLocation { checkpoint_id });
                }
            }
        }
    }
}

fn reject(request: Option<RequestId>, reason: CheckpointFailureReason, actions: &mut Vec<CoordinatorAction>) {
    if let Some(request) = request {
        actions.push(CoordinatorAction::RejectRequest { request, reason });
    }
}

#[cfg(test)]
mod guarantees;
#[cfg(test)]
mod tests;
