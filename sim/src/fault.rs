//! Faults as values: what is done to the world, and at which protocol moment.
//!
//! A fault is semantic: it names a step, a moment and a subject, never a time or a line of code, so that it strikes the
//! same moment after an unrelated change of the engine.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidegate::event::{Moment, Step};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The process in which the fact happened dies; its machine resets its connections; it starts again later.
    CrashProcess,
    /// The machine of that process loses power: peers hear nothing.
    CrashMachine,
    /// The process that hosts the first sink subtask dies, wherever the fact happened.
    CrashSink,
    /// The job manager dies.
    CrashJobManager,
    /// The process of the fact (that of the first sink subtask, for a fact of the job manager) and the job manager die
    /// together.
    CrashBoth,
    /// All processes die together.
    CrashAll,
    /// The step fails with an error: a user function or an external call that failed.
    FailStep,
    /// The process stands still and goes on later, unaware: a zombie.
    Pause,
    /// Nothing gets through between the process (or, of a job manager, the first task manager) and the job manager,
    /// for longer than the failure detector waits: the task manager becomes a zombie.
    Partition,
    /// Only the way to the job manager is cut.
    PartitionOneWay,
    /// Every connection of the process is reset.
    ResetConnections,
    /// Data of connections between the process and its peers stands still for a while.
    Clog,
    /// The shared storage loses power: what was not synced may be lost, torn or kept.
    StoragePowerLoss,
    /// The storage answers nothing for a while.
    StorageStall,
    /// One write fails.
    WriteError,
    /// One sync fails, and what was not synced before is dropped.
    SyncError,
    /// One read fails.
    ReadError,
    /// The storage is full for a few operations.
    FullDisk,
    /// A rename takes effect, but its answer is an error.
    AmbiguousRename,
    /// A rename has no effect, and its answer is an error that leaves that open.
    LostRename,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 20] = [
        Self::CrashProcess,
        Self::CrashMachine,
        Self::CrashSink,
        Self::CrashJobManager,
        Self::CrashBoth,
        Self::CrashAll,
        Self::FailStep,
        Self::Pause,
        Self::Partition,
        Self::PartitionOneWay,
        Self::ResetConnections,
        Self::Clog,
        Self::StoragePowerLoss,
        Self::StorageStall,
        Self::WriteError,
        Self::SyncError,
        Self::ReadError,
        Self::FullDisk,
        Self::AmbiguousRename,
        Self::LostRename,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrashProcess => "crash_process",
            Self::CrashMachine => "crash_machine",
            Self::CrashSink => "crash_sink",
            Self::CrashJobManager => "crash_job_manager",
            Self::CrashBoth => "crash_both",
            Self::CrashAll => "crash_all",
            Self::FailStep => "fail_step",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::PartitionOneWay => "partition_one_way",
            Self::ResetConnections => "reset_connections",
            Self::Clog => "clog",
            Self::StoragePowerLoss => "storage_power_loss",
            Self::StorageStall => "storage_stall",
            Self::WriteError => "write_error",
            Self::SyncError => "sync_error",
            Self::ReadError => "read_error",
            Self::FullDisk => "full_disk",
            Self::AmbiguousRename => "ambiguous_rename",
            Self::LostRename => "lost_rename",
        }
    }

    /// What it models.
    pub fn models(self) -> &'static str {
        match self {
            Self::CrashProcess => "SIGKILL of a process",
            Self::CrashMachine => "power loss of a machine: no resets",
            Self::CrashSink => "SIGKILL of the sink's task manager",
            Self::CrashJobManager => "SIGKILL of the job manager",
            Self::CrashBoth => "a task manager and the job manager die together",
            Self::CrashAll => "the whole cluster dies",
            Self::FailStep => "a user function or external call that fails",
            Self::Pause => "a long pause: the process goes on as a zombie",
            Self::Partition => "a partition that outlives the failure detector",
            Self::PartitionOneWay => "an asymmetric partition",
            Self::ResetConnections => "a middlebox drops all connections of a process",
            Self::Clog => "data stands still: back-pressure, late barriers",
            Self::StoragePowerLoss => "power loss of the storage node: un-synced data lost, torn or kept",
            Self::StorageStall => "a storage that hangs",
            Self::WriteError => "a write that fails",
            Self::SyncError => "a sync that fails and drops the dirty pages",
            Self::ReadError => "a read that fails",
            Self::FullDisk => "a full disk",
            Self::AmbiguousRename => "a call whose answer is lost after it took effect",
            Self::LostRename => "a call whose answer is lost and that had no effect",
        }
    }
}

/// The protocol moment at which a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// The step.
    pub step: Step,
    /// Before or after it.
    pub moment: Moment,
    /// Which subject: a part of a subtask's name or of a node's; `None` takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The how-manieth such fact, from 1, counted from the moment at which the fault waits for it.
    pub occurrence: u32,
}

/// A fault of a plan. Faults of a plan wait one after the other: the next one only when this one has struck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What is done.
    pub kind: FaultKind,
    /// When.
    pub at: At,
    /// How long it lasts, in milliseconds: until the process starts again, the partition heals, the storage is back.
    pub lasts_ms: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = match self.at.moment {
            Moment::Before => "before",
            Moment::After => "after",
        };
        write!(f, "{} {moment} {}", self.kind.name(), self.at.step.name())?;
        if let Some(subject) = &self.at.subject {
            write!(f, " of {subject}")?;
        }
        write!(f, " #{} for {} ms", self.at.occurrence, self.lasts_ms)
    }
}
