//! Aggregates: what folds many records into one value, written as a call (`"sum(dep_delay_min)"`).
//!
//! | call | value over the non-null values of its argument |
//! |---|---|
//! | `count()` | the number of records |
//! | `count(x)` | the number of values |
//! | `sum(x)` | their sum, of the type of `x` |
//! | `avg(x)` | their mean, a float; `sum(x) / count(x)` in a later `map` truncates as Flink's `AVG` of integers does |
//! | `min(x)` `max(x)` | the least, the greatest |
//! | `first(x)` `last(x)` | in the order of arrival |
//! | `median(x)` | the one in the middle, the lesser of two |
//! | `list(x)` | their text, joined by commas in the order of arrival |
//! | `string_agg(x, ',')` | their text, joined by a separator; `string_agg(x, ',', '|')` has another one where merged windows meet |
//!
//! A function that sees all records of a window (`process`) has these as well:
//!
//! | call | value |
//! |---|---|
//! | `firings()` | how often this window has emitted, with this time; counted in the state of the window |
//! | `key_firings()` | how often any window of the key has emitted; counted in the state of the key |
//! | `watermark()` | the watermark, in milliseconds |
//!
//! Over no value, all but the counts are null. Integer sums are exact to 128 bits on the way, so that the order of records
//! decides neither the result nor whether it overflows; float sums, `first`, `last` and `list` depend on the order.

mod parse;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

pub(crate) use parse::FUNCTIONS;

use super::{
    expression::{EvaluateError, Expression},
    row::{Datum, Float, Row},
    schema::{FieldType, Nullability},
};

/// Where an aggregate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateScope {
    /// Values are folded as they come.
    Incremental,
    /// All records of a window are there, and the window itself.
    FullWindow,
}

/// How values are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AggregateFunction {
    /// The number of values.
    Count,
    /// Their sum.
    Sum,
    /// Their mean.
    Average,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The first to arrive.
    First,
    /// The last to arrive.
    Last,
    /// The one in the middle.
    Median,
    /// All, as text joined by commas.
    List,
    /// All, as text joined by separators.
    StringAgg,
    /// How often this window has emitted.
    Firings,
    /// How often any window of the key has emitted.
    KeyFirings,
    /// The watermark.
    Watermark,
}

/// What stands between the texts of `string_agg`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Separators {
    /// Between two values.
    pub values: SmolStr,
    /// Between what two merged folds hold.
    pub merged: SmolStr,
}

impl AggregateFunction {
    /// Whether it is about the window rather than its records.
    pub fn sees_window(self) -> bool {
        matches!(self, Self::Firings | Self::KeyFirings | Self::Watermark)
    }
}

/// An aggregate that is bound to a schema.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// How values are folded.
    pub function: AggregateFunction,
    /// What is folded; `None` counts records, or stands for nothing.
    pub argument: Option<Expression>,
    /// The separators of `string_agg`.
    pub separators: Separators,
}

impl Aggregate {
    /// The type of the result.
    pub fn field_type(&self) -> FieldType {
        let argument = self.argument.as_ref().map_or(FieldType::Int, Expression::field_type);
        match self.function {
            AggregateFunction::Count
            | AggregateFunction::Firings
            | AggregateFunction::KeyFirings
            | AggregateFunction::Watermark => FieldType::Int,
            AggregateFunction::Average => FieldType::Float,
            AggregateFunction::List | AggregateFunction::StringAgg => FieldType::Text,
            AggregateFunction::Sum
            | AggregateFunction::Min
            | AggregateFunction::Max
            | AggregateFunction::Median
            | AggregateFunction::First
            | AggregateFunction::Last => argument,
        }
    }

    /// Whether the result over at least one record may be null.
    pub fn nullability(&self) -> Nullability {
        match (&self.argument, self.function) {
            (None, _) | (_, AggregateFunction::Count) => Nullability::NotNull,
            (Some(argument), _) => argument.nullability(),
        }
    }

