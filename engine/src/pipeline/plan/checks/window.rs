//! The checks of windows.

use std::time::Duration;

use super::{Checked, check_aggregates, check_expression, check_key, check_reduce, folded_schema, unique_fields};
use crate::pipeline::{
    aggregate::AggregateScope,
    expression::Expression,
    model::{Assigner, Evictor, Trigger, WindowBounds, WindowFunction, WindowOperation, WindowTime},
    plan::{PlannedOperation, PlannedWindow, PlannedWindowFunction, planner::Known},
    problem::{Place, Problem},
    schema::{Field, FieldType, Nullability, Schema},
};

const BOUNDS: [&str; 2] = ["window_start", "window_end"];

pub(in crate::pipeline::plan) fn check_window(
    window: &WindowOperation,
    input: &Known,
    place: &Place,
) -> Checked<(PlannedOperation, Schema)> {
    let gap = check_assigner(&window.assigner, window.time, input, place)?;
    let counts = matches!(window.assigner, Assigner::Count { .. });
    if counts && (window.trigger.is_some() || window.evictor.is_some()) {
        let option = if window.trigger.is_some() { "trigger" } else { "evictor" };
        let problem = Problem::new(place.key(option), format!("windows of a number of records have no {option}"));
        return Err(problem.with_hint("the assigner `global` takes any trigger and evictor"));
    }
    let trigger_value = match &window.trigger {
        Some(trigger) => check_trigger(trigger, input, &place.key("trigger"))?,
        None => None,
    };
    let evictor_value = match &window.evictor {
        Some(evictor) => check_evictor(evictor, &input.schema, &place.key("evictor"))?,
        None => None,
    };
    if window.time == WindowTime::Processing && !window.allowed_lateness.is_zero() {
        return Err(Problem::new(place.key("allowed_lateness"), "in processing time nothing is late"));
    }
    let key = check_key(&window.key, &input.schema, place)?;
    let has_end = !matches!(window.assigner, Assigner::Global | Assigner::Count { .. });
    let has_bounds = has_end && window.bounds == WindowBounds::Shown;
    let (function, schema) = check_function(&window.function, &input.schema, &key, has_bounds, place)?;
    let declared = window.clone();
    let planned = PlannedWindow { key, declared, gap, trigger_value, evictor_value, function, has_bounds };
    Ok((PlannedOperation::Window(planned), schema))
}

fn check_function(
    function: &WindowFunction,
    input: &Schema,
    key: &[usize],
    has_bounds: bool,
    place: &Place,
) -> Checked<(PlannedWindowFunction, Schema)> {
    let bounds: &[&str] = if has_bounds { &BOUNDS } else { &[] };
    Ok(match function {
        WindowFunction::Aggregate(assignments) => {
            let place = place.key("aggregate");
            let aggregates = check_aggregates(assignments, input, AggregateScope::Incremental, &place)?;
            let schema = folded_schema(input, key, bounds, (assignments, &aggregates), &place)?;
            (PlannedWindowFunction::Aggregate(aggregates), schema)
        }
        WindowFunction::Process(assignments) => {
            let place = place.key("process");
            let aggregates = check_aggregates(assignments, input, AggregateScope::FullWindow, &place)?;
            let schema = folded_schema(input, key, bounds, (assignments, &aggregates), &place)?;
            (PlannedWindowFunction::Process(aggregates), schema)
        }
        WindowFunction::Reduce(assignments) => {
            let reduce = check_reduce(assignments, input, &place.key("reduce"))?;
            let bounds = bounds.iter().map(|name| Field::new(*name, FieldType::Int));
            let fields: Vec<Field> = input.fields.iter().cloned().chain(bounds).collect();
            unique_fields(fields.iter().map(|field| (field.name.as_str(), place.key("bounds"))))
                .map_err(|problem| problem.with_hint("bounds = false leaves out window_start and window_end"))?;
            (PlannedWindowFunction::Reduce(reduce), Schema::new(fields))
        }
    })
}

