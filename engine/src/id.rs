//! Identities. Each is a newtype, so that two of them cannot be swapped.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $name {
            /// The identity after this one.
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

number_id! {
    /// A checkpoint or savepoint. One counter serves both; an id is never used twice (Flink `CheckpointIDCounter`).
    CheckpointId(u64)
}
number_id! {
    /// A leadership of the job manager. Whatever carries a lower epoch is fenced.
    Epoch(u64)
}
number_id! {
    /// One try at running a region of the job: tasks that fail together. Each number is given out once, and they only grow,
    /// over restarts and over job managers. Messages of a region's older attempts are ignored.
    Attempt(u64)
}
number_id! {
    /// A vertex of the job graph: a chain of operators that runs as one task.
    VertexId(u32)
}
number_id! {
    /// An edge of the job graph.
    EdgeId(u32)
}

impl Attempt {
    /// An epoch's attempts are numbered from its own million on, so that they only grow from leader to leader.
    const PER_EPOCH: u64 = 1_000_000;

    /// The first attempt of an epoch.
    pub fn first_of(epoch: Epoch) -> Self {
        Self(epoch.0 * Self::PER_EPOCH + 1)
    }

    /// No attempt of an epoch is above it, and all of later ones are.
    pub fn last_of(epoch: Epoch) -> Self {
        Self(epoch.next().0 * Self::PER_EPOCH)
    }

    /// The epoch whose leader began it.
    pub fn epoch(self) -> Epoch {
        Epoch(self.0 / Self::PER_EPOCH)
    }
}

/// The id of a job, as clients of Flink know it: 32 hexadecimal digits that follow from its name.
///
/// ```
/// assert_eq!(tidegate::id::job_id_of("flights").len(), 32);
/// ```
pub fn job_id_of(name: &str) -> String {
    // FNV-1a, 128 bits.
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = name.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}

/// One parallel instance of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SubtaskId {
    /// Which vertex.
    pub vertex: VertexId,
    /// Which of its parallel instances, from 0.
    pub index: u32,
}

impl fmt::Display for SubtaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.vertex, self.index)
    }
}

/// One run of one subtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExecutionAttempt {
    /// Which subtask.
    pub subtask: SubtaskId,
    /// Which try.
    pub attempt: Attempt,
}

impl fmt::Display for ExecutionAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.subtask, self.attempt)
    }
}

/// The data path from one upstream subtask to one downstream subtask over one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChannelId {
    /// The edge of the graph.
    pub edge: EdgeId,
    /// Index of the sending subtask.
    pub from: u32,
    /// Index of the receiving subtask.
    pub to: u32,
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}->{}", self.edge, self.from, self.to)
    }
}

/// The stable identity of an operator's state: the `uid` that the author gave, or one derived from its place.
///
/// State is matched by it on restore (Flink `OperatorID`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorUid(pub String);

impl fmt::Display for OperatorUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a task manager, unique in the cluster and stable over its restarts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskManagerId(pub String);

impl fmt::Display for TaskManagerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
