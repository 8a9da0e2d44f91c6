//! The window operator against a naive model, and what each kind of function gives.

mod model;
mod storm;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    codec,
    error::ErrorKind,
    operator::{
        AggregateFunction, TimestampedCollector,
        test_harness::{
            MAX_PARALLELISM, RecordingObserver, advance, context, context_observed, merged, open, process, record,
            snapshot,
        },
    },
    record::StreamRecord,
    state::{KeyGroups, KeyRef, ParallelInstance},
    window::{EventTimeTrigger, SlidingWindows, TimeWindow, TumblingWindows, WindowPeriod},
};

/// Key and value.
type Event = (u8, i64);

const SIZE_MS: i64 = 10;

fn windows() -> TumblingWindows {
    TumblingWindows::of(Duration::from_millis(SIZE_MS as u64)).unwrap()
}

fn key_groups() -> KeyGroups {
    KeyGroups::new(MAX_PARALLELISM).unwrap()
}

type Sum = WindowOperator<Event, fn(&Event) -> u8, TumblingWindows, EventTimeTrigger, Reduce<fn(&mut Event, Event)>>;

fn sum(allowed_lateness_ms: u64) -> Sum {
    let function = Reduce::<fn(&mut Event, Event)>(|sum, event| sum.1 += event.1);
    WindowOperator::new((|event| event.0) as fn(&Event) -> u8, windows(), EventTimeTrigger, function)
        .with_allowed_lateness(Duration::from_millis(allowed_lateness_ms))
}

/// Sums per key and window, as anyone would write them down.
struct Model {
    allowed_lateness_ms: i64,
    watermark: i64,
    /// (last timestamp of the window, key) → sum.
    sums: BTreeMap<(i64, u8), i64>,
    dropped: u64,
}

impl Model {
    fn add(&mut self, (key, value): Event, timestamp: i64) -> Option<StreamRecord<Event>> {
        let max_timestamp = timestamp.div_euclid(SIZE_MS) * SIZE_MS + SIZE_MS - 1;
        if max_timestamp + self.allowed_lateness_ms <= self.watermark {
            self.dropped += 1;
            return None;
        }
        let sum = self.sums.entry((max_timestamp, key)).or_default();
        *sum += value;
        (max_timestamp <= self.watermark).then(|| record((key, *sum), max_timestamp))
    }

    fn advance(&mut self, watermark: i64) -> Vec<StreamRecord<Event>> {
        let passed = self.watermark.max(watermark);
        let due = self.sums.iter().filter(|((max, _), _)| (self.watermark + 1..=passed).contains(max));
        let mut results: Vec<_> = due.map(|((max, key), sum)| record((*key, *sum), *max)).collect();
        results.sort_by_key(|result| (result.timestamp, key_groups().of_key(&result.value.0), result.value.0));
        self.watermark = passed;
        self.sums.retain(|(max, _), _| max + self.allowed_lateness_ms > passed);
        results
    }
}

/// The subtasks of one operator.
struct Subtasks {
    allowed_lateness_ms: u64,
    operators: Vec<Sum>,
    dropped_before: u64,
}

impl Subtasks {
    fn start(allowed_lateness_ms: u64, parallelism: u32, restored: Option<&OperatorSnapshot>) -> Self {
        let start = |index| {
            let mut operator = sum(allowed_lateness_ms);
            operator.open(&context(ParallelInstance { index, parallelism }), restored.cloned()).unwrap();
            operator
        };
        Self { allowed_lateness_ms, operators: (0..parallelism).map(start).collect(), dropped_before: 0 }
    }

    fn add(&mut self, event: Event, timestamp: i64) -> Vec<StreamRecord<Event>> {
        let parallelism = self.operators.len() as u32;
        let subtask = key_groups().subtask(key_groups().of_key(&event.0), parallelism);
        process(&mut self.operators[subtask as usize], vec![record(event, timestamp)])
    }

    /// Results of all subtasks; in the order of a single one, which parallel ones do not have.
    fn advance(&mut self, watermark: i64) -> Vec<StreamRecord<Event>> {
        let mut results: Vec<_> = self.operators.iter_mut().flat_map(|operator| advance(operator, watermark)).collect();
        if self.operators.len() > 1 {
            results.sort_by_key(|result| (result.timestamp, key_groups().of_key(&result.value.0), result.value.0));
        }
        results
    }

    fn dropped(&self) -> u64 {
        self.dropped_before + self.operators.iter().map(Sum::late_records_dropped).sum::<u64>()
    }

