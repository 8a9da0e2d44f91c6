//! Leaders over one directory, and files that are not what they should be.

use std::{fs, sync::Arc};

use tempfile::TempDir;

use super::*;
use crate::{config::ClaimMode, env::Env, storage::LocalFileSystem};

/// Runs a test with a directory of its own in the host world.
fn in_directory<F: Future<Output = ()>>(test: impl FnOnce(Directory) -> F) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("job");
    let run = |env: Env| test(Directory { file_system: Arc::new(LocalFileSystem::new(env)), path });
    Env::run_on_host(1, run).unwrap();
}

/// The checkpoint directory of a job.
struct Directory {
    file_system: SharedFileSystem,
    path: PathBuf,
}

impl Directory {
    async fn take_over(&self, token: u64) -> Result<(CheckpointStore, Takeover)> {
        CheckpointStore::take_over(self.file_system.clone(), self.path.clone(), token, Epoch::default(), Rival::Outbid)
            .await
    }

    fn log_entry(&self, sequence: u64) -> PathBuf {
        self.path.join("ha").join(entry_name(sequence))
    }
}

fn metadata(checkpoint_id: u64) -> CheckpointMetadata {
    CheckpointMetadata {
        checkpoint_id: CheckpointId(checkpoint_id),
        attempt: Attempt(1),
        triggered_at: Timestamp(1_000),
        max_parallelism: 128,
        subtasks: BTreeMap::new(),
        union: BTreeSet::new(),
        in_flight: BTreeMap::new(),
    }
}

async fn take_checkpoint(store: &mut CheckpointStore, checkpoint_id: u64) -> Result<()> {
    store.prepare(CheckpointId(checkpoint_id)).await?;
    store.write_metadata(&metadata(checkpoint_id)).await?;
    store.complete(CheckpointId(checkpoint_id)).await
}

fn ids(ids: &[u64]) -> Vec<CheckpointId> {
    ids.iter().copied().map(CheckpointId).collect()
}

#[test]
fn the_first_leader_finds_nothing() {
    in_directory(|directory| async move {
        let (_, found) = directory.take_over(1).await.unwrap();
        let nothing = Takeover {
            savepoint: None,
            epoch: Epoch(1),
            latest_completed: None,
            retained: Vec::new(),
            abandoned_savepoints: Vec::new(),
            abandoned: Vec::new(),
            next_checkpoint_id: CheckpointId(1),
            kept: Vec::new(),
            restored: None,
            ended: None,
            submission: None,
            shares_files: false,
        };
        assert_eq!(found, nothing);
    });
}

#[test]
fn a_takeover_finds_the_newest_completed_checkpoint_and_an_id_that_nobody_used() {
    in_directory(|directory| async move {
        let (mut first, _) = directory.take_over(1).await.unwrap();
        take_checkpoint(&mut first, 1).await.unwrap();
        take_checkpoint(&mut first, 2).await.unwrap();
        first.discard(CheckpointId(1)).await.unwrap();
        // Written whole, but the leader died before it was completed.
        first.prepare(CheckpointId(3)).await.unwrap();
        first.write_metadata(&metadata(3)).await.unwrap();

        let (second, found) = directory.take_over(2).await.unwrap();
        let expected = Takeover {
            savepoint: None,
            epoch: Epoch(2),
            latest_completed: Some(CheckpointId(2)),
            retained: ids(&[2]),
            abandoned_savepoints: Vec::new(),
            abandoned: ids(&[3]),
            next_checkpoint_id: CheckpointId(4),
            kept: Vec::new(),
            restored: None,
            ended: None,
            submission: None,
            shares_files: false,
        };
        assert_eq!(found, expected);
        assert_eq!(second.read_metadata(CheckpointId(2)).await.unwrap(), metadata(2));
    });
}

