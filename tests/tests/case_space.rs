//! Cases of the format of `tests/data/flink-cases`, drawn at random from everything that the format can say: the engine and
//! the laboratory's model, which share nothing but the plan and the expressions, give the same.
//!
//! The cases that Flink has answered sample this space thinly. Here any assigner meets any trigger, evictor and function,
//! two stages follow each other, and sources go idle. `TIDEGATE_CASES=3000` plays more of them, `TIDEGATE_CASE=17` one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod play;

use std::{collections::BTreeMap, panic::catch_unwind};

use play::play;
use serde_json::{Value, json};
use tidegate::pipeline::Case;
use tidegate_sim::{model::script, seed::Seed};
use tidegate_tests::trace::{difference, looseness, trace_of};

/// Draws from a seed.
struct Draw {
    seed: Seed,
}

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.seed = self.seed.child("next");
        self.seed.0 % bound
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What a stage asks of what comes in.
#[derive(Clone, Copy, PartialEq)]
enum Feed {
    Any,
    /// Elements have a side.
    Sided,
    /// The same, and none may be late: two channels meet.
    SidedAndPunctual,
}

fn leading_stage(draw: &mut Draw) -> Value {
    match draw.below(3) {
        0 => {
            let function = draw.one(&["add", "mul", "mod", "one", "key_mod", "key_const"]);
            json!({"op": "map", "fn": function, "by": draw.between(1, 5)})
        }
        1 => match draw.one(&["gt", "lt", "mod"]) {
            "gt" => json!({"op": "filter", "fn": "gt", "a": draw.between(-20, 40)}),
            "lt" => json!({"op": "filter", "fn": "lt", "a": draw.between(20, 100)}),
            _ => json!({"op": "filter", "fn": "mod", "a": draw.between(2, 4), "b": draw.between(0, 1)}),
        },
        _ => json!({"op": "repeat", "n": draw.between(1, 3)}),
    }
}

fn assigner(draw: &mut Draw, kinds: &[&str]) -> Value {
    let size = draw.between(1, 20) * 50;
    match draw.one(kinds) {
        "tumbling" if draw.chance(60) => json!({"kind": "tumbling", "size": size}),
        "tumbling" => json!({"kind": "tumbling", "size": size, "offset": draw.between(1 - size, size - 1)}),
        "sliding" => {
            // Slides longer than the window leave gaps.
            let slide = draw.between(1, 12) * 50;
            match draw.chance(60) {
                true => json!({"kind": "sliding", "size": size, "slide": slide}),
                false => {
                    json!({"kind": "sliding", "size": size, "slide": slide, "offset": draw.between(1 - slide, slide - 1)})
                }
            }
        }
        "session" => json!({"kind": "session", "gap": draw.between(1, 12) * 50}),
        "session_dynamic" => {
            json!({"kind": "session_dynamic", "base": draw.between(1, 8) * 50, "per_value": draw.between(0, 3)})
        }
        _ => json!({"kind": "global"}),
    }
}

/// A trigger; one that can merge, if it must.
fn trigger(draw: &mut Draw, merges: bool) -> Value {
    let kinds = ["event_time", "count", "continuous_event_time", "purging", "delta"];
    match draw.one(&kinds[..if merges { 4 } else { 5 }]) {
        "count" => json!({"kind": "count", "n": draw.between(1, 5)}),
        "continuous_event_time" => json!({"kind": "continuous_event_time", "interval": draw.between(1, 10) * 40}),
        "delta" => json!({"kind": "delta", "threshold": draw.between(0, 60)}),
        "purging" => json!({"kind": "purging", "inner": trigger(draw, merges)}),
        _ => json!({"kind": "event_time"}),
    }
}

fn evictor(draw: &mut Draw) -> Value {
    let mut evictor = match draw.one(&["count", "time", "delta"]) {
        "count" => json!({"kind": "count", "n": draw.between(1, 4)}),
        "time" => json!({"kind": "time", "size": draw.between(1, 10) * 50}),
        _ => json!({"kind": "delta", "threshold": draw.between(1, 80)}),
    };
    if draw.chance(60) {
        evictor["after"] = draw.chance(50).into();
    }
    evictor
}

const REDUCTIONS: [&str; 6] = ["sum", "min", "max", "first", "last", "concat"];

