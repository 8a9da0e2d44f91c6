//! Graphs that are not a line: side outputs, two inputs. Each runs as a job in this process.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::*;
use crate::{
    Timestamp,
    codec::Data,
    config::JobConfig,
    connector::{CollectSink, Collected, CollectionSource},
    error::Result,
    graph::Overtaking,
    operator::{Collector, Operator, TwoInputOperator},
    record::{Batch, StreamRecord},
    runtime::run_locally,
};

/// What a job gathers in one of its sinks.
struct Gathered<T>(Collected<T>);

impl<T: Data + Ord> Gathered<T> {
    /// Everything of this stream, in a sink of one subtask behind it.
    fn of(stream: &DataStream<T>, name: &str) -> Self {
        let collected = Arc::new(Mutex::new(Vec::new()));
        let sink = collected.clone();
        stream.sink(name, move || CollectSink::new(sink.clone()));
        Self(collected)
    }

    fn records(&self) -> Batch<T> {
        let collected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        collected.iter().map(|(_, record)| record.clone()).collect()
    }

    fn values(&self) -> Vec<T> {
        self.records().into_iter().map(|record| record.value).collect()
    }

    fn sorted(&self) -> Vec<T> {
        let mut values = self.values();
        values.sort();
        values
    }
}

fn environment(parallelism: u32) -> StreamEnvironment {
    StreamEnvironment::new(JobConfig { parallelism, batch_records: 3, channel_credit: 2, ..JobConfig::default() })
}

fn run(job: &StreamEnvironment) -> Result<()> {
    run_locally(1, job.config().clone(), job.build()?).map(drop)
}

fn ascending() -> WatermarkStrategy<i64> {
    WatermarkStrategy::for_monotonous_timestamps().with_timestamp_assigner(|number: &i64| Timestamp(*number))
}

/// Passes multiples on, divided, and puts the other numbers aside as text, with the watermarks.
#[derive(Clone)]
struct Divide {
    by: i64,
    rest: OutputTag<String>,
}

impl Divide {
    fn by(by: i64) -> Self {
        Self { by, rest: OutputTag::new("rest") }
    }
}

impl Operator for Divide {
    type In = i64;
    type Out = i64;

    fn process(&mut self, batch: Batch<i64>, out: &mut Collector<i64>) -> Result<()> {
        for record in batch {
            if record.value % self.by == 0 {
                out.collect(record.with_value(record.value / self.by));
            } else {
                out.side_output(&self.rest, record.with_value(record.value.to_string()));
            }
        }
        Ok(())
    }
}

#[test]
fn side_outputs_of_chained_operators_are_told_apart() {
    let job = environment(1);
    let numbers = job.from_source("numbers", CollectionSource::new((1..=12).collect()), ascending());
    let halves = numbers.transform("halve", || Divide::by(2));
    let sixths = halves.transform("third", || Divide::by(3));
    let tag = Divide::by(1).rest;
    let main = Gathered::of(&sixths, "main");
    let (odd, not_by_three) =
        (Gathered::of(&halves.get_side_output(&tag), "odd"), Gathered::of(&sixths.get_side_output(&tag), "rest"));
    let program = job.build().unwrap();
    assert_eq!(program.graph.vertices.len(), 3, "only who reads a side output has a task of its own");
    run_locally(1, job.config().clone(), program).unwrap();
    assert_eq!(main.values(), [1, 2]);
    assert_eq!(odd.values(), ["1", "3", "5", "7", "9", "11"]);
    assert_eq!(not_by_three.values(), ["1", "2", "4", "5"]);
}

#[test]
fn a_side_output_can_be_read_twice_and_without_the_main_output() {
    let job = environment(2);
    let numbers = job.from_source("numbers", CollectionSource::new((1..=100).collect()).with_splits(2), ascending());
    let halves = numbers.rebalance().transform("halve", || Divide::by(2));
    let tag = Divide::by(1).rest;
    let odd = halves.get_side_output(&tag);
    let (first, second) = (Gathered::of(&odd, "first"), Gathered::of(&odd.rebalance(), "second"));
    run(&job).unwrap();
    let mut expected: Vec<_> = (1..=100).step_by(2).map(|number| number.to_string()).collect();
    expected.sort();
    assert_eq!(first.sorted(), expected);
    assert_eq!(second.sorted(), expected);
}

