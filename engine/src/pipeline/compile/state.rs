//! Functions with state, and rolling reductions.

use super::{Compiler, window::reduction};
use crate::{
    api::{DataStream, KeyedStream},
    error::Result,
    operator::{KeyedProcessFunction, ProcessOperator},
    pipeline::{
        function::{
            About, Aggregating, Average, Contains, Dedup, ListAverage, MapAverage, MapCount, Processed, RawCount,
            ReducingSum, Timers, ValueAverage, ValueCount, time_to_live,
        },
        model::ProcessFunction,
        plan::{PlannedProcess, PlannedReduce, PlannedStage},
        row::Row,
        row_window::RowKey,
    },
};

impl Compiler<'_> {
    /// The inputs of a stage by a key of their fields.
    pub(super) fn keyed(&self, stage: &PlannedStage, key: &[usize]) -> Result<KeyedStream<Row, RowKey>> {
        Ok(self.unpartitioned(&stage.inputs)?.key_by_selector(RowKey::new(key)))
    }

    pub(super) fn rolling(
        &self,
        stage: &PlannedStage,
        key: &[usize],
        reduce: &PlannedReduce,
    ) -> Result<DataStream<Row>> {
        Ok(self.keyed(stage, key)?.reduce(reduction(&stage.name, reduce)))
    }

    pub(super) fn process(&self, stage: &PlannedStage, planned: &PlannedProcess) -> Result<DataStream<Row>> {
        let about = About {
            stage: stage.name.clone(),
            value: planned.value.clone(),
            ttl: planned.declared.ttl.as_ref().map(time_to_live),
        };
        let keyed = self.keyed(stage, &planned.key)?;
        let results = Results { planned, fields: stage.schema.fields.len() };
        Ok(match planned.declared.function {
            ProcessFunction::ValueAvg { n } => results.of(&keyed, ValueAverage::new(about, n)),
            ProcessFunction::ListAvg { n } => results.of(&keyed, ListAverage::new(about, n)),
            ProcessFunction::MapAvg { n } => results.of(&keyed, MapAverage::new(about, n)),
            ProcessFunction::MapCount { n } => results.of(&keyed, MapCount::new(about, n)),
            ProcessFunction::ReducingSum => results.of(&keyed, ReducingSum::new(about)),
            ProcessFunction::AggregatingContains => results.of(&keyed, Aggregating::new(about, Contains)),
            ProcessFunction::AggregatingAvg => results.of(&keyed, Aggregating::new(about, Average)),
            ProcessFunction::ValueCount => results.of(&keyed, ValueCount::new(&about)),
            ProcessFunction::Dedup => results.of(&keyed, Dedup::new(&about)),
            ProcessFunction::Timers { pattern, delay, time } => {
                results.of(&keyed, Timers::new(&about, pattern, delay, time))
            }
            ProcessFunction::RawCount => {
                let function = RawCount::new(&planned.key);
                keyed.transform("raw_count", move || ProcessOperator::new(function.clone()))
            }
        })
    }
}

/// What the results of a stage are.
struct Results<'a> {
    planned: &'a PlannedProcess,
    /// How many fields they have.
    fields: usize,
}

impl Results<'_> {
    fn of<F>(&self, keyed: &KeyedStream<Row, RowKey>, function: F) -> DataStream<Row>
    where
        F: KeyedProcessFunction<Key = Row, In = Row, Out = Row> + Clone + Sync,
    {
        let declared = &self.planned.declared;
        if declared.processed_at.is_none() && !declared.every_record {
            return keyed.process(function);
        }
        keyed.process(Processed::new(function, self.planned, self.fields))
    }
}
