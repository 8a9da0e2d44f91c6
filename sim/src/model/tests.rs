//! The model against small pipelines whose results are known.

use std::time::Duration;

use proptest::prelude::*;
use tidegate::{
    Timestamp,
    pipeline::{
        AggregateOperation, Assigner, Assignment, Checkpoint, CollectionSource, Datum, Delivery, Emit, EventTime,
        Field, FieldType, FileSink, Format, GeneratorSource, LateRecords, Operation, Pipeline, Row, Sink, SinkKind,
        Source, SourceKind, Stage, WindowFunction, WindowOperation,
    },
    row,
    window::TimeWindow,
};

use super::{Cut, Group, Model, ModelError, Multiset, UnderWay, layout};

fn collection(name: &str, rows: Vec<Row>, splits: u32) -> Source {
    let columns = vec![
        Field::new("key", FieldType::Text),
        Field::new("time_ms", FieldType::Int),
        Field::new("value", FieldType::Int),
    ];
    Source::new(name, SourceKind::Collection(CollectionSource { columns, rows, splits }))
        .with_event_time(EventTime::new("time_ms"))
}

fn file(name: &str, input: &str) -> Sink {
    Sink::new(name, input, SinkKind::File(FileSink::new(format!("/{name}"), Format::Csv)))
}

fn job() -> Pipeline {
    Pipeline::new("job").with_checkpoint(Checkpoint::every(Duration::from_secs(1)))
}

fn aggregate(emit: Emit) -> Operation {
    Operation::Aggregate(AggregateOperation {
        key: vec!["key".to_owned()],
        aggregates: vec![Assignment::new("n", "count()"), Assignment::new("total", "sum(value)")],
        emit,
    })
}

fn rows() -> Vec<Row> {
    vec![row!["a", 1, 10], row!["b", 5, 20], row!["a", 12, 30], row!["a", 13, 1]]
}

fn window() -> WindowOperation {
    let size = Duration::from_millis(10);
    let aggregates = ["count()", "sum(value)", "min(value)", "max(value)", "avg(value)"];
    let aggregates: Vec<_> = aggregates.iter().map(|text| Assignment::new(&text[..3], *text)).collect();
    WindowOperation::new(&["key"], Assigner::Tumbling { size, offset: Duration::from_millis(2) }, aggregates)
}

fn lines(lines: &[&str]) -> Multiset {
    lines.iter().copied().collect()
}

fn cut(positions: &[u64]) -> Cut {
    let splits = (0..).zip(positions.iter().copied()).collect();
    Cut { sources: [(layout::uid("events"), splits)].into() }
}

#[test]
fn filters_maps_unions_and_branches_are_what_they_say() {
    let double = Operation::Map { fields: vec![Assignment::new("key", "key"), Assignment::new("twice", "value * 2")] };
    let mut map = Stage::new("map", "events", double);
    map.inputs.push("more".to_owned());
    let pipeline = job()
        .source(collection("events", rows(), 2))
        .source(collection("more", vec![row!["c, d", 0, 7]], 1))
        .stage(map)
        .stage(Stage::new("big", "events", Operation::Filter { condition: "value >= 20".to_owned() }))
        .sink(file("doubled", "map"))
        .sink(file("filtered", "big"));
    let model = Model::new(&pipeline).unwrap();
    assert_eq!(model.expected_output()["doubled"], lines(&["a,20", "b,40", "a,60", "a,2", "\"c, d\",14"]));
    assert_eq!(model.expected_output()["filtered"], lines(&["b,5,20", "a,12,30"]));
}

#[test]
fn windows_fold_the_records_of_their_time() {
    let pipeline = job()
        .source(collection("events", rows(), 1))
        .stage(Stage::new("sums", "events", Operation::Window(window())))
        .sink(file("out", "sums"));
    let model = Model::new(&pipeline).unwrap();
    let expected = ["a,-8,2,1,10,10,10,10.0", "b,2,12,1,20,20,20,20.0", "a,12,22,2,31,1,30,15.5"];
    assert_eq!(model.expected_output()["out"], lines(&expected));

    let state = model.state_at(&cut(&[3])).unwrap();
    let group = Group { key: row!["a"], window: Some(TimeWindow::new(Timestamp(12), Timestamp(22))) };
    let results: Vec<Datum> = vec![1.into(), 30.into(), 30.into(), 30.into(), 30.0.into()];
    assert_eq!(state[&layout::uid("sums")][&group], results.into_iter().map(Some).collect::<Vec<_>>());
    assert_eq!(state[&layout::uid("sums")].len(), 3);

    // Of what is kept no result is out; of the rest it is.
    let kept = [(layout::uid("sums"), [group].into())].into();
    let at_cut = model.at_cut(&cut(&[3]), &kept, &UnderWay::new()).unwrap();
    assert_eq!(at_cut.output["out"], lines(&expected[..2]));
}

