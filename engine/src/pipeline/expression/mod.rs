//! The expression language of pipelines: SQL's scalar expressions over the named fields of a row.
//!
//! ```
//! use tidegate::{pipeline::{Expression, Field, FieldType, Schema}, row};
//!
//! let schema = Schema::new([Field::new("sched_ms", FieldType::Int), Field::nullable("delay_min", FieldType::Int)]);
//! let event_time = Expression::parse("sched_ms + delay_min * 60000", &schema)?;
//! assert_eq!(event_time.evaluate(&row![1_000, 2]).unwrap(), 121_000.into());
//! # Ok::<(), tidegate::pipeline::ExpressionError>(())
//! ```
//!
//! | | |
//! |---|---|
//! | literals | `42` `2.5` `'it''s'` `true` `false` |
//! | fields | `name`, `a.name`, or `` `any name` `` in back quotes |
//! | operators, binding tighter downwards | `or` · `and` · `not` · `= <> != < <= > >=`, `is null`, `is not null` · `+ -` · `* / %` · `-` |
//! | functions | `coalesce(a, b, …)` `nullif(a, b)` `min(a, b, …)` `max(a, b, …)` `abs(x)` `floor_mod(a, b)` `concat(t, …)` `text(x)` `int(x)` `float(x)` |
//!
//! The text means what it means in SQL, so that it can become Flink SQL: null in, null out, except for `is null`,
//! `coalesce`, and the three-valued `and` and `or`; integer division and `%` truncate towards zero; an integer that meets a
//! float becomes a float. What differs, to be loud: integer overflow and integer division by zero are errors
//! that name the record; floats have one NaN, which equals itself.
//!
//! A text is parsed once against a schema (names become positions, types are checked), and evaluated often.

mod check;
mod error;
mod evaluate;
mod parse;
mod token;

use std::sync::Arc;

use super::{
    row::{Datum, Row},
    schema::{FieldType, Nullability, Schema},
};

pub(crate) use check::check;
pub use error::{ArithmeticProblem, EvaluateError, ExpressionError};
pub(crate) use parse::{Syntax, SyntaxNode, parse};

/// An expression that is bound to a schema.
#[derive(Debug, Clone)]
pub struct Expression {
    text: Arc<str>,
    root: check::Typed,
    field_type: FieldType,
    nullability: Nullability,
}

impl Expression {
    /// Parses a text and binds it to the fields of a schema.
    ///
    /// # Errors
    /// If the text is no expression, names an unknown field or function, or its types do not fit; the error says where.
    pub fn parse(text: &str, schema: &Schema) -> Result<Self, ExpressionError> {
        let node = parse::parse(text)?;
        Self::bind(text, &node, schema)
    }

    /// Binds a part of a parsed text.
    pub(crate) fn bind(text: &str, node: &SyntaxNode, schema: &Schema) -> Result<Self, ExpressionError> {
        let checked = check(text, node, schema)?;
        Ok(Self {
            text: text.into(),
            root: checked.typed,
            field_type: checked.field_type,
            nullability: checked.nullability,
        })
    }

    /// The expression's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of its value.
    pub fn field_type(&self) -> FieldType {
        self.field_type
    }

    /// Whether its value may be null.
    pub fn nullability(&self) -> Nullability {
        self.nullability
    }

    /// Its value for a row of the schema.
    ///
    /// # Errors
    /// Integer overflow, integer division by zero, or text that is no number.
    #[inline(always)]
    pub fn evaluate(&self, row: &Row) -> Result<Datum, EvaluateError> {
        // A field alone is by far the most frequent expression: it is read where it is wanted, without a call.
        match self.root {
            check::Typed::Field(index) => Ok(row.get(index).clone()),
            _ => self.evaluate_tree(row),
        }
    }

    #[inline(never)]
    fn evaluate_tree(&self, row: &Row) -> Result<Datum, EvaluateError> {
        evaluate::evaluate(&self.root, row).map_err(|failure| EvaluateError {
            problem: failure.problem,
            expression: self.text.clone(),
            position: failure.position,
            row: row.to_string(),
        })
    }

    /// Whether its value is true; false and null are not.
    ///
    /// # Errors
    /// As for [`Expression::evaluate`].
    #[inline]
    pub fn holds(&self, row: &Row) -> Result<bool, EvaluateError> {
        Ok(self.evaluate(row)? == Datum::Bool(true))
    }
}

#[cfg(test)]
mod tests;
