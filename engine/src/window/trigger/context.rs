//! What triggers can see and do.

use crate::{
    backend::{KeyedContext, KeyedStateBackend, StateAccess, ValueState},
    codec::Data,
    error::Result,
    state::Key,
    time::{TimeDomain, TimerService, Timestamp},
    window::Window,
};

/// What a trigger can see and do, for one key and window. Its state handles read and write the state of that window.
pub struct TriggerContext<'a, K: Key, W: Window> {
    backend: &'a mut KeyedStateBackend<K>,
    timers: &'a mut TimerService<K, W>,
    key: &'a K,
    pub(super) window: &'a W,
    processing_time: Timestamp,
}

impl<'a, K: Key, W: Window> TriggerContext<'a, K, W> {
    /// What the window operator gives to its trigger; also for tests of triggers.
    pub fn new(
        backend: &'a mut KeyedStateBackend<K>,
        timers: &'a mut TimerService<K, W>,
        key: &'a K,
        window: &'a W,
        processing_time: Timestamp,
    ) -> Self {
        Self { backend, timers, key, window, processing_time }
    }

    /// The key.
    pub fn key(&self) -> &'a K {
        self.key
    }

    /// The window.
    #[inline]
    pub fn window(&self) -> &'a W {
        self.window
    }

    /// The watermark that the operator has come to.
    #[inline]
    pub fn watermark(&self) -> Timestamp {
        self.timers.watermark()
    }

    /// The processing time, as last told to the operator.
    pub fn processing_time(&self) -> Timestamp {
        self.processing_time
    }

    /// Asks for a call of `on_event_time` or `on_processing_time`. Asking twice is asking once.
    pub fn register_timer(&mut self, domain: TimeDomain, timestamp: Timestamp) {
        self.timers.register(domain, timestamp, self.key, self.window);
    }

    /// Takes that back.
    pub fn delete_timer(&mut self, domain: TimeDomain, timestamp: Timestamp) {
        self.timers.delete(domain, timestamp, self.key, self.window);
    }

    /// Moves the values that `sources` have in a state into the value of this window, combined by `combine`; returns
    /// what it then is.
    ///
    /// # Errors
    /// If the state cannot be read or written.
    pub fn merge_values<V: Data>(
        &mut self,
        state: &ValueState<V, W>,
        sources: &[W],
        combine: impl Fn(V, V) -> V,
    ) -> Result<Option<V>> {
        let mut merged = state.value(self)?;
        for source in sources.iter().filter(|source| *source != self.window) {
            let mut of_source = StateAccess {
                backend: self.backend,
                key: self.key,
                namespace: source,
                processing_time: self.processing_time,
            };
            if let Some(value) = state.value(&mut of_source)? {
                state.clear(&mut of_source)?;
                merged = Some(match merged {
                    Some(merged) => combine(merged, value),
                    None => value,
                });
            }
        }
        state.update(self, merged.clone())?;
        Ok(merged)
    }
}

impl<K: Key, W: Window> KeyedContext<W> for TriggerContext<'_, K, W> {
    type Key = K;

    #[inline]
    fn access(&mut self) -> StateAccess<'_, K, W> {
        StateAccess {
            backend: self.backend,
            key: self.key,
            namespace: self.window,
            processing_time: self.processing_time,
        }
    }
}
