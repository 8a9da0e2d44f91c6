//! The checks of a plan's parts: expressions, keys, aggregates, windows, joins. Each is a function from a part and the schema
//! before it to what is planned, or to the first problem.

mod join;
mod state;
mod window;

use std::collections::BTreeSet;

pub(super) use join::{check_enrich, check_interval_join, check_window_join};
pub(super) use state::{check_aggregate, check_buffer, check_process, check_rolling};
pub(super) use window::check_window;

use super::{Checked, PlannedEventTime, PlannedOperation, PlannedReduce};
use crate::pipeline::{
    aggregate::{Aggregate, AggregateScope},
    expression::Expression,
    model::{Assignment, EventTime, OnMissingEventTime},
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
    let (fields, schema) = check_fields(fields, schema, &place)?;
    Ok((PlannedOperation::Map { fields }, schema))
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

fn check_aggregates(
    aggregates: &[Assignment],
    schema: &Schema,
    scope: AggregateScope,
    place: &Place,
) -> Checked<Vec<Aggregate>> {
    if aggregates.is_empty() {
        return Err(Problem::new(place.clone(), "there is no aggregate")
            .with_hint("for example aggregate = { n = \"count()\" }"));
    }
    let parse = |aggregate: &Assignment| {
        Aggregate::parse_in(&aggregate.expression, schema, scope)
            .map_err(|error| Problem::expression(place.key(aggregate.name.clone()), error))
    };
    aggregates.iter().map(parse).collect()
}

/// The fields of a fold's result: key, window bounds, aggregates. `place` is that of the aggregates.
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

/// The fields of two records one after the other: `a.NAME`, `b.NAME`.
fn pair_schema(left: &Schema, right: &Schema) -> Schema {
    let prefixed = |prefix: &'static str, schema: &Schema| {
        schema.fields.clone().into_iter().map(move |field| Field { name: format!("{prefix}.{}", field.name), ..field })
    };
    Schema::new(prefixed("a", left).chain(prefixed("b", right)).collect::<Vec<_>>())
}

/// The fields of a result by their expressions.
fn check_fields(fields: &[Assignment], schema: &Schema, place: &Place) -> Checked<(Vec<Expression>, Schema)> {
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
    Ok((expressions, Schema::new(result)))
}

/// How two records of a schema become one: the assigned fields keep their types.
fn check_reduce(fields: &[Assignment], schema: &Schema, place: &Place) -> Checked<PlannedReduce> {
    if fields.is_empty() {
        return Err(Problem::new(place.clone(), "nothing is reduced")
            .with_hint("for example { total = \"a.total + b.total\" }"));
    }
    unique_fields(fields.iter().map(|field| (field.name.as_str(), place.key(field.name.clone()))))?;
    let pair = pair_schema(schema, schema);
    let mut reduced: Vec<Option<Expression>> = vec![None; schema.fields.len()];
    for Assignment { name, expression } in fields {
        let place = place.key(name.clone());
        let Some(index) = schema.index_of(name) else {
            let problem = Problem::new(place, format!("the input has no field `{name}`"));
            return Err(problem.with_hint(nearest::hint(name, "fields", schema.names())));
        };
        let field = &schema.fields[index];
        let expression = check_expression(expression, &pair, &place)?;
        if expression.field_type() != field.field_type {
            let message = format!("`{name}` is {}, this is {}", field.field_type, expression.field_type());
            return Err(Problem::new(place, message));
        }
        if field.nullability == Nullability::NotNull && expression.nullability() == Nullability::Nullable {
            return Err(Problem::new(place, format!("`{name}` is never null, this may be")));
        }
        reduced[index] = Some(expression);
    }
    Ok(PlannedReduce { fields: reduced })
}

pub(super) fn check_repeat(
    count: u64,
    index: &str,
    schema: &Schema,
    place: &Place,
) -> Checked<(PlannedOperation, Schema)> {
    if i64::try_from(count).is_err() {
        return Err(Problem::new(place.key("count"), "count must be less than 2^63"));
    }
    let fields: Vec<Field> = schema.fields.iter().cloned().chain([Field::new(index, FieldType::Int)]).collect();
    unique_fields(fields.iter().map(|field| (field.name.as_str(), place.key("index"))))?;
    Ok((PlannedOperation::Repeat { count }, Schema::new(fields)))
}
