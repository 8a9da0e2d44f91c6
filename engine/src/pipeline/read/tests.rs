//! What authors of pipelines get to read, and the two formats as inverse functions.

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    config::{CheckpointStorageConfig, CheckpointingMode, RestartConfig},
    pipeline::*,
    row,
};

const FLIGHTS: &str = include_str!("../../../../tests/data/pipelines/flights.toml");
const GENERATED: &str = include_str!("../../../../tests/data/pipelines/generated.toml");

fn read(text: &str) -> Pipeline {
    Pipeline::from_toml("p.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

/// A small file that is right, to be broken.
const SMALL: &str = r#"name = "small"

[[source]]
name = "numbers"
type = "generator"
count = 10
event_time = "time_ms"

[[stage]]
name = "sums"
op = "window"
key = ["key"]
assigner = { kind = "tumbling", size = "1 s" }
aggregate = { total = "sum(value)" }

[[sink]]
name = "out"
type = "print"
"#;

/// The error after replacing a part of the small file.
#[track_caller]
fn broken(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "the small file has no {from}");
    let error = Pipeline::from_toml("p.toml", &SMALL.replacen(from, to, 1)).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Configuration);
    error.to_string()
}

#[test]
fn the_small_file_is_right() {
    read(SMALL);
}

#[test]
fn errors_of_the_format_show_the_line() {
    insta::assert_snapshot!(broken("count = 10", "count = "), @r#"
    wrong configuration: p.toml:6:9: expected literal string, string values must be quoted
      6 | count = 
        |         ^
    "#);
    insta::assert_snapshot!(broken("[[sink]]", "[[sink"), @r#"
    wrong configuration: p.toml:16:7: expected `]]`, unclosed array table
      16 | [[sink
         |       ^
    "#);
}

#[test]
fn unknown_names_of_the_format_suggest_the_nearest() {
    insta::assert_snapshot!(broken("count = 10", "cuont = 10"), @r#"
    wrong configuration: p.toml:6:1: unknown field `cuont`
      6 | cuont = 10
        | ^^^^^
      hint: did you mean `count`? known: name, type, parallelism, path, header, delimiter, split_bytes, on_bad_record, count, rate, keys, key_distribution, start_ms, step, disorder, splits, seed, event_time, on_missing_event_time, max_out_of_orderness, idle_timeout, columns, rows, inputs, drain, restore_watermark, interval, steps
    "#);
    insta::assert_snapshot!(broken("size = ", "sise = "), @r#"
    wrong configuration: p.toml:13:33: unknown field `sise`
      13 | assigner = { kind = "tumbling", sise = "1 s" }
         |                                 ^^^^
      hint: did you mean `size`? known: kind, size, slide, offset, gap, gap_ms, n, every
    "#);
    insta::assert_snapshot!(broken("\"window\"", "\"widnow\""), @r#"
    wrong configuration: p.toml:11:1: unknown operator `widnow`
      11 | op = "widnow"
         | ^^^^^^^^^^^^^
      hint: did you mean `window`? known: filter, map, repeat, window, aggregate, rolling, process, buffer, enrich, interval_join, window_join
    "#);
    insta::assert_snapshot!(broken("\"generator\"", "\"kafka\""), @r#"
    wrong configuration: p.toml:5:1: unknown source type `kafka`
      5 | type = "kafka"
        | ^^^^^^^^^^^^^^
      hint: known: csv, generator, collection, script
    "#);
    insta::assert_snapshot!(broken("count = 10", "count = 10\nkey_distribution = \"skewd\""), @r#"
    wrong configuration: p.toml:7:20: unknown value `skewd`
      7 | key_distribution = "skewd"
        |                    ^^^^^^^
      hint: did you mean `skewed`? known: uniform, skewed
    "#);
}

#[test]
fn options_that_do_not_belong_or_are_missing_are_named() {
    insta::assert_snapshot!(broken("count = 10", "path = \"x\""), @r#"
    wrong configuration: p.toml:6:1: a generator source has no `path`
      6 | path = "x"
        | ^^^^^^^^^^
      hint: its options: count, rate, keys, key_distribution, start_ms, step, disorder, splits, seed
    "#);
    insta::assert_snapshot!(broken("key = [\"key\"]\n", ""), @r#"
    wrong configuration: p.toml:9:1: this window stage lacks `key`
      9 | [[stage]]
        | ^^^^^^^^^
    "#);
    insta::assert_snapshot!(broken("op = \"window\"\n", ""), @r#"
    wrong configuration: p.toml:9:1: this stage lacks `op`
      9 | [[stage]]
        | ^^^^^^^^^
      hint: `op` is one of: filter, map, repeat, window, aggregate, rolling, process, buffer, enrich, interval_join, window_join
    "#);
    insta::assert_snapshot!(broken("name = \"small\"\n", ""), @r#"
    wrong configuration: p.toml:1:1: missing field `name`
      1 | 
        | ^
    "#);
    insta::assert_snapshot!(broken("size = \"1 s\"", "gap = \"1 s\""), @r#"
    wrong configuration: p.toml:13:33: a tumbling assigner has no `gap`
      13 | assigner = { kind = "tumbling", gap = "1 s" }
         |                                 ^^^^^^^^^^^
      hint: its options: size, offset
    "#);
}

#[test]
fn values_of_the_wrong_type_say_what_is_expected() {
    insta::assert_snapshot!(broken("count = 10", "count = \"ten\""), @r#"
    wrong configuration: p.toml:6:9: expected a whole number of at least 0, found text "ten"
      6 | count = "ten"
        |         ^^^^^
    "#);
    insta::assert_snapshot!(broken("count = 10", "count = -1"), @r#"
    wrong configuration: p.toml:6:9: expected a whole number of at least 0, found `-1`
      6 | count = -1
        |         ^^
    "#);
    insta::assert_snapshot!(broken("\"1 s\"", "\"1 sec.\""), @r#"
    wrong configuration: p.toml:13:40: `1 sec.` is not a duration: expected a whole number and a unit (ms, s, min, h, d), such as "500 ms"
      13 | assigner = { kind = "tumbling", size = "1 sec." }
         |                                        ^^^^^^^^
    "#);
    insta::assert_snapshot!(broken("key = [\"key\"]", "key = \"key\""), @r#"
    wrong configuration: p.toml:12:7: expected a list, found text "key"
      12 | key = "key"
         |       ^^^^^
    "#);
    insta::assert_snapshot!(broken("type = \"print\"", "type = \"print\"\ninput = 5"), @r#"
    wrong configuration: p.toml:19:9: expected the name of a source or stage, or a list of names, found `5`
      19 | input = 5
         |         ^
    "#);
}

#[test]
fn inputs_must_exist_and_not_form_a_circle() {
    insta::assert_snapshot!(broken("type = \"print\"", "type = \"print\"\ninput = \"summs\""), @r#"
    wrong configuration: p.toml:19:1: unknown input `summs`
      19 | input = "summs"
         | ^^^^^^^^^^^^^^^
      hint: did you mean `sums`? sources and stages: numbers, sums
    "#);
    insta::assert_snapshot!(broken("type = \"print\"", "type = \"print\"\ninput = \"sums.late\""), @r#"
    wrong configuration: p.toml:19:1: unknown input `sums.late`
      19 | input = "sums.late"
         | ^^^^^^^^^^^^^^^^^^^
      hint: the window `sums` needs late_records = "side_output"
    "#);
    insta::assert_snapshot!(broken("op = \"window\"", "op = \"window\"\ninput = [\"numbers\", \"sums\"]"), @r#"
    wrong configuration: p.toml:12:1: these stages take records from each other in a circle: sums -> sums
      12 | input = ["numbers", "sums"]
         | ^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(broken("[[sink]]", "[[stage]]\nop = \"filter\"\ncondition = \"key = 1\"\ninput = [\"numbers\", \"sums\"]\n[[sink]]"), @r#"
    wrong configuration: p.toml:19:21: `sums` has other fields than the inputs before it
      19 | input = ["numbers", "sums"]
         |                     ^^^^^^
      hint: (key int, window_start int, window_end int, total int) is not (sequence int, key int, value int, time_ms int)
    "#);
}

#[test]
fn names_must_be_unique_and_sinks_exist() {
    insta::assert_snapshot!(broken("\"out\"", "\"sums\""), @r#"
    wrong configuration: p.toml:17:1: the name `sums` is taken
      17 | name = "sums"
         | ^^^^^^^^^^^^^
      hint: sources, stages and sinks have different names
    "#);
    insta::assert_snapshot!(broken("[[sink]]\nname = \"out\"\ntype = \"print\"\n", ""), @r#"
    wrong configuration: p.toml:1:1: there is no sink
      1 | name = "small"
        | ^
      hint: add a [[sink]]; type = "discard" drops all records
    "#);
    insta::assert_snapshot!(broken("\"sums\"", "\"su ms\""), @r#"
    wrong configuration: p.toml:10:1: `su ms` is not usable as a name
      10 | name = "su ms"
         | ^^^^^^^^^^^^^^
      hint: a name has letters, digits, `_` and `-`
    "#);
    insta::assert_snapshot!(broken("[[stage]]", "[[stage]]\nop = \"filter\"\ncondition = \"key = 1\"\n[[stage]]\ninput = \"numbers\""), @r#"
    wrong configuration: p.toml:9:1: nothing takes the records of `filter-1`
      9 | [[stage]]
        | ^^^^^^^^^
      hint: name it as the `input` of a stage or sink, or add a sink with type = "discard"
    "#);
}

#[test]
fn fields_and_expressions_are_marked_inside_the_line() {
    insta::assert_snapshot!(broken("[\"key\"]", "[\"kye\"]"), @r#"
    wrong configuration: p.toml:12:8: the input has no field `kye` to be a key
      12 | key = ["kye"]
         |        ^^^^^
      hint: did you mean `key`? fields: sequence, key, value, time_ms
    "#);
    insta::assert_snapshot!(broken("sum(value)", "sum(valeu * 2)"), @r#"
    wrong configuration: p.toml:14:28: unknown field `valeu`
      14 | aggregate = { total = "sum(valeu * 2)" }
         |                            ^^^^^
      hint: did you mean `value`? fields: sequence, key, value, time_ms
    "#);
    insta::assert_snapshot!(broken("\"sum(value)\"", "'sum(text(value))'"), @r#"
    wrong configuration: p.toml:14:28: `sum` needs a number, this is text
      14 | aggregate = { total = 'sum(text(value))' }
         |                            ^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(broken("total =", "window_end ="), @r#"
    wrong configuration: p.toml:14:15: there are two fields `window_end`
      14 | aggregate = { window_end = "sum(value)" }
         |               ^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(broken("event_time = \"time_ms\"", "event_time = \"time_ms * 1.5\""), @r#"
    wrong configuration: p.toml:7:1: event time is an int (milliseconds since the epoch), this is float
      7 | event_time = "time_ms * 1.5"
        | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(broken("event_time = \"time_ms\"\n", ""), @r#"
    wrong configuration: p.toml:12:1: these windows need event time, which the input lacks
      12 | assigner = { kind = "tumbling", size = "1 s" }
         | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: give its source an `event_time`, or the window time = "processing"
    "#);
    insta::assert_snapshot!(broken("op = \"window\"", "op = \"window\"\ntrigger = { kind = \"purging\", inner = { kind = \"count\", n = 0 } }"), @r#"
    wrong configuration: p.toml:12:57: n must be at least 1
      12 | trigger = { kind = "purging", inner = { kind = "count", n = 0 } }
         |                                                         ^^^^^
    "#);
}

/// The operation of the small file.
const WINDOW: &str = r#"op = "window"
key = ["key"]
assigner = { kind = "tumbling", size = "1 s" }
aggregate = { total = "sum(value)" }
"#;

#[test]
fn results_of_a_function_say_when_records_were_processed_under_a_name_of_their_own() {
    let process =
        |function: &str, more: &str| format!("op = \"process\"\nkey = [\"key\"]\nfunction = \"{function}\"\n{more}\n");
    let schema = |function: &str, more: &str| {
        let pipeline = read(&SMALL.replacen(WINDOW, &process(function, more), 1));
        pipeline.plan().unwrap().sinks[0].schema.to_string()
    };
    assert_eq!(schema("value_count", ""), "(key int, value int)");
    assert_eq!(schema("value_count", "processed_at = \"at\""), "(key int, value int, at int)");
    let both = "processed_at = \"at\"\nevery_record = true";
    assert_eq!(
        schema("aggregating_avg", &format!("value = \"value\"\n{both}")),
        "(key int, value int?, text text?, at int)"
    );
    assert_eq!(schema("dedup", both), "(sequence int?, key int, value int?, time_ms int?, at int)");
    insta::assert_snapshot!(broken(WINDOW, &process("dedup", "processed_at = \"time_ms\"")), @r#"
    wrong configuration: p.toml:14:1: the results have a field `time_ms` already
      14 | processed_at = "time_ms"
         | ^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(broken(WINDOW, &process("dedup", "processed_at = \"\"")), @r#"
    wrong configuration: p.toml:14:1: a field needs a name
      14 | processed_at = ""
         | ^^^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(broken(WINDOW, &process("raw_count", "processed_at = \"at\"")), @r#"
    wrong configuration: p.toml:14:1: the function raw_count has no `processed_at`
      14 | processed_at = "at"
         | ^^^^^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(broken(WINDOW, &process("raw_count", "every_record = true")), @r#"
    wrong configuration: p.toml:14:1: the function raw_count has no `every_record`
      14 | every_record = true
         | ^^^^^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(broken(WINDOW, &process("dedup", "every_record = 1")), @r#"
    wrong configuration: p.toml:14:16: expected true or false, found `1`
      14 | every_record = 1
         |                ^
    "#);
    insta::assert_snapshot!(broken("op = \"window\"", "op = \"window\"\nprocessed_at = \"at\""), @r#"
    wrong configuration: p.toml:12:1: a window stage has no `processed_at`
      12 | processed_at = "at"
         | ^^^^^^^^^^^^^^^^^^^
      hint: its options: key, assigner, time, trigger, evictor, allowed_lateness, late_records, bounds, aggregate, reduce, process
    "#);
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = SMALL.replace("\"time_ms\"", "\"tme_ms\"").replace("size = \"1 s\"", "size = \"0 s\"");
    let text = format!("{text}\n[[sink]]\nname = \"a b\"\ntype = \"discard\"\ninput = \"nowhere\"\n");
    insta::assert_snapshot!(Pipeline::from_toml("p.toml", &text).unwrap_err(), @r#"
    wrong configuration: 3 problems in p.toml

    p.toml:7:15: unknown field `tme_ms`
      7 | event_time = "tme_ms"
        |               ^^^^^^
      hint: did you mean `time_ms`? fields: sequence, key, value, time_ms

    p.toml:21:1: `a b` is not usable as a name
      21 | name = "a b"
         | ^^^^^^^^^^^^
      hint: a name has letters, digits, `_` and `-`

    p.toml:23:1: unknown input `nowhere`
      23 | input = "nowhere"
         | ^^^^^^^^^^^^^^^^^
      hint: sources and stages: numbers, sums
    "#);
}

#[test]
fn rows_must_fit_their_columns_and_null_event_times_be_decided() {
    let text = |rows: &str, more: &str| {
        format!(
            "name = \"c\"\n[[source]]\ntype = \"collection\"\ncolumns = [{{ name = \"k\", type = \"text\" }}, \
             {{ name = \"t\", type = \"int\", nullable = true }}]\nrows = {rows}\nevent_time = \"t\"\n{more}\n\
             [[sink]]\ntype = \"discard\"\n"
        )
    };
    let error = |rows: &str, more: &str| Pipeline::from_toml("p.toml", &text(rows, more)).unwrap_err().to_string();
    let drop = "on_missing_event_time = \"drop\"";
    let pipeline = read(&text("[[\"a\", 1], [\"b\", []]]", drop));
    let SourceKind::Collection(collection) = &pipeline.sources[0].kind else { panic!("not a collection") };
    assert_eq!(collection.rows, [row!["a", 1], row!["b", None::<i64>]]);
    insta::assert_snapshot!(error("[[\"a\", 1], [\"b\"]]", drop), @r#"
    wrong configuration: p.toml:5:19: the row ('b') does not fit the columns (k text, t int?)
      5 | rows = [["a", 1], ["b"]]
        |                   ^^^^^
      hint: `?` marks columns that may be null, which is written []
    "#);
    insta::assert_snapshot!(error("[[\"a\", \"b\"]]", drop), @r#"
    wrong configuration: p.toml:5:9: the row ('a', 'b') does not fit the columns (k text, t int?)
      5 | rows = [["a", "b"]]
        |         ^^^^^^^^^^
      hint: `?` marks columns that may be null, which is written []
    "#);
    insta::assert_snapshot!(error("[[\"a\", [1]]]", drop), @r#"
    wrong configuration: p.toml:5:15: a value cannot be a list; [] stands for null
      5 | rows = [["a", [1]]]
        |               ^^^
    "#);
    insta::assert_snapshot!(error("[]", ""), @r#"
    wrong configuration: p.toml:6:1: event time may be null
      6 | event_time = "t"
        | ^^^^^^^^^^^^^^^^
      hint: say what happens then: on_missing_event_time = "drop" or "fail", or use coalesce(x, …)
    "#);
}

#[test]
fn options_of_the_configuration_are_located() {
    let config = |lines: &str| {
        let error = Pipeline::from_toml("p.toml", &format!("{SMALL}[config]\n{lines}\n")).unwrap_err();
        error.to_string()
    };
    insta::assert_snapshot!(config("\"execution.checkpointing.intervall\" = \"1 s\""), @r#"
    wrong configuration: p.toml:20:1: unknown option `execution.checkpointing.intervall`
      20 | "execution.checkpointing.intervall" = "1 s"
         | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: did you mean `execution.checkpointing.interval`?
    "#);
    insta::assert_snapshot!(config("execution.checkpointing.interval = \"soon\""), @r#"
    wrong configuration: p.toml:20:25: `soon` is no value for `execution.checkpointing.interval`
      20 | execution.checkpointing.interval = "soon"
         |                         ^^^^^^^^^^^^^^^^^
      hint: expected a whole number and a unit (ms, s, min, h, d), such as 10 min; without unit: ms
    "#);
    insta::assert_snapshot!(config("\"state.backend\" = \"forst\""), @r#"
    wrong configuration: p.toml:20:1: unknown state backend `forst`
      20 | "state.backend" = "forst"
         | ^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: expected hashmap or rocksdb, or the older jobmanager or filesystem: hashmap with that storage
    "#);
    insta::assert_snapshot!(config("\"restart-strategy.fixed-delay.delay\" = \"1 s\""), @r#"
    wrong configuration: p.toml:20:1: `restart-strategy.fixed-delay.delay` has no effect here
      20 | "restart-strategy.fixed-delay.delay" = "1 s"
         | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: it belongs to another restart-strategy.type
    "#);
}

#[test]
fn json_problems_are_located_too() {
    let json = read(SMALL).to_json();
    let error = |from: &str, to: &str| {
        assert!(json.contains(from), "{json}");
        Pipeline::from_text("p.json", &json.replacen(from, to, 1)).unwrap_err().to_string()
    };
    assert_eq!(Pipeline::from_text("p.json", &json).unwrap(), read(SMALL));
    insta::assert_snapshot!(error("\"count\": 10", "\"cuont\": 10"), @r#"
    wrong configuration: p.json:8:13: unknown field `cuont`
      8 |       "cuont": 10,
        |             ^
      hint: did you mean `count`? known: name, type, parallelism, path, header, delimiter, split_bytes, on_bad_record, count, rate, keys, key_distribution, start_ms, step, disorder, splits, seed, event_time, on_missing_event_time, max_out_of_orderness, idle_timeout, columns, rows, inputs, drain, restore_watermark, interval, steps
    "#);
    insta::assert_snapshot!(error("\"count\": 10", "\"count\": 10.5"), @r#"
    wrong configuration: p.json:8:19: expected a whole number of at least 0, found `10.5`
      8 |       "count": 10.5,
        |                   ^
    "#);
    insta::assert_snapshot!(error("sum(value)", "sum(vale)"), @r#"
    wrong configuration: p.json:37:23: unknown field `vale`
      37 |         "total": "sum(vale)"
         |                       ^^^^
      hint: did you mean `value`? fields: sequence, key, value, time_ms
    "#);
    insta::assert_snapshot!(error("\"input\": \"sums\"", "\"input\": \"sms\""), @r#"
    wrong configuration: p.json:45:7: unknown input `sms`
      45 |       "input": "sms"
         |       ^^^^^^^^^^^^^^
      hint: did you mean `sums`? sources and stages: numbers, sums
    "#);
    insta::assert_snapshot!(error("\"sum(value)\"\n", "\"sum(value)\",\n"), @r#"
    wrong configuration: p.json:38:7: trailing comma
      38 |       }
         |       ^
    "#);
}

#[test]
fn what_is_left_out_is_filled_in() {
    let pipeline = read(
        "name = \"p\"\n[[source]]\ntype = \"generator\"\n[[stage]]\nop = \"filter\"\ncondition = \"key > 1\"\n\
         [[stage]]\nop = \"map\"\nfields = { z = \"key\", a = \"value\" }\n[[sink]]\ntype = \"discard\"\n\
         [[sink]]\ntype = \"print\"\n",
    );
    let names: Vec<(&str, &[String])> =
        pipeline.stages.iter().map(|stage| (stage.name.as_str(), stage.inputs.as_slice())).collect();
    assert_eq!(names, [("filter-1", &["source-1".to_owned()][..]), ("map-2", &["filter-1".to_owned()][..])]);
    assert!(pipeline.sinks.iter().all(|sink| sink.inputs == ["map-2"]));
    let plan = pipeline.plan().unwrap();
    assert_eq!(plan.sinks[0].schema.to_string(), "(z int, a int)", "fields keep the order of the file");
}

#[test]
fn stages_may_stand_in_any_order() {
    let stage = |name: &str, input: &str| Stage::new(name, input, Operation::Filter { condition: "key > 1".into() });
    let pipeline = Pipeline::new("p")
        .source(Source::new("numbers", SourceKind::Generator(GeneratorSource::default())))
        .stage(stage("third", "second"))
        .stage(stage("second", "first"))
        .stage(stage("first", "numbers"))
        .sink(Sink::new("out", "third", SinkKind::Discard));
    let plan = pipeline.plan().unwrap();
    let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["first", "second", "third"]);
    assert_eq!(plan.stages[2].inputs, [Stream::Stage(1)]);
    assert_eq!(plan.sinks[0].inputs, [Stream::Stage(2)]);
}

#[test]
fn the_example_of_flights_is_what_it_says() {
    let pipeline = read(FLIGHTS);
    let plan = pipeline.plan().unwrap();
    let schemas: Vec<String> = plan.stages.iter().map(|stage| format!("{}{}", stage.name, stage.schema)).collect();
    insta::assert_snapshot!(schemas.join("\n"), @r#"
    departures-per-hour(origin text, window_start int, window_end int, departures int, mean_delay_min float?, worst_delay_min int?)
    delay-per-carrier(carrier text, flights int, mean_delay_min float?)
    "#);
    let config = pipeline.job_config().unwrap();
    assert_eq!(config.name, "flights");
    assert_eq!(config.checkpoints.interval, Some(Duration::from_secs(1)));
    assert_eq!(config.checkpoints.mode, CheckpointingMode::ExactlyOnce);
    let directory = "out/checkpoints".into();
    assert_eq!(config.checkpoints.storage, CheckpointStorageConfig::FileSystem { directory });
    assert_eq!(config.restart, Some(RestartConfig::FixedDelay { attempts: 3, delay: Duration::from_secs(1) }));
}

#[test]
fn the_example_of_generated_records_is_right() {
    let plan = read(GENERATED).plan().unwrap();
    assert_eq!(
        plan.sinks[0].schema.to_string(),
        "(key text, window_start int, window_end int, records int, total int, greatest_share float)"
    );
}

proptest! {
    #[test]
    fn no_damage_to_a_file_makes_reading_it_panic(at in 0..SMALL.len(), length in 0_usize..20, text in "\\PC{0,12}|[a-z ()+'\"\\\\\n]{0,12}") {
        let end = (at + length).min(SMALL.len());
        let damaged = format!("{}{text}{}", &SMALL[..at], &SMALL[end..]);
        let _ = Pipeline::from_toml("p.toml", &damaged).map_err(|error| error.to_string());
        let json = read(SMALL).to_json();
        let (at, end) = (at.min(json.len()), end.min(json.len()));
        let damaged = format!("{}{text}{}", &json[..at], &json[end..]);
        let _ = Pipeline::from_json("p.json", &damaged).map_err(|error| error.to_string());
    }
}

fn refused_json(text: &str) -> String {
    Pipeline::from_json("case.json", text).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_with_a_case_is_shown_where_it_is() {
    let case = r#"{"case":{"name":"c","stages":[{"op":"map","fn":"add","bye":2}],"steps":[{"w":1}]},"flink":{}}"#;
    let refused = refused_json(case);
    assert!(refused.contains("case.json:1:62: unknown field `bye`"), "{refused}");
    assert!(refused.contains("did you mean `by`?"), "{refused}");
    let refused = refused_json(&case.replace("bye", "by").replace(r#""w":1"#, r#""w":"x""#));
    assert!(refused.contains("case.json:1:79: expected a whole number, found text \"x\""), "{refused}");
    assert_eq!(Pipeline::from_json("case.json", &case.replace("bye", "by")).unwrap().name, "c");
}

#[test]
fn json_that_ends_too_early_is_said_to_do_so_and_a_long_line_is_shown_in_part() {
    let long = format!(r#"{{"case":{{"name":"{}","stages""#, "n".repeat(1_000));
    let refused = refused_json(&long);
    assert!(refused.contains("EOF while parsing"), "{refused}");
    assert!(
        refused.lines().all(|line| line.chars().count() < 2 * super::SHOWN + 10) && refused.contains('…'),
        "{refused}"
    );
}
