//! Stages of a kind, with numbers drawn at random: valid ones only.

use std::time::Duration;

use rand::{Rng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use tidegate::pipeline::{
    AggregateOperation, Assignment, BoundKind, BufferMode, BufferOperation, Emit, EnrichOperation,
    IntervalJoinOperation, JoinKind, JoinSides, LateRecords, Operation, ProcessFunction, ProcessOperation,
    RollingOperation, Stage, StateTtl, TimerPattern, TtlCleanup, TtlUpdate, TtlVisibility, Unmatched,
    WindowJoinOperation, WindowTime,
};

use super::{
    kind::{KeyedKind, StageKind},
    script::FARTHEST,
    windows,
};

/// The stages of a kind, and the streams that they end in.
pub(super) struct Drawn {
    /// The stages, the one of the kind last.
    pub stages: Vec<Stage>,
    /// Whether the last one has a side output of late records.
    pub late: bool,
}

/// How long after another a record of a key comes, by how many of its records.
pub(super) type Gaps = [Vec<Duration>; FARTHEST];

/// A stage of a kind that takes records with `key` and `value` from an input.
///
/// One with two inputs takes the second one of another stream, if there is one. `gaps` are those of
/// its records.
pub(super) fn draw(
    kind: StageKind,
    name: &str,
    (input, other): (&str, Option<&str>),
    gaps: &Gaps,
    random: &mut ChaCha8Rng,
) -> Drawn {
    let one = |operation| {
        let late = late_output(&operation);
        Drawn { stages: vec![Stage::new(name, input, operation)], late }
    };
    match kind {
        StageKind::Keyed(keyed) => one(Operation::Process(process(keyed_function(keyed, random)))),
        StageKind::Ttl(keyed) => one(Operation::Process(expiring(keyed_function(keyed, random), gaps, random))),
        StageKind::Timers(pattern, time) => {
            let function = process(timers(pattern, time, random));
            one(Operation::Process(match time {
                WindowTime::Event => function,
                WindowTime::Processing => mostly_telling_of_each_record(function, random),
            }))
        }
        StageKind::Operator(mode) => {
            let mut drawn = one(buffer(mode, random));
            // Each subtask gets whatever all have kept of a union list: with several there is no one right result.
            if mode == BufferMode::Union || random.gen_bool(0.6) {
                drawn.stages[0].parallelism = Some(1);
            }
            drawn
        }
        StageKind::Running => one(running(random)),
        StageKind::Rolling => {
            let fields = reduction(false, random);
            one(Operation::Rolling(RollingOperation { key: key(), fields }))
        }
        StageKind::IntervalJoin => one(interval_join(JoinSides::Condition("floor_mod(value, 2) = 0".into()), random)),
        StageKind::Window(window) => one(Operation::Window(windows::draw(window, random))),
        StageKind::Broadcast => two(name, (input, other), enrich()),
        StageKind::WindowJoin => two(name, (input, other), window_join(random)),
        StageKind::CoIntervalJoin => two(name, (input, other), interval_join(JoinSides::Inputs, random)),
        StageKind::Union => two(name, (input, other), final_totals()),
    }
}

/// Two streams, out of one if there is only one, and the operation on both.
fn two(name: &str, (input, other): (&str, Option<&str>), operation: Operation) -> Drawn {
    let half = |suffix: &str, input: &str, rest: u8| {
        let condition = if other.is_some() { "true".to_owned() } else { format!("floor_mod(value, 2) = {rest}") };
        let mut stage = Stage::new(format!("{name}-{suffix}"), input, Operation::Filter { condition });
        stage.parallelism = Some(1);
        stage
    };
    let (left, right) = (half("left", input, 0), half("right", other.unwrap_or(input), 1));
    let mut joined = Stage::new(name, left.name.clone(), operation);
    joined.inputs.push(right.name.clone());
    Drawn { stages: vec![left, right, joined], late: false }
}

pub(super) fn key() -> Vec<String> {
    vec!["key".into()]
}

pub(super) fn millis(random: &mut ChaCha8Rng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(random.gen_range(range))
}

fn late_output(operation: &Operation) -> bool {
    match operation {
        Operation::Window(window) => window.late_records == LateRecords::SideOutput,
        Operation::IntervalJoin(join) => join.late_records == LateRecords::SideOutput,
        _ => false,
    }
}

/// An int expression over the result that is never null: what a following stage works on.
pub(super) fn value_of(kind: StageKind) -> &'static str {
    match kind {
        StageKind::Running | StageKind::Union => "records",
        StageKind::Window(window) => windows::value_of(window),
        StageKind::Keyed(_)
        | StageKind::Ttl(_)
        | StageKind::Timers(..)
        | StageKind::Operator(_)
        | StageKind::Broadcast
        | StageKind::Rolling
        | StageKind::IntervalJoin
        | StageKind::CoIntervalJoin
        | StageKind::WindowJoin => "value",
    }
}

