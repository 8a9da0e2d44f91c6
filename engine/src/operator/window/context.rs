//! What window functions can see and do beside their elements.

use super::WindowError;
use crate::{
    backend::{KeyedStateBackend, StateAccess},
    error::Result,
    state::Key,
    time::Timestamp,
    window::Window,
};

/// What a window function is told about the window whose results are due, and the state that it can use (Flink
/// `ProcessWindowFunction.Context`).
pub struct WindowContext<'a, K: Key, W: Window> {
    /// The window.
    pub window: &'a W,
    /// The watermark that the operator has come to.
    pub watermark: Timestamp,
    /// The processing time, as last told to the operator.
    pub processing_time: Timestamp,
    pub(super) backend: &'a mut KeyedStateBackend<K>,
    pub(super) key: &'a K,
    pub(super) merging: bool,
}

impl<'a, K: Key, W: Window> WindowContext<'a, K, W> {
    /// The key.
    pub fn key(&self) -> &'a K {
        self.key
    }

    /// The state of this key and window, for handles of type `ValueState<T, W>`. It outlives firings; drop it in
    /// [`ProcessWindowFunction::clear`](super::ProcessWindowFunction::clear).
    ///
    /// # Errors
    /// If windows merge: what they have cannot be merged.
    pub fn window_state(&mut self) -> Result<StateAccess<'_, K, W>> {
        if self.merging {
            return Err(WindowError::PerWindowState.into());
        }
        Ok(StateAccess {
            backend: self.backend,
            key: self.key,
            namespace: self.window,
            processing_time: self.processing_time,
        })
    }

    /// The state of this key, whatever the window, for handles of type `ValueState<T>`. It is never dropped.
    pub fn global_state(&mut self) -> StateAccess<'_, K, ()> {
        StateAccess { backend: self.backend, key: self.key, namespace: &(), processing_time: self.processing_time }
    }
}
