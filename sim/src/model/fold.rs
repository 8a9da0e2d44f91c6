//! Aggregates over a list of rows, each from its definition: nothing is kept from row to row.

use tidegate::pipeline::{Aggregate, AggregateFunction, Datum, EvaluateError, FieldType, Row};

/// The arguments of the aggregates for a row: what a fold needs of it.
pub(super) fn arguments(aggregates: &[Aggregate], row: &Row) -> Result<Vec<Datum>, EvaluateError> {
    let argument = |aggregate: &Aggregate| match &aggregate.argument {
        Some(argument) => argument.evaluate(row),
        None => Ok(Datum::Bool(true)),
    };
    aggregates.iter().map(argument).collect()
}

/// The result of each aggregate over these arguments, in the order of arrival; `None` is a sum that does not fit.
pub(super) fn results(aggregates: &[Aggregate], rows: &[Vec<Datum>]) -> Vec<Option<Datum>> {
    let column = |index: usize| rows.iter().map(|row| &row[index]).filter(|value| !value.is_null()).collect::<Vec<_>>();
    aggregates.iter().enumerate().map(|(index, aggregate)| result(aggregate, &column(index))).collect()
}

/// Whether the result depends on the order of the rows.
pub(super) fn depends_on_order(aggregate: &Aggregate) -> bool {
    let is_float = aggregate.argument.as_ref().is_some_and(|argument| argument.field_type() == FieldType::Float);
    match aggregate.function {
        AggregateFunction::First
        | AggregateFunction::Last
        | AggregateFunction::List
        | AggregateFunction::StringAgg
        | AggregateFunction::Firings
        | AggregateFunction::KeyFirings
        | AggregateFunction::Watermark => true,
        AggregateFunction::Sum | AggregateFunction::Average => is_float,
        AggregateFunction::Count | AggregateFunction::Min | AggregateFunction::Max | AggregateFunction::Median => false,
    }
}

fn result(aggregate: &Aggregate, values: &[&Datum]) -> Option<Datum> {
    if aggregate.function == AggregateFunction::Count {
        return Some(Datum::Int(values.len() as i64));
    }
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return Some(Datum::Null) };
    Some(match aggregate.function {
        AggregateFunction::Count => unreachable!("counted above"),
        AggregateFunction::First => (*first).clone(),
        AggregateFunction::Last => (*last).clone(),
        AggregateFunction::Min => (*values.iter().min()?).clone(),
        AggregateFunction::Max => (*values.iter().max()?).clone(),
        AggregateFunction::List | AggregateFunction::StringAgg => {
            let text = |value: &&Datum| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let list = aggregate.function == AggregateFunction::List;
            let separator = if list { "," } else { aggregate.separators.values.as_str() };
            Datum::text(values.iter().map(text).collect::<Vec<_>>().join(separator))
        }
        AggregateFunction::Median => {
            let mut sorted = values.to_vec();
            sorted.sort_unstable();
            sorted[(sorted.len() - 1) / 2].clone()
        }
        AggregateFunction::Firings | AggregateFunction::KeyFirings | AggregateFunction::Watermark => {
            unreachable!("the model has no functions that see windows")
        }
        AggregateFunction::Sum => match total(values) {
            Total::Int(sum) => Datum::Int(i64::try_from(sum).ok()?),
            Total::Float(sum) => Datum::float(sum),
        },
        AggregateFunction::Average => match total(values) {
            Total::Int(sum) => Datum::float(sum as f64 / values.len() as f64),
            Total::Float(sum) => Datum::float(sum / values.len() as f64),
        },
    })
}

enum Total {
    Int(i128),
    Float(f64),
}

fn total(values: &[&Datum]) -> Total {
    let float = |value: &&&Datum| matches!(value, Datum::Float(_));
    if values.iter().any(|value| float(&value)) {
        let number = |value: &&Datum| if let Datum::Float(float) = value { float.get() } else { 0.0 };
        return Total::Float(values.iter().map(number).fold(0.0, |sum, number| sum + number));
    }
    Total::Int(values.iter().filter_map(|value| value.as_int()).map(i128::from).sum())
}