#[test]
fn a_source_has_no_side_output() {
    let job = environment(1);
    let numbers = job.from_source("numbers", CollectionSource::new(vec![1]), ascending());
    let _rest = Gathered::of(&numbers.get_side_output(&OutputTag::<String>::new("rest")), "rest");
    let error = job.build().err().unwrap().to_string();
    assert!(error.contains("numbers") && error.contains("rest"), "{error}");
}

/// Tells the records of both inputs apart, and the watermarks of both together.
struct Tell {
    watermarks: Vec<Timestamp>,
}

impl TwoInputOperator for Tell {
    type First = i64;
    type Second = String;
    type Out = String;

    fn process_first(&mut self, batch: Batch<i64>, out: &mut Collector<String>) -> Result<()> {
        batch.iter().for_each(|record| out.collect(record.with_value(format!("number {}", record.value))));
        Ok(())
    }
    fn process_second(&mut self, batch: Batch<String>, out: &mut Collector<String>) -> Result<()> {
        batch.iter().for_each(|record| out.collect(record.with_value(format!("text {}", record.value))));
        Ok(())
    }
    fn advance_watermark(&mut self, watermark: Timestamp, _out: &mut Collector<String>) -> Result<()> {
        assert!(self.watermarks.last().is_none_or(|last| *last < watermark), "the watermark never regresses");
        self.watermarks.push(watermark);
        Ok(())
    }
    fn finish(&mut self, out: &mut Collector<String>) -> Result<()> {
        let last = self.watermarks.last().map_or(Timestamp::MIN, |last| *last);
        out.collect(StreamRecord::new(format!("end at {last}"), Timestamp::MIN));
        Ok(())
    }
}

#[test]
fn an_operator_reads_two_streams_of_different_types_to_the_end_of_both() {
    let job = environment(2);
    let numbers = job.from_source("numbers", CollectionSource::new((1..=20).collect()).with_splits(2), ascending());
    let texts = numbers.map(|number| format!("<{number}>"));
    let told = numbers.connect(&texts.rebalance()).transform("tell", || Tell { watermarks: Vec::new() });
    let told = Gathered::of(&told.map(|line| line), "told");
    run(&job).unwrap();
    let numbers = (1..=20).flat_map(|number| [format!("number {number}"), format!("text <{number}>")]);
    let ends = (0..2).map(|_| format!("end at {}", Timestamp::MAX));
    let mut expected: Vec<_> = numbers.chain(ends).collect();
    expected.sort();
    assert_eq!(told.sorted(), expected);
}

#[test]
fn broadcast_records_reach_every_subtask_and_global_ones_the_first() {
    let job = environment(3);
    let numbers = job.from_source("numbers", CollectionSource::new((1..=10).collect()).with_splits(2), ascending());
    let (everywhere, first) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    for (stream, collected) in [(numbers.broadcast(), &everywhere), (numbers.global(), &first)] {
        let sink = collected.clone();
        let name = if Arc::ptr_eq(collected, &first) { "first" } else { "everywhere" };
        stream.sink(name, move || CollectSink::new(sink.clone()));
    }
    run(&job).unwrap();
    let sorted = |collected: &Collected<i64>| {
        let collected = collected.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values: Vec<_> = collected.iter().map(|(subtask, record)| (*subtask, record.value)).collect();
        values.sort_unstable();
        values
    };
    let to = |subtask| (1..=10).map(move |number| (subtask, number));
    assert_eq!(sorted(&everywhere), (0..3).flat_map(to).collect::<Vec<_>>());
    assert_eq!(sorted(&first), to(0).collect::<Vec<_>>());
}

/// Lets through what is not behind the watermark.
struct InTime {
    watermark: Timestamp,
}

impl Operator for InTime {
    type In = i64;
    type Out = i64;

