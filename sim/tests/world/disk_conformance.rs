//! The same test on the simulated disk and on the host's file system: what a healthy file system does.

use std::{
    future::Future,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use tidegate::{
    env::{Env, sim::simulate},
    storage::{Entry, EntryKind, FileSystem, LocalFileSystem, SharedFileSystem, publish_file, read_file, replace_file},
};
use tidegate_sim::world::disk::{DiskConfig, SimDisk};

/// Runs `body` with an empty directory on the host, and on the simulated disk with and without latency.
fn on_both<B, F>(body: B)
where
    B: Fn(SharedFileSystem, PathBuf) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let directory = tempfile::tempdir().unwrap();
    Env::run_on_host(1, |env| body(Arc::new(LocalFileSystem::new(env)), directory.path().to_owned())).unwrap();
    for (seed, config) in [(1, DiskConfig::default()), (2, DiskConfig::INSTANT)] {
        let body = body.clone();
        simulate(
            seed,
            |_| {},
            move || async move {
                let disk = SimDisk::new(seed, config);
                disk.create_directories(Path::new("/data/root")).await.unwrap();
                body(Arc::new(disk), PathBuf::from("/data/root")).await;
            },
        )
        .unwrap();
    }
}

async fn write(fs: &SharedFileSystem, path: &Path, bytes: &[u8]) {
    fs.create(path).await.unwrap().write(bytes).await.unwrap();
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

fn entry(name: &str, kind: EntryKind) -> Entry {
    Entry { name: name.to_owned(), kind }
}

#[test]
fn a_created_file_exists_and_holds_what_was_written() {
    on_both(|fs, root| async move {
        let path = root.join("a");
        assert!(!fs.exists(&path).await.unwrap());
        let mut file = fs.create(&path).await.unwrap();
        file.write(b"hello ").await.unwrap();
        file.write(b"world").await.unwrap();
        file.sync().await.unwrap();
        assert!(fs.exists(&path).await.unwrap());
        assert_eq!(fs.length(&path).await.unwrap(), 11);
        assert_eq!(read_file(&*fs, &path).await.unwrap(), b"hello world");
    });
}

#[test]
fn creating_a_name_that_is_taken_fails_and_changes_nothing() {
    on_both(|fs, root| async move {
        let path = root.join("a");
        write(&fs, &path, b"first").await;
        assert_eq!(kind(fs.create(&path).await), ErrorKind::AlreadyExists);
        assert_eq!(kind(fs.create_directory(&path).await), ErrorKind::AlreadyExists);
        assert_eq!(read_file(&*fs, &path).await.unwrap(), b"first");
    });
}

#[test]
fn what_is_missing_is_not_found() {
    on_both(|fs, root| async move {
        let missing = root.join("missing");
        assert_eq!(kind(fs.open(&missing).await), ErrorKind::NotFound);
        assert_eq!(kind(fs.length(&missing).await), ErrorKind::NotFound);
        assert_eq!(kind(fs.remove(&missing).await), ErrorKind::NotFound);
        assert_eq!(kind(fs.rename(&missing, &root.join("b")).await), ErrorKind::NotFound);
        assert_eq!(kind(fs.publish(&missing, &root.join("b")).await), ErrorKind::NotFound);
        assert_eq!(kind(fs.create(&missing.join("a")).await), ErrorKind::NotFound);
        assert_eq!(kind(fs.create_directory(&missing.join("a")).await), ErrorKind::NotFound);
        assert_eq!(kind(fs.sync_directory(&missing).await), ErrorKind::NotFound);
        assert_eq!(fs.list(&missing).await.unwrap(), []);
        fs.remove_directory(&missing).await.unwrap();
    });
}

#[test]
fn a_file_is_no_directory_and_a_directory_no_file() {
    on_both(|fs, root| async move {
        let (file, directory) = (root.join("file"), root.join("directory"));
        write(&fs, &file, b"x").await;
        fs.create_directory(&directory).await.unwrap();
        assert_eq!(kind(fs.create(&file.join("a")).await), ErrorKind::NotADirectory);
        assert_eq!(kind(fs.list(&file).await), ErrorKind::NotADirectory);
        assert_eq!(kind(fs.remove(&directory).await), ErrorKind::IsADirectory);
        assert_eq!(kind(fs.rename(&file, &directory).await), ErrorKind::IsADirectory);
        assert_eq!(kind(fs.rename(&directory, &file).await), ErrorKind::NotADirectory);
    });
}

#[test]
fn rename_moves_a_file_and_replaces_what_had_the_name() {
    on_both(|fs, root| async move {
        let (a, b) = (root.join("a"), root.join("b"));
        write(&fs, &a, b"new").await;
        write(&fs, &b, b"old").await;
        fs.rename(&a, &b).await.unwrap();
        assert!(!fs.exists(&a).await.unwrap());
        assert_eq!(read_file(&*fs, &b).await.unwrap(), b"new");
        fs.create_directory(&root.join("d")).await.unwrap();
        fs.rename(&b, &root.join("d/c")).await.unwrap();
        assert!(!fs.exists(&b).await.unwrap());
        assert_eq!(read_file(&*fs, &root.join("d/c")).await.unwrap(), b"new");
        fs.rename(&root.join("d"), &root.join("e")).await.unwrap();
        assert_eq!(read_file(&*fs, &root.join("e/c")).await.unwrap(), b"new");
    });
}

#[test]
fn of_several_publishers_of_a_name_exactly_one_succeeds() {
    on_both(|fs, root| async move {
        let target = root.join("target");
        let mut winners = Vec::new();
        for name in ["a", "b", "c"] {
            write(&fs, &root.join(name), name.as_bytes()).await;
            match fs.publish(&root.join(name), &target).await {
                Ok(()) => winners.push(name),
                Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists),
            }
        }
        assert_eq!(winners, ["a"]);
        assert_eq!(read_file(&*fs, &target).await.unwrap(), b"a");
        let left = [entry("b", EntryKind::File), entry("c", EntryKind::File), entry("target", EntryKind::File)];
        assert_eq!(fs.list(&root).await.unwrap(), left);
    });
}

