//! What must be true of the sources themselves: layers, the seam to the world, the catalogue, the look of files.
//!
//! Each test names every place that breaks its rule. A rule with exceptions lists them here, each with its reason, and
//! an exception that is not needed any more is an error too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use tidegate::event::Step;

#[test]
fn only_env_names_an_executor() {
    let mut broken = Vec::new();
    for file in engine_sources().filter(|file| file.module() != "env") {
        for (number, line) in file.code_lines() {
            if words(line).any(|word| matches!(word, "tokio" | "madsim" | "async_std" | "smol")) {
                broken.push(format!("{}:{number}: {line}", file.name));
            }
        }
    }
    assert_none(&broken, "engine/src names an executor outside env");
}

/// What each module of the engine may use, from the bottom up. A line names nothing that comes after it.
const LAYERS: &[(&str, &[&str])] = &[
    // Vocabulary.
    ("id", &[]),
    ("error", &[]),
    ("codec", &[]),
    ("config", &[]),
    ("planted", &[]),
    ("event", VOCABULARY),
    ("record", VOCABULARY),
    // Pure data and rules.
    ("state", VOCABULARY),
    ("time", &["id", "error", "codec", "config", "planted", "event", "record", "state"]),
    ("graph", VOCABULARY),
    // Pure protocol cores: they know neither each other's insides nor the world.
    ("checkpoint", DATA),
    ("source", DATA),
    ("sink", DATA),
    ("restart", DATA),
    ("heartbeat", DATA),
    ("job", CORES),
    ("net", CORES),
    // Seams.
    ("env", VOCABULARY),
    ("storage", SEAMS),
    ("connector", SEAMS),
    // What runs records.
    ("backend", DATA),
    // Triggers keep what they remember in keyed state.
    ("window", WINDOW),
    ("operator", RECORD_PATH),
    // Shells.
    ("task", TASK),
    ("runtime", RUNTIME),
    ("rest", &["id", "error", "config", "time", "graph", "checkpoint", "job", "env", "runtime"]),
    // What people write.
    ("api", API),
    ("pipeline", PIPELINE),
    ("command", COMMAND),
];

const VOCABULARY: &[&str] = &["id", "error", "codec", "config", "planted", "event", "record", "time"];
const DATA: &[&str] = &["id", "error", "codec", "config", "planted", "event", "record", "time", "state", "graph"];
const WINDOW: &[&str] =
    &["id", "error", "codec", "config", "planted", "event", "record", "time", "state", "graph", "backend"];
const CORES: &[&str] = &[
    "id",
    "error",
    "codec",
    "config",
    "planted",
    "event",
    "record",
    "time",
    "state",
    "graph",
    "checkpoint",
    "source",
    "sink",
    "restart",
    "heartbeat",
];
const SEAMS: &[&str] = &[
    "id",
    "error",
    "codec",
    "config",
    "planted",
    "event",
    "record",
    "time",
    "state",
    "graph",
    "checkpoint",
    "source",
    "sink",
    "heartbeat",
    "net",
    "env",
    "storage",
];
const RECORD_PATH: &[&str] =
    &["id", "error", "codec", "config", "planted", "event", "record", "time", "state", "graph", "window", "backend"];
const TASK: &[&str] = &[
    "id",
    "error",
    "codec",
    "config",
    "planted",
    "event",
    "record",
    "time",
    "state",
    "graph",
    "window",
    "checkpoint",
    "source",
    "sink",
    "net",
    "env",
    "storage",
    "connector",
    "backend",
    "operator",
];
/// Records are the business of tasks: the runtime sees neither operators nor backends nor windows.
const RUNTIME: &[&str] = &[
    "id",
    "error",
    "codec",
    "config",
    "planted",
    "event",
    "record",
    "time",
    "state",
    "graph",
    "checkpoint",
    "restart",
    "heartbeat",
    "job",
    "net",
    "env",
    "storage",
    "task",
];
const API: &[&str] = &[
    "id",
    "error",
    "codec",
    "config",
    "planted",
    "event",
    "record",
    "time",
    "state",
    "graph",
    "window",
    "env",
    "storage",
    "connector",
    "backend",
    "operator",
    "task",
    "runtime",
];
const PIPELINE: &[&str] = &[
    "id",
    "error",
    "codec",
    "config",
    "planted",
    "event",
    "record",
    "time",
    "state",
    "graph",
    "window",
    "env",
    "storage",
    "connector",
    "backend",
    "operator",
    "task",
    "runtime",
    "api",
];
/// The command names what its arguments name: pipelines, processes, and what they keep.
const COMMAND: &[&str] = &[
    "id",
    "error",
    "codec",
    "config",
    "planted",
    "event",
    "record",
    "time",
    "graph",
    "env",
    "storage",
    "connector",
    "task",
    "checkpoint",
    "job",
    "runtime",
    "rest",
    "api",
    "pipeline",
];