    /// Takes a snapshot, spoils the state it was taken of, and goes on from the snapshot.
    fn crash_and_restore(&mut self, parallelism: u32) {
        let dropped_before = self.dropped();
        let snapshots: Vec<_> = self.operators.iter_mut().map(snapshot).collect();
        for key in 0..8 {
            for window in 0..8 {
                self.add((key, 1_000_000), window * SIZE_MS);
            }
        }
        self.advance(i64::MAX);
        let restored = merged(snapshots.into_iter().map(|encode| encode().unwrap()).collect());
        *self = Self::start(self.allowed_lateness_ms, parallelism, Some(&restored));
        self.dropped_before = dropped_before;
    }
}

#[derive(Debug, Clone)]
enum Op {
    Add(Event, i64),
    Advance(i64),
    CrashAndRestore(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => ((0..8_u8, -5..100_i64), -20..120_i64).prop_map(|(event, timestamp)| Op::Add(event, timestamp)),
        4 => (-20..120_i64).prop_map(Op::Advance),
        1 => (1..=4_u32).prop_map(Op::CrashAndRestore),
    ]
}

/// Operations, and the allowed lateness.
fn storm() -> impl Strategy<Value = (Vec<Op>, i64)> {
    (prop::collection::vec(op(), 1..150), prop_oneof![Just(0_i64), 1..30_i64])
}

fn weather(ops: Vec<Op>, allowed_lateness_ms: i64) -> Result<(), TestCaseError> {
    let mut model = Model { allowed_lateness_ms, watermark: i64::MIN, sums: BTreeMap::new(), dropped: 0 };
    let mut subtasks = Subtasks::start(allowed_lateness_ms as u64, 1, None);
    for op in ops.into_iter().chain([Op::Advance(i64::MAX - 100)]) {
        match op {
            Op::Add(event, timestamp) => {
                let expected: Vec<_> = model.add(event, timestamp).into_iter().collect();
                prop_assert_eq!(subtasks.add(event, timestamp), expected);
            }
            Op::Advance(watermark) => prop_assert_eq!(subtasks.advance(watermark), model.advance(watermark)),
            Op::CrashAndRestore(parallelism) => {
                subtasks.crash_and_restore(parallelism);
                prop_assert_eq!(subtasks.advance(model.watermark), [], "a watermark that is told again fires nothing");
            }
        }
        prop_assert_eq!(subtasks.dropped(), model.dropped);
    }
    prop_assert!(model.sums.is_empty());
    let left = merged(subtasks.operators.iter_mut().map(|operator| snapshot(operator)().unwrap()).collect());
    prop_assert_eq!(left.keyed, OperatorSnapshot::default().keyed, "nothing is kept of windows that are over");
    Ok(())
}

proptest! {
    #[test]
    fn sums_are_those_of_the_model_through_a_storm_of_restores((ops, allowed_lateness_ms) in storm()) {
        weather(ops, allowed_lateness_ms)?;
    }
}

