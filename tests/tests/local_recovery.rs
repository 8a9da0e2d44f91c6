//! Task-local recovery on a real disk: after a failure state comes from the copies, unless they are not what they should be.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tidegate::{
    env::Env,
    event::{Directive, Fact, Moment, Observer, Step},
    pipeline::Pipeline,
    runtime::LocalCluster,
};

/// Fails the first commit of a checkpoint of which there are copies, after doing something to them, and notes from where
/// subtasks restore.
struct FailsOnce {
    root: PathBuf,
    strike: fn(&Path),
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    has_failed: bool,
    restored: Vec<(Step, String)>,
}

impl Observer for FailsOnce {
    fn observe(&self, fact: &Fact<'_>) -> Directive {
        let mut seen = self.seen.lock().unwrap();
        match (fact.moment, fact.step) {
            (_, Step::RestoreLocal | Step::RestoreRemote) => seen.restored.push((fact.step, fact.detail.to_owned())),
            (Moment::Before, Step::Commit) if !seen.has_failed => {
                let copies = self.copies_of(fact);
                copies.iter().for_each(|copy| (self.strike)(copy));
                if !copies.is_empty() {
                    seen.has_failed = true;
                    return Directive::Fail("the test lets it fail".into());
                }
            }
            _ => {}
        }
        Directive::Continue
    }
}

impl FailsOnce {
    /// The copies of the checkpoint that a fact is about.
    fn copies_of(&self, fact: &Fact<'_>) -> Vec<PathBuf> {
        let directory = format!("chk_{}", fact.checkpoint_id.unwrap_or_default());
        let all = COPIES.iter().flat_map(|copies| files(&self.root.join(copies)));
        all.filter(|path| path.iter().any(|part| *part == *directory)).collect()
    }
}

const COPIES: [&str; 2] = ["copies-1", "copies-2"];

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().map_while(Result::ok).map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The lines of the output and from where subtasks restored, of a job that fails once.
fn run(strike: fn(&Path)) -> (Vec<String>, Vec<(Step, String)>) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let text = format!(
        r#"
name = "job"
parallelism = 2
checkpoint = {{ interval = "100 ms", dir = "{root}/checkpoints" }}

[config]
"execution.state-recovery.from-local" = true
"execution.checkpointing.local-backup.dirs" = "{root}/copies-1,{root}/copies-2"
"execution.checkpointing.data-inline-threshold" = "0 b"
"restart-strategy.type" = "fixed-delay"
"restart-strategy.fixed-delay.delay" = "10 ms"

[[source]]
name = "numbers"
type = "generator"
count = 400
rate = 400
keys = 4

[[stage]]
name = "totals"
op = "aggregate"
input = "numbers"
key = ["key"]
aggregate = {{ records = "count()" }}

[[sink]]
type = "file"
path = "{root}/out"
format = "csv"
"#,
        root = root.display()
    );
    let pipeline = Pipeline::from_toml("job.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    let (config, program) = pipeline.compile().unwrap_or_else(|error| panic!("{error}"));
    let observer = Arc::new(FailsOnce { root: root.to_owned(), strike, seen: Mutex::default() });
    let cluster = LocalCluster { task_managers: 2, observer: observer.clone(), ..LocalCluster::new(config) };
    let ran = Env::run_on_host(2, |env| async move { cluster.run(&env, Arc::new(program)).await }).unwrap();
    assert_eq!(ran.unwrap().restarts, 1);
    for copies in COPIES {
        assert_eq!(files(&root.join(copies)), [""; 0].map(PathBuf::from), "the job is over");
    }
    let parts = files(&root.join("out"));
    let mut lines: Vec<String> = parts
        .iter()
        .flat_map(|part| fs::read_to_string(part).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    let restored = std::mem::take(&mut observer.seen.lock().unwrap().restored);
    (lines, restored)
}

#[test]
fn state_comes_from_the_copies_and_from_the_storage_when_they_are_gone_or_damaged() {
    let (lines, restored) = run(|_| {});
    assert!(restored.iter().any(|(step, _)| *step == Step::RestoreLocal), "{restored:?}");
    let (without, restored) = run(|copy| fs::remove_file(copy).unwrap());
    assert!(restored.iter().any(|(step, why)| *step == Step::RestoreRemote && why.contains("no copy")), "{restored:?}");
    let (damaged, restored) = run(|copy| fs::write(copy, "rot").unwrap());
    let recognised = |(step, why): &(Step, String)| *step == Step::RestoreRemote && why.contains("not what");
    assert!(restored.iter().any(recognised), "{restored:?}");
    assert_eq!((lines.len(), &lines, &lines), (400, &without, &damaged));
}
