//! Protocol facts: what the engine tells an observer about itself, under stable names.
//!
//! A fact is a [`Step`] of the protocol, before or after it happened, at a [`Subject`]. Facts are the crash
//! points of the laboratory (`crash sink#0 after pre_commit(cp 2)`), the lines of its traces and the
//! source of metrics. An observer may hold a fact up (and let the process die there) or make the step fail;
//! it can change nothing else.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::id::{Attempt, CheckpointId};

/// A step of the protocol. Its name is part of the replay format: never rename one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// The job manager takes the leadership (a new epoch).
    TakeLeadership,
    /// A task manager registers.
    Register,
    /// The job manager chooses what to restore and deploys the tasks.
    Deploy,
    /// A subtask restores its state and starts.
    Restore,
    /// With task-local recovery: a subtask has read state files from the copies on its task manager's disk.
    RestoreLocal,
    /// With task-local recovery: a subtask had to read state files from the storage of checkpoints.
    RestoreRemote,
    /// The attempt is given up and its tasks are cancelled.
    FailOver,
    /// The coordinator triggers a checkpoint.
    Trigger,
    /// A source fixes its offsets.
    SourceSnapshot,
    /// A task sends the barrier downstream.
    BarrierEmission,
    /// From the first to the last barrier at a task's inputs.
    Alignment,
    /// Where a subtask stands in each of its channels when it takes a checkpoint. Stated only to observers who
    /// [audit channels](Observer::audits_channels).
    ChannelCut,
    /// The part of the snapshot during which no record is processed.
    SyncSnapshot,
    /// Writing the snapshot.
    AsyncSnapshot,
    /// Within it: keeping the data that barriers overtook.
    InFlight,
    /// A subtask puts such data back.
    RestoreInFlight,
    /// A sink makes its transaction durable but not visible.
    PreCommit,
    /// Within a pre-commit: the last bytes are written, but not synced yet.
    WriteStaged,
    /// A task tells the coordinator that its part of the checkpoint is kept.
    Acknowledge,
    /// The coordinator writes `_metadata`.
    MetadataWrite,
    /// The coordinator writes the `_metadata` of a savepoint: with it the savepoint is whole.
    SavepointWrite,
    /// The checkpoint becomes the newest completed one.
    Completion,
    /// The coordinator tells the tasks.
    CompletionNotice,
    /// The coordinator gives a checkpoint up.
    AbortCheckpoint,
    /// An older checkpoint is dropped.
    Subsumption,
    /// A sink opens a transaction.
    BeginTransaction,
    /// A sink makes a transaction visible.
    Commit,
    /// A sink drops a transaction.
    Abort,
    /// A restored sink commits what a completed checkpoint holds.
    RecoverAndCommit,
    /// A restored sink drops what no completed checkpoint holds.
    RecoverAndAbort,
    /// A subtask has seen the end of its data.
    EndOfData,
    /// The event time of a subtask has advanced, and everything that was due has fired.
    Watermark,
    /// A record came behind the watermark and was dropped.
    LateRecord,
    /// A record could not be read and was skipped, as the pipeline asks.
    BadRecord,
    /// A subtask ended.
    Finish,
    /// The job ended.
    JobEnd,
}

impl Step {
    /// Every step, in protocol order.
    pub const ALL: [Self; 36] = [
        Self::TakeLeadership,
        Self::Register,
        Self::Deploy,
        Self::Restore,
        Self::RestoreLocal,
        Self::RestoreRemote,
        Self::FailOver,
        Self::Trigger,
        Self::SourceSnapshot,
        Self::BarrierEmission,
        Self::Alignment,
        Self::ChannelCut,
        Self::SyncSnapshot,
        Self::AsyncSnapshot,
        Self::InFlight,
        Self::RestoreInFlight,
        Self::PreCommit,
        Self::WriteStaged,
        Self::Acknowledge,
        Self::MetadataWrite,
        Self::SavepointWrite,
        Self::Completion,
        Self::CompletionNotice,
        Self::AbortCheckpoint,
        Self::Subsumption,
        Self::BeginTransaction,
        Self::Commit,
        Self::Abort,
        Self::RecoverAndCommit,
        Self::RecoverAndAbort,
        Self::EndOfData,
        Self::Watermark,
        Self::LateRecord,
        Self::BadRecord,
        Self::Finish,
        Self::JobEnd,
    ];

    /// The stable name, as it stands in capsules and scenario files.
    pub fn name(self) -> &'static str {
        match self {
            Self::TakeLeadership => "take_leadership",
            Self::Register => "register",
            Self::Deploy => "deploy",
            Self::Restore => "restore",
            Self::RestoreLocal => "restore_local",
            Self::RestoreRemote => "restore_remote",
            Self::FailOver => "fail_over",
            Self::Trigger => "trigger",
            Self::SourceSnapshot => "source_snapshot",
            Self::BarrierEmission => "barrier_emission",
            Self::Alignment => "alignment",
            Self::ChannelCut => "channel_cut",
            Self::SyncSnapshot => "sync_snapshot",
            Self::AsyncSnapshot => "async_snapshot",
            Self::InFlight => "in_flight",
            Self::RestoreInFlight => "restore_in_flight",
            Self::PreCommit => "pre_commit",
            Self::WriteStaged => "write_staged",
            Self::Acknowledge => "acknowledge",
            Self::MetadataWrite => "metadata_write",
            Self::SavepointWrite => "savepoint_write",
            Self::Completion => "completion",
            Self::CompletionNotice => "completion_notice",
            Self::AbortCheckpoint => "abort_checkpoint",
            Self::Subsumption => "subsumption",
            Self::BeginTransaction => "begin_transaction",
            Self::Commit => "commit",
            Self::Abort => "abort",
            Self::RecoverAndCommit => "recover_and_commit",
            Self::RecoverAndAbort => "recover_and_abort",
            Self::EndOfData => "end_of_data",
            Self::Watermark => "watermark",
            Self::LateRecord => "late_record",
            Self::BadRecord => "bad_record",
            Self::Finish => "finish",
            Self::JobEnd => "job_end",
        }
    }
}

