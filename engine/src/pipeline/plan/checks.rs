//! The checks of a plan's parts: expressions, keys, aggregates, windows. Each is a function from a part and the schema before it
//! to what is planned, or to the first problem.

use std::{collections::BTreeSet, time::Duration};

use super::{Checked, Known, PlannedEventTime, PlannedOperation};
use crate::pipeline::{
    aggregate::Aggregate,
    expression::Expression,
    model::{
        AggregateOperation, Assigner, Assignment, EventTime, Evictor, OnMissingEventTime, Trigger, WindowOperation,
    },
    nearest,
    problem::{Place, Problem},
    schema::{Field, FieldType, Nullability, Schema},
};

fn check_expression(text: &str, schema: &Schema, place: &Place) -> Checked<Expression> {
    Expression::parse(text, schema).map_err(|error| Problem::expression(place.clone(), error))
}

pub(super) fn check_event_time(event_time: &EventTime, schema: &Schema, place: &Place) -> Checked<PlannedEventTime> {
    let here = place.key("event_time");
    let expression = check_expression(&event_time.expression, schema, &here)?;
    if expression.field_type() != FieldType::Int {
        let message =
            format!("event time is an int (milliseconds since the epoch), this is {}", expression.field_type());
        return Err(Problem::new(here, message));
    }
    let on_missing = match (event_time.on_missing, expression.nullability()) {
        (Some(on_missing), _) => on_missing,
        (None, Nullability::NotNull) => OnMissingEventTime::Fail,
        (None, Nullability::Nullable) => {
            return Err(Problem::new(here, "event time may be null").with_hint(
                "say what happens then: on_missing_event_time = \"drop\" or \"fail\", or use coalesce(x, …)",
            ));
        }
    };
    if event_time.idle_timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(Problem::new(place.key("idle_timeout"), "idle_timeout must be more than zero"));
    }
    Ok(PlannedEventTime {
        expression,
        on_missing,
        max_out_of_orderness: event_time.max_out_of_orderness,
        idle_timeout: event_time.idle_timeout,
    })
}

pub(super) fn check_filter(condition: &str, schema: &Schema, place: &Place) -> Checked<(PlannedOperation, Schema)> {
    let place = place.key("condition");
    let condition = check_expression(condition, schema, &place)?;
    if condition.field_type() != FieldType::Bool {
        let message = format!("a condition is a bool, this is {}", condition.field_type());
        return Err(Problem::new(place, message).with_hint("compare it with something"));
    }
    Ok((PlannedOperation::Filter { condition }, schema.clone()))
}

pub(super) fn check_map(fields: &[Assignment], schema: &Schema, place: &Place) -> Checked<(PlannedOperation, Schema)> {
    let place = place.key("fields");
    if fields.is_empty() {
        return Err(Problem::new(place, "a map needs at least one field"));
    }
    unique_fields(fields.iter().map(|field| (field.name.as_str(), place.key(field.name.clone()))))?;
    let mut expressions = Vec::new();
    let mut result = Vec::new();
    for Assignment { name, expression } in fields {
        let expression = check_expression(expression, schema, &place.key(name.clone()))?;
        result.push(Field {
            name: name.clone(),
            field_type: expression.field_type(),
            nullability: expression.nullability(),
        });
        expressions.push(expression);
    }
    Ok((PlannedOperation::Map { fields: expressions }, Schema::new(result)))
}

fn check_key(key: &[String], schema: &Schema, place: &Place) -> Checked<Vec<usize>> {
    let place = place.key("key");
    let mut indices = Vec::new();
    for (index, name) in key.iter().enumerate() {
        let Some(field) = schema.index_of(name) else {
            let problem = Problem::new(place.index(index), format!("the input has no field `{name}` to be a key"));
            return Err(problem.with_hint(nearest::hint(name, "fields", schema.names())));
        };
        if indices.contains(&field) {
            return Err(Problem::new(place.index(index), format!("`{name}` is in the key twice")));
        }
        indices.push(field);
    }
    Ok(indices)
}

fn check_aggregates(aggregates: &[Assignment], schema: &Schema, place: &Place) -> Checked<Vec<Aggregate>> {
    let place = place.key("aggregate");
    if aggregates.is_empty() {
        return Err(
            Problem::new(place, "there is no aggregate").with_hint("for example aggregate = { n = \"count()\" }")
        );
    }
    let parse = |aggregate: &Assignment| {
        Aggregate::parse(&aggregate.expression, schema)
            .map_err(|error| Problem::expression(place.key(aggregate.name.clone()), error))
    };
    aggregates.iter().map(parse).collect()
}

