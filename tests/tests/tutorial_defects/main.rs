//! Programs of a well-known tutorial that are wrong, what the laboratory says about them, and the right one beside each.
//!
//! | program | what is wrong | what shows it |
//! |---|---|---|
//! | [`counter`] | the count of an average is a field of the function | a crash: averages that no run without one has |
//! | [`sink_list`] | what waits for its partner is kept in a field | a crash: lost records, other pairs |
//! | [`socket`] | the source cannot be read again | a crash: lost records |
//! | [`folds`] | the maximum starts at 0; the average divides integers | an assertion: a crash changes nothing |
//!
//! The numbers are those of the conformance vectors of the tutorial's examples.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fmt::Display,
    sync::{Arc, Mutex},
};

use tidegate::{
    Timestamp,
    api::{DataStream, KeyedProcessFunction, StreamEnvironment, WatermarkStrategy},
    codec::Data,
    config::JobConfig,
    connector::{CollectSink, CollectionSource, FileSink, GeneratorSource},
    record::StreamRecord,
    runtime::run_locally,
};
use tidegate_sim::testing::{Breach, Failure, Options, Simulation, Violated, search};

mod counter;
mod folds;
mod sink_list;
mod socket;

use counter::{CountInField, CountInState, Pair};
use folds::{Maximum, MaximumFromZero, average, average_of_integers};
use sink_list::{Entry, PairsInField, PairsInState};
use socket::Socket;

/// The input of the tutorial's averages.
const PAIRS: [Pair; 6] = [(1, 3.0), (1, 5.0), (1, 7.0), (2, 4.0), (2, 2.0), (2, 6.0)];

/// One record in half a second, so that checkpoints come in between.
fn slowly<T: Data + Clone + Sync>(records: Vec<T>) -> GeneratorSource<T> {
    let count = records.len() as u64;
    GeneratorSource::new(count, move |number| StreamRecord::new(records[number as usize].clone(), Timestamp::MIN))
        .with_rate(2.0)
}

fn one_subtask(sim: &Simulation) -> StreamEnvironment {
    let mut config = sim.config();
    config.parallelism = 1;
    StreamEnvironment::new(config)
}

/// Runs the job into a file, and shows its lines.
fn show<T: Data + Display>(sim: &mut Simulation, job: StreamEnvironment, results: &DataStream<T>) {
    results.sink_exactly_once("file", || {
        FileSink::new("/out/results", |result: &T, line: &mut Vec<u8>| line.extend(format!("{result}\n").bytes()))
    });
    let finished = sim.run(job);
    sim.observe("results", finished.lines("/out/results"));
}

/// What a job gives on this machine, without any fault.
fn locally<T: Data>(build: impl FnOnce(&StreamEnvironment) -> DataStream<T>) -> Vec<T> {
    let collected = Arc::new(Mutex::new(Vec::new()));
    let (job, sink) = (StreamEnvironment::new(JobConfig::default()), collected.clone());
    build(&job).sink("collect", move || CollectSink::new(sink.clone()));
    run_locally(1, job.config().clone(), job.build().unwrap()).unwrap();
    let collected = collected.lock().unwrap();
    collected.iter().map(|(_, record)| record.value.clone()).collect()
}

/// Searches for a seed at which the wrong program is wrong, and shows that the right one holds over the same seeds.
#[track_caller]
fn violation_of(program: &str, wrong: impl Fn(&mut Simulation), right: impl Fn(&mut Simulation)) -> Violated {
    let options = Options::new(env!("CARGO_PKG_NAME"), program).with_seeds(300).with_faults(2);
    let Err(Failure::Violated(violated)) = search(&options, wrong) else { panic!("the laboratory does not find it") };
    println!("{violated}");
    search(&options.with_seeds(violated.derived.seed as u32 + 20), right).unwrap();
    *violated
}

fn has(violated: &Violated, breach: Breach) -> bool {
    violated.findings.iter().any(|finding| finding.breach == breach)
}

fn averages<F>(function: F) -> impl Fn(&mut Simulation)
where
    F: KeyedProcessFunction<Key = i64, In = Pair, Out = Pair> + Clone + Sync,
{
    move |sim| {
        let job = one_subtask(sim);
        let averages = job
            .from_source("pairs", slowly(PAIRS.to_vec()), WatermarkStrategy::no_watermarks())
            .key_by(|(key, _)| *key)
            .process(function.clone())
            .map(|(key, average)| format!("({key},{average:.1})"));
        show(sim, job, &averages);
    }
}

#[test]
fn a_counter_that_is_not_state_counts_the_values_of_other_keys() {
    let averages = |function: CountInField| {
        locally(move |job| {
            let pairs = CollectionSource::new(PAIRS.to_vec());
            job.from_source("pairs", pairs, WatermarkStrategy::no_watermarks())
                .key_by(|(key, _)| *key)
                .process(function.clone())
        })
    };
    assert_eq!(averages(CountInField::new()), [(1, 3.0), (1, 4.0), (1, 5.0), (2, 1.0), (2, 1.2), (2, 2.0)]);
}

