//! Operator and keyed state of jobs in the simulated world: whatever dies, what comes out is what the model says.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use tidegate::{
    Error, ErrorKind, Result, Timestamp,
    api::{
        AggregateFunction, AggregatingState, AggregatingStateDescriptor, CheckpointedFunction, DataStream,
        FunctionContext, FunctionInitializationContext, FunctionSnapshotContext, KeyedProcessFunction, ListState,
        ListStateDescriptor, MapState, MapStateDescriptor, OperatorListState, ProcessContext, ProcessFunction,
        ReducingState, ReducingStateDescriptor, StateRegistry, StateTtlConfig, StreamEnvironment, ValueState,
        ValueStateDescriptor, WatermarkStrategy,
    },
    connector::{FileSink, GeneratorSource},
    record::StreamRecord,
};
use tidegate_sim::testing::{Failure, Options, Simulation, check, search};

const NUMBERS: u64 = 60;

/// A planted bug, if any.
type Planted = Option<&'static str>;

fn numbers(job: &StreamEnvironment, planted: Planted) -> DataStream<u64> {
    let number = move |n| {
        // A run has a thread of its own, and ends with nothing planted on it.
        if planted.is_some() {
            tidegate::planted::activate(planted);
        }
        StreamRecord::new(n, Timestamp::MIN)
    };
    let source = GeneratorSource::new(NUMBERS, number).with_rate(10.0);
    job.from_source("numbers", source, WatermarkStrategy::no_watermarks())
}

/// Runs a job whose lines of text are written exactly once, and returns them sorted.
fn lines(
    sim: &mut Simulation,
    planted: Planted,
    build: impl FnOnce(&DataStream<u64>) -> DataStream<String>,
) -> Vec<String> {
    let job = StreamEnvironment::new(sim.config());
    build(&numbers(&job, planted)).sink_exactly_once("file", || {
        FileSink::new("/out/lines", |line: &String, bytes| bytes.extend(format!("{line}\n").bytes()))
    });
    let finished = sim.run(job);
    let mut lines: Vec<String> = finished.lines("/out/lines");
    lines.sort();
    sim.observe("lines", lines.clone());
    lines
}

fn options(name: &str) -> Options {
    Options::new("tidegate-tests", name).with_seeds(12).with_faults(2)
}

/// Emits its input in groups of five. A group that is begun is list state, its sum raw state.
#[derive(Clone)]
struct InFives {
    held: Vec<u64>,
    state: OperatorListState<u64>,
}

impl CheckpointedFunction for InFives {
    fn initialize_state(&mut self, context: &mut FunctionInitializationContext<'_>) -> Result<()> {
        context.list_state(&mut self.state)?;
        self.held = self.state.take(context)?;
        if context.is_restored() && context.raw() != [self.held.iter().sum::<u64>().to_le_bytes().to_vec()] {
            return Err(Error::new(ErrorKind::UserFunction, format!("{:?} is not what was written", context.raw())));
        }
        Ok(())
    }

    fn snapshot_state(&mut self, context: &mut FunctionSnapshotContext<'_>) -> Result<()> {
        context.write_raw(self.held.iter().sum::<u64>().to_le_bytes().to_vec());
        self.state.update(context, self.held.clone())
    }
}

impl ProcessFunction for InFives {
    type In = u64;
    type Out = String;

    fn process_element(&mut self, value: u64, context: &mut FunctionContext<'_, String>) -> Result<()> {
        self.held.push(value);
        if self.held.len() == 5 {
            context.collect(format!("{:?}", std::mem::take(&mut self.held)));
        }
        Ok(())
    }
}

