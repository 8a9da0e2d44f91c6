//! Two job managers for one job: whichever of them is killed, the job goes on under the other, and commits everything once.

use std::fs;

use tidegate::env::Env;

use super::{
    flights::{Expected, expected},
    kill_moments::KillMoments,
    process::{BOUND, Process, free_address},
    workspace::{Flights, Workspace},
};

const KILLS: u32 = 4;

/// The flights, slowly, with a short lease.
fn pipeline(workspace: &Workspace) -> String {
    let path = workspace.flights(Flights { parallelism: 2, rate: Some(500), splits: false });
    let text = fs::read_to_string(&path).unwrap();
    let option = "\"restart-strategy.fixed-delay.delay\" = \"50 ms\"";
    assert_eq!(text.matches(option).count(), 1);
    let standby = "\"high-availability.type\" = \"filesystem\"\n\
         \"high-availability.filesystem.lease-duration\" = \"600 ms\"\n\
         \"high-availability.filesystem.retry-period\" = \"100 ms\"";
    workspace.write("flights.toml", text.replace(option, &format!("{option}\n{standby}")))
}

#[test]
fn a_job_goes_on_under_the_other_job_manager_when_one_is_killed() {
    Env::run_on_host(2, |env| async move {
        let workspace = Workspace::new();
        let pipeline = pipeline(&workspace);
        let addresses = [free_address(), free_address()];
        let both = addresses.join(",");
        let start = |arguments: &[&str]| Process::start(&env, arguments);
        let lead = |address: &str| start(&["jobmanager", &pipeline, "--address", address]);
        let mut job_managers = addresses.each_ref().map(|address| Some(lead(address)));
        let task_managers =
            ["a", "b"].map(|id| start(&["taskmanager", "--job-manager", &both, "--id", id, "--slots", "1"]));

        let mut moments = KillMoments::new(&env);
        for kill in 0..KILLS {
            let victim = kill as usize % 2;
            // Long enough for a takeover, and for checkpoints after it.
            let mut process = job_managers[victim].take().unwrap();
            if let Some(exit) = process.exit_within(moments.within(1200..2200)).await {
                panic!("after {kill} kills the job ended, {:?}:\n{}", exit.code, exit.said);
            }
            // The one that takes its place listens where it did.
            process.kill();
            job_managers[victim] = Some(lead(&addresses[victim]));
        }
        for mut process in job_managers.into_iter().flatten() {
            let ended = process.exit_within(BOUND).await;
            let exit = ended.unwrap_or_else(|| panic!("a job manager hangs: {}", process.said()));
            assert_eq!(exit.code, Some(0), "{}", exit.said);
        }
        for mut process in task_managers {
            let dismissed = process.exit_within(BOUND).await.expect("the leader dismisses its task managers");
            assert_eq!(dismissed.code, Some(0), "{}", dismissed.said);
        }
        let Expected { hourly, carriers } = expected();
        assert_eq!(workspace.committed("hourly"), hourly);
        assert_eq!(workspace.committed("carriers"), carriers);
        workspace.assert_settled("hourly");
        workspace.assert_settled("carriers");
    })
    .unwrap();
}
