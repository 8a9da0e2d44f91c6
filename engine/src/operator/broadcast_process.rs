//! Functions over a keyed stream and a broadcast one (Flink `KeyedBroadcastProcessFunction`).
//!
//! The keyed side sees keyed state, timers and broadcast state, which it can only read. The broadcast side writes broadcast
//! state, and has no key; it can change the keyed state of all keys at once.

use std::ops::{Deref, DerefMut};

use super::{
    AsyncSnapshot, BroadcastStates, Collector, OperatorContext, OperatorSnapshot, OutputTag, ReadBroadcastState,
    TwoInputOperator, WriteBroadcastState,
    keyed_runtime::{KeyedRuntime, OPENED, ProcessContext},
};
use crate::{
    backend::{KeyedContext, KeyedState, StateAccess, StateRegistry},
    codec::Data,
    error::Result,
    id::CheckpointId,
    record::{Batch, StreamRecord},
    state::{Key, KeySelector},
    time::{TimeDomain, Timestamp},
};

/// A function over a keyed stream and one whose records every subtask gets.
pub trait KeyedBroadcastProcessFunction: Send + 'static {
    /// Type of the key.
    type Key: Key;
    /// Type of the keyed input.
    type In: Data;
    /// Type of the broadcast input.
    type Broadcast: Data;
    /// Type of the output.
    type Out: Data;

    /// Asks for the function's states and keeps the handles.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn open(&mut self, keyed: &mut StateRegistry<'_, Self::Key>, broadcast: &mut BroadcastStates) -> Result<()>;

    /// A value of the keyed stream has come.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn process_element(
        &mut self,
        value: Self::In,
        context: &mut ReadOnlyContext<'_, Self::Key, Self::Out>,
    ) -> Result<()>;

    /// A broadcast value has come: the same in every subtask. What is written must follow from such values alone.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn process_broadcast_element(
        &mut self,
        value: Self::Broadcast,
        context: &mut BroadcastContext<'_, Self::Key, Self::Out>,
    ) -> Result<()>;

    /// A timer has come; the context's timestamp is what it was registered for.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn on_timer(&mut self, domain: TimeDomain, context: &mut ReadOnlyContext<'_, Self::Key, Self::Out>) -> Result<()> {
        let _ = (domain, context);
        Ok(())
    }
}

/// What a function can see and do while it handles a keyed value or a timer: everything of a [`ProcessContext`], and
/// broadcast state to read.
pub struct ReadOnlyContext<'a, K: Key, Out> {
    keyed: ProcessContext<'a, K, Out>,
    broadcast: &'a BroadcastStates,
}

impl<'a, K: Key, Out> Deref for ReadOnlyContext<'a, K, Out> {
    type Target = ProcessContext<'a, K, Out>;

    fn deref(&self) -> &Self::Target {
        &self.keyed
    }
}

impl<K: Key, Out> DerefMut for ReadOnlyContext<'_, K, Out> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.keyed
    }
}

impl<K: Key, Out> KeyedContext<()> for ReadOnlyContext<'_, K, Out> {
    type Key = K;

    fn access(&mut self) -> StateAccess<'_, K, ()> {
        self.keyed.access()
    }
}

impl<K: Key, Out> ReadBroadcastState for ReadOnlyContext<'_, K, Out> {
    fn broadcast_states(&self) -> &BroadcastStates {
        self.broadcast
    }
}

/// What a function can see and do while it handles a broadcast value.
pub struct BroadcastContext<'a, K: Key, Out> {
    keyed: &'a mut KeyedRuntime<K>,
    broadcast: &'a mut BroadcastStates,
    out: &'a mut Collector<Out>,
    timestamp: Timestamp,
}

impl<K: Key, Out> BroadcastContext<'_, K, Out> {
    /// The timestamp of the value.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The watermark that the operator has come to.
    pub fn watermark(&self) -> Timestamp {
        self.keyed.watermark()
    }

    /// The processing time, as last told to the operator.
    pub fn processing_time(&self) -> Timestamp {
        self.keyed.processing_time()
    }

    /// Calls `change` for each key of this subtask that has something in `state`, by key group and encoding; it may change
    /// any keyed state (Flink `applyToKeyedState`).
    ///
    /// # Errors
    /// If the backend cannot be read, and the first one of `change`.
    pub fn apply_to_keyed_state(
        &mut self,
        state: &impl KeyedState<()>,
        change: impl FnMut(&mut StateAccess<'_, K, ()>) -> Result<()>,
    ) -> Result<()> {
        self.keyed.apply_to_all_keys(state, change)
    }

    /// Emits a value with the timestamp of the broadcast one, from every subtask.
    pub fn collect(&mut self, value: Out) {
        self.out.collect(StreamRecord { value, timestamp: self.timestamp });
    }

    /// Emits a value on the side, with the same timestamp.
    pub fn side_output<U: Data>(&mut self, tag: &OutputTag<U>, value: U) {
        self.out.side_output(tag, StreamRecord { value, timestamp: self.timestamp });
    }
}

