//! A running job is watched, stopped, cancelled and gone on with by other processes.

use std::path::PathBuf;

use tidegate::env::Env;

use super::{
    process::{Exit, Process, free_address},
    workspace::Workspace,
};

/// Numbers in windows, ten seconds of them; checkpoints every 100 ms.
fn pipeline(workspace: &Workspace, more: &str) -> String {
    let (output, checkpoints) = (workspace.text("out"), workspace.text("checkpoints"));
    let text = format!(
        r#"name = "counts"
[checkpoint]
interval = "100 ms"
dir = "{checkpoints}"
[config]
{more}
[[source]]
name = "numbers"
type = "generator"
count = 1000
rate = 100
keys = 3
step = "10 ms"
event_time = "time_ms"
[[stage]]
name = "windows"
op = "window"
input = "numbers"
key = ["key"]
assigner = {{ kind = "tumbling", size = "500 ms" }}
aggregate = {{ records = "count()", total = "sum(value)" }}
[[sink]]
name = "out"
type = "file"
input = "windows"
path = "{output}"
format = "json"
"#
    );
    workspace.write("counts.toml", text)
}

/// Runs a command that succeeds; what it said.
async fn says(env: &Env, arguments: &[&str]) -> String {
    let exit = Process::run(env, arguments).await;
    assert_eq!(exit.code, Some(0), "{arguments:?}: {}", exit.said);
    exit.said
}

#[track_caller]
fn assert_refused(exit: &Exit, code: i32, parts: &[&str]) {
    assert_eq!(exit.code, Some(code), "{}", exit.said);
    for part in parts {
        assert!(exit.said.contains(part), "`{part}` is missing in:\n{}", exit.said);
    }
}

fn path_in(said: &str) -> PathBuf {
    let path = said.lines().find_map(|line| line.strip_prefix("Savepoint completed. Path: "));
    PathBuf::from(path.unwrap_or_else(|| panic!("no path in:\n{said}")))
}

#[test]
fn a_job_that_is_stopped_by_another_process_goes_on_from_its_savepoint() {
    Env::run_on_host(2, |env| async move {
        let undisturbed = Workspace::new();
        let expected = {
            says(&env, &["run", &pipeline(&undisturbed, "")]).await;
            undisturbed.committed("out")
        };
        let (workspace, address) = (Workspace::new(), free_address());
        let (pipeline, savepoints) = (pipeline(&workspace, ""), workspace.text("savepoints"));
        let running = Process::start(&env, &["run", &pipeline, "--rest", &address]);
        workspace.appears(&env, "checkpoints/counts/ha/0000000008").await;

        let listed = says(&env, &["list", "-m", &address]).await;
        assert!(listed.contains("RUNNING") && listed.contains("counts"), "{listed}");
        assert!(says(&env, &["checkpoint", "counts", "-m", &address]).await.starts_with("Checkpoint "));
        let taken =
            path_in(&says(&env, &["savepoint", "counts", &savepoints, "-type", "native", "-m", &address]).await);
        assert!(taken.join("_metadata").is_file());
        says(&env, &["savepoint", "-d", taken.to_str().unwrap(), "-m", &address]).await;
        assert!(!taken.exists());

        let stopped = says(&env, &["stop", "counts", "--savepointPath", &savepoints, "-m", &address]).await;
        let savepoint = path_in(&stopped);
        let ended = running.exit().await;
        assert_refused(&ended, 0, &["stopped with the savepoint", savepoint.to_str().unwrap()]);
        assert!(workspace.committed("out").len() < expected.len(), "windows were open");

        let again = says(&env, &["run", &pipeline]).await;
        assert!(again.contains("has finished already"), "{again}");
        says(&env, &["run", &pipeline, "-s", savepoint.to_str().unwrap(), "-claimMode", "CLAIM"]).await;
        assert_eq!(workspace.committed("out"), expected);
        workspace.assert_settled("out");
        assert!(!savepoint.exists(), "it was claimed");
    })
    .unwrap();
}

#[test]
fn a_cancelled_job_says_how_it_goes_on() {
    Env::run_on_host(2, |env| async move {
        let (workspace, address) = (Workspace::new(), free_address());
        let (host, port) = address.split_once(':').unwrap();
        let retain = format!(
            "\"execution.checkpointing.externalized-checkpoint-retention\" = \"RETAIN_ON_CANCELLATION\"\n\
             \"rest.address\" = \"{host}\"\n\"rest.port\" = {port}"
        );
        let pipeline = pipeline(&workspace, &retain);
        let running = Process::start(&env, &["run", &pipeline]);
        workspace.appears(&env, "checkpoints/counts/ha/0000000004").await;
        assert_eq!(says(&env, &["cancel", "counts", "-m", &address]).await, "Cancelled job counts.\n");
        assert_refused(&running.exit().await, 0, &["counts: cancelled in"]);
        assert_refused(&Process::run(&env, &["run", &pipeline]).await, 2, &["was cancelled earlier", "--from PATH"]);
        let kept = says(&env, &["checkpoints", &pipeline]).await;
        assert!(kept.contains("cancelled") && kept.contains("1 kept"), "{kept}");
    })
    .unwrap();
}