fn process(function: ProcessFunction) -> ProcessOperation {
    let value = function.reads_value().then(|| "value".to_owned());
    ProcessOperation { value, ..ProcessOperation::new(&["key"], function) }
}

/// A function whose state lives for a while. Some state never expires within a run: what it must be is known anyway.
fn expiring(function: ProcessFunction, gaps: &Gaps, random: &mut ChaCha8Rng) -> ProcessOperation {
    let lives_on = random.gen_bool(0.15);
    let lifetime = match lives_on {
        true => Duration::from_secs(3_600),
        false => lifetime(&gaps[random.gen_range(0..gaps.len())], random),
    };
    let function = ProcessOperation { ttl: Some(ttl(lifetime, random)), ..process(function) };
    if lives_on { function } else { mostly_telling_of_each_record(function, random) }
}

/// Of a function with a clock hardly anything is certain unless its results say when each record was processed.
fn mostly_telling_of_each_record(function: ProcessOperation, random: &mut ChaCha8Rng) -> ProcessOperation {
    if random.gen_bool(0.05) {
        return function;
    }
    ProcessOperation { processed_at: Some("processed_at".into()), every_record: true, ..function }
}

/// Mostly as long as it is from one record of a key to another, or a millisecond beside it: so that what is used again at the
/// very moment at which it expires, or just before or after, is no rare thing.
fn lifetime(gaps: &[Duration], random: &mut ChaCha8Rng) -> Duration {
    let other = millis(random, 300..=4_000);
    let gap = gaps.choose(random).copied().filter(|_| random.gen_bool(0.85));
    let beside = Duration::from_millis(random.gen_range(0..=2));
    gap.map_or(other, |gap| (gap + beside).saturating_sub(Duration::from_millis(1)).max(Duration::from_millis(1)))
}

fn keyed_function(kind: KeyedKind, random: &mut ChaCha8Rng) -> ProcessFunction {
    let n = random.gen_range(1..=4);
    match kind {
        KeyedKind::ValueAvg => ProcessFunction::ValueAvg { n },
        KeyedKind::ValueCount => ProcessFunction::ValueCount,
        KeyedKind::Dedup => ProcessFunction::Dedup,
        KeyedKind::ListAvg => ProcessFunction::ListAvg { n },
        KeyedKind::MapAvg => ProcessFunction::MapAvg { n },
        KeyedKind::MapCount => ProcessFunction::MapCount { n: n + 1 },
        KeyedKind::ReducingSum => ProcessFunction::ReducingSum,
        KeyedKind::AggregatingAvg => ProcessFunction::AggregatingAvg,
        KeyedKind::AggregatingContains => ProcessFunction::AggregatingContains,
        KeyedKind::RawCount => ProcessFunction::RawCount,
    }
}

fn ttl(ttl: Duration, random: &mut ChaCha8Rng) -> StateTtl {
    let update = [TtlUpdate::OnCreateAndWrite, TtlUpdate::OnReadAndWrite];
    let visibility = [TtlVisibility::NeverReturnExpired, TtlVisibility::ReturnExpiredIfNotCleanedUp];
    let cleanup = TtlCleanup {
        in_background: random.gen_bool(0.5),
        full_snapshot: random.gen_bool(0.5),
        incremental: random.gen_bool(0.5).then(|| random.gen_range(1..=5)),
        run_for_every_record: random.gen_bool(0.3),
        query_time_after_entries: random.gen_bool(0.3).then(|| random.gen_range(1..=10)),
    };
    StateTtl {
        ttl,
        update: *update.choose(random).unwrap_or(&update[0]),
        visibility: if random.gen_bool(0.8) { visibility[0] } else { visibility[1] },
        cleanup,
    }
}

