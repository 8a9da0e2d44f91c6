//! What becomes of local copies, on a real disk.

use std::future::Future;

use super::*;
use crate::{
    env::Env,
    id::VertexId,
    net::FileHandle,
    state::{KeyGroupRange, LocalDirectory},
    storage::{EntryKind, LocalFileSystem},
};

const FIRST: CheckpointId = CheckpointId(1);
const SECOND: CheckpointId = CheckpointId(2);
const THIRD: CheckpointId = CheckpointId(3);

fn on_disk<F: Future<Output = ()>>(test: impl FnOnce(PathBuf, LocalStateStores) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    let roots = vec![root.join("a"), root.join("b")];
    let wanted = LocalRecovery { from_local: true, backup: true, directories: roots };
    let ran = Env::run_on_host(1, |env| {
        let disk: SharedFileSystem = Arc::new(LocalFileSystem::new(env));
        let id = TaskManagerId("tm".into());
        test(root, LocalStateStores::of_job(&wanted, disk, &id, Path::new("/checkpoints/job")).unwrap())
    });
    ran.unwrap();
}

fn store(stores: &LocalStateStores) -> LocalStateStore {
    stores.of_subtask(SubtaskId { vertex: VertexId(0), index: 1 })
}

fn copy(name: &str, bytes: &[u8]) -> StateFile {
    (name.to_owned(), bytes.to_owned())
}

fn copies<const N: usize>(files: [StateFile; N]) -> Copies {
    Copies { files: files.into(), databases: BTreeMap::new() }
}

/// The files of a database with this content, in a directory that is there as long as the owner.
fn database(path: &Path, content: &[u8], owner: &Arc<()>) -> HeldDatabase {
    std::fs::create_dir_all(path).unwrap();
    std::fs::write(path.join("000007.sst"), content).unwrap();
    let kept = FileHandle {
        name: "v0-1-shared".into(),
        length_bytes: content.len() as u64,
        crc32: crc32fast::hash(content).to_le_bytes(),
    };
    let (key_groups, states) = (KeyGroupRange { start: 0, end: 3 }, BTreeMap::new());
    HeldDatabase {
        handle: DatabaseHandle {
            key_groups,
            states: states.clone(),
            shared: [("000007.sst".into(), kept)].into(),
            private: BTreeMap::new(),
        },
        files: DatabaseFiles { directory: LocalDirectory::new(path.to_owned(), owner.clone()), key_groups, states },
    }
}

fn holding(held: &HeldDatabase) -> Copies {
    Copies { files: Vec::new(), databases: [(sum(), held.clone())].into() }
}

fn sum() -> OperatorUid {
    OperatorUid("sum".into())
}

async fn read(store: &LocalStateStore, checkpoint_id: CheckpointId, name: &str, expected: &[u8]) -> String {
    match store.read(checkpoint_id, name, expected.len() as u64, crc32fast::hash(expected)).await {
        Ok(bytes) => String::from_utf8(bytes).unwrap(),
        Err(reason) => reason.to_string(),
    }
}

