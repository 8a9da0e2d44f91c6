//! Windows of a kind, with numbers drawn at random: valid ones only.

use std::time::Duration;

use rand::{Rng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use tidegate::pipeline::{
    Assigner, Assignment, EvictionPhase, Evictor, Float, LateRecords, Trigger, WindowBounds, WindowFunction,
    WindowOperation, WindowTime,
};

use super::{
    kind::{AssignerKind, FunctionKind, TriggerKind, WindowKind},
    script::GRID_MS,
    stages::{key, millis, reduction},
};

/// Whether the order of records in a window is that of their arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It is.
    Kept,
    /// Windows merge: which records come first is not defined.
    Merged,
}

/// The field of its result that a following stage works on.
pub(super) fn value_of(kind: WindowKind) -> &'static str {
    match kind.function {
        FunctionKind::Aggregate | FunctionKind::Process | FunctionKind::Evicting => "records",
        FunctionKind::Reduce => "value",
    }
}

/// A window of a kind over records with `key` and `value`.
pub(super) fn draw(kind: WindowKind, random: &mut ChaCha8Rng) -> WindowOperation {
    let processing = kind.assigner.is_processing();
    let order = if kind.assigner.merges() { Order::Merged } else { Order::Kept };
    let counted = matches!(kind.assigner, AssignerKind::Count | AssignerKind::CountSliding);
    let is_late = !processing && !counted && kind.assigner != AssignerKind::Global;
    WindowOperation {
        key: if kind.assigner == AssignerKind::All { Vec::new() } else { key() },
        assigner: assigner(kind.assigner, random),
        time: if processing { WindowTime::Processing } else { WindowTime::Event },
        trigger: trigger(kind, random),
        evictor: (kind.function == FunctionKind::Evicting).then(|| evictor(random)),
        allowed_lateness: if is_late && random.gen_bool(0.5) { on_grid(random, 1..=2_000) } else { Duration::ZERO },
        late_records: if is_late && random.gen_bool(0.6) { LateRecords::SideOutput } else { LateRecords::Drop },
        function: function(kind.function, order, random),
        bounds: if random.gen_bool(0.8) { WindowBounds::Shown } else { WindowBounds::Hidden },
    }
}

/// Milliseconds, half of the time whole multiples of the grid that scripts may have.
fn on_grid(random: &mut ChaCha8Rng, range: std::ops::RangeInclusive<u64>) -> Duration {
    let (least, most) = (*range.start(), *range.end());
    let grid_ms = GRID_MS as u64;
    if random.gen_bool(0.5) {
        millis(random, least.div_ceil(grid_ms)..=most / grid_ms) * GRID_MS as u32
    } else {
        millis(random, range)
    }
}

fn assigner(kind: AssignerKind, random: &mut ChaCha8Rng) -> Assigner {
    let size = on_grid(random, 200..=4_000);
    let offset = |random: &mut ChaCha8Rng, limit: Duration| {
        if random.gen_bool(0.3) { millis(random, 0..=limit.as_millis() as u64 - 1) } else { Duration::ZERO }
    };
    match kind {
        AssignerKind::Tumbling | AssignerKind::All | AssignerKind::ProcessingTumbling => {
            Assigner::Tumbling { size, offset: offset(random, size) }
        }
        AssignerKind::Sliding | AssignerKind::ProcessingSliding => {
            // Some slides divide the size, some do not, some leave gaps.
            let slide = match random.gen_range(0..10) {
                0..=4 => Duration::from_millis(size.as_millis() as u64 / random.gen_range(2..=4)),
                5..=7 => millis(random, 100..=size.as_millis() as u64),
                _ => size + millis(random, 1..=500),
            };
            Assigner::Sliding { size, slide, offset: offset(random, slide) }
        }
        AssignerKind::Session | AssignerKind::ProcessingSession => {
            // Short gaps leave many sessions, which late records make one.
            let longest = *[200, 800].choose(random).unwrap_or(&800);
            Assigner::Session { gap: on_grid(random, 50..=longest) }
        }
        AssignerKind::DynamicSession => {
            // In step with the times of a script that keeps to a grid: then some records have a session of their own that
            // is a merged one.
            let least = if random.gen_bool(0.5) {
                GRID_MS as u64 * random.gen_range(1..=4)
            } else {
                random.gen_range(10..=400)
            };
            Assigner::DynamicSession { gap: format!("{least} + abs(value)") }
        }
        AssignerKind::Global => Assigner::Global,
        AssignerKind::Count => Assigner::Count { size: random.gen_range(1..=6), slide: None },
        AssignerKind::CountSliding => {
            Assigner::Count { size: random.gen_range(1..=6), slide: Some(random.gen_range(1..=4)) }
        }
    }
}