fn timers(pattern: TimerPattern, time: WindowTime, random: &mut ChaCha8Rng) -> ProcessFunction {
    ProcessFunction::Timers { pattern, delay: millis(random, 50..=3_000), time }
}

fn buffer(mode: BufferMode, random: &mut ChaCha8Rng) -> Operation {
    let aggregates = vec![
        Assignment::new("records", "count()"),
        Assignment::new("value", "sum(value)"),
        Assignment::new("all", "list(value)"),
        Assignment::new("keys", "list(key)"),
    ];
    Operation::Buffer(BufferOperation { threshold: random.gen_range(2..=9), mode, aggregates })
}

fn running(random: &mut ChaCha8Rng) -> Operation {
    let aggregates = windows::aggregates(windows::Order::Kept, random);
    let emit = if random.gen_bool(0.8) { Emit::Updates } else { Emit::Final };
    Operation::Aggregate(AggregateOperation { key: key(), aggregates, emit })
}

/// Two streams in one are folded to what does not depend on their order.
fn final_totals() -> Operation {
    let aggregates = vec![Assignment::new("records", "count()"), Assignment::new("total", "sum(value)")];
    Operation::Aggregate(AggregateOperation { key: key(), aggregates, emit: Emit::Final })
}

/// How two records become one: commutative ones only, where windows merge.
pub(super) fn reduction(merges: bool, random: &mut ChaCha8Rng) -> Vec<Assignment> {
    let commutative = ["a.value + b.value", "min(a.value, b.value)", "max(a.value, b.value)"];
    let ordered = ["b.value", "a.value", "a.value - b.value"];
    let pool: Vec<&str> = commutative.into_iter().chain(ordered.into_iter().filter(|_| !merges)).collect();
    vec![Assignment::new("value", *pool.choose(random).unwrap_or(&commutative[0]))]
}

/// What a record gets of its rule depends on whether the rule came first, so that only the record itself is shown.
fn enrich() -> Operation {
    Operation::Enrich(EnrichOperation {
        key: key(),
        rule_key: key(),
        unmatched: Unmatched::Keep,
        fields: vec![Assignment::new("key", "a.key"), Assignment::new("value", "a.value")],
    })
}

fn interval_join(sides: JoinSides, random: &mut ChaCha8Rng) -> Operation {
    // Two inputs come in no order, and then nothing is late.
    let is_one = sides != JoinSides::Inputs;
    let lower_ms = random.gen_range(-1_500..=500);
    let bound = |exclusive| if exclusive { BoundKind::Exclusive } else { BoundKind::Inclusive };
    let upper_ms = lower_ms + random.gen_range(2..=1_500);
    Operation::IntervalJoin(IntervalJoinOperation {
        sides,
        key: key(),
        right_key: Vec::new(),
        lower_ms,
        lower: bound(random.gen_bool(0.3)),
        upper_ms,
        upper: bound(random.gen_bool(0.3)),
        late_records: if is_one && random.gen_bool(0.5) { LateRecords::SideOutput } else { LateRecords::Drop },
        ttl: None,
        fields: vec![
            Assignment::new("key", "a.key"),
            Assignment::new("value", "a.value + b.value"),
            Assignment::new("left_ms", "a.rowtime"),
            Assignment::new("right_ms", "b.rowtime"),
        ],
    })
}

fn window_join(random: &mut ChaCha8Rng) -> Operation {
    let kinds = [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full];
    Operation::WindowJoin(WindowJoinOperation {
        kind: *kinds.choose(random).unwrap_or(&JoinKind::Inner),
        key: key(),
        right_key: Vec::new(),
        assigner: windows::joined(random),
        time: WindowTime::Event,
        trigger: None,
        fields: vec![
            Assignment::new("key", "coalesce(a.key, b.key)"),
            Assignment::new("value", "coalesce(a.value, 0) + coalesce(b.value, 0)"),
            Assignment::new("end_ms", "window_end"),
        ],
    })
}
