//! Window functions: how the elements of a window are kept, and what its results are.
//!
//! [`Reduce`](super::Reduce) and [`Aggregate`](super::Aggregate) keep one value per window;
//! [`FullWindow`](super::FullWindow) keeps all elements; [`Then`](super::Then) hands the one value to a function that
//! sees key and window as well; [`EvictingWindow`](super::EvictingWindow) keeps elements with their timestamps.

use super::WindowContext;
use crate::{
    backend::{KeyedStateBackend, StateRegistry},
    codec::Data,
    error::Result,
    operator::TimestampedCollector,
    record::StreamRecord,
    state::{Key, KeySelector},
    window::Window,
};

/// What becomes of contents that fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFiring {
    /// They stay, for the next firing.
    Keep,
    /// They are dropped.
    Drop,
}

/// How the window operator keeps the elements of a window and makes results of them.
///
/// Contents are kept under a *state window*: the window itself, or one that merged into it.
pub trait WindowFunction<In: Data, K: Key, W: Window>: Send + 'static {
    /// Type of the results.
    type Out: Data;
    /// The state that holds contents.
    type Id: Copy + Send + 'static;
    /// The table of that state.
    type Table<'a>;

    /// Registers the state `window-contents`, and those of the user's function.
    ///
    /// # Errors
    /// If a state cannot be had.
    fn open(&mut self, backend: &mut KeyedStateBackend<K>) -> Result<Self::Id>;

    /// The table of the contents.
    fn table(contents: Self::Id, backend: &mut KeyedStateBackend<K>) -> Self::Table<'_>;

    /// Adds an element to contents that are there already; gives it back if there are none.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn add_further(
        &mut self,
        table: &mut Self::Table<'_>,
        key_selector: &impl KeySelector<In, Key = K>,
        window: &W,
        record: StreamRecord<In>,
    ) -> Result<Option<StreamRecord<In>>>;

    /// Adds an element.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn add(&mut self, table: &mut Self::Table<'_>, key: &K, state_window: &W, record: StreamRecord<In>) -> Result<()>;

    /// Emits the results of the context's key and window. A window without contents has none.
    ///
    /// # Errors
    /// Those of the user's function, and if the backend cannot be read or written.
    fn fire(
        &mut self,
        contents: Self::Id,
        state_window: &W,
        after: AfterFiring,
        context: &mut WindowContext<'_, K, W>,
        out: &mut TimestampedCollector<'_, Self::Out>,
    ) -> Result<()>;

    /// Drops contents.
    ///
    /// # Errors
    /// If the backend cannot be written.
    fn purge(&mut self, table: &mut Self::Table<'_>, key: &K, state_window: &W) -> Result<()>;

    /// Moves the contents of `sources`, in this order, into those of `target`. Is not called without sources.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn merge(&mut self, table: &mut Self::Table<'_>, key: &K, target: &W, sources: &[W]) -> Result<()>;

    /// The window is over: drops the user's per-window state.
    ///
    /// # Errors
    /// Those of the user's function.
    fn clear(&mut self, context: &mut WindowContext<'_, K, W>) -> Result<()> {
        let _ = context;
        Ok(())
    }
}

/// Sees all elements of a window, or the one value that they were reduced to, with key and window.
///
/// Any `FnMut(&K, &mut WindowContext<'_, K, W>, Vec<In>, &mut TimestampedCollector<'_, Out>) -> Result<()>` is one.
pub trait ProcessWindowFunction<In, Out, K: Key, W: Window>: Send + 'static {
    /// Asks for the function's states and keeps the handles: `ValueState<T, W>` for the state of a window,
    /// `ValueState<T>` for that of a key.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn open(&mut self, states: &mut StateRegistry<'_, K>) -> Result<()> {
        let _ = states;
        Ok(())
    }

    /// Emits the results of a window, whose elements come in the order in which they arrived. What is emitted has the
    /// last timestamp of the window.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn process(
        &mut self,
        key: &K,
        context: &mut WindowContext<'_, K, W>,
        elements: Vec<In>,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()>;

    /// The window is over: drops what the function keeps of it.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn clear(&mut self, context: &mut WindowContext<'_, K, W>) -> Result<()> {
        let _ = context;
        Ok(())
    }
}

impl<In, Out, K: Key, W: Window, F> ProcessWindowFunction<In, Out, K, W> for F
where
    F: FnMut(&K, &mut WindowContext<'_, K, W>, Vec<In>, &mut TimestampedCollector<'_, Out>) -> Result<()>
        + Send
        + 'static,
{
    fn process(
        &mut self,
        key: &K,
        context: &mut WindowContext<'_, K, W>,
        elements: Vec<In>,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()> {
        self(key, context, elements, out)
    }
}

/// Emits each element as it is: what a reduced or aggregated value is without a function of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmitResult;

impl<T, K: Key, W: Window> ProcessWindowFunction<T, T, K, W> for EmitResult {
    fn process(
        &mut self,
        _key: &K,
        _context: &mut WindowContext<'_, K, W>,
        elements: Vec<T>,
        out: &mut TimestampedCollector<'_, T>,
    ) -> Result<()> {
        elements.into_iter().for_each(|element| out.collect(element));
        Ok(())
    }
}

/// A function that asks for key, window and elements only (Flink `WindowFunction`).
#[derive(Debug, Clone, Copy)]
pub struct Apply<F>(pub F);

impl<In, Out, K, W, F> ProcessWindowFunction<In, Out, K, W> for Apply<F>
where
    K: Key,
    W: Window,
    F: FnMut(&K, &W, Vec<In>, &mut TimestampedCollector<'_, Out>) -> Result<()> + Send + 'static,
{
    fn process(
        &mut self,
        key: &K,
        context: &mut WindowContext<'_, K, W>,
        elements: Vec<In>,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()> {
        (self.0)(key, context.window, elements, out)
    }
}
