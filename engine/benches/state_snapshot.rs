//! How long a snapshot holds up records: its synchronous part, for little and for much state.
//!
//! A value state is filled with so many keys, a part of them is written again, as between two checkpoints, and the
//! synchronous part of a snapshot is timed: the first one, after everything was written, and those after it. It must not
//! grow with the state, and neither must the longest write while a snapshot is held, which is the first one to come to a
//! part that it shares. The asynchronous part, which does grow, is timed once for comparison, and so are reads and
//! writes of single values. Timers are measured likewise: as many as there are keys, all at one time or each at its own.
//!
//! ```sh
//! cargo bench -p tidegate --features rocksdb --bench state_snapshot -- [--keys N,N] [--rounds N] [--json FILE]
//! ```
//!
//! The keys that are written between two snapshots are as many for each size, so that the same is flushed.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock of the machine")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tidegate::{
    Result, Timestamp,
    backend::{KeyedStateBackend, StateId, Values as _},
    config::{RocksDbOptions, StateBackend},
    event::{NoObserver, Reporter, Subject},
    id::{Attempt, OperatorUid},
    operator::OperatorContext,
    state::{KeyGroups, StateDescriptor, StateKind},
    time::{TimeDomain, TimerService},
};

type Backend = KeyedStateBackend<u64>;
type Count = StateId<(), u64>;

/// Keys that are written between two snapshots.
const TOUCHED: u64 = 10_000;

#[derive(Serialize)]
struct Row {
    what: &'static str,
    keys: u64,
    first_us: f64,
    synchronous_us_median: f64,
    synchronous_us_max: f64,
    /// The longest single write while a snapshot is held.
    held_write_us_max: f64,
    held_write_ns: f64,
    asynchronous_ms: f64,
    update_ns: f64,
    read_ns: f64,
}

struct Arguments {
    keys: Vec<u64>,
    rounds: usize,
    json: Option<String>,
}

fn arguments() -> Arguments {
    let mut parsed = Arguments { keys: vec![10_000, 10_000_000], rounds: 9, json: None };
    // `cargo bench` adds `--bench`.
    let mut given = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(option) = given.next() {
        let value = given.next().unwrap_or_else(|| panic!("{option} needs a value"));
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text} is no number"));
        match option.as_str() {
            "--keys" => parsed.keys = value.split(',').map(number).collect(),
            "--rounds" => parsed.rounds = number(&value) as usize,
            "--json" => parsed.json = Some(value),
            _ => panic!("unknown option {option}"),
        }
    }
    parsed
}

fn context(state_backend: StateBackend) -> OperatorContext {
    OperatorContext {
        uid: OperatorUid("count".into()),
        subtask_index: 0,
        parallelism: 1,
        max_parallelism: 128,
        state_backend,
        restored_checkpoint_id: None,
        processing_time: Timestamp(0),
        reporter: Reporter::new(Subject::node("bench"), Attempt(0), Arc::new(NoObserver)),
    }
}

fn update(backend: &mut Backend, count: Count, key: u64) -> Result<()> {
    backend.values(count).modify_or_insert_with(&key, &(), || 0, |count| *count += 1)
}

