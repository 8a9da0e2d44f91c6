//! Windows that keep all their elements (Flink `ProcessWindowFunction` without incremental aggregation), and those that
//! drop some when they fire (Flink `EvictingWindowOperator`).

use std::marker::PhantomData;

use super::{AfterFiring, Incremental, ProcessWindowFunction, WINDOW_CONTENTS, WindowContext, WindowFunction};
use crate::{
    backend::{KeyedStateBackend, ListOf, ListTable, Lists, StateId, StateRegistry},
    codec::Data,
    error::Result,
    operator::TimestampedCollector,
    planted,
    record::StreamRecord,
    state::{Key, KeySelector, StateDescriptor},
    window::{Evictor, EvictorContext, Window},
};

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

/// Keeps all elements of a window with their timestamps; an [`Evictor`] drops some for good whenever it fires.
#[derive(Debug)]
pub struct EvictingWindow<E, P, Out> {
    evictor: E,
    process: P,
    out: PhantomData<fn() -> Out>,
}

impl<E, P, Out> EvictingWindow<E, P, Out> {
    /// `process` makes the results of the elements that `evictor` leaves.
    pub fn new(evictor: E, process: P) -> Self {
        Self { evictor, process, out: PhantomData }
    }
}

/// The part of a window function that keeps lists: all but what is done with the elements.
macro_rules! keeps_elements {
    ($element:ty, $record:ident => $of_record:expr) => {
        type Id = StateId<W, ListOf<$element>>;
        type Table<'a> = ListTable<'a, K, W, $element>;

        fn table(contents: Self::Id, backend: &mut KeyedStateBackend<K>) -> Self::Table<'_> {
            backend.lists(contents)
        }

        fn open(&mut self, backend: &mut KeyedStateBackend<K>) -> Result<Self::Id> {
            let contents = backend.register_lists(&StateDescriptor::new(WINDOW_CONTENTS))?;
            self.process.open(&mut StateRegistry::new(backend))?;
            Ok(contents)
        }

        fn add_further(
            &mut self,
            table: &mut Self::Table<'_>,
            key_selector: &impl KeySelector<In, Key = K>,
            window: &W,
            $record: StreamRecord<In>,
        ) -> Result<Option<StreamRecord<In>>> {
            let key = key_selector.key(&$record.value);
            if table.is_empty(&key, window)? {
                drop(key);
                return Ok(Some($record));
            }
            let key = key.into_owned();
            table.push(&key, window, $of_record)?;
            Ok(None)
        }

        fn add(
            &mut self,
            table: &mut Self::Table<'_>,
            key: &K,
            state_window: &W,
            $record: StreamRecord<In>,
        ) -> Result<()> {
            table.push(key, state_window, $of_record)
        }

        fn purge(&mut self, table: &mut Self::Table<'_>, key: &K, state_window: &W) -> Result<()> {
            table.take(key, state_window).map(|_| ())
        }

        fn merge(&mut self, table: &mut Self::Table<'_>, key: &K, target: &W, sources: &[W]) -> Result<()> {
            for source in sources {
                let elements = table.take(key, source)?;
                table.append(key, target, elements)?;
            }
            Ok(())
        }

        fn clear(&mut self, context: &mut WindowContext<'_, K, W>) -> Result<()> {
            self.process.clear(context)
        }
    };
}

impl<In, Out, K, W, P> WindowFunction<In, K, W> for FullWindow<P, Out>
where
    In: Data,
    Out: Data,
    K: Key,
    W: Window,
    P: ProcessWindowFunction<In, Out, K, W>,
{
    type Out = Out;

    keeps_elements!(In, record => record.value);

    fn fire(
        &mut self,
        contents: Self::Id,
        state_window: &W,
        after: AfterFiring,
        context: &mut WindowContext<'_, K, W>,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()> {
        let mut table = context.backend.lists(contents);
        let elements = match after {
            AfterFiring::Keep => table.get(context.key, state_window)?.into_owned(),
            AfterFiring::Drop => table.take(context.key, state_window)?,
        };
        if elements.is_empty() {
            return Ok(());
        }
        self.process.process(context.key, context, elements, out)
    }
}

impl<In, Out, K, W, E, P> WindowFunction<In, K, W> for EvictingWindow<E, P, Out>
where
    In: Data,
    Out: Data,
    K: Key,
    W: Window,
    E: Evictor<In, W>,
    P: ProcessWindowFunction<In, Out, K, W>,
{
    type Out = Out;

    keeps_elements!(StreamRecord<In>, record => record);

    fn fire(
        &mut self,
        contents: Self::Id,
        state_window: &W,
        after: AfterFiring,
        context: &mut WindowContext<'_, K, W>,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()> {
        let mut elements = context.backend.lists(contents).take(context.key, state_window)?;
        if elements.is_empty() {
            return Ok(());
        }
        let all = planted!("evicted_elements_come_back").then(|| elements.clone());
        let WindowContext { window, watermark, processing_time, .. } = *context;
        let of_evictor = EvictorContext { window, watermark, processing_time };
        self.evictor.evict_before(&mut elements, of_evictor);
        let values = elements.iter().map(|element| element.value.clone()).collect();
        self.process.process(context.key, context, values, out)?;
        self.evictor.evict_after(&mut elements, of_evictor);
        match after {
            AfterFiring::Keep => {
                context.backend.lists(contents).put(context.key, state_window, all.unwrap_or(elements))
            }
            AfterFiring::Drop => Ok(()),
        }
    }
}

/// Folds what an evictor leaves when a window fires, and hands the result on: a function that is incremental where
/// there is no evictor.
#[derive(Debug, Clone)]
pub struct AtFire<I, P> {
    incremental: I,
    process: P,
}

impl<I, P> AtFire<I, P> {
    /// `process` makes the results of what `incremental` makes of the elements.
    pub fn new(incremental: I, process: P) -> Self {
        Self { incremental, process }
    }
}

impl<In, Out, K, W, I, P> ProcessWindowFunction<In, Out, K, W> for AtFire<I, P>
where
    K: Key,
    W: Window,
    I: Incremental<In>,
    P: ProcessWindowFunction<I::Out, Out, K, W>,
{
    fn open(&mut self, states: &mut StateRegistry<'_, K>) -> Result<()> {
        self.process.open(states)
    }

    fn process(
        &mut self,
        key: &K,
        context: &mut WindowContext<'_, K, W>,
        elements: Vec<In>,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()> {
        let mut elements = elements.into_iter();
        let folded = match elements.next() {
            Some(element) => Some(self.incremental.first(element)),
            None => self.incremental.of_none(),
        };
        let Some(mut folded) = folded else { return Ok(()) };
        elements.for_each(|element| self.incremental.add(&mut folded, element));
        let result = self.incremental.result(folded);
        self.process.process(key, context, vec![result], out)
    }

    fn clear(&mut self, context: &mut WindowContext<'_, K, W>) -> Result<()> {
        self.process.clear(context)
    }
}