/// The fields of a fold's result: key, window bounds, aggregates.
fn folded_schema(
    input: &Schema,
    key: &[usize],
    bounds: &[&str],
    (assignments, aggregates): (&[Assignment], &[Aggregate]),
    place: &Place,
) -> Checked<Schema> {
    let mut fields: Vec<Field> = key.iter().map(|index| input.fields[*index].clone()).collect();
    fields.extend(bounds.iter().map(|name| Field::new(*name, FieldType::Int)));
    fields.extend(assignments.iter().zip(aggregates).map(|(assignment, aggregate)| Field {
        name: assignment.name.clone(),
        field_type: aggregate.field_type(),
        nullability: aggregate.nullability(),
    }));
    let place = place.key("aggregate");
    unique_fields(fields.iter().map(|field| (field.name.as_str(), place.key(field.name.clone()))))?;
    Ok(Schema::new(fields))
}

pub(super) fn unique_fields<'a>(names: impl Iterator<Item = (&'a str, Place)>) -> Checked<()> {
    let mut seen = BTreeSet::new();
    for (name, place) in names {
        if name.is_empty() {
            return Err(Problem::new(place, "a field needs a name"));
        }
        if !seen.insert(name) {
            return Err(Problem::new(place, format!("there are two fields `{name}`")));
        }
    }
    Ok(())
}

pub(super) fn check_window(
    window: &WindowOperation,
    input: &Known,
    place: &Place,
) -> Checked<(PlannedOperation, Schema)> {
    check_assigner(&window.assigner, input, place)?;
    if let Some(trigger) = &window.trigger {
        check_trigger(trigger, &place.key("trigger"))?;
    }
    if let Some(Evictor::Count { n: 0, .. }) = &window.evictor {
        return Err(Problem::new(place.key("evictor").key("n"), "n must be at least 1"));
    }
    let key = check_key(&window.key, &input.schema, place)?;
    let aggregates = check_aggregates(&window.aggregates, &input.schema, place)?;
    let bounds: &[&str] = match window.assigner {
        Assigner::Global => &[],
        Assigner::Tumbling { .. } | Assigner::Sliding { .. } | Assigner::Session { .. } => {
            &["window_start", "window_end"]
        }
    };
    let schema = folded_schema(&input.schema, &key, bounds, (&window.aggregates, &aggregates), place)?;
    Ok((PlannedOperation::Window { key, window: window.clone(), aggregates }, schema))
}

fn check_assigner(assigner: &Assigner, input: &Known, place: &Place) -> Checked<()> {
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
    match *assigner {
        Assigner::Tumbling { size, offset } => {
            positive(size, "size")?;
            less(offset, size, "size")?;
        }
        Assigner::Sliding { size, slide, offset } => {
            positive(size, "size")?;
            positive(slide, "slide")?;
            less(offset, slide, "slide")?;
        }
        Assigner::Session { gap } => positive(gap, "gap")?,
        Assigner::Global => return Ok(()),
    }
    if !input.has_event_time {
        return Err(Problem::new(here, "these windows need event time, which the input lacks")
            .with_hint("give its source an `event_time`"));
    }
    Ok(())
}

fn check_trigger(trigger: &Trigger, place: &Place) -> Checked<()> {
    match trigger {
        Trigger::EventTime => Ok(()),
        Trigger::Count { n: 0 } => Err(Problem::new(place.key("n"), "n must be at least 1")),
        Trigger::Count { .. } => Ok(()),
        Trigger::ContinuousEventTime { interval } if interval.is_zero() => {
            Err(Problem::new(place.key("interval"), "interval must be more than zero"))
        }
        Trigger::ContinuousEventTime { .. } => Ok(()),
        Trigger::Purging { inner } => check_trigger(inner, &place.key("inner")),
    }
}

pub(super) fn check_aggregate(
    aggregate: &AggregateOperation,
    schema: &Schema,
    place: &Place,
) -> Checked<(PlannedOperation, Schema)> {
    if aggregate.key.is_empty() {
        return Err(Problem::new(place.key("key"), "a running aggregate needs a key"));
    }
    let key = check_key(&aggregate.key, schema, place)?;
    let aggregates = check_aggregates(&aggregate.aggregates, schema, place)?;
    let result = folded_schema(schema, &key, &[], (&aggregate.aggregates, &aggregates), place)?;
    Ok((PlannedOperation::Aggregate { key, aggregates, emit: aggregate.emit }, result))
}