fn function(draw: &mut Draw, merges: bool) -> Value {
    let (kind, agg) = match draw.below(3) {
        0 => ("reduce", draw.one(&REDUCTIONS)),
        1 => ("aggregate", draw.one(&["sum", "count", "min", "max", "range", "avg", "concat"])),
        _ => {
            let aggregates = ["list", "sum", "count", "median", "stateful"];
            // Windows that merge have no state of their own.
            ("process", draw.one(&aggregates[..if merges { 4 } else { 5 }]))
        }
    };
    match draw.below(3) {
        0 => json!({"kind": kind, "agg": agg}),
        bounds => json!({"kind": kind, "agg": agg, "bounds": bounds == 1}),
    }
}

fn window(draw: &mut Draw) -> Value {
    let assigner = assigner(draw, &["tumbling", "sliding", "session", "session_dynamic", "global"]);
    let merges = assigner["kind"].as_str().unwrap().starts_with("session");
    let mut window = json!({"op": "window", "assigner": assigner, "fn": function(draw, merges)});
    if draw.chance(50) {
        window["trigger"] = trigger(draw, merges);
    }
    if draw.chance(30) {
        window["evictor"] = evictor(draw);
    }
    if draw.chance(30) {
        window["keyed"] = draw.chance(50).into();
    }
    if draw.chance(50) {
        window["lateness"] = (draw.between(0, 10) * 60).into();
    }
    if draw.chance(60) {
        window["side_output_late"] = draw.chance(60).into();
    }
    window
}

fn stateful_stage(draw: &mut Draw) -> (Value, Feed) {
    let stage = match draw.below(16) {
        0..=6 => window(draw),
        7 => {
            let mut stage = json!({"op": "count_window", "size": draw.between(1, 6), "fn": function(draw, false)});
            if draw.chance(60) {
                stage["slide"] = draw.between(1, 6).into();
            }
            stage
        }
        8 | 9 => {
            let kinds = [
                "value_avg",
                "list_avg",
                "map_avg",
                "map_count",
                "reducing_sum",
                "aggregating_contains",
                "aggregating_avg",
                "value_count",
                "dedup",
            ];
            json!({"op": "state", "kind": draw.one(&kinds), "n": draw.between(1, 5)})
        }
        10 => json!({"op": "rolling", "agg": draw.one(&REDUCTIONS)}),
        11 | 12 => {
            json!({"op": "timers", "kind": draw.one(&["every", "timeout", "replace"]), "delay": draw.between(0, 20) * 40})
        }
        13 => json!({"op": "buffer", "threshold": draw.between(1, 6), "union": draw.chance(30)}),
        14 => {
            let lower = draw.between(-10, 5) * 60;
            let stage = json!({
                "op": "interval_join",
                "lower": lower,
                "upper": lower + draw.between(2, 10) * 60,
                "lower_exclusive": draw.chance(30),
                "upper_exclusive": draw.chance(30),
                "side_output_late": draw.chance(50),
            });
            return (stage, Feed::Sided);
        }
        _ => {
            let kinds = ["tumbling", "sliding", "session"];
            return (json!({"op": "window_join", "assigner": assigner(draw, &kinds)}), Feed::SidedAndPunctual);
        }
    };
    (stage, Feed::Any)
}

fn steps(draw: &mut Draw, inputs: u64, feed: Feed) -> Vec<Value> {
    let mut steps = Vec::new();
    let (mut now_ms, mut watermark_ms) = (draw.between(-1_000, 3_000), vec![i64::MIN; inputs as usize]);
    let mut idle = vec![false; inputs as usize];
    let (records, keys, disorder_ms) = (draw.between(5, 50), draw.between(1, 5), draw.between(0, 300));
    let late = feed != Feed::SidedAndPunctual && draw.chance(60);
    for _ in 0..records {
        let input = draw.below(inputs) as usize;
        let mut push = |mut step: Value| {
            if input > 0 {
                step["i"] = input.into();
            }
            steps.push(step);
        };
        if std::mem::take(&mut idle[input]) {
            push(json!({"active": true}));
        }
        if inputs > 1 && draw.chance(4) {
            push(json!({"idle": true}));
            idle[input] = true;
            continue;
        }
        now_ms += if draw.chance(25) { 0 } else { draw.between(0, 200) };
        let mut time_ms = now_ms - draw.between(0, disorder_ms);
        if late && draw.chance(10) {
            time_ms -= draw.between(0, 1_500);
        } else if !late {
            time_ms = time_ms.max(watermark_ms.iter().max().unwrap().saturating_add(1));
        }
        let (key, value) = (format!("k{}", draw.between(0, keys - 1)), draw.between(-20, 100));
        push(match feed {
            Feed::Any => json!({"e": [key, value, time_ms]}),
            Feed::Sided | Feed::SidedAndPunctual => json!({"e": [key, value, time_ms, draw.below(2)]}),
        });
        if draw.chance(25) {
            let next_ms = now_ms - if draw.chance(50) { disorder_ms } else { draw.between(-100, 600) } - 1;
            watermark_ms[input] = next_ms.max(watermark_ms[input]);
            push(json!({"w": next_ms}));
        }
    }
    steps
}

