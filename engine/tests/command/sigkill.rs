//! The test that nobody can argue with: real processes, killed by the kernel at random moments, commit exactly what an
//! undisturbed run commits.

use std::time::Duration;

use tidegate::env::Env;

use super::{
    flights::{Expected, expected},
    kill_moments::KillMoments,
    process::{BOUND, Process, free_address},
    workspace::{Flights, Workspace},
};

const KILLS_MIN: u32 = 10;

/// Results come throughout the run: with one split the watermark follows the file from day to day.
const SLOW: Flights = Flights { parallelism: 2, rate: Some(800), splits: false };

fn assert_all_there_once(workspace: &Workspace) {
    let Expected { hourly, carriers } = expected();
    assert_eq!(workspace.committed("hourly"), hourly);
    assert_eq!(workspace.committed("carriers"), carriers);
    workspace.assert_settled("hourly");
    workspace.assert_settled("carriers");
}

#[test]
fn a_job_that_is_killed_again_and_again_commits_what_an_undisturbed_one_does() {
    Env::run_on_host(2, |env| async move {
        let undisturbed = Workspace::new();
        let pipeline = undisturbed.flights(Flights { rate: None, ..SLOW });
        let exit = Process::run(&env, &["run", &pipeline]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.said);

        let workspace = Workspace::new();
        let pipeline = workspace.flights(SLOW);
        let arguments = ["run", &pipeline, "--task-managers", "2"];
        let mut moments = KillMoments::new(&env);
        let mut kills = 0;
        let mut log = String::new();
        while kills < KILLS_MIN + 2 {
            let mut process = Process::start(&env, &arguments);
            if let Some(exit) = process.exit_within(moments.within(20..700)).await {
                panic!("after {kills} kills it ended by itself, {:?}:\n{}", exit.code, exit.said);
            }
            log.push_str(process.said());
            process.kill();
            kills += 1;
        }
        let exit = Process::run(&env, &arguments).await;
        assert_eq!(exit.code, Some(0), "{log}{}", exit.said);
        assert!(exit.said.contains("resumes unfinished work from checkpoint"), "{log}{}", exit.said);
        assert_all_there_once(&workspace);
        for sink in ["hourly", "carriers"] {
            assert_eq!(workspace.committed(sink), undisturbed.committed(sink));
        }
    })
    .unwrap();
}

#[test]
fn a_job_that_is_killed_goes_on_with_any_other_parallelism() {
    Env::run_on_host(2, |env| async move {
        let workspace = Workspace::new();
        let mut moments = KillMoments::new(&env);
        let mut log = String::new();
        for parallelism in [2, 3, 1, 4] {
            let pipeline = workspace.flights(Flights { parallelism, ..SLOW });
            let mut process = Process::start(&env, &["run", &pipeline, "--task-managers", "2"]);
            if let Some(exit) = process.exit_within(moments.within(400..900)).await {
                panic!("it ended by itself, {:?}:\n{log}{}", exit.code, exit.said);
            }
            log.push_str(process.said());
            process.kill();
        }
        let pipeline = workspace.flights(SLOW);
        let exit = Process::run(&env, &["run", &pipeline]).await;
        assert_eq!(exit.code, Some(0), "{log}{}", exit.said);
        assert!(exit.said.contains("resumes unfinished work from checkpoint"), "{log}{}", exit.said);
        assert_all_there_once(&workspace);
    })
    .unwrap();
}

#[test]
fn a_cluster_recovers_from_the_death_of_any_process_while_the_others_live_on() {
    Env::run_on_host(2, |env| async move {
        let workspace = Workspace::new();
        let pipeline = workspace.flights(SLOW);
        let address = free_address();
        let task_manager =
            |id| ["taskmanager", "--job-manager", &address, "--id", id, "--slots", "1"].map(str::to_owned);
        let job_manager = ["jobmanager", &pipeline, "--address", &address].map(str::to_owned);
        let calls = [job_manager.to_vec(), task_manager("a").to_vec(), task_manager("b").to_vec()];
        let start = |call: &Vec<String>| Process::start(&env, &call.iter().map(String::as_str).collect::<Vec<_>>());
        let mut processes: Vec<Process> = calls.iter().map(start).collect();
        let mut moments = KillMoments::new(&env);
        for kill in 0..KILLS_MIN {
            if let Some(exit) = processes[0].exit_within(moments.within(100..1000)).await {
                panic!("after {kill} kills the job ended, {:?}:\n{}", exit.code, exit.said);
            }
            let victim = moments.one_of(processes.len());
            processes.remove(victim).kill();
            processes.insert(victim, start(&calls[victim]));
            for (call, other) in calls.iter().zip(&mut processes) {
                let ended = other.exit_within(Duration::ZERO).await;
                assert!(ended.is_none(), "{call:?} ended without being killed: {ended:?}");
            }
        }
        let ended = processes[0].exit_within(BOUND).await;
        let exit = ended.unwrap_or_else(|| {
            let said: Vec<&str> = processes.iter().map(Process::said).collect();
            panic!("the job hangs: {}", said.join("\n---\n"))
        });
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        for mut process in processes.drain(1..) {
            let dismissed = process.exit_within(BOUND).await.expect("the job manager dismisses its task managers");
            assert_eq!(dismissed.code, Some(0), "{}", dismissed.said);
        }
        assert_all_there_once(&workspace);
    })
    .unwrap();
}