/// Uses against the direction of the layers: file, module, reason.
const LAYER_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("record.rs", "checkpoint", "a barrier is an element of the stream; its type belongs to the checkpoint protocol"),
    ("backend/mod.rs", "operator", "a backend is opened for an operator, from what its context says"),
    ("backend/rocksdb/database.rs", "env", "RocksDB sees the machine's clock, also where the engine sees another one"),
];

#[test]
fn each_module_uses_only_those_below_it() {
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut needless: BTreeSet<(&str, &str)> =
        LAYER_EXCEPTIONS.iter().map(|(file, used, _reason)| (*file, *used)).collect();
    let mut broken = Vec::new();
    for file in engine_sources() {
        let module = file.module();
        // The root and the command stand above everything.
        if matches!(module, "lib" | "main" | "bin") {
            continue;
        }
        let Some(allowed) = allowed.get(module) else {
            broken.push(format!("module {module} has no line in the table of layers"));
            continue;
        };
        for used in file.modules_used() {
            if used == module || allowed.contains(&used.as_str()) {
                continue;
            }
            let within = file.name.strip_prefix("engine/src/").unwrap_or(&file.name);
            let excepted = LAYER_EXCEPTIONS.iter().find(|(file, module, _)| *file == within && *module == used);
            match excepted {
                Some((file, module, _reason)) => _ = needless.remove(&(*file, *module)),
                None => broken.push(format!("{} uses {used}", file.name)),
            }
        }
    }
    assert_none(&broken, "engine/src breaks its layers");
    assert!(needless.is_empty(), "needless exceptions from the layers: {needless:?}");
}

#[test]
fn the_table_of_layers_itself_points_downwards() {
    let position = |module: &str| LAYERS.iter().position(|(name, _)| *name == module);
    let mut broken = Vec::new();
    for (upper, (module, allowed)) in LAYERS.iter().enumerate() {
        for used in *allowed {
            match position(used) {
                None => broken.push(format!("{module} may use {used}, which is not in the table")),
                // Vocabulary, records and time are one layer: they may know each other.
                Some(lower) if lower > upper && !VOCABULARY.contains(used) => {
                    broken.push(format!("{module} may use {used}, which is above it"));
                }
                Some(_) => {}
            }
        }
    }
    assert_none(&broken, "the table of layers is wrong");
}

#[test]
fn the_crates_point_one_way() {
    let order = ["tidegate", "tidegate-sim-macros", "tidegate-sim", "tidegate-scenarios", "tidegate-tests"];
    let folders = ["engine", "sim/macros", "sim", "scenarios", "tests"];
    let mut broken = Vec::new();
    for (position, folder) in folders.iter().enumerate() {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        let manifest: toml::Table = toml::from_str(&manifest).expect("a manifest is TOML");
        let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
        let used =
            sections.iter().filter_map(|section| manifest.get(*section)?.as_table()).flat_map(|table| table.keys());
        let upwards = used.filter(|used| order.iter().skip(position).any(|name| *name == used.as_str()));
        broken.extend(upwards.map(|used| format!("{folder} depends on {used}")));
    }
    assert_none(&broken, "crates point from tests down to the engine");
}

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    let broken: Vec<_> = rust_files().filter(|file| !file.text.starts_with("//! ")).map(|file| file.name).collect();
    assert_none(&broken, "files without a module doc at their start");
}

