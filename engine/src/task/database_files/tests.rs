//! Files of databases on their way to the storage and back.

use std::{fs, sync::Arc};

use tempfile::TempDir;

use super::*;
use crate::{
    id::{Attempt, SubtaskId, VertexId},
    state::KeyGroupRange,
    task::{pieces::PIECE_BYTES, uploads::UploadLedger},
};

/// A database's directory and a job's checkpoints.
struct Place {
    env: Env,
    directory: TempDir,
    ledger: UploadLedger,
}

fn uid() -> OperatorUid {
    OperatorUid("sum".into())
}

impl Place {
    fn run<F: Future<Output = ()>>(test: impl FnOnce(Self) -> F) {
        Env::run_on_host(1, |env| {
            let directory = TempDir::new().unwrap();
            fs::create_dir(directory.path().join("db")).unwrap();
            test(Self { env, directory, ledger: UploadLedger::default() })
        })
        .unwrap();
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.directory.path().join("db").join(name), content).unwrap();
    }

    fn job(&self) -> PathBuf {
        self.directory.path().join("job")
    }

    fn chk(&self, checkpoint_id: u64) -> PathBuf {
        self.job().join(format!("chk-{checkpoint_id}"))
    }

    fn files(&self) -> DatabaseFiles {
        DatabaseFiles {
            directory: LocalDirectory::new(self.directory.path().join("db"), Arc::new(())),
            key_groups: KeyGroupRange { start: 0, end: 3 },
            states: BTreeMap::new(),
        }
    }

    /// Keeps the files as a checkpoint.
    async fn upload(&mut self, checkpoint_id: u64) -> (Uploader, Result<DatabaseHandle>) {
        fs::create_dir_all(self.chk(checkpoint_id)).unwrap();
        let execution =
            ExecutionAttempt { subtask: SubtaskId { vertex: VertexId(1), index: 0 }, attempt: Attempt(1_000_001) };
        let file_system = Arc::new(LocalFileSystem::new(self.env.clone()));
        let upload = self.ledger.begin(CheckpointId(checkpoint_id));
        let mut uploader = Uploader::new(self.env.clone(), file_system, execution, upload);
        let handle = uploader
            .upload(
                &uid(),
                &self.files(),
                Target { directory: &self.chk(checkpoint_id), prefix: "v1-0", sharing: Sharing::Shared },
            )
            .await;
        (uploader, handle)
    }

    async fn completed(&mut self, checkpoint_id: u64) -> DatabaseHandle {
        let (mut uploader, handle) = self.upload(checkpoint_id).await;
        uploader.acknowledge().unwrap();
        self.ledger.confirmed(CheckpointId(checkpoint_id));
        handle.unwrap()
    }

    fn shared(&self) -> Vec<String> {
        let entries = fs::read_dir(self.job().join("shared")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    async fn fetch(&self, checkpoint_id: u64, handle: &DatabaseHandle) -> Result<DatabaseFiles> {
        let file_system = LocalFileSystem::new(self.env.clone());
        let (backend, directory) = (StateBackend::default(), self.chk(checkpoint_id));
        let checkpoint_id = CheckpointId(checkpoint_id);
        let download = Download {
            env: &self.env,
            file_system: &file_system,
            backend: &backend,
            checkpoint_id,
            directory: &directory,
        };
        download.fetch(&uid(), handle).await
    }
}

#[test]
fn a_second_checkpoint_writes_what_is_new_and_refers_to_the_rest() {
    Place::run(|mut place| async move {
        let large = vec![7; 3 * PIECE_BYTES + 5];
        place.write("000008.sst", &large);
        place.write("MANIFEST-000005", b"one");
        let first = place.completed(1).await;
        assert_eq!(place.shared().len(), 1);
        assert!(first.shared["000008.sst"].is_of(&large));
        place.write("000012.sst", b"what has changed");
        place.write("MANIFEST-000005", b"two");
        let second = place.completed(2).await;
        assert_eq!(second.shared["000008.sst"], first.shared["000008.sst"]);
        let written: u64 = second
            .shared
            .iter()
            .filter(|(name, _)| !first.shared.contains_key(*name))
            .map(|(_, file)| file.length_bytes)
            .sum();
        assert_eq!(written, b"what has changed".len() as u64);
        assert_eq!(place.shared().len(), 2);
        let restored = place.fetch(1, &first).await.unwrap();
        assert_eq!(fs::read(restored.directory.path().join("MANIFEST-000005")).unwrap(), b"one");
        let restored = place.fetch(2, &second).await.unwrap();
        assert_eq!(fs::read(restored.directory.path().join("MANIFEST-000005")).unwrap(), b"two");
        assert_eq!(fs::read(restored.directory.path().join("000008.sst")).unwrap(), large);
    });
}

#[test]
fn a_checkpoint_that_fails_leaves_no_shared_files_and_nobody_refers_to_them() {
    Place::run(|mut place| async move {
        place.write("000008.sst", b"kept");
        let first = place.completed(1).await;
        place.write("000012.sst", b"new");
        let (uploader, handle) = place.upload(2).await;
        let lost = handle.unwrap().shared["000012.sst"].clone();
        uploader.give_up().await;
        place.ledger.aborted(CheckpointId(2));
        assert_eq!(place.shared(), [first.shared["000008.sst"].name.clone()]);
        let third = place.completed(3).await;
        assert_ne!(third.shared["000012.sst"].name, lost.name);
        assert_eq!(third.shared["000008.sst"], first.shared["000008.sst"]);
    });
}

#[test]
fn a_file_that_is_damaged_or_missing_is_named_with_its_operator_and_checkpoint() {
    Place::run(|mut place| async move {
        place.write("000008.sst", b"content");
        let handle = place.completed(7).await;
        let path = place.job().join("shared").join(&handle.shared["000008.sst"].name);
        for (content, what) in [
            (Some("contenX"), "is damaged: 7 bytes with checksum"),
            (Some("cont"), "is damaged: 4 bytes with checksum"),
            (None, "does not exist"),
        ] {
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let error = place.fetch(7, &handle).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::CorruptState);
            let said = error.to_string();
            for part in [path.to_str().unwrap(), "operator sum", what, "checkpoint 7"] {
                assert!(said.contains(part), "{said}");
            }
        }
    });
}
