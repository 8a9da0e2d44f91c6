//! The declarative pipeline: a plain value, read from TOML or JSON, that is checked and compiled to a job.

pub mod aggregate;
mod buffer;
pub mod case;
mod columns;
mod compile;
mod convert;
pub mod duration;
pub mod expression;
mod file;
mod fold;
mod format;
mod function;
mod generator;
mod locate;
pub mod model;
mod nearest;
pub mod options;
pub mod plan;
pub mod problem;
mod read;
pub mod row;
mod row_window;
pub mod schema;
mod script;
mod source;
mod trace;

pub use aggregate::{Accumulator, Aggregate, AggregateFunction, AggregateScope, Separators};
pub use case::Case;
pub use expression::{ArithmeticProblem, EvaluateError, Expression, ExpressionError};
pub use generator::GeneratedRecord;
pub use model::*;
pub use plan::{
    Plan, PlannedEnrich, PlannedEventTime, PlannedIntervalJoin, PlannedOperation, PlannedProcess, PlannedReduce,
    PlannedSink, PlannedSource, PlannedStage, PlannedWindow, PlannedWindowFunction, PlannedWindowJoin, Stream,
};
pub use problem::{Place, Problem, Problems};
pub use row::{Datum, Float, Row};
pub use schema::{Field, FieldType, Nullability, Schema};
pub use source::{RowSource, RowSplit};
pub use trace::TraceOutput;
