//! Each injected fault of the disk does what its documentation says, and is counted.

use std::{
    future::Future,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tidegate::{
    env::sim::simulate,
    storage::{FileSystem as _, publish_file, read_file, replace_file},
};
use tidegate_sim::world::disk::{DiskConfig, DiskEventKind, DiskFault, DiskFaultKind, SimDisk};

const F: &str = "/d/f";

/// Runs `body` on a disk with the directory `/d`.
fn on_disk<F: Future<Output = ()> + 'static>(seed: u64, body: impl FnOnce(SimDisk) -> F + Send + 'static) {
    simulate(
        seed,
        |_| {},
        move || async move {
            let disk = SimDisk::new(seed, DiskConfig::default());
            disk.create_directories(Path::new("/d")).await.unwrap();
            body(disk).await;
        },
    )
    .unwrap();
}

fn count(disk: &SimDisk, name: &str) -> u64 {
    disk.fault_counts().get(name).copied().unwrap_or(0)
}

async fn store(disk: &SimDisk, path: &str, bytes: &[u8]) {
    let mut file = disk.create(Path::new(path)).await.unwrap();
    file.write(bytes).await.unwrap();
    file.sync().await.unwrap();
    disk.sync_directory(Path::new("/d")).await.unwrap();
}

#[test]
fn an_error_strikes_only_its_operations_below_its_path_as_often_as_it_should() {
    on_disk(1, |disk| async move {
        store(&disk, F, b"x").await;
        store(&disk, "/d/other", b"y").await;
        disk.inject(DiskFault { skip: 1, remaining: 2, ..DiskFault::once(DiskFaultKind::ReadError, F) });
        read_file(&disk, Path::new("/d/other")).await.unwrap();
        let mut outcomes = Vec::new();
        for _ in 0..4 {
            outcomes.push(disk.length(Path::new(F)).await.is_ok());
        }
        assert_eq!(outcomes, [true, false, false, true]);
        assert_eq!(count(&disk, "read_error"), 2);
    });
}

#[test]
fn a_fault_of_a_probability_strikes_some_and_a_withdrawn_one_none() {
    on_disk(1, |disk| async move {
        store(&disk, F, b"x").await;
        let fault = disk.inject(DiskFault { per_mille: 250, ..DiskFault::always(DiskFaultKind::ReadError, "/") });
        for _ in 0..1000 {
            let _either_is_fine = disk.length(Path::new(F)).await;
        }
        let struck = count(&disk, "read_error");
        assert!((200..300).contains(&struck), "{struck} of 1000 for 250");
        disk.withdraw(fault);
        for _ in 0..100 {
            disk.length(Path::new(F)).await.unwrap();
        }
    });
}

#[test]
fn a_caller_that_dies_during_an_operation_leaves_it_done_or_not_done() {
    let done: std::collections::BTreeSet<bool> = (0..50)
        .map(|seed| {
            simulate(
                seed,
                |_| {},
                move || async move {
                    let disk = SimDisk::new(seed, DiskConfig { latency_min: Duration::from_millis(1), ..slow() });
                    let node = madsim::runtime::Handle::current().create_node().name("a").build();
                    let theirs = disk.clone();
                    node.spawn(async move { theirs.create(Path::new("/f")).await.map(|_| ()) });
                    madsim::time::sleep(Duration::from_millis(1)).await;
                    madsim::runtime::Handle::current().kill(node.id());
                    madsim::time::sleep(Duration::from_secs(1)).await;
                    disk.visible_file(Path::new("/f")).is_some()
                },
            )
            .unwrap()
        })
        .collect();
    assert_eq!(done.len(), 2, "over many seeds it is done in some and not in others");
}

fn slow() -> DiskConfig {
    DiskConfig { latency_max: Duration::from_millis(20), ..DiskConfig::default() }
}

