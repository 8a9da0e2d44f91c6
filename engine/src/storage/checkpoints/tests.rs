use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{CheckpointMetadata, CheckpointStore, Takeover};
use crate::{
    Timestamp,
    env::Env,
    error::ErrorKind,
    id::{Attempt, CheckpointId, Epoch},
    storage::{LocalFileSystem, SharedFileSystem},
};

const FIRST: CheckpointId = CheckpointId(1);
const SECOND: CheckpointId = CheckpointId(2);

fn metadata(checkpoint_id: CheckpointId) -> CheckpointMetadata {
    CheckpointMetadata {
        checkpoint_id,
        attempt: Attempt(1),
        triggered_at: Timestamp(0),
        max_parallelism: 128,
        subtasks: BTreeMap::new(),
    }
}

async fn lead(env: &Env, directory: &Path, token: u64) -> (CheckpointStore, Takeover) {
    let file_system: SharedFileSystem = Arc::new(LocalFileSystem::new(env.clone()));
    CheckpointStore::take_over(file_system, directory.to_owned(), token, Epoch::default()).await.unwrap()
}

fn on_host<F: Future<Output = ()>>(test: impl FnOnce(Env) -> F) {
    Env::run_on_host(1, test).unwrap();
}

#[test]
fn a_stale_leader_that_finds_its_number_taken_is_fenced_and_deletes_nothing_of_the_new_one() {
    on_host(|env| async move {
        let directory = tempfile::tempdir().unwrap();
        let (mut stale, _) = lead(&env, directory.path(), 1).await;
        stale.prepare(FIRST).await.unwrap();
        let (mut leader, found) = lead(&env, directory.path(), 2).await;
        assert_eq!(found.next_checkpoint_id, SECOND);
        leader.prepare(SECOND).await.unwrap();
        leader.write_metadata(&metadata(SECOND)).await.unwrap();
        leader.complete(SECOND).await.unwrap();

        assert_eq!(stale.prepare(SECOND).await.unwrap_err().kind(), ErrorKind::Fenced);
        stale.discard(SECOND).await.unwrap();
        assert_eq!(leader.read_metadata(SECOND).await.unwrap(), metadata(SECOND));
    });
}

#[test]
fn a_directory_that_a_stale_leader_makes_late_fences_nobody_and_is_left_to_the_next_leader() {
    on_host(|env| async move {
        let directory = tempfile::tempdir().unwrap();
        let (mut stale, _) = lead(&env, directory.path(), 1).await;
        let (mut leader, _) = lead(&env, directory.path(), 2).await;
        stale.prepare(FIRST).await.unwrap();

        assert_eq!(leader.prepare(FIRST).await.unwrap_err().kind(), ErrorKind::Unavailable);
        leader.discard(FIRST).await.unwrap();
        assert!(leader.checkpoint_directory(FIRST).exists());
        leader.prepare(SECOND).await.unwrap();

        let (_, found) = lead(&env, directory.path(), 3).await;
        assert_eq!(found.abandoned, [FIRST, SECOND]);
    });
}

#[test]
fn a_stale_leader_that_misses_a_checkpoint_is_fenced_and_does_not_take_it_for_damaged() {
    on_host(|env| async move {
        let directory = tempfile::tempdir().unwrap();
        let (mut stale, _) = lead(&env, directory.path(), 1).await;
        stale.prepare(FIRST).await.unwrap();
        assert_eq!(stale.read_metadata(FIRST).await.unwrap_err().kind(), ErrorKind::CorruptState);
        let (leader, _) = lead(&env, directory.path(), 2).await;
        leader.discard(FIRST).await.unwrap();
        assert_eq!(stale.read_metadata(FIRST).await.unwrap_err().kind(), ErrorKind::Fenced);
    });
}
