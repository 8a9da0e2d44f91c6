//! Folds in reducing and aggregating state, told after each record.

use super::{About, emit, emit_with_text, living};
use crate::{
    backend::{AggregatingState, ReducingState, StateRegistry},
    error::Result,
    operator::{KeyedProcessFunction, ProcessContext},
    pipeline::row::Row,
    state::{AggregateFunction, AggregatingStateDescriptor, ReducingStateDescriptor},
};

/// How sums are reduced.
type Add = fn(&mut i64, i64);

/// The sum so far.
#[derive(Clone)]
pub(crate) struct ReducingSum {
    about: About,
    sum: ReducingState<i64, Add>,
}

impl ReducingSum {
    pub(crate) fn new(about: About) -> Self {
        let add: Add = |sum, value| *sum = sum.wrapping_add(value);
        let sum = ReducingState::new(living!(ReducingStateDescriptor::new("sum", add), about));
        Self { about, sum }
    }
}

impl KeyedProcessFunction for ReducingSum {
    type Key = Row;
    type In = Row;
    type Out = Row;

    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        states.register(&mut self.sum)
    }

    fn process_element(&mut self, row: Row, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        self.sum.add(context, self.about.value(&row)?)?;
        // What expires at once is not there to be told.
        if let Some(sum) = self.sum.get(context)? {
            emit(context, sum);
        }
        Ok(())
    }
}

/// An aggregate that can be told as a value and a text.
pub(crate) trait Told: AggregateFunction<i64> + Clone + Sync {
    /// Value and text, after `value` was added.
    fn told(out: Self::Out, value: i64) -> (i64, String);
}

/// What was aggregated so far.
#[derive(Clone)]
pub(crate) struct Aggregating<A: Told> {
    about: About,
    state: AggregatingState<i64, A>,
}

impl<A: Told> Aggregating<A> {
    pub(crate) fn new(about: About, function: A) -> Self {
        let state = AggregatingState::new(living!(AggregatingStateDescriptor::new("aggregate", function), about));
        Self { about, state }
    }
}

impl<A: Told> KeyedProcessFunction for Aggregating<A> {
    type Key = Row;
    type In = Row;
    type Out = Row;

    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        states.register(&mut self.state)
    }

    fn process_element(&mut self, row: Row, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        let value = self.about.value(&row)?;
        self.state.add(context, value)?;
        if let Some(out) = self.state.get(context)? {
            let (value, text) = A::told(out, value);
            emit_with_text(context, value, &text);
        }
        Ok(())
    }
}

/// Which values came.
#[derive(Clone)]
pub(crate) struct Contains;

impl AggregateFunction<i64> for Contains {
    type Accumulator = String;
    type Out = String;

    fn create_accumulator(&self) -> String {
        "Contains:".into()
    }

    fn add(&self, accumulator: &mut String, value: i64) {
        let separator = if *accumulator == self.create_accumulator() { "" } else { " and " };
        accumulator.push_str(&format!("{separator}{value}"));
    }

    fn get_result(&self, accumulator: &String) -> String {
        accumulator.clone()
    }

    fn merge(&self, one: String, other: String) -> String {
        let empty = self.create_accumulator();
        match other.strip_prefix(&empty) {
            Some("") | None => one,
            Some(values) if one == empty => empty + values,
            Some(values) => format!("{one} and {values}"),
        }
    }
}

impl Told for Contains {
    fn told(out: String, value: i64) -> (i64, String) {
        (value, out)
    }
}

/// Sum and number.
#[derive(Clone)]
pub(crate) struct Average;

impl AggregateFunction<i64> for Average {
    type Accumulator = (i64, i64);
    type Out = (i64, i64);

    fn create_accumulator(&self) -> (i64, i64) {
        (0, 0)
    }

    fn add(&self, (sum, count): &mut (i64, i64), value: i64) {
        *sum = sum.wrapping_add(value);
        *count += 1;
    }

    fn get_result(&self, accumulator: &(i64, i64)) -> (i64, i64) {
        *accumulator
    }

    fn merge(&self, one: (i64, i64), other: (i64, i64)) -> (i64, i64) {
        (one.0.wrapping_add(other.0), one.1 + other.1)
    }
}

impl Told for Average {
    fn told((sum, count): (i64, i64), value: i64) -> (i64, String) {
        (value, format!("{sum}/{count}"))
    }
}
