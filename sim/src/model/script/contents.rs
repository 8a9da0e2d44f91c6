//! What a window holds: its records, in the order in which they came, and which of them came by a merge.
//!
//! Results are found anew from all of it each time. That a merge is remembered as such matters for what is not the same
//! from left to right as by parts: text with another separator where two folds met, sums of floats, reductions.

use tidegate::pipeline::{
    Accumulator, Aggregate, AggregateFunction, Datum, EvaluateError, FieldType, Float, PlannedReduce, Row,
};

use super::element::Element;

/// A record, or everything that another window held when it was merged into this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A record.
    Record(Element),
    /// What another held.
    Merged(Vec<Item>),
}

/// All records, as if they had come one by one.
pub(super) fn flat(items: &[Item]) -> Vec<Element> {
    let of = |item: &Item| match item {
        Item::Record(element) => vec![element.clone()],
        Item::Merged(items) => flat(items),
    };
    items.iter().flat_map(of).collect()
}

/// Records that came one by one.
pub(super) fn items(elements: impl IntoIterator<Item = Element>) -> Vec<Item> {
    elements.into_iter().map(Item::Record).collect()
}

/// What a function that sees the window knows beside its records.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub firings: i64,
    pub key_firings: i64,
    pub watermark_ms: i64,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum FoldError {
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error("a sum does not fit into 64 bits")]
    Overflow,
}

/// The result of an aggregate.
pub(super) fn aggregate(aggregate: &Aggregate, items: &[Item], seen: Seen) -> Result<Datum, FoldError> {
    let values = values(aggregate, &flat(items))?;
    let (Some(first), Some(last)) = (values.first(), values.last()) else {
        return Ok(match aggregate.function {
            AggregateFunction::Count => Datum::Int(0),
            AggregateFunction::Firings => Datum::Int(seen.firings),
            AggregateFunction::KeyFirings => Datum::Int(seen.key_firings),
            AggregateFunction::Watermark => Datum::Int(seen.watermark_ms),
            _ => Datum::Null,
        });
    };
    Ok(match aggregate.function {
        AggregateFunction::Count => Datum::Int(values.len() as i64),
        AggregateFunction::Firings => Datum::Int(seen.firings),
        AggregateFunction::KeyFirings => Datum::Int(seen.key_firings),
        AggregateFunction::Watermark => Datum::Int(seen.watermark_ms),
        AggregateFunction::First => first.clone(),
        AggregateFunction::Last => last.clone(),
        AggregateFunction::Min => values.iter().min().cloned().unwrap_or_default(),
        AggregateFunction::Max => values.iter().max().cloned().unwrap_or_default(),
        AggregateFunction::Median => {
            let mut sorted = values;
            sorted.sort_unstable();
            sorted[(sorted.len() - 1) / 2].clone()
        }
        AggregateFunction::List => Datum::text(values.iter().map(text).collect::<Vec<_>>().join(",")),
        AggregateFunction::StringAgg => joined(aggregate, items)?.map_or(Datum::Null, Datum::text),
        AggregateFunction::Sum if values.iter().any(is_float) => Datum::float(float_sum(aggregate, items)?),
        AggregateFunction::Sum => Datum::Int(i64::try_from(int_sum(&values)).map_err(|_| FoldError::Overflow)?),
        AggregateFunction::Average if values.iter().any(is_float) => {
            Datum::float(float_sum(aggregate, items)? / values.len() as f64)
        }
        AggregateFunction::Average => Datum::float(int_sum(&values) as f64 / values.len() as f64),
    })
}