/// Which side of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// It is about to happen; nothing of it has taken effect.
    Before,
    /// It has taken effect; nobody else has been told.
    After,
}

/// Who a fact is about: a node (`jobmanager`, `taskmanager-1`), or a subtask on a node (`sum#0` on `taskmanager-1`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// The process, by its name in the cluster.
    pub node: Arc<str>,
    /// `vertex-name#subtask`, where the fact is about a subtask.
    pub subtask: Option<Arc<str>>,
}

impl Subject {
    /// A process.
    pub fn node(node: impl Into<Arc<str>>) -> Self {
        Self { node: node.into(), subtask: None }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subtask {
            Some(subtask) => write!(f, "{subtask} on {}", self.node),
            None => f.write_str(&self.node),
        }
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact<'a> {
    /// Who.
    pub subject: &'a Subject,
    /// What.
    pub step: Step,
    /// Before or after it.
    pub moment: Moment,
    /// The checkpoint that the step belongs to.
    pub checkpoint_id: Option<CheckpointId>,
    /// The attempt of the job.
    pub attempt: Attempt,
    /// What else identifies it: a transaction, a reason. Deterministic text.
    pub detail: &'a str,
}

impl fmt::Display for Fact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = match self.moment {
            Moment::Before => "before",
            Moment::After => "after",
        };
        write!(f, "{} {moment} {}", self.subject, self.step.name())?;
        if let Some(checkpoint_id) = self.checkpoint_id {
            write!(f, "(cp {checkpoint_id})")?;
        }
        if self.subject.subtask.is_some() {
            write!(f, " attempt {}", self.attempt)?;
        }
        if !self.detail.is_empty() {
            write!(f, " {}", self.detail)?;
        }
        Ok(())
    }
}

/// What becomes of a step after the observer saw it.
pub enum Directive {
    /// Go on.
    Continue,
    /// Go on when this future is done; it never is if the process dies here.
    Hold(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The step fails with this message.
    Fail(String),
}

/// Someone who watches protocol facts. Must be quick and must not block.
pub trait Observer: Send + Sync {
    /// Called at every fact, in the order in which they happen on a node.
    fn observe(&self, fact: &Fact<'_>) -> Directive;

    /// Whether to state what went through each channel, as digests, at each checkpoint. That takes time: each element is
    /// encoded at both ends.
    fn audits_channels(&self) -> bool {
        false
    }
}

/// The observer of a production run: looks at nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn observe(&self, _fact: &Fact<'_>) -> Directive {
        Directive::Continue
    }
}

/// The handle through which one subject states its facts.
#[derive(Clone)]
pub struct Reporter {
    subject: Subject,
    attempt: Attempt,
    observer: Arc<dyn Observer>,
}

/// The observer let a step fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step} failed: {reason}", step = step.name())]
pub struct InjectedFailure {
    /// Which step.
    pub step: Step,
    /// What the observer said.
    pub reason: String,
}

impl Reporter {
    /// A reporter of facts about `subject`.
    pub fn new(subject: Subject, attempt: Attempt, observer: Arc<dyn Observer>) -> Self {
        Self { subject, attempt, observer }
    }

    /// The same observer, for a subtask on the same node.
    pub fn subtask(&self, name: impl Into<Arc<str>>, attempt: Attempt) -> Self {
        let subject = Subject { node: self.subject.node.clone(), subtask: Some(name.into()) };
        Self { subject, attempt, observer: self.observer.clone() }
    }

    /// Who this reporter speaks for.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whether the observer wants to know what went through each channel.
    pub fn audits_channels(&self) -> bool {
        self.observer.audits_channels()
    }

    /// States a fact and obeys the observer.
    ///
    /// # Errors
    /// [`InjectedFailure`] if the observer lets the step fail.
    pub async fn state(
        &self,
        moment: Moment,
        step: Step,
        checkpoint_id: Option<CheckpointId>,
        detail: &str,
    ) -> Result<(), InjectedFailure> {
        match self.note(moment, step, checkpoint_id, detail) {
            Directive::Continue => Ok(()),
            Directive::Hold(until) => {
                until.await;
                Ok(())
            }
            Directive::Fail(reason) => Err(InjectedFailure { step, reason }),
        }
    }

    /// States a fact at a place that cannot wait; the caller decides about the directive.
    pub fn note(&self, moment: Moment, step: Step, checkpoint_id: Option<CheckpointId>, detail: &str) -> Directive {
        self.observer.observe(&Fact {
            subject: &self.subject,
            step,
            moment,
            checkpoint_id,
            attempt: self.attempt,
            detail,
        })
    }
}