#[test]
fn every_source_file_is_part_of_a_crate() {
    // Where a file declares its modules depends on whether it is a root; both places are taken to be right.
    let mut declared: BTreeSet<PathBuf> = BTreeSet::new();
    for file in rust_files() {
        let path = Path::new(&file.name).with_extension("");
        for (_, line) in file.code_lines() {
            let words: Vec<&str> = line.trim_end_matches(';').split_whitespace().collect();
            if let [.., "mod", module] = words.as_slice() {
                declared.extend([path.join(module), path.with_file_name(module)]);
            }
        }
    }
    let is_root = |file: &Path| {
        let folder = file.parent().and_then(Path::file_name).unwrap_or_default();
        ["main", "lib", "build"].iter().any(|root| file.ends_with(root))
            || ["tests", "benches", "examples", "bin"].iter().any(|roots| folder == *roots)
    };
    let files = rust_files().map(|file| Path::new(&file.name).with_extension(""));
    let modules =
        files.map(|file| if file.ends_with("mod") { file.with_file_name("").components().collect() } else { file });
    let orphans = modules.filter(|file| !is_root(file) && !declared.contains(file));
    let orphans: Vec<String> = orphans.map(|file| file.display().to_string()).collect();
    assert_none(&orphans, "files that no module declares: nothing in them is compiled, and no test of theirs runs");
}

const LINES_MAX: usize = 700;

/// Longer files: file, reason.
const LONG_FILES: &[(&str, &str)] = &[];

#[test]
fn no_file_is_longer_than_one_idea() {
    let long: BTreeMap<String, usize> = rust_files()
        .map(|file| (file.text.lines().count(), file.name))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, name)| (name, lines))
        .collect();
    let excepted: BTreeSet<&str> = LONG_FILES.iter().map(|(file, _reason)| *file).collect();
    let broken: Vec<_> = long.iter().filter(|(name, _)| !excepted.contains(name.as_str())).collect();
    assert!(broken.is_empty(), "files of more than {LINES_MAX} lines: {broken:?}");
    let needless: Vec<_> = excepted.iter().filter(|name| !long.contains_key(**name)).collect();
    assert!(needless.is_empty(), "needless exceptions from the length of files: {needless:?}");
}

#[test]
fn tests_and_scenarios_are_finished_never_ignored_and_wait_for_events() {
    // In two halves, so that this file does not find itself.
    let forbidden = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[ign", "ore"),
        concat!("thread::", "sleep"),
    ];
    let mut broken = Vec::new();
    for file in rust_files() {
        for (number, line) in file.code_lines() {
            broken.extend(
                forbidden
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|_| format!("{}:{number}: {line}", file.name)),
            );
        }
    }
    assert_none(&broken, "unfinished, ignored or sleeping code");
}

/// Planted bugs that the whole laboratory cannot show, but a test near their site does: bug, why.
const CAUGHT_NEARBY: &[(&str, &str)] = &[
    (
        "end_of_input_handled_again_after_restore",
        "no function of pipelines emits at the end of its input; operator/chain/tests.rs catches it",
    ),
    (
        "punctuated_watermark_before_its_record",
        "pipelines have no watermarks of the author's own; task/source/tests.rs catches it",
    ),
    (
        "rocksdb_prefix_scan_misses_flushed_entries",
        "the reviewed zoo runs in every build, also without RocksDB; backend/rocksdb/tests.rs catches it",
    ),
    (
        "processing_timer_fires_early",
        "of windows in processing time too little is certain to see a millisecond; operator/window/tests/storm.rs catches it",
    ),
    (
        "continuous_processing_time_trigger_loses_timer_on_merge",
        "nobody can say how often such a trigger must fire; operator/window/tests/storm.rs catches it",
    ),
    ("list_state_update_appends", "no function of pipelines replaces a list; tests/backend_conformance.rs catches it"),
    (
        "union_state_treated_as_split",
        "one subtask gets the same either way, and with several there is no one right result; tests/operator_state.rs catches it",
    ),
    (
        "merge_of_namespaces_loses_a_source",
        "windows merge their contents themselves; tests/backend_conformance.rs catches it",
    ),
    (
        "alignment_timeout_does_nothing",
        "a checkpoint that stays aligned is right, only later; tests/conformance_17_barrier_aligned_timeout.rs catches it",
    ),
    (
        "output_timeout_does_nothing",
        "a barrier that waits for credit is right, only later; task/output/tests.rs catches it",
    ),
    (
        "one_forced_edge_aligns_every_edge",
        "a checkpoint that stays aligned is right, only later; api/tests.rs catches it",
    ),
    (
        "unconfirmed_upload_reused_after_abort",
        "the job manager takes a file for used that any later checkpoint refers to, so nothing is lost; task/uploads.rs catches it",
    ),
];

