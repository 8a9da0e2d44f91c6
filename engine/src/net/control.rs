//! Messages between the job manager and a task manager.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{CheckpointBarrier, Ownership, assignment::Parts},
    config::JobConfig,
    error::Recoverability,
    id::{Attempt, CheckpointId, Epoch, ExecutionAttempt, OperatorUid, SubtaskId, TaskManagerId},
    state::{KeyGroupRange, StateMeta},
    time::Timestamp,
};

/// Where the snapshot of one operator of one subtask is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateHandle {
    /// Small: here.
    Inline(Vec<u8>),
    /// In a file of the checkpoint's directory.
    File {
        /// Name within the directory of the checkpoint.
        name: String,
        /// Length in bytes.
        length_bytes: u64,
        /// Checksum of the content.
        crc32: u32,
    },
    /// Keyed state in the files of its database, and the rest of the operator's state.
    Incremental {
        /// The files.
        database: Box<DatabaseHandle>,
        /// Everything else: never incremental itself.
        rest: Box<StateHandle>,
    },
    /// Nowhere: the subtask has finished, and does not run again (Flink `FullyFinishedOperatorState`).
    Finished,
}

impl StateHandle {
    /// Bytes of everything that it refers to.
    pub fn length_bytes(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::File { length_bytes, .. } => *length_bytes,
            Self::Finished => 0,
            Self::Incremental { database, rest } => {
                let files = database.shared.values().chain(database.private.values());
                files.map(|file| file.length_bytes).sum::<u64>() + rest.length_bytes()
            }
        }
    }

    /// The files that other checkpoints may refer to as well.
    pub fn shared_files(&self) -> impl Iterator<Item = &FileHandle> {
        let database = match self {
            Self::Incremental { database, .. } => Some(database),
            Self::Inline(_) | Self::File { .. } | Self::Finished => None,
        };
        database.into_iter().flat_map(|database| database.shared.values())
    }
}

/// A kept file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHandle {
    /// Its name in the directory that it lies in. Of a shared file, it is used once for all time.
    pub name: String,
    /// Length in bytes.
    pub length_bytes: u64,
    /// Checksum of the content, little endian: as long in a message whatever the content is.
    pub crc32: [u8; 4],
}

impl FileHandle {
    /// Whether this is the content that was kept.
    pub fn is_of(&self, content: &[u8]) -> bool {
        (content.len() as u64, crc32fast::hash(content).to_le_bytes()) == (self.length_bytes, self.crc32)
    }
}

/// The files of a database, by the names that they have there (Flink `IncrementalRemoteKeyedStateHandle`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseHandle {
    /// The key groups that they hold.
    pub key_groups: KeyGroupRange,
    /// The states that they hold.
    pub states: BTreeMap<String, StateMeta>,
    /// Those that never change, in the directory of shared files.
    pub shared: BTreeMap<String, FileHandle>,
    /// The others, in the directory of the checkpoint.
    pub private: BTreeMap<String, FileHandle>,
}

/// What a subtask starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SubtaskRestore {
    /// The checkpoint, if there is one.
    pub checkpoint_id: Option<CheckpointId>,
    /// Directory of that checkpoint. The files that it shares with others lie beside it.
    pub directory: String,
    /// Whose it is: to files of the user's checkpoints no other checkpoint refers.
    pub ownership: Ownership,
    /// Per operator, what this subtask reads to restore its share.
    pub operators: BTreeMap<OperatorUid, Parts<StateHandle>>,
    /// What was under way at this subtask ([`InFlightState`](super::InFlightState)), if anything was.
    pub in_flight: Option<StateHandle>,
    /// What was under way at each subtask around this one's inputs ([`InFlightState`](super::InFlightState)), if there were
    /// other subtasks than now: it takes its share.
    pub in_flight_of_others: BTreeMap<SubtaskId, StateHandle>,
    /// Whether the subtask had finished: it only says so again, and takes part in checkpoints with nothing to keep.
    pub finished: bool,
}

/// One subtask to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDeployment {
    /// Which.
    pub subtask: SubtaskId,
    /// What it starts from.
    pub restore: SubtaskRestore,
}

/// What a task manager is to run in an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Which attempt.
    pub attempt: Attempt,
    /// The program: the name under which the task manager knows it, or a whole pipeline as JSON.
    pub program: String,
    /// The job's options.
    pub config: JobConfig,
    /// Number of key groups: that of the restored state, or that of the program.
    pub max_parallelism: u32,
    /// Where state files of checkpoints go; empty if snapshots travel in acknowledgements.
    pub checkpoint_directory: String,
    /// The subtasks of this task manager.
    pub tasks: Vec<TaskDeployment>,
    /// Where each subtask of the job runs.
    pub placement: BTreeMap<SubtaskId, TaskManagerId>,
    /// Data address of each task manager.
    pub data_addresses: BTreeMap<TaskManagerId, String>,
}