/// The case of a seed.
fn case(seed: u64) -> Value {
    let draw = &mut Draw { seed: Seed(seed).child("case") };
    let mut stages: Vec<Value> = (0..draw.below(3)).map(|_| leading_stage(draw)).collect();
    let (stateful, feed) = stateful_stage(draw);
    if feed != Feed::Any {
        // Only what keeps the sides.
        stages.retain(|stage| stage["op"] == "filter");
    }
    stages.push(stateful);
    // Behind a stage of several subtasks channels meet, and what comes first is open.
    let parallelism = if draw.chance(30) { draw.between(2, 3) } else { 1 };
    if draw.chance(35) {
        stages.push(leading_stage(draw));
    }
    // The records of a window without an end are at the end of time.
    let has_end = |stage: &Value| stage["op"] != "count_window" && stage["assigner"]["kind"] != "global";
    if parallelism == 1 && draw.chance(30) {
        let (second, second_feed) = stateful_stage(draw);
        if second_feed == Feed::Any && stages.iter().all(has_end) {
            stages.push(second);
        }
    }
    let inputs = if draw.chance(20) && feed != Feed::SidedAndPunctual { 2 } else { 1 };
    let mut case = json!({
        "name": format!("space-{seed}"),
        "parallelism": parallelism,
        "inputs": inputs,
        "stages": stages,
        "steps": steps(draw, inputs, feed),
    });
    if draw.chance(40) {
        case["drain"] = draw.chance(50).into();
    }
    // At the end of its input such a window fires for every interval up to the end of time, as it would in Flink.
    let endless = |stage: &Value| {
        stage["assigner"]["kind"] == "global" && stage["trigger"].to_string().contains("continuous_event_time")
    };
    if case["stages"].as_array().unwrap().iter().any(endless) {
        case["drain"] = false.into();
    }
    if draw.chance(20) {
        case["max_parallelism"] = draw.between(parallelism, 200).into();
    }
    case
}

/// What is different between engine and model, in a few lines; `None` if nothing is.
fn check(case: &Value, backend: &str) -> Option<String> {
    let name = case["name"].as_str().unwrap();
    let read = match Case::from_json(name, &case.to_string()) {
        Ok(read) => read,
        Err(error) => return Some(format!("cannot be read: {error:#}")),
    };
    let played = match catch_unwind(|| script::play(&read.pipeline)) {
        Ok(Ok(played)) => played,
        Ok(Err(error)) => return Some(format!("the model: {error}")),
        Err(_) => return Some("the model panicked".to_owned()),
    };
    let mut pipeline = read.pipeline.with_option("state.backend.type", backend);
    // Worlds of one seed give their databases one name: each has a directory of its own.
    let directory = tempfile::tempdir().unwrap();
    if backend == "rocksdb" {
        pipeline = pipeline.with_option("io.tmp.dirs", directory.path().display().to_string());
    }
    let (lines, ended) = play(&pipeline);
    if let Err(error) = ended {
        return Some(format!("the engine: {error}"));
    }
    let loose = looseness(case);
    let expected = trace_of(script::trace_entries(&pipeline, &played).unwrap(), loose);
    let found = trace_of(lines.iter().map(|line| serde_json::from_str(line).unwrap()), loose);
    let expected = expected.into_iter().filter(|(_, entries)| !entries.is_empty()).collect();
    difference(&expected, &found, "model")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn check_all(count: u64, backend: &str) {
    let seeds = number("TIDEGATE_CASE").map_or(0..number("TIDEGATE_CASES").unwrap_or(count), |one| one..one + 1);
    let wrong: BTreeMap<u64, String> = seeds.filter_map(|seed| Some((seed, check(&case(seed), backend)?))).collect();
    let shown: Vec<String> =
        wrong.iter().take(12).map(|(seed, what)| format!("{seed}: {what}\n    {}", case(*seed))).collect();
    assert!(wrong.is_empty(), "{} cases, among them:\n{}", wrong.len(), shown.join("\n"));
}

#[test]
fn engine_and_model_agree_on_cases_of_every_kind() {
    check_all(250, "hashmap");
}

#[cfg(feature = "rocksdb")]
#[test]
fn engine_in_rocksdb_and_model_agree_on_cases_of_every_kind() {
    check_all(60, "rocksdb");
}
