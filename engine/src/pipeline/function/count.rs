//! Counting: of records, of values, and up to one.

use super::{About, emit, emit_with_text, living};
use crate::{
    backend::{MapState, StateRegistry, ValueState},
    error::Result,
    operator::{KeyedProcessFunction, ProcessContext},
    pipeline::row::Row,
    state::{MapStateDescriptor, ValueStateDescriptor},
};

/// How often each value came; one that came often enough is forgotten.
#[derive(Clone)]
pub(crate) struct MapCount {
    about: About,
    n: u64,
    times: MapState<i64, i64>,
}

impl MapCount {
    pub(crate) fn new(about: About, n: u64) -> Self {
        let times = MapState::new(living!(MapStateDescriptor::new("times"), about));
        Self { about, n, times }
    }
}

impl KeyedProcessFunction for MapCount {
    type Key = Row;
    type In = Row;
    type Out = Row;

    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        states.register(&mut self.times)
    }

    fn process_element(&mut self, row: Row, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        let value = self.about.value(&row)?;
        let times = self.times.get(context, &value)?.unwrap_or(0) + 1;
        if times.cast_unsigned() >= self.n {
            self.times.remove(context, &value)?;
        } else {
            self.times.put(context, value, times)?;
        }
        let entries = self.times.entries(context)?;
        let texts: Vec<String> = entries.iter().map(|(value, times)| format!("{value}={times}")).collect();
        emit_with_text(context, times, &format!("{{{}}}", texts.join(",")));
        Ok(())
    }
}

/// The number of records.
#[derive(Clone)]
pub(crate) struct ValueCount {
    count: ValueState<i64>,
}

impl ValueCount {
    pub(crate) fn new(about: &About) -> Self {
        Self { count: ValueState::new(living!(ValueStateDescriptor::new("count"), about)) }
    }
}

impl KeyedProcessFunction for ValueCount {
    type Key = Row;
    type In = Row;
    type Out = Row;

    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        states.register(&mut self.count)
    }

    fn process_element(&mut self, _row: Row, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        let count = self.count.value(context)?.unwrap_or(0) + 1;
        self.count.update(context, count)?;
        emit(context, count);
        Ok(())
    }
}

/// The first record only.
#[derive(Clone)]
pub(crate) struct Dedup {
    seen: ValueState<bool>,
}

impl Dedup {
    pub(crate) fn new(about: &About) -> Self {
        Self { seen: ValueState::new(living!(ValueStateDescriptor::new("seen"), about)) }
    }
}

impl KeyedProcessFunction for Dedup {
    type Key = Row;
    type In = Row;
    type Out = Row;

    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        states.register(&mut self.seen)
    }

    fn process_element(&mut self, row: Row, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        if self.seen.value(context)?.is_none() {
            self.seen.update(context, true)?;
            context.collect(row);
        }
        Ok(())
    }
}
