//! Any window operator against the model, through disorder, late records, restores and changes of parallelism.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::super::*;
use super::model::{self, Assigner, Bounds, Evictor, Function, Model, Outcome, Setup, dynamic_gap};
use crate::{
    operator::{
        AggregateFunction, TimestampedCollector,
        test_harness::{MAX_PARALLELISM, context, merged, record},
    },
    record::StreamRecord,
    state::{KeyGroups, ParallelInstance},
    window::{self as windows, AnyTrigger, GlobalWindows, Phase, TimeWindow, WindowPeriod},
};

/// Key and values; an element has one.
type Event = (u8, Vec<i64>);

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.try_into().unwrap())
}

fn key_groups() -> KeyGroups {
    KeyGroups::new(MAX_PARALLELISM).unwrap()
}

/// An operator and what it counts.
trait Counting: Operator<In = Event, Out = Outcome> {
    fn counts(&self) -> (u64, u64);
}

impl<S, A, R, F> Counting for WindowOperator<Event, S, A, R, F>
where
    S: KeySelector<Event>,
    A: WindowAssigner<Event>,
    R: Trigger<Event, S::Key, A::Window>,
    F: WindowFunction<Event, S::Key, A::Window, Out = Outcome>,
{
    fn counts(&self) -> (u64, u64) {
        (self.late_records_dropped(), self.records_without_window())
    }
}

#[derive(Clone)]
struct Gather;

impl AggregateFunction<Event> for Gather {
    type Accumulator = Vec<i64>;
    type Out = Vec<i64>;
    fn create_accumulator(&self) -> Vec<i64> {
        Vec::new()
    }
    fn add(&self, gathered: &mut Vec<i64>, mut event: Event) {
        gathered.append(&mut event.1);
    }
    fn get_result(&self, gathered: &Vec<i64>) -> Vec<i64> {
        gathered.clone()
    }
    fn merge(&self, mut one: Vec<i64>, mut other: Vec<i64>) -> Vec<i64> {
        one.append(&mut other);
        one
    }
}

fn bounds<W: Window>(window: &W) -> Bounds {
    let window = (window as &dyn std::any::Any).downcast_ref::<TimeWindow>();
    window.map(|window| (window.start.0, window.end.0))
}

fn operator(setup: &Setup) -> Box<dyn Counting> {
    macro_rules! by_clock {
        ($assigner:expr) => {{
            let assigner = $assigner;
            with_windows(setup, if setup.by_clock { assigner.in_processing_time() } else { assigner })
        }};
    }
    match setup.assigner {
        Assigner::Tumbling { size, offset } => {
            by_clock!(windows::TumblingWindows::of_period(WindowPeriod { size_ms: size, offset_ms: offset }).unwrap())
        }
        Assigner::Sliding { size, slide } => {
            let slides = WindowPeriod { size_ms: slide, offset_ms: 0 };
            by_clock!(windows::SlidingWindows::of(millis(size), slides).unwrap())
        }
        Assigner::Session { gap } => by_clock!(windows::SessionWindows::with_gap(millis(gap)).unwrap()),
        Assigner::DynamicSession => {
            by_clock!(windows::SessionWindows::with_dynamic_gap(|event: &Event| dynamic_gap(event.1[0])))
        }
        Assigner::Global => with_windows(setup, GlobalWindows),
    }
}

