//! Runs a job over given records and gathers what comes out.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tidegate::{
    Result, Timestamp,
    api::{DataStream, StreamEnvironment, WatermarkStrategy},
    codec::Data,
    config::JobConfig,
    connector::{CollectSink, CollectionSource},
    runtime::run_locally,
};

/// A record as Flink's `print()` shows it: the number of the subtask, from 1, and the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    pub subtask: u32,
    pub text: String,
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}> {}", self.subtask, self.text)
    }
}

/// The results of a job over these records, each with the subtask that emitted it, in the order in which they came.
///
/// The source has one subtask and keeps the order, and so has what follows unless the job says otherwise; `time_ms` gives
/// records their event time.
pub fn run<T: Data, U: Data>(
    records: Vec<T>,
    time_ms: fn(&T) -> i64,
    job: impl Fn(DataStream<T>) -> DataStream<U>,
) -> Result<Vec<(u32, U)>> {
    let environment = StreamEnvironment::new(JobConfig::default());
    let strategy = WatermarkStrategy::for_monotonous_timestamps()
        .with_timestamp_assigner(move |record: &T| Timestamp(time_ms(record)));
    let source = environment.from_source("records", CollectionSource::new(records), strategy);
    let collected = Arc::new(Mutex::new(Vec::new()));
    let sink = collected.clone();
    let results = job(source);
    // Each subtask prints its own results.
    let parallelism = results.parallelism();
    results.sink("collect", move || CollectSink::new(sink.clone())).set_parallelism(parallelism);
    run_locally(1, environment.config().clone(), environment.build()?)?;
    let collected = collected.lock().expect("the job is over");
    Ok(collected.iter().map(|(subtask, record)| (*subtask, record.value.clone())).collect())
}

/// No event time: all at the epoch.
pub fn timeless<T>(_record: &T) -> i64 {
    0
}

/// The values alone.
pub fn values<U>(results: Vec<(u32, U)>) -> Vec<U> {
    results.into_iter().map(|(_, value)| value).collect()
}

/// What `print()` shows.
pub fn printed<U>(results: Vec<(u32, U)>, show: impl Fn(&U) -> String) -> Vec<Printed> {
    results.iter().map(|(subtask, value)| Printed { subtask: subtask + 1, text: show(value) }).collect()
}
