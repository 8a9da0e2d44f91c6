//! Reads back what the subtasks of a checkpoint kept, as far as a subtask restores it, and refuses what is damaged.

use std::{collections::BTreeMap, error::Error as _, path::Path};

use super::{
    database_files::Download,
    local_state::{LocalStateStore, NoCopy, Origins},
    uploads::KeptFiles,
};
use crate::{
    checkpoint::Ownership,
    codec::{self, DecodeError},
    config::StateBackend,
    env::Env,
    error::{Error, ErrorKind, Result},
    id::{CheckpointId, OperatorUid, SubtaskId},
    net::{DatabaseHandle, InFlightState, StateHandle, SubtaskRestore},
    operator::OperatorSnapshot,
    planted,
    state::{DatabaseFiles, EndOfInput, KeyGroups, OldSubtasks, ParallelInstance},
    storage::{FileSystem, LocalFileSystem, read_file},
    time::Timestamp,
};

/// What a subtask starts from, read.
#[derive(Default)]
pub(super) struct Loaded {
    /// The snapshots of its operators.
    pub snapshots: BTreeMap<OperatorUid, OperatorSnapshot>,
    /// Which shared files the job's checkpoint refers to.
    pub kept_files: KeptFiles,
    /// What was under way.
    pub in_flight: LoadedInFlight,
    /// Where it was read.
    pub origins: Origins,
}

/// What was under way in the channels of a subtask, or of others in its place.
pub(super) enum LoadedInFlight {
    /// In its own.
    Own(InFlightState),
    /// In those of the subtasks around its inputs that there were.
    OfOthers(BTreeMap<SubtaskId, InFlightState>),
}

impl Default for LoadedInFlight {
    fn default() -> Self {
        Self::Own(InFlightState::default())
    }
}

/// Who restores.
#[derive(Clone)]
pub(super) struct Restoring {
    /// Which subtask of how many.
    pub instance: ParallelInstance,
    /// The job's key groups.
    pub key_groups: KeyGroups,
    /// The copies on this machine, if they are wanted and the checkpoint is one of the job itself.
    pub local_state: Option<LocalStateStore>,
}

/// Who wrote a state file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// The subtask that reads it, in an earlier attempt.
    Itself,
    /// Another one.
    Another,
}

