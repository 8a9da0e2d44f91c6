//! Pipelines of scripts, run by the engine: what they leave behind is the model's, and what is changed in it is seen.

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use tidegate::{
    codec,
    event::{Moment, Step},
    id::CheckpointId,
    operator::OperatorSnapshot,
    pipeline::{
        AggregateOperation, Assigner, Assignment, BoundKind, BufferMode, BufferOperation, Checkpoint, Emit,
        EvictionPhase, Evictor, Field, FieldType, FileSink, Float, Format, IntervalJoinOperation, JoinKind, JoinSides,
        LateRecords, Operation, Pipeline, ProcessFunction, ProcessOperation, RollingOperation, ScriptAction,
        ScriptSource, ScriptStep, Sink, SinkKind, Source, SourceKind, Stage, TimerPattern, Trigger, WindowFunction,
        WindowJoinOperation, WindowOperation, WindowTime,
    },
    row,
};

use crate::{
    fault::{At, Fault, FaultKind},
    history::{History, RunEnd},
    invariant::{InvariantId, judge},
    model::{Model, layout, layout::names},
    run::{RunResult, run_pipeline},
    scenario::Plan,
    seed::Seed,
    trace::Keep,
    workload::{CHECKPOINTS, Fixed, JOB_ID, OUTPUT, Parallelism, Shape, Workload},
};

const STAGE: &str = "stage";

/// Records out of order, some of them late, with watermarks in between.
fn steps() -> Vec<ScriptStep> {
    let mut steps = Vec::new();
    for number in 0..70_i64 {
        let key = ["a", "b", "c"][usize::try_from(number * number % 3).unwrap()];
        let time_ms = (number * 130 - (number % 5) * 220).max(0);
        steps.push(ScriptStep::element(row![key, number * 7 % 20 - 5, number % 2], time_ms));
        if number % 6 == 5 {
            steps.push(ScriptStep::watermark(number * 130 - 500));
        }
    }
    steps
}

fn pipeline(stages: Vec<Stage>) -> Pipeline {
    let columns = [("k", FieldType::Text), ("v", FieldType::Int), ("side", FieldType::Int)];
    let columns = columns.map(|(name, field_type)| Field::new(name, field_type));
    let script = ScriptSource { interval: Duration::from_millis(150), ..ScriptSource::new(columns, steps()) };
    let mut pipeline = Pipeline::new(JOB_ID).with_parallelism(2);
    pipeline.max_parallelism = Some(16);
    pipeline.checkpoint =
        Some(Checkpoint { dir: Some(CHECKPOINTS.into()), ..Checkpoint::every(Duration::from_millis(1_100)) });
    pipeline.config = Workload::drawn(Shape::Value, &Fixed::default(), Parallelism::Fixed, Seed(1)).pipeline().config;
    pipeline = pipeline.source(Source::new("script", SourceKind::Script(script)));
    let parallelism = stages.last().unwrap().parallelism;
    let kind = SinkKind::File(FileSink::new(format!("{OUTPUT}/out"), Format::Csv));
    let sink = Sink { parallelism, ..Sink::new("out", STAGE, kind) };
    stages.into_iter().fold(pipeline, Pipeline::stage).sink(sink)
}

fn one(operation: Operation) -> Pipeline {
    pipeline(vec![Stage::new(STAGE, "script", operation)])
}

fn undisturbed(pipeline: &Pipeline, planted: Option<&str>) -> RunResult {
    disturbed(pipeline, Vec::new(), planted)
}

fn disturbed(pipeline: &Pipeline, faults: Vec<Fault>, planted: Option<&str>) -> RunResult {
    let plan = Plan {
        scenario: "script".to_owned(),
        seed: 1,
        workload: Workload {
            task_managers: 2,
            parallelism: 2,
            ..Workload::drawn(Shape::Value, &Fixed::default(), Parallelism::Fixed, Seed(1))
        },
        faults,
        planted: planted.map(str::to_owned),
        schedule: None,
        demands: Vec::new(),
    };
    run_pipeline(pipeline, &plan, Keep::Hash)
}

fn sum() -> Vec<Assignment> {
    vec![Assignment::new("total", "sum(v)"), Assignment::new("list", "list(v)")]
}