#[cfg(feature = "sim")]
#[test]
fn the_storm_finds_every_planted_bug_of_state_and_windows() {
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let found = |bug| {
        let config = Config { failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        crate::planted::activate(bug);
        let outcome = runner.run(&storm(), |(ops, allowed_lateness_ms)| weather(ops, allowed_lateness_ms));
        crate::planted::activate(None);
        outcome.is_err()
    };
    assert!(!found(None), "without a bug the storm finds nothing");
    for bug in [
        "snapshot_sees_later_mutation",
        "key_group_range_off_by_one_on_restore",
        "timers_not_in_snapshot",
        "late_record_accepted_after_cleanup",
    ] {
        assert!(found(Some(bug)), "{bug}");
    }
}

#[test]
fn the_contents_of_windows_are_in_the_snapshot_under_key_and_window() {
    let mut operator = open(sum(0), None);
    process(&mut operator, vec![record((7, 1), 3), record((7, 2), 4), record((9, 5), 17)]);
    let kept = snapshot(&mut operator)().unwrap();
    let contents: BTreeMap<(u8, TimeWindow), Event> = kept.keyed[WINDOW_CONTENTS]
        .groups
        .values()
        .flatten()
        .map(|entry| {
            let decode = |bytes| codec::decode(bytes).unwrap();
            ((codec::decode(&entry.key).unwrap(), codec::decode(&entry.namespace).unwrap()), decode(&entry.value))
        })
        .collect();
    let window = |start| TimeWindow::new(Timestamp(start), Timestamp(start + SIZE_MS));
    assert_eq!(contents, BTreeMap::from([((7, window(0)), (7, 3)), ((9, window(10)), (9, 5))]));
    assert_eq!(kept.keyed[TimerService::<u8, TimeWindow>::EVENT].groups.values().flatten().count(), 2);
}

#[test]
fn equal_state_gives_equal_bytes_whatever_led_to_it() {
    let mut forth = open(sum(0), None);
    let mut back = open(sum(0), None);
    for key in 0..200 {
        process(&mut forth, vec![record((key, 1), 3)]);
        process(&mut back, vec![record((199 - key, 1), 3)]);
    }
    process(&mut back, vec![record((1, 1), -3)]);
    advance(&mut forth, -1);
    advance(&mut back, -1);
    assert_eq!(snapshot(&mut forth)().unwrap(), snapshot(&mut back)().unwrap());
}

#[test]
fn a_record_behind_its_window_is_dropped_and_reported() {
    let observer = Arc::new(RecordingObserver::default());
    let mut operator = sum(5);
    operator.open(&context_observed(ParallelInstance { index: 0, parallelism: 1 }, observer.clone()), None).unwrap();
    assert_eq!(process(&mut operator, vec![record((1, 1), 3)]), []);
    assert_eq!(advance(&mut operator, 9), [record((1, 1), 9)]);
    assert_eq!(process(&mut operator, vec![record((1, 1), 4)]), [record((1, 2), 9)], "a late firing");
    assert_eq!(advance(&mut operator, 14), []);
    assert_eq!(process(&mut operator, vec![record((1, 1), 5)]), []);
    assert_eq!(operator.late_records_dropped(), 1);
    assert_eq!(*observer.facts.lock().unwrap(), ["test after late_record timestamp 5 watermark 14"]);
}

#[test]
fn a_record_without_a_timestamp_is_an_error_with_a_hint() {
    let mut operator = open(sum(0), None);
    let error = operator.process(vec![record((1, 1), i64::MIN)], &mut Collector::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.hint().unwrap().contains("WatermarkStrategy"));
}

#[test]
fn a_record_counts_in_each_of_its_sliding_windows_that_is_not_over() {
    let slides = WindowPeriod { size_ms: 5, offset_ms: 0 };
    let windows = SlidingWindows::of(Duration::from_millis(SIZE_MS as u64), slides).unwrap();
    let sum = Reduce(|sum: &mut Event, event: Event| sum.1 += event.1);
    let mut operator = open(WindowOperator::new(|event: &Event| event.0, windows, EventTimeTrigger, sum), None);
    process(&mut operator, vec![record((1, 1), 3), record((1, 10), 7)]);
    assert_eq!(advance(&mut operator, 4), [record((1, 1), 4)]);
    process(&mut operator, vec![record((1, 100), 2)]);
    assert_eq!(advance(&mut operator, 14), [record((1, 111), 9), record((1, 10), 14)]);
    assert_eq!(operator.late_records_dropped(), 0, "the record counted in one of its two windows");
}

#[test]
fn windows_of_the_clock_fire_by_the_clock_and_know_no_lateness() {
    let windows = windows().in_processing_time();
    let sum = Reduce(|sum: &mut Event, event: Event| sum.1 += event.1);
    let trigger = WindowAssigner::<Event>::default_trigger(&windows);
    let operator = WindowOperator::new(|event: &Event| event.0, windows, trigger, sum);
    let mut operator = open(operator.with_allowed_lateness(Duration::from_millis(50)), None);
    let mut out = Collector::default();
    operator.advance_processing_time(Timestamp(3), &mut out).unwrap();
    process(&mut operator, vec![record((1, 1), i64::MIN), record((1, 2), 1_000)]);
    assert_eq!(advance(&mut operator, i64::MAX), []);
    assert_eq!(operator.processing_time_deadline(), Some(Timestamp(9)));
    process(&mut operator, vec![record((1, 4), 5)]);
    operator.advance_processing_time(Timestamp(12), &mut out).unwrap();
    assert_eq!(out.take(), [record((1, 7), 9)]);
    assert_eq!(operator.processing_time_deadline(), None);
    assert_eq!(snapshot(&mut operator)().unwrap().keyed, OperatorSnapshot::default().keyed);
}

struct Mean;

impl AggregateFunction<(String, i64)> for Mean {
    type Accumulator = (i64, i64);
    type Out = f64;

    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }
    fn add(&self, (count, sum): &mut (i64, i64), (_, value): (String, i64)) {
        *count += 1;
        *sum += value;
    }
    fn get_result(&self, (count, sum): &(i64, i64)) -> f64 {
        *sum as f64 / *count as f64
    }
    fn merge(&self, one: (i64, i64), other: (i64, i64)) -> (i64, i64) {
        (one.0 + other.0, one.1 + other.1)
    }
}