    fn process(&mut self, batch: Batch<i64>, out: &mut Collector<i64>) -> Result<()> {
        out.collect_batch(batch.into_iter().filter(|record| record.timestamp > self.watermark).collect());
        Ok(())
    }
    fn advance_watermark(&mut self, watermark: Timestamp, _out: &mut Collector<i64>) -> Result<()> {
        self.watermark = watermark;
        Ok(())
    }
}

#[test]
fn punctuated_watermarks_reach_the_operator_between_the_records() {
    let job = environment(1);
    let strategy = WatermarkStrategy::for_punctuated(|number: &i64, timestamp| (number % 10 == 0).then_some(timestamp))
        .with_timestamp_assigner(|number: &i64| Timestamp(*number));
    let numbers = job.from_source("numbers", CollectionSource::new(vec![5, 10, 7, 11, 20, 10, 21]), strategy);
    let in_time = numbers.rebalance().transform("in time", || InTime { watermark: Timestamp::MIN });
    let in_time = Gathered::of(&in_time, "gathered");
    run(&job).unwrap();
    assert_eq!(in_time.values(), [5, 10, 11, 20, 21]);
}

mod partition;

type Event = (String, i64, i64);

/// Events of a key, a number and a time.
fn events(events: &[(&str, i64, i64)]) -> CollectionSource<Event> {
    CollectionSource::new(events.iter().map(|(key, number, at)| ((*key).to_owned(), *number, *at)).collect())
}

fn by_time() -> WatermarkStrategy<Event> {
    WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_secs(60))
        .with_timestamp_assigner(|event: &Event| Timestamp(event.2))
}

fn timed<T: Clone>(records: Batch<T>) -> Vec<(T, i64)> {
    records.into_iter().map(|record| (record.value, record.timestamp.0)).collect()
}

/// The case `window-join` of real Flink.
#[test]
fn a_window_join_pairs_the_records_of_a_key_and_window() {
    let job = environment(2);
    let left =
        job.from_source("left", events(&[("a", 1, 100), ("a", 2, 200), ("b", 5, 100), ("a", 3, 1000)]), by_time());
    let right = job.from_source("right", events(&[("a", 10, 900), ("a", 20, 1100)]), by_time());
    let windows = TumblingWindows::of(Duration::from_secs(1)).unwrap();
    let grouped = left.co_group(&right).on(|left| left.0.clone(), |right| right.0.clone()).window(windows);
    let joined = grouped.join(|left, right| (left.1, right.1));
    let counted = grouped.apply(|key, _window, left, right, out| {
        out.collect((key.clone(), left.len(), right.len()));
        Ok(())
    });
    let (joined, counted) = (Gathered::of(&joined, "joined"), Gathered::of(&counted, "counted"));
    run(&job).unwrap();
    let mut pairs = timed(joined.records());
    pairs.sort_unstable();
    assert_eq!(pairs, [((1, 10), 999), ((2, 10), 999), ((3, 20), 1999)]);
    let text = |(key, left, right): &(&str, usize, usize)| ((*key).to_owned(), *left, *right);
    let expected: Vec<_> = [("a", 1, 1), ("a", 2, 1), ("b", 1, 0)].iter().map(text).collect();
    assert_eq!(counted.sorted(), expected);
}

/// The case `interval-join` of real Flink without its late records, in whatever order the two inputs are read.
#[test]
fn an_interval_join_pairs_records_that_are_close_in_time() {
    let job = environment(2);
    let left = job.from_source("left", events(&[("a", 1, 1000), ("b", 1, 1000), ("a", 3, 1160)]), by_time());
    let right_events = [("a", 10, 900), ("a", 20, 899), ("a", 30, 1200), ("a", 40, 1201), ("a", 60, 1300)];
    let right = job.from_source("right", events(&right_events), by_time());
    let (left, right) = (left.key_by(|event| event.0.clone()), right.key_by(|event| event.0.clone()));
    let joined = left.interval_join(&right).between_ms(-100..=200).unwrap().process(
        |left: &Event, right: &Event, _context: &JoinContext, out: &mut TimestampedCollector<'_, (i64, i64)>| {
            out.collect((left.1, right.1));
            Ok(())
        },
    );
    let joined = Gathered::of(&joined, "joined");
    run(&job).unwrap();
    let mut pairs = timed(joined.records());
    pairs.sort_unstable();
    let expected = [((1, 10), 1000), ((1, 30), 1200), ((3, 30), 1200), ((3, 40), 1201), ((3, 60), 1300)];
    assert_eq!(pairs, expected);
}

