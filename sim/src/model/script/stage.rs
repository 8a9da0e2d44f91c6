//! One subtask of a stage: what it does with records, and with watermarks.

use std::sync::Arc;

use tidegate::pipeline::{JoinSides, Plan, PlannedOperation, PlannedStage, ProcessFunction, Row, Trigger, WindowTime};

use super::{
    contents::FoldError,
    element::{Element, Output},
    fold::{AggregateStage, BufferStage, RollingStage},
    join::{EnrichStage, IntervalJoinStage, Side},
    keys::KeyGroups,
    process::ProcessStage,
    trigger,
    window::{WindowStage, Windowing},
};
use crate::model::ModelError;

/// A stage with everything that one of its subtasks keeps.
#[derive(Debug, Clone)]
pub(super) enum Operator {
    /// A stage without state.
    Stateless(Arc<PlannedOperation>),
    Aggregate(AggregateStage),
    Rolling(RollingStage),
    Process(ProcessStage),
    Window {
        key: Vec<usize>,
        stage: WindowStage,
    },
    WindowJoin {
        keys: [Vec<usize>; 2],
        stage: WindowStage,
    },
    Buffer(BufferStage),
    Enrich(EnrichStage),
    IntervalJoin(IntervalJoinStage),
}

impl Operator {
    pub(super) fn new(plan: &Plan, stage: &PlannedStage, key_groups: KeyGroups) -> Self {
        match &stage.operation {
            PlannedOperation::Filter { .. } | PlannedOperation::Map { .. } | PlannedOperation::Repeat { .. } => {
                Self::Stateless(Arc::new(stage.operation.clone()))
            }
            PlannedOperation::Aggregate { key, aggregates, emit } => {
                Self::Aggregate(AggregateStage::new(key, aggregates, *emit, key_groups))
            }
            PlannedOperation::Rolling { key, reduce } => Self::Rolling(RollingStage::new(key, reduce)),
            PlannedOperation::Process(process) => {
                Self::Process(ProcessStage::new(Arc::new(process.clone()), key_groups))
            }
            PlannedOperation::Window(window) => Self::Window {
                key: window.key.clone(),
                stage: WindowStage::new(Arc::new(Windowing::of(window)), key_groups),
            },
            PlannedOperation::WindowJoin(join) => {
                let left_fields = plan.schema(stage.inputs[0]).fields.len();
                Self::WindowJoin {
                    keys: [join.key.clone(), join.right_key.clone()],
                    stage: WindowStage::new(Arc::new(Windowing::of_join(join, left_fields)), key_groups),
                }
            }
            PlannedOperation::Buffer { threshold, aggregates, .. } => {
                Self::Buffer(BufferStage::new(*threshold, aggregates))
            }
            PlannedOperation::Enrich(enrich) => Self::Enrich(EnrichStage::new(Arc::new(enrich.clone()))),
            PlannedOperation::IntervalJoin(join) => {
                Self::IntervalJoin(IntervalJoinStage::new(Arc::new(join.clone()), key_groups))
            }
        }
    }

    pub(super) fn element(&mut self, side: Side, element: Element, out: &mut Output) -> Result<(), FoldError> {
        match self {
            Self::Stateless(operation) => stateless(operation, element, out),
            Self::Aggregate(stage) => stage.element(element, out),
            Self::Rolling(stage) => stage.element(element, out),
            Self::Process(stage) => stage.element(element, out),
            Self::Window { key, stage } => {
                let key = element.row.project(key);
                stage.element(&key, element, out)
            }
            Self::WindowJoin { keys, stage } => {
                let key = element.row.project(&keys[usize::from(side == Side::Right)]);
                let row = side.tag(&element.row);
                stage.element(&key, Element { row, ..element }, out)
            }
            Self::Buffer(stage) => stage.element(element, out),
            Self::Enrich(stage) => stage.element(side, element, out),
            Self::IntervalJoin(stage) => stage.element(side, element, out),
        }
    }

