//! Input, pipelines and stored files that are wrong: the error says what, where and what to do; nothing is lost.

use std::{fs, path::PathBuf, time::Duration};

use tidegate::env::Env;

use super::{
    flights::{Expected, expected},
    process::{Exit, Process},
    workspace::{Flights, Workspace},
};

const CSV: &str = "name,number\na,1\nb,2\n";

/// A pipeline from `in.csv` to `out`, with more options for the source and more tables.
fn pipeline(workspace: &Workspace, source_options: &str, more: &str) -> String {
    let (input, output, checkpoints) = (workspace.text("in.csv"), workspace.text("out"), workspace.text("checkpoints"));
    format!(
        r#"name = "job"
[checkpoint]
interval = "50 ms"
dir = "{checkpoints}"
[config]
"restart-strategy.type" = "none"
[[source]]
name = "numbers"
type = "csv"
path = "{input}"
header = true
columns = [{{ name = "name", type = "text" }}, {{ name = "number", type = "int" }}]
{source_options}
[[sink]]
name = "files"
type = "file"
input = "numbers"
path = "{output}"
{more}"#
    )
}

fn on_host<F: Future<Output = ()>>(test: impl FnOnce(Env) -> F) {
    Env::run_on_host(2, test).unwrap();
}

/// Every part stands in what was said; the parts name what, where and what to do.
#[track_caller]
fn assert_error(exit: &Exit, code: i32, parts: &[&str]) {
    assert_eq!(exit.code, Some(code), "{}", exit.said);
    for part in ["error: "].iter().chain(parts) {
        assert!(exit.said.contains(part), "`{part}` is missing in:\n{}", exit.said);
    }
    assert!(!exit.said.contains("panicked"), "{}", exit.said);
}