#[test]
fn a_write_error_and_a_full_disk_change_nothing() {
    on_disk(1, |disk| async move {
        let mut file = disk.create(Path::new(F)).await.unwrap();
        disk.inject(DiskFault::once(DiskFaultKind::WriteError, F));
        assert_eq!(file.write(b"lost").await.unwrap_err().raw_os_error(), Some(5));
        disk.inject(DiskFault::always(DiskFaultKind::FullDisk, "/"));
        assert_eq!(file.write(b"lost").await.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(disk.create(Path::new("/d/g")).await.err().unwrap().kind(), ErrorKind::StorageFull);
        disk.clear_faults();
        file.write(b"kept").await.unwrap();
        assert_eq!(read_file(&disk, Path::new(F)).await.unwrap(), b"kept");
        assert_eq!(disk.fault_counts().into_iter().collect::<Vec<_>>(), [("full_disk", 2), ("write_error", 1)]);
    });
}

#[test]
fn after_a_failed_sync_the_unsynced_data_is_gone_although_the_next_sync_succeeds() {
    on_disk(1, |disk| async move {
        let mut file = disk.create(Path::new(F)).await.unwrap();
        file.write(b"first").await.unwrap();
        file.sync().await.unwrap();
        file.write(b"second").await.unwrap();
        disk.inject(DiskFault::once(DiskFaultKind::SyncError, F));
        assert_eq!(file.sync().await.unwrap_err().raw_os_error(), Some(5));
        file.sync().await.unwrap();
        file.write(b"third").await.unwrap();
        assert_eq!(read_file(&disk, Path::new(F)).await.unwrap(), b"first\0\0\0\0\0\0third");
    });
}

#[test]
fn a_sync_that_lies_makes_nothing_durable_and_an_honest_one_makes_up_for_it() {
    on_disk(1, |disk| async move {
        disk.inject(DiskFault { remaining: 2, ..DiskFault::once(DiskFaultKind::LyingSync, "/d") });
        store(&disk, F, b"x").await;
        assert_eq!(disk.durable_view().into_keys().collect::<Vec<_>>(), [] as [PathBuf; 0]);
        assert_eq!(count(&disk, "lying_sync"), 2);
        disk.sync_directory(Path::new("/d")).await.unwrap();
        assert_eq!(disk.durable_view()[Path::new(F)], b"", "the file's own sync lied");
    });
}

#[test]
fn bit_rot_flips_one_bit_for_good() {
    on_disk(1, |disk| async move {
        store(&disk, F, &[0; 1000]).await;
        disk.inject(DiskFault::once(DiskFaultKind::BitRot, F));
        let rotten = read_file(&disk, Path::new(F)).await.unwrap();
        assert_eq!(rotten.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        assert_eq!(read_file(&disk, Path::new(F)).await.unwrap(), rotten);
        assert_eq!(disk.durable_view()[Path::new(F)], rotten);
    });
}

#[test]
fn a_phantom_write_leaves_zeros_and_a_misdirected_one_also_damages_another_place() {
    on_disk(1, |disk| async move {
        let mut file = disk.create(Path::new(F)).await.unwrap();
        disk.inject(DiskFault::once(DiskFaultKind::PhantomWrite, F));
        file.write(b"never").await.unwrap();
        file.write(b"there").await.unwrap();
        assert_eq!(read_file(&disk, Path::new(F)).await.unwrap(), b"\0\0\0\0\0there");
        disk.inject(DiskFault::once(DiskFaultKind::MisdirectedWrite, "/d/g"));
        store(&disk, "/d/g", b"AB").await;
        let all: Vec<Vec<u8>> = disk.visible_view().into_values().collect();
        let elsewhere =
            [vec![b"AB\0\0\0there".to_vec(), b"\0\0".to_vec()], vec![b"\0\0\0\0\0there".to_vec(), b"AB".to_vec()]];
        assert!(elsewhere.contains(&all), "{all:?}");
    });
}

#[test]
fn an_ambiguous_publication_may_or_may_not_have_happened() {
    for (kind, applied) in [(DiskFaultKind::AmbiguousApplied, true), (DiskFaultKind::AmbiguousNotApplied, false)] {
        on_disk(1, move |disk| async move {
            disk.inject(DiskFault::once(kind, F));
            let error = publish_file(&disk, Path::new("/d/tmp"), Path::new(F), b"x").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!(disk.exists(Path::new(F)).await.unwrap(), applied);
            assert_eq!(disk.exists(Path::new("/d/tmp")).await.unwrap(), !applied);
            assert_eq!(count(&disk, kind.name()), 1);
        });
    }
}

#[test]
fn a_stale_list_shows_the_names_of_the_last_sync() {
    on_disk(1, |disk| async move {
        store(&disk, F, b"x").await;
        disk.create(Path::new("/d/g")).await.unwrap();
        disk.inject(DiskFault::once(DiskFaultKind::StaleList, "/d"));
        let names = |entries: Vec<tidegate::storage::Entry>| entries.into_iter().map(|e| e.name).collect::<Vec<_>>();
        assert_eq!(names(disk.list(Path::new("/d")).await.unwrap()), ["f"]);
        assert_eq!(names(disk.list(Path::new("/d")).await.unwrap()), ["f", "g"]);
    });
}

#[test]
fn a_fault_of_one_node_leaves_the_others_alone() {
    on_disk(1, |disk| async move {
        store(&disk, F, b"x").await;
        let node = madsim::runtime::Handle::current().create_node().name("a").build();
        let fault = DiskFault::always(DiskFaultKind::ReadError, F);
        disk.inject(DiskFault { node: Some(node.id()), ..fault });
        let theirs = disk.clone();
        assert!(disk.length(Path::new(F)).await.is_ok());
        assert!(node.spawn(async move { theirs.length(Path::new(F)).await.is_err() }).await.unwrap());
    });
}

#[test]
fn a_node_without_a_path_to_the_storage_waits_while_others_go_on() {
    on_disk(1, |disk| async move {
        store(&disk, F, b"x").await;
        let node = madsim::runtime::Handle::current().create_node().name("a").build();
        disk.stall_node(node.id());
        let theirs = disk.clone();
        let waiting = node.spawn(async move { theirs.length(Path::new(F)).await.unwrap() });
        assert_eq!(disk.length(Path::new(F)).await.unwrap(), 1);
        madsim::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        disk.end_stall();
        assert_eq!(waiting.await.unwrap(), 1);
    });
}

#[test]
fn a_stalled_device_answers_when_the_stall_ends_and_a_slow_one_later() {
    on_disk(1, |disk| async move {
        store(&disk, F, b"x").await;
        let elapsed = || madsim::time::TimeHandle::current().elapsed();
        disk.stall();
        let nemesis = disk.clone();
        madsim::task::spawn(async move {
            madsim::time::sleep(Duration::from_secs(5)).await;
            nemesis.end_stall();
        });
        let before = elapsed();
        disk.length(Path::new(F)).await.unwrap();
        assert_eq!((elapsed() - before).as_secs(), 5);
        disk.set_slowness(1_000_000);
        let before = elapsed();
        disk.length(Path::new(F)).await.unwrap();
        assert!(elapsed() - before >= Duration::from_secs(10));
        assert_eq!((count(&disk, "stall"), count(&disk, "slow_device")), (1, 1));
    });
}

#[test]
fn who_watches_sees_each_change_at_the_moment_when_it_becomes_visible() {
    on_disk(1, |disk| async move {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        disk.on_visible(Box::new(move |disk, event| {
            let visible = disk.visible_file(&event.path).is_some();
            log.lock().unwrap().push((event.kind.clone(), event.path.display().to_string(), visible));
        }));
        replace_file(&disk, Path::new("/d/tmp"), Path::new(F), b"x").await.unwrap();
        disk.remove(Path::new(F)).await.unwrap();
        let renamed = DiskEventKind::Renamed { from: PathBuf::from("/d/tmp") };
        let expected = [
            (DiskEventKind::Created, "/d/tmp".to_owned(), true),
            (DiskEventKind::Synced, "/d/tmp".to_owned(), true),
            (renamed, F.to_owned(), true),
            (DiskEventKind::DirectorySynced, "/d".to_owned(), false),
            (DiskEventKind::Removed, F.to_owned(), false),
        ];
        assert_eq!(*seen.lock().unwrap(), expected);
    });
}