fn groups(sim: &mut Simulation, planted: Planted) {
    let found = lines(sim, planted, |numbers| {
        let function = InFives { held: Vec::new(), state: OperatorListState::new("held") };
        numbers.process(function).uid("in-fives")
    });
    let mut expected: Vec<_> =
        (0..NUMBERS / 5).map(|five| format!("{:?}", [0, 1, 2, 3, 4].map(|n| 5 * five + n))).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_group_that_is_begun_survives_failures_in_its_order() {
    check(&options("groups"), |sim: &mut Simulation| groups(sim, None));
}

/// Counts what each subtask has seen; each knows the counts of all as they were at the last checkpoint.
#[derive(Clone)]
struct Counts {
    index: u32,
    mine: u64,
    all: OperatorListState<(u32, u64)>,
}

impl CheckpointedFunction for Counts {
    fn initialize_state(&mut self, context: &mut FunctionInitializationContext<'_>) -> Result<()> {
        context.union_list_state(&mut self.all)?;
        self.index = context.subtask_index();
        let (restored, parallelism) = (context.is_restored(), context.parallelism());
        let all = self.all.take(context)?;
        let known: Vec<u32> = all.iter().map(|(index, _)| *index).collect();
        if restored && known != (0..parallelism).collect::<Vec<_>>() {
            return Err(Error::new(ErrorKind::UserFunction, format!("of the union {known:?} was restored")));
        }
        self.mine = all.iter().find(|(index, _)| *index == self.index).map_or(0, |(_, count)| *count);
        Ok(())
    }

    fn snapshot_state(&mut self, context: &mut FunctionSnapshotContext<'_>) -> Result<()> {
        self.all.update(context, vec![(self.index, self.mine)])
    }
}

impl ProcessFunction for Counts {
    type In = u64;
    type Out = String;

    fn process_element(&mut self, value: u64, context: &mut FunctionContext<'_, String>) -> Result<()> {
        self.mine += 1;
        context.collect(format!("{value:02}"));
        Ok(())
    }
}

fn union(sim: &mut Simulation, planted: Planted) {
    let found = lines(sim, planted, |numbers| {
        let function = Counts { index: 0, mine: 0, all: OperatorListState::new("all") };
        numbers.rebalance().process(function).set_parallelism(3).uid("counts").rebalance()
    });
    assert_eq!(found, (0..NUMBERS).map(|n| format!("{n:02}")).collect::<Vec<_>>());
}

#[test]
fn each_subtask_restores_the_union_of_what_all_kept() {
    check(&options("union"), |sim: &mut Simulation| union(sim, None));
}

/// Joins numbers by a dash.
#[derive(Clone)]
struct Dashes;

impl AggregateFunction<u64> for Dashes {
    type Accumulator = Vec<u64>;
    type Out = String;

    fn create_accumulator(&self) -> Vec<u64> {
        Vec::new()
    }
    fn add(&self, accumulator: &mut Vec<u64>, value: u64) {
        accumulator.push(value);
    }
    fn get_result(&self, accumulator: &Vec<u64>) -> String {
        accumulator.iter().map(u64::to_string).collect::<Vec<_>>().join("-")
    }
    fn merge(&self, one: Vec<u64>, other: Vec<u64>) -> Vec<u64> {
        [one, other].concat()
    }
}

type Add = fn(&mut u64, u64);

/// Does the same to a state of each kind, and says after each number what they hold.
#[derive(Clone)]
struct Everything {
    sum: ReducingState<u64, Add>,
    dashes: AggregatingState<u64, Dashes>,
    list: ListState<u64>,
    map: MapState<u64, u64>,
    last: ValueState<u64>,
}

impl Everything {
    fn new() -> Self {
        let add: Add = |sum, value| *sum += value;
        Self {
            sum: ReducingState::new(ReducingStateDescriptor::new("sum", add)),
            dashes: AggregatingState::new(AggregatingStateDescriptor::new("dashes", Dashes)),
            list: ListState::new(ListStateDescriptor::new("list")),
            map: MapState::new(MapStateDescriptor::new("map")),
            last: ValueState::new(ValueStateDescriptor::new("last")),
        }
    }
}

impl KeyedProcessFunction for Everything {
    type Key = u64;
    type In = u64;
    type Out = String;

    fn open(&mut self, states: &mut StateRegistry<'_, u64>) -> Result<()> {
        states.register(&mut self.sum)?;
        states.register(&mut self.dashes)?;
        states.register(&mut self.list)?;
        states.register(&mut self.map)?;
        states.register(&mut self.last)
    }

    fn process_element(&mut self, value: u64, context: &mut ProcessContext<'_, u64, String>) -> Result<()> {
        let last = self.last.value(context)?;
        self.last.update(context, value)?;
        self.sum.add(context, value)?;
        self.dashes.add(context, value)?;
        self.list.add(context, value)?;
        if self.list.get(context)?.len() == 4 {
            self.list.update(context, vec![value])?;
        }
        self.map.put(context, value % 4, value)?;
        if value.is_multiple_of(5) {
            self.map.clear(context)?;
        }
        let (sum, dashes) = (self.sum.get(context)?.unwrap(), self.dashes.get(context)?.unwrap());
        let line = format!(
            "{value:02} {last:?} {sum} {dashes} {:?} {:?}",
            self.list.get(context)?,
            self.map.entries(context)?
        );
        context.collect(line);
        Ok(())
    }
}

/// The same, with ordinary variables.
fn everything() -> Vec<String> {
    let mut lines = Vec::new();
    for key in 0..3 {
        let (mut last, mut sum, mut dashes) = (None, 0, Vec::new());
        let (mut list, mut map) = (Vec::new(), std::collections::BTreeMap::new());
        for value in (0..NUMBERS).filter(|value| value % 3 == key) {
            sum += value;
            dashes.push(value.to_string());
            list.push(value);
            if list.len() == 4 {
                list = vec![value];
            }
            map.insert(value % 4, value);
            if value.is_multiple_of(5) {
                map.clear();
            }
            let entries: Vec<_> = map.iter().map(|(user_key, value)| (*user_key, *value)).collect();
            lines.push(format!("{value:02} {last:?} {sum} {} {list:?} {entries:?}", dashes.join("-")));
            last = Some(value);
        }
    }
    lines.sort();
    lines
}

fn states(sim: &mut Simulation, planted: Planted) {
    let found = lines(sim, planted, |numbers| numbers.key_by(|n| n % 3).process(Everything::new()).uid("everything"));
    assert_eq!(found, everything());
}

#[test]
fn state_of_each_kind_survives_failures() {
    check(&options("everything"), |sim: &mut Simulation| states(sim, None));
}

/// Writes once, at the first number, and says at the last one what is left of it.
#[derive(Clone)]
struct Remembers(ValueState<u64>);

impl KeyedProcessFunction for Remembers {
    type Key = u64;
    type In = u64;
    type Out = String;

    fn open(&mut self, states: &mut StateRegistry<'_, u64>) -> Result<()> {
        states.register(&mut self.0)
    }

    fn process_element(&mut self, value: u64, context: &mut ProcessContext<'_, u64, String>) -> Result<()> {
        if value == 0 {
            self.0.update(context, 7)?;
        } else if value == NUMBERS - 1 {
            let left = self.0.value(context)?;
            context.collect(format!("{left:?}"));
        }
        Ok(())
    }
}

fn expiry(sim: &mut Simulation, planted: Planted) {
    // Six seconds lie between the first number and the last.
    let config = StateTtlConfig::new(Duration::from_millis(5_500));
    let function = Remembers(ValueState::new(ValueStateDescriptor::new("first").with_time_to_live(config)));
    let found = lines(sim, planted, |numbers| numbers.key_by(|_| 0).process(function).uid("remembers"));
    assert_eq!(found, ["None"]);
}

#[test]
fn a_restore_does_not_make_values_young_again() {
    check(&options("expiry"), |sim: &mut Simulation| expiry(sim, None));
}

#[test]
fn what_is_planted_is_found() {
    type Body = fn(&mut Simulation, Planted);
    let bugs: [(&str, Body); 7] = [
        ("operator_list_reversed_on_restore", groups),
        ("raw_state_not_in_snapshot", groups),
        ("union_state_treated_as_split", union),
        ("reducing_state_not_restored", states),
        ("list_state_update_appends", states),
        ("map_state_clear_leaves_entries", states),
        ("ttl_timestamps_reset_on_restore", expiry),
    ];
    for (bug, body) in bugs {
        let found = search(&options(bug).with_seeds(60), |sim: &mut Simulation| body(sim, Some(bug)));
        assert!(matches!(found, Err(Failure::Violated(_))), "nobody saw {bug}: {found:?}");
    }
}
