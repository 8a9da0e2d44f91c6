//! Faults as values: what is done to the world, and at which protocol moment.
//!
//! A fault is semantic: it names a step, a moment and a subject, never a time or a line of code, so that it strikes the
//! same moment after an unrelated change of the engine.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidegate::checkpoint::SavepointFormat;

mod site;

pub use site::{At, Site};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The process in which the fact happened dies; its machine resets its connections; it starts again later.
    CrashProcess,
    /// The machine of that process loses power: peers hear nothing, and what it kept on its own disk is torn or gone.
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
    /// All processes die together, and the job is started again with more subtasks.
    RescaleUp,
    /// All processes die together, and the job is started again with fewer subtasks.
    RescaleDown,
    /// Somebody asks for a savepoint; the job goes on.
    Savepoint,
    /// Somebody stops the job with a savepoint, its windows stay open, and starts it again from there.
    StopWithSavepoint,
    /// Somebody stops the job with a savepoint and has it drained: time comes to its end, windows fire, and the job is over.
    Drain,
    /// Somebody cancels the job, and starts it again from the newest checkpoint that it kept. If its policy keeps none, that
    /// was its end.
    Cancel,
    /// Somebody cancels the job after a savepoint, and starts it again from there.
    CancelWithSavepoint,
    /// Somebody stops the job with a savepoint, and starts it again from there with another parallelism.
    Rescale,
    /// Somebody cancels the job, and starts it again from an older checkpoint than the newest that it kept: what was
    /// committed since then is committed again.
    RestoreOlder,
    /// Somebody disposes of the newest savepoint that the job manager told of, or of one that is taken for it.
    DisposeSavepoint,
    /// The step fails with an error: a user function or an external call that failed.
    FailStep,
    /// Whoever takes the step takes long over it, and everybody else goes on.
    SlowStep,
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
    /// The next control message that the process sends, and with it all that follows on its connection, comes later.
    DelayMessage,
    /// The next control message that the process sends comes twice.
    DuplicateMessage,
    /// The next control message that the process sends never comes, and the connection stands.
    LoseMessage,
    /// The links of the process become slow: long latencies, few bytes per second.
    SlowLink,
    /// Every connection of the cluster is reset, again and again.
    ReconnectStorm,
    /// The machine of the process restarts with a clock that is ahead, by a hundred times as long as the fault lasts.
    ClockAhead,
    /// The machine of the process restarts with a clock that is behind, by a hundred times as long as the fault lasts.
    ClockBehind,
    /// The machine of the process restarts with a clock that runs at half speed.
    SlowClock,
    /// Every operation of the storage takes two hundred times as long.
    SlowDevice,
    /// A bit of a checkpoint's file flips before it is read.
    BitRot,
    /// Syncs of checkpoints' files say that they are done, and make nothing durable; then the storage loses power.
    LyingSync,
    /// A write to a checkpoint's file lands elsewhere among checkpoints.
    MisdirectedWrite,
    /// A write to a checkpoint's file is acknowledged and never happens.
    PhantomWrite,
    /// Bits of what is read from the disks of the machines themselves flip: of copies of state.
    LocalBitRot,
    /// The disks of the machines themselves neither read nor write.
    LocalDiskError,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 46] = [
        Self::CrashProcess,
        Self::CrashMachine,
        Self::CrashSink,
        Self::CrashJobManager,
        Self::CrashBoth,
        Self::CrashAll,
        Self::FailStep,
        Self::SlowStep,
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
        Self::DelayMessage,
        Self::DuplicateMessage,
        Self::LoseMessage,
        Self::SlowLink,
        Self::ReconnectStorm,
        Self::ClockAhead,
        Self::ClockBehind,
        Self::SlowClock,
        Self::SlowDevice,
        Self::BitRot,
        Self::LyingSync,
        Self::MisdirectedWrite,
        Self::PhantomWrite,
        Self::RescaleUp,
        Self::RescaleDown,
        Self::LocalBitRot,
        Self::LocalDiskError,
        Self::Savepoint,
        Self::StopWithSavepoint,
        Self::Drain,
        Self::Cancel,
        Self::CancelWithSavepoint,
        Self::Rescale,
        Self::RestoreOlder,
        Self::DisposeSavepoint,
    ];

    /// What is asked of the job manager: it takes effect when the job manager has done it, if it does it at all.
    pub const ORDERS: [Self; 8] = [
        Self::Savepoint,
        Self::StopWithSavepoint,
        Self::Drain,
        Self::Cancel,
        Self::CancelWithSavepoint,
        Self::Rescale,
        Self::RestoreOlder,
        Self::DisposeSavepoint,
    ];

    /// Whether somebody does it on purpose. A swarm draws what happens by itself; operations have a draw of their own.
    pub fn is_operation(self) -> bool {
        self.is_order() || matches!(self, Self::RescaleUp | Self::RescaleDown)
    }

    /// Whether the job stops for it.
    pub fn stops_job(self) -> bool {
        self.is_order() && !matches!(self, Self::Savepoint | Self::DisposeSavepoint)
    }

    /// Whether the savepoint that is taken for it is one that the job stops with.
    pub fn stops_with_savepoint(self) -> bool {
        matches!(self, Self::StopWithSavepoint | Self::Rescale | Self::Drain)
    }

    /// Whether it is one of [`ORDERS`](Self::ORDERS).
    pub fn is_order(self) -> bool {
        Self::ORDERS.contains(&self)
    }

    /// Whether the job may have another parallelism after it.
    pub fn changes_parallelism(self) -> bool {
        matches!(self, Self::RescaleUp | Self::RescaleDown | Self::Rescale)
    }

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
            Self::SlowStep => "slow_step",
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
            Self::DelayMessage => "delay_message",
            Self::DuplicateMessage => "duplicate_message",
            Self::LoseMessage => "lose_message",
            Self::SlowLink => "slow_link",
            Self::ReconnectStorm => "reconnect_storm",
            Self::ClockAhead => "clock_ahead",
            Self::ClockBehind => "clock_behind",
            Self::SlowClock => "slow_clock",
            Self::SlowDevice => "slow_device",
            Self::BitRot => "bit_rot",
            Self::LyingSync => "lying_sync",
            Self::MisdirectedWrite => "misdirected_write",
            Self::PhantomWrite => "phantom_write",
            Self::RescaleUp => "rescale_up",
            Self::RescaleDown => "rescale_down",
            Self::LocalBitRot => "local_bit_rot",
            Self::LocalDiskError => "local_disk_error",
            Self::Savepoint => "savepoint",
            Self::StopWithSavepoint => "stop_with_savepoint",
            Self::Drain => "drain",
            Self::Cancel => "cancel",
            Self::CancelWithSavepoint => "cancel_with_savepoint",
            Self::Rescale => "rescale",
            Self::RestoreOlder => "restore_older",
            Self::DisposeSavepoint => "dispose_savepoint",
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
            Self::SlowStep => "a thread that gets no processor, a user function or an external call that takes long",
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
            Self::DelayMessage => "a control message that is late",
            Self::DuplicateMessage => "a control message that a retry or a proxy repeats",
            Self::LoseMessage => "a control message that a proxy or a full queue loses",
            Self::SlowLink => "a slow link",
            Self::ReconnectStorm => "connections that break again and again",
            Self::ClockAhead => "a clock that jumped forward: processes read it when they start",
            Self::ClockBehind => "a clock that jumped back",
            Self::SlowClock => "a clock that drifts",
            Self::SlowDevice => "a slow device",
            Self::BitRot => "bit rot",
            Self::LyingSync => "a sync that lies, and a power loss",
            Self::MisdirectedWrite => "a misdirected write",
            Self::PhantomWrite => "a phantom write",
            Self::RescaleUp => "the operator starts the job again with more subtasks",
            Self::RescaleDown => "the operator starts the job again with fewer subtasks",
            Self::LocalBitRot => "bit rot on the disk of a task manager",
            Self::LocalDiskError => "the disk of a task manager breaks",
            Self::Savepoint => "the operator takes a savepoint",
            Self::StopWithSavepoint => "the operator stops the job with a savepoint and starts it again from there",
            Self::Drain => "the operator drains the job: time ends, windows fire, the job is over",
            Self::Cancel => "the operator cancels the job and starts it again from its newest retained checkpoint",
            Self::CancelWithSavepoint => {
                "the operator cancels the job after a savepoint and starts it again from there"
            }
            Self::Rescale => "the operator starts the job again from a savepoint with another parallelism",
            Self::RestoreOlder => "the operator cancels the job and goes back to an older retained checkpoint",
            Self::DisposeSavepoint => "the operator disposes of a savepoint",
        }
    }

    /// Whether it is about what task managers keep on disks of their own. Without such copies it is about nothing, so a swarm
    /// draws it only with them.
    pub fn is_of_local_disks(self) -> bool {
        matches!(self, Self::LocalBitRot | Self::LocalDiskError)
    }

    /// Whether storage says things that are not true: what it has promised may be gone, and a job may have to give up.
    pub fn is_lie_of_storage(self) -> bool {
        matches!(self, Self::BitRot | Self::LyingSync | Self::MisdirectedWrite | Self::PhantomWrite)
    }

    /// Whether clocks are wrong: what a job does in processing time may be another thing then.
    pub fn is_of_clock(self) -> bool {
        matches!(self, Self::ClockAhead | Self::ClockBehind | Self::SlowClock)
    }
}

/// A fault of a plan. Faults of a plan wait one after the other: the next one only when this one has struck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What is done.
    pub kind: FaultKind,
    /// When.
    pub at: At,
    /// How long it lasts, in milliseconds: until the process starts again, the partition heals, the storage is back, the
    /// job that was stopped is started again.
    pub lasts_ms: u64,
    /// How the state of a savepoint is written.
    #[serde(default, skip_serializing_if = "is_canonical")]
    pub format: SavepointFormat,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_canonical(format: &SavepointFormat) -> bool {
    *format == SavepointFormat::Canonical
}

impl Fault {
    /// A fault of this kind, at this moment, for so long; savepoints are canonical.
    pub fn new(kind: FaultKind, at: At, lasts_ms: u64) -> Self {
        Self { kind, at, lasts_ms, format: SavepointFormat::default() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} for {} ms", self.kind.name(), self.at, self.lasts_ms)?;
        if is_canonical(&self.format) { Ok(()) } else { f.write_str(", native") }
    }
}
