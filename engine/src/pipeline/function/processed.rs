//! Results that say when they were made, and a result for each record: around any function with state.

use std::sync::Arc;

use crate::{
    backend::StateRegistry,
    error::Result,
    operator::{Collector, KeyedProcessFunction, ProcessContext},
    pipeline::{
        plan::PlannedProcess,
        row::{Datum, Row},
    },
    record::StreamRecord,
    time::TimeDomain,
};

/// A function whose results say more: see
/// [`ProcessOperation::processed_at`](crate::pipeline::ProcessOperation::processed_at).
#[derive(Clone)]
pub(crate) struct Processed<F> {
    function: F,
    says_when: bool,
    /// Whether a record without a result has one nevertheless.
    every_record: bool,
    /// The fields of a result that are the key's.
    key: Arc<[usize]>,
    /// How many fields the function's own results have.
    fields: usize,
}

impl<F> Processed<F> {
    /// The function of a stage whose results have so many fields.
    pub(crate) fn new(function: F, planned: &PlannedProcess, fields: usize) -> Self {
        let says_when = planned.declared.processed_at.is_some();
        Self {
            function,
            says_when,
            every_record: planned.declared.every_record,
            key: planned.key_of_result().into(),
            fields: fields - usize::from(says_when),
        }
    }

    /// A result in which nothing stands but the key.
    fn nothing(&self, key: &Row) -> Row {
        let mut values = vec![Datum::Null; self.fields];
        for (index, value) in self.key.iter().zip(key.values()) {
            values[*index] = value.clone();
        }
        Row::new(values)
    }

    fn emit(&self, mut results: Collector<Row>, context: &mut ProcessContext<'_, Row, Row>) {
        let now = context.processing_time().0;
        for StreamRecord { value, .. } in results.take() {
            context.collect(match self.says_when {
                true => value.values().iter().cloned().chain([Datum::Int(now)]).collect(),
                false => value,
            });
        }
    }
}

impl<F: KeyedProcessFunction<Key = Row, In = Row, Out = Row>> KeyedProcessFunction for Processed<F> {
    type Key = Row;
    type In = Row;
    type Out = Row;

    fn open(&mut self, states: &mut StateRegistry<'_, Row>) -> Result<()> {
        self.function.open(states)
    }

    fn process_element(&mut self, row: Row, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        // No function that a pipeline can name emits anything on the side.
        let mut results = Collector::default();
        self.function.process_element(row, &mut context.with_output(&mut results))?;
        if self.every_record && results.records().is_empty() {
            let nothing = self.nothing(context.key());
            context.with_output(&mut results).collect(nothing);
        }
        self.emit(results, context);
        Ok(())
    }

    fn on_timer(&mut self, domain: TimeDomain, context: &mut ProcessContext<'_, Row, Row>) -> Result<()> {
        let mut results = Collector::default();
        self.function.on_timer(domain, &mut context.with_output(&mut results))?;
        self.emit(results, context);
        Ok(())
    }
}