/// Loads everything that a subtask starts from.
pub(super) async fn load(
    env: &Env,
    file_system: &dyn FileSystem,
    backend: &StateBackend,
    restoring: Restoring,
    restore: SubtaskRestore,
) -> Result<Loaded> {
    let directory = Path::new(&restore.directory);
    let checkpoint_id = restore.checkpoint_id.unwrap_or_default();
    let download = Download { env, file_system, backend, checkpoint_id, directory };
    let Restoring { instance, key_groups, local_state } = restoring;
    let mut files = StateFiles { file_system, directory, checkpoint_id, local_state, origins: Origins::default() };
    let range = key_groups.range(instance);
    let (mut snapshots, mut kept_files) = (BTreeMap::new(), KeptFiles::new());
    for (uid, parts) in restore.operators {
        let (mut old, mut databases) =
            (OldSubtasks { parallelism: parts.parallelism, ..Default::default() }, Vec::new());
        for (index, handle) in parts.parts {
            if handle == StateHandle::Finished {
                // It has emitted everything, and its splits were read to their ends.
                let (watermark, end_of_input) = (Some(Timestamp::MAX), EndOfInput::Handled);
                let nothing = OperatorSnapshot { watermark, end_of_input, ..OperatorSnapshot::default() };
                old.snapshots.insert(index, nothing);
                continue;
            }
            let database = database_of(&handle).filter(|database| database.key_groups.intersection(range).is_some());
            let database = database.cloned();
            let is_own = index == instance.index && parts.parallelism == instance.parallelism;
            let writer = if is_own { Writer::Itself } else { Writer::Another };
            let mut snapshot = files.read(&uid, writer, handle).await?;
            if planted!("window_end_read_as_its_start_from_a_savepoint")
                && directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with("savepoint-"))
            {
                let states = snapshot.keyed.iter_mut().filter(|(name, _)| !name.starts_with("_timer"));
                states.for_each(|(_, state)| state.begin_windows_at_their_ends());
            }
            if planted!("rescaled_savepoint_read_by_subtask_numbers")
                && parts.parallelism != instance.parallelism
                && index != instance.index
                && directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with("savepoint-"))
            {
                snapshot.keyed.clear();
            }
            // The rest is for others: with many subtasks it would not fit into memory.
            snapshot.keyed.values_mut().for_each(|state| state.groups.retain(|group, _| range.contains(*group)));
            if let Some(database) = database {
                let held = files.held_database(env, &uid, writer, &database).await;
                let of_database = match held {
                    Some(held) => held,
                    None => download.fetch(&uid, &database).await?,
                };
                snapshot.files.push(of_database);
                databases.push(database);
            }
            old.snapshots.insert(index, snapshot);
        }
        let assigned = old.assign_to(instance, range).map_err(|error| {
            Error::new(ErrorKind::CorruptState, format!("the state of operator {uid} contradicts itself"))
                .with_source(error)
        })?;
        // The database that the subtask goes on with: its files need not be kept again.
        let first = assigned.files.first().map(|files| files.key_groups);
        if let Some(database) = databases.into_iter().find(|database| Some(database.key_groups) == first) {
            kept_files.insert(uid.clone(), database.shared);
        }
        snapshots.insert(uid, assigned);
    }
    if restore.ownership == Ownership::User {
        // The user may delete the checkpoint as soon as there is another one.
        kept_files.clear();
    }
    let in_flight = if restore.in_flight_of_others.is_empty() {
        LoadedInFlight::Own(match restore.in_flight {
            Some(handle) => files.read_in_flight(Writer::Itself, handle).await?,
            None => InFlightState::default(),
        })
    } else {
        let mut of_others = BTreeMap::new();
        for (old, handle) in restore.in_flight_of_others {
            of_others.insert(old, files.read_in_flight(Writer::Another, handle).await?);
        }
        LoadedInFlight::OfOthers(of_others)
    };
    Ok(Loaded { snapshots, kept_files, in_flight, origins: files.origins })
}

fn database_of(handle: &StateHandle) -> Option<&DatabaseHandle> {
    match handle {
        StateHandle::Incremental { database, .. } => Some(database),
        StateHandle::Inline(_) | StateHandle::File { .. } | StateHandle::Finished => None,
    }
}

/// The state files of a checkpoint, as one subtask reads them.
struct StateFiles<'a> {
    file_system: &'a dyn FileSystem,
    directory: &'a Path,
    checkpoint_id: CheckpointId,
    local_state: Option<LocalStateStore>,
    origins: Origins,
}

