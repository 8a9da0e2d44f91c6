//! The checks of joins.

use super::{
    Checked, check_expression, check_fields, check_key, pair_schema,
    state::check_ttl,
    window::{check_assigner, check_trigger},
};
use crate::pipeline::{
    model::{Assigner, EnrichOperation, IntervalJoinOperation, JoinKind, JoinSides, LateRecords, WindowJoinOperation},
    plan::{PlannedEnrich, PlannedIntervalJoin, PlannedOperation, PlannedWindowJoin, planner::Known},
    problem::{Place, Problem},
    schema::{Field, FieldType, Nullability, Schema},
};

/// The fields of both keys, which must have the same types.
fn check_keys(
    (left, left_names): (&Schema, &[String]),
    (right, right_names, option): (&Schema, &[String], &'static str),
    place: &Place,
) -> Checked<(Vec<usize>, Vec<usize>)> {
    if left_names.is_empty() {
        return Err(Problem::new(place.key("key"), "a join needs a key"));
    }
    let key = check_key(left_names, left, place)?;
    let mut right_key = Vec::new();
    for (index, name) in right_names.iter().enumerate() {
        let Some(field) = right.index_of(name) else {
            let message = format!("the second input has no field `{name}` to be a key");
            return Err(Problem::new(place.key(option).index(index), message));
        };
        right_key.push(field);
    }
    let types =
        |schema: &Schema, key: &[usize]| key.iter().map(|field| schema.fields[*field].field_type).collect::<Vec<_>>();
    if types(left, &key) != types(right, &right_key) {
        return Err(Problem::new(place.key(option), "the keys of the two inputs have other types"));
    }
    Ok((key, right_key))
}

fn or_same<'a>(right: &'a [String], left: &'a [String]) -> (&'a [String], &'static str) {
    if right.is_empty() { (left, "key") } else { (right, "right_key") }
}

fn nullable(schema: &Schema) -> Schema {
    let fields = schema.fields.iter().cloned();
    Schema::new(fields.map(|field| Field { nullability: Nullability::Nullable, ..field }).collect::<Vec<_>>())
}

fn with_field(schema: &Schema, name: &str) -> Schema {
    Schema::new(schema.fields.iter().cloned().chain([Field::new(name, FieldType::Int)]).collect::<Vec<_>>())
}

fn no_fields(place: &Place) -> Problem {
    Problem::new(place.clone(), "a join needs at least one field")
        .with_hint("for example { total = \"a.total + b.total\" }")
}

pub(in crate::pipeline::plan) fn check_enrich(
    enrich: &EnrichOperation,
    records: &Known,
    rules: &Known,
    place: &Place,
) -> Checked<(PlannedOperation, Schema)> {
    let right = (&rules.schema, enrich.rule_key.as_slice(), "rule_key");
    let (key, rule_key) = check_keys((&records.schema, &enrich.key), right, place)?;
    let place = place.key("fields");
    if enrich.fields.is_empty() {
        return Err(no_fields(&place));
    }
    let pair = pair_schema(&records.schema, &nullable(&rules.schema));
    let (fields, schema) = check_fields(&enrich.fields, &pair, &place)?;
    let rule_schema = rules.schema.clone();
    Ok((
        PlannedOperation::Enrich(PlannedEnrich { key, rule_key, rule_schema, declared: enrich.clone(), fields }),
        schema,
    ))
}

/// `right` is the left input again if there is one input only.
pub(in crate::pipeline::plan) fn check_interval_join(
    join: &IntervalJoinOperation,
    left: &Known,
    right: &Known,
    place: &Place,
) -> Checked<(PlannedOperation, Schema)> {
    if !(left.has_event_time && right.has_event_time) {
        return Err(Problem::new(place.key("input"), "an interval join needs event time, which an input lacks")
            .with_hint("give its source an `event_time`"));
    }
    let condition = match &join.sides {
        JoinSides::Inputs => None,
        JoinSides::Condition(condition) => {
            let place = place.key("left");
            let condition = check_expression(condition, &left.schema, &place)?;
            if condition.field_type() != FieldType::Bool {
                return Err(Problem::new(place, format!("a condition is a bool, this is {}", condition.field_type())));
            }
            Some(condition)
        }
    };
    if join.lower_ms > join.upper_ms {
        return Err(Problem::new(place.key("upper_ms"), "upper_ms must not be less than lower_ms"));
    }
    if join.late_records == LateRecords::SideOutput && left.schema != right.schema {
        return Err(Problem::new(place.key("late_records"), "the late records of both inputs need the same fields"));
    }
    if let Some(ttl) = &join.ttl {
        check_ttl(ttl, &place.key("ttl"))?;
    }
    let (right_names, option) = or_same(&join.right_key, &join.key);
    let (key, right_key) = check_keys((&left.schema, &join.key), (&right.schema, right_names, option), place)?;
    let place = place.key("fields");
    if join.fields.is_empty() {
        return Err(no_fields(&place));
    }
    let pair = pair_schema(&with_field(&left.schema, "rowtime"), &with_field(&right.schema, "rowtime"));
    let (fields, schema) = check_fields(&join.fields, &pair, &place)?;
    let (right_schema, declared) = (right.schema.clone(), join.clone());
    let planned = PlannedIntervalJoin { left: condition, key, right_key, right_schema, declared, fields };
    Ok((PlannedOperation::IntervalJoin(planned), schema))
}

pub(in crate::pipeline::plan) fn check_window_join(
    join: &WindowJoinOperation,
    left: &Known,
    right: &Known,
    place: &Place,
) -> Checked<(PlannedOperation, Schema)> {
    let both = Known { has_event_time: left.has_event_time && right.has_event_time, ..left.clone() };
    if matches!(join.assigner, Assigner::DynamicSession { .. }) {
        return Err(Problem::new(place.key("assigner").key("gap_ms"), "the two inputs of a join share one gap"));
    }
    if matches!(join.assigner, Assigner::Count { .. }) {
        return Err(Problem::new(place.key("assigner"), "records are not joined by their number"));
    }
    check_assigner(&join.assigner, join.time, &both, place)?;
    if let Some(trigger) = &join.trigger {
        let place = place.key("trigger");
        if check_trigger(trigger, &both, &place)?.is_some() {
            return Err(Problem::new(place, "the two inputs of a join share no value"));
        }
    } else if join.assigner == Assigner::Global {
        return Err(Problem::new(place.clone(), "the global window needs a trigger"));
    }
    let (right_names, option) = or_same(&join.right_key, &join.key);
    let (key, right_key) = check_keys((&left.schema, &join.key), (&right.schema, right_names, option), place)?;
    let place = place.key("fields");
    if join.fields.is_empty() {
        return Err(no_fields(&place));
    }
    let (left_null, right_null) = match join.kind {
        JoinKind::Inner => (false, false),
        JoinKind::Left => (false, true),
        JoinKind::Right => (true, false),
        JoinKind::Full => (true, true),
    };
    let side = |schema: &Schema, null: bool| if null { nullable(schema) } else { schema.clone() };
    let mut pair = pair_schema(&side(&left.schema, left_null), &side(&right.schema, right_null));
    pair.fields.extend(["window_start", "window_end"].map(|name| Field::new(name, FieldType::Int)));
    let (fields, schema) = check_fields(&join.fields, &pair, &place)?;
    let (right_schema, declared) = (right.schema.clone(), join.clone());
    Ok((PlannedOperation::WindowJoin(PlannedWindowJoin { key, right_key, right_schema, declared, fields }), schema))
}