    /// The fold over no record.
    pub fn start(&self) -> Accumulator {
        match (self.function, self.argument.as_ref().map(Expression::field_type)) {
            (
                AggregateFunction::Count
                | AggregateFunction::Firings
                | AggregateFunction::KeyFirings
                | AggregateFunction::Watermark,
                _,
            ) => Accumulator::Count(0),
            (AggregateFunction::Sum | AggregateFunction::Average, Some(FieldType::Float)) => {
                Accumulator::FloatSum { sum: Float::new(0.0), count: 0 }
            }
            (AggregateFunction::Sum | AggregateFunction::Average, _) => Accumulator::IntSum { sum: 0, count: 0 },
            (AggregateFunction::List | AggregateFunction::Median, _) => Accumulator::List(Vec::new()),
            (AggregateFunction::StringAgg, _) => Accumulator::Text(None),
            (
                AggregateFunction::Min | AggregateFunction::Max | AggregateFunction::First | AggregateFunction::Last,
                _,
            ) => Accumulator::One(Datum::Null),
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// If the argument cannot be computed.
    pub fn add(&self, accumulator: &mut Accumulator, row: &Row) -> Result<(), EvaluateError> {
        let value = match &self.argument {
            Some(argument) => argument.evaluate(row)?,
            None => Datum::Bool(true),
        };
        self.add_value(accumulator, value);
        Ok(())
    }

    /// Adds a value of the argument; any value but null if there is no argument.
    pub fn add_value(&self, accumulator: &mut Accumulator, value: Datum) {
        if value.is_null() {
            return;
        }
        match accumulator {
            Accumulator::Count(count) => *count += 1,
            Accumulator::IntSum { sum, count } => {
                *sum += i128::from(value.as_int().expect("an integer sum has an integer argument"));
                *count += 1;
            }
            Accumulator::FloatSum { sum, count } => {
                let Datum::Float(float) = value else { unreachable!("a float sum has a float argument") };
                *sum = Float::new(sum.get() + float.get());
                *count += 1;
            }
            Accumulator::One(kept) => self.keep(kept, value),
            Accumulator::List(values) => values.push(value),
            Accumulator::Text(kept) => append(kept, &self.separators.values, &plain_text(&value)),
        }
    }

    /// Joins two folds; `other` holds what arrived later. What matters for merged windows.
    pub fn merge(&self, accumulator: &mut Accumulator, other: Accumulator) {
        match (accumulator, other) {
            (Accumulator::Count(count), Accumulator::Count(more)) => *count += more,
            (Accumulator::IntSum { sum, count }, Accumulator::IntSum { sum: more, count: more_count }) => {
                *sum += more;
                *count += more_count;
            }
            (Accumulator::FloatSum { sum, count }, Accumulator::FloatSum { sum: more, count: more_count }) => {
                *sum = Float::new(sum.get() + more.get());
                *count += more_count;
            }
            (Accumulator::One(kept), Accumulator::One(value)) => {
                if !value.is_null() {
                    self.keep(kept, value);
                }
            }
            (Accumulator::List(values), Accumulator::List(more)) => values.extend(more),
            (Accumulator::Text(kept), Accumulator::Text(more)) => {
                if let Some(more) = more {
                    append(kept, &self.separators.merged, &more);
                }
            }
            (accumulator, other) => {
                unreachable!("folds of one aggregate have one shape, found {accumulator:?} and {other:?}")
            }
        }
    }

    fn keep(&self, kept: &mut Datum, value: Datum) {
        let replace = kept.is_null()
            || match self.function {
                AggregateFunction::Min => value < *kept,
                AggregateFunction::Max => value > *kept,
                AggregateFunction::Last => true,
                AggregateFunction::First
                | AggregateFunction::Count
                | AggregateFunction::Sum
                | AggregateFunction::Average
                | AggregateFunction::Median
                | AggregateFunction::List
                | AggregateFunction::StringAgg
                | AggregateFunction::Firings
                | AggregateFunction::KeyFirings
                | AggregateFunction::Watermark => false,
            };
        if replace {
            *kept = value;
        }
    }

    /// The value of the fold; `None` if an integer sum does not fit into 64 bits.
    pub fn result(&self, accumulator: &Accumulator) -> Option<Datum> {
        let average = self.function == AggregateFunction::Average;
        Some(match accumulator {
            Accumulator::Count(count) => Datum::Int(*count),
            Accumulator::IntSum { count: 0, .. } | Accumulator::FloatSum { count: 0, .. } => Datum::Null,
            Accumulator::IntSum { sum, count } if average => Datum::float(*sum as f64 / *count as f64),
            Accumulator::IntSum { sum, .. } => Datum::Int(i64::try_from(*sum).ok()?),
            Accumulator::FloatSum { sum, count } if average => Datum::float(sum.get() / *count as f64),
            Accumulator::FloatSum { sum, .. } => Datum::Float(*sum),
            Accumulator::One(value) => value.clone(),
            Accumulator::List(values) if values.is_empty() => Datum::Null,
            Accumulator::List(values) if self.function == AggregateFunction::Median => {
                let mut sorted = values.clone();
                sorted.sort_unstable();
                sorted.swap_remove((sorted.len() - 1) / 2)
            }
            Accumulator::List(values) => {
                let texts: Vec<String> = values.iter().map(plain_text).collect();
                Datum::text(texts.join(","))
            }
            Accumulator::Text(kept) => kept.as_ref().map_or(Datum::Null, Datum::text),
        })
    }
}

fn append(kept: &mut Option<String>, separator: &str, more: &str) {
    match kept {
        Some(kept) => {
            kept.push_str(separator);
            kept.push_str(more);
        }
        None => *kept = Some(more.to_owned()),
    }
}

/// A value as text, without quotes.
fn plain_text(value: &Datum) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A fold under way: what an aggregate keeps in state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accumulator {
    /// The number of values.
    Count(i64),
    /// Sum and number of integers.
    IntSum {
        /// The sum.
        sum: i128,
        /// The number.
        count: i64,
    },
    /// Sum and number of floats.
    FloatSum {
        /// The sum.
        sum: Float,
        /// The number.
        count: i64,
    },
    /// The value that is kept; null if there was none.
    One(Datum),
    /// All values, in the order of arrival.
    List(Vec<Datum>),
    /// Their text; nothing if there was none.
    Text(Option<String>),
}
