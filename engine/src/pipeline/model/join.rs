//! Joins of two streams.
//!
//! Expressions of a join are over the fields of both records: `a.NAME` of the left one, `b.NAME` of the right one.

use serde::{Deserialize, Serialize};

use super::{Assigner, Assignment, LateRecords, StateTtl, Trigger, WindowTime};

/// Joins records with rules that all subtasks know: the first input are the records, the second the rules.
///
/// A later rule replaces the one with the same key. Result: the fields, over the record (`a.NAME`) and its rule (`b.NAME`,
/// null if there is none). Its event time is the record's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrichOperation {
    /// The fields of a record that are its rule's key.
    pub key: Vec<String>,
    /// The fields of a rule that are its key, in the same order.
    pub rule_key: Vec<String>,
    /// What happens with records that have no rule.
    pub unmatched: Unmatched,
    /// The fields of the result.
    pub fields: Vec<Assignment>,
}

/// What happens with records that have no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// They are emitted with nulls.
    #[default]
    Keep,
    /// They are dropped.
    Drop,
}

/// Joins each left record with the right ones whose event time lies in an interval around its own (Flink
/// `IntervalJoinOperator`). Neither time nor pairs have an order among records of one event time.
///
/// Result: the fields; `a.rowtime` and `b.rowtime` are the event times of the two records. Its event time is the later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntervalJoinOperation {
    /// Which records are left and which right.
    pub sides: JoinSides,
    /// The fields of the left key, at least one.
    pub key: Vec<String>,
    /// The fields of the right key, in the same order; empty if they have the same names.
    pub right_key: Vec<String>,
    /// The least distance from the left to the right record, in milliseconds; negative is before.
    pub lower_ms: i64,
    /// Whether that distance itself belongs to the interval.
    pub lower: BoundKind,
    /// The greatest distance, in milliseconds; not less than the least.
    pub upper_ms: i64,
    /// Whether that distance itself belongs to the interval.
    pub upper: BoundKind,
    /// Where records go that are behind the watermark when they arrive.
    pub late_records: LateRecords,
    /// How long state lives; `None` until the watermark says that it is not needed any more.
    pub ttl: Option<StateTtl>,
    /// The fields of the result.
    pub fields: Vec<Assignment>,
}

/// Which records of a join are left and which right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinSides {
    /// The first input is left, the second right.
    Inputs,
    /// There is one input; the records for which a condition is true are left, the others right. Unlike two inputs, it
    /// keeps the order between the sides.
    Condition(String),
}

/// Whether a bound belongs to its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BoundKind {
    /// It does.
    #[default]
    Inclusive,
    /// It does not.
    Exclusive,
}

/// Joins the records of two streams that share key and window (Flink `JoinedStreams`; outer ones are `CoGroupedStreams`).
///
/// Result: the fields, for each pair; `window_start` and `window_end` are the window's. Its event time is the last
/// millisecond of the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowJoinOperation {
    /// Whether records without a partner have results.
    pub kind: JoinKind,
    /// The fields of the left key, at least one.
    pub key: Vec<String>,
    /// The fields of the right key, in the same order; empty if they have the same names.
    pub right_key: Vec<String>,
    /// The windows of a record. Expressions in it are not available: two kinds of records share the windows.
    pub assigner: Assigner,
    /// Which clock the windows are in.
    pub time: WindowTime,
    /// When results are emitted; `None` is the assigner's.
    pub trigger: Option<Trigger>,
    /// The fields of the result.
    pub fields: Vec<Assignment>,
}

/// Whether records without a partner have results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinKind {
    /// None have.
    #[default]
    Inner,
    /// Left ones have.
    Left,
    /// Right ones have.
    Right,
    /// All have.
    Full,
}
