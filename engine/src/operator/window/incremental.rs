//! Windows that keep one value (Flink `ReduceFunction`, `AggregateFunction`).

use std::{borrow::Cow, marker::PhantomData};

use super::{AfterFiring, ProcessWindowFunction, WINDOW_CONTENTS, WindowContext, WindowFunction};
use crate::{
    backend::{Fold, KeyedStateBackend, StateId, StateRegistry, ValueTable, Values},
    codec::Data,
    error::Result,
    operator::TimestampedCollector,
    record::StreamRecord,
    state::{AggregateFunction, Key, KeySelector, ReduceFunction, StateDescriptor, StateKind},
    window::Window,
};

/// Something that keeps one value per window.
pub trait Incremental<In>: Send + 'static {
    /// What is kept.
    type Contents: Data;
    /// What it comes to.
    type Out: Data;

    /// The contents of a window with no element, if there can be such.
    fn of_none(&mut self) -> Option<Self::Contents>;
    /// The contents of a window with one element.
    fn first(&mut self, value: In) -> Self::Contents;
    /// Adds an element.
    fn add(&mut self, contents: &mut Self::Contents, value: In);
    /// The contents of a window that two others have become, those of `one` first.
    fn merge(&mut self, one: Self::Contents, other: Self::Contents) -> Self::Contents;
    /// The result.
    fn result(&mut self, contents: Self::Contents) -> Self::Out;
}

/// Keeps the values reduced to one; that one is the result.
#[derive(Debug, Clone, Copy)]
pub struct Reduce<F>(pub F);

impl<T: Data, F: ReduceFunction<T>> Incremental<T> for Reduce<F> {
    type Contents = T;
    type Out = T;

    fn of_none(&mut self) -> Option<T> {
        None
    }
    #[inline]
    fn first(&mut self, value: T) -> T {
        value
    }
    #[inline]
    fn add(&mut self, contents: &mut T, value: T) {
        self.0.reduce(contents, value);
    }
    fn merge(&mut self, mut one: T, other: T) -> T {
        self.0.reduce(&mut one, other);
        one
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

    fn of_none(&mut self) -> Option<A::Accumulator> {
        Some(self.0.create_accumulator())
    }
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
    fn merge(&mut self, one: A::Accumulator, other: A::Accumulator) -> A::Accumulator {
        self.0.merge(one, other)
    }
    #[inline]
    fn result(&mut self, contents: A::Accumulator) -> A::Out {
        self.0.get_result(&contents)
    }
}

/// What folds elements into contents.
struct Folding<'a, I>(&'a mut I);

impl<In, I: Incremental<In>> Fold<In, I::Contents> for Folding<'_, I> {
    #[inline]
    fn first(&mut self, input: In) -> I::Contents {
        self.0.first(input)
    }
    #[inline]
    fn add(&mut self, contents: &mut I::Contents, input: In) {
        self.0.add(contents, input);
    }
}

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