/// Counts the events of both inputs by key and tells the counts at the end.
#[derive(Clone, Default)]
struct CountBoth {
    counts: Option<ValueState<(u32, u32)>>,
}

impl CountBoth {
    fn count(
        &self,
        context: &mut ProcessContext<'_, String, (String, u32, u32)>,
        add: impl FnOnce(&mut (u32, u32)),
    ) -> Result<()> {
        context.register_timer(TimeDomain::EventTime, Timestamp(1_000_000));
        self.counts.as_ref().expect("opened").modify_or_insert_with(context, Default::default, add)
    }
}

impl KeyedCoProcessFunction for CountBoth {
    type Key = String;
    type First = Event;
    type Second = Event;
    type Out = (String, u32, u32);

    fn open(&mut self, states: &mut StateRegistry<'_, String>) -> Result<()> {
        self.counts = Some(states.value(&ValueStateDescriptor::new("counts"))?);
        Ok(())
    }
    fn process_first(&mut self, _: Event, context: &mut ProcessContext<'_, String, Self::Out>) -> Result<()> {
        self.count(context, |counts| counts.0 += 1)
    }
    fn process_second(&mut self, _: Event, context: &mut ProcessContext<'_, String, Self::Out>) -> Result<()> {
        self.count(context, |counts| counts.1 += 1)
    }
    fn on_timer(&mut self, _: TimeDomain, context: &mut ProcessContext<'_, String, Self::Out>) -> Result<()> {
        let counts = self.counts.as_ref().expect("opened").value(context)?.unwrap_or_default();
        let key = context.key().clone();
        context.collect((key, counts.0, counts.1));
        Ok(())
    }
}

#[test]
fn two_keyed_streams_share_the_state_of_a_key() {
    let job = environment(2);
    let left = job.from_source("left", events(&[("a", 1, 1), ("b", 2, 2), ("a", 3, 3)]), by_time());
    let right = job.from_source("right", events(&[("a", 1, 1), ("c", 2, 2)]), by_time());
    let (left, right) = (left.key_by(|event| event.0.clone()), right.key_by(|event| event.0.clone()));
    let counted = Gathered::of(&left.connect(&right).process(CountBoth::default()), "counted");
    run(&job).unwrap();
    assert_eq!(counted.sorted(), [("a".to_owned(), 2, 1), ("b".to_owned(), 1, 0), ("c".to_owned(), 0, 1)]);
}

/// Keeps all numbers; at the end of time tells those that the broadcast ones divide.
#[derive(Clone, Default)]
struct Divisible {
    divisors: Option<BroadcastState<i64, ()>>,
}

impl KeyedBroadcastProcessFunction for Divisible {
    type Key = i64;
    type In = i64;
    type Broadcast = i64;
    type Out = (i64, Vec<i64>);

    fn open(&mut self, _: &mut StateRegistry<'_, i64>, broadcast: &mut BroadcastStates) -> Result<()> {
        self.divisors = Some(broadcast.register("divisors")?);
        Ok(())
    }
    fn process_element(&mut self, _: i64, context: &mut ReadOnlyContext<'_, i64, Self::Out>) -> Result<()> {
        context.register_timer(TimeDomain::EventTime, Timestamp(1_000_000));
        Ok(())
    }
    fn process_broadcast_element(
        &mut self,
        divisor: i64,
        context: &mut BroadcastContext<'_, i64, Self::Out>,
    ) -> Result<()> {
        self.divisors.expect("opened").put(context, divisor, ());
        Ok(())
    }
    fn on_timer(&mut self, _: TimeDomain, context: &mut ReadOnlyContext<'_, i64, Self::Out>) -> Result<()> {
        let number = *context.key();
        let divisors = self.divisors.expect("opened").entries(context).map(|(divisor, ())| *divisor);
        let divisors: Vec<i64> = divisors.filter(|divisor| number % divisor == 0).collect();
        context.collect((number, divisors));
        Ok(())
    }
}

