//! The declarative pipeline: a plain value, read from TOML or JSON, that is checked and compiled to a job.
//!
//! A file has a `name`, `[[source]]`, `[[stage]]` and `[[sink]]` tables. A stage takes the records of the table before it,
//! unless `input` names others; several inputs are a union. What a table can say is described at its type:
//!
//! | `[[source]]` `type` | |
//! |---|---|
//! | `csv` `generator` `collection` | [`CsvSource`], [`GeneratorSource`], [`CollectionSource`]; `event_time` gives records their time |
//! | `script` | [`ScriptSource`]: records, watermarks and pauses in a given order |
//!
//! | `[[stage]]` `op` | |
//! |---|---|
//! | `filter` `map` `repeat` | by expressions ([`expression`]) |
//! | `window` | `key`, `assigner`, `time`, `trigger`, `evictor`, `allowed_lateness`, `late_records`, `bounds`, and one of `aggregate`, `reduce`, `process`: [`WindowOperation`], [`aggregate`] |
//! | `aggregate` `rolling` | running folds of a key: [`AggregateOperation`], [`RollingOperation`] |
//! | `process` | `key`, `function`, `value`, `ttl`, `processed_at`, `every_record`: [`ProcessFunction`], [`ProcessOperation`] |
//! | `buffer` | operator state: [`BufferOperation`] |
//! | `enrich` `interval_join` `window_join` | two inputs: [`EnrichOperation`], [`IntervalJoinOperation`], [`WindowJoinOperation`] |
//!
//! | `[[sink]]` `type` | |
//! |---|---|
//! | `file` `print` `discard` | [`FileSink`], [`SinkKind`] |
//! | `trace` | every record and watermark as a line of JSON |
//!
//! ```
//! # use tidegate::pipeline::Pipeline;
//! let pipeline = Pipeline::from_toml("visits.toml", r#"
//! name = "visits"
//!
//! [[source]]
//! type = "script"
//! columns = [{ name = "user", type = "text" }, { name = "pages", type = "int" }]
//! steps = [{ row = ["ann", 3], time_ms = 100 }, { row = ["ann", 2], time_ms = 700 }, { watermark_ms = 5000 }]
//!
//! [[stage]]
//! op = "window"
//! key = ["user"]
//! assigner = { kind = "session", gap = "1 s" }
//! trigger = { kind = "purging", inner = { kind = "event_time" } }
//! aggregate = { visits = "count()", pages = "sum(pages)" }
//!
//! [[sink]]
//! type = "trace"
//! "#)?;
//! assert_eq!(pipeline.plan().unwrap().sinks[0].schema.to_string(), "(user text, window_start int, window_end int, visits int, pages int)");
//! # Ok::<(), tidegate::Error>(())
//! ```

pub mod aggregate;
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
