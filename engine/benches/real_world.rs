//! How fast keyed state and windows are, on the heap and in RocksDB, for few keys and for a million.
//!
//! Generated events are folded in four ways: a count per key in `ValueState` that is emitted with each event; a sum per
//! key in tumbling windows, in sliding windows of four slides, and in sessions. Each is done by a hand-written loop over
//! a hash map, which is the measure, and by a job of the typed API: with state on the heap and (feature `rocksdb`) in
//! RocksDB, without checkpoints and with one each second to a directory. All must give the loop's results before
//! anything is measured. Then they run in turn, round by round; the table shows medians.
//!
//! ```sh
//! taskset -c 0 cargo bench -p tidegate --features rocksdb --bench real_world -- \
//!     [--events N] [--rounds N] [--only TEXT] [--json FILE]
//! ```
//!
//! CPU seconds are those of the whole process, system time included (Linux only; 0 elsewhere).
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock of the machine")]

mod side_by_side;

use std::{fmt, hint::black_box, sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use side_by_side::{Checkpoints, Job, Sample, Table, options, run_job, sample};
use tidegate::{
    Result, Timestamp,
    api::{SessionWindows, SlidingWindows, StreamEnvironment, TumblingWindows},
    backend::{StateRegistry, ValueState},
    config::{JobConfig, RocksDbOptions, StateBackend},
    connector::{CollectSink, Collected, DiscardSink, GeneratorSource},
    operator::{KeyedProcessFunction, ProcessContext},
    pipeline,
    record::StreamRecord,
    state::ValueStateDescriptor,
    time::WatermarkStrategy,
    window::WindowPeriod,
};

/// Events are a millisecond apart, so a window holds a million of them: one second of a stream of a million a second.
const WINDOW: Duration = Duration::from_secs(1000);
const WINDOW_MS: i64 = 1_000_000;
const SLIDE_MS: i64 = WINDOW_MS / 4;
/// A session ends after three times the mean distance of a key's events: one event in twenty opens one.
const GAP_EVENTS_PER_KEY: u64 = 3;

/// What is done with the events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Workload {
    Count,
    Tumbling,
    Sliding,
    Session,
}

/// Who does it, and where the state is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Loop,
    Heap,
    RocksDb,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Variant {
    workload: Workload,
    keys: u64,
    place: Place,
    checkpoints: Checkpoints,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workload = match self.workload {
            Workload::Count => "count",
            Workload::Tumbling => "tumbling",
            Workload::Sliding => "sliding",
            Workload::Session => "session",
        };
        let place = match self.place {
            Place::Loop => "loop",
            Place::Heap => "heap",
            Place::RocksDb => "rocksdb",
        };
        let checkpoints = if self.checkpoints == Checkpoints::Off { "" } else { ", checkpoints" };
        write!(f, "{workload}, {} keys, {place}{checkpoints}", self.keys)
    }
}

impl Variant {
    /// The loop that does the same.
    fn of_loop(self) -> Self {
        Self { place: Place::Loop, checkpoints: Checkpoints::Off, ..self }
    }

    /// Slower variants get fewer events, so that each runs for about as long.
    fn events(self, events: u64) -> u64 {
        match (self.place, self.keys) {
            (Place::RocksDb, _) => events / 10,
            (_, 1_000) => events,
            _ => events / 2,
        }
    }

    /// How many events are folded to compare the results: more than a window's where that is quick.
    fn events_checked(self) -> u64 {
        if self.place == Place::RocksDb { 100_000 } else { 1_300_000 }
    }
}

fn variants() -> Vec<Variant> {
    let mut variants = Vec::new();
    let rocksdb = if cfg!(feature = "rocksdb") { Some(Place::RocksDb) } else { None };
    for workload in [Workload::Count, Workload::Tumbling, Workload::Sliding, Workload::Session] {
        for keys in [1_000, 1_000_000] {
            variants.push(Variant { workload, keys, place: Place::Loop, checkpoints: Checkpoints::Off });
            for place in [Some(Place::Heap), rocksdb].into_iter().flatten() {
                for checkpoints in [Checkpoints::Off, Checkpoints::EachSecond] {
                    variants.push(Variant { workload, keys, place, checkpoints });
                }
            }
        }
    }
    variants
}