/// The windows of a join.
pub(super) fn joined(random: &mut ChaCha8Rng) -> Assigner {
    let kinds = [AssignerKind::Tumbling, AssignerKind::Sliding, AssignerKind::Session];
    assigner(*kinds.choose(random).unwrap_or(&kinds[0]), random)
}

fn trigger(kind: WindowKind, random: &mut ChaCha8Rng) -> Option<Trigger> {
    let count = Trigger::Count { n: random.gen_range(1..=if kind.assigner.merges() { 6 } else { 4 }) };
    let interval = millis(random, 100..=1_500);
    let own = if kind.assigner.is_processing() { Trigger::ProcessingTime } else { Trigger::EventTime };
    match kind.trigger {
        TriggerKind::Own => None,
        TriggerKind::Count => Some(count),
        TriggerKind::Continuous if kind.assigner.is_processing() => {
            Some(Trigger::ContinuousProcessingTime { interval })
        }
        TriggerKind::Continuous => Some(Trigger::ContinuousEventTime { interval }),
        TriggerKind::Delta => {
            let threshold = Float::new(f64::from(random.gen_range(0..=40_u8)));
            Some(Trigger::Delta { threshold, value: "value".into() })
        }
        TriggerKind::EndOfStream => Some(Trigger::EndOfStream),
        TriggerKind::Purging => {
            let delta = Trigger::Delta { threshold: Float::new(10.0), value: "value".into() };
            let inner = match random.gen_range(0..10) {
                0..=3 => count,
                4 | 5 if kind.assigner != AssignerKind::Global => own,
                6 | 7 if kind.assigner != AssignerKind::Global && !kind.assigner.is_processing() => {
                    Trigger::ContinuousEventTime { interval }
                }
                // Windows that merge take no delta trigger.
                8 | 9 if !kind.assigner.merges() => delta,
                _ => count,
            };
            Some(Trigger::Purging { inner: Box::new(inner) })
        }
        TriggerKind::Timeout => Some(Trigger::ProcessingTimeout {
            inner: Box::new(count),
            timeout: interval,
            reset_timer_on_new_record: random.gen_bool(0.5),
            clear_on_timeout: random.gen_bool(0.5),
        }),
    }
}

fn evictor(random: &mut ChaCha8Rng) -> Evictor {
    let phase = if random.gen_bool(0.7) { EvictionPhase::Before } else { EvictionPhase::After };
    match random.gen_range(0..3) {
        0 => Evictor::Count { n: random.gen_range(1..=4), phase },
        1 => Evictor::Time { size: millis(random, 50..=1_500), phase },
        _ => {
            let threshold = Float::new(f64::from(random.gen_range(1..=40_u8)));
            Evictor::Delta { threshold, value: "value".into(), phase }
        }
    }
}

fn function(kind: FunctionKind, order: Order, random: &mut ChaCha8Rng) -> WindowFunction {
    match kind {
        FunctionKind::Aggregate => WindowFunction::Aggregate(aggregates(order, random)),
        FunctionKind::Reduce => WindowFunction::Reduce(reduction(order == Order::Merged, random)),
        FunctionKind::Process => {
            let mut aggregates = aggregates(order, random);
            let about_the_window = [("firings", "firings()"), ("of_key", "key_firings()"), ("passed", "watermark()")];
            for (name, call) in about_the_window {
                // Windows that merge keep no state of their own.
                if random.gen_bool(0.3) && !(name == "firings" && order == Order::Merged) {
                    aggregates.push(Assignment::new(name, call));
                }
            }
            WindowFunction::Process(aggregates)
        }
        // An evictor may take everything away: then sums and lists would be null.
        FunctionKind::Evicting => {
            let count = Assignment::new("records", "count()");
            let sum = Assignment::new("total", "sum(value)");
            WindowFunction::Process(vec![count, sum])
        }
    }
}

/// The number of records, and some aggregates.
pub(super) fn aggregates(order: Order, random: &mut ChaCha8Rng) -> Vec<Assignment> {
    let commutative = [
        ("total", "sum(value)"),
        ("mean", "avg(value)"),
        ("least", "min(value)"),
        ("greatest", "max(value)"),
        ("middle", "median(value)"),
    ];
    let ordered = [("oldest", "first(value)"), ("newest", "last(value)"), ("all", "list(value)")];
    let ordered = ordered.into_iter().filter(|_| order == Order::Kept);
    let mut aggregates = vec![Assignment::new("records", "count()")];
    for (name, call) in commutative.into_iter().chain(ordered) {
        if random.gen_bool(0.4) {
            aggregates.push(Assignment::new(name, call));
        }
    }
    aggregates
}
