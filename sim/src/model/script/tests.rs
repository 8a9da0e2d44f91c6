//! What the interpreter does with small scripts; how it compares with Flink stands in the tests of the workspace.

use std::time::Duration;

use tidegate::{
    pipeline::{
        Assigner, Assignment, Checkpoint, Delivery, Field, FieldType, FileSink, Format, Operation, Pipeline,
        RollingOperation, ScriptSource, ScriptStep, Sink, SinkKind, Source, SourceKind, Stage, WindowOperation,
    },
    row,
};

use crate::model::{Cut, Model, ModelError, Multiset, layout};

fn script(name: &str, steps: Vec<ScriptStep>) -> Source {
    let columns = [Field::new("k", FieldType::Text), Field::new("v", FieldType::Int)];
    Source::new(name, SourceKind::Script(ScriptSource::new(columns, steps)))
}

fn pipeline(sources: Vec<Source>, stage: Stage) -> Pipeline {
    let file = FileSink { path: "/out".into(), format: Format::Csv, delivery: Delivery::ExactlyOnce };
    let sink = Sink::new("out", stage.name.clone(), SinkKind::File(file));
    let pipeline = Pipeline::new("job").with_checkpoint(Checkpoint::every(Duration::from_secs(1)));
    sources.into_iter().fold(pipeline, Pipeline::source).stage(stage).sink(sink)
}

fn windows() -> Stage {
    let assigner = Assigner::Tumbling { size: Duration::from_millis(10), offset: Duration::ZERO };
    let aggregates = [Assignment::new("total", "sum(v)")];
    Stage::new("sums", "events", Operation::Window(WindowOperation::new(&["k"], assigner, aggregates)))
}

fn steps() -> Vec<ScriptStep> {
    vec![
        ScriptStep::element(row!["a", 1], 1),
        ScriptStep::element(row!["b", 2], 2),
        ScriptStep::watermark(9),
        ScriptStep::element(row!["a", 4], 3),
        ScriptStep::element(row!["a", 8], 12),
    ]
}

fn cut(positions: &[(&str, u64)]) -> Cut {
    let sources = positions.iter().map(|(name, position)| (layout::uid(name), [(0, *position)].into()));
    Cut { sources: sources.collect() }
}

fn lines(lines: &[&str]) -> Multiset {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn what_is_late_is_dropped_and_the_end_fires_the_rest() {
    let model = Model::new(&pipeline(vec![script("events", steps())], windows())).unwrap();
    assert_eq!(model.expected_output()["out"], lines(&["a,0,10,1", "b,0,10,2", "a,10,20,8"]));
}

#[test]
fn output_at_a_cut_is_what_its_steps_lead_to_and_the_end_is_open() {
    let model = Model::new(&pipeline(vec![script("events", steps())], windows())).unwrap();
    let at = |position| {
        let cuts = model.script_at(&cut(&[("events", position)])).unwrap();
        cuts.into_iter().map(|mut cut| cut.output.remove("out").unwrap()).collect::<Vec<_>>()
    };
    let first = lines(&["a,0,10,1", "b,0,10,2"]);
    assert_eq!(at(2), [lines(&[])]);
    assert_eq!(at(3), std::slice::from_ref(&first));
    assert_eq!(at(5), [first, lines(&["a,0,10,1", "b,0,10,2", "a,10,20,8"])]);
    assert!(matches!(model.script_at(&cut(&[("events", 6)])), Err(ModelError::NoSuchCut(_))));
}

#[test]
fn far_positions_are_reached_from_the_nearest_state_that_is_kept() {
    let steps = (0..300).map(|number| ScriptStep::element(row!["a", 1], number)).collect();
    let sum = RollingOperation { key: vec!["k".into()], fields: vec![Assignment::new("v", "a.v + b.v")] };
    let stage = Stage::new("sums", "events", Operation::Rolling(sum));
    let model = Model::new(&pipeline(vec![script("events", steps)], stage)).unwrap();
    for position in [0, 1, 63, 64, 65, 128, 299, 300] {
        let right: Multiset = (1..=position).map(|number| format!("a,{number}")).collect();
        let cuts = model.script_at(&cut(&[("events", position)])).unwrap();
        assert!(cuts.iter().all(|cut| cut.output["out"] == right), "at {position}");
    }
}

#[test]
fn two_scripts_have_one_result_only_if_their_order_does_not_matter() {
    let both = |stage: Stage| {
        let stage = Stage { inputs: vec!["events".into(), "more".into()], ..stage };
        let more = vec![ScriptStep::element(row!["a", 16], 4), ScriptStep::watermark(30)];
        let events = vec![ScriptStep::element(row!["a", 1], 1), ScriptStep::watermark(9)];
        Model::new(&pipeline(vec![script("events", events), script("more", more)], stage))
    };
    assert_eq!(both(windows()).unwrap().expected_output()["out"], lines(&["a,0,10,17"]));
    let last = RollingOperation { key: vec!["k".into()], fields: vec![Assignment::new("v", "b.v")] };
    let last = Stage::new("sums", "events", Operation::Rolling(last));
    assert!(matches!(both(last).unwrap_err(), ModelError::DependsOnOrder { .. }));
}