fn words() -> Vec<StreamRecord<(String, i64)>> {
    [("b", 1, 0), ("a", 3, 1), ("b", 4, 9), ("b", 8, 12)].map(|(k, v, t)| record((k.to_owned(), v), t)).to_vec()
}

type Word = (String, i64);

fn word(value: &Word) -> &String {
    &value.0
}

#[test]
fn an_aggregate_keeps_an_accumulator() {
    let mut operator = open(WindowOperator::new(KeyRef(word), windows(), EventTimeTrigger, Aggregate(Mean)), None);
    process(&mut operator, words());
    let mut means = advance(&mut operator, 9);
    means.sort_by(|one, other| one.value.total_cmp(&other.value));
    assert_eq!(means, [record(2.5, 9), record(3.0, 9)]);
}

#[test]
fn a_process_function_sees_key_window_and_elements_in_order() {
    let function = |key: &String,
                    context: &mut WindowContext<'_, String, TimeWindow>,
                    elements: Vec<Word>,
                    out: &mut TimestampedCollector<'_, String>| {
        let values: Vec<_> = elements.iter().map(|(_, value)| value).collect();
        out.collect(format!("{key} {} {values:?} at {}", context.window, context.watermark));
        Ok(())
    };
    let mut operator =
        open(WindowOperator::new(KeyRef(word), windows(), EventTimeTrigger, FullWindow::new(function)), None);
    process(&mut operator, words());
    let results: Vec<_> = advance(&mut operator, 25).into_iter().map(|result| result.value).collect();
    // The order of results: the time of the window, then key group, then key.
    let mut keys = ["a".to_owned(), "b".to_owned()];
    keys.sort_by_key(|key| key_groups().of_key(key));
    let first_window = |key: &String| match key.as_str() {
        "a" => "a [0, 10) [3] at 25".to_owned(),
        _ => "b [0, 10) [1, 4] at 25".to_owned(),
    };
    assert_eq!(results, [first_window(&keys[0]), first_window(&keys[1]), "b [10, 20) [8] at 25".to_owned()]);
}

#[test]
fn what_is_kept_incrementally_can_be_processed_with_key_and_window() {
    let function = |key: &String,
                    context: &mut WindowContext<'_, String, TimeWindow>,
                    elements: Vec<f64>,
                    out: &mut TimestampedCollector<'_, (String, i64, f64)>| {
        for mean in elements {
            out.collect((key.clone(), context.window.start.0, mean));
        }
        Ok(())
    };
    let then = Then::new(Aggregate(Mean), function);
    let mut operator = open(WindowOperator::new(KeyRef(word), windows(), EventTimeTrigger, then), None);
    process(&mut operator, words());
    assert_eq!(advance(&mut operator, 20)[2..], [record(("b".to_owned(), 10, 8.0), 19)]);
}

#[cfg(feature = "sim")]
#[test]
fn the_planted_bug_accepts_records_of_forgotten_windows() {
    let mut operator = open(sum(0), None);
    advance(&mut operator, 9);
    crate::planted::activate(Some("late_record_accepted_after_cleanup"));
    let results = process(&mut operator, vec![record((1, 1), 3)]);
    crate::planted::activate(None);
    assert_eq!(results, [record((1, 1), 9)]);
}

#[cfg(feature = "sim")]
#[test]
fn the_planted_bug_skips_the_last_key_group_on_restore() {
    let mut operator = open(sum(0), None);
    process(&mut operator, (0..200).map(|key| record((key, 1), 3)).collect());
    let kept = snapshot(&mut operator)().unwrap();
    crate::planted::activate(Some("key_group_range_off_by_one_on_restore"));
    let mut operator = open(sum(0), Some(kept));
    crate::planted::activate(None);
    let groups: Vec<u16> = snapshot(&mut operator)().unwrap().keyed[WINDOW_CONTENTS].groups.keys().copied().collect();
    assert_eq!(groups, (0..MAX_PARALLELISM as u16 - 1).collect::<Vec<_>>());
}
