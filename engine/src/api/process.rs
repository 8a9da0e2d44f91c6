//! Functions with operator state on streams, and sinks that keep it.

use super::stream::{DataStream, StreamSink};
use crate::{
    codec::Data,
    connector::PlainSink,
    operator::{CheckpointedFunction, ProcessFunction, ProcessOperator},
    task,
};

impl<T: Data> DataStream<T> {
    /// Calls a function that may keep operator state for each record.
    pub fn process<F>(&self, function: F) -> DataStream<F::Out>
    where
        F: ProcessFunction<In = T> + Clone + Sync,
    {
        self.transform("process", move || ProcessOperator::new(function.clone()))
    }

    /// Ends the stream in a sink without transactions that keeps operator state; `make` is called once per subtask and
    /// attempt.
    pub fn sink_checkpointed<S>(&self, name: &str, make: impl Fn() -> S + Send + Sync + 'static) -> StreamSink
    where
        S: PlainSink<In = T> + CheckpointedFunction,
    {
        self.add_sink(name, task::checkpointed_sink(make))
    }
}