#[test]
fn a_counter_that_is_not_state_starts_anew_after_a_crash() {
    let name = "a_counter_that_is_not_state_starts_anew_after_a_crash";
    let violated = violation_of(name, averages(CountInField::new()), averages(CountInState::new()));
    assert!(has(&violated, Breach::Unexpected), "{violated}");
}

#[test]
fn averages_with_their_count_in_state_are_right_in_every_subtask() {
    let averages = locally(|job| {
        job.from_source("pairs", CollectionSource::new(PAIRS.to_vec()), WatermarkStrategy::no_watermarks())
            .key_by(|(key, _)| *key)
            .process(CountInState::new())
    });
    assert_eq!(averages, [(1, 3.0), (1, 4.0), (1, 5.0), (2, 4.0), (2, 3.0), (2, 4.0)]);
}

fn pairs<F>(function: F) -> impl Fn(&mut Simulation)
where
    F: KeyedProcessFunction<Key = u8, In = Entry, Out = String> + Clone + Sync,
{
    move |sim| {
        let entries = [("spark", 3), ("hadoop", 5), ("hive", 7), ("flume", 9)];
        let entries = entries.map(|(word, number)| (word.to_owned(), number)).to_vec();
        let job = one_subtask(sim);
        let lists = job
            .from_source("entries", slowly(entries), WatermarkStrategy::no_watermarks())
            .key_by(|_| 0_u8)
            .process(function.clone());
        lists.sink_exactly_once("file", || {
            FileSink::new("/out/lists", |list: &String, line: &mut Vec<u8>| line.extend(format!("{list}\n").bytes()))
        });
        let lines = sim.run(job).lines("/out/lists");
        sim.observe("lists", lines);
    }
}

#[test]
fn a_list_that_is_not_checkpointed_loses_what_waits() {
    let name = "a_list_that_is_not_checkpointed_loses_what_waits";
    let violated = violation_of(name, pairs(PairsInField::default()), pairs(PairsInState::new()));
    assert!(has(&violated, Breach::Lost), "{violated}");
}

#[test]
fn lines_of_a_socket_are_lost_with_the_process_that_read_them() {
    let from_socket = |sim: &mut Simulation| {
        let job = one_subtask(sim);
        let lines = job.from_source("socket", Socket::new(0..20, 300), WatermarkStrategy::no_watermarks());
        show(sim, job, &lines);
    };
    let from_log = |sim: &mut Simulation| {
        let job = one_subtask(sim);
        let lines = job.from_source("log", slowly((0..20_u64).collect()), WatermarkStrategy::no_watermarks());
        show(sim, job, &lines);
    };
    let violated = violation_of("lines_of_a_socket_are_lost_with_the_process_that_read_them", from_socket, from_log);
    assert!(has(&violated, Breach::Lost), "{violated}");
}

#[test]
fn a_maximum_that_starts_at_zero_is_none_of_the_negative_numbers() {
    let numbers = || CollectionSource::new(vec![-5_i64, -3, -9, -1, -7]);
    let strategy = WatermarkStrategy::no_watermarks;
    let wrong = locally(|job| {
        let numbers = job.from_source("numbers", numbers(), strategy());
        numbers.key_by(|_| 'x' as u32).count_window(5).aggregate(MaximumFromZero)
    });
    let right = locally(|job| {
        let numbers = job.from_source("numbers", numbers(), strategy());
        numbers.key_by(|_| 'x' as u32).count_window(5).aggregate(Maximum)
    });
    assert_eq!((wrong, right), (vec![0], vec![-1]));
}

#[test]
fn an_average_by_integer_division_is_cut_off() {
    let averages = |numbers: [i64; 3], average: fn(&[i64]) -> f64| {
        locally(move |job| {
            job.from_source("numbers", CollectionSource::new(numbers.to_vec()), WatermarkStrategy::no_watermarks())
                .key_by(|_| 1_u8)
                .count_window(3)
                .apply(move |_key, _window, numbers: Vec<i64>, out| {
                    out.collect(average(&numbers));
                    Ok(())
                })
        })
    };
    assert_eq!(averages([1, 2, 2], average_of_integers), [1.0]);
    assert_eq!(averages([1, 2, 2], average), [5.0 / 3.0]);
    assert_eq!(averages([-1, -2, -2], average_of_integers), [-1.0]);
    assert_eq!(averages([-1, -2, -2], average), [-5.0 / 3.0]);
    assert_eq!(averages([4, 5, 6], average_of_integers), [5.0], "the tutorial's own numbers come out even");
}
