//! State in RocksDB, in real processes that are killed. Needs the feature `rocksdb`.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use tidegate::{
    env::Env,
    storage::{LocalFileSystem, SharedFileSystem, read_metadata},
};

use super::{
    flights::{Expected, expected},
    kill_moments::KillMoments,
    process::Process,
    workspace::{Flights, Workspace},
};

const KILLS: u32 = 4;

/// The flights pipeline with its state in RocksDB; the path of the pipeline.
fn in_rocksdb(workspace: &Workspace, flights: Flights, incremental: bool) -> String {
    let pipeline = workspace.flights(flights);
    let text = fs::read_to_string(&pipeline).expect("the pipeline was written");
    let options = format!(
        "[config]\n\"state.backend\" = \"rocksdb\"\n\"state.backend.incremental\" = \"{incremental}\"\n\
             \"io.tmp.dirs\" = \"{}\"\n",
        workspace.text("local"),
    );
    assert_eq!(text.matches("[config]\n").count(), 1);
    workspace.write("flights.toml", text.replace("[config]\n", &options))
}

fn working_directories(workspace: &Workspace) -> usize {
    fs::read_dir(workspace.path("local/tidegate-rocksdb")).expect("the databases lie there").count()
}

#[test]
fn a_job_with_state_in_rocksdb_that_is_killed_commits_the_right_results_and_leaves_nothing_behind() {
    kill_and_finish(false);
}

#[test]
fn a_job_with_incremental_checkpoints_that_is_killed_finds_all_files_and_leaves_none_that_no_checkpoint_needs() {
    kill_and_finish(true);
}

fn kill_and_finish(incremental: bool) {
    Env::run_on_host(2, |env| async move {
        let workspace = Workspace::new();
        let flights = Flights { parallelism: 2, rate: Some(1500), splits: false };
        let pipeline = in_rocksdb(&workspace, flights, incremental);
        let arguments = ["run", &pipeline];
        let mut moments = KillMoments::new(&env);
        let (mut left_behind, mut shared) = (0, 0);
        for _ in 0..KILLS {
            let mut process = Process::start(&env, &arguments);
            if let Some(exit) = process.exit_within(moments.within(300..900)).await {
                panic!("it ended by itself, {:?}:\n{}", exit.code, exit.said);
            }
            process.kill();
            left_behind = left_behind.max(working_directories(&workspace));
            let (needed, there) = shared_files(&env, &workspace).await;
            assert!(needed.is_subset(&there), "{needed:?} are referred to, {there:?} are there");
            shared = shared.max(needed.len());
        }
        assert!(left_behind > 0, "no kill came while RocksDB was open");
        assert_eq!(shared > 0, incremental, "most files that checkpoints shared: {shared}");
        let exit = Process::run(&env, &arguments).await;
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        let Expected { hourly, carriers } = expected();
        assert_eq!(workspace.committed("hourly"), hourly, "{}", exit.said);
        assert_eq!(workspace.committed("carriers"), carriers, "{}", exit.said);
        assert_eq!(working_directories(&workspace), 0);
        assert_eq!(shared_files(&env, &workspace).await, Default::default(), "a job that has finished leaves nothing");
    })
    .expect("the host has threads");
}

/// The names of the files that retained checkpoints share: those that they refer to, and those that are there.
async fn shared_files(env: &Env, workspace: &Workspace) -> (BTreeSet<String>, BTreeSet<String>) {
    let file_system: SharedFileSystem = Arc::new(LocalFileSystem::new(env.clone()));
    let jobs = fs::read_dir(workspace.path("checkpoints")).into_iter().flatten();
    let Some(job) = jobs.map(|entry| entry.expect("an entry").path()).next() else { return Default::default() };
    let names = |directory: &Path| -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten();
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    };
    let mut needed = BTreeSet::new();
    let checkpoints = names(&job).into_iter().filter(|name| name.starts_with("chk-")).map(|name| job.join(name));
    // One that was under way when its process died has no metadata.
    for checkpoint in checkpoints.filter(|checkpoint| checkpoint.join("_metadata").exists()) {
        let metadata = read_metadata(&file_system, &checkpoint).await.expect("it is whole");
        let handles = metadata.subtasks.values().flat_map(|operators| operators.values());
        needed.extend(handles.flat_map(|handle| handle.shared_files()).map(|file| file.name.clone()));
    }
    (needed, names(&job.join("shared")).into_iter().collect())
}
