//! What authors can say about windows, run as jobs.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    api::{DataStream, StreamEnvironment, WatermarkStrategy},
    backend::{StateRegistry, ValueState},
    codec::Data,
    config::JobConfig,
    connector::{CollectSink, CollectionSource},
    error::Result,
    operator::{ProcessWindowFunction, TimestampedCollector, WindowContext},
    runtime::run_locally,
    state::ValueStateDescriptor,
    time::Timestamp,
    window::{CountEvictor, CountTrigger, DeltaTrigger, Phase, SessionWindows, TimeWindow, TumblingWindows},
};

type Event = (i64, i64);

/// Runs a job on numbers with their times and collects one of its streams.
fn run<T: Data>(events: &[Event], make: impl FnOnce(DataStream<Event>) -> DataStream<T>) -> Vec<T> {
    let collected = Arc::new(Mutex::new(Vec::new()));
    let sink = collected.clone();
    let job = StreamEnvironment::new(JobConfig::default());
    let strategy =
        WatermarkStrategy::for_monotonous_timestamps().with_timestamp_assigner(|(at, _): &Event| Timestamp(*at));
    let source = job.from_source("numbers", CollectionSource::new(events.to_vec()), strategy);
    make(source.set_parallelism(1)).sink("collect", move || CollectSink::new(sink.clone())).set_parallelism(1);
    run_locally(1, job.config().clone(), job.build().unwrap()).unwrap();
    let collected = collected.lock().unwrap();
    collected.iter().map(|(_, record)| record.value.clone()).collect()
}

fn values(events: Vec<Event>) -> Vec<i64> {
    events.into_iter().map(|event| event.1).collect()
}

#[test]
fn a_trigger_that_cannot_merge_is_refused_when_the_job_is_built() {
    let job = StreamEnvironment::new(JobConfig::default());
    let delta = |one: &Event, other: &Event| (one.1 - other.1) as f64;
    job.from_source("numbers", CollectionSource::new(Vec::<Event>::new()), WatermarkStrategy::no_watermarks())
        .key_by(|_| 0_u8)
        .window(SessionWindows::with_gap(Duration::from_secs(1)).unwrap())
        .trigger(DeltaTrigger::of(1.0, delta))
        .reduce(|sum, next| sum.1 += next.1)
        .sink("collect", || CollectSink::new(Arc::new(Mutex::new(Vec::new()))));
    let error = job.build().err().expect("a delta is not to be merged");
    assert!(error.hint().unwrap().contains("can merge"), "{error}");
}

#[test]
fn sliding_count_windows_hold_the_last_elements() {
    let events: Vec<Event> = (1..=7).map(|n| (n, n)).collect();
    let results = run(&events, |stream| {
        stream.key_by(|_| 0_u8).count_window_sliding(3, 2).apply(|_key, _window, events, out| {
            out.collect(values(events));
            Ok(())
        })
    });
    assert_eq!(results, [vec![1, 2], vec![2, 3, 4], vec![4, 5, 6]]);
}

#[test]
fn windows_over_all_records_see_those_of_every_key() {
    let events: Vec<Event> = (0..10).map(|n| (n, n)).collect();
    let sums = run(&events, |stream| {
        stream.time_window_all(Duration::from_millis(5)).unwrap().reduce(|sum, next| sum.1 += next.1)
    });
    assert_eq!(values(sums), [10, 35]);
    let sums = run(&events, |stream| stream.count_window_all(4).reduce(|sum, next| sum.1 += next.1));
    assert_eq!(values(sums), [6, 22], "the last two are no window");
}

/// Counts the firings of a window and those of its key.
#[derive(Clone, Default)]
struct Firings {
    of_window: Option<ValueState<u64, TimeWindow>>,
    of_key: Option<ValueState<u64>>,
}

impl ProcessWindowFunction<Event, (i64, u64, u64), u8, TimeWindow> for Firings {
    fn open(&mut self, states: &mut StateRegistry<'_, u8>) -> Result<()> {
        self.of_window = Some(states.value(&ValueStateDescriptor::new("of-window").with_default(0))?);
        self.of_key = Some(states.value(&ValueStateDescriptor::new("of-key").with_default(0))?);
        Ok(())
    }

    fn process(
        &mut self,
        _key: &u8,
        context: &mut WindowContext<'_, u8, TimeWindow>,
        _elements: Vec<Event>,
        out: &mut TimestampedCollector<'_, (i64, u64, u64)>,
    ) -> Result<()> {
        let (of_window, of_key) = (self.of_window.as_ref().unwrap(), self.of_key.as_ref().unwrap());
        let in_window = of_window.value(&mut context.window_state()?)?.unwrap() + 1;
        of_window.update(&mut context.window_state()?, in_window)?;
        let in_key = of_key.value(&mut context.global_state())?.unwrap() + 1;
        of_key.update(&mut context.global_state(), in_key)?;
        out.collect((context.window.start.0, in_window, in_key));
        Ok(())
    }

    fn clear(&mut self, context: &mut WindowContext<'_, u8, TimeWindow>) -> Result<()> {
        self.of_window.as_ref().unwrap().clear(&mut context.window_state()?)
    }
}

#[test]
fn functions_have_state_of_their_window_and_of_their_key() {
    let events = [(1, 0), (2, 0), (3, 0), (4, 0), (11, 0), (12, 0), (13, 0)];
    let firings = run(&events, |stream| {
        stream
            .key_by(|_| 0_u8)
            .window(TumblingWindows::of(Duration::from_millis(10)).unwrap())
            .trigger(CountTrigger::of(2))
            .evictor(CountEvictor::of(1, Phase::After))
            .process(Firings::default())
    });
    assert_eq!(firings, [(0, 1, 1), (0, 2, 2), (10, 1, 3)]);
}
