//! A window operator of sums that is driven step by step: what the vectors of window operators share.
//!
//! In the mode [`Mode::RestoreStorm`] the operator is thrown away and restored from its snapshot between any two steps,
//! and told the old watermark again: whoever looks at the results must not be able to tell.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate::{
    config::StateBackend,
    error::Result,
    event::{Directive, Fact, Observer, Reporter, Subject},
    id::{Attempt, CheckpointId, OperatorUid},
    operator::{
        Aggregate, AggregateFunction, AtFire, Collector, EvictingWindow, FullWindow, Operator, OperatorContext,
        OperatorSnapshot, OutputTag, Reduce, Then, TimestampedCollector, WindowContext, WindowFunction, WindowOperator,
    },
    record::StreamRecord,
    time::Timestamp,
    window::{
        AssignerContext, GlobalWindows, MergedWindow, SessionWindows, SlidingWindows, TimeWindow, TumblingWindows,
        Window, WindowAssigner, WindowPeriod,
    },
};

use super::{
    vectors::{expect, known, list, number, text},
    window_words::{bounds, evictor, trigger},
};

/// Key and value.
pub type Event = (String, i64);

/// A result: what all functions of the vectors say, each in its own words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Outcome {
    key: String,
    sum: i64,
    window: Option<[i64; 2]>,
}

/// How contents are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// As one reduced element.
    Reduced,
    /// As an accumulator.
    Aggregated,
    /// As a list.
    Full,
}

/// Whether the operator is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Calm,
    /// It is restored between any two steps.
    RestoreStorm,
}

type AnyOperator = Box<dyn Operator<In = Event, Out = Outcome>>;

#[derive(Clone)]
struct Sum;

impl AggregateFunction<Event> for Sum {
    type Accumulator = (String, i64);
    type Out = (String, i64);
    fn create_accumulator(&self) -> (String, i64) {
        (String::new(), 0)
    }
    fn add(&self, sum: &mut (String, i64), (key, value): Event) {
        sum.0 = key;
        sum.1 += value;
    }
    fn get_result(&self, sum: &(String, i64)) -> (String, i64) {
        sum.clone()
    }
    fn merge(&self, one: (String, i64), other: (String, i64)) -> (String, i64) {
        (if one.0.is_empty() { other.0 } else { one.0 }, one.1 + other.1)
    }
}

/// Says the sum of the elements of a window.
#[expect(clippy::ptr_arg, reason = "a window function gets the key as its type")]
fn say<W: Window>(
    key: &String,
    context: &mut WindowContext<'_, String, W>,
    elements: Vec<Event>,
    out: &mut TimestampedCollector<'_, Outcome>,
) -> Result<()> {
    let sum = elements.iter().map(|(_, value)| value).sum();
    out.collect(Outcome { key: key.clone(), sum, window: bounds(context.window) });
    Ok(())
}

fn reduce(sum: &mut Event, next: Event) {
    sum.1 += next.1;
}

/// Sessions in which the value 33 is a point of time.
#[derive(Clone)]
struct PointSessions(SessionWindows);

impl WindowAssigner<Event> for PointSessions {
    type Window = TimeWindow;
    type Windows = std::iter::Once<TimeWindow>;

    fn assign(&mut self, element: &Event, context: AssignerContext) -> Self::Windows {
        match element.1 {
            33 => std::iter::once(TimeWindow::new(context.timestamp, context.timestamp)),
            _ => self.0.assign(element, context),
        }
    }
    fn is_merging(&self) -> bool {
        true
    }
    fn merge_windows(&mut self, windows: &[TimeWindow]) -> Vec<MergedWindow<TimeWindow>> {
        TimeWindow::merge(windows)
    }
}