impl<K: Key, Out> ReadBroadcastState for BroadcastContext<'_, K, Out> {
    fn broadcast_states(&self) -> &BroadcastStates {
        self.broadcast
    }
}

impl<K: Key, Out> WriteBroadcastState for BroadcastContext<'_, K, Out> {
    fn broadcast_states_mut(&mut self) -> &mut BroadcastStates {
        self.broadcast
    }
}

/// Runs a [`KeyedBroadcastProcessFunction`]: its first input is the keyed stream, its second the broadcast one.
pub struct KeyedBroadcastProcessOperator<S, F: KeyedBroadcastProcessFunction> {
    key_selector: S,
    function: F,
    running: Option<(KeyedRuntime<F::Key>, BroadcastStates)>,
}

impl<S: KeySelector<F::In, Key = F::Key>, F: KeyedBroadcastProcessFunction> KeyedBroadcastProcessOperator<S, F> {
    /// An operator that calls `function` with the key that `key_selector` finds.
    pub fn new(key_selector: S, function: F) -> Self {
        Self { key_selector, function, running: None }
    }
}

impl<S, F> TwoInputOperator for KeyedBroadcastProcessOperator<S, F>
where
    S: KeySelector<F::In, Key = F::Key>,
    F: KeyedBroadcastProcessFunction,
{
    type First = F::In;
    type Second = F::Broadcast;
    type Out = F::Out;

    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let mut broadcast = BroadcastStates::open(context, restored.as_ref());
        let mut keyed = KeyedRuntime::open(context, restored)?;
        self.function.open(&mut keyed.registry(), &mut broadcast)?;
        self.running = Some((keyed, broadcast));
        Ok(())
    }

    fn set_processing_time(&mut self, now: Timestamp) {
        self.running.as_mut().expect(OPENED).0.set_processing_time(now);
    }

    fn process_first(&mut self, batch: Batch<F::In>, out: &mut Collector<F::Out>) -> Result<()> {
        let (keyed, broadcast) = self.running.as_mut().expect(OPENED);
        for StreamRecord { value, timestamp } in batch {
            let key = self.key_selector.key(&value).into_owned();
            let keyed = keyed.begin_record(&key, timestamp, out)?;
            self.function.process_element(value, &mut ReadOnlyContext { keyed, broadcast })?;
        }
        Ok(())
    }

    fn process_second(&mut self, batch: Batch<F::Broadcast>, out: &mut Collector<F::Out>) -> Result<()> {
        let (keyed, broadcast) = self.running.as_mut().expect(OPENED);
        for StreamRecord { value, timestamp } in batch {
            let mut context = BroadcastContext { keyed, broadcast, out, timestamp };
            self.function.process_broadcast_element(value, &mut context)?;
        }
        Ok(())
    }

    fn advance_watermark(&mut self, watermark: Timestamp, out: &mut Collector<F::Out>) -> Result<()> {
        let (keyed, broadcast) = self.running.as_mut().expect(OPENED);
        keyed.advance_watermark(watermark, out, |domain, keyed| {
            self.function.on_timer(domain, &mut ReadOnlyContext { keyed: keyed.reborrow(), broadcast })
        })
    }

    fn processing_time_deadline(&self) -> Option<Timestamp> {
        self.running.as_ref().and_then(|(keyed, _)| keyed.processing_time_deadline())
    }

    fn advance_processing_time(&mut self, now: Timestamp, out: &mut Collector<F::Out>) -> Result<()> {
        let (keyed, broadcast) = self.running.as_mut().expect(OPENED);
        keyed.advance_processing_time(now, out, |domain, keyed| {
            self.function.on_timer(domain, &mut ReadOnlyContext { keyed: keyed.reborrow(), broadcast })
        })
    }

    fn snapshot(&mut self, _checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        let (keyed, broadcast) = self.running.as_mut().expect(OPENED);
        let (keyed, broadcast) = (keyed.snapshot()?, broadcast.snapshot());
        Ok(Box::new(move || Ok(OperatorSnapshot { broadcast: broadcast(), ..keyed()? })))
    }
}

#[cfg(test)]
mod tests;