#[test]
fn final_aggregates_have_one_line_for_each_key() {
    let pipeline = job()
        .source(collection("events", rows(), 2))
        .stage(Stage::new("sums", "events", aggregate(Emit::Final)))
        .sink(file("out", "sums"));
    let model = Model::new(&pipeline).unwrap();
    assert_eq!(model.expected_output()["out"], lines(&["a,3,41", "b,1,20"]));
    // Split 0 holds records 0 and 2, split 1 holds 1 and 3.
    let state = model.state_at(&cut(&[1, 2])).unwrap();
    let total = |key: &str| state[&layout::uid("sums")][&Group { key: row![key], window: None }][1].clone();
    assert_eq!((total("a"), total("b")), (Some(11.into()), Some(20.into())));
}

#[test]
fn a_cut_must_name_every_split_and_reach_no_further_than_it() {
    let pipeline = job().source(collection("events", rows(), 2)).sink(file("out", "events"));
    let model = Model::new(&pipeline).unwrap();
    assert!(model.state_at(&cut(&[2, 2])).is_ok());
    assert!(matches!(model.state_at(&cut(&[2])), Err(ModelError::NoSuchCut(_))));
    assert!(matches!(model.state_at(&cut(&[2, 3])), Err(ModelError::NoSuchCut(_))));
}

fn updates(splits: u32) -> Model {
    let pipeline = job()
        .source(collection("events", rows(), splits))
        .stage(Stage::new("sums", "events", aggregate(Emit::Updates)))
        .sink(file("out", "sums"));
    Model::new(&pipeline).unwrap()
}

#[test]
fn updates_of_one_split_are_exact() {
    assert_eq!(updates(1).expected_output()["out"], lines(&["a,1,10", "b,1,20", "a,2,40", "a,3,41"]));
}

#[test]
fn updates_of_several_splits_may_be_any_interleaving() {
    let model = updates(2);
    let difference = |actual: &[&str]| {
        let difference = model.updates()["out"].difference(&lines(actual));
        (difference.lost, difference.extra)
    };
    let nothing = || (Vec::<String>::new(), Vec::<String>::new());
    assert_eq!(difference(&["a,1,10", "b,1,20", "a,2,40", "a,3,41"]), nothing());
    assert_eq!(difference(&["b,1,20", "a,1,1", "a,2,11", "a,3,41"]), nothing());
    let lost = |line: &str| (vec![line.to_owned()], Vec::new());
    assert_eq!(difference(&["b,1,20", "a,1,1", "a,3,41"]), lost("update 2 of key ('a')"));
    assert_eq!(difference(&["b,1,20", "a,1,1", "a,2,11"]), lost("a,3,41"));
    let extra = |line: &str| (Vec::new(), vec![line.to_owned()]);
    assert_eq!(difference(&["b,1,20", "a,1,1", "a,2,11", "a,2,11", "a,3,41"]), extra("a,2,11"));
    assert_eq!(difference(&["b,1,20", "a,1,1", "a,2,11", "a,2,31", "a,3,41"]), extra("a,2,31"));
    assert_eq!(difference(&["b,1,20", "a,1,1", "a,2,11", "a,3,41", "a,4,42"]), extra("a,4,42"));
    assert_eq!(difference(&["b,1,20", "a,1,1", "a,2,11", "a,3,41", "no line"]), extra("no line"));
    // From 1 no record of the key leads to 2, and 39 more would be needed to the end.
    let (lost, extra) = difference(&["b,1,20", "a,1,1", "a,2,2", "a,3,41"]);
    assert_eq!((lost.len(), extra.len()), (0, 2));
    // The last update must be the fold of all.
    let (lost, extra) = difference(&["b,1,20", "a,1,1", "a,2,11", "a,3,12"]);
    assert_eq!((lost, &extra[0]), (vec!["a,3,41".to_owned()], &"a,3,12".to_owned()));
    let place = model.updates()["out"].place("a,2,11").unwrap();
    assert_eq!(place.position, 2);
}

#[test]
fn each_record_leads_to_one_update() {
    // 10 then 10 again instead of 10, 30, 1 reaches neither count nor sum; equal steps need equal records.
    let rows = vec![row!["a", 1, 1], row!["a", 2, 2], row!["a", 3, 2], row!["a", 4, 1]];
    let pipeline = job()
        .source(collection("events", rows, 2))
        .stage(Stage::new("sums", "events", aggregate(Emit::Updates)))
        .sink(file("out", "sums"));
    let model = Model::new(&pipeline).unwrap();
    let extra = |actual: &[&str]| model.updates()["out"].difference(&lines(actual)).extra.len();
    assert_eq!(extra(&["a,1,2", "a,2,4", "a,3,5", "a,4,6"]), 0);
    assert_eq!(extra(&["a,1,1", "a,2,2", "a,3,3", "a,4,6"]), 2);
}

