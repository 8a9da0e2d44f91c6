//! Averages of so many values at a time, in three kinds of state.

use super::{About, emit_with_text, living};
use crate::{
    backend::{ListState, MapState, StateRegistry, ValueState},
    error::Result,
    operator::{KeyedProcessFunction, ProcessContext},
    pipeline::row::Row,
    state::{ListStateDescriptor, MapStateDescriptor, ValueStateDescriptor},
};

/// Count and sum in a value.
#[derive(Clone)]
pub(crate) struct ValueAverage {
    about: About,
    n: u64,
    count_and_sum: ValueState<(u64, i64)>,
}

impl ValueAverage {
    pub(crate) fn new(about: About, n: u64) -> Self {
        let count_and_sum = ValueState::new(living!(ValueStateDescriptor::new("count-and-sum"), about));
        Self { about, n, count_and_sum }
    }
}

impl KeyedProcessFunction for ValueAverage {
    type Key = Row;
    type In = Row;
    type Out = Row;

    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        states.register(&mut self.count_and_sum)
    }

    fn process_element(&mut self, row: Row, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        let (count, sum) = self.count_and_sum.value(context)?.unwrap_or_default();
        let (count, sum) = (count + 1, sum.wrapping_add(self.about.value(&row)?));
        if count < self.n {
            return self.count_and_sum.update(context, (count, sum));
        }
        emit_with_text(context, sum / count as i64, &format!("{sum}/{count}"));
        self.count_and_sum.clear(context)
    }
}

/// All values in a list.
#[derive(Clone)]
pub(crate) struct ListAverage {
    about: About,
    n: u64,
    values: ListState<i64>,
}

impl ListAverage {
    pub(crate) fn new(about: About, n: u64) -> Self {
        let values = ListState::new(living!(ListStateDescriptor::new("values"), about));
        Self { about, n, values }
    }
}

impl KeyedProcessFunction for ListAverage {
    type Key = Row;
    type In = Row;
    type Out = Row;

    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        states.register(&mut self.values)
    }

    fn process_element(&mut self, row: Row, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        self.values.add(context, self.about.value(&row)?)?;
        let values = self.values.get(context)?;
        if (values.len() as u64) < self.n {
            return Ok(());
        }
        let sum = values.iter().fold(0_i64, |sum, value| sum.wrapping_add(*value));
        let texts: Vec<String> = values.iter().map(i64::to_string).collect();
        emit_with_text(context, sum / values.len() as i64, &texts.join(","));
        self.values.clear(context)
    }
}

/// All values in a map, by the order in which they came.
#[derive(Clone)]
pub(crate) struct MapAverage {
    about: About,
    n: u64,
    values: MapState<u64, i64>,
}

impl MapAverage {
    pub(crate) fn new(about: About, n: u64) -> Self {
        let values = MapState::new(living!(MapStateDescriptor::new("values"), about));
        Self { about, n, values }
    }
}

impl KeyedProcessFunction for MapAverage {
    type Key = Row;
    type In = Row;
    type Out = Row;

    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        states.register(&mut self.values)
    }

    fn process_element(&mut self, row: Row, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        let count = self.values.keys(context)?.len() as u64;
        self.values.put(context, count, self.about.value(&row)?)?;
        let values = self.values.values(context)?;
        if (values.len() as u64) < self.n {
            return Ok(());
        }
        let sum = values.iter().fold(0_i64, |sum, value| sum.wrapping_add(*value));
        let count = values.len() as i64;
        emit_with_text(context, sum / count, &format!("{sum}/{count}"));
        self.values.clear(context)
    }
}