fn operator(config: &Value, kept: Kept) -> AnyOperator {
    let fields = [
        "assigner",
        "size",
        "slide",
        "offset",
        "gap",
        "gap_rule",
        "trigger",
        "evictor",
        "function",
        "allowed_lateness",
        "late_side_output",
    ];
    known(config, &fields).unwrap_or_else(|unknown| panic!("{unknown}"));
    let offset_ms = config["offset"].as_i64().unwrap_or(0);
    let tumbling = || {
        let period = WindowPeriod { size_ms: number(config, "size"), offset_ms };
        TumblingWindows::of_period(period).expect("a size")
    };
    let sliding = |size| {
        let slides = WindowPeriod { size_ms: number(config, "slide"), offset_ms };
        SlidingWindows::of(size, slides).expect("a size")
    };
    let millis = |key| Duration::from_millis(number(config, key).try_into().expect("a duration"));
    let name = text(config, "assigner");
    match name.split('(').next().expect("a name") {
        "tumbling_event" => with_windows(config, kept, tumbling()),
        "tumbling_processing" => with_windows(config, kept, tumbling().in_processing_time()),
        "sliding_event" => with_windows(config, kept, sliding(millis("size"))),
        "sliding_processing" => with_windows(config, kept, sliding(millis("size")).in_processing_time()),
        "session_event" => with_windows(config, kept, SessionWindows::with_gap(millis("gap")).expect("a gap")),
        "session_event_point" => {
            with_windows(config, kept, PointSessions(SessionWindows::with_gap(millis("gap")).expect("a gap")))
        }
        "session_processing" => {
            with_windows(config, kept, SessionWindows::with_gap(millis("gap")).expect("a gap").in_processing_time())
        }
        "session_processing_dynamic" | "session_event_dynamic" => {
            let gap = |(key, value): &Event| match (key.as_str(), value) {
                ("key1", _) => 3000,
                (_, 10) => 1000,
                _ => 2000,
            };
            let assigner = SessionWindows::with_dynamic_gap(gap);
            let by_clock = name.starts_with("session_processing");
            with_windows(config, kept, if by_clock { assigner.in_processing_time() } else { assigner })
        }
        "global" => with_windows(config, kept, GlobalWindows),
        other => panic!("no assigner {other}"),
    }
}

fn with_windows<A: WindowAssigner<Event>>(config: &Value, kept: Kept, assigner: A) -> AnyOperator {
    match (config["evictor"].as_str(), kept) {
        (None, Kept::Reduced) => with_function(config, assigner, Then::new(Reduce(reduce), say)),
        (None, Kept::Aggregated) => with_function(config, assigner, Then::new(Aggregate(Sum), say)),
        (None, Kept::Full) => with_function(config, assigner, FullWindow::new(say)),
        (Some(text), Kept::Reduced) => {
            with_function(config, assigner, EvictingWindow::new(evictor(text), AtFire::new(Reduce(reduce), say)))
        }
        (Some(text), Kept::Aggregated) => {
            with_function(config, assigner, EvictingWindow::new(evictor(text), AtFire::new(Aggregate(Sum), say)))
        }
        (Some(text), Kept::Full) => with_function(config, assigner, EvictingWindow::new(evictor(text), say)),
    }
}

fn with_function<A, F>(config: &Value, assigner: A, function: F) -> AnyOperator
where
    A: WindowAssigner<Event>,
    F: WindowFunction<Event, String, A::Window, Out = Outcome>,
{
    let trigger = trigger::<Event, String, A::Window>(text(config, "trigger"));
    let lateness = config["allowed_lateness"].as_u64().unwrap_or(0);
    let late_tag = (config["late_side_output"] == true).then(|| OutputTag::new("late"));
    Box::new(
        WindowOperator::new(|event: &Event| event.0.clone(), assigner, trigger, function)
            .with_allowed_lateness(Duration::from_millis(lateness))
            .with_late_side_output(late_tag),
    )
}

/// Counts the late records that are dropped: the only facts of an operator.
#[derive(Default)]
struct Dropped(AtomicI64);

impl Observer for Dropped {
    fn observe(&self, _fact: &Fact<'_>) -> Directive {
        self.0.fetch_add(1, Ordering::Relaxed);
        Directive::Continue
    }
}

/// What an operator is told when it is the only one.
pub fn alone(processing_time: Timestamp, observer: Arc<dyn Observer>) -> OperatorContext {
    OperatorContext {
        uid: OperatorUid("windows".into()),
        subtask_index: 0,
        parallelism: 1,
        max_parallelism: 128,
        state_backend: StateBackend::default(),
        processing_time,
        restored_checkpoint_id: None,
        reporter: Reporter::new(Subject::node("test"), Attempt(0), observer),
    }
}

/// The operator, and what time it is.
struct Driver<'a> {
    config: &'a Value,
    kept: Kept,
    operator: AnyOperator,
    watermark: Timestamp,
    processing_time: Timestamp,
    dropped: Arc<Dropped>,
    out: Collector<Outcome>,
}

