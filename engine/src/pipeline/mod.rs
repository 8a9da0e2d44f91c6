//! The declarative pipeline: a plain value, read from TOML or JSON, that is checked and compiled to a job.

pub mod aggregate;
pub mod duration;
pub mod expression;
pub mod model;
mod nearest;
pub mod row;
pub mod schema;

pub use aggregate::{Accumulator, Aggregate, AggregateFunction};
pub use expression::{ArithmeticProblem, EvaluateError, Expression, ExpressionError};
pub use model::*;
pub use row::{Datum, Float, Row};
pub use schema::{Field, FieldType, Nullability, Schema};
