//! Why a backend could not give a state, and what to do about it.

use crate::{
    codec::DecodeError,
    error::{Error, ErrorKind},
    id::OperatorUid,
    state::{DescriptorError, InvalidMaxParallelism, KeyGroupRange, StateKind, TimeToLive},
    time::TimerRestoreError,
};

/// Why a backend could not give a state.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Two states of one operator have one name.
    #[error("state `{state}` is registered twice")]
    DuplicateState {
        /// Name of the state.
        state: String,
    },
    /// The name cannot be used.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// The number of key groups cannot be used.
    #[error(transparent)]
    KeyGroups(#[from] InvalidMaxParallelism),
    /// The checkpoint holds another version of the state.
    #[error("state `{state}` was kept with version {stored}, but version {asked} is asked for, which cannot read it")]
    Version {
        /// Name of the state.
        state: String,
        /// The version in the checkpoint.
        stored: u32,
        /// The version of the descriptor.
        asked: u32,
    },
    /// The checkpoint holds another kind of state under the name.
    #[error("`{state}` was kept as {stored}, but is asked for as {asked}")]
    Kind {
        /// Name of the state.
        state: String,
        /// What the checkpoint holds.
        stored: StateKind,
        /// What the descriptor asks for.
        asked: StateKind,
    },
    /// The checkpoint's values carry timestamps and the descriptor asks for such that do not, or the other way round.
    #[error("state `{state}` was kept {}, and cannot be read {}", kept(*.stored), kept(other(*.stored)))]
    TimeToLive {
        /// Name of the state.
        state: String,
        /// What the checkpoint holds.
        stored: TimeToLive,
    },
    /// A value of an older version cannot be read as the type that a migration says it has.
    #[error("cannot migrate state `{state}` from version {stored}, key group {key_group}")]
    Migrate {
        /// Name of the state.
        state: String,
        /// The version in the checkpoint.
        stored: u32,
        /// The key group that holds the entry.
        key_group: u16,
        /// What the decoder said.
        source: DecodeError,
    },
    /// A key cannot be read.
    #[error("cannot restore state `{state}`, key group {key_group}: the type of the key is another one")]
    Key {
        /// Name of the state.
        state: String,
        /// The key group that holds the entry.
        key_group: u16,
        /// What the decoder said.
        source: DecodeError,
    },
    /// One of the above, and where.
    #[error("operator `{operator}`: {error}")]
    Operator {
        /// Whose state it is.
        operator: OperatorUid,
        /// What is wrong.
        error: Box<BackendError>,
    },
    /// An entry cannot be read.
    #[error("cannot restore state `{state}`, key group {key_group}")]
    Decode {
        /// Name of the state.
        state: String,
        /// The key group that holds the entry.
        key_group: u16,
        /// What the decoder said.
        source: DecodeError,
    },
    /// A key lies in a key group where nobody would look for it.
    #[error("cannot restore state `{state}`: key group {key_group} holds a key of key group {expected}")]
    WrongKeyGroup {
        /// Name of the state.
        state: String,
        /// The key group that holds the entry.
        key_group: u16,
        /// The key group of its key.
        expected: u16,
    },
    /// One key has two values.
    #[error("cannot restore state `{state}`: key group {key_group} holds a key twice")]
    DuplicateEntry {
        /// Name of the state.
        state: String,
        /// The key group that holds the entries.
        key_group: u16,
    },
    /// The timers cannot be read.
    #[error(transparent)]
    Timers(#[from] TimerRestoreError),
    /// The checkpoint holds the files of a database for other key groups.
    #[error("the checkpoint holds its files for key groups {stored}, and this subtask has {asked}")]
    OtherKeyGroups {
        /// What the files hold.
        stored: KeyGroupRange,
        /// What the subtask has.
        asked: KeyGroupRange,
    },
    /// The place where the state lives cannot be used.
    #[error(transparent)]
    Access(#[from] Error),
    /// This program has no such backend.
    #[error("this program was built without RocksDB")]
    NotBuilt,
}

fn kept(time_to_live: TimeToLive) -> &'static str {
    match time_to_live {
        TimeToLive::Disabled => "without a time to live",
        TimeToLive::Enabled => "with a time to live",
    }
}

fn other(time_to_live: TimeToLive) -> TimeToLive {
    match time_to_live {
        TimeToLive::Disabled => TimeToLive::Enabled,
        TimeToLive::Enabled => TimeToLive::Disabled,
    }
}

impl BackendError {
    /// What is wrong, wherever it is.
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Operator { error, .. } => error.innermost(),
            error => error,
        }
    }
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        let error = match error {
            BackendError::Access(error) => return error,
            other => other,
        };
        let (kind, hint) = match error.innermost() {
            BackendError::NotBuilt => (ErrorKind::Configuration, crate::config::HOW_TO_BUILD_ROCKSDB),
            BackendError::Access(_) | BackendError::Operator { .. } => {
                unreachable!("it is an error for users already, or goes around one that is about a state")
            }
            BackendError::TimeToLive { .. } => (
                ErrorKind::CorruptState,
                "a time to live can be changed, but not given to a state or taken from it: give the new state a name of its own",
            ),
            BackendError::Migrate { .. } => {
                (ErrorKind::CorruptState, "let `migrate_from` name the type that this version of the state had")
            }
            BackendError::Key { .. } => (
                ErrorKind::CorruptState,
                "the type of a key cannot be migrated: key the stream as it was, or give the operator another uid",
            ),
            BackendError::DuplicateState { .. } | BackendError::Descriptor(_) => {
                (ErrorKind::Configuration, "give each state of an operator a name of its own")
            }
            BackendError::KeyGroups(_) => (ErrorKind::Configuration, "set `pipeline.max-parallelism`"),
            BackendError::OtherKeyGroups { .. } => {
                (ErrorKind::Configuration, "files are restored by subtasks that have some of their key groups")
            }
            BackendError::Kind { .. } => {
                (ErrorKind::CorruptState, "give the new state a name of its own, or ask for what was kept")
            }
            BackendError::Version { .. } => (
                ErrorKind::CorruptState,
                "add `migrate_from` for the version that was kept to the descriptor, or ask for that version",
            ),
            BackendError::Decode { .. } | BackendError::Timers(_) => (
                ErrorKind::CorruptState,
                "the type of a key, window or value has changed without a new version, or the file is damaged",
            ),
            BackendError::WrongKeyGroup { .. } | BackendError::DuplicateEntry { .. } => (
                ErrorKind::CorruptState,
                "the hash of the key type or the maximal parallelism has changed since the checkpoint",
            ),
        };
        Self::new(kind, "cannot set up keyed state").with_source(error).with_hint(hint)
    }
}