/// The job fails at a record; nothing becomes visible, nothing is left staged; with the input corrected it finishes.
fn refuses_the_record(csv: &[u8], parts: &[&str]) {
    on_host(|env| async move {
        let workspace = Workspace::new();
        workspace.write("in.csv", csv);
        let path = workspace.write("job.toml", pipeline(&workspace, "", ""));
        let exit = Process::run(&env, &["run", &path]).await;
        assert_error(&exit, 1, parts);
        assert!(exit.said.contains("hint: "), "{}", exit.said);
        assert_eq!(workspace.committed("out"), Vec::<String>::new());
        workspace.write("in.csv", CSV);
        let exit = Process::run(&env, &["run", &path]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        assert_eq!(workspace.committed("out"), ["a,1", "b,2"]);
        workspace.assert_settled("out");
    });
}

#[test]
fn a_cut_line_is_named_by_line_byte_and_missing_column() {
    refuses_the_record(b"name,number\na,1\nb", &["in.csv:3 at byte 16", "column `number` is missing"]);
}

#[test]
fn a_value_that_is_no_number_is_named_with_its_column() {
    refuses_the_record(b"name,number\na,1\nb,two\n", &["in.csv:3 at byte 16", "column `number` holds `two`"]);
}

#[test]
fn a_value_that_is_not_utf_8_is_named_with_its_column() {
    refuses_the_record(b"name,number\n\xff,1\n", &["in.csv:2 at byte 12", "column `name` is not UTF-8"]);
}

#[test]
fn a_quote_that_never_closes_is_named_by_its_line() {
    refuses_the_record(b"name,number\na,1\n\"b,2\n", &["in.csv:3 at byte 16", "ends inside a quoted value"]);
}

#[test]
fn a_file_that_lacks_a_column_is_refused_at_its_header() {
    refuses_the_record(
        b"name\na\n",
        &["in.csv:1 at byte 0", "the header names the columns name, expected name,number"],
    );
}

/// The pipeline is refused before anything runs: no output, no checkpoints.
fn refuses_the_pipeline(change: impl FnOnce(&Workspace, String) -> String, parts: &[&str]) {
    on_host(|env| async move {
        let workspace = Workspace::new();
        workspace.write("in.csv", CSV);
        let text = change(&workspace, pipeline(&workspace, "", ""));
        let path = workspace.write("job.toml", text);
        let exit = Process::run(&env, &["run", &path]).await;
        assert_error(&exit, 2, parts);
        assert!(!workspace.path("out").exists());
        assert!(!workspace.path("checkpoints").exists());
    });
}

#[test]
fn missing_input_is_found_before_anything_runs() {
    refuses_the_pipeline(
        |workspace, text| {
            fs::remove_file(workspace.path("in.csv")).unwrap();
            text
        },
        &["the source `numbers` cannot read", "in.csv", "No such file", "hint: "],
    );
}

#[test]
fn an_unknown_operator_is_named_by_line_with_the_nearest_one() {
    let stage = "[[stage]]\nname = \"some\"\nop = \"fliter\"\ncondition = \"number > 1\"\n";
    refuses_the_pipeline(|_, text| text + stage, &["job.toml:21:", "unknown operator `fliter`", "hint: ", "filter"]);
}

#[test]
fn an_option_that_does_not_exist_is_named_by_line_with_the_nearest_one() {
    refuses_the_pipeline(
        |_, text| text.replace("header = true", "haeder = true"),
        &["job.toml:11:", "unknown field `haeder`", "hint: ", "header"],
    );
    refuses_the_pipeline(
        |_, text| text.replace("restart-strategy.type", "restart-strategy.typo"),
        &["job.toml:6:", "restart-strategy.typo", "hint: "],
    );
    refuses_the_pipeline(
        |_, text| text.replace("header = true", "header = true\nrate = 0"),
        &["job.toml:12:", "rate must be at least 1"],
    );
}

#[test]
fn two_sinks_in_one_directory_are_refused_however_it_is_written() {
    for way in ["out", "./out", "out/", "nowhere/../out"] {
        let twin = |workspace: &Workspace| {
            let path = workspace.text(way);
            format!("[[sink]]\nname = \"twin\"\ntype = \"file\"\ninput = \"numbers\"\npath = \"{path}\"\n")
        };
        let parts = ["job.toml:23:", "the sink `files` writes into the directory", "already", "hint: "];
        refuses_the_pipeline(|workspace, text| text + &twin(workspace), &parts);
    }
}

#[test]
fn a_pipeline_that_is_not_there_and_a_wrong_call_are_told_apart_from_a_failed_job() {
    on_host(|env| async move {
        let workspace = Workspace::new();
        let exit = Process::run(&env, &["run", &workspace.text("none.toml")]).await;
        assert_error(&exit, 2, &["cannot read the pipeline", "none.toml", "hint: "]);
        for call in [&["run"][..], &["run", "x", "--sped"], &["fly"], &["taskmanager", "--id", "a"]] {
            let exit = Process::run(&env, call).await;
            assert_error(&exit, 2, &["tidegate"]);
        }
        workspace.write("in.csv", CSV);
        let path = workspace.write("job.toml", pipeline(&workspace, "", ""));
        let exit = Process::run(&env, &["run", &path, "--from", &workspace.text("chk-7")]).await;
        assert_error(&exit, 1, &["there is no checkpoint at", "chk-7", "hint: "]);
        let exit = Process::run(&env, &["jobmanager", &path, "--address", "127.0.0.1:0"]).await;
        assert_error(&exit, 2, &["--address 127.0.0.1:0", "hint: name a port"]);
        let all =
            ["taskmanager", "--job-manager", "127.0.0.1:1", "--id", "a", "--slots", "1", "--data-address", "0.0.0.0:0"];
        assert_error(&Process::run(&env, &all).await, 2, &["--data-address 0.0.0.0:0", "hint: "]);
    });
}

#[test]
fn bad_records_are_skipped_counted_and_shown_when_the_pipeline_asks_for_it() {
    on_host(|env| async move {
        let workspace = Workspace::new();
        workspace.write("in.csv", "name,number\na,1\nb\nc,three\nd,4\ne,5,6\nf,x\ng,7\n");
        let path = workspace.write("job.toml", pipeline(&workspace, "on_bad_record = \"skip\"", ""));
        let exit = Process::run(&env, &["run", &path]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        assert_eq!(workspace.committed("out"), ["a,1", "d,4", "g,7"]);
        for part in ["bad records skipped: 4", "in.csv:3 at byte 16", "in.csv:4", "in.csv:6", "--verbose lists all"] {
            assert!(exit.said.contains(part), "{part}: {}", exit.said);
        }
    });
}

#[test]
fn a_rate_spreads_the_records_of_a_file_over_time_and_changes_none() {
    on_host(|env| async move {
        let workspace = Workspace::new();
        let records: Vec<String> = (100..130).map(|number| format!("n,{number}")).collect();
        workspace.write("in.csv", format!("name,number\n{}\n", records.join("\n")));
        // Three splits of ten records, read by two readers: each split gets ten records per second.
        let text = pipeline(&workspace, "rate = 30\nsplit_bytes = 64", "");
        let path = workspace.write("job.toml", text.replacen('\n', "\nparallelism = 2\n", 1));
        let started = env.now();
        let exit = Process::run(&env, &["run", &path]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        assert_eq!(workspace.committed("out"), records);
        let took = env.now().since(started);
        assert!(
            took >= Duration::from_millis(700),
            "the tenth record of a split comes 0.9 s after its first: {took:?}"
        );
    });
}

#[test]
fn a_failure_is_told_and_tried_again_as_the_restart_strategy_says() {
    on_host(|env| async move {
        let workspace = Workspace::new();
        workspace.write("in.csv", "name,number\na,x\n");
        let twice = "\"restart-strategy.fixed-delay.attempts\" = 2\n\"restart-strategy.fixed-delay.delay\" = \"10 ms\"";
        let strategy = format!("\"restart-strategy.type\" = \"fixed-delay\"\n{twice}");
        let text = pipeline(&workspace, "", "").replace("\"restart-strategy.type\" = \"none\"", &strategy);
        let path = workspace.write("job.toml", text);
        let exit = Process::run(&env, &["run", &path]).await;
        assert_error(
            &exit,
            1,
            &["job failed: all 2 restarts", "numbers -> files#0: bad record", "column `number` holds `x`"],
        );
        assert_eq!(exit.said.matches("job: restarts from the beginning").count(), 2, "{}", exit.said);
    });
}

/// A flights job that was killed after its first completed checkpoint.
async fn killed_job(env: &Env) -> (Workspace, String) {
    let workspace = Workspace::new();
    let pipeline = workspace.flights(Flights { parallelism: 2, rate: Some(2000), splits: true });
    let process = Process::start(env, &["run", &pipeline]);
    // Entry 0 is the takeover.
    workspace.appears(env, "checkpoints/flights/ha/0000000003").await;
    process.kill();
    (workspace, pipeline)
}

/// With the file damaged in each of these ways the job refuses to run; with the file as it was it goes on and finishes.
async fn refuses_damage(env: &Env, workspace: &Workspace, pipeline: &str, file: PathBuf, name: &str) {
    let whole = fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let middle = whole.len() / 2;
    let cut = whole[..whole.len() - 1].to_vec();
    for damaged in
        [flipped(0), flipped(4), flipped(5), flipped(9), flipped(middle), cut, whole[..5].to_vec(), Vec::new()]
    {
        fs::write(&file, damaged).unwrap();
        let exit = Process::run(env, &["run", pipeline]).await;
        assert_error(&exit, 1, &["corrupt state", name, "is damaged", "hint: ", "--from PATH"]);
    }
    fs::write(&file, whole).unwrap();
    let exit = Process::run(env, &["run", pipeline]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.said);
    assert!(exit.said.contains("resumes unfinished work from checkpoint"), "{}", exit.said);
    let Expected { hourly, carriers } = expected();
    assert_eq!(workspace.committed("hourly"), hourly);
    assert_eq!(workspace.committed("carriers"), carriers);
    workspace.assert_settled("hourly");
    workspace.assert_settled("carriers");
}

#[test]
fn damaged_checkpoint_metadata_is_refused_and_changes_nothing() {
    on_host(|env| async move {
        let (workspace, pipeline) = killed_job(&env).await;
        let newest = *kept_checkpoints(&env, &pipeline).await.last().unwrap();
        let file = workspace.path(&format!("checkpoints/flights/chk-{newest}/_metadata"));
        refuses_damage(&env, &workspace, &pipeline, file, "_metadata").await;
    });
}

#[test]
fn a_state_file_that_is_lost_ends_the_job_at_once_whatever_the_restart_strategy() {
    on_host(|env| async move {
        let workspace = Workspace::new();
        let pipeline = workspace.flights(Flights { parallelism: 2, rate: Some(2000), splits: false });
        let text = fs::read_to_string(&pipeline).unwrap();
        let in_files = "[config]\n\"execution.checkpointing.data-inline-threshold\" = \"0\"\n";
        fs::write(&pipeline, text.replace("[config]\n", in_files)).unwrap();
        let process = Process::start(&env, &["run", &pipeline]);
        workspace.appears(&env, "checkpoints/flights/ha/0000000005").await;
        process.kill();
        let newest = *kept_checkpoints(&env, &pipeline).await.last().unwrap();
        for file in fs::read_dir(workspace.path(&format!("checkpoints/flights/chk-{newest}"))).unwrap() {
            let path = file.unwrap().path();
            if !path.ends_with("_metadata") {
                fs::remove_file(path).unwrap();
            }
        }
        // A thousand restarts are allowed, and none is made.
        let exit = Process::run(&env, &["run", &pipeline]).await;
        assert_error(&exit, 1, &["cannot read state file"]);
        assert_eq!(exit.said.matches("restart").count(), 0, "{}", exit.said);
    });
}

/// The checkpoints that the command lists, the newest last.
async fn kept_checkpoints(env: &Env, pipeline: &str) -> Vec<u64> {
    let listed = Process::run(env, &["checkpoints", pipeline]).await;
    assert_eq!(listed.code, Some(0), "{}", listed.said);
    assert!(listed.said.starts_with("flights: unfinished, "), "{}", listed.said);
    let id = |row: &str| row.split_whitespace().next().unwrap().parse().unwrap();
    listed.said.lines().skip(2).map(id).collect()
}

#[test]
fn with_the_newest_checkpoint_damaged_the_hint_leads_to_the_right_result_from_an_older_one() {
    on_host(|env| async move {
        let workspace = Workspace::new();
        let pipeline = workspace.flights(Flights { parallelism: 2, rate: Some(2000), splits: false });
        let text = fs::read_to_string(&pipeline).unwrap();
        let retained = "[config]\n\"execution.checkpointing.num-retained\" = 3\n";
        fs::write(&pipeline, text.replace("[config]\n", retained)).unwrap();
        let process = Process::start(&env, &["run", &pipeline]);
        workspace.appears(&env, "checkpoints/flights/ha/0000000010").await;
        process.kill();
        let kept = kept_checkpoints(&env, &pipeline).await;
        let [.., older, newest] = kept[..] else { panic!("{kept:?}") };
        let damaged = format!("checkpoints/flights/chk-{newest}/_metadata");
        workspace.write(&damaged, "damaged");
        let exit = Process::run(&env, &["run", &pipeline]).await;
        assert_error(&exit, 1, &["_metadata is damaged", "move the job's checkpoint directory away"]);

        fs::rename(workspace.path("checkpoints"), workspace.path("moved")).unwrap();
        for sink in ["hourly", "carriers"] {
            for name in workspace.committed_files(sink) {
                let checkpoint: u64 = name.split('-').nth(2).unwrap().parse().unwrap();
                if checkpoint > older {
                    fs::remove_file(workspace.path(sink).join(name)).unwrap();
                }
            }
        }
        let from = workspace.text(&format!("moved/flights/chk-{older}"));
        let exit = Process::run(&env, &["run", &pipeline, "--from", &from]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        assert!(exit.said.contains(&format!("flights: starts from checkpoint {older} ({from})")), "{}", exit.said);
        let Expected { hourly, carriers } = expected();
        assert_eq!(workspace.committed("hourly"), hourly);
        assert_eq!(workspace.committed("carriers"), carriers);
        workspace.assert_settled("hourly");
    });
}

#[test]
fn a_second_run_takes_the_job_over_and_the_first_one_ends_without_a_trace_in_the_output() {
    on_host(|env| async move {
        let workspace = Workspace::new();
        let pipeline = workspace.flights(Flights { parallelism: 2, rate: Some(2000), splits: false });
        let first = Process::start(&env, &["run", &pipeline]);
        workspace.appears(&env, "checkpoints/flights/ha/0000000002").await;
        let second = Process::start(&env, &["run", &pipeline]);
        let fenced = first.exit().await;
        assert_error(&fenced, 1, &["another job manager has taken over this job"]);
        let exit = second.exit().await;
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        let Expected { hourly, carriers } = expected();
        assert_eq!(workspace.committed("hourly"), hourly);
        assert_eq!(workspace.committed("carriers"), carriers);
    });
}

#[test]
fn a_damaged_log_entry_is_refused_and_changes_nothing() {
    on_host(|env| async move {
        let (workspace, pipeline) = killed_job(&env).await;
        let file = workspace.path("checkpoints/flights/ha/0000000001");
        refuses_damage(&env, &workspace, &pipeline, file, "ha/0000000001").await;
    });
}

#[test]
fn an_interrupted_job_says_how_to_go_on_and_a_finished_one_runs_nothing() {
    on_host(|env| async move {
        let workspace = Workspace::new();
        let pipeline = workspace.flights(Flights { parallelism: 1, rate: Some(3000), splits: true });
        let mut process = Process::start(&env, &["run", &pipeline]);
        workspace.appears(&env, "checkpoints/flights/ha/0000000002").await;
        process.interrupt();
        let exit = process.exit_within(Duration::from_secs(10)).await.expect("it ends when it is asked to");
        assert_eq!(exit.code, Some(130), "{}", exit.said);
        assert!(exit.said.contains("interrupted; the same command goes on from checkpoint"), "{}", exit.said);

        let none = workspace.text("none");
        let exit = Process::run(&env, &["run", &pipeline, "-s", &none]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        assert!(exit.said.contains("none is left aside, for the job has unfinished work of its own"), "{}", exit.said);
        assert!(exit.said.contains("resumes unfinished work from checkpoint"), "{}", exit.said);
        assert!(exit.said.contains("finished in"), "{}", exit.said);
        let Expected { hourly, .. } = expected();
        assert_eq!(workspace.committed("hourly"), hourly);

        let exit = Process::run(&env, &["run", &pipeline]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.said);
        assert!(exit.said.contains("has finished already") && exit.said.contains("hint: "), "{}", exit.said);
        assert_eq!(workspace.committed("hourly"), hourly);
    });
}
