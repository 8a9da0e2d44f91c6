//! What a power loss may leave, and that it does leave each of it for some seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use proptest::prelude::*;
use tidegate::{
    env::sim::simulate,
    storage::{FileSystem as _, read_file},
};
use tidegate_sim::world::disk::{DiskConfig, SimDisk};

type Files = BTreeMap<String, Vec<u8>>;

/// What is visible on the disk after the power failed and came back, by path.
fn after_power_loss(disk: &SimDisk) -> Files {
    disk.power_loss();
    disk.restore_power();
    assert_eq!(disk.visible_view(), disk.durable_view(), "what was left is durable");
    disk.visible_view().into_iter().map(|(path, bytes)| (path.display().to_string(), bytes)).collect()
}

fn files(files: &[(&str, &[u8])]) -> Files {
    files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect()
}

/// The steps of publishing a file in two directories, in the order that makes it safe.
async fn publish_until(disk: &SimDisk, crash_point: usize) {
    let (temporary, target) = (Path::new("/tmp/f"), Path::new("/out/f"));
    let mut file = None;
    for step in 0..crash_point {
        match step {
            0 => file = Some(disk.create(temporary).await.unwrap()),
            1 => file.as_mut().unwrap().write(b"content").await.unwrap(),
            2 => file.as_mut().unwrap().sync().await.unwrap(),
            3 => disk.rename(temporary, target).await.unwrap(),
            _ => disk.sync_directory(Path::new("/out")).await.unwrap(),
        }
    }
}

#[test]
fn each_crash_point_of_a_safe_publication_leaves_exactly_the_allowed_states() {
    let nothing = files(&[]);
    let empty = files(&[("/tmp/f", b"")]);
    let zeros = files(&[("/tmp/f", &[0; 7])]);
    let before = files(&[("/tmp/f", b"content")]);
    let after = files(&[("/out/f", b"content")]);
    let allowed = [
        BTreeSet::from([nothing.clone()]),
        BTreeSet::from([nothing.clone(), empty.clone()]),
        BTreeSet::from([nothing.clone(), empty, zeros, before.clone()]),
        BTreeSet::from([nothing.clone(), before.clone()]),
        BTreeSet::from([nothing, before, after.clone()]),
        BTreeSet::from([after]),
    ];
    for (crash_point, allowed) in allowed.into_iter().enumerate() {
        let reached: BTreeSet<Files> = (0..200)
            .map(|seed| {
                simulate(
                    seed,
                    |_| {},
                    move || async move {
                        let disk = SimDisk::new(seed, DiskConfig::INSTANT);
                        disk.create_directories(Path::new("/tmp")).await.unwrap();
                        disk.create_directories(Path::new("/out")).await.unwrap();
                        publish_until(&disk, crash_point).await;
                        after_power_loss(&disk)
                    },
                )
                .unwrap()
            })
            .collect();
        assert_eq!(reached, allowed, "crash after step {crash_point}");
    }
}

#[test]
fn an_unsynced_tail_is_lost_kept_cut_or_torn_at_blocks_and_what_was_synced_stays() {
    let mut reached = BTreeSet::new();
    for seed in 0..400 {
        let left = simulate(
            seed,
            |_| {},
            move || async move {
                let disk = SimDisk::new(seed, DiskConfig::INSTANT);
                let path = Path::new("/f");
                let mut file = disk.create(path).await.unwrap();
                file.write(&[1; 700]).await.unwrap();
                file.sync().await.unwrap();
                disk.sync_directory(Path::new("/")).await.unwrap();
                file.write(&[2; 900]).await.unwrap();
                disk.power_loss();
                disk.restore_power();
                disk.visible_file(path).unwrap()
            },
        )
        .unwrap();
        assert_eq!(left[..700], [1; 700], "seed {seed}");
        // Runs of equal bytes behind the synced part: what stands in the blocks 700..1024, 1024..1536, 1536..1600.
        let blocks: Vec<u8> = [700, 1024, 1536].iter().filter_map(|start| left.get(*start).copied()).collect();
        for (block, range) in blocks.iter().zip([700..1024, 1024..1536, 1536..1600]) {
            let end = range.end.min(left.len());
            assert_eq!(left[range.start..end], vec![*block; end - range.start], "seed {seed}");
        }
        reached.insert((left.len(), blocks));
    }
    let torn = (0..8).map(|kept: u8| (1600, [1, 2, 4].map(|block| if kept & block == 0 { 0 } else { 2 }).to_vec()));
    let cut = [(700, vec![]), (1024, vec![2]), (1536, vec![2, 2])];
    assert_eq!(reached, torn.chain(cut).collect());
}