/// Runs the steps of a vector with an operator of this configuration.
///
/// # Errors
/// With the first step that gives something else than expected.
pub fn run_steps(vector: &Value, config: &Value, kept: Kept, mode: Mode) -> Result<(), String> {
    let dropped = Arc::new(Dropped::default());
    let (watermark, processing_time) = (Timestamp::MIN, Timestamp::MIN);
    let operator = operator(config, kept);
    let mut driver = Driver { config, kept, operator, watermark, processing_time, dropped, out: Collector::default() };
    driver.open(None)?;
    for step in list(vector, "steps") {
        driver.step(step).map_err(|error| format!("{kept:?}, {mode:?}, {error}"))?;
        if mode == Mode::RestoreStorm {
            let watermark = driver.watermark;
            driver.restore()?;
            driver.watermark = watermark;
            driver.operator.advance_watermark(watermark, &mut driver.out).map_err(|error| error.to_string())?;
            expect(step, &driver.out.take(), &vec![]).map_err(|error| format!("{kept:?}, restored, {error}"))?;
        }
    }
    let expected = vector["dropped_late"].as_i64().unwrap_or(0);
    expect(vector, &driver.dropped.0.load(Ordering::Relaxed), &expected)
}

impl Driver<'_> {
    fn open(&mut self, restored: Option<OperatorSnapshot>) -> Result<(), String> {
        let context = alone(self.processing_time, self.dropped.clone());
        self.operator.open(&context, restored).map_err(|error| error.to_string())
    }

    fn restore(&mut self) -> Result<(), String> {
        let snapshot = self.operator.snapshot(CheckpointId(1)).and_then(|snapshot| snapshot());
        self.operator = operator(self.config, self.kept);
        self.watermark = Timestamp::MIN;
        self.open(Some(snapshot.map_err(|error| error.to_string())?))
    }

    fn step(&mut self, step: &Value) -> Result<(), String> {
        known(step, &["op", "key", "value", "ts", "emit", "late"])?;
        let done = match text(step, "op") {
            "element" => {
                let timestamp = Timestamp(step["ts"].as_i64().unwrap_or(i64::MIN));
                let event = (text(step, "key").to_owned(), number(step, "value"));
                self.operator.process(vec![StreamRecord::new(event, timestamp)], &mut self.out)
            }
            "watermark" => {
                self.watermark = Timestamp(number(step, "ts"));
                self.operator.advance_watermark(self.watermark, &mut self.out)
            }
            "processing_time" => {
                self.processing_time = Timestamp(number(step, "ts"));
                self.operator.set_processing_time(self.processing_time);
                self.operator.advance_processing_time(self.processing_time, &mut self.out)
            }
            "snapshot_and_restore" => return self.restore(),
            other => return Err(format!("no step {other}")),
        };
        done.map_err(|error| error.to_string())?;
        let mut late: Vec<Value> = Vec::new();
        for (_, batch) in self.out.take_side_outputs() {
            let records = batch.into_typed::<Event>().into_iter();
            late.extend(records.map(|StreamRecord { value: (key, value), timestamp }| {
                serde_json::json!({"key": key, "value": value, "ts": timestamp.0})
            }));
        }
        expect(step, &late.as_slice(), &list(step, "late"))?;
        let emitted = self.out.take();
        let expected = list(step, "emit");
        expect(step, &spoken(&emitted, expected), &sorted(expected.iter().map(normalised).collect()))
    }
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts
}

/// An expected result, as text.
fn normalised(expected: &Value) -> String {
    let window = expected["window"].as_array().map(|_| expected["window"].to_string()).unwrap_or_default();
    let what = match (expected["result"].as_str(), expected["sum"].as_i64()) {
        (Some(result), _) => result.to_owned(),
        (None, Some(sum)) => sum.to_string(),
        (None, None) => format!("{}-{}", text(expected, "key"), number(expected, "value")),
    };
    format!("{what} {window} at {}", number(expected, "ts"))
}

/// The results in the words of what is expected of this step; the words of a vector are the same for all its results.
fn spoken(emitted: &[StreamRecord<Outcome>], expected: &[Value]) -> Vec<String> {
    let like = expected.first().unwrap_or(&Value::Null);
    let say = |StreamRecord { value: Outcome { key, sum, window }, timestamp }: &StreamRecord<Outcome>| {
        let window = match (like["window"].is_array(), window) {
            (true, Some([start, end])) => format!("[{start},{end}]"),
            _ => String::new(),
        };
        let what = match like["result"].as_str() {
            Some(result) if result.starts_with("GOT: ") => format!("GOT: ({key},{sum})"),
            _ if like["sum"].is_i64() => sum.to_string(),
            _ => format!("{key}-{sum}"),
        };
        format!("{what} {window} at {}", timestamp.0)
    };
    sorted(emitted.iter().map(say).collect())
}