#[test]
fn every_planted_bug_is_in_the_zoo_and_every_animal_of_the_zoo_is_planted() {
    let planted: BTreeSet<String> = engine_sources().flat_map(|file| file.planted_bugs()).collect();
    assert!(!planted.is_empty(), "the engine has planted bugs");
    let zoo = catalogue_files().into_iter().find(|path| path.file_name().is_some_and(|name| name == "zoo.toml"));
    let zoo: toml::Table = toml::from_str(&read(&zoo.expect("the catalogue has a zoo"))).expect("the zoo is TOML");
    let bugs = zoo["bug"].as_array().expect("the zoo is a list of bugs");
    let names: Vec<&str> = bugs.iter().map(|bug| bug["name"].as_str().expect("a bug has a name")).collect();
    let described: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names.len(), described.len(), "a bug is described once");
    let nearby: BTreeSet<String> = CAUGHT_NEARBY.iter().map(|(bug, _reason)| (*bug).to_owned()).collect();
    assert!(nearby.is_subset(&planted) && nearby.is_disjoint(&described), "{nearby:?} are planted, and not in the zoo");
    let missing: Vec<_> = planted.difference(&described).filter(|bug| !nearby.contains(*bug)).collect();
    let extinct: Vec<_> = described.difference(&planted).collect();
    assert!(missing.is_empty() && extinct.is_empty(), "not in the zoo: {missing:?}; not in the engine: {extinct:?}");
}

#[test]
fn every_scenario_says_what_it_claims_runs_disturbs_and_would_catch() {
    let mut broken = Vec::new();
    let mut scenarios = 0;
    for path in catalogue_files() {
        let name = relative(&path);
        let file: toml::Table = toml::from_str(&read(&path)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let capsule = file.contains_key("plan");
        if capsule || path.file_name().is_some_and(|name| name == "zoo.toml") {
            continue;
        }
        scenarios += 1;
        for part in ["claim", "setup", "disturbance", "would_catch"] {
            let said = file.get(part).and_then(toml::Value::as_str).is_some_and(|text| !text.trim().is_empty());
            if !said {
                broken.push(format!("{name} has no {part}"));
            }
        }
    }
    assert!(scenarios > 0, "the catalogue has scenarios");
    assert_none(&broken, "scenarios that do not say what they are about");
}

#[test]
fn every_protocol_step_has_one_name_and_is_written_down_under_it() {
    let names: BTreeSet<&str> = Step::ALL.iter().map(|step| step.name()).collect();
    assert_eq!(names.len(), Step::ALL.len(), "two steps have one name");
    for step in Step::ALL {
        assert_eq!(serde_json::to_value(step).expect("a step is text"), step.name(), "in capsules and in traces");
    }
}

#[test]
fn nothing_names_a_place_on_somebody_s_machine() {
    let places = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];
    let mut broken = Vec::new();
    for path in files_below(&root()) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let lines = text.lines().zip(1..).filter(|(line, _)| places.iter().any(|place| line.contains(place)));
        broken.extend(lines.map(|(line, number)| format!("{}:{number}: {line}", relative(&path))));
    }
    assert_none(&broken, "absolute paths of a machine");
}

#[test]
fn every_dependency_of_the_workspace_has_its_reason() {
    let manifest = read(&root().join("Cargo.toml"));
    let section = manifest.split("[workspace.dependencies]").nth(1).expect("the workspace has dependencies");
    let entries = section.lines().take_while(|line| !line.starts_with('[')).filter(|line| line.contains('='));
    let unexplained: Vec<String> = entries
        .filter(|line| !line.contains("path = "))
        .filter(|line| line.split_once("# ").is_none_or(|(_, reason)| reason.trim().is_empty()))
        .map(str::to_owned)
        .collect();
    assert_none(&unexplained, "dependencies without a reason");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    let documents = files_below(&root()).into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    for path in documents {
        for target in link_targets(&read(&path)) {
            let target = target.split('#').next().unwrap_or_default().to_owned();
            let elsewhere = target.is_empty() || target.contains("://");
            if !elsewhere && !path.parent().expect("a file is in a folder").join(&target).exists() {
                broken.push(format!("{} links to {target}", relative(&path)));
            }
        }
    }
    assert_none(&broken, "links that lead nowhere");
}