fn windows(assigner: Assigner) -> WindowOperation {
    WindowOperation { allowed_lateness: Duration::from_millis(200), ..WindowOperation::new(&["k"], assigner, sum()) }
}

fn tumbling() -> Assigner {
    Assigner::Tumbling { size: Duration::from_millis(700), offset: Duration::ZERO }
}

fn session() -> Assigner {
    Assigner::Session { gap: Duration::from_millis(300) }
}

fn process(function: ProcessFunction) -> Operation {
    let value = function.reads_value().then(|| "v".to_owned());
    Operation::Process(ProcessOperation { value, ..ProcessOperation::new(&["k"], function) })
}

fn timers(pattern: TimerPattern) -> Operation {
    process(ProcessFunction::Timers { pattern, delay: Duration::from_millis(400), time: WindowTime::Event })
}

fn all_windows() -> Vec<(&'static str, WindowOperation)> {
    let fields = vec![Assignment::new("v", "a.v + b.v")];
    let whole = vec![Assignment::new("list", "list(v)"), Assignment::new("key_firings", "key_firings()")];
    let firings = vec![Assignment::new("n", "firings()"), Assignment::new("wm", "watermark()")];
    let sliding = Assigner::Sliding {
        size: Duration::from_millis(900),
        slide: Duration::from_millis(400),
        offset: Duration::from_millis(50),
    };
    let continuous = Trigger::ContinuousEventTime { interval: Duration::from_millis(250) };
    let delta = Trigger::Delta { threshold: Float::new(6.0), value: "v".into() };
    let time = Evictor::Time { size: Duration::from_millis(300), phase: EvictionPhase::Before };
    vec![
        ("tumbling", windows(tumbling())),
        ("sliding", WindowOperation { function: WindowFunction::Reduce(fields.clone()), ..windows(sliding) }),
        ("session", WindowOperation { function: WindowFunction::Process(whole), ..windows(session()) }),
        ("dynamic session", windows(Assigner::DynamicSession { gap: "100 + abs(v) * 20".into() })),
        ("session reduced", WindowOperation { function: WindowFunction::Reduce(fields), ..windows(session()) }),
        ("count", windows(Assigner::Count { size: 3, slide: None })),
        ("sliding count", windows(Assigner::Count { size: 3, slide: Some(2) })),
        ("firings", WindowOperation { function: WindowFunction::Process(firings), ..windows(tumbling()) }),
        ("continuous", WindowOperation { trigger: Some(continuous), evictor: Some(time), ..windows(tumbling()) }),
        ("delta", WindowOperation { trigger: Some(delta), ..windows(Assigner::Global) }),
        ("counted sessions", WindowOperation { trigger: Some(Trigger::Count { n: 2 }), ..windows(session()) }),
        ("all", WindowOperation { key: Vec::new(), ..windows(tumbling()) }),
    ]
}

#[track_caller]
fn holds(name: &str, pipeline: &Pipeline) {
    let result = undisturbed(pipeline, None);
    assert_eq!(result.history.end, RunEnd::Finished, "{name}");
    assert_eq!(result.violations, [], "{name}");
    assert!(result.history.completed.len() > 5, "{name} took checkpoints");
}

#[test]
fn windows_of_every_kind_keep_what_the_model_says() {
    for (name, window) in all_windows() {
        let is_one_subtask = window.key.is_empty();
        let mut pipeline = one(Operation::Window(window));
        if is_one_subtask {
            pipeline.sinks[0].parallelism = Some(1);
        }
        holds(name, &pipeline);
    }
}

#[test]
fn functions_of_every_kind_keep_what_the_model_says() {
    let functions = [
        ProcessFunction::ValueAvg { n: 3 },
        ProcessFunction::ListAvg { n: 3 },
        ProcessFunction::MapAvg { n: 4 },
        ProcessFunction::MapCount { n: 2 },
        ProcessFunction::ReducingSum,
        ProcessFunction::AggregatingContains,
        ProcessFunction::AggregatingAvg,
        ProcessFunction::ValueCount,
        ProcessFunction::Dedup,
    ];
    for function in functions {
        holds(function.name(), &one(process(function)));
    }
    for pattern in [TimerPattern::Every, TimerPattern::Timeout, TimerPattern::Replace] {
        holds(&format!("{pattern:?}"), &one(timers(pattern)));
    }
}