/// Key, timestamp of the result (0 where there is none), sum or count.
type Outcome = (i64, i64, i64);

fn events(keys: u64, count: u64) -> pipeline::GeneratorSource {
    pipeline::GeneratorSource { count: Some(count), keys, ..pipeline::GeneratorSource::default() }
}

fn gap_ms(keys: u64) -> i64 {
    (keys * GAP_EVENTS_PER_KEY).cast_signed()
}

fn run_loop(workload: Workload, keys: u64, count: u64, emit: impl FnMut(Outcome)) {
    match workload {
        Workload::Count => loop_count(keys, count, emit),
        Workload::Tumbling => loop_windows(keys, count, WINDOW_MS, emit),
        Workload::Sliding => loop_windows(keys, count, SLIDE_MS, emit),
        Workload::Session => loop_sessions(keys, count, emit),
    }
}

fn loop_count(keys: u64, count: u64, mut emit: impl FnMut(Outcome)) {
    let events = events(keys, count);
    let mut counts: FxHashMap<i64, i64> = FxHashMap::default();
    for sequence in 0..count {
        let event = events.generated(sequence);
        let count = counts.entry(event.key).or_default();
        *count += 1;
        emit((event.key, 0, *count));
    }
}

fn loop_windows(keys: u64, count: u64, slide_ms: i64, mut emit: impl FnMut(Outcome)) {
    let events = events(keys, count);
    let mut sums: FxHashMap<(i64, i64), i64> = FxHashMap::default();
    let mut next_end = slide_ms;
    for sequence in 0..count {
        let event = events.generated(sequence);
        let mut start = event.time_ms - event.time_ms.rem_euclid(slide_ms);
        while start > event.time_ms - WINDOW_MS {
            *sums.entry((event.key, start)).or_default() += event.value;
            start -= slide_ms;
        }
        let watermark = event.time_ms - 1;
        if watermark >= next_end - 1 {
            sums.retain(|&(key, start), sum| {
                let last = start + WINDOW_MS - 1;
                if last <= watermark {
                    emit((key, last, *sum));
                }
                last > watermark
            });
            next_end += slide_ms;
        }
    }
    sums.into_iter().for_each(|((key, start), sum)| emit((key, start + WINDOW_MS - 1, sum)));
}

/// Events come in order, so a session is over when the next event of its key comes too late for it.
fn loop_sessions(keys: u64, count: u64, mut emit: impl FnMut(Outcome)) {
    let (events, gap_ms) = (events(keys, count), gap_ms(keys));
    let mut sessions: FxHashMap<i64, (i64, i64)> = FxHashMap::default();
    for sequence in 0..count {
        let event = events.generated(sequence);
        let (end, sum) = sessions.entry(event.key).or_insert((event.time_ms, 0));
        if event.time_ms > *end {
            emit((event.key, *end - 1, *sum));
            *sum = 0;
        }
        *end = event.time_ms + gap_ms;
        *sum += event.value;
    }
    sessions.into_iter().for_each(|(key, (end, sum))| emit((key, end - 1, sum)));
}

/// Counts the records of a key and emits each count.
#[derive(Clone, Default)]
struct Count(Option<ValueState<i64>>);

impl KeyedProcessFunction for Count {
    type Key = i64;
    type In = (i64, i64);
    type Out = (i64, i64);

    fn open(&mut self, states: &mut StateRegistry<'_, i64>) -> Result<()> {
        self.0 = Some(states.value(&ValueStateDescriptor::new("count"))?);
        Ok(())
    }

    fn process_element(
        &mut self,
        (key, _): (i64, i64),
        context: &mut ProcessContext<'_, i64, (i64, i64)>,
    ) -> Result<()> {
        let state = self.0.as_ref().expect("a function is opened before anything else");
        let add = |count: &mut i64| {
            *count += 1;
            *count
        };
        let count = state.modify_or_insert_with(context, || 0, add)?;
        context.collect((key, count));
        Ok(())
    }
}

