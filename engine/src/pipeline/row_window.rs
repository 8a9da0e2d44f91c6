//! Windows of whole rows: their key, the fold of rows, and the functions that make results.

use std::{borrow::Cow, sync::Arc};

use super::{
    aggregate::{Aggregate, AggregateFunction as Function},
    fold::{Arguments, Fold},
    row::{Datum, Row},
};
use crate::{
    backend::{StateAccess, StateRegistry, ValueState},
    error::Result,
    operator::{ProcessWindowFunction, TimestampedCollector, WindowContext},
    pipeline::aggregate::Accumulator,
    state::{AggregateFunction, KeySelector, Namespace, ValueStateDescriptor},
    window::{GlobalWindow, TimeWindow, Window},
};

/// Finds the key of a row: some of its fields.
#[derive(Debug, Clone)]
pub(crate) struct RowKey(Arc<[usize]>);

impl RowKey {
    pub(crate) fn new(fields: &[usize]) -> Self {
        Self(fields.into())
    }
}

impl KeySelector<Row> for RowKey {
    type Key = Row;

    #[inline]
    fn key<'a>(&self, row: &'a Row) -> Cow<'a, Row> {
        Cow::Owned(row.project(&self.0))
    }
}

/// A window that can say where it lies.
pub(crate) trait Bounded: Window {
    /// Its first millisecond, and the one after its last.
    fn bounds(&self) -> [Datum; 2];
}

impl Bounded for TimeWindow {
    fn bounds(&self) -> [Datum; 2] {
        [Datum::Int(self.start.0), Datum::Int(self.end.0)]
    }
}

impl Bounded for GlobalWindow {
    fn bounds(&self) -> [Datum; 2] {
        [Datum::Null, Datum::Null]
    }
}

/// Folds rows. An argument that cannot be computed ends the attempt.
#[derive(Clone)]
pub(crate) struct RowFold {
    fold: Fold,
    arguments: Arguments,
}

impl RowFold {
    pub(crate) fn new(fold: Fold, aggregates: &[Aggregate]) -> Self {
        Self { fold, arguments: Arguments::new(Vec::new(), aggregates.to_vec()) }
    }
}

impl AggregateFunction<Row> for RowFold {
    type Accumulator = Vec<Accumulator>;
    type Out = Vec<Accumulator>;

    fn create_accumulator(&self) -> Vec<Accumulator> {
        self.fold.create_accumulator()
    }

    fn add(&self, accumulator: &mut Vec<Accumulator>, row: Row) {
        let reduced = self.arguments.of(&row).unwrap_or_else(|error| self.fold.failed(error).end_subtask());
        AggregateFunction::add(&self.fold, accumulator, reduced);
    }

    fn get_result(&self, accumulator: &Vec<Accumulator>) -> Vec<Accumulator> {
        accumulator.clone()
    }

    fn merge(&self, one: Vec<Accumulator>, other: Vec<Accumulator>) -> Vec<Accumulator> {
        self.fold.merge(one, other)
    }
}

/// Emits reduced rows, with the bounds of their window if they are to be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReducedResult {
    pub(crate) has_bounds: bool,
}

impl<W: Bounded> ProcessWindowFunction<Row, Row, Row, W> for ReducedResult {
    fn process(
        &mut self,
        _key: &Row,
        context: &mut WindowContext<'_, Row, W>,
        elements: Vec<Row>,
        out: &mut TimestampedCollector<'_, Row>,
    ) -> Result<()> {
        for row in elements {
            out.collect(if self.has_bounds {
                row.values().iter().cloned().chain(context.window.bounds()).collect()
            } else {
                row
            });
        }
        Ok(())
    }
}

/// Aggregates over all rows of a window, and over the window itself.
pub(crate) struct WholeWindow<W> {
    fold: RowFold,
    functions: Vec<Function>,
    has_bounds: bool,
    /// How often the window has fired, in its own state.
    firings: ValueState<i64, W>,
    /// How often any window of the key has fired.
    key_firings: ValueState<i64>,
}

impl<W: Window> Clone for WholeWindow<W> {
    fn clone(&self) -> Self {
        Self {
            fold: self.fold.clone(),
            functions: self.functions.clone(),
            has_bounds: self.has_bounds,
            firings: self.firings.clone(),
            key_firings: self.key_firings.clone(),
        }
    }
}

impl<W: Window> WholeWindow<W> {
    pub(crate) fn new(fold: Fold, aggregates: &[Aggregate], has_bounds: bool) -> Self {
        Self {
            fold: RowFold::new(fold, aggregates),
            functions: aggregates.iter().map(|aggregate| aggregate.function).collect(),
            has_bounds,
            firings: ValueState::new(ValueStateDescriptor::new("firings")),
            key_firings: ValueState::new(ValueStateDescriptor::new("key-firings")),
        }
    }

    /// Counts a firing in the states that are asked for, and says what the window's functions say, by aggregate.
    fn about(&self, context: &mut WindowContext<'_, Row, W>) -> Result<Vec<Option<i64>>> {
        let (mut firings, mut key_firings) = (None, None);
        if self.asks(Function::Firings) {
            firings = Some(count(&self.firings, &mut context.window_state()?)?);
        }
        if self.asks(Function::KeyFirings) {
            key_firings = Some(count(&self.key_firings, &mut context.global_state())?);
        }
        let watermark = context.watermark.0;
        let told = |function: &Function| match function {
            Function::Firings => firings,
            Function::KeyFirings => key_firings,
            Function::Watermark => Some(watermark),
            _ => None,
        };
        Ok(self.functions.iter().map(told).collect())
    }

    fn asks(&self, function: Function) -> bool {
        self.functions.contains(&function)
    }
}

fn count<N: Namespace>(state: &ValueState<i64, N>, access: &mut StateAccess<'_, Row, N>) -> Result<i64> {
    let count = state.value(access)?.unwrap_or(0) + 1;
    state.update(access, count)?;
    Ok(count)
}

impl<W: Bounded> ProcessWindowFunction<Row, Row, Row, W> for WholeWindow<W> {
    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        if self.asks(Function::Firings) {
            states.register(&mut self.firings)?;
        }
        if self.asks(Function::KeyFirings) {
            states.register(&mut self.key_firings)?;
        }
        Ok(())
    }

    fn process(
        &mut self,
        key: &Row,
        context: &mut WindowContext<'_, Row, W>,
        elements: Vec<Row>,
        out: &mut TimestampedCollector<'_, Row>,
    ) -> Result<()> {
        let mut accumulators = self.fold.create_accumulator();
        elements.into_iter().for_each(|row| self.fold.add(&mut accumulators, row));
        let about = self.about(context)?;
        let bounds = context.window.bounds();
        let bounds = if self.has_bounds { &bounds[..] } else { &[] };
        let mut result = self.fold.fold.result(key, bounds, &accumulators)?;
        let first = result.values().len() - about.len();
        for (place, told) in result.values_mut()[first..].iter_mut().zip(about) {
            if let Some(number) = told {
                *place = Datum::Int(number);
            }
        }
        out.collect(result);
        Ok(())
    }

    fn clear(&mut self, context: &mut WindowContext<'_, Row, W>) -> Result<()> {
        if self.asks(Function::Firings) {
            let mut state = context.window_state()?;
            self.firings.clear(&mut state)?;
        }
        Ok(())
    }
}