/// The names of all files below a directory.
async fn files(disk: &SharedFileSystem, root: &Path) -> Vec<String> {
    let (mut found, mut directories) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in disk.list(&directory).await.unwrap() {
            let path = directory.join(&entry.name);
            match entry.kind {
                EntryKind::Directory => directories.push(path),
                EntryKind::File => found.push(entry.name),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_completed_checkpoint_leaves_its_own_copy_and_those_of_later_ones() {
    on_disk(|root, stores| async move {
        let store = store(&stores);
        for (checkpoint_id, name) in [(FIRST, "first"), (SECOND, "second"), (THIRD, "third")] {
            store.keep(checkpoint_id, copies([copy(name, b"state")])).await;
        }
        store.completed(SECOND);
        store.clone().tidy_up().await;
        assert_eq!(files(&stores.disk, &root).await, ["second", "third"]);
        store.aborted(THIRD);
        store.clone().tidy_up().await;
        assert_eq!(files(&stores.disk, &root).await, ["second"]);
    });
}

#[test]
fn a_copy_that_is_late_for_the_fate_of_its_checkpoint_is_not_kept() {
    on_disk(|root, stores| async move {
        let store = store(&stores);
        store.completed(SECOND);
        store.keep(FIRST, copies([copy("first", b"state")])).await;
        store.aborted(THIRD);
        store.keep(THIRD, copies([copy("third", b"state")])).await;
        assert_eq!(files(&stores.disk, &root).await, [""; 0]);
        store.keep(SECOND, copies([copy("second", b"state")])).await;
        assert_eq!(files(&stores.disk, &root).await, ["second"], "its notice may come before its copy is written");
    });
}

#[test]
fn only_the_bytes_that_the_checkpoint_describes_are_restored() {
    on_disk(|_, stores| async move {
        let store = store(&stores);
        store.keep(FIRST, copies([copy("a", b"alpha"), copy("b", b"beta")])).await;
        assert_eq!(read(&store, FIRST, "a", b"alpha").await, "alpha");
        assert_eq!(read(&store, FIRST, "b", b"beta").await, "beta", "two operators of a chain have a file each");
        assert_eq!(read(&store, FIRST, "a", b"alphA").await, "the copy is not what the checkpoint holds");
        assert_eq!(read(&store, FIRST, "a", b"alph").await, "the copy is not what the checkpoint holds");
        assert_eq!(read(&store, SECOND, "a", b"alpha").await, "there is no copy");
        let unreadable = store.read(FIRST, "../chk_1", 1, 0).await.unwrap_err();
        assert_eq!(unreadable.to_string(), "the copy cannot be read");
    });
}

#[test]
fn an_attempt_begins_with_the_copy_of_its_checkpoint_and_no_other() {
    on_disk(|root, stores| async move {
        let earlier = store(&stores);
        for (checkpoint_id, name) in [(FIRST, "first"), (SECOND, "second"), (THIRD, "third")] {
            earlier.keep(checkpoint_id, copies([copy(name, b"state")])).await;
        }
        store(&stores).restored(Some(SECOND)).await;
        assert_eq!(files(&stores.disk, &root).await, ["second"]);
        store(&stores).restored(None).await;
        assert_eq!(files(&stores.disk, &root).await, [""; 0]);
    });
}

#[test]
fn nothing_stays_when_the_job_is_over_not_even_what_comes_late() {
    on_disk(|root, stores| async move {
        let store = store(&stores);
        store.keep(FIRST, copies([copy("first", b"state")])).await;
        stores.remove().await;
        store.keep(SECOND, copies([copy("second", b"state")])).await;
        assert_eq!(files(&stores.disk, &root).await, [""; 0]);
    });
}

#[test]
fn a_disk_that_takes_nothing_costs_the_copy_only() {
    on_disk(|root, stores| async move {
        // Where a directory should be there is a file.
        drop(stores.disk.create(&root.join("a")).await.unwrap());
        drop(stores.disk.create(&root.join("b")).await.unwrap());
        let store = store(&stores);
        store.restored(Some(FIRST)).await;
        store.keep(SECOND, copies([copy("second", b"state")])).await;
        store.completed(THIRD);
        store.clone().tidy_up().await;
        assert_ne!(read(&store, SECOND, "second", b"state").await, "state");
        stores.remove().await;
    });
}

#[test]
fn without_files_or_without_the_wish_there_are_no_copies() {
    let ran = Env::run_on_host(1, |env| async move {
        let disk: SharedFileSystem = Arc::new(LocalFileSystem::new(env));
        let id = TaskManagerId("tm".into());
        let wanted = LocalRecovery { from_local: true, ..LocalRecovery::default() };
        let none = LocalRecovery::default();
        assert!(LocalStateStores::of_job(&none, disk.clone(), &id, Path::new("/checkpoints/job")).is_none());
        assert!(LocalStateStores::of_job(&wanted, disk.clone(), &id, Path::new("")).is_none());
        let here = LocalStateStores::of_job(&wanted, disk.clone(), &id, Path::new("/here/job")).unwrap();
        let there = LocalStateStores::of_job(&wanted, disk, &id, Path::new("/there/job")).unwrap();
        assert_ne!(here.directories, there.directories, "two jobs of one name");
    });
    ran.unwrap();
}

#[test]
fn a_database_that_is_held_is_given_for_its_own_checkpoint_if_its_files_are_as_they_were() {
    on_disk(|root, stores| async move {
        let (store, owner) = (store(&stores), Arc::new(()));
        let (first, second) =
            (database(&root.join("first"), b"first", &owner), database(&root.join("second"), b"second", &owner));
        store.keep(FIRST, holding(&first)).await;
        store.keep(SECOND, holding(&second)).await;
        let disk = stores.disk.clone();
        // Another attempt on the same task manager asks.
        let again = self::store(&stores);
        let ask = async |checkpoint_id, uid: &OperatorUid, held: &HeldDatabase| {
            let asked = again.read_database(disk.as_ref(), checkpoint_id, uid, &held.handle).await;
            asked.map(|files| files.directory.path().to_owned()).map_err(|reason| reason.to_string())
        };
        assert_eq!(ask(FIRST, &sum(), &first).await, Ok(root.join("first")));
        assert_eq!(ask(SECOND, &sum(), &second).await, Ok(root.join("second")));
        let missing = Err(NoCopy::Missing.to_string());
        assert_eq!(ask(THIRD, &sum(), &second).await, missing);
        assert_eq!(ask(SECOND, &OperatorUid("other".into()), &second).await, missing);
        let differs = Err(NoCopy::Differs.to_string());
        assert_eq!(ask(SECOND, &sum(), &first).await, differs);
        std::fs::write(root.join("second").join("000007.sst"), b"sEcond").unwrap();
        assert_eq!(ask(SECOND, &sum(), &second).await, differs);
        std::fs::remove_file(root.join("second").join("000007.sst")).unwrap();
        assert!(ask(SECOND, &sum(), &second).await.unwrap_err().contains("cannot be read"));
    });
}

#[test]
fn a_database_is_held_as_long_as_a_copy_would_be() {
    on_disk(|root, stores| async move {
        let (store, owners) = (store(&stores), [(); 4].map(Arc::new));
        let held = |owners: &[Arc<()>]| owners.iter().map(|owner| Arc::strong_count(owner) > 1).collect::<Vec<_>>();
        for (checkpoint_id, owner) in [FIRST, SECOND, THIRD].into_iter().zip(&owners) {
            store.keep(checkpoint_id, holding(&database(&root.join("db"), b"files", owner))).await;
        }
        assert_eq!(held(&owners), [true, true, true, false]);
        store.completed(SECOND);
        store.clone().tidy_up().await;
        assert_eq!(held(&owners), [false, true, true, false]);
        store.keep(FIRST, holding(&database(&root.join("db"), b"files", &owners[3]))).await;
        assert_eq!(held(&owners), [false, true, true, false]);
        store.aborted(THIRD);
        store.clone().tidy_up().await;
        assert_eq!(held(&owners), [false, true, false, false]);
        self::store(&stores).restored(Some(SECOND)).await;
        assert_eq!(held(&owners), [false, true, false, false]);
        self::store(&stores).restored(None).await;
        assert_eq!(held(&owners), [false; 4]);
        self::store(&stores).keep(FIRST, holding(&database(&root.join("db"), b"files", &owners[3]))).await;
        stores.remove().await;
        assert_eq!(held(&owners), [false; 4]);
    });
}