fn with_windows<A: WindowAssigner<Event>>(setup: &Setup, assigner: A) -> Box<dyn Counting> {
    type Out<'a, 'b> = &'a mut TimestampedCollector<'b, Outcome>;
    fn say<W: Window>(key: u8, window: &W, values: Vec<i64>, out: Out<'_, '_>) -> Result<()> {
        out.collect((key, bounds(window), values, window.max_timestamp().0));
        Ok(())
    }
    fn gathered<W: Window>(
        key: &u8,
        context: &mut WindowContext<'_, u8, W>,
        gathered: Vec<Vec<i64>>,
        out: Out<'_, '_>,
    ) -> Result<()> {
        gathered.into_iter().try_for_each(|values| say(*key, context.window, values, out))
    }
    fn events<W: Window>(
        key: &u8,
        context: &mut WindowContext<'_, u8, W>,
        events: Vec<Event>,
        out: Out<'_, '_>,
    ) -> Result<()> {
        say(*key, context.window, events.into_iter().flat_map(|event| event.1).collect(), out)
    }
    let reduce = Reduce(|all: &mut Event, mut event: Event| all.1.append(&mut event.1));
    let Some(evictor) = setup.evictor else {
        return match setup.function {
            Function::Reduce => with_function(setup, assigner, Then::new(reduce, events)),
            Function::Aggregate => with_function(setup, assigner, Then::new(Aggregate(Gather), gathered)),
            Function::Full => with_function(setup, assigner, FullWindow::new(events)),
        };
    };
    let evictor: Box<dyn windows::Evictor<Event, A::Window>> = match evictor {
        Evictor::Count(n, phase) => Box::new(windows::CountEvictor::of(n, phase)),
        Evictor::Time(size, phase) => Box::new(windows::TimeEvictor::of(millis(size), phase)),
        Evictor::Delta(threshold, phase) => {
            let delta = |one: &Event, other: &Event| (one.1[0] - other.1[0]).abs() as f64;
            Box::new(windows::DeltaEvictor::of(threshold as f64, delta, phase))
        }
    };
    match setup.function {
        Function::Reduce => with_function(setup, assigner, EvictingWindow::new(evictor, AtFire::new(reduce, events))),
        Function::Aggregate => {
            with_function(setup, assigner, EvictingWindow::new(evictor, AtFire::new(Aggregate(Gather), gathered)))
        }
        Function::Full => with_function(setup, assigner, EvictingWindow::new(evictor, events)),
    }
}

fn with_function<A, F>(setup: &Setup, assigner: A, function: F) -> Box<dyn Counting>
where
    A: WindowAssigner<Event>,
    F: WindowFunction<Event, u8, A::Window, Out = Outcome>,
{
    let trigger = match setup.trigger {
        model::Trigger::EventTime => AnyTrigger::EventTime(windows::EventTimeTrigger),
        model::Trigger::ProcessingTime => AnyTrigger::ProcessingTime(windows::ProcessingTimeTrigger),
        model::Trigger::Count(n) => AnyTrigger::Count(windows::CountTrigger::of(n)),
        model::Trigger::ContinuousEventTime(every) => {
            AnyTrigger::ContinuousEventTime(windows::ContinuousEventTimeTrigger::of(millis(every)))
        }
        model::Trigger::ContinuousProcessingTime(every) => {
            AnyTrigger::ContinuousProcessingTime(windows::ContinuousProcessingTimeTrigger::of(millis(every)))
        }
        model::Trigger::EndOfStream => AnyTrigger::EndOfStream(windows::EndOfStreamTrigger),
    };
    let trigger = if setup.purging { trigger.purging() } else { trigger };
    Box::new(
        WindowOperator::new(|event: &Event| event.0, assigner, trigger, function)
            .with_allowed_lateness(millis(setup.lateness))
            .with_late_side_output(setup.side_output.then(|| OutputTag::new("late"))),
    )
}

/// The subtasks of one operator.
struct Subtasks {
    setup: Setup,
    operators: Vec<Box<dyn Counting>>,
    counts_before: (u64, u64),
    out: Collector<Outcome>,
}

impl Subtasks {
    fn start(setup: &Setup, parallelism: u32, restored: Option<&OperatorSnapshot>) -> Self {
        let start = |index| {
            let mut operator = operator(setup);
            operator.open(&context(ParallelInstance { index, parallelism }), restored.cloned()).unwrap();
            operator
        };
        let operators = (0..parallelism).map(start).collect();
        Self { setup: setup.clone(), operators, counts_before: (0, 0), out: Collector::default() }
    }

    fn add(&mut self, events: Vec<StreamRecord<Event>>, clock: i64) {
        let parallelism = self.operators.len() as u32;
        let mut batches = BTreeMap::<u32, Vec<_>>::new();
        for event in events {
            let subtask = key_groups().subtask(key_groups().of_key(&event.value.0), parallelism);
            batches.entry(subtask).or_default().push(event);
        }
        for (subtask, batch) in batches {
            let operator = &mut self.operators[subtask as usize];
            operator.set_processing_time(Timestamp(clock));
            operator.process(batch, &mut self.out).unwrap();
        }
    }