    pub(super) fn watermark(&mut self, watermark_ms: i64, out: &mut Output) -> Result<(), FoldError> {
        match self {
            Self::Aggregate(stage) => stage.watermark(watermark_ms, out),
            Self::Process(stage) => {
                stage.watermark(watermark_ms, out);
                Ok(())
            }
            Self::Window { stage, .. } | Self::WindowJoin { stage, .. } => stage.watermark(watermark_ms, out),
            Self::IntervalJoin(stage) => {
                stage.watermark(watermark_ms);
                Ok(())
            }
            Self::Stateless(_) | Self::Rolling(_) | Self::Buffer(_) | Self::Enrich(_) => Ok(()),
        }
    }

    /// Records that were dropped because they came too late.
    pub(super) fn dropped(&self) -> u64 {
        match self {
            Self::Window { stage, .. } | Self::WindowJoin { stage, .. } => stage.state.dropped,
            Self::IntervalJoin(stage) => stage.dropped,
            Self::Stateless(_)
            | Self::Aggregate(_)
            | Self::Rolling(_)
            | Self::Process(_)
            | Self::Buffer(_)
            | Self::Enrich(_) => 0,
        }
    }
}

fn stateless(operation: &PlannedOperation, element: Element, out: &mut Output) -> Result<(), FoldError> {
    match operation {
        PlannedOperation::Filter { condition } => {
            if condition.holds(&element.row)? {
                out.record(element.row, element.time_ms);
            }
        }
        PlannedOperation::Map { fields } => {
            let row = fields.iter().map(|field| field.evaluate(&element.row)).collect::<Result<Row, _>>()?;
            out.record(row, element.time_ms);
        }
        PlannedOperation::Repeat { count } => {
            for copy in 0..i64::try_from(*count).unwrap_or(i64::MAX) {
                let row = element.row.values().iter().cloned().chain([copy.into()]).collect();
                out.record(row, element.time_ms);
            }
        }
        PlannedOperation::Window(_)
        | PlannedOperation::Aggregate { .. }
        | PlannedOperation::Rolling { .. }
        | PlannedOperation::Process(_)
        | PlannedOperation::Buffer { .. }
        | PlannedOperation::Enrich(_)
        | PlannedOperation::IntervalJoin(_)
        | PlannedOperation::WindowJoin(_) => unreachable!("these keep state"),
    }
    Ok(())
}

/// How many different inputs a stage has.
pub(super) fn sides(stage: &PlannedStage) -> usize {
    match &stage.operation {
        PlannedOperation::Enrich(_) | PlannedOperation::WindowJoin(_) => 2,
        PlannedOperation::IntervalJoin(join) if join.declared.sides == JoinSides::Inputs => 2,
        PlannedOperation::IntervalJoin(_)
        | PlannedOperation::Filter { .. }
        | PlannedOperation::Map { .. }
        | PlannedOperation::Repeat { .. }
        | PlannedOperation::Window(_)
        | PlannedOperation::Aggregate { .. }
        | PlannedOperation::Rolling { .. }
        | PlannedOperation::Process(_)
        | PlannedOperation::Buffer { .. } => 1,
    }
}

/// The fields by which a record of an input is dealt out; `None` if it is not.
pub(super) fn key_of(stage: &PlannedStage, side: Side, row: &Row) -> Result<Option<Row>, FoldError> {
    let fields = match &stage.operation {
        PlannedOperation::Filter { .. }
        | PlannedOperation::Map { .. }
        | PlannedOperation::Repeat { .. }
        | PlannedOperation::Buffer { .. } => return Ok(None),
        // Rules go to all.
        PlannedOperation::Enrich(enrich) => &enrich.key,
        PlannedOperation::Window(window) => &window.key,
        PlannedOperation::Aggregate { key, .. } | PlannedOperation::Rolling { key, .. } => key,
        PlannedOperation::Process(process) => &process.key,
        PlannedOperation::IntervalJoin(join) => {
            let is_left = match &join.left {
                Some(left) => left.holds(row)?,
                None => side == Side::Left,
            };
            if is_left { &join.key } else { &join.right_key }
        }
        PlannedOperation::WindowJoin(join) => match side {
            Side::Left => &join.key,
            Side::Right => &join.right_key,
        },
    };
    Ok(Some(row.project(fields)))
}

