//! Window functions: how the elements of a window are kept, and what its results are.
//!
//! [`Reduce`] and [`Aggregate`] keep one value per window; [`FullWindow`] keeps all elements; [`Then`] hands the one
//! value to a function that sees key and window as well. Flink: `ReduceFunction`, `AggregateFunction`,
//! `ProcessWindowFunction`.

use std::marker::PhantomData;

use super::TimestampedCollector;
use crate::{
    codec::Data,
    error::Result,
    state::{AggregateFunction, Key, ReduceFunction},
    time::Timestamp,
    window::Window,
};

/// What a window function is told about the window whose results are due.
#[derive(Debug, Clone, Copy)]
pub struct WindowContext<'a, W> {
    /// The window.
    pub window: &'a W,
    /// The watermark that the operator has come to.
    pub watermark: Timestamp,
    /// The processing time, as last told to the operator.
    pub processing_time: Timestamp,
}

/// How the window operator keeps the elements of a window and makes results of them.
pub trait WindowFunction<In, K, W>: Send + 'static {
    /// What is kept per key and window: the state `window-contents`.
    type Contents: Data;
    /// Type of the results.
    type Out: Data;

    /// The contents of a window with one element.
    fn first(&mut self, value: In) -> Self::Contents;

    /// Adds an element.
    fn add(&mut self, contents: &mut Self::Contents, value: In);

    /// Emits the results.
    ///
    /// # Errors
    /// Those of the user's function.
    fn emit(
        &mut self,
        key: &K,
        context: WindowContext<'_, W>,
        contents: Self::Contents,
        out: &mut TimestampedCollector<'_, Self::Out>,
    ) -> Result<()>;
}

/// Sees all elements of a window, or the one value that they were reduced to, with key and window.
///
/// Any `FnMut(&K, WindowContext<'_, W>, Vec<In>, &mut TimestampedCollector<'_, Out>) -> Result<()>` is one.
pub trait ProcessWindowFunction<In, Out, K, W>: Send + 'static {
    /// Emits the results of a window, whose elements come in the order in which they arrived.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn process(
        &mut self,
        key: &K,
        context: WindowContext<'_, W>,
        elements: Vec<In>,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()>;
}

impl<In, Out, K, W, F> ProcessWindowFunction<In, Out, K, W> for F
where
    F: FnMut(&K, WindowContext<'_, W>, Vec<In>, &mut TimestampedCollector<'_, Out>) -> Result<()> + Send + 'static,
{
    fn process(
        &mut self,
        key: &K,
        context: WindowContext<'_, W>,
        elements: Vec<In>,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()> {
        self(key, context, elements, out)
    }
}

/// Something that keeps one value per window.
pub trait Incremental<In>: Send + 'static {
    /// What is kept.
    type Contents: Data;
    /// What it comes to.
    type Out: Data;

    /// The contents of a window with one element.
    fn first(&mut self, value: In) -> Self::Contents;
    /// Adds an element.
    fn add(&mut self, contents: &mut Self::Contents, value: In);
    /// The result.
    fn result(&mut self, contents: Self::Contents) -> Self::Out;
}

/// Keeps the values reduced to one; that one is the result.
#[derive(Debug, Clone, Copy)]
pub struct Reduce<F>(pub F);

impl<T: Data, F: ReduceFunction<T>> Incremental<T> for Reduce<F> {
    type Contents = T;
    type Out = T;

    #[inline]
    fn first(&mut self, value: T) -> T {
        value
    }
    #[inline]
    fn add(&mut self, contents: &mut T, value: T) {
        self.0.reduce(contents, value);
    }
    #[inline]
    fn result(&mut self, contents: T) -> T {
        contents
    }
}

/// Keeps an accumulator; the result is made of it.
#[derive(Debug, Clone, Copy)]
pub struct Aggregate<A>(pub A);

impl<In: Data, A: AggregateFunction<In>> Incremental<In> for Aggregate<A> {
    type Contents = A::Accumulator;
    type Out = A::Out;

