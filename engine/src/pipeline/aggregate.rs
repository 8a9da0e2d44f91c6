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
//! | `list(x)` | their text, joined by commas in the order of arrival |
//!
//! Over no value, all but `count` are null. Integer sums are exact to 128 bits on the way, so that the order of records
//! decides neither the result nor whether it overflows; float sums, `first`, `last` and `list` depend on the order.

use serde::{Deserialize, Serialize};

use super::{
    expression::{self, EvaluateError, Expression, ExpressionError, Syntax},
    nearest,
    row::{Datum, Float, Row},
    schema::{FieldType, Nullability, Schema},
};

pub(crate) const FUNCTIONS: [&str; 8] = ["count", "sum", "avg", "min", "max", "first", "last", "list"];

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
    /// All, as text.
    List,
}

/// An aggregate that is bound to a schema.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// How values are folded.
    pub function: AggregateFunction,
    /// What is folded; `None` counts records.
    pub argument: Option<Expression>,
}

impl Aggregate {
    /// Parses a call and binds its argument to the fields of a schema.
    ///
    /// # Errors
    /// If the text is not one call of an aggregate function, or its argument does not fit.
    pub fn parse(text: &str, schema: &Schema) -> Result<Self, ExpressionError> {
        let node = expression::parse(text)?;
        let Syntax::Call { function: name, function_span, arguments } = &node.syntax else {
            let error = ExpressionError::new(text, node.span, "an aggregate is a single call, such as sum(x)");
            return Err(error
                .with_hint(format!("functions: {}; compute with the result in a later `map`", FUNCTIONS.join(", "))));
        };
        let function = match name.as_str() {
            "count" => AggregateFunction::Count,
            "sum" => AggregateFunction::Sum,
            "avg" => AggregateFunction::Average,
            "min" => AggregateFunction::Min,
            "max" => AggregateFunction::Max,
            "first" => AggregateFunction::First,
            "last" => AggregateFunction::Last,
            "list" => AggregateFunction::List,
            other => {
                let error = ExpressionError::new(text, function_span.clone(), format!("unknown aggregate `{other}`"));
                return Err(error.with_hint(nearest::hint(other, "aggregates", FUNCTIONS)));
            }
        };
        let argument = match (function, arguments.as_slice()) {
            (AggregateFunction::Count, []) => None,
            (_, [argument]) => Some(argument),
            (_, arguments) => {
                let message = format!("`{name}` takes 1 argument, found {}", arguments.len());
                return Err(ExpressionError::new(text, node.span.clone(), message));
            }
        };
        let argument_node = argument;
        let argument = argument.map(|argument| Expression::bind(text, argument, schema)).transpose()?;
        if let (AggregateFunction::Sum | AggregateFunction::Average, Some(argument), Some(node)) =
            (function, &argument, argument_node)
            && !argument.field_type().is_number()
        {
            let message = format!("`{name}` needs a number, this is {}", argument.field_type());
            return Err(ExpressionError::new(text, node.span.clone(), message));
        }
        Ok(Self { function, argument })
    }

    /// The type of the result.
    pub fn field_type(&self) -> FieldType {
        let argument = self.argument.as_ref().map_or(FieldType::Int, Expression::field_type);
        match self.function {
            AggregateFunction::Count => FieldType::Int,
            AggregateFunction::Average => FieldType::Float,
            AggregateFunction::List => FieldType::Text,
            AggregateFunction::Sum
            | AggregateFunction::Min
            | AggregateFunction::Max
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
            (AggregateFunction::Count, _) => Accumulator::Count(0),
            (AggregateFunction::Sum | AggregateFunction::Average, Some(FieldType::Float)) => {
                Accumulator::FloatSum { sum: Float::new(0.0), count: 0 }
            }
            (AggregateFunction::Sum | AggregateFunction::Average, _) => Accumulator::IntSum { sum: 0, count: 0 },
            (AggregateFunction::List, _) => Accumulator::List(Vec::new()),
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
                | AggregateFunction::List => false,
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
            Accumulator::List(values) => {
                let texts: Vec<String> = values
                    .iter()
                    .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                    .collect();
                Datum::text(texts.join(","))
            }
        })
    }
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
}
