//! Folds of windows and keys: how a plan's aggregates become functions of the typed operators.
//!
//! Before records are sent to their key they are reduced to the key and the aggregates' arguments ([`Reduced`]): what
//! can fail for a record fails there, and nothing else crosses the network.

use serde::{Deserialize, Serialize};

use super::{
    aggregate::{Accumulator, Aggregate},
    expression::EvaluateError,
    model::Emit,
    row::{Datum, Row},
    row_window::Bounded,
};
use crate::{
    backend::{StateRegistry, ValueState},
    error::{Error, ErrorKind, Result},
    operator::{
        AggregateFunction, KeyedProcessFunction, ProcessContext, ProcessWindowFunction, TimestampedCollector,
        WindowContext,
    },
    state::ValueStateDescriptor,
    time::{TimeDomain, Timestamp},
};

/// What a fold needs of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reduced {
    key: Row,
    /// In the order of the aggregates.
    arguments: Row,
}

impl Reduced {
    /// The fields of the key.
    #[inline]
    pub(crate) fn key(&self) -> &Row {
        &self.key
    }
}

/// Reduces records.
#[derive(Clone)]
pub(crate) struct Arguments {
    key: Vec<usize>,
    aggregates: Vec<Aggregate>,
}

impl Arguments {
    pub(crate) fn new(key: Vec<usize>, aggregates: Vec<Aggregate>) -> Self {
        Self { key, aggregates }
    }

    #[inline(always)]
    pub(crate) fn of(&self, row: &Row) -> Result<Reduced, EvaluateError> {
        let argument = |aggregate: &Aggregate| match &aggregate.argument {
            Some(argument) => argument.evaluate(row),
            None => Ok(Datum::Bool(true)),
        };
        let arguments = match &*self.aggregates {
            [aggregate] => Row::one(argument(aggregate)?),
            aggregates => aggregates.iter().map(argument).collect::<Result<_, _>>()?,
        };
        Ok(Reduced { key: row.project(&self.key), arguments })
    }
}

/// Folds reduced records.
#[derive(Clone)]
pub(crate) struct Fold {
    stage: String,
    aggregates: Vec<Aggregate>,
}

impl Fold {
    pub(crate) fn new(stage: &str, aggregates: Vec<Aggregate>) -> Self {
        Self { stage: stage.to_owned(), aggregates }
    }

    fn start(&self) -> Vec<Accumulator> {
        self.aggregates.iter().map(Aggregate::start).collect()
    }

    #[inline]
    fn add(&self, accumulators: &mut [Accumulator], mut reduced: Reduced) {
        let arguments = reduced.arguments.values_mut();
        for ((aggregate, accumulator), argument) in self.aggregates.iter().zip(accumulators).zip(arguments) {
            aggregate.add_value(accumulator, std::mem::take(argument));
        }
    }

    /// The key, what stands between, and the results.
    pub(crate) fn result(&self, key: &Row, between: &[Datum], accumulators: &[Accumulator]) -> Result<Row> {
        let mut values = Vec::with_capacity(key.values().len() + between.len() + accumulators.len());
        values.extend_from_slice(key.values());
        values.extend_from_slice(between);
        for (aggregate, accumulator) in self.aggregates.iter().zip(accumulators) {
            values.push(aggregate.result(accumulator).ok_or_else(|| self.overflow(key))?);
        }
        Ok(Row::new(values))
    }

    #[cold]
    pub(crate) fn failed(&self, error: EvaluateError) -> Error {
        Error::new(ErrorKind::UserFunction, format!("stage `{}` failed", self.stage)).with_source(error)
    }

    #[cold]
    fn overflow(&self, key: &Row) -> Error {
        let message = format!("stage `{}`: a sum of the key {key} does not fit into 64 bits", self.stage);
        Error::new(ErrorKind::UserFunction, message).with_hint("sum floats: sum(float(x))")
    }
}

impl AggregateFunction<Reduced> for Fold {
    type Accumulator = Vec<Accumulator>;
    type Out = Vec<Accumulator>;

    fn create_accumulator(&self) -> Vec<Accumulator> {
        self.start()
    }

    #[inline]
    fn add(&self, accumulator: &mut Vec<Accumulator>, value: Reduced) {
        Fold::add(self, accumulator, value);
    }

    fn get_result(&self, accumulator: &Vec<Accumulator>) -> Vec<Accumulator> {
        accumulator.clone()
    }

    fn merge(&self, mut one: Vec<Accumulator>, other: Vec<Accumulator>) -> Vec<Accumulator> {
        for ((aggregate, accumulator), other) in self.aggregates.iter().zip(&mut one).zip(other) {
            aggregate.merge(accumulator, other);
        }
        one
    }
}

/// Makes the row of a window's result: key, bounds, aggregates.
#[derive(Clone)]
pub(crate) struct WindowResult {
    pub(crate) fold: Fold,
    /// Whether the bounds are shown.
    pub(crate) has_bounds: bool,
}

impl<W: Bounded> ProcessWindowFunction<Vec<Accumulator>, Row, Row, W> for WindowResult {
    fn process(
        &mut self,
        key: &Row,
        context: &mut WindowContext<'_, Row, W>,
        elements: Vec<Vec<Accumulator>>,
        out: &mut TimestampedCollector<'_, Row>,
    ) -> Result<()> {
        let bounds = context.window.bounds();
        let bounds = if self.has_bounds { &bounds[..] } else { &[] };
        for accumulators in elements {
            out.collect(self.fold.result(key, bounds, &accumulators)?);
        }
        Ok(())
    }
}

/// A running aggregate in a value state.
#[derive(Clone)]
pub(crate) struct RunningAggregate {
    fold: Fold,
    emit: Emit,
    state: Option<ValueState<Vec<Accumulator>>>,
}

/// Name of the state of a running aggregate.
const AGGREGATE: &str = "aggregate";
const OPENED: &str = "a function is opened before anything else";

impl RunningAggregate {
    pub(crate) fn new(fold: Fold, emit: Emit) -> Self {
        Self { fold, emit, state: None }
    }
}

impl KeyedProcessFunction for RunningAggregate {
    type Key = Row;
    type In = Reduced;
    type Out = Row;

    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        self.state = Some(states.value(&ValueStateDescriptor::new(AGGREGATE))?);
        Ok(())
    }

    fn process_element(&mut self, value: Reduced, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        let state = self.state.as_ref().expect(OPENED);
        if self.emit == Emit::Final {
            context.register_timer(TimeDomain::EventTime, Timestamp::MAX);
        }
        // A copy of the key, for the result: state and key cannot both be borrowed from the context.
        let key = (self.emit == Emit::Updates).then(|| context.key().clone());
        let fold = &self.fold;
        let add = |accumulators: &mut Vec<Accumulator>| {
            fold.add(accumulators, value);
            key.map(|key| fold.result(&key, &[], accumulators)).transpose()
        };
        if let Some(result) = state.modify_or_insert_with(context, || fold.start(), add)?? {
            context.collect(result);
        }
        Ok(())
    }

    fn on_timer(&mut self, _domain: TimeDomain, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        let state = self.state.as_ref().expect(OPENED);
        if let Some(accumulators) = state.value(context)? {
            let result = self.fold.result(context.key(), &[], &accumulators)?;
            context.collect(result);
            state.clear(context)?;
        }
        Ok(())
    }
}