/// Keys all over the state, other ones in each round.
fn touched(keys: u64, round: u64) -> impl Iterator<Item = u64> {
    (0..TOUCHED).map(move |number| (number * 7_919 + round * 104_729) % keys)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The time of each write, with that of the clock in it.
fn each_write(mut write: impl FnMut(u64) -> Result<()>, keys: impl Iterator<Item = u64>) -> Result<Vec<Duration>> {
    keys.map(|key| {
        let started = Instant::now();
        write(key)?;
        Ok(started.elapsed())
    })
    .collect()
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn measure(name: &'static str, state_backend: StateBackend, keys: u64, rounds: usize) -> Result<Row> {
    let mut backend = Backend::open(&context(state_backend), None)?;
    let count: Count = backend.register_values(&StateDescriptor::new("count"), StateKind::Value)?;
    for key in 0..keys {
        backend.values(count).put(&key, &(), key)?;
    }
    let started = Instant::now();
    let snapshot = backend.snapshot()?;
    let first = started.elapsed();
    let held = each_write(|key| update(&mut backend, count, key), touched(keys, 1_000))?;
    drop(snapshot);
    let (mut synchronous, mut updates, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds as u64 {
        let started = Instant::now();
        touched(keys, round).try_for_each(|key| update(&mut backend, count, key))?;
        updates.push(started.elapsed());
        let started = Instant::now();
        for key in touched(keys, round + 1) {
            assert!(backend.values(count).get(&key, &())?.is_some());
        }
        reads.push(started.elapsed());
        let started = Instant::now();
        let snapshot = backend.snapshot()?;
        synchronous.push(started.elapsed());
        drop(snapshot);
    }
    let snapshot = backend.snapshot()?;
    let started = Instant::now();
    let kept = snapshot()?;
    let asynchronous = started.elapsed();
    assert_eq!(kept["count"].groups.values().map(Vec::len).sum::<usize>() as u64, keys);
    let each_ns = |mut times: Vec<Duration>| median(&mut times).as_nanos() as f64 / TOUCHED as f64;
    let (update_ns, read_ns) = (each_ns(updates), each_ns(reads));
    Ok(Row { update_ns, read_ns, ..snapshots(name, keys, first, synchronous, held, asynchronous) })
}

/// What snapshots took, without the times of single accesses.
fn snapshots(
    what: &'static str,
    keys: u64,
    first: Duration,
    mut synchronous: Vec<Duration>,
    mut held: Vec<Duration>,
    asynchronous: Duration,
) -> Row {
    Row {
        what,
        keys,
        first_us: micros(first),
        synchronous_us_median: micros(median(&mut synchronous)),
        synchronous_us_max: micros(synchronous[synchronous.len() - 1]),
        held_write_ns: micros(median(&mut held)) * 1e3,
        held_write_us_max: micros(held[held.len() - 1]),
        asynchronous_ms: asynchronous.as_secs_f64() * 1e3,
        update_ns: 0.0,
        read_ns: 0.0,
    }
}

/// When timers are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Timers {
    AtOneTime,
    EachAtItsOwn,
}

/// A write is a timer that is deleted and one that is registered a little later: what a session does.
fn measure_timers(name: &'static str, when: Timers, keys: u64, rounds: usize) -> Row {
    let key_groups = KeyGroups::new(128).expect("it is in range");
    let mut timers: TimerService<u64, ()> = TimerService::new(key_groups);
    let at = |key: u64, round: u64| match when {
        Timers::AtOneTime => Timestamp(1_000_000_000),
        Timers::EachAtItsOwn => Timestamp((key * 100 + round).cast_signed()),
    };
    for key in 0..keys {
        timers.register(TimeDomain::EventTime, at(key, 0), &key, &());
    }
    let write = |timers: &mut TimerService<u64, ()>, key: u64, round: u64| {
        timers.delete(TimeDomain::EventTime, at(key, 0), &key, &());
        timers.register(TimeDomain::EventTime, at(key, round), &key, &());
    };
    let started = Instant::now();
    let snapshot = timers.snapshot();
    let first = started.elapsed();
    let held = each_write(
        |key| {
            write(&mut timers, key, 1);
            Ok(())
        },
        touched(keys, 1_000),
    );
    let held = held.expect("no write of a timer fails");
    drop(snapshot);
    let (mut synchronous, mut updates) = (Vec::new(), Vec::new());
    for round in 0..rounds as u64 {
        let started = Instant::now();
        touched(keys, round).for_each(|key| write(&mut timers, key, round % 90 + 2));
        updates.push(started.elapsed());
        let started = Instant::now();
        let snapshot = timers.snapshot();
        synchronous.push(started.elapsed());
        drop(snapshot);
    }
    let snapshot = timers.snapshot();
    let started = Instant::now();
    let mut kept = Default::default();
    snapshot.encode_into(&mut kept);
    let asynchronous = started.elapsed();
    let update_ns = median(&mut updates).as_nanos() as f64 / TOUCHED as f64;
    Row { update_ns, ..snapshots(name, keys, first, synchronous, held, asynchronous) }
}

fn print(row: &Row) {
    println!(
        "{:18} {:>10} {:>10.1} {:>10.1} {:>10.1} {:>12.1} {:>12.0} {:>10.0} {:>10.0} {:>10.0}",
        row.what,
        row.keys,
        row.first_us,
        row.synchronous_us_median,
        row.synchronous_us_max,
        row.held_write_us_max,
        row.held_write_ns,
        row.asynchronous_ms,
        row.update_ns,
        row.read_ns
    );
}

fn main() -> Result<()> {
    let arguments = arguments();
    let mut backends = vec![("hashmap", StateBackend::HashMap)];
    if cfg!(feature = "rocksdb") {
        backends.push(("rocksdb", StateBackend::RocksDb(RocksDbOptions::default())));
    }
    let mut rows = Vec::new();
    println!(
        "{:18} {:>10} {:>10} {:>10} {:>10} {:>12} {:>12} {:>10} {:>10} {:>10}",
        "", "keys", "first µs", "sync µs", "worst µs", "held max µs", "held ns", "async ms", "update ns", "read ns"
    );
    for (name, backend) in backends {
        for &keys in &arguments.keys {
            rows.push(measure(name, backend.clone(), keys, arguments.rounds)?);
            print(&rows[rows.len() - 1]);
        }
    }
    for (name, when) in [("timers, one time", Timers::AtOneTime), ("timers, own times", Timers::EachAtItsOwn)] {
        for &keys in &arguments.keys {
            rows.push(measure_timers(name, when, keys, arguments.rounds));
            print(&rows[rows.len() - 1]);
        }
    }
    if let Some(path) = arguments.json {
        let text = serde_json::to_string_pretty(&rows).expect("rows are plain values");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {path}: {error}"));
    }
    Ok(())
}
