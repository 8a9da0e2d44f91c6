//! What the operations of a pipeline do, each on scripted input: what can be said in a file, and what comes out.
//!
//! Two streams of one script are read at their own speed. Where one must be there before the other, a checkpoint in
//! the script waits for it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod play;

use play::play;
use tidegate::pipeline::Pipeline;

/// A script of records with the fields `k`, `v` and `side`, the stages, and a trace of the last one.
fn pipeline(steps: &str, stages: &str) -> Pipeline {
    let text = format!(
        r#"
name = "operations"

[checkpoint]
interval = "60 s"

[config]
"restart-strategy.type" = "fixed-delay"
"restart-strategy.fixed-delay.attempts" = 3

[[source]]
name = "events"
type = "script"
columns = [{{ name = "k", type = "text" }}, {{ name = "v", type = "int" }}, {{ name = "side", type = "int" }}]
steps = [{steps}]
{stages}

[[sink]]
type = "trace"
"#
    );
    let pipeline = Pipeline::from_toml("operations.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    let again = Pipeline::from_toml("again.toml", &pipeline.to_toml()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again, pipeline);
    pipeline
}

/// The records that come out, in any order.
#[track_caller]
fn check(steps: &str, stages: &str, expected: &[&str]) {
    let (mut lines, ended) = play(&pipeline(steps, stages));
    assert_eq!(ended, Ok(()));
    lines.retain(|line| !line.contains("\"w\":"));
    lines.sort();
    let mut expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
    expected.sort();
    assert_eq!(lines, expected);
}

const SIDES: &str = r#"
[[stage]]
name = "left"
op = "filter"
input = "events"
condition = "side = 0"

[[stage]]
name = "right"
op = "filter"
input = "events"
condition = "side = 1"
"#;

#[test]
fn records_are_joined_with_the_latest_rule_of_their_key() {
    let steps = r#"
        { row = ["a", 10, 1], time_ms = 1 }, { row = ["a", 20, 1], time_ms = 2 }, { control = "checkpoint" },
        { row = ["a", 1, 0], time_ms = 3 }, { row = ["b", 2, 0], time_ms = 4 }"#;
    let enrich = |unmatched: &str| {
        format!(
            "{SIDES}\n[[stage]]\nop = \"enrich\"\ninput = [\"left\", \"right\"]\nkey = [\"k\"]\n{unmatched}\n\
             fields = {{ k = \"a.k\", v = \"a.v\", rule = \"b.v\" }}"
        )
    };
    let matched = r#"{"k":"a","rule":20,"s":0,"ts":3,"v":1}"#;
    check(steps, &enrich(""), &[matched, r#"{"k":"b","s":0,"ts":4,"v":2}"#]);
    check(steps, &enrich("unmatched = \"drop\""), &[matched]);
}

#[test]
fn two_streams_are_joined_within_an_interval() {
    let steps = r#"
        { row = ["a", 1, 0], time_ms = 1000 }, { row = ["a", 10, 1], time_ms = 900 },
        { row = ["a", 20, 1], time_ms = 1200 }, { row = ["a", 30, 1], time_ms = 1201 },
        { row = ["b", 40, 1], time_ms = 1000 }"#;
    let join = |exclusive: &str| {
        format!(
            "{SIDES}\n[[stage]]\nop = \"interval_join\"\ninput = [\"left\", \"right\"]\nkey = [\"k\"]\n\
             lower_ms = -100\nupper_ms = 200\n{exclusive}\n\
             fields = {{ sum = \"a.v + b.v\", distance = \"b.rowtime - a.rowtime\" }}"
        )
    };
    let near = r#"{"distance":-100,"s":0,"sum":11,"ts":1000}"#;
    let far = r#"{"distance":200,"s":0,"sum":21,"ts":1200}"#;
    check(steps, &join(""), &[near, far]);
    check(steps, &join("lower_exclusive = true"), &[far]);
    check(steps, &join("upper_exclusive = true"), &[near]);
}

#[test]
fn records_without_a_partner_in_their_window_are_in_outer_joins() {
    let steps = r#"
        { row = ["a", 1, 0], time_ms = 100 }, { row = ["a", 2, 0], time_ms = 200 },
        { row = ["a", 10, 1], time_ms = 900 }, { row = ["a", 20, 1], time_ms = 1100 },
        { row = ["b", 5, 0], time_ms = 100 }"#;
    let join = |kind: &str| {
        format!(
            "{SIDES}\n[[stage]]\nop = \"window_join\"\ninput = [\"left\", \"right\"]\nkey = [\"k\"]\njoin = \"{kind}\"\n\
             assigner = {{ kind = \"tumbling\", size = \"1 s\" }}\n\
             fields = {{ l = \"a.v\", r = \"b.v\", start = \"window_start\" }}"
        )
    };
    let pairs = [r#"{"l":1,"r":10,"s":0,"start":0,"ts":999}"#, r#"{"l":2,"r":10,"s":0,"start":0,"ts":999}"#];
    let left = [r#"{"l":5,"s":0,"start":0,"ts":999}"#];
    let right = [r#"{"r":20,"s":0,"start":1000,"ts":1999}"#];
    check(steps, &join("inner"), &pairs);
    check(steps, &join("left"), &[&pairs[..], &left].concat());
    check(steps, &join("right"), &[&pairs[..], &right].concat());
    check(steps, &join("full"), &[&pairs[..], &left, &right].concat());
}

#[test]
fn raw_state_outlives_a_failure() {
    let steps = r#"
        { row = ["a", 1, 0], time_ms = 1 }, { row = ["b", 2, 0], time_ms = 2 }, { row = ["a", 3, 0], time_ms = 3 },
        { control = "checkpoint" }, { row = ["a", 4, 0], time_ms = 4 }, { control = "fail" },
        { row = ["b", 5, 0], time_ms = 5 }"#;
    let count = "[[stage]]\nop = \"process\"\nfunction = \"raw_count\"\nkey = [\"k\"]";
    let expected = [
        r#"{"k":"a","s":0,"ts":1,"value":1}"#,
        r#"{"k":"b","s":0,"ts":2,"value":1}"#,
        r#"{"k":"a","s":0,"ts":3,"value":2}"#,
        r#"{"k":"a","s":0,"ts":4,"value":3}"#,
        r#"{"k":"b","s":0,"ts":5,"value":2}"#,
    ];
    check(steps, count, &expected);
    for mode in ["split", "union", "raw"] {
        let buffer = format!(
            "[[stage]]\nop = \"buffer\"\nmode = \"{mode}\"\nthreshold = 2\naggregate = {{ total = \"sum(v)\" }}"
        );
        check(steps, &buffer, &[r#"{"s":0,"total":3,"ts":2}"#, r#"{"s":0,"total":7,"ts":4}"#]);
    }
}

#[test]
fn state_is_forgotten_when_its_time_is_over() {
    let steps = r#"
        { row = ["a", 1, 0], time_ms = 1 }, { row = ["a", 2, 0], time_ms = 2 },
        { control = "checkpoint" }, { row = ["a", 3, 0], time_ms = 3 }"#;
    let count = |ttl: &str| {
        format!("[[stage]]\nop = \"process\"\nfunction = \"value_count\"\nkey = [\"k\"]\nttl = {{ time = \"{ttl}\" }}")
    };
    let told = |last: u32| {
        [(1, 1), (2, 2), (3, last)].map(|(time, value)| format!(r#"{{"k":"a","s":0,"ts":{time},"value":{value}}}"#))
    };
    // The checkpoint comes after a minute.
    let (kept, forgotten) = (told(3), told(1));
    check(steps, &count("10 min"), &kept.each_ref().map(String::as_str));
    check(steps, &count("1 s"), &forgotten.each_ref().map(String::as_str));
}

#[test]
fn each_record_has_a_result_that_says_when_it_was_processed_if_that_is_asked_for() {
    let steps = r#"
        { row = ["a", 1, 0], time_ms = 1 }, { row = ["a", 4, 0], time_ms = 2 }, { row = ["a", 7, 0], time_ms = 3 },
        { control = "checkpoint" }, { row = ["a", 9, 0], time_ms = 4 }"#;
    let played = |function: &str| {
        let stage = format!(
            "[[stage]]\nop = \"process\"\n{function}\nkey = [\"k\"]\nttl = {{ time = \"1 s\" }}\n\
             processed_at = \"at\"\nevery_record = true"
        );
        let (lines, ended) = play(&pipeline(steps, &stage));
        assert_eq!(ended, Ok(()));
        let records = lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        records.filter(|record| record.get("w").is_none()).collect::<Vec<_>>()
    };
    // The checkpoint comes after a minute: what was kept by then has expired.
    let of_each = played("function = \"value_avg\"\nn = 2\nvalue = \"v\"");
    let results: Vec<_> = of_each.iter().map(|record| (record["value"].as_i64(), record["text"].as_str())).collect();
    assert_eq!(results, [(None, None), (Some(2), Some("5/2")), (None, None), (None, None)]);
    let of_each = played("function = \"dedup\"");
    let results: Vec<_> = of_each.iter().map(|record| (record["k"].as_str(), record["v"].as_i64())).collect();
    assert_eq!(results, [(Some("a"), Some(1)), (Some("a"), None), (Some("a"), None), (Some("a"), Some(9))]);
    let at: Vec<i64> = of_each.iter().map(|record| record["at"].as_i64().unwrap()).collect();
    assert!(at[0] <= at[1] && at[1] <= at[2] && at[3] - at[0] > 1_000, "{at:?}");
}

#[test]
fn timers_of_processing_time_come_while_the_script_waits() {
    let steps = r#"
        { row = ["a", 1, 0], time_ms = 1 }, { row = ["a", 2, 0], time_ms = 2 }, { control = "checkpoint" }"#;
    let timeout = "[[stage]]\nop = \"process\"\nfunction = \"timeout\"\ndelay = \"5 s\"\ntime = \"processing\"\n\
                   key = [\"k\"]\n\n[[stage]]\nop = \"map\"\nfields = { k = \"k\", n = \"value\" }";
    // A timer of processing time gives its results no event time.
    check(steps, timeout, &[&format!(r#"{{"k":"a","n":2,"s":0,"ts":{}}}"#, i64::MIN)]);
}

#[test]
fn windows_of_processing_time_close_by_the_clock() {
    let steps = r#"
        { row = ["a", 1, 0], time_ms = 1 }, { row = ["a", 2, 0], time_ms = 2 }, { control = "checkpoint" },
        { row = ["a", 4, 0], time_ms = 3 }, { control = "checkpoint" }"#;
    let window = "[[stage]]\nop = \"window\"\ntime = \"processing\"\nkey = [\"k\"]\nbounds = false\n\
                  assigner = { kind = \"session\", gap = \"5 s\" }\naggregate = { total = \"sum(v)\" }\n\n\
                  [[stage]]\nop = \"rolling\"\nkey = [\"k\"]\nfields = { total = \"a.total + b.total\" }";
    let (lines, ended) = play(&pipeline(steps, window));
    assert_eq!(ended, Ok(()));
    let totals: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["total"].clone()).collect();
    let totals: Vec<i64> = totals.iter().filter_map(serde_json::Value::as_i64).collect();
    assert_eq!(totals, [3, 7]);
}
