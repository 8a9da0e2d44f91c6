//! Which request for a checkpoint runs next, and when (Flink `CheckpointRequestDecider`).
//!
//! Order of the queue: savepoints first; forced before others; what users asked for before what is periodic; older
//! first; at last the order of arrival, so that no tie is left to chance.

use std::{collections::BTreeMap, time::Duration};

use crate::{checkpoint::CheckpointFailureReason, time::Timestamp};

/// Most requests that wait.
pub const QUEUED_MAX: usize = 1000;

/// Names a request, so that whoever asked can be answered. The shell hands them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TriggerKind {
    /// A checkpoint because the interval is over. Respects the pause.
    Periodic,
    /// A checkpoint that somebody asked for. Ignores the pause.
    Manual,
    /// The checkpoint for which tasks at the end of their data wait (FLIP-147). Ignores the pause.
    Final,
    /// A savepoint: belongs to the user, commits no side effects.
    Savepoint,
    /// The savepoint with which a job stops: completes like a checkpoint, belongs to the user.
    StopWithSavepoint,
}

impl TriggerKind {
    /// Whether the result belongs to the user and is never subsumed.
    pub fn is_savepoint(self) -> bool {
        match self {
            Self::Savepoint | Self::StopWithSavepoint => true,
            Self::Periodic | Self::Manual | Self::Final => false,
        }
    }

    /// Whether completion enters the store and is announced to the tasks, so that they commit.
    pub fn commits_side_effects(self) -> bool {
        match self {
            Self::Periodic | Self::Manual | Self::Final | Self::StopWithSavepoint => true,
            Self::Savepoint => false,
        }
    }
}

/// Whether a request may start although as many checkpoints as allowed are pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Admission {
    /// It starts at once, and disregards the pause.
    Forced,
    /// It waits for its turn.
    Queued,
}

/// A request for a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TriggerRequest {
    /// Who is to be answered; nobody for periodic ones.
    pub request: Option<RequestId>,
    /// What is asked for.
    pub kind: TriggerKind,
    /// Whether it may exceed the number of concurrent checkpoints.
    pub admission: Admission,
}

impl TriggerRequest {
    /// The request of the periodic trigger.
    pub const PERIODIC: Self = Self { request: None, kind: TriggerKind::Periodic, admission: Admission::Queued };

    /// A request as users make it: savepoints are forced as long as barriers are aligned, checkpoints are not.
    pub fn new(request: RequestId, kind: TriggerKind) -> Self {
        let admission = if kind.is_savepoint() { Admission::Forced } else { Admission::Queued };
        Self { request: Some(request), kind, admission }
    }
}

/// How busy the coordinator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Whether a checkpoint is between its creation and the order to the tasks.
    pub triggering: Triggering,
    /// Checkpoints under way.
    pub pending: usize,
    /// Checkpoints whose files are being deleted.
    pub cleaning: usize,
    /// When the last checkpoint or savepoint completed.
    pub last_completion: Option<Timestamp>,
}

/// Whether a checkpoint is in its triggering phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Triggering {
    /// One is: nothing else starts.
    UnderWay,
    /// None is.
    Idle,
}

/// A request that will not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// The request.
    pub request: TriggerRequest,
    /// Why.
    pub reason: CheckpointFailureReason,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing can start now.
    Wait,
    /// Start this.
    Run(TriggerRequest),
    /// A periodic request came within the pause: it is dropped, the periodic trigger resumes at this time.
    TooEarly {
        /// The request, which fails with `MINIMUM_TIME_BETWEEN_CHECKPOINTS`.
        dropped: TriggerRequest,
        /// End of the pause.
        resume_at: Timestamp,
    },
}

/// Limits of the decider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Checkpoints that may be under way at once.
    pub concurrent_max: usize,
    /// Requests that may wait.
    pub queued_max: usize,
    /// Least time from a completion to the next periodic start.
    pub min_pause: Duration,
}

/// The queue of requests.
#[derive(Debug)]
pub struct RequestDecider {
    limits: Limits,
    queue: BTreeMap<Priority, TriggerRequest>,
    submitted: u64,
}

/// Smaller runs earlier: `false` sorts before `true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Priority {
    is_checkpoint: bool,
    is_queued: bool,
    is_periodic: bool,
    submitted_at: Timestamp,
    sequence: u64,
}

impl RequestDecider {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        Self { limits, queue: BTreeMap::new(), submitted: 0 }
    }

    /// Puts a request into the queue. If that is full the last in order is rejected, which may be this one.
    pub fn submit(&mut self, now: Timestamp, request: TriggerRequest) -> Option<Rejection> {
        let priority = Priority {
            is_checkpoint: !request.kind.is_savepoint(),
            is_queued: request.admission == Admission::Queued,
            is_periodic: request.kind == TriggerKind::Periodic,
            submitted_at: now,
            sequence: self.submitted,
        };
        self.submitted += 1;
        self.queue.insert(priority, request);
        if self.queue.len() <= self.limits.queued_max {
            return None;
        }
        let (_, request) = self.queue.pop_last()?;
        Some(Rejection { request, reason: CheckpointFailureReason::TooManyCheckpointRequests })
    }

    /// Takes the next request from the queue if it may start now.
    pub fn decide(&mut self, now: Timestamp, load: &Load) -> Decision {
        let Some(next) = self.queue.first_entry() else { return Decision::Wait };
        if load.triggering == Triggering::UnderWay || load.cleaning > self.limits.concurrent_max {
            return Decision::Wait;
        }
        if next.get().admission == Admission::Forced {
            return Decision::Run(next.remove());
        }
        if load.pending >= self.limits.concurrent_max {
            return Decision::Wait;
        }
        let request = next.remove();
        let pause_end = load.last_completion.map(|at| at.saturating_add(self.limits.min_pause));
        match pause_end {
            Some(resume_at) if request.kind == TriggerKind::Periodic && now < resume_at => {
                Decision::TooEarly { dropped: request, resume_at }
            }
            Some(_) | None => Decision::Run(request),
        }
    }

    /// Empties the queue.
    pub fn clear(&mut self) -> impl Iterator<Item = TriggerRequest> + use<> {
        std::mem::take(&mut self.queue).into_values()
    }

    /// Whether a periodic request waits.
    pub fn has_periodic(&self) -> bool {
        self.queue.values().any(|request| request.kind == TriggerKind::Periodic)
    }

    /// How many requests wait.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }
}
