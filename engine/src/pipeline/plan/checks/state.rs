//! The checks of operations that keep state.

use super::{Checked, check_aggregates, check_expression, check_key, check_reduce, folded_schema, unique_fields};
use crate::pipeline::{
    aggregate::AggregateScope,
    model::{
        AggregateOperation, BufferOperation, ProcessFunction, ProcessOperation, RollingOperation, StateTtl, WindowTime,
    },
    plan::{PlannedOperation, PlannedProcess, planner::Known},
    problem::{Place, Problem},
    schema::{Field, FieldType, Nullability, Schema},
};

fn needs_key(key: &[String], what: &str, place: &Place) -> Checked<()> {
    if key.is_empty() {
        return Err(Problem::new(place.key("key"), format!("{what} needs a key")));
    }
    Ok(())
}

pub(in crate::pipeline::plan) fn check_aggregate(
    aggregate: &AggregateOperation,
    schema: &Schema,
    place: &Place,
) -> Checked<(PlannedOperation, Schema)> {
    needs_key(&aggregate.key, "a running aggregate", place)?;
    let key = check_key(&aggregate.key, schema, place)?;
    let place = place.key("aggregate");
    let aggregates = check_aggregates(&aggregate.aggregates, schema, AggregateScope::Incremental, &place)?;
    let result = folded_schema(schema, &key, &[], (&aggregate.aggregates, &aggregates), &place)?;
    Ok((PlannedOperation::Aggregate { key, aggregates, emit: aggregate.emit }, result))
}

pub(in crate::pipeline::plan) fn check_rolling(
    rolling: &RollingOperation,
    schema: &Schema,
    place: &Place,
) -> Checked<(PlannedOperation, Schema)> {
    needs_key(&rolling.key, "a rolling reduction", place)?;
    let key = check_key(&rolling.key, schema, place)?;
    let reduce = check_reduce(&rolling.fields, schema, &place.key("fields"))?;
    Ok((PlannedOperation::Rolling { key, reduce }, schema.clone()))
}

pub(in crate::pipeline::plan) fn check_buffer(
    buffer: &BufferOperation,
    schema: &Schema,
    place: &Place,
) -> Checked<(PlannedOperation, Schema)> {
    if buffer.threshold == 0 {
        return Err(Problem::new(place.key("threshold"), "threshold must be at least 1"));
    }
    let place = place.key("aggregate");
    let aggregates = check_aggregates(&buffer.aggregates, schema, AggregateScope::Incremental, &place)?;
    let result = folded_schema(schema, &[], &[], (&buffer.aggregates, &aggregates), &place)?;
    Ok((PlannedOperation::Buffer { threshold: buffer.threshold, mode: buffer.mode, aggregates }, result))
}

pub(in crate::pipeline::plan) fn check_process(
    process: &ProcessOperation,
    input: &Known,
    place: &Place,
) -> Checked<(PlannedOperation, Schema)> {
    needs_key(&process.key, "a function with state", place)?;
    let schema = &input.schema;
    let key = check_key(&process.key, schema, place)?;
    match process.function {
        ProcessFunction::ValueAvg { n: 0 }
        | ProcessFunction::ListAvg { n: 0 }
        | ProcessFunction::MapAvg { n: 0 }
        | ProcessFunction::MapCount { n: 0 } => {
            return Err(Problem::new(place.key("n"), "n must be at least 1"));
        }
        ProcessFunction::Timers { time: WindowTime::Event, .. } if !input.has_event_time => {
            return Err(Problem::new(place.key("function"), "these timers need event time, which the input lacks")
                .with_hint("give its source an `event_time`, or the stage time = \"processing\""));
        }
        _ => {}
    }
    if let Some(ttl) = &process.ttl {
        check_ttl(ttl, &place.key("ttl"))?;
    }
    let value = match (&process.value, process.function.reads_value()) {
        (Some(value), true) => {
            let place = place.key("value");
            let value = check_expression(value, schema, &place)?;
            if value.field_type() != FieldType::Int || value.nullability() == Nullability::Nullable {
                return Err(Problem::new(place, "the value is an int that is never null")
                    .with_hint("coalesce(x, 0) gives nulls a value"));
            }
            Some(value)
        }
        (None, true) => {
            let message = format!("the function {} needs a `value`", process.function.name());
            return Err(Problem::new(place.clone(), message));
        }
        (_, false) => None,
    };
    let raw = process.function == ProcessFunction::RawCount;
    let unknown = [("processed_at", process.processed_at.is_some()), ("every_record", process.every_record)];
    if let Some((option, _)) = unknown.into_iter().find(|(_, present)| raw && *present) {
        return Err(Problem::new(place.key(option), format!("the function raw_count has no `{option}`")));
    }
    let mut fields = match process.function {
        ProcessFunction::Dedup => schema.fields.clone(),
        function => {
            let mut fields: Vec<Field> = key.iter().map(|index| schema.fields[*index].clone()).collect();
            fields.push(Field::new("value", FieldType::Int));
            fields.extend(function.has_text().then(|| Field::new("text", FieldType::Text)));
            unique_fields(fields.iter().map(|field| (field.name.as_str(), place.key("key"))))?;
            fields
        }
    };
    let planned = PlannedProcess { key, value, declared: process.clone() };
    if process.every_record {
        let of_key = planned.key_of_result();
        let others = fields.iter_mut().enumerate().filter(|(index, _)| !of_key.contains(index));
        others.for_each(|(_, field)| field.nullability = Nullability::Nullable);
    }
    if let Some(name) = &process.processed_at {
        let place = place.key("processed_at");
        if fields.iter().any(|field| field.name == *name) {
            return Err(Problem::new(place, format!("the results have a field `{name}` already")));
        }
        fields.push(Field::new(name, FieldType::Int));
        unique_fields(fields.iter().map(|field| (field.name.as_str(), place.clone())))?;
    }
    Ok((PlannedOperation::Process(planned), Schema::new(fields)))
}

pub(super) fn check_ttl(ttl: &StateTtl, place: &Place) -> Checked<()> {
    if ttl.ttl.is_zero() {
        return Err(Problem::new(place.key("time"), "time must be more than zero"));
    }
    if ttl.cleanup.incremental == Some(0) {
        return Err(Problem::new(place.key("incremental"), "incremental must be at least 1"));
    }
    Ok(())
}