/// What the fold of an aggregate has come to: what an engine may keep in place of the records.
pub(super) fn accumulator(aggregate: &Aggregate, items: &[Item]) -> Result<Accumulator, FoldError> {
    let values = values(aggregate, &flat(items))?;
    let count = values.len() as i64;
    let is_float = aggregate.argument.as_ref().is_some_and(|argument| argument.field_type() == FieldType::Float);
    Ok(match aggregate.function {
        AggregateFunction::Count
        | AggregateFunction::Firings
        | AggregateFunction::KeyFirings
        | AggregateFunction::Watermark => Accumulator::Count(count),
        AggregateFunction::Sum | AggregateFunction::Average if is_float => {
            Accumulator::FloatSum { sum: Float::new(float_sum(aggregate, items)?), count }
        }
        AggregateFunction::Sum | AggregateFunction::Average => Accumulator::IntSum { sum: int_sum(&values), count },
        AggregateFunction::List | AggregateFunction::Median => Accumulator::List(values),
        AggregateFunction::StringAgg => Accumulator::Text(joined(aggregate, items)?),
        AggregateFunction::Min => Accumulator::One(values.into_iter().min().unwrap_or_default()),
        AggregateFunction::Max => Accumulator::One(values.into_iter().max().unwrap_or_default()),
        AggregateFunction::First => Accumulator::One(values.into_iter().next().unwrap_or_default()),
        AggregateFunction::Last => Accumulator::One(values.into_iter().next_back().unwrap_or_default()),
    })
}

/// The arguments that are not null.
fn values(aggregate: &Aggregate, elements: &[Element]) -> Result<Vec<Datum>, FoldError> {
    let mut values = Vec::new();
    for element in elements {
        let value = match &aggregate.argument {
            Some(argument) => argument.evaluate(&element.row)?,
            None => Datum::Bool(true),
        };
        if !value.is_null() {
            values.push(value);
        }
    }
    Ok(values)
}

fn is_float(value: &Datum) -> bool {
    matches!(value, Datum::Float(_))
}

fn int_sum(values: &[Datum]) -> i128 {
    values.iter().filter_map(Datum::as_int).map(i128::from).sum()
}

/// From left to right, but what was merged is added as one.
fn float_sum(aggregate: &Aggregate, items: &[Item]) -> Result<f64, FoldError> {
    let mut sum = 0.0;
    for item in items {
        match item {
            Item::Record(element) => {
                for value in values(aggregate, std::slice::from_ref(element))? {
                    sum += if let Datum::Float(float) = value { float.get() } else { 0.0 };
                }
            }
            Item::Merged(items) => sum += float_sum(aggregate, items)?,
        }
    }
    Ok(sum)
}

fn joined(aggregate: &Aggregate, items: &[Item]) -> Result<Option<String>, FoldError> {
    let mut all: Option<String> = None;
    for item in items {
        let (separator, more) = match item {
            Item::Record(element) => {
                let value = values(aggregate, std::slice::from_ref(element))?.first().map(text);
                (&aggregate.separators.values, value)
            }
            Item::Merged(items) => (&aggregate.separators.merged, joined(aggregate, items)?),
        };
        all = match (all, more) {
            (Some(before), Some(more)) => Some(format!("{before}{separator}{more}")),
            (before, more) => before.or(more),
        };
    }
    Ok(all)
}

fn text(value: &Datum) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The one record that all become; `None` of none.
pub(super) fn reduce(reduce: &PlannedReduce, items: &[Item]) -> Result<Option<Row>, FoldError> {
    let mut all: Option<Row> = None;
    for item in items {
        let next = match item {
            Item::Record(element) => Some(element.row.clone()),
            Item::Merged(items) => self::reduce(reduce, items)?,
        };
        all = match (all, next) {
            (Some(before), Some(next)) => Some(reduce_two(reduce, &before, &next)?),
            (before, next) => before.or(next),
        };
    }
    Ok(all)
}

/// What a record becomes when another is added.
fn reduce_two(reduce: &PlannedReduce, before: &Row, added: &Row) -> Result<Row, FoldError> {
    let both: Row = before.values().iter().chain(added.values()).cloned().collect();
    let field = |(kept, field): (&Datum, &Option<tidegate::pipeline::Expression>)| match field {
        Some(expression) => expression.evaluate(&both),
        None => Ok(kept.clone()),
    };
    Ok(before.values().iter().zip(&reduce.fields).map(field).collect::<Result<Row, _>>()?)
}
