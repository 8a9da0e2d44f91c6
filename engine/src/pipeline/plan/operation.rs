//! What stages do, bound to the fields of their inputs.

use crate::pipeline::{
    aggregate::Aggregate,
    expression::Expression,
    model::{
        BufferMode, Emit, EnrichOperation, IntervalJoinOperation, ProcessFunction, ProcessOperation,
        WindowJoinOperation, WindowOperation,
    },
    schema::Schema,
};

/// What a stage does, bound to its input's fields. Keys are positions of fields.
#[derive(Debug, Clone)]
pub enum PlannedOperation {
    /// Keeps the records for which the condition is true.
    Filter {
        /// The condition.
        condition: Expression,
    },
    /// Makes a record of another.
    Map {
        /// The values of the result's fields.
        fields: Vec<Expression>,
    },
    /// Emits each record several times, with the number of the copy as its last field.
    Repeat {
        /// How often.
        count: u64,
    },
    /// Folds the records of a key and window.
    Window(PlannedWindow),
    /// Folds all records of a key.
    Aggregate {
        /// The fields of the key.
        key: Vec<usize>,
        /// The aggregates.
        aggregates: Vec<Aggregate>,
        /// When results are emitted.
        emit: Emit,
    },
    /// Reduces the records of a key to one.
    Rolling {
        /// The fields of the key.
        key: Vec<usize>,
        /// How two records become one.
        reduce: PlannedReduce,
    },
    /// Calls a function with state for each key.
    Process(PlannedProcess),
    /// Collects records and folds them.
    Buffer {
        /// How many are folded.
        threshold: u64,
        /// How what waits is kept.
        mode: BufferMode,
        /// The aggregates.
        aggregates: Vec<Aggregate>,
    },
    /// Joins records with rules.
    Enrich(PlannedEnrich),
    /// Joins records that lie close to each other.
    IntervalJoin(PlannedIntervalJoin),
    /// Joins records that share a window.
    WindowJoin(PlannedWindowJoin),
}

/// A window, bound to its input's fields.
#[derive(Debug, Clone)]
pub struct PlannedWindow {
    /// The fields of the key; none for windows of all records.
    pub key: Vec<usize>,
    /// Assigner, clock, trigger, evictor, lateness and bounds are as declared.
    pub declared: WindowOperation,
    /// The gap of a dynamic session, in milliseconds.
    pub gap: Option<Expression>,
    /// The value of the delta trigger, however deep it is nested.
    pub trigger_value: Option<Expression>,
    /// The value of the delta evictor.
    pub evictor_value: Option<Expression>,
    /// What is made of the records.
    pub function: PlannedWindowFunction,
    /// Whether results have the fields `window_start` and `window_end`.
    pub has_bounds: bool,
}

impl PlannedWindow {
    /// The aggregates, if that is what is made of the records.
    pub fn aggregates(&self) -> &[Aggregate] {
        match &self.function {
            PlannedWindowFunction::Aggregate(aggregates) | PlannedWindowFunction::Process(aggregates) => aggregates,
            PlannedWindowFunction::Reduce(_) => &[],
        }
    }
}

/// What is made of the records of a window.
#[derive(Debug, Clone)]
pub enum PlannedWindowFunction {
    /// Aggregates, folded as records arrive.
    Aggregate(Vec<Aggregate>),
    /// One record, reduced as records arrive.
    Reduce(PlannedReduce),
    /// Aggregates over all records, which are kept.
    Process(Vec<Aggregate>),
}

/// How two records become one.
#[derive(Debug, Clone)]
pub struct PlannedReduce {
    /// By field of the record: its value, over the fields of the record that was there and those of the one that is
    /// added, one after the other; `None` keeps the value that was there.
    pub fields: Vec<Option<Expression>>,
}

/// A function with state.
#[derive(Debug, Clone)]
pub struct PlannedProcess {
    /// The fields of the key.
    pub key: Vec<usize>,
    /// What the function works on, if it reads a value.
    pub value: Option<Expression>,
    /// Function, ttl and what else results say are as declared.
    pub declared: ProcessOperation,
}

impl PlannedProcess {
    /// The fields of a result that are the key's.
    pub fn key_of_result(&self) -> Vec<usize> {
        match self.declared.function {
            ProcessFunction::Dedup => self.key.clone(),
            _ => (0..self.key.len()).collect(),
        }
    }
}

/// A join with rules. The first input are the records, the second the rules.
#[derive(Debug, Clone)]
pub struct PlannedEnrich {
    /// The fields of a record that are its rule's key.
    pub key: Vec<usize>,
    /// The fields of a rule that are its key.
    pub rule_key: Vec<usize>,
    /// The fields of a rule.
    pub rule_schema: Schema,
    /// As declared.
    pub declared: EnrichOperation,
    /// The fields of the result: over the fields of the record and those of the rule, one after the other.
    pub fields: Vec<Expression>,
}

/// A join of records that lie close to each other. The first input is left, the second, if there are two, right.
#[derive(Debug, Clone)]
pub struct PlannedIntervalJoin {
    /// Which records of the one input are left; `None` if there are two inputs.
    pub left: Option<Expression>,
    /// The fields of the left key.
    pub key: Vec<usize>,
    /// The fields of the right key.
    pub right_key: Vec<usize>,
    /// The fields of a right record.
    pub right_schema: Schema,
    /// Interval, lateness and ttl are as declared.
    pub declared: IntervalJoinOperation,
    /// The fields of the result: over the fields of the left record and its event time, then those of the right record and
    /// its event time.
    pub fields: Vec<Expression>,
}

/// A join of records that share a window. The first input is left, the second right.
#[derive(Debug, Clone)]
pub struct PlannedWindowJoin {
    /// The fields of the left key.
    pub key: Vec<usize>,
    /// The fields of the right key.
    pub right_key: Vec<usize>,
    /// The fields of a right record.
    pub right_schema: Schema,
    /// Kind, assigner, clock and trigger are as declared.
    pub declared: WindowJoinOperation,
    /// The fields of the result: over the fields of the left record, those of the right record, and the window's bounds.
    pub fields: Vec<Expression>,
}