#[test]
fn a_file_that_was_synced_without_its_name_can_be_lost_and_a_replaced_one_can_come_back() {
    let mut reached = BTreeSet::new();
    for seed in 0..100 {
        reached.insert(
            simulate(
                seed,
                |_| {},
                move || async move {
                    let disk = SimDisk::new(seed, DiskConfig::INSTANT);
                    for (name, bytes) in [("/old", b"old"), ("/new", b"new")] {
                        let mut file = disk.create(Path::new(name)).await.unwrap();
                        file.write(bytes).await.unwrap();
                        file.sync().await.unwrap();
                    }
                    disk.rename(Path::new("/old"), Path::new("/f")).await.unwrap();
                    disk.sync_directory(Path::new("/")).await.unwrap();
                    disk.rename(Path::new("/new"), Path::new("/f")).await.unwrap();
                    disk.remove(Path::new("/f")).await.unwrap();
                    after_power_loss(&disk)
                },
            )
            .unwrap(),
        );
    }
    let allowed = [files(&[("/f", b"old"), ("/new", b"new")]), files(&[("/f", b"new")]), files(&[])];
    assert_eq!(reached, BTreeSet::from(allowed));
}

#[test]
fn a_process_that_dies_loses_nothing_on_a_disk_that_keeps_its_power() {
    simulate(
        1,
        |_| {},
        || async {
            let disk = SimDisk::new(1, DiskConfig::INSTANT);
            let (process, written) = (disk.clone(), tidegate::env::channel::oneshot::channel());
            let node = madsim::runtime::Handle::current().create_node().name("a").build();
            node.spawn(async move {
                let mut file = process.create(Path::new("/f")).await.unwrap();
                file.write(b"not synced").await.unwrap();
                written.0.send(()).unwrap();
                std::future::pending::<()>().await;
            });
            written.1.await.unwrap();
            madsim::runtime::Handle::current().kill(node.id());
            assert_eq!(read_file(&disk, Path::new("/f")).await.unwrap(), b"not synced");
            assert_eq!(disk.durable_view(), BTreeMap::new());
        },
    )
    .unwrap();
}