/// From the job manager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToTaskManager {
    /// Welcome; from now on messages of lower epochs are ignored.
    Registered {
        /// The epoch of the leader.
        epoch: Epoch,
        /// After this much silence, in milliseconds, the task manager gives the job manager up.
        heartbeat_timeout_ms: u64,
    },
    /// Answer with a sign of life.
    Heartbeat,
    /// Create these tasks, but do not start them.
    Deploy(Box<Deployment>),
    /// All task managers have created their tasks: start.
    Start {
        /// The attempt.
        attempt: Attempt,
    },
    /// Start a checkpoint at these sources.
    TriggerCheckpoint {
        /// The attempt.
        attempt: Attempt,
        /// The barrier to inject.
        barrier: CheckpointBarrier,
        /// The sources on this task manager.
        tasks: Vec<SubtaskId>,
    },
    /// The checkpoint is complete.
    NotifyComplete {
        /// The attempt.
        attempt: Attempt,
        /// The checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// The checkpoint was given up.
    NotifyAborted {
        /// The attempt.
        attempt: Attempt,
        /// The checkpoint.
        checkpoint_id: CheckpointId,
    },
    /// The job's data has ended and everything is committed: end the tasks.
    Finish {
        /// The attempt.
        attempt: Attempt,
    },
    /// Stop the tasks of this attempt, and what is left of earlier epochs; answer with [`FromTaskManager::Cancelled`].
    Cancel {
        /// The attempt.
        attempt: Attempt,
    },
    /// The job has ended; the task manager may go.
    Shutdown,
    /// Answer to [`FromTaskManager::ReportWatermark`]: how far the slowest of the other subtasks of its group is.
    AlignWatermark {
        /// The attempt.
        attempt: Attempt,
        /// Who asked.
        task: SubtaskId,
        /// The least watermark of the others.
        others: Timestamp,
    },
}

/// A subtask's part of a checkpoint is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub execution: ExecutionAttempt,
    /// Which checkpoint.
    pub checkpoint_id: CheckpointId,
    /// Where the state of each operator is.
    pub operators: BTreeMap<OperatorUid, StateHandle>,
    /// The operators of which every subtask restores the lists of all.
    pub union: BTreeSet<OperatorUid>,
    /// Where the data is that was under way ([`InFlightState`](super::InFlightState)), if any was.
    pub in_flight: Option<StateHandle>,
}

/// From a task manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromTaskManager {
    /// First message of a connection.
    Register {
        /// Who.
        task_manager: TaskManagerId,
        /// How many slots it has.
        slots: u32,
        /// Where its tasks receive data.
        data_address: String,
        /// The highest epoch that it has seen: a job manager of a lower one is not the leader.
        highest_epoch: Epoch,
    },
    /// A sign of life.
    Heartbeat,
    /// The tasks of the attempt exist.
    Deployed {
        /// The attempt.
        attempt: Attempt,
    },
    /// The deployment could not be carried out.
    DeploymentFailed {
        /// The attempt.
        attempt: Attempt,
        /// Why.
        reason: String,
        /// Whether a restart may help.
        recoverability: Recoverability,
    },
    /// A subtask has restored its state and runs.
    Running {
        /// Who.
        execution: ExecutionAttempt,
    },
    /// A subtask's part of a checkpoint is kept.
    Acknowledge(Acknowledgement),
    /// A subtask cannot take part in a checkpoint.
    Decline {
        /// Who.
        execution: ExecutionAttempt,
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// Why.
        reason: String,
    },
    /// A subtask has seen the end of its data.
    EndOfData {
        /// Who.
        execution: ExecutionAttempt,
    },
    /// A subtask ended as asked.
    Finished {
        /// Who.
        execution: ExecutionAttempt,
    },
    /// A subtask failed.
    Failed {
        /// Who.
        execution: ExecutionAttempt,
        /// Why.
        reason: String,
        /// Whether a restart may help.
        recoverability: Recoverability,
    },
    /// No task of this attempt is left.
    Cancelled {
        /// The attempt.
        attempt: Attempt,
    },
    /// A source subtask with watermark alignment says how far it is; answered by [`ToTaskManager::AlignWatermark`].
    ReportWatermark {
        /// Who.
        execution: ExecutionAttempt,
        /// Its group.
        group: String,
        /// How far it is; the largest timestamp if it is idle or at its end.
        watermark: Timestamp,
    },
}