#[test]
fn a_listing_is_sorted_and_tells_files_from_directories() {
    on_both(|fs, root| async move {
        for name in ["b", "a10", "a2", "Z"] {
            write(&fs, &root.join(name), b"").await;
        }
        fs.create_directory(&root.join("d")).await.unwrap();
        write(&fs, &root.join("d/inner"), b"").await;
        let listed = [
            entry("Z", EntryKind::File),
            entry("a10", EntryKind::File),
            entry("a2", EntryKind::File),
            entry("b", EntryKind::File),
            entry("d", EntryKind::Directory),
        ];
        assert_eq!(fs.list(&root).await.unwrap(), listed);
    });
}

#[test]
fn a_removed_file_is_gone_but_can_be_read_by_who_has_it_open() {
    on_both(|fs, root| async move {
        let path = root.join("a");
        write(&fs, &path, b"still here").await;
        let mut open = fs.open(&path).await.unwrap();
        fs.remove(&path).await.unwrap();
        assert!(!fs.exists(&path).await.unwrap());
        write(&fs, &path, b"another").await;
        assert_eq!(open.read_at(0, 100).await.unwrap(), b"still here");
        assert_eq!(read_file(&*fs, &path).await.unwrap(), b"another");
    });
}

#[test]
fn a_writer_writes_on_under_whatever_name_the_file_has() {
    on_both(|fs, root| async move {
        let mut file = fs.create(&root.join("a")).await.unwrap();
        file.write(b"one ").await.unwrap();
        fs.rename(&root.join("a"), &root.join("b")).await.unwrap();
        file.write(b"two").await.unwrap();
        file.sync().await.unwrap();
        assert_eq!(read_file(&*fs, &root.join("b")).await.unwrap(), b"one two");
    });
}

#[test]
fn reads_at_an_offset_are_short_only_at_the_end() {
    on_both(|fs, root| async move {
        let path = root.join("a");
        let bytes: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        write(&fs, &path, &bytes).await;
        let mut file = fs.open(&path).await.unwrap();
        for (offset, length) in [(0, 10), (700, 3_000), (4_990, 10), (4_990, 11), (5_000, 1), (9_999, 5), (0, 9_999)] {
            let from = offset.min(5_000);
            let to = (offset + length).min(5_000);
            assert_eq!(file.read_at(offset as u64, length).await.unwrap(), bytes[from..to], "{length} at {offset}");
        }
    });
}

#[test]
fn directories_are_made_with_their_parents_and_removed_with_their_content() {
    on_both(|fs, root| async move {
        let deep = root.join("x/y/z");
        fs.create_directories(&deep).await.unwrap();
        fs.create_directories(&deep).await.unwrap();
        write(&fs, &deep.join("a"), b"1").await;
        write(&fs, &root.join("x/b"), b"2").await;
        fs.remove_directory(&root.join("x")).await.unwrap();
        assert!(!fs.exists(&deep.join("a")).await.unwrap());
        assert_eq!(fs.list(&root).await.unwrap(), []);
    });
}

#[test]
fn whole_files_are_replaced_and_published() {
    on_both(|fs, root| async move {
        let (temporary, path) = (root.join("temporary"), root.join("path"));
        replace_file(&*fs, &temporary, &path, b"1").await.unwrap();
        replace_file(&*fs, &temporary, &path, b"2").await.unwrap();
        assert_eq!(kind(publish_file(&*fs, &temporary, &path, b"3").await), ErrorKind::AlreadyExists);
        assert_eq!(read_file(&*fs, &path).await.unwrap(), b"2");
        publish_file(&*fs, &temporary, &root.join("other"), b"4").await.unwrap();
        assert_eq!(fs.list(&root).await.unwrap(), [entry("other", EntryKind::File), entry("path", EntryKind::File)]);
    });
}