    #[inline]
    fn first(&mut self, value: In) -> A::Accumulator {
        let mut accumulator = self.0.create_accumulator();
        self.0.add(&mut accumulator, value);
        accumulator
    }
    #[inline]
    fn add(&mut self, contents: &mut A::Accumulator, value: In) {
        self.0.add(contents, value);
    }
    #[inline]
    fn result(&mut self, contents: A::Accumulator) -> A::Out {
        self.0.get_result(&contents)
    }
}

macro_rules! incremental_window_function {
    ($($name:ident),*) => {$(
        impl<In: Data, K: Key, W: Window, F: Send + 'static> WindowFunction<In, K, W> for $name<F>
        where
            Self: Incremental<In>,
        {
            type Contents = <Self as Incremental<In>>::Contents;
            type Out = <Self as Incremental<In>>::Out;

            #[inline]
            fn first(&mut self, value: In) -> Self::Contents {
                Incremental::first(self, value)
            }
            #[inline]
            fn add(&mut self, contents: &mut Self::Contents, value: In) {
                Incremental::add(self, contents, value);
            }
            #[inline]
            fn emit(
                &mut self,
                _key: &K,
                _context: WindowContext<'_, W>,
                contents: Self::Contents,
                out: &mut TimestampedCollector<'_, Self::Out>,
            ) -> Result<()> {
                out.collect(self.result(contents));
                Ok(())
            }
        }
    )*};
}

incremental_window_function!(Reduce, Aggregate);

/// Keeps one value per window as `I` does and hands it to a [`ProcessWindowFunction`].
#[derive(Debug)]
pub struct Then<I, P, Out> {
    incremental: I,
    process: P,
    out: PhantomData<fn() -> Out>,
}

impl<I, P, Out> Then<I, P, Out> {
    /// `process` makes the results of what `incremental` keeps.
    pub fn new(incremental: I, process: P) -> Self {
        Self { incremental, process, out: PhantomData }
    }
}

impl<In, Out, K, W, I, P> WindowFunction<In, K, W> for Then<I, P, Out>
where
    In: Data,
    Out: Data,
    K: Key,
    W: Window,
    I: Incremental<In>,
    P: ProcessWindowFunction<I::Out, Out, K, W>,
{
    type Contents = I::Contents;
    type Out = Out;

    #[inline]
    fn first(&mut self, value: In) -> I::Contents {
        self.incremental.first(value)
    }
    #[inline]
    fn add(&mut self, contents: &mut I::Contents, value: In) {
        self.incremental.add(contents, value);
    }
    fn emit(
        &mut self,
        key: &K,
        context: WindowContext<'_, W>,
        contents: I::Contents,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()> {
        let result = self.incremental.result(contents);
        self.process.process(key, context, vec![result], out)
    }
}

/// Keeps all elements of a window for a [`ProcessWindowFunction`].
#[derive(Debug)]
pub struct FullWindow<P, Out> {
    process: P,
    out: PhantomData<fn() -> Out>,
}

impl<P, Out> FullWindow<P, Out> {
    /// `process` makes the results of all elements.
    pub fn new(process: P) -> Self {
        Self { process, out: PhantomData }
    }
}

impl<In, Out, K, W, P> WindowFunction<In, K, W> for FullWindow<P, Out>
where
    In: Data,
    Out: Data,
    K: Key,
    W: Window,
    P: ProcessWindowFunction<In, Out, K, W>,
{
    type Contents = Vec<In>;
    type Out = Out;

    fn first(&mut self, value: In) -> Vec<In> {
        vec![value]
    }
    #[inline]
    fn add(&mut self, contents: &mut Vec<In>, value: In) {
        contents.push(value);
    }
    fn emit(
        &mut self,
        key: &K,
        context: WindowContext<'_, W>,
        contents: Vec<In>,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()> {
        self.process.process(key, context, contents, out)
    }
}