/// The part of a window function that an [`Incremental`] determines: all but what is done with its result.
macro_rules! keeps_one_value {
    ($incremental_type:ty, $self:ident => $incremental:expr) => {
        type Id = StateId<W, <$incremental_type as Incremental<In>>::Contents>;
        type Table<'a> = ValueTable<'a, K, W, <$incremental_type as Incremental<In>>::Contents>;

        fn table(contents: Self::Id, backend: &mut KeyedStateBackend<K>) -> Self::Table<'_> {
            backend.values(contents)
        }

        #[inline]
        fn add_further(
            &mut $self,
            table: &mut Self::Table<'_>,
            key_selector: &impl KeySelector<In, Key = K>,
            window: &W,
            record: StreamRecord<In>,
        ) -> Result<Option<StreamRecord<In>>> {
            let place = table.locate(key_selector.key(&record.value), window)?;
            if !place.is_held() {
                return Ok(Some(record));
            }
            table.fold(place, window, record.value, &mut Folding($incremental))?;
            Ok(None)
        }

        fn add(
            &mut $self,
            table: &mut Self::Table<'_>,
            key: &K,
            state_window: &W,
            record: StreamRecord<In>,
        ) -> Result<()> {
            let place = table.locate(Cow::Borrowed(key), state_window)?;
            table.fold(place, state_window, record.value, &mut Folding($incremental))?;
            Ok(())
        }

        fn purge(&mut $self, table: &mut Self::Table<'_>, key: &K, state_window: &W) -> Result<()> {
            table.take(key, state_window).map(|_| ())
        }

        fn merge(&mut $self, table: &mut Self::Table<'_>, key: &K, target: &W, sources: &[W]) -> Result<()> {
            let mut merged = table.take(key, target)?;
            for source in sources {
                merged = match (merged, table.take(key, source)?) {
                    (Some(one), Some(other)) => Some(Incremental::merge($incremental, one, other)),
                    (one, other) => one.or(other),
                };
            }
            match merged {
                Some(merged) => table.put(key, target, merged),
                None => Ok(()),
            }
        }
    };
}

macro_rules! emits_its_result {
    ($($name:ident),*) => {$(
        impl<In: Data, K: Key, W: Window, F: Send + 'static> WindowFunction<In, K, W> for $name<F>
        where
            Self: Incremental<In>,
        {
            type Out = <Self as Incremental<In>>::Out;

            keeps_one_value!(Self, self => &mut *self);

            fn open(&mut self, backend: &mut KeyedStateBackend<K>) -> Result<Self::Id> {
                register(backend)
            }

            fn fire(
                &mut self,
                contents: Self::Id,
                state_window: &W,
                after: AfterFiring,
                context: &mut WindowContext<'_, K, W>,
                out: &mut TimestampedCollector<'_, Self::Out>,
            ) -> Result<()> {
                if let Some(contents) = taken(contents, state_window, after, context)? {
                    out.collect(self.result(contents));
                }
                Ok(())
            }
        }
    )*};
}

emits_its_result!(Reduce, Aggregate);

impl<In, Out, K, W, I, P> WindowFunction<In, K, W> for Then<I, P, Out>
where
    In: Data,
    Out: Data,
    K: Key,
    W: Window,
    I: Incremental<In>,
    P: ProcessWindowFunction<I::Out, Out, K, W>,
{
    type Out = Out;

    keeps_one_value!(I, self => &mut self.incremental);

    fn open(&mut self, backend: &mut KeyedStateBackend<K>) -> Result<Self::Id> {
        let contents = register(backend)?;
        self.process.open(&mut StateRegistry::new(backend))?;
        Ok(contents)
    }

    fn fire(
        &mut self,
        contents: Self::Id,
        state_window: &W,
        after: AfterFiring,
        context: &mut WindowContext<'_, K, W>,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()> {
        let Some(contents) = taken(contents, state_window, after, context)? else { return Ok(()) };
        let result = self.incremental.result(contents);
        self.process.process(context.key, context, vec![result], out)
    }

    fn clear(&mut self, context: &mut WindowContext<'_, K, W>) -> Result<()> {
        self.process.clear(context)
    }
}

fn register<K: Key, W: Window, V: Data>(backend: &mut KeyedStateBackend<K>) -> Result<StateId<W, V>> {
    Ok(backend.register_values(&StateDescriptor::new(WINDOW_CONTENTS), StateKind::Value)?)
}

/// The contents of a window that fires.
fn taken<K: Key, W: Window, V: Data>(
    contents: StateId<W, V>,
    state_window: &W,
    after: AfterFiring,
    context: &mut WindowContext<'_, K, W>,
) -> Result<Option<V>> {
    let mut table = context.backend.values(contents);
    match after {
        AfterFiring::Keep => Ok(table.get(context.key, state_window)?.map(Cow::into_owned)),
        AfterFiring::Drop => table.take(context.key, state_window),
    }
}
