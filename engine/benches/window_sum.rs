//! How fast the engine is against a hand-written loop that does the same without fault tolerance.
//!
//! Generated events of 1,000 keys; a sum per key in tumbling windows, and a running count per key. Each is done by a
//! loop over a hash map, by a job of the typed API, and by a pipeline file as `tidegate run` runs it; the jobs once
//! without checkpoints and once with a checkpoint each second to a directory. All variants see the same events and
//! must give the same results before anything is measured. Then they run in turn, round by round; the table shows
//! medians and the ratio to the loop of the same round.
//!
//! ```sh
//! taskset -c 0 cargo bench -p tidegate --bench window_sum -- [--events N] [--rounds N] [--only TEXT] [--json FILE]
//! ```
//!
//! CPU seconds are those of the whole process (Linux only; 0 elsewhere): on a machine that others use as well, they
//! are what to compare.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock of the machine")]

mod side_by_side;

use std::{hint::black_box, path::Path, sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use side_by_side::{Checkpoints, Job, Sample, Table, options, run_job, sample, temporary_directory};
use tidegate::{
    Result, Timestamp,
    api::{StreamEnvironment, TumblingWindows},
    backend::{StateRegistry, ValueState},
    config::JobConfig,
    connector::{CollectSink, Collected, DiscardSink, GeneratorSource},
    operator::{KeyedProcessFunction, ProcessContext},
    pipeline::{self, Pipeline, SourceKind},
    record::StreamRecord,
    state::ValueStateDescriptor,
    time::WatermarkStrategy,
};

/// Events are a millisecond apart, so a window holds a million of them: one second of a stream of a million a second.
const WINDOW: Duration = Duration::from_secs(1000);
const WINDOW_MS: i64 = 1_000_000;
/// What is checked before anything is measured: one full window and a part of one.
const EVENTS_CHECKED: u64 = 1_300_000;

/// What is done with the events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Workload {
    WindowSum,
    RunningCount,
}

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Implementation {
    Loop,
    Typed,
    Declarative,
}

#[derive(Clone, Copy)]
struct Variant {
    name: &'static str,
    workload: Workload,
    implementation: Implementation,
    checkpoints: Checkpoints,
}

const VARIANTS: [Variant; 10] = {
    use {Checkpoints::*, Implementation::*, Workload::*};
    const fn variant(
        name: &'static str,
        workload: Workload,
        implementation: Implementation,
        checkpoints: Checkpoints,
    ) -> Variant {
        Variant { name, workload, implementation, checkpoints }
    }
    [
        variant("window sum, loop", WindowSum, Loop, Off),
        variant("window sum, typed", WindowSum, Typed, Off),
        variant("window sum, typed, checkpoints", WindowSum, Typed, EachSecond),
        variant("window sum, declarative", WindowSum, Declarative, Off),
        variant("window sum, declarative, checkpoints", WindowSum, Declarative, EachSecond),
        variant("running count, loop", RunningCount, Loop, Off),
        variant("running count, typed", RunningCount, Typed, Off),
        variant("running count, typed, checkpoints", RunningCount, Typed, EachSecond),
        variant("running count, declarative", RunningCount, Declarative, Off),
        variant("running count, declarative, checkpoints", RunningCount, Declarative, EachSecond),
    ]
};

/// Key, start of the window (0 where there is none), sum or count.
type Outcome = (i64, i64, i64);

/// The events, as `type = "generator"` makes them.
fn events(count: u64) -> pipeline::GeneratorSource {
    pipeline::GeneratorSource { count: Some(count), keys: 1000, ..pipeline::GeneratorSource::default() }
}

fn window_start(time_ms: i64) -> i64 {
    time_ms - time_ms.rem_euclid(WINDOW_MS)
}

fn loop_window_sum(count: u64, mut emit: impl FnMut(Outcome)) {
    let events = events(count);
    let mut sums: FxHashMap<(i64, i64), i64> = FxHashMap::default();
    let mut open_until = WINDOW_MS;
    for sequence in 0..count {
        let event = events.generated(sequence);
        *sums.entry((event.key, window_start(event.time_ms))).or_default() += event.value;
        let watermark = event.time_ms - 1;
        if watermark >= open_until - 1 {
            sums.retain(|&(key, start), sum| {
                let open = start + WINDOW_MS - 1 > watermark;
                if !open {
                    emit((key, start, *sum));
                }
                open
            });
            open_until += WINDOW_MS;
        }
    }
    sums.into_iter().for_each(|((key, start), sum)| emit((key, start, sum)));
}

