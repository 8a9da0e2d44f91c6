//! State in RocksDB, in real processes that are killed. Needs the feature `rocksdb`.

use std::fs;

use tidegate::env::Env;

use super::{
    flights::{Expected, expected},
    kill_moments::KillMoments,
    process::Process,
    workspace::{Flights, Workspace},
};

const KILLS: u32 = 4;

/// The flights pipeline with its state in RocksDB; the path of the pipeline.
fn in_rocksdb(workspace: &Workspace, flights: Flights) -> String {
    let pipeline = workspace.flights(flights);
    let text = fs::read_to_string(&pipeline).expect("the pipeline was written");
    let options =
        format!("[config]\n\"state.backend\" = \"rocksdb\"\n\"io.tmp.dirs\" = \"{}\"\n", workspace.text("local"));
    assert_eq!(text.matches("[config]\n").count(), 1);
    workspace.write("flights.toml", text.replace("[config]\n", &options))
}

fn working_directories(workspace: &Workspace) -> usize {
    fs::read_dir(workspace.path("local/tidegate-rocksdb")).expect("the databases lie there").count()
}

#[test]
fn a_job_with_state_in_rocksdb_that_is_killed_commits_the_right_results_and_leaves_nothing_behind() {
    Env::run_on_host(2, |env| async move {
        let workspace = Workspace::new();
        let pipeline = in_rocksdb(&workspace, Flights { parallelism: 2, rate: Some(1500), splits: false });
        let arguments = ["run", &pipeline];
        let mut moments = KillMoments::new(&env);
        let mut left_behind = 0;
        for _ in 0..KILLS {
            let mut process = Process::start(&env, &arguments);
            if let Some(exit) = process.exit_within(moments.within(300..900)).await {
                panic!("it ended by itself, {:?}:\n{}", exit.code, exit.said);
            }
            process.kill();
            left_behind = left_behind.max(working_directories(&workspace));
        }
        assert!(left_behind > 0, "no kill came while RocksDB was open");
        let exit = Process::run(&env, &arguments).await;
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        let Expected { hourly, carriers } = expected();
        assert_eq!(workspace.committed("hourly"), hourly, "{}", exit.said);
        assert_eq!(workspace.committed("carriers"), carriers, "{}", exit.said);
        assert_eq!(working_directories(&workspace), 0);
    })
    .unwrap();
}
