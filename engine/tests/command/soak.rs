//! Whole clusters of processes for as long as it is asked for: killed at random moments while data flows, or stopped with
//! savepoints and gone on with at other parallelisms.
//!
//! `TIDEGATE_TEST_SOAK` is the number of seconds for which data flows and processes die; a few if it is not given.

use std::time::Duration;

use tidegate::env::Env;

use super::{
    kill_moments::KillMoments,
    process::{BOUND, Process, free_address},
    workspace::Workspace,
};

/// How long data flows.
fn seconds() -> u32 {
    std::env::var("TIDEGATE_TEST_SOAK")
        .map_or(8, |text| text.parse().expect("TIDEGATE_TEST_SOAK is a number of seconds"))
}

const RECORDS_PER_SECOND: u32 = 2_000;

/// Sums in sliding windows and a running count, for as long as that; at once if there is no rate.
fn pipeline(workspace: &Workspace, parallelism: u32, rate: Option<u32>) -> String {
    let (windows, counts, checkpoints) =
        (workspace.text("windows"), workspace.text("counts"), workspace.text("checkpoints"));
    let rate = rate.map(|rate| format!("rate = {rate}")).unwrap_or_default();
    let count = seconds() * RECORDS_PER_SECOND;
    let text = format!(
        r#"name = "soak"
parallelism = {parallelism}
[checkpoint]
interval = "200 ms"
dir = "{checkpoints}"
[config]
"restart-strategy.type" = "fixed-delay"
"restart-strategy.fixed-delay.attempts" = 100000
"restart-strategy.fixed-delay.delay" = "50 ms"
[[source]]
name = "numbers"
type = "generator"
count = {count}
{rate}
keys = 50
splits = 3
step = "1 ms"
disorder = "40 ms"
event_time = "time_ms"
max_out_of_orderness = "40 ms"
[[stage]]
name = "windowed"
op = "window"
input = "numbers"
key = ["key"]
assigner = {{ kind = "sliding", size = "1 s", slide = "250 ms" }}
aggregate = {{ records = "count()", total = "sum(value)" }}
[[stage]]
name = "counted"
op = "aggregate"
input = "numbers"
key = ["key"]
aggregate = {{ records = "count()" }}
[[sink]]
name = "windows"
type = "file"
input = "windowed"
path = "{windows}"
format = "json"
[[sink]]
name = "counts"
type = "file"
input = "counted"
path = "{counts}"
format = "json"
"#
    );
    workspace.write("soak.toml", text)
}

const SINKS: [&str; 2] = ["windows", "counts"];

/// What an undisturbed run commits.
async fn expected(env: &Env) -> [Vec<String>; 2] {
    let undisturbed = Workspace::new();
    let exit = Process::run(env, &["run", &pipeline(&undisturbed, 1, None)]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.said);
    let committed = SINKS.map(|sink| undisturbed.committed(sink));
    assert_eq!(committed[1].len(), (seconds() * RECORDS_PER_SECOND) as usize, "a count per record");
    committed
}

/// Not compared with `assert_eq`, which would print all of it.
fn assert_committed(workspace: &Workspace, expected: &[Vec<String>; 2]) {
    for (sink, expected) in SINKS.iter().zip(expected) {
        let found = workspace.committed(sink);
        let differs = (0..found.len().max(expected.len())).find(|line| found.get(*line) != expected.get(*line));
        if let Some(line) = differs {
            let (found, expected) = (found.get(line), expected.get(line));
            panic!("{sink}, sorted, differs first in line {line}: {found:?}, undisturbed {expected:?}");
        }
        workspace.assert_settled(sink);
    }
}

#[test]
fn three_task_managers_and_a_job_manager_that_are_killed_while_data_flows_commit_what_an_undisturbed_run_does() {
    Env::run_on_host(2, |env| async move {
        let expected = expected(&env).await;
        let workspace = Workspace::new();
        let pipeline = pipeline(&workspace, 3, Some(RECORDS_PER_SECOND));
        let address = free_address();
        let task_manager =
            |id| ["taskmanager", "--job-manager", &address, "--id", id, "--slots", "1"].map(str::to_owned).to_vec();
        let job_manager = ["jobmanager", &pipeline, "--address", &address].map(str::to_owned).to_vec();
        let calls = [job_manager, task_manager("a"), task_manager("b"), task_manager("c")];
        let start = |call: &Vec<String>| Process::start(&env, &call.iter().map(String::as_str).collect::<Vec<_>>());
        let mut processes: Vec<Process> = calls.iter().map(start).collect();
        let mut moments = KillMoments::new(&env);
        let until = env.now().saturating_add(Duration::from_secs(seconds().into()).mul_f64(0.9));
        let mut kills = [0_u32; 4];
        while env.now() < until {
            if let Some(exit) = processes[0].exit_within(moments.within(200..1500)).await {
                panic!("after {kills:?} kills the job ended, {:?}:\n{}", exit.code, exit.said);
            }
            let victim = moments.one_of(processes.len());
            processes.remove(victim).kill();
            processes.insert(victim, start(&calls[victim]));
            kills[victim] += 1;
        }
        eprintln!("kills of the job manager and of each task manager: {kills:?}");
        let bound = BOUND + Duration::from_secs(seconds().into());
        let exit =
            processes[0].exit_within(bound).await.unwrap_or_else(|| panic!("the job hangs after {kills:?} kills"));
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        for mut process in processes.drain(1..) {
            let dismissed = process.exit_within(BOUND).await.expect("the job manager dismisses its task managers");
            assert_eq!(dismissed.code, Some(0), "{}", dismissed.said);
        }
        assert_committed(&workspace, &expected);
    })
    .unwrap();
}

#[test]
fn a_job_that_is_stopped_with_savepoints_and_goes_on_with_other_parallelisms_commits_what_an_undisturbed_run_does() {
    Env::run_on_host(2, |env| async move {
        let expected = expected(&env).await;
        let (workspace, savepoints) = (Workspace::new(), Workspace::new());
        let savepoints = savepoints.text("");
        let part = Duration::from_secs(seconds().into()) / 3;
        let mut from: Option<String> = None;
        for (parallelism, format) in [(2, "canonical"), (3, "native")] {
            let address = free_address();
            let pipeline = pipeline(&workspace, parallelism, Some(RECORDS_PER_SECOND));
            let mut arguments = vec!["run", &pipeline, "--task-managers", "2", "--rest", &address];
            arguments.extend(from.iter().flat_map(|from| ["-s", from]));
            let mut running = Process::start(&env, &arguments);
            if let Some(exit) = running.exit_within(part).await {
                panic!("it ended by itself, {:?}:\n{}", exit.code, exit.said);
            }
            let stop = ["stop", "soak", "--savepointPath", &savepoints, "-type", format, "-m", &address];
            let stopped = Process::run(&env, &stop).await;
            assert_eq!(stopped.code, Some(0), "{}", stopped.said);
            let path = stopped.said.lines().find_map(|line| line.strip_prefix("Savepoint completed. Path: "));
            from = Some(path.unwrap_or_else(|| panic!("no path in:\n{}", stopped.said)).to_owned());
            let exit = running.exit().await;
            assert_eq!(exit.code, Some(0), "{}", exit.said);
        }
        let last = pipeline(&workspace, 1, None);
        let exit = Process::run(&env, &["run", &last, "-s", &from.expect("it was stopped")]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        assert_committed(&workspace, &expected);
    })
    .unwrap();
}