fn loop_running_count(count: u64, mut emit: impl FnMut(Outcome)) {
    let events = events(count);
    let mut counts: FxHashMap<i64, i64> = FxHashMap::default();
    for sequence in 0..count {
        let event = events.generated(sequence);
        let count = counts.entry(event.key).or_default();
        *count += 1;
        emit((event.key, 0, *count));
    }
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

/// The typed job; its results go to `collected`, or nowhere.
fn typed(workload: Workload, count: u64, collected: Option<Collected<(i64, i64)>>) -> Result<Job> {
    let job = StreamEnvironment::new(JobConfig::default());
    let events = events(count);
    let source = GeneratorSource::new(count, move |sequence| {
        let event = events.generated(sequence);
        StreamRecord::new((event.key, event.value), Timestamp(event.time_ms))
    });
    let strategy = WatermarkStrategy::for_bounded_out_of_orderness(Duration::ZERO);
    let keyed = job.from_source("events", source, strategy).key_by(|event: &(i64, i64)| event.0);
    let results = match workload {
        Workload::WindowSum => keyed.window(TumblingWindows::of(WINDOW)?).reduce(|sum, event| sum.1 += event.1),
        Workload::RunningCount => keyed.process(Count::default()),
    };
    match collected {
        None => results.sink("out", DiscardSink::default),
        Some(collected) => results.sink("out", move || CollectSink::new(collected.clone())),
    };
    Ok((job.config().clone(), job.build()?))
}

/// The pipeline, with the options of its sink as they stand in the file.
fn declarative(workload: Workload, count: u64, sink: &str) -> Result<Job> {
    let stage = match workload {
        Workload::WindowSum => {
            "op = \"window\"\nkey = [\"key\"]\nassigner = { kind = \"tumbling\", size = \"1000 s\" }\n\
             aggregate = { total = \"sum(value)\" }"
        }
        Workload::RunningCount => {
            "op = \"aggregate\"\nkey = [\"key\"]\nemit = \"updates\"\naggregate = { records = \"count()\" }"
        }
    };
    let text = format!(
        "name = \"events\"\nparallelism = 1\n\
         [[source]]\nname = \"events\"\ntype = \"generator\"\ncount = {count}\nkeys = 1000\nevent_time = \"time_ms\"\n\
         [[stage]]\nname = \"fold\"\n{stage}\n\
         [[sink]]\nname = \"out\"\n{sink}\n"
    );
    let pipeline = Pipeline::from_toml("window_sum.toml", &text)?;
    let SourceKind::Generator(generator) = &pipeline.sources[0].kind else { unreachable!("the source is a generator") };
    assert_eq!(*generator, events(count), "all variants have the same events");
    pipeline.compile()
}

/// What a variant gives, sorted.
fn outcomes(variant: Variant, count: u64, directory: &Path) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    match (variant.implementation, variant.workload) {
        (Implementation::Loop, Workload::WindowSum) => loop_window_sum(count, |outcome| outcomes.push(outcome)),
        (Implementation::Loop, Workload::RunningCount) => loop_running_count(count, |outcome| outcomes.push(outcome)),
        (Implementation::Typed, workload) => {
            let collected = Collected::default();
            let job = typed(workload, count, Some(Arc::clone(&collected)))?;
            run_job(job, variant.checkpoints)?;
            outcomes.extend(collected.lock().expect("the job is over").iter().map(|(_, record)| {
                let start = if workload == Workload::WindowSum { record.timestamp.0 + 1 - WINDOW_MS } else { 0 };
                (record.value.0, start, record.value.1)
            }));
        }
        (Implementation::Declarative, workload) => {
            let out = directory.join("out");
            let sink = format!("type = \"file\"\nformat = \"csv\"\npath = \"{}\"", out.display());
            run_job(declarative(workload, count, &sink)?, variant.checkpoints)?;
            for entry in std::fs::read_dir(out).expect("the sink made its directory").flatten() {
                let lines = std::fs::read_to_string(entry.path()).unwrap_or_default();
                outcomes.extend(lines.lines().map(|line| {
                    let mut numbers = line.split(',').map(|number| number.parse().expect("all columns are integers"));
                    let mut next = || numbers.next().expect("a line has all columns");
                    match workload {
                        Workload::WindowSum => (next(), next(), (next(), next()).1),
                        Workload::RunningCount => (next(), 0, next()),
                    }
                }));
            }
        }
    }
    outcomes.sort_unstable();
    Ok(outcomes)
}

fn measure(variant: Variant, count: u64) -> Result<Sample> {
    let measured = sample(count, || {
        let job = match (variant.implementation, variant.workload) {
            (Implementation::Loop, Workload::WindowSum) => {
                loop_window_sum(count, |outcome| _ = black_box(outcome));
                return Ok(0);
            }
            (Implementation::Loop, Workload::RunningCount) => {
                loop_running_count(count, |outcome| _ = black_box(outcome));
                return Ok(0);
            }
            (Implementation::Typed, workload) => typed(workload, count, None)?,
            (Implementation::Declarative, workload) => declarative(workload, count, "type = \"discard\"")?,
        };
        run_job(job, variant.checkpoints)
    })?;
    if variant.checkpoints == Checkpoints::EachSecond {
        let Sample { checkpoints, seconds, .. } = measured;
        assert!(checkpoints >= seconds as u64, "{}: {checkpoints} checkpoints in {seconds} s", variant.name);
    }
    Ok(measured)
}

fn main() -> Result<()> {
    let options = options(20_000_000, 5);
    let is_wanted =
        |variant: &&Variant| variant.implementation == Implementation::Loop || variant.name.contains(&options.only);
    let wanted: Vec<Variant> = VARIANTS.iter().filter(is_wanted).copied().collect();
    let mut expected = Vec::new();
    for variant in &wanted {
        let found = outcomes(*variant, EVENTS_CHECKED, temporary_directory().path())?;
        match variant.implementation {
            Implementation::Loop => expected = found,
            Implementation::Typed | Implementation::Declarative => {
                assert!(found == expected, "{} gives other results than the loop", variant.name);
            }
        }
    }
    eprintln!("all variants give the same {} results of {EVENTS_CHECKED} events", expected.len());

    let mut samples = vec![Vec::new(); wanted.len()];
    for round in 1..=options.rounds {
        for (variant, samples) in wanted.iter().zip(&mut samples) {
            eprintln!("round {round} of {}: {}", options.rounds, variant.name);
            samples.push(measure(*variant, options.events)?);
        }
    }

    let mut table = Table::default();
    let mut of_loop = 0;
    for (index, variant) in wanted.iter().enumerate() {
        if variant.implementation == Implementation::Loop {
            of_loop = index;
        }
        table.add(&variant.name, options.events, &samples[index], &samples[of_loop]);
    }
    table.show(options.json.as_deref());
    Ok(())
}