#[test]
fn without_power_calls_are_reset_and_files_open_from_before_stay_broken() {
    simulate(
        1,
        |_| {},
        || async {
            let disk = SimDisk::new(1, DiskConfig::default());
            let path = Path::new("/f");
            let mut file = disk.create(path).await.unwrap();
            file.sync().await.unwrap();
            disk.sync_directory(Path::new("/")).await.unwrap();
            let mut reader = disk.open(path).await.unwrap();
            disk.power_loss();
            assert_eq!(disk.exists(path).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert_eq!(file.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            disk.restore_power();
            assert!(disk.exists(path).await.unwrap());
            assert_eq!(file.write(b"x").await.unwrap_err().raw_os_error(), Some(5));
            assert_eq!(file.sync().await.unwrap_err().raw_os_error(), Some(5));
            assert_eq!(reader.read_at(0, 1).await.unwrap_err().raw_os_error(), Some(5));
        },
    )
    .unwrap();
}

#[test]
fn an_operation_during_which_the_power_fails_is_not_answered_with_success() {
    for seed in 0..20 {
        simulate(
            seed,
            |_| {},
            move || async move {
                let one_second = Duration::from_secs(1);
                let config = DiskConfig { latency_min: one_second, latency_max: one_second, ..DiskConfig::INSTANT };
                let disk = SimDisk::new(seed, config);
                let theirs = disk.clone();
                let creating = madsim::task::spawn(async move { theirs.create(Path::new("/f")).await.map(|_| ()) });
                madsim::time::sleep(one_second / 2).await;
                disk.power_loss();
                disk.restore_power();
                assert_eq!(creating.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
            },
        )
        .unwrap();
    }
}

/// An operation on one of a few names in two directories.
#[derive(Debug, Clone)]
enum Operation {
    Create(usize),
    Rename(usize, usize),
    Publish(usize, usize),
    Remove(usize),
    SyncDirectory(usize),
}

const NAMES: [&str; 6] = ["/a/1", "/a/2", "/a/3", "/b/1", "/b/2", "/b/3"];
const DIRECTORIES: [&str; 2] = ["/a", "/b"];

fn operation() -> impl Strategy<Value = Operation> {
    let name = || 0..NAMES.len();
    prop_oneof![
        3 => name().prop_map(Operation::Create),
        3 => (name(), name()).prop_map(|(from, to)| Operation::Rename(from, to)),
        1 => (name(), name()).prop_map(|(from, to)| Operation::Publish(from, to)),
        1 => name().prop_map(Operation::Remove),
        1 => (0..DIRECTORIES.len()).prop_map(Operation::SyncDirectory),
    ]
}

/// The naive model: the names after each operation, and after which operation each directory was last made durable.
/// Which file a name leads to is told by the file's content, the number of its creation.
#[derive(Default)]
struct Model {
    states: Vec<BTreeMap<&'static str, u8>>,
    synced: [usize; 2],
}

fn names_of(directory: usize, state: &BTreeMap<&'static str, u8>) -> BTreeMap<&'static str, u8> {
    state
        .iter()
        .filter(|(name, _)| name.starts_with(DIRECTORIES[directory]))
        .map(|(name, file)| (*name, *file))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn each_directory_goes_back_to_one_of_its_states_since_its_sync_and_no_rename_is_half_done(
        operations in prop::collection::vec(operation(), 1..25),
        seed in any::<u64>().no_shrink(),
    ) {
        let (model, left) = simulate(seed, |_| {}, move || run(seed, operations)).unwrap();
        for directory in [0, 1] {
            let found = names_of(directory, &left);
            let possible = model.states[model.synced[directory]..].iter().any(|state| names_of(directory, state) == found);
            prop_assert!(possible, "{:?} never held {found:?}", DIRECTORIES[directory]);
        }
        let found: Vec<u8> = left.values().copied().collect();
        let distinct: BTreeSet<u8> = found.iter().copied().collect();
        prop_assert_eq!(found.len(), distinct.len(), "a file has two names: {:?}", left);
    }
}

async fn run(seed: u64, operations: Vec<Operation>) -> (Model, BTreeMap<&'static str, u8>) {
    let disk = SimDisk::new(seed, DiskConfig::INSTANT);
    for directory in DIRECTORIES {
        disk.create_directories(Path::new(directory)).await.unwrap();
    }
    let mut model = Model { states: vec![BTreeMap::new()], ..Model::default() };
    for (number, operation) in operations.into_iter().enumerate() {
        let mut state = model.states.last().unwrap().clone();
        let path = |name: usize| Path::new(NAMES[name]);
        match operation {
            Operation::Create(name) => {
                if let Ok(mut file) = disk.create(path(name)).await {
                    file.write(&[number as u8]).await.unwrap();
                    file.sync().await.unwrap();
                    assert_eq!(state.insert(NAMES[name], number as u8), None);
                }
            }
            Operation::Rename(from, to) => {
                let renamed = disk.rename(path(from), path(to)).await.is_ok();
                assert_eq!(renamed, state.contains_key(NAMES[from]));
                if let Some(file) = state.remove(NAMES[from]) {
                    state.insert(NAMES[to], file);
                }
            }
            Operation::Publish(from, to) => {
                let published = disk.publish(path(from), path(to)).await.is_ok();
                assert_eq!(published, state.contains_key(NAMES[from]) && !state.contains_key(NAMES[to]));
                if published {
                    let file = state.remove(NAMES[from]).unwrap();
                    state.insert(NAMES[to], file);
                }
            }
            Operation::Remove(name) => {
                assert_eq!(disk.remove(path(name)).await.is_ok(), state.remove(NAMES[name]).is_some());
            }
            Operation::SyncDirectory(directory) => {
                disk.sync_directory(Path::new(DIRECTORIES[directory])).await.unwrap();
                model.synced[directory] = model.states.len();
            }
        }
        let visible: BTreeMap<PathBuf, Vec<u8>> =
            state.iter().map(|(name, file)| (PathBuf::from(name), vec![*file])).collect();
        assert_eq!(disk.visible_view(), visible);
        model.states.push(state);
    }
    disk.power_loss();
    disk.restore_power();
    let left = disk.visible_view().into_iter().map(|(path, bytes)| {
        let name = NAMES.into_iter().find(|name| Path::new(name) == path).expect("only known names");
        (name, bytes[0])
    });
    (model, left.collect())
}