#[test]
fn of_two_leaders_the_older_one_can_complete_nothing() {
    in_directory(|directory| async move {
        let (mut older, _) = directory.take_over(1).await.unwrap();
        older.prepare(CheckpointId(1)).await.unwrap();
        older.write_metadata(&metadata(1)).await.unwrap();
        let (mut newer, found) = directory.take_over(2).await.unwrap();
        assert_eq!(found.latest_completed, None);

        let error = older.complete(CheckpointId(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        let error = older.end(JobEnd::Finished).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);

        take_checkpoint(&mut newer, found.next_checkpoint_id.0).await.unwrap();
        let (_, found) = directory.take_over(3).await.unwrap();
        assert_eq!(found.latest_completed, Some(CheckpointId(2)), "the id of the fenced checkpoint is not used again");
    });
}

#[test]
fn a_fenced_leader_deletes_nothing_of_its_successor() {
    in_directory(|directory| async move {
        let (mut older, _) = directory.take_over(1).await.unwrap();
        let (mut newer, _) = directory.take_over(2).await.unwrap();
        take_checkpoint(&mut newer, 1).await.unwrap();
        // The older one still believes to lead: it fails to begin its checkpoint 1, and clears that away.
        assert_eq!(older.prepare(CheckpointId(1)).await.unwrap_err().kind(), ErrorKind::Fenced);
        older.discard(CheckpointId(1)).await.unwrap();
        assert_eq!(newer.read_metadata(CheckpointId(1)).await.unwrap(), metadata(1));
    });
}

#[test]
fn an_id_is_not_used_again_when_no_trace_of_it_is_left() {
    in_directory(|directory| async move {
        let (mut first, _) = directory.take_over(1).await.unwrap();
        first.prepare(CheckpointId(1)).await.unwrap();
        let (second, found) = directory.take_over(2).await.unwrap();
        assert_eq!((found.abandoned, found.next_checkpoint_id), (ids(&[1]), CheckpointId(2)));
        second.discard(CheckpointId(1)).await.unwrap();
        let (mut third, found) = directory.take_over(3).await.unwrap();
        assert_eq!((found.abandoned, found.next_checkpoint_id), (ids(&[]), CheckpointId(2)));

        // The first one still believes to own its checkpoint 1, whoever completes what meanwhile.
        take_checkpoint(&mut third, found.next_checkpoint_id.0).await.unwrap();
        first.discard(CheckpointId(1)).await.unwrap();
        assert_eq!(third.read_metadata(CheckpointId(2)).await.unwrap(), metadata(2));
    });
}

#[test]
fn a_leader_deletes_what_it_found_and_what_it_made() {
    in_directory(|directory| async move {
        let (mut first, _) = directory.take_over(1).await.unwrap();
        take_checkpoint(&mut first, 1).await.unwrap();
        first.prepare(CheckpointId(2)).await.unwrap();
        let (mut second, _) = directory.take_over(2).await.unwrap();
        take_checkpoint(&mut second, 3).await.unwrap();
        for checkpoint_id in 1..=3 {
            second.discard(CheckpointId(checkpoint_id)).await.unwrap();
        }
        let left = fs::read_dir(&directory.path).unwrap().count();
        assert_eq!(left, 1, "the leader's log only");
    });
}

#[test]
fn two_leaders_with_one_token_are_still_two() {
    in_directory(|directory| async move {
        let (mut older, _) = directory.take_over(7).await.unwrap();
        let (_, found) = directory.take_over(7).await.unwrap();
        assert_eq!(found.epoch, Epoch(2));
        let error = older.complete(CheckpointId(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
    });
}

#[test]
fn completing_again_after_an_unknown_outcome_completes_once() {
    in_directory(|directory| async move {
        let (mut store, _) = directory.take_over(1).await.unwrap();
        take_checkpoint(&mut store, 1).await.unwrap();
        // As if the answer to the first try had been lost.
        store.next_sequence -= 1;
        store.complete(CheckpointId(1)).await.unwrap();
        let (_, found) = directory.take_over(2).await.unwrap();
        assert_eq!(found.retained, ids(&[1]));
    });
}

#[test]
fn a_job_that_has_ended_is_found_ended() {
    in_directory(|directory| async move {
        let (mut store, _) = directory.take_over(1).await.unwrap();
        store.end(JobEnd::Finished).await.unwrap();
        let (_, found) = directory.take_over(2).await.unwrap();
        assert!(found.ended == Some(JobEnd::Finished));
    });
}

#[test]
fn an_id_whose_directory_exists_cannot_be_prepared_again() {
    in_directory(|directory| async move {
        let (mut store, _) = directory.take_over(1).await.unwrap();
        store.prepare(CheckpointId(1)).await.unwrap();
        assert_eq!(store.prepare(CheckpointId(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    });
}

#[test]
fn a_damaged_entry_of_the_log_stops_the_takeover_instead_of_being_skipped() {
    in_directory(|directory| async move {
        let (mut store, _) = directory.take_over(1).await.unwrap();
        take_checkpoint(&mut store, 1).await.unwrap();
        let entry = directory.log_entry(1);
        let mut bytes = fs::read(&entry).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&entry, &bytes).unwrap();
        let error = directory.take_over(2).await.err().expect("a damaged log is not read over");
        assert_eq!(error.kind(), ErrorKind::CorruptState);
        assert!(error.to_string().contains("0000000001 is damaged: its checksum does not match"), "{error}");
    });
}

#[test]
fn a_checkpoint_that_is_not_there_is_told_from_a_damaged_one() {
    in_directory(|directory| async move {
        let (store, _) = directory.take_over(1).await.unwrap();
        let error = store.read_metadata(CheckpointId(9)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CorruptState);
        assert!(error.to_string().contains("there is no checkpoint at"), "{error}");
    });
}

#[test]
fn discarding_twice_is_harmless() {
    in_directory(|directory| async move {
        let (mut store, _) = directory.take_over(1).await.unwrap();
        take_checkpoint(&mut store, 1).await.unwrap();
        store.discard(CheckpointId(1)).await.unwrap();
        store.discard(CheckpointId(1)).await.unwrap();
        assert!(!directory.path.join("chk-1").exists());
    });
}

/// What is wrong with the bytes, as the message says it.
#[track_caller]
fn expect_damage(bytes: &[u8], what: &str) {
    let error = decode_metadata(Path::new("chk-1/_metadata"), bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CorruptState);
    assert!(error.to_string().contains(&format!("chk-1/_metadata is damaged: {what}")), "{error}");
}

#[test]
fn each_kind_of_damage_has_its_own_words() {
    let whole = seal(&metadata(1));
    assert_eq!(decode_metadata(Path::new("_metadata"), &whole).unwrap(), metadata(1));

    expect_damage(&[], "it has 0 bytes, not even a header");
    expect_damage(&whole[..8], "it has 8 bytes, not even a header");
    expect_damage(&[b"ELF!", &whole[4..]].concat(), "it does not start like a tidegate file");
    expect_damage(&[&whole[..4], &[1], &whole[5..]].concat(), "format version 1, this program reads version 3");
    expect_damage(&[&whole[..], b"!"].concat(), "its checksum does not match its content");
    // Whole, but something else.
    expect_damage(&seal(&"text"), "cannot decode");
}

#[test]
fn no_torn_and_no_flipped_metadata_is_ever_accepted() {
    let whole = seal(&metadata(1));
    for length in 0..whole.len() {
        let torn = decode_metadata(Path::new("_metadata"), &whole[..length]);
        assert_eq!(torn.unwrap_err().kind(), ErrorKind::CorruptState, "torn after {length} bytes");
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let read = decode_metadata(Path::new("_metadata"), &flipped);
        assert_eq!(read.unwrap_err().kind(), ErrorKind::CorruptState, "bit {bit} flipped");
    }
}

#[test]
fn a_sweep_takes_what_nobody_needs_and_no_later_attempt_wrote() {
    in_directory(|directory| async move {
        let (store, found) = directory.take_over(1).await.unwrap();
        assert!(!found.shares_files);
        let shared = directory.path.join("shared");
        fs::create_dir(&shared).unwrap();
        let names = ["1000001-v1-0-aa", "1000002-v1-0-bb", "2000001-v1-0-cc", "1000001-v1-0-dd", "somebody-else-s"];
        names.iter().for_each(|name| fs::write(shared.join(name), "x").unwrap());
        let left = || {
            let mut names: Vec<_> = fs::read_dir(&shared).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let keep = BTreeSet::from(["1000001-v1-0-aa".to_owned()]);
        let running = BTreeSet::from([Attempt(1_000_002)]);
        let sweep = Sweep { keep: keep.clone(), newest: Attempt(1_000_003), running };
        store.sweep_shared(&sweep).await.unwrap();
        assert_eq!(left(), ["1000001-v1-0-aa", "1000002-v1-0-bb", "2000001-v1-0-cc", "somebody-else-s"]);
        let sweep = Sweep { keep, newest: Attempt(1_000_002), running: BTreeSet::new() };
        store.sweep_shared(&sweep).await.unwrap();
        assert_eq!(left(), ["1000001-v1-0-aa", "2000001-v1-0-cc", "somebody-else-s"]);
        store.discard_shared(&["1000001-v1-0-aa".into(), "gone".into()]).await.unwrap();
        assert_eq!(left(), ["2000001-v1-0-cc", "somebody-else-s"]);

        let (_, found) = directory.take_over(2).await.unwrap();
        assert!(found.shares_files);
        let all = Sweep { keep: BTreeSet::new(), newest: Attempt(9_000_000), running: BTreeSet::new() };
        assert_eq!(store.sweep_shared(&all).await.unwrap_err().kind(), ErrorKind::Fenced);
        assert_eq!(left(), ["2000001-v1-0-cc", "somebody-else-s"], "a fenced leader leaves everything alone");
    });
}

#[test]
fn half_a_savepoint_is_found_by_the_next_leader_and_its_number_is_not_used_again() {
    in_directory(|directory| async move {
        let (mut first, found) = directory.take_over(1).await.unwrap();
        assert_eq!(found.next_checkpoint_id, CheckpointId(1));
        let place = directory.path.parent().unwrap().to_owned();
        let (half, whole) = (place.join("savepoint-half"), place.join("savepoint-whole"));
        for (checkpoint_id, savepoint) in [(1, &half), (2, &whole)] {
            first.begin_savepoint(CheckpointId(checkpoint_id), savepoint).await.unwrap();
            prepare_savepoint(&directory.file_system, savepoint).await.unwrap();
        }
        write_metadata(&directory.file_system, &whole, &metadata(2)).await.unwrap();
        first.begin_savepoint(CheckpointId(3), &place.join("savepoint-never-created")).await.unwrap();

        let (_, found) = directory.take_over(2).await.unwrap();
        assert_eq!(found.abandoned_savepoints, [(CheckpointId(1), half.clone())]);
        assert_eq!((found.latest_completed, found.next_checkpoint_id), (None, CheckpointId(4)));
        discard(&directory.file_system, &half).await.unwrap();

        let (_, found) = directory.take_over(3).await.unwrap();
        assert_eq!((found.abandoned_savepoints, found.next_checkpoint_id), (Vec::new(), CheckpointId(4)));
        assert!(whole.join(METADATA).is_file(), "what is whole is the user's");
    });
}

#[test]
fn what_a_fenced_leader_left_under_the_number_of_a_savepoint_is_no_checkpoint_and_is_deleted() {
    in_directory(|directory| async move {
        let (mut older, _) = directory.take_over(1).await.unwrap();
        take_checkpoint(&mut older, 1).await.unwrap();
        let (mut newer, _) = directory.take_over(2).await.unwrap();
        older.prepare(CheckpointId(2)).await.unwrap();
        let savepoint = directory.path.parent().unwrap().join("savepoint");
        prepare_savepoint(&directory.file_system, &savepoint).await.unwrap();
        write_metadata(&directory.file_system, &savepoint, &metadata(2)).await.unwrap();
        newer.complete_savepoint(CheckpointId(2), &savepoint).await.unwrap();
        take_checkpoint(&mut newer, 3).await.unwrap();

        let (store, found) = directory.take_over(3).await.unwrap();
        assert_eq!((found.retained, found.abandoned), (ids(&[1, 3]), ids(&[2])));
        store.discard(CheckpointId(2)).await.unwrap();
        assert!(!directory.path.join("chk-2").exists());
        assert!(savepoint.join(METADATA).is_file());
    });
}

#[test]
fn of_the_run_before_only_what_lies_among_the_checkpoints_is_kept_for_the_user() {
    in_directory(|directory| async move {
        let (mut fenced, _) = directory.take_over(1).await.unwrap();
        take_checkpoint(&mut fenced, 1).await.unwrap();
        let (mut first, _) = directory.take_over(2).await.unwrap();
        fenced.prepare(CheckpointId(2)).await.unwrap();
        let savepoint = directory.path.parent().unwrap().join("savepoint");
        prepare_savepoint(&directory.file_system, &savepoint).await.unwrap();
        write_metadata(&directory.file_system, &savepoint, &metadata(2)).await.unwrap();
        first.complete_savepoint(CheckpointId(2), &savepoint).await.unwrap();
        first.end(JobEnd::Finished).await.unwrap();

        let (mut second, mut found) = directory.take_over(3).await.unwrap();
        assert_eq!((&found.retained, &found.abandoned), (&ids(&[1, 2]), &ids(&[2])));
        let from = RestoredFrom {
            checkpoint_id: CheckpointId(2),
            directory: savepoint.display().to_string(),
            claim_mode: ClaimMode::NoClaim,
        };
        second.begin_run(&mut found, from, 7).await.unwrap();
        assert_eq!((found.retained, found.kept), (ids(&[]), ids(&[1])), "the savepoint is looked for where it is");
        assert_eq!(found.abandoned, ids(&[2]), "what lies under its number is deleted");
    });
}