#[test]
fn a_savepoint_is_disposed_of_once_and_a_checkpoint_of_the_job_under_no_name() {
    Env::run_on_host(2, |env| async move {
        let (workspace, address) = (Workspace::new(), free_address());
        std::fs::create_dir(workspace.path("detour")).unwrap();
        std::os::unix::fs::symlink(workspace.path("checkpoints"), workspace.path("link")).unwrap();
        // The job knows its checkpoints by another name than the user.
        let pipeline = pipeline(&workspace, "").replace("counts.toml", "detour/../counts.toml");
        let text = std::fs::read_to_string(&pipeline).unwrap();
        let dir = format!("dir = \"{}\"", workspace.text("checkpoints"));
        assert!(text.contains(&dir));
        let detour = format!("dir = \"{}\"", workspace.text("detour/../checkpoints"));
        std::fs::write(&pipeline, text.replace(&dir, &detour)).unwrap();
        let _running = Process::start(&env, &["run", &pipeline, "--rest", &address]);
        workspace.appears(&env, "checkpoints/counts/ha/0000000001").await;

        let savepoint = says(&env, &["savepoint", "counts", &workspace.text("savepoints"), "-m", &address]).await;
        let savepoint = path_in(&savepoint).display().to_string();
        says(&env, &["savepoint", "--dispose", &savepoint, "-m", &address]).await;
        assert!(!std::fs::exists(&savepoint).unwrap());
        let again = Process::run(&env, &["savepoint", "--dispose", &savepoint, "-m", &address]).await;
        assert_refused(&again, 1, &["there is no checkpoint at", &savepoint]);

        says(&env, &["checkpoint", "counts", "-m", &address]).await;
        for name in ["checkpoints", "link", "detour/../checkpoints"] {
            let job = workspace.text(&format!("{name}/counts"));
            let refused = Process::run(&env, &["savepoint", "--dispose", &job, "-m", &address]).await;
            assert_refused(&refused, 2, &["lies among the checkpoints of the job"]);
            assert!(std::fs::exists(&job).unwrap());
        }
    })
    .unwrap();
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_what_to_do() {
    Env::run_on_host(2, |env| async move {
        let (workspace, address) = (Workspace::new(), free_address());
        let nobody = Process::run(&env, &["list", "-m", &address]).await;
        assert_refused(&nobody, 1, &["no job manager answers at", "-m HOST:PORT"]);
        let pipeline = pipeline(&workspace, "");
        let running = Process::start(&env, &["run", &pipeline, "--rest", &address]);
        workspace.appears(&env, "checkpoints/counts/ha/0000000001").await;
        let other = Process::run(&env, &["cancel", "other", "-m", &address]).await;
        assert_refused(&other, 2, &["job other not found: this job manager runs counts"]);
        let nowhere = Process::run(&env, &["savepoint", "counts", "-m", &address]).await;
        assert_refused(&nowhere, 2, &["nobody has said where the savepoint should go"]);
        let below_a_file = workspace.text("counts.toml/savepoints");
        let impossible = Process::run(&env, &["savepoint", "counts", &below_a_file, "-m", &address]).await;
        assert_refused(&impossible, 1, &["there is no savepoint: IO_EXCEPTION", "cannot create", &below_a_file]);
        assert_eq!(impossible.said.matches("error: unavailable: there").count(), 1, "{}", impossible.said);
        assert!(
            says(&env, &["list", "-m", &address]).await.contains("RUNNING"),
            "a savepoint that failed costs nothing"
        );
        let taken = Process::run(&env, &["run", &pipeline, "--rest", &address]).await;
        assert_refused(&taken, 2, &["cannot listen for HTTP at", "rest.port"]);
        drop(running);
        for (name, what) in [("nowhere", "there is no checkpoint at"), ("broken", "broken/_metadata is damaged")] {
            if name == "broken" {
                std::fs::create_dir(workspace.path(name)).unwrap();
                workspace.write("broken/_metadata", "broken");
            }
            let other = Workspace::new();
            let refused = Process::run(&env, &["run", &self::pipeline(&other, ""), "-s", &workspace.text(name)]).await;
            assert_refused(&refused, 1, &[what, "name the directory of a whole checkpoint or savepoint"]);
        }
    })
    .unwrap();
}