/// The job; its results go to `collected`, or nowhere.
fn job(variant: Variant, count: u64, collected: Option<Collected<(i64, i64)>>) -> Result<Job> {
    let job = StreamEnvironment::new(JobConfig::default());
    let events = events(variant.keys, count);
    let source = GeneratorSource::new(count, move |sequence| {
        let event = events.generated(sequence);
        StreamRecord::new((event.key, event.value), Timestamp(event.time_ms))
    });
    let strategy = WatermarkStrategy::for_bounded_out_of_orderness(Duration::ZERO);
    let keyed = job.from_source("events", source, strategy).key_by(|event: &(i64, i64)| event.0);
    let add = |sum: &mut (i64, i64), event: (i64, i64)| sum.1 += event.1;
    let results = match variant.workload {
        Workload::Count => keyed.process(Count::default()),
        Workload::Tumbling => keyed.window(TumblingWindows::of(WINDOW)?).reduce(add),
        Workload::Sliding => {
            let slides = WindowPeriod { size_ms: SLIDE_MS, offset_ms: 0 };
            keyed.window(SlidingWindows::of(WINDOW, slides)?).reduce(add)
        }
        Workload::Session => {
            let gap = Duration::from_millis(gap_ms(variant.keys).cast_unsigned());
            keyed.window(SessionWindows::with_gap(gap)?).reduce(add)
        }
    };
    match collected {
        None => results.sink("out", DiscardSink::default),
        Some(collected) => results.sink("out", move || CollectSink::new(collected.clone())),
    };
    Ok((job.config().clone(), job.build()?))
}

/// Runs a job where the variant keeps its state.
fn run(variant: Variant, (mut config, program): Job) -> Result<u64> {
    if variant.place == Place::RocksDb {
        config.state_backend = StateBackend::RocksDb(RocksDbOptions::default());
    }
    run_job((config, program), variant.checkpoints)
}

/// What a variant gives, sorted.
fn outcomes(variant: Variant, count: u64) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    if variant.place == Place::Loop {
        run_loop(variant.workload, variant.keys, count, |outcome| outcomes.push(outcome));
    } else {
        let collected = Collected::default();
        run(variant, job(variant, count, Some(Arc::clone(&collected)))?)?;
        let is_window = variant.workload != Workload::Count;
        outcomes.extend(
            collected
                .lock()
                .expect("the job is over")
                .iter()
                .map(|(_, record)| (record.value.0, if is_window { record.timestamp.0 } else { 0 }, record.value.1)),
        );
    }
    outcomes.sort_unstable();
    Ok(outcomes)
}

fn measure(variant: Variant, count: u64) -> Result<Sample> {
    sample(count, || {
        if variant.place == Place::Loop {
            run_loop(variant.workload, variant.keys, count, |outcome| _ = black_box(outcome));
            return Ok(0);
        }
        run(variant, job(variant, count, None)?)
    })
}

fn main() -> Result<()> {
    let options = options(10_000_000, 3);
    let all = variants();
    let chosen = |variant: &Variant| variant.to_string().contains(&options.only);
    let is_measure = |variant: &Variant| all.iter().any(|other| chosen(other) && other.of_loop() == *variant);
    let wanted: Vec<Variant> = all.iter().copied().filter(|variant| chosen(variant) || is_measure(variant)).collect();
    for variant in wanted.iter().filter(|variant| variant.place != Place::Loop) {
        let count = variant.events_checked().min(options.events);
        assert!(outcomes(*variant, count)? == outcomes(variant.of_loop(), count)?, "{variant}: not the loop's results");
    }
    eprintln!("all variants give the results of their loop");

    let mut samples = vec![Vec::new(); wanted.len()];
    for round in 1..=options.rounds {
        for (variant, samples) in wanted.iter().zip(&mut samples) {
            eprintln!("round {round} of {}: {variant}", options.rounds);
            samples.push(measure(*variant, variant.events(options.events))?);
        }
    }

    let mut table = Table::default();
    for (variant, of_variant) in wanted.iter().zip(&samples) {
        let of_loop = wanted.iter().position(|other| *other == variant.of_loop()).expect("its loop was measured");
        table.add(variant, variant.events(options.events), of_variant, &samples[of_loop]);
    }
    table.show(options.json.as_deref());
    Ok(())
}