    fn advance_watermark(&mut self, watermark: i64) {
        for operator in &mut self.operators {
            operator.advance_watermark(Timestamp(watermark), &mut self.out).unwrap();
        }
    }

    fn advance_clock(&mut self, clock: i64) {
        for operator in &mut self.operators {
            operator.set_processing_time(Timestamp(clock));
            operator.advance_processing_time(Timestamp(clock), &mut self.out).unwrap();
        }
    }

    fn counts(&self) -> (u64, u64) {
        self.operators
            .iter()
            .map(|operator| operator.counts())
            .fold(self.counts_before, |sum, counts| (sum.0 + counts.0, sum.1 + counts.1))
    }

    fn snapshot(&mut self) -> OperatorSnapshot {
        let snapshot = |operator: &mut Box<dyn Counting>| operator.snapshot(CheckpointId(1)).unwrap()().unwrap();
        merged(self.operators.iter_mut().map(snapshot).collect())
    }

    fn restore(&mut self, parallelism: u32, with_watermark: bool) {
        let (counts_before, mut snapshot) = (self.counts(), self.snapshot());
        if !with_watermark {
            snapshot.watermark = None;
        }
        *self = Self { counts_before, ..Self::start(&self.setup, parallelism, Some(&snapshot)) };
    }

    /// Results and late records since the last call; in the order of a single subtask, or of each key.
    fn take(&mut self) -> (Vec<Outcome>, Vec<(u8, i64, i64)>) {
        let late = self.out.take_side_outputs().into_iter().flat_map(|(_, batch)| batch.into_typed::<Event>());
        let late = late.map(|StreamRecord { value, timestamp }| (value.0, value.1[0], timestamp.0)).collect();
        let results = self.out.take().into_iter().map(|result| {
            assert_eq!(result.timestamp.0, result.value.3, "results have the last timestamp of their window");
            result.value
        });
        (self.in_order(results.collect()), self.in_order(late))
    }

    fn in_order<T: OfKey>(&self, mut all: Vec<T>) -> Vec<T> {
        if self.operators.len() > 1 {
            all.sort_by_key(OfKey::key);
        }
        all
    }
}

trait OfKey {
    fn key(&self) -> u8;
}
impl OfKey for Outcome {
    fn key(&self) -> u8 {
        self.0
    }
}
impl OfKey for (u8, i64, i64) {
    fn key(&self) -> u8 {
        self.0
    }
}

#[derive(Debug, Clone)]
enum Op {
    /// Key, value, timestamp.
    Add(Vec<(u8, i64, i64)>),
    Watermark(i64),
    Clock(i64),
    Restore {
        parallelism: u32,
        with_watermark: bool,
    },
}