#[test]
fn pipelines_without_one_right_result_are_refused() {
    let refused = |pipeline: Pipeline| Model::new(&pipeline).map(|_| ()).unwrap_err();
    let windowed = |source: Source, window: WindowOperation| {
        job().source(source).stage(Stage::new("sums", "events", Operation::Window(window))).sink(file("out", "sums"))
    };
    let disordered = vec![row!["a", 5, 1], row!["a", 1, 1]];
    assert!(matches!(
        refused(windowed(collection("events", disordered.clone(), 1), window())),
        ModelError::MayDropLateRecords { .. }
    ));
    let bound = EventTime::new("time_ms").out_of_order_by(Duration::from_millis(4));
    let allowed = collection("events", disordered, 1).with_event_time(bound);
    assert!(Model::new(&windowed(allowed, window())).is_ok());

    let idle = EventTime { idle_timeout: Some(Duration::from_secs(1)), ..EventTime::new("time_ms") };
    let source = collection("events", rows(), 2).with_event_time(idle);
    assert!(matches!(refused(windowed(source, window())), ModelError::MayDropLateRecords { .. }));

    let late = WindowOperation { late_records: LateRecords::SideOutput, ..window() };
    assert!(matches!(refused(windowed(collection("events", rows(), 1), late)), ModelError::NotModelled { .. }));

    let first = WindowOperation {
        function: WindowFunction::Aggregate(vec![Assignment::new("first", "first(value)")]),
        ..window()
    };
    assert!(Model::new(&windowed(collection("events", rows(), 1), first.clone())).is_ok());
    assert!(matches!(refused(windowed(collection("events", rows(), 2), first)), ModelError::DependsOnOrder { .. }));

    let endless = Source::new("events", SourceKind::Generator(GeneratorSource::default()));
    assert!(matches!(refused(job().source(endless).sink(file("out", "events"))), ModelError::NotModelled { .. }));

    let file_sink = FileSink { delivery: Delivery::AtLeastOnce, ..FileSink::new("/out", Format::Csv) };
    let sink = Sink::new("out", "events", SinkKind::File(file_sink));
    let loose = job().source(collection("events", rows(), 1)).sink(sink);
    assert!(matches!(refused(loose), ModelError::NotModelled { .. }));

    let unchecked = Pipeline::new("job").source(collection("events", rows(), 1)).sink(file("out", "events"));
    assert!(matches!(refused(unchecked), ModelError::NotModelled { .. }));
}

#[test]
fn order_is_kept_over_one_exchange_and_not_over_two() {
    let places = |map_parallelism| {
        let mut map = Stage::new("same", "events", Operation::Filter { condition: "true".to_owned() });
        map.parallelism = Some(map_parallelism);
        let pipeline = job().source(collection("events", rows(), 1)).stage(map).sink(file("out", "same"));
        Model::new(&pipeline).unwrap().sinks()[0].places.len()
    };
    assert_eq!(places(1), 4);
    assert_eq!(places(2), 0);
}

#[test]
fn names_of_files_are_read_exactly() {
    let name = "part-3-0000000012-00000000000000ff";
    let visible = layout::VisibleName::parse(name).unwrap();
    assert_eq!((visible.subtask_index, visible.checkpoint_id.0, visible.token), (3, 12, 255));
    for wrong in ["part-3-12-00000000000000ff", "part-3-0000000012-ff", ".part-3-0000000012-00000000000000ff", "part-"]
    {
        assert_eq!(layout::VisibleName::parse(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn sums_are_those_of_a_plain_loop(seed: u64, count in 0_u64..200, keys in 1_u64..6, splits in 1_u32..4, read in 0_u64..50) {
        let generator = GeneratorSource { count: Some(count), keys, splits, seed, ..GeneratorSource::default() };
        let source = Source::new("events", SourceKind::Generator(generator.clone()));
        let pipeline = job()
            .source(source)
            .stage(Stage::new("sums", "events", aggregate(Emit::Final)))
            .sink(file("out", "sums"));
        let model = Model::new(&pipeline).unwrap();
        let sums = |reads: &dyn Fn(u64) -> bool| {
            (0..keys as i64)
                .filter_map(|key| {
                    let (mut n, mut total) = (0, 0);
                    for sequence in (0..count).filter(|sequence| reads(*sequence)) {
                        let record = generator.record(sequence);
                        if record.get(1).as_int() == Some(key) {
                            n += 1;
                            total += record.get(2).as_int().unwrap();
                        }
                    }
                    (n > 0).then_some((key, n, total))
                })
                .collect::<Vec<_>>()
        };
        let expected: Multiset = sums(&|_| true).iter().map(|(key, n, total)| format!("{key},{n},{total}")).collect();
        prop_assert_eq!(&model.expected_output()["out"], &expected);

        let positions: Vec<u64> =
            (0..splits).map(|split| generator.split_count(split).unwrap().min(read)).collect();
        let state = model.state_at(&cut(&positions)).unwrap();
        let prefix = sums(&|sequence| sequence / u64::from(splits) < read);
        let found: Vec<(i64, i64, i64)> = state[&layout::uid("sums")]
            .iter()
            .map(|(group, results)| {
                let number = |value: &Option<Datum>| value.clone().unwrap().as_int().unwrap();
                (group.key.get(0).as_int().unwrap(), number(&results[0]), number(&results[1]))
            })
            .collect();
        prop_assert_eq!(found, prefix);
    }
}