/// The targets of `[text](target)` in a document.
fn link_targets(text: &str) -> Vec<String> {
    let ends = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    ends.map(|(target, _)| target.to_owned()).filter(|target| !target.contains(char::is_whitespace)).collect()
}

/// A Rust file of the repository.
struct Source {
    /// Its path from the root, with `/`.
    name: String,
    text: String,
}

impl Source {
    /// The module of the engine that it belongs to: the first part below `src`.
    fn module(&self) -> &str {
        let within = self.name.strip_prefix("engine/src/").unwrap_or(&self.name);
        within.split('/').next().unwrap_or(within).trim_end_matches(".rs")
    }

    /// Whether it is compiled for tests only, going by its name.
    fn is_test(&self) -> bool {
        let file = self.name.rsplit('/').next().unwrap_or_default();
        file == "tests.rs" || file.ends_with("_tests.rs") || file == "test_harness.rs" || self.name.contains("/tests/")
    }

    /// Its lines without comments, numbered from 1.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines()).map(|(number, line)| (number, without_comment(line)))
    }

    /// Everything but comments and the tests at its end, in one line.
    fn code(&self) -> String {
        let code = self.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        code.lines().map(without_comment).collect::<Vec<_>>().join(" ")
    }

    /// The modules of the same crate that its code names.
    fn modules_used(&self) -> BTreeSet<String> {
        let code = self.code();
        let mut used = BTreeSet::new();
        for (at, prefix) in code.match_indices("crate::") {
            let rest = &code[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(group) => used.extend(names_of_group(group)),
                None => used.extend(first_word(rest)),
            }
        }
        used.into_iter().map(|name| home_of(&name)).collect()
    }

    fn planted_bugs(&self) -> Vec<String> {
        let code = self.code();
        let sites = code.split("planted!(\"").skip(1);
        sites.filter_map(|rest| rest.split_once('"')).map(|(name, _)| name.to_owned()).collect()
    }
}

/// The first words of the parts of `{a::b, c::{d, e}}`, given what follows the first brace.
fn names_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut part_begins) = (1, Vec::new(), true);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => part_begins = true,
            _ if depth == 1 && part_begins && !character.is_whitespace() => {
                part_begins = false;
                names.extend(first_word(&group[at..]));
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// The module in which a name lives that the crate's root re-exports.
fn home_of(name: &str) -> String {
    match name {
        "Error" | "ErrorKind" | "Result" => "error".into(),
        "Timestamp" => "time".into(),
        module => module.into(),
    }
}

fn first_word(text: &str) -> Option<String> {
    words(text).next().filter(|word| text.starts_with(*word)).map(str::to_owned)
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_alphanumeric() && character != '_').filter(|word| !word.is_empty())
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The code of the engine, without files that are compiled for tests only.
fn engine_sources() -> impl Iterator<Item = Source> {
    rust_files().filter(|file| file.name.starts_with("engine/src/") && !file.is_test())
}

fn rust_files() -> impl Iterator<Item = Source> {
    let paths = files_below(&root()).into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    paths.map(|path| Source { name: relative(&path), text: read(&path) })
}

/// The scenarios, the zoo and the capsules.
fn catalogue_files() -> Vec<PathBuf> {
    let files = files_below(&root().join("scenarios")).into_iter();
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "toml"));
    files.filter(|path| !path.ends_with("Cargo.toml") && !path.ends_with("clippy.toml")).collect()
}

/// All files below a folder, sorted; what git or cargo keep for themselves is left out.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder can be listed").path()).collect();
    paths.sort();
    let own = |path: &Path| path.file_name().is_some_and(|name| matches!(name.to_str(), Some("target" | ".git")));
    let mut files = Vec::new();
    for path in paths.into_iter().filter(|path| !own(path)) {
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are a folder of the repository").to_owned()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

#[track_caller]
fn assert_none(broken: &[String], what: &str) {
    assert!(broken.is_empty(), "{what}:\n{}", broken.join("\n"));
}