fn setup() -> impl Strategy<Value = Setup> {
    let assigner = prop_oneof![
        2 => (5..15_i64, -4..5_i64).prop_map(|(size, offset)| Assigner::Tumbling { size, offset }),
        2 => (3..15_i64, 3..15_i64).prop_map(|(size, slide)| Assigner::Sliding { size, slide }),
        3 => (2..12_i64).prop_map(|gap| Assigner::Session { gap }),
        2 => Just(Assigner::DynamicSession),
        1 => Just(Assigner::Global),
    ];
    let trigger = prop_oneof![
        3 => Just(model::Trigger::EventTime),
        1 => Just(model::Trigger::ProcessingTime),
        2 => (1..5_u64).prop_map(model::Trigger::Count),
        2 => (2..9_i64).prop_map(model::Trigger::ContinuousEventTime),
        2 => (2..9_i64).prop_map(model::Trigger::ContinuousProcessingTime),
        1 => Just(model::Trigger::EndOfStream),
    ];
    let phase = || prop_oneof![Just(Phase::Before), Just(Phase::After)];
    let evictor = prop_oneof![
        4 => Just(None),
        1 => (0..4_u64, phase()).prop_map(|(n, phase)| Some(Evictor::Count(n, phase))),
        1 => (1..12_i64, phase()).prop_map(|(size, phase)| Some(Evictor::Time(size, phase))),
        1 => (0..40_i64, phase()).prop_map(|(threshold, phase)| Some(Evictor::Delta(threshold, phase))),
    ];
    let function = prop_oneof![Just(Function::Reduce), Just(Function::Aggregate), Just(Function::Full)];
    let lateness = prop_oneof![Just(0_i64), 1..30_i64];
    (assigner, prop::bool::weighted(0.3), trigger, any::<bool>(), evictor, function, lateness, any::<bool>()).prop_map(
        |(assigner, by_clock, trigger, purging, evictor, function, lateness, side_output)| Setup {
            assigner,
            by_clock,
            trigger,
            purging,
            evictor,
            function,
            lateness,
            side_output,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let element = (0..4_u8, 0..50_i64, -20..60_i64);
    prop_oneof![
        12 => prop::collection::vec(element, 1..4).prop_map(Op::Add),
        3 => (-20..60_i64).prop_map(Op::Watermark),
        3 => (0..60_i64).prop_map(Op::Clock),
        2 => (1..=4_u32, any::<bool>()).prop_map(|(parallelism, with_watermark)| Op::Restore { parallelism, with_watermark }),
    ]
}

fn storm() -> impl Strategy<Value = (Setup, Vec<Op>)> {
    (setup(), prop::collection::vec(op(), 1..60))
}

fn weather(setup: &Setup, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut model = Model::new(setup.clone(), |key| key_groups().of_key(&key));
    let mut subtasks = Subtasks::start(setup, 1, None);
    for op in ops.into_iter().chain([Op::Watermark(1000), Op::Clock(1000), Op::Watermark(i64::MAX)]) {
        match &op {
            Op::Add(events) => {
                for (key, value, timestamp) in events {
                    model.add(*key, *value, *timestamp);
                }
                let events = events.iter().map(|(key, value, timestamp)| record((*key, vec![*value]), *timestamp));
                subtasks.add(events.collect(), model.clock);
            }
            Op::Watermark(watermark) => {
                model.advance_watermark(*watermark);
                subtasks.advance_watermark(*watermark);
            }
            Op::Clock(clock) => {
                model.advance_clock(*clock);
                subtasks.advance_clock(model.clock);
            }
            Op::Restore { parallelism, with_watermark } => {
                subtasks.restore(*parallelism, *with_watermark);
                if *with_watermark {
                    // The sources tell it again, and that fires nothing.
                    subtasks.advance_watermark(model.watermark);
                } else {
                    model.watermark = i64::MIN;
                }
            }
        }
        let expected =
            (subtasks.in_order(std::mem::take(&mut model.out)), subtasks.in_order(std::mem::take(&mut model.late)));
        prop_assert_eq!(subtasks.take(), expected, "after {:?}", op);
        prop_assert_eq!(subtasks.counts(), (model.dropped, model.without_window), "after {:?}", op);
        let snapshot = subtasks.snapshot();
        let entries =
            |name| snapshot.keyed.get(name).map_or(0, |state| state.groups.values().map(Vec::len).sum::<usize>());
        prop_assert_eq!((entries(WINDOW_CONTENTS), entries(MERGING_WINDOW_SET)), model.kept(), "after {:?}", op);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn any_windows_are_those_of_the_model_through_a_storm_of_restores((setup, ops) in storm()) {
        weather(&setup, ops)?;
    }
}

#[cfg(feature = "sim")]
#[test]
fn the_storm_finds_every_planted_bug_of_windows() {
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let found = |bug| {
        let config = Config { cases: 4000, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        runner
            .run(&storm(), |(setup, ops)| {
                crate::planted::activate(Some(bug));
                let outcome = std::panic::catch_unwind(|| weather(&setup, ops));
                crate::planted::activate(None);
                outcome.unwrap_or_else(|_| Err(TestCaseError::fail("it panicked")))
            })
            .is_err()
    };
    let missed: Vec<_> = [
        "session_merge_uses_overlaps_next_without_sorting",
        "continuous_processing_time_trigger_loses_timer_on_merge",
        "equal_window_orphans_session_state",
        "growing_session_takes_the_place_of_the_first",
        "session_merge_mapping_not_in_snapshot",
        "count_trigger_state_not_cleared",
        "evicted_elements_come_back",
        "late_side_output_lost",
        "cleanup_timer_ignores_lateness",
        "purge_clears_trigger_state",
        "processing_timer_fires_early",
        "late_record_accepted_after_cleanup",
    ]
    .into_iter()
    .filter(|bug| !found(bug))
    .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