#[test]
fn folds_buffers_and_joins_keep_what_the_model_says() {
    let key = || vec!["k".to_owned()];
    let updates = AggregateOperation { key: key(), aggregates: sum(), emit: Emit::Updates };
    holds("updates", &one(Operation::Aggregate(updates.clone())));
    holds("final", &one(Operation::Aggregate(AggregateOperation { emit: Emit::Final, ..updates })));
    let fields = vec![Assignment::new("v", "a.v * 2 + b.v")];
    holds("rolling", &one(Operation::Rolling(RollingOperation { key: key(), fields })));
    let buffer = BufferOperation { threshold: 4, mode: BufferMode::Split, aggregates: sum() };
    let buffer = Stage { parallelism: Some(1), ..Stage::new(STAGE, "script", Operation::Buffer(buffer)) };
    holds("buffer", &pipeline(vec![buffer]));
    let fields = vec![Assignment::new("k", "a.k"), Assignment::new("pair", "a.v * 1000 + b.v")];
    let join = IntervalJoinOperation {
        sides: JoinSides::Condition("side = 0".into()),
        key: key(),
        right_key: Vec::new(),
        lower_ms: -300,
        lower: BoundKind::Inclusive,
        upper_ms: 200,
        upper: BoundKind::Exclusive,
        late_records: LateRecords::Drop,
        ttl: None,
        fields: fields.clone(),
    };
    holds("interval join", &one(Operation::IntervalJoin(join)));
    let filter = |name: &str, condition: &str| Stage {
        parallelism: Some(1),
        ..Stage::new(name, "script", Operation::Filter { condition: condition.into() })
    };
    // What is late depends on which side comes first, so that all is in time here.
    for (name, assigner) in [("window join", tumbling()), ("session join", session())] {
        let join = WindowJoinOperation {
            kind: JoinKind::Full,
            key: key(),
            right_key: Vec::new(),
            assigner,
            time: WindowTime::Event,
            trigger: None,
            fields: vec![Assignment::new("k", "coalesce(a.k, b.k)"), Assignment::new("v", "coalesce(a.v, b.v)")],
        };
        let mut stage = Stage::new(STAGE, "left", Operation::WindowJoin(join));
        stage.inputs.push("right".to_owned());
        let mut pipeline = pipeline(vec![filter("left", "side = 0"), filter("right", "side = 1"), stage]);
        let SourceKind::Script(script) = &mut pipeline.sources[0].kind else { unreachable!() };
        script.steps.retain(|step| matches!(step.action, ScriptAction::Element { .. }));
        holds(name, &pipeline);
    }
}

/// A pipeline with a run of it that breaks nothing.
struct Right {
    model: Model,
    history: History,
}

fn right(pipeline: &Pipeline) -> Right {
    let result = undisturbed(pipeline, None);
    assert_eq!(result.violations, []);
    Right { model: Model::new(pipeline).unwrap(), history: result.history }
}

static WINDOWS: LazyLock<Right> = LazyLock::new(|| right(&one(Operation::Window(windows(session())))));
static TIMERS: LazyLock<Right> = LazyLock::new(|| right(&one(timers(TimerPattern::Replace))));
static SUMS: LazyLock<Right> = LazyLock::new(|| right(&one(process(ProcessFunction::ReducingSum))));

fn broken_by(right: &Right, change: impl FnOnce(&mut History)) -> BTreeSet<InvariantId> {
    let mut history = right.history.clone();
    change(&mut history);
    judge(&history, &right.model).into_iter().map(|violation| violation.invariant).collect()
}

/// The checkpoint in the middle.
fn middle(history: &History) -> CheckpointId {
    *history.completed.keys().nth(history.completed.len() / 2).unwrap()
}

/// Changes the state of the stage in the first subtask of the middle checkpoint for which the change is possible.
fn change_state(history: &mut History, change: impl Fn(&mut OperatorSnapshot) -> bool) {
    let middle = middle(history);
    let capture = history.completed.get_mut(&middle).unwrap();
    let mut states = capture.state.values_mut().filter_map(|operators| operators.get_mut(&layout::uid(STAGE)));
    assert!(states.any(|state| change(state.as_mut().unwrap())), "there is something to change");
}