/// The number of its subtasks.
pub(super) fn parallelism(stage: &PlannedStage) -> usize {
    match &stage.operation {
        PlannedOperation::Window(window) if window.key.is_empty() => 1,
        PlannedOperation::Window(_)
        | PlannedOperation::Filter { .. }
        | PlannedOperation::Map { .. }
        | PlannedOperation::Repeat { .. }
        | PlannedOperation::Aggregate { .. }
        | PlannedOperation::Rolling { .. }
        | PlannedOperation::Process(_)
        | PlannedOperation::Buffer { .. }
        | PlannedOperation::Enrich(_)
        | PlannedOperation::IntervalJoin(_)
        | PlannedOperation::WindowJoin(_) => stage.parallelism as usize,
    }
}

/// Refuses what has not one right result even if all records come in one order.
pub(super) fn check(stage: &PlannedStage) -> Result<(), ModelError> {
    let clock = || Err(ModelError::Clock { name: stage.name.clone() });
    let windowing = match &stage.operation {
        PlannedOperation::Window(window) if window.declared.time == WindowTime::Processing => return clock(),
        PlannedOperation::Window(window) => Windowing::of(window),
        PlannedOperation::WindowJoin(join) if join.declared.time == WindowTime::Processing => return clock(),
        PlannedOperation::WindowJoin(join) => Windowing::of_join(join, 0),
        PlannedOperation::Process(process) => {
            let has_clock =
                matches!(process.declared.function, ProcessFunction::Timers { time: WindowTime::Processing, .. });
            let says_when = process.declared.processed_at.is_some();
            return if has_clock || says_when || process.declared.ttl.is_some() { clock() } else { Ok(()) };
        }
        PlannedOperation::IntervalJoin(join) if join.declared.ttl.is_some() => return clock(),
        PlannedOperation::IntervalJoin(_)
        | PlannedOperation::Filter { .. }
        | PlannedOperation::Map { .. }
        | PlannedOperation::Repeat { .. }
        | PlannedOperation::Aggregate { .. }
        | PlannedOperation::Rolling { .. }
        | PlannedOperation::Buffer { .. }
        | PlannedOperation::Enrich(_) => return Ok(()),
    };
    if trigger::has_clock(&windowing.trigger) {
        return clock();
    }
    if windowing.merges() && !trigger::can_merge(&windowing.trigger) {
        return Err(ModelError::fails(&stage.name, "its trigger cannot be used with windows that merge"));
    }
    if windowing.merges() && windowing.has_window_state() {
        return Err(ModelError::fails(&stage.name, "windows that merge keep no state of their own"));
    }
    Ok(())
}

/// Whether it looks at the watermark.
pub(super) fn has_event_time(stage: &PlannedStage) -> bool {
    match &stage.operation {
        PlannedOperation::Window(window) => {
            Windowing::of(window).trigger != Trigger::Never || !window.declared.allowed_lateness.is_zero()
        }
        PlannedOperation::Process(process) => matches!(process.declared.function, ProcessFunction::Timers { .. }),
        PlannedOperation::IntervalJoin(_) | PlannedOperation::WindowJoin(_) => true,
        PlannedOperation::Filter { .. }
        | PlannedOperation::Map { .. }
        | PlannedOperation::Repeat { .. }
        | PlannedOperation::Aggregate { .. }
        | PlannedOperation::Rolling { .. }
        | PlannedOperation::Buffer { .. }
        | PlannedOperation::Enrich(_) => false,
    }
}
