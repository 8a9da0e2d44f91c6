//! Reads back what a subtask kept in a checkpoint, and refuses what is damaged.

use std::{collections::BTreeMap, path::Path};

use super::{database_files::Download, uploads::KeptFiles};
use crate::{
    checkpoint::Ownership,
    codec,
    config::StateBackend,
    env::Env,
    error::{Error, ErrorKind, Result},
    id::OperatorUid,
    net::{DatabaseHandle, StateHandle, SubtaskRestore},
    operator::OperatorSnapshot,
    planted,
    state::{
        ListMode,
        redistribution::{Lists, redistribute_lists},
    },
    storage::{FileSystem, read_file},
};

/// Loads the snapshots of all operators of a subtask, and says which shared files the job's checkpoint refers to.
pub(super) async fn load(
    env: &Env,
    file_system: &dyn FileSystem,
    backend: &StateBackend,
    restore: SubtaskRestore,
) -> Result<(BTreeMap<OperatorUid, OperatorSnapshot>, KeptFiles)> {
    let directory = Path::new(&restore.directory);
    let checkpoint_id = restore.checkpoint_id.unwrap_or_default();
    let download = Download { env, file_system, backend, checkpoint_id, directory };
    let (mut snapshots, mut kept_files) = (BTreeMap::new(), KeptFiles::new());
    for (uid, handle) in restore.operators {
        let database = database_of(&handle).cloned();
        let mut snapshot = read(file_system, directory, &uid, handle).await?;
        if let Some(database) = database {
            snapshot.files = Some(download.fetch(&uid, &database).await?);
            kept_files.insert(uid.clone(), database.shared);
        }
        snapshots.insert(uid, snapshot);
    }
    if restore.ownership == Ownership::User {
        // The user may delete the checkpoint as soon as there is another one.
        kept_files.clear();
    }
    for (uid, handles) in restore.union {
        let mut kept = Vec::new();
        for handle in handles {
            let snapshot = read(file_system, directory, &uid, handle).await?;
            kept.push(snapshot.lists);
        }
        if planted!("union_state_treated_as_split") {
            continue;
        }
        unite(&mut snapshots.entry(uid).or_default().lists, kept);
    }
    Ok((snapshots, kept_files))
}

fn database_of(handle: &StateHandle) -> Option<&DatabaseHandle> {
    match handle {
        StateHandle::Incremental { database, .. } => Some(database),
        StateHandle::Inline(_) | StateHandle::File { .. } => None,
    }
}

/// Replaces a subtask's union lists by those of all subtasks.
fn unite(own: &mut Lists, mut kept: Vec<Lists>) {
    for lists in &mut kept {
        lists.retain(|_, list| list.mode == ListMode::Union);
    }
    // Union lists are the same for everybody.
    own.extend(redistribute_lists(&kept, 1).swap_remove(0));
}

/// What is kept of an operator beside the files of its database.
async fn read(
    file_system: &dyn FileSystem,
    directory: &Path,
    uid: &OperatorUid,
    handle: StateHandle,
) -> Result<OperatorSnapshot> {
    let handle = match handle {
        StateHandle::Incremental { rest, .. } => *rest,
        whole => whole,
    };
    let bytes = match handle {
        StateHandle::Incremental { .. } => {
            let message = format!("the state of operator {uid} is incremental twice over");
            return Err(Error::new(ErrorKind::CorruptState, message));
        }
        StateHandle::Inline(bytes) => bytes,
        StateHandle::File { name, length_bytes, crc32 } => {
            let path = directory.join(name);
            let bytes = read_file(file_system, &path).await.map_err(|error| unreadable(&path, error))?;
            check(&path, &bytes, length_bytes, crc32)?;
            bytes
        }
    };
    codec::decode(&bytes).map_err(|error| {
        Error::new(ErrorKind::CorruptState, format!("the state of operator {uid} cannot be decoded")).with_source(error)
    })
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
    if bytes.len() as u64 == length_bytes && found == crc32 {
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