#[test]
fn every_subtask_gets_the_broadcast_records() {
    let job = environment(2);
    let numbers = job.from_source("numbers", CollectionSource::new((1..=20).collect()), ascending());
    let divisors = job.from_source("divisors", CollectionSource::new(vec![2, 3]), ascending());
    let divided = numbers.key_by(|number| *number).connect_broadcast(&divisors).process(Divisible::default());
    let divided = Gathered::of(&divided, "divided");
    run(&job).unwrap();
    let expected: Vec<(i64, Vec<i64>)> =
        (1..=20).map(|number| (number, [2, 3].into_iter().filter(|divisor| number % divisor == 0).collect())).collect();
    assert_eq!(divided.sorted(), expected);
}

#[test]
fn aligned_sources_wait_for_each_other_and_come_to_their_ends() {
    let job = environment(2);
    let aligned = ascending().with_watermark_alignment("numbers", Duration::from_millis(5), Duration::from_millis(1));
    let mut both = Vec::new();
    for (name, numbers) in [("small", 1..=40), ("large", 20..=400)] {
        let source = CollectionSource::new(numbers.collect()).with_splits(3);
        let stream = job.from_source(name, source, aligned.clone());
        both.push(Gathered::of(&stream, &format!("gather {name}")));
    }
    run(&job).unwrap();
    assert_eq!(both[0].sorted(), (1..=40).collect::<Vec<_>>());
    assert_eq!(both[1].sorted(), (20..=400).collect::<Vec<_>>());
}

/// The edges of a graph: from, to, and whether barriers may overtake there.
fn overtaking(job: &StreamEnvironment) -> Result<Vec<(String, String, Overtaking)>> {
    let graph = job.build()?.graph;
    let name = |vertex| graph.vertex(vertex).name.clone();
    Ok(graph.edges.iter().map(|edge| (name(edge.from), name(edge.to), edge.overtaking)).collect())
}

#[test]
fn barriers_may_overtake_unless_an_edge_into_the_task_leads_to_certain_subtasks() -> Result<()> {
    let job = environment(2);
    let numbers = job.from_source("numbers", CollectionSource::new(vec![1]), ascending());
    let shared = numbers.rebalance().map(|number| number).name("shared");
    Gathered::of(&numbers.broadcast().union(&[&shared.rebalance()]), "to all");
    Gathered::of(&shared.partition_custom(|number, subtasks| *number as usize % subtasks), "to one");
    Gathered::of(&shared.rescale(), "to neighbours");
    let edge = |from: &str, to: &str, overtaking| (from.to_owned(), to.to_owned(), overtaking);
    let expected = [
        edge("numbers", "shared", Overtaking::Allowed),
        edge("numbers", "to all", Overtaking::Forbidden),
        edge("shared", "to all", Overtaking::Forbidden),
        edge("shared", "to one", Overtaking::Forbidden),
        edge("shared", "to neighbours", Overtaking::Forbidden),
    ];
    assert_eq!(overtaking(&job)?, expected);
    Ok(())
}

#[cfg(feature = "sim")]
#[test]
fn one_edge_that_cannot_be_overtaken_says_nothing_of_others() -> Result<()> {
    let job = || {
        let job = environment(2);
        let numbers = job.from_source("numbers", CollectionSource::new(vec![1]), ascending());
        let shared = numbers.rebalance().map(|number| number);
        Gathered::of(&shared.broadcast(), "to all");
        overtaking(&job)
    };
    let right = job()?;
    crate::planted::activate(Some("one_forced_edge_aligns_every_edge"));
    let planted = job();
    crate::planted::activate(None);
    assert_ne!(planted?, right);
    Ok(())
}
