//! Graphs that are not a line: side outputs, two inputs. Each runs as a job in this process.

use std::sync::{Arc, Mutex, PoisonError};

use super::*;
use crate::{
    Timestamp,
    codec::Data,
    config::JobConfig,
    connector::{CollectSink, Collected, CollectionSource},
    error::Result,
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