impl StateFiles<'_> {
    /// What is kept of an operator beside the files of its database.
    async fn read(&mut self, uid: &OperatorUid, writer: Writer, handle: StateHandle) -> Result<OperatorSnapshot> {
        let handle = match handle {
            StateHandle::Incremental { rest, .. } => *rest,
            whole => whole,
        };
        let what = format!("the state of operator {uid}");
        let bytes = self.read_bytes(&what, writer, handle).await?;
        codec::decode(&bytes).map_err(|error| undecodable(&what, error))
    }

    async fn read_in_flight(&mut self, writer: Writer, handle: StateHandle) -> Result<InFlightState> {
        let what = "the in-flight data of a subtask";
        let bytes = self.read_bytes(what, writer, handle).await?;
        codec::decode(&bytes).map_err(|error| undecodable(what, error))
    }

    /// What a handle that is not incremental refers to.
    async fn read_bytes(&mut self, what: &str, writer: Writer, handle: StateHandle) -> Result<Vec<u8>> {
        match handle {
            StateHandle::Incremental { .. } => {
                let message = format!("{what} is incremental twice over");
                Err(Error::new(ErrorKind::CorruptState, message))
            }
            StateHandle::Finished => {
                let message = format!("{what} is that of one that has finished, and kept nothing");
                Err(Error::new(ErrorKind::CorruptState, message))
            }
            StateHandle::Inline(bytes) => Ok(bytes),
            StateHandle::File { name, length_bytes, crc32 } => {
                if let Some(bytes) = self.read_local(what, writer, &name, length_bytes, crc32).await? {
                    return Ok(bytes);
                }
                let path = self.directory.join(name);
                let bytes = match read_file(self.file_system, &path).await {
                    Ok(bytes) if bytes.is_empty() && planted!("empty_state_file_taken_for_empty_state") => {
                        return Ok(codec::encode(&OperatorSnapshot::default()));
                    }
                    Ok(bytes)
                        if !bytes.is_empty()
                            && bytes.iter().all(|byte| *byte == 0)
                            && planted!("zeroed_state_file_taken_for_empty_state") =>
                    {
                        return Ok(codec::encode(&OperatorSnapshot::default()));
                    }
                    read => read.map_err(|error| unreadable(&path, error))?,
                };
                check(&path, &bytes, length_bytes, crc32)?;
                Ok(bytes)
            }
        }
    }

    /// The copy of a state file on this machine, if it is wanted, there, and right.
    async fn read_local(
        &mut self,
        what: &str,
        writer: Writer,
        name: &str,
        length_bytes: u64,
        crc32: u32,
    ) -> Result<Option<Vec<u8>>> {
        let Some(local_state) = self.local_state_of(writer) else { return Ok(None) };
        match local_state.read(self.checkpoint_id, name, length_bytes, crc32).await {
            Ok(bytes) => {
                self.origins.add_local();
                Ok(Some(bytes))
            }
            Err(NoCopy::Unreadable(_)) if planted!("unreadable_local_copy_taken_for_empty_state") => {
                Ok(Some(codec::encode(&OperatorSnapshot::default())))
            }
            Err(reason) if planted!("local_copy_that_is_of_no_use_fails_the_restore") => {
                Err(Error::new(ErrorKind::CorruptState, format!("cannot restore {what}")).with_source(reason))
            }
            Err(reason) => {
                self.is_remote(what, &reason);
                Ok(None)
            }
        }
    }

    /// The files of an operator's database, if they are held on this machine, and are right.
    async fn held_database(
        &mut self,
        env: &Env,
        uid: &OperatorUid,
        writer: Writer,
        database: &DatabaseHandle,
    ) -> Option<DatabaseFiles> {
        let local_state = self.local_state_of(writer)?;
        let local = LocalFileSystem::new(env.clone());
        match local_state.read_database(&local, self.checkpoint_id, uid, database).await {
            Ok(files) => {
                self.origins.add_local();
                Some(files)
            }
            Err(reason) => {
                self.is_remote(&format!("the database of operator {uid}"), &reason);
                None
            }
        }
    }

    /// The copies of a writer's files, if they are wanted, and are on this machine if anywhere.
    fn local_state_of(&mut self, writer: Writer) -> Option<LocalStateStore> {
        let local_state = self.local_state.clone()?;
        if writer == Writer::Another {
            self.origins.add_remote(&"another subtask wrote it");
            return None;
        }
        Some(local_state)
    }

    fn is_remote(&mut self, what: &str, reason: &NoCopy) {
        let checkpoint_id = self.checkpoint_id;
        tracing::info!(%checkpoint_id, what, %reason, error = ?reason.source(), "not restored from a local copy");
        self.origins.add_remote(reason);
    }
}

fn undecodable(what: &str, error: DecodeError) -> Error {
    Error::new(ErrorKind::CorruptState, format!("{what} cannot be decoded")).with_source(error)
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::CorruptState,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot read state file {}", path.display())).with_source(error)
}

fn check(path: &Path, bytes: &[u8], length_bytes: u64, crc32: u32) -> Result<()> {
    let found = crc32fast::hash(bytes);
    if bytes.len() as u64 == length_bytes && (found == crc32 || planted!("state_checksum_not_checked")) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::CorruptState,
        format!(
            "state file {} is damaged: {} bytes with checksum {found:08x}, the checkpoint says {length_bytes} bytes with {crc32:08x}",
            path.display(),
            bytes.len(),
        ),
    )
    .with_hint("restore from another retained checkpoint with --from PATH"))
}