/// Changes the first entry of a state.
fn change_entry(history: &mut History, name: &str, change: impl Fn(&mut tidegate::operator::KeyedEntry)) {
    change_state(history, |snapshot| {
        let Some(state) = snapshot.keyed.get_mut(name) else { return false };
        state.groups.values_mut().next().is_some_and(|entries| {
            change(&mut entries[0]);
            true
        })
    });
}

fn drop_entry(history: &mut History, name: &str) {
    change_state(history, |snapshot| {
        let Some(state) = snapshot.keyed.get_mut(name) else { return false };
        let Some(mut first) = state.groups.first_entry() else { return false };
        first.get_mut().remove(0);
        true
    });
}

#[test]
fn a_timer_that_is_missing_or_at_another_time_is_seen() {
    assert_eq!(broken_by(&TIMERS, |history| drop_entry(history, names::EVENT_TIMERS)), [InvariantId::I10].into());
    let later = |history: &mut History| {
        change_entry(history, names::EVENT_TIMERS, |entry| entry.value = codec::encode(&100_000_i64));
    };
    assert_eq!(broken_by(&TIMERS, later), [InvariantId::I10].into());
    assert_eq!(broken_by(&WINDOWS, |history| drop_entry(history, names::EVENT_TIMERS)), [InvariantId::I10].into());
}

#[test]
fn contents_and_sessions_that_are_not_the_models_are_seen() {
    for state in [names::WINDOW_CONTENTS, names::MERGING_WINDOW_SET] {
        assert_eq!(broken_by(&WINDOWS, |history| drop_entry(history, state)), [InvariantId::I11].into(), "{state}");
    }
}

#[test]
fn another_value_is_a_torn_cut() {
    let other = |history: &mut History| {
        change_entry(history, names::SUM, |entry| entry.value = codec::encode(&123_456_i64));
    };
    assert_eq!(broken_by(&SUMS, other), [InvariantId::I5].into());
    let unreadable = |history: &mut History| change_entry(history, names::SUM, |entry| entry.value = vec![0xff]);
    assert_eq!(broken_by(&SUMS, unreadable), [InvariantId::I5].into());
}

#[test]
fn state_of_a_later_position_is_told_from_other_state() {
    for right in [&*SUMS, &*TIMERS, &*WINDOWS] {
        let later = |history: &mut History| {
            let middle = middle(history);
            let (_, next) = history.completed.range(middle..).nth(1).unwrap();
            let next = next.state.clone();
            for (subtask, operators) in &mut history.completed.get_mut(&middle).unwrap().state {
                if let Some(state) = operators.get_mut(&layout::uid(STAGE)) {
                    *state = next[subtask][&layout::uid(STAGE)].clone();
                }
            }
        };
        assert_eq!(broken_by(right, later), [InvariantId::I18].into());
    }
}

#[test]
fn state_under_another_key_group_or_in_another_subtask_is_seen() {
    let regrouped = |history: &mut History| {
        change_state(history, |snapshot| {
            let Some(state) = snapshot.keyed.get_mut(names::SUM) else { return false };
            let Some((key_group, entries)) = state.groups.pop_first() else { return false };
            state.groups.insert(key_group ^ 1, entries);
            true
        });
    };
    assert_eq!(broken_by(&SUMS, regrouped), [InvariantId::I13].into());
    let moved = |history: &mut History| {
        let middle = middle(history);
        let state = &mut history.completed.get_mut(&middle).unwrap().state;
        let holders = state.iter().filter(|(_, operators)| operators.contains_key(&layout::uid(STAGE)));
        let [one, other] = holders.map(|(subtask, _)| *subtask).collect::<Vec<_>>()[..] else { unreachable!() };
        let first = state.get_mut(&one).unwrap().remove(&layout::uid(STAGE)).unwrap();
        let second = state.get_mut(&other).unwrap().insert(layout::uid(STAGE), first).unwrap();
        state.get_mut(&one).unwrap().insert(layout::uid(STAGE), second);
    };
    assert_eq!(broken_by(&SUMS, moved), [InvariantId::I13].into());
}

