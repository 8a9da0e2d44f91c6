//! Functions on streams without a key, with operator state (Flink `ProcessFunction`, `ProcessOperator`).

use super::{
    AsyncSnapshot, CheckpointedFunction, Collector, FunctionState, Operator, OperatorContext, OperatorSnapshot,
    OperatorStateAccess, OperatorStateStore, OutputTag,
};
use crate::{
    codec::Data,
    error::Result,
    id::CheckpointId,
    record::{Batch, StreamRecord},
    time::Timestamp,
};

/// A function that is called for each value and may keep operator state.
pub trait ProcessFunction: CheckpointedFunction {
    /// Type of the input.
    type In: Data;
    /// Type of the output.
    type Out: Data;

    /// A value has come.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn process_element(&mut self, value: Self::In, context: &mut FunctionContext<'_, Self::Out>) -> Result<()>;

    /// The input has ended: emits what was held back.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn finish(&mut self, context: &mut FunctionContext<'_, Self::Out>) -> Result<()> {
        let _ = context;
        Ok(())
    }
}

/// What a function without a key can see and do.
pub struct FunctionContext<'a, Out> {
    state: &'a mut FunctionState,
    out: &'a mut Collector<Out>,
    timestamp: Timestamp,
    watermark: Timestamp,
    processing_time: Timestamp,
}

impl<Out> FunctionContext<'_, Out> {
    /// The timestamp of the value; at the end of the input the last one there is.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The watermark that the operator has come to.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The processing time, as last told to the operator.
    pub fn processing_time(&self) -> Timestamp {
        self.processing_time
    }

    /// Emits a value with the timestamp of the one that came.
    pub fn collect(&mut self, value: Out) {
        self.out.collect(StreamRecord { value, timestamp: self.timestamp });
    }

    /// Emits a value on the side.
    pub fn side_output<T: Data>(&mut self, tag: &OutputTag<T>, value: T) {
        self.out.side_output(tag, StreamRecord { value, timestamp: self.timestamp });
    }
}

impl<Out> OperatorStateAccess for FunctionContext<'_, Out> {
    fn operator_state(&mut self) -> &mut OperatorStateStore {
        self.state.operator_state()
    }
}

/// Runs a [`ProcessFunction`].
pub struct ProcessOperator<F> {
    function: F,
    state: Option<FunctionState>,
    watermark: Timestamp,
    processing_time: Timestamp,
}

const OPENED: &str = "an operator is opened before anything else";

impl<F: ProcessFunction> ProcessOperator<F> {
    /// An operator that calls `function`.
    pub fn new(function: F) -> Self {
        Self { function, state: None, watermark: Timestamp::MIN, processing_time: Timestamp::MIN }
    }
}

impl<F: ProcessFunction> Operator for ProcessOperator<F> {
    type In = F::In;
    type Out = F::Out;

    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        self.processing_time = context.processing_time;
        self.watermark = restored.as_ref().and_then(|kept| kept.watermark).unwrap_or(Timestamp::MIN);
        self.state = Some(FunctionState::initialize(context.into(), restored, &mut self.function)?);
        Ok(())
    }

    fn set_processing_time(&mut self, now: Timestamp) {
        self.processing_time = now;
    }

    fn process(&mut self, batch: Batch<F::In>, out: &mut Collector<F::Out>) -> Result<()> {
        let Self { function, state, watermark, processing_time } = self;
        let state = state.as_mut().expect(OPENED);
        for StreamRecord { value, timestamp } in batch {
            let (watermark, processing_time) = (*watermark, *processing_time);
            function
                .process_element(value, &mut FunctionContext { state, out, timestamp, watermark, processing_time })?;
        }
        Ok(())
    }

    fn advance_watermark(&mut self, watermark: Timestamp, _out: &mut Collector<F::Out>) -> Result<()> {
        self.watermark = self.watermark.max(watermark);
        Ok(())
    }

    fn snapshot(&mut self, checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        let rest = self.state.as_mut().expect(OPENED).snapshot(checkpoint_id, &mut self.function)?;
        let watermark = (self.watermark > Timestamp::MIN).then_some(self.watermark);
        Ok(Box::new(move || Ok(OperatorSnapshot { watermark, ..rest()? })))
    }

    fn finish(&mut self, out: &mut Collector<F::Out>) -> Result<()> {
        let Self { function, state, watermark, processing_time } = self;
        let state = state.as_mut().expect(OPENED);
        let (watermark, processing_time) = (*watermark, *processing_time);
        function.finish(&mut FunctionContext { state, out, timestamp: Timestamp::MAX, watermark, processing_time })
    }
}

#[cfg(test)]
mod tests;
