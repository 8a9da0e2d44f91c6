//! Whole pipelines in one process, against naive folds over the same input.

use std::{collections::BTreeMap, path::Path};

use proptest::prelude::*;

use crate::{pipeline::*, row, runtime::run_locally};

const FLIGHTS: &str = include_str!("../../../../tests/data/pipelines/flights.toml");
const GENERATED: &str = include_str!("../../../../tests/data/pipelines/generated.toml");

fn run(pipeline: &Pipeline) {
    let (config, program) = pipeline.compile().unwrap_or_else(|error| panic!("{error}"));
    run_locally(1, config, program).unwrap_or_else(|error| panic!("{error}"));
}

/// The lines of all visible files of a directory, sorted.
fn lines(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            lines.extend(std::fs::read_to_string(path).unwrap().lines().map(str::to_owned));
        }
    }
    lines.sort();
    lines
}

/// The example with its files inside `directory` and its data where the tests find it.
fn example(text: &str, directory: &Path) -> Pipeline {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/");
    let out = format!("\"{}/", directory.display());
    let text = text.replace("\"out/", &out).replace("\"tests/data/", &format!("\"{data}"));
    Pipeline::from_toml("example.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

/// (count, sum, greatest) of delays by a key.
type Folded<K> = BTreeMap<K, (i64, i64, i64)>;

#[test]
fn the_flights_example_equals_a_loop_over_the_file() {
    const HOUR_MS: i64 = 3_600_000;
    let mut hourly: Folded<(String, i64)> = BTreeMap::new();
    let mut carriers: Folded<String> = BTreeMap::new();
    for line in include_str!("../../../../tests/data/flights-2013-01-week1.csv").lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let Ok(delay) = fields[1].parse::<i64>() else { continue };
        let departed_ms = fields[0].parse::<i64>().unwrap() + delay * 60_000;
        let hour = hourly.entry((fields[5].to_owned(), departed_ms.div_euclid(HOUR_MS) * HOUR_MS));
        for folded in [hour.or_insert((0, 0, i64::MIN)), carriers.entry(fields[2].to_owned()).or_insert((0, 0, 0))] {
            *folded = (folded.0 + 1, folded.1 + delay, folded.2.max(delay));
        }
    }
    let mean = |sum: i64, count: i64| sum as f64 / count as f64;
    let mut expected_hourly: Vec<String> = hourly
        .iter()
        .map(|((origin, start), (count, sum, worst))| {
            format!("{origin},{start},{},{count},{:?},{worst}", start + HOUR_MS, mean(*sum, *count))
        })
        .collect();
    expected_hourly.sort();
    let expected_carriers: Vec<String> = carriers
        .iter()
        .map(|(carrier, (count, sum, _))| {
            format!("{{\"carrier\":\"{carrier}\",\"flights\":{count},\"mean_delay_min\":{:?}}}", mean(*sum, *count))
        })
        .collect();

    let directory = tempfile::tempdir().unwrap();
    run(&example(FLIGHTS, directory.path()));
    assert_eq!(lines(&directory.path().join("hourly")), expected_hourly);
    assert_eq!(lines(&directory.path().join("carriers")), expected_carriers);
}

#[test]
fn the_generated_example_equals_a_loop_over_its_records() {
    let directory = tempfile::tempdir().unwrap();
    let pipeline = example(GENERATED, directory.path());
    let SourceKind::Generator(generator) = &pipeline.sources[0].kind else { panic!("not a generator") };
    let mut folded: Folded<(i64, i64)> = BTreeMap::new();
    for sequence in 0..generator.count.unwrap() {
        let record = generator.record(sequence);
        let [_, key, value, time_ms] = record.values() else { panic!("{record}") };
        let (key, value, time_ms) = (key.as_int().unwrap(), value.as_int().unwrap(), time_ms.as_int().unwrap());
        if value % 2 == 0 {
            let folded = folded.entry((key, time_ms.div_euclid(1000) * 1000)).or_insert((0, 0, i64::MIN));
            *folded = (folded.0 + 1, folded.1 + value, folded.2.max(value));
        }
    }
    let mut expected: Vec<String> = folded
        .iter()
        .map(|((key, start), (count, sum, greatest))| {
            format!(
                "{{\"key\":\"key-{key}\",\"window_start\":{start},\"window_end\":{},\"records\":{count},\
                 \"total\":{sum},\"greatest_share\":{:?}}}",
                start + 1000,
                *greatest as f64 / 1000.0
            )
        })
        .collect();
    expected.sort();
    run(&pipeline);
    assert_eq!(lines(&directory.path().join("totals")), expected);
}

fn numbers(rows: Vec<Row>) -> Source {
    let columns = vec![Field::new("k", FieldType::Text), Field::nullable("v", FieldType::Int)];
    Source::new("numbers", SourceKind::Collection(CollectionSource { columns, rows, splits: 2 }))
}

fn to_file(directory: &Path, input: &str) -> Sink {
    let path = directory.join("out").display().to_string();
    Sink::new("out", input, SinkKind::File(FileSink::new(path, Format::Csv)))
}

#[test]
fn running_aggregates_emit_every_update_or_only_the_last() {
    let rows = vec![row!["a", 1], row!["a", 2], row!["b", None::<i64>], row!["a", 3]];
    for (emit, expected) in
        [(Emit::Updates, vec!["a,1,1", "a,2,3", "a,3,6", "b,1,"]), (Emit::Final, vec!["a,3,6", "b,1,"])]
    {
        let aggregates = vec![Assignment::new("n", "count()"), Assignment::new("total", "sum(v)")];
        let operation = Operation::Aggregate(AggregateOperation { key: vec!["k".into()], aggregates, emit });
        let directory = tempfile::tempdir().unwrap();
        let mut source = numbers(rows.clone());
        source.parallelism = Some(1);
        let SourceKind::Collection(collection) = &mut source.kind else { panic!("not a collection") };
        collection.splits = 1;
        let pipeline = Pipeline::new("totals")
            .with_parallelism(2)
            .source(source)
            .stage(Stage::new("totals", "numbers", operation))
            .sink(to_file(directory.path(), "totals"));
        run(&pipeline);
        assert_eq!(lines(&directory.path().join("out")), expected, "{emit:?}");
    }
}

#[test]
fn branches_of_different_parallelism_meet_again() {
    let rows: Vec<Row> = (0..100).map(|i| row![if i % 3 == 0 { "x" } else { "y" }, i]).collect();
    let filter = |condition: &str| Operation::Filter { condition: condition.into() };
    let mut odd = Stage::new("odd", "numbers", filter("v % 2 = 1"));
    odd.parallelism = Some(3);
    let mut both = Stage::new("both", "even", filter("v >= 10 and k = 'x'"));
    both.inputs.push("odd".into());
    let directory = tempfile::tempdir().unwrap();
    let mut sink = to_file(directory.path(), "both");
    sink.parallelism = Some(1);
    let pipeline = Pipeline::new("branches")
        .with_parallelism(2)
        .source(numbers(rows))
        .stage(Stage::new("even", "numbers", filter("v % 2 = 0")))
        .stage(odd)
        .stage(both)
        .sink(sink);
    run(&pipeline);
    let mut expected: Vec<String> = (10..100).filter(|i| i % 3 == 0).map(|i| format!("x,{i}")).collect();
    expected.sort();
    assert_eq!(lines(&directory.path().join("out")), expected);
}

#[test]
fn a_record_that_breaks_an_expression_fails_the_job_by_name() {
    let fields = vec![Assignment::new("q", "100 / v")];
    let pipeline = Pipeline::new("p")
        .source(numbers(vec![row!["a", 5], row!["b", 0]]))
        .stage(Stage::new("quotient", "numbers", Operation::Map { fields }))
        .sink(Sink::new("out", "quotient", SinkKind::Discard));
    let (config, program) = pipeline.compile().unwrap();
    let error = run_locally(1, config, program).unwrap_err().to_string();
    assert!(error.contains("stage `quotient`") && error.contains("the record ('b', 0)"), "{error}");
}

#[test]
fn an_overflow_in_a_reduction_fails_the_job_by_stage_operation_and_record() {
    let error = |operation: Operation| {
        let rows = vec![row!["a", i64::MAX], row!["a", 1]];
        let pipeline = Pipeline::new("p")
            .source(numbers(rows))
            .stage(Stage::new("total", "numbers", operation))
            .sink(Sink::new("out", "total", SinkKind::Discard));
        let (config, program) = pipeline.compile().unwrap();
        run_locally(1, config, program).unwrap_err().to_string()
    };
    let (key, fields) = (vec!["k".to_owned()], vec![Assignment::new("v", "a.v + b.v")]);
    let rolling = error(Operation::Rolling(RollingOperation { key: key.clone(), fields: fields.clone() }));
    let mut window = WindowOperation::new(&["k"], Assigner::Count { size: 2, slide: None }, Vec::new());
    window.function = WindowFunction::Reduce(fields);
    for error in [rolling, error(Operation::Window(window))] {
        for part in ["stage `total` failed", "integer overflow", "`a.v + b.v`", "for the record ('a', "] {
            assert!(error.contains(part), "no {part:?} in: {error}");
        }
        assert!(!error.contains("panic"), "{error}");
    }
}

#[test]
fn what_the_engine_cannot_do_is_refused_by_name() {
    let file = FileSink { delivery: Delivery::AtLeastOnce, ..FileSink::new("out", Format::Csv) };
    let pipeline = Pipeline::new("p").source(numbers(vec![])).sink(Sink::new("out", "numbers", SinkKind::File(file)));
    let error = pipeline.compile().map(|_| ()).unwrap_err().to_string();
    let expected = "wrong configuration: `out` asks for files with at_least_once, which the engine does not have yet";
    assert_eq!(error, expected);
}

#[test]
fn bad_records_of_a_file_fail_the_job_or_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("in.csv");
    std::fs::write(&file, "k,v\na,1\nb,one\nc,\n").unwrap();
    let columns = vec![Field::new("k", FieldType::Text), Field::nullable("v", FieldType::Int)];
    for on_bad_record in [OnBadRecord::Skip, OnBadRecord::Fail] {
        let csv = CsvSource { on_bad_record, ..CsvSource::new(file.display().to_string(), columns.clone()) };
        let pipeline = Pipeline::new("p")
            .source(Source::new("lines", SourceKind::Csv(csv)))
            .sink(to_file(directory.path(), "lines"));
        let (config, program) = pipeline.compile().unwrap();
        let result = run_locally(1, config, program);
        match on_bad_record {
            OnBadRecord::Skip => {
                result.unwrap();
                assert_eq!(lines(&directory.path().join("out")), ["a,1", "c,"]);
            }
            OnBadRecord::Fail => {
                let error = result.unwrap_err().to_string();
                assert!(error.contains("in.csv:3 at byte 8: column `v` holds `one`"), "{error}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn windows_equal_a_naive_fold(
        rows in prop::collection::vec((0_i64..4, -50_i64..50, 0_i64..5_000), 0..200),
        size_ms in 1_u64..2_000, offset_part in 0_u64..100, parallelism in 1_u32..4, splits in 1_u32..4,
    ) {
        let offset_ms = size_ms * offset_part / 100;
        let columns = ["k", "v", "t"].map(|name| Field::new(name, FieldType::Int));
        let collection = CollectionSource {
            columns: columns.to_vec(),
            rows: rows.iter().map(|(k, v, t)| row![*k, *v, *t]).collect(),
            splits,
        };
        let late = std::time::Duration::from_secs(5);
        let assigner = Assigner::Tumbling {
            size: std::time::Duration::from_millis(size_ms),
            offset: std::time::Duration::from_millis(offset_ms),
        };
        let aggregates = [("n", "count()"), ("total", "sum(v + 1)"), ("lo", "min(v)"), ("hi", "max(v)")]
            .map(|(name, text)| Assignment::new(name, text));
        let directory = tempfile::tempdir().unwrap();
        let pipeline = Pipeline::new("windows")
            .with_parallelism(parallelism)
            .source(
                Source::new("numbers", SourceKind::Collection(collection))
                    .with_event_time(EventTime::new("t").out_of_order_by(late)),
            )
            .stage(Stage::new("w", "numbers", Operation::Window(WindowOperation::new(&["k"], assigner, aggregates))))
            .sink(to_file(directory.path(), "w"));
        run(&pipeline);
        let mut folded: BTreeMap<(i64, i64), (i64, i64, i64, i64)> = BTreeMap::new();
        for (k, v, t) in &rows {
            let (size, offset) = (size_ms as i64, offset_ms as i64);
            let start = (t - offset).div_euclid(size) * size + offset;
            let (n, total, lo, hi) = folded.get(&(*k, start)).copied().unwrap_or((0, 0, i64::MAX, i64::MIN));
            folded.insert((*k, start), (n + 1, total + v + 1, lo.min(*v), hi.max(*v)));
        }
        let mut expected: Vec<String> = folded
            .iter()
            .map(|((k, start), (n, total, lo, hi))| format!("{k},{start},{},{n},{total},{lo},{hi}", start + size_ms as i64))
            .collect();
        expected.sort();
        prop_assert_eq!(lines(&directory.path().join("out")), expected);
    }
}