#[test]
fn output_up_to_a_checkpoint_is_about_the_operation_before_the_sink() {
    let lose = |history: &mut History| {
        let files = history.output.get_mut("out").unwrap();
        files.iter_mut().find(|file| !file.lines.is_empty()).unwrap().lines.pop();
    };
    assert_eq!(broken_by(&WINDOWS, lose), [InvariantId::I1, InvariantId::I11].into());
    assert_eq!(broken_by(&TIMERS, lose), [InvariantId::I1, InvariantId::I10].into());
    assert_eq!(broken_by(&SUMS, lose), [InvariantId::I1, InvariantId::I5].into());
}

#[test]
fn a_watermark_that_goes_back_or_leaves_one_out_is_seen() {
    let watermarks = |history: &History| {
        let places = history.facts.iter().enumerate().filter(|(_, fact)| fact.step == Step::Watermark);
        places
            .filter(|(_, fact)| fact.subtask.as_deref().is_some_and(|name| name.ends_with("#1")))
            .map(|(i, _)| i)
            .collect()
    };
    let swapped = |history: &mut History| {
        let places: Vec<usize> = watermarks(history);
        history.facts.swap(places[2], places[3]);
    };
    let mut history = SUMS.history.clone();
    swapped(&mut history);
    let signatures: Vec<_> = judge(&history, &SUMS.model).into_iter().map(|violation| violation.signature).collect();
    assert_eq!(signatures, ["I12 watermark goes back", "I12 watermarks of another order"]);
    let left_out = |history: &mut History| {
        let places: Vec<usize> = watermarks(history);
        history.facts.remove(places[3]);
    };
    assert_eq!(broken_by(&SUMS, left_out), [InvariantId::I12].into());
    let cut_off = |history: &mut History| {
        let places: Vec<usize> = watermarks(history);
        history.facts.remove(places[0]);
    };
    assert_eq!(broken_by(&SUMS, cut_off), [].into(), "an attempt may begin anywhere");
}

#[test]
fn runs_that_crash_keep_what_the_model_says() {
    let crashes = |kind, step: Step, occurrence| {
        let at = At { site: step.into(), moment: Moment::After, subject: None, occurrence };
        Fault::new(kind, at, 700)
    };
    let faults = || {
        vec![
            crashes(FaultKind::CrashProcess, Step::Watermark, 20),
            crashes(FaultKind::CrashSink, Step::PreCommit, 5),
            crashes(FaultKind::CrashAll, Step::Completion, 1),
            crashes(FaultKind::CrashProcess, Step::Watermark, 9),
            crashes(FaultKind::CrashProcess, Step::SyncSnapshot, 3),
        ]
    };
    let mut pipelines: Vec<(&str, Pipeline)> =
        all_windows().into_iter().map(|(name, window)| (name, one(Operation::Window(window)))).collect();
    pipelines.last_mut().unwrap().1.sinks[0].parallelism = Some(1);
    pipelines.push(("timers", one(timers(TimerPattern::Replace))));
    pipelines.push(("sums", one(process(ProcessFunction::ReducingSum))));
    for (name, pipeline) in pipelines {
        let result = disturbed(&pipeline, faults(), None);
        assert_eq!(result.history.end, RunEnd::Finished, "{name}");
        assert_eq!(result.violations, [], "{name}");
        assert!(!result.struck.is_empty(), "{name}: a fault struck");
    }
}

#[test]
fn planted_bugs_of_timers_and_windows_are_caught_by_their_invariants() {
    let invariants = |pipeline: &Pipeline, bug: &str| {
        let result = undisturbed(pipeline, Some(bug));
        result.violations.into_iter().map(|violation| violation.invariant).collect::<BTreeSet<_>>()
    };
    let timers = invariants(&one(timers(TimerPattern::Timeout)), "timers_not_in_snapshot");
    assert!(timers.contains(&InvariantId::I10), "{timers:?}");
    let merges = invariants(&one(Operation::Window(windows(session()))), "session_merge_mapping_not_in_snapshot");
    assert!(merges.contains(&InvariantId::I11), "{merges:?}");
}