/// The gap of a dynamic session.
pub(super) fn check_assigner(
    assigner: &Assigner,
    time: WindowTime,
    input: &Known,
    place: &Place,
) -> Checked<Option<Expression>> {
    let here = place.key("assigner");
    let positive = |duration: Duration, key: &'static str| {
        if duration.is_zero() {
            return Err(Problem::new(here.key(key), format!("{key} must be more than zero")));
        }
        Ok(())
    };
    let less = |offset: Duration, limit: Duration, name: &str| {
        if offset >= limit {
            return Err(Problem::new(here.key("offset"), format!("the offset must be less than the {name}")));
        }
        Ok(())
    };
    let mut dynamic_gap = None;
    match assigner {
        Assigner::Tumbling { size, offset } => {
            positive(*size, "size")?;
            less(*offset, *size, "size")?;
        }
        Assigner::Sliding { size, slide, offset } => {
            positive(*size, "size")?;
            positive(*slide, "slide")?;
            less(*offset, *slide, "slide")?;
        }
        Assigner::Session { gap } => positive(*gap, "gap")?,
        Assigner::DynamicSession { gap } => {
            dynamic_gap = Some(check_gap(gap, &input.schema, &here.key("gap_ms"))?);
        }
        Assigner::Global => return Ok(None),
        Assigner::Count { size, slide } => {
            for (number, key) in [(*size, "n"), (slide.unwrap_or(1), "every")] {
                if number == 0 || i64::try_from(number).is_err() {
                    return Err(Problem::new(here.key(key), format!("{key} must be at least 1 and less than 2^63")));
                }
            }
            return Ok(None);
        }
    }
    if time == WindowTime::Event && !input.has_event_time {
        return Err(Problem::new(here, "these windows need event time, which the input lacks")
            .with_hint("give its source an `event_time`, or the window time = \"processing\""));
    }
    Ok(dynamic_gap)
}

fn check_gap(text: &str, schema: &Schema, place: &Place) -> Checked<Expression> {
    let gap = check_expression(text, schema, place)?;
    if gap.field_type() != FieldType::Int || gap.nullability() == Nullability::Nullable {
        return Err(Problem::new(place.clone(), "a gap is an int (milliseconds) that is never null"));
    }
    Ok(gap)
}

fn check_number(text: &str, schema: &Schema, place: &Place) -> Checked<Expression> {
    let value = check_expression(text, schema, place)?;
    if !value.field_type().is_number() || value.nullability() == Nullability::Nullable {
        return Err(Problem::new(place.clone(), "this must be a number that is never null"));
    }
    Ok(value)
}

/// The value of the delta trigger in it.
pub(super) fn check_trigger(trigger: &Trigger, input: &Known, place: &Place) -> Checked<Option<Expression>> {
    let interval = |interval: &Duration| {
        if interval.is_zero() {
            return Err(Problem::new(place.key("interval"), "interval must be more than zero"));
        }
        Ok(None)
    };
    match trigger {
        Trigger::EventTime | Trigger::ProcessingTime | Trigger::Never | Trigger::EndOfStream => Ok(None),
        Trigger::Count { n: 0 } => Err(Problem::new(place.key("n"), "n must be at least 1")),
        Trigger::Count { .. } => Ok(None),
        Trigger::ContinuousEventTime { interval: every } | Trigger::ContinuousProcessingTime { interval: every } => {
            interval(every)
        }
        Trigger::Delta { value, .. } => check_number(value, &input.schema, &place.key("value")).map(Some),
        Trigger::ProcessingTimeout { inner, timeout, .. } => {
            if timeout.is_zero() {
                return Err(Problem::new(place.key("timeout"), "timeout must be more than zero"));
            }
            check_trigger(inner, input, &place.key("inner"))
        }
        Trigger::Purging { inner } => check_trigger(inner, input, &place.key("inner")),
    }
}

/// The value of a delta evictor.
fn check_evictor(evictor: &Evictor, schema: &Schema, place: &Place) -> Checked<Option<Expression>> {
    match evictor {
        Evictor::Count { n: 0, .. } => Err(Problem::new(place.key("n"), "n must be at least 1")),
        Evictor::Count { .. } | Evictor::Time { .. } => Ok(None),
        Evictor::Delta { value, .. } => check_number(value, schema, &place.key("value")).map(Some),
    }
}
