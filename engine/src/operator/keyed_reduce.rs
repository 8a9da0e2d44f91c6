//! Rolling aggregation of a keyed stream: each record gives the value of all records of its key so far
//! (Flink `StreamGroupedReduceOperator`; `sum`, `min` and `max` of a keyed stream are this).

use super::{AsyncSnapshot, Collector, Operator, OperatorContext, OperatorSnapshot, ReduceFunction};
use crate::{
    backend::{Fold, KeyedStateBackend, StateId, Values},
    codec::Data,
    error::Result,
    id::CheckpointId,
    record::{Batch, StreamRecord},
    state::{KeySelector, StateDescriptor, StateKind},
};

/// Name of the state that holds the value of each key.
pub const REDUCED: &str = "reduced";

/// See the module.
pub struct KeyedReduceOperator<T: Data, S: KeySelector<T>, F> {
    key_selector: S,
    function: F,
    running: Option<Running<T, S::Key>>,
}

struct Running<T, K> {
    backend: KeyedStateBackend<K>,
    reduced: StateId<(), T>,
}

const OPENED: &str = "an operator is opened before anything else";

impl<T: Data, S: KeySelector<T>, F: ReduceFunction<T>> KeyedReduceOperator<T, S, F> {
    /// An operator that reduces the values of each key.
    pub fn new(key_selector: S, function: F) -> Self {
        Self { key_selector, function, running: None }
    }
}

impl<T: Data, S: KeySelector<T>, F: ReduceFunction<T>> Operator for KeyedReduceOperator<T, S, F> {
    type In = T;
    type Out = T;

    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let mut backend = KeyedStateBackend::open(context, restored)?;
        let reduced = backend.register_values(&StateDescriptor::new(REDUCED), StateKind::Reducing)?;
        self.running = Some(Running { backend, reduced });
        Ok(())
    }

    fn process(&mut self, batch: Batch<T>, out: &mut Collector<T>) -> Result<()> {
        let running = self.running.as_mut().expect(OPENED);
        let mut table = running.backend.values(running.reduced);
        let mut fold = Reducing(&mut self.function);
        out.reserve(batch.len());
        for StreamRecord { value, timestamp } in batch {
            let place = table.locate(self.key_selector.key(&value), &())?;
            let value = table.fold(place, &(), value, &mut fold)?.value.into_owned();
            out.collect(StreamRecord { value, timestamp });
        }
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        Ok(self.running.as_mut().expect(OPENED).backend.operator_snapshot()?)
    }
}

/// The first value as it is, further ones reduced into it.
struct Reducing<'a, F>(&'a mut F);

impl<T, F: ReduceFunction<T>> Fold<T, T> for Reducing<'_, F> {
    #[inline]
    fn first(&mut self, input: T) -> T {
        input
    }
    #[inline]
    fn add(&mut self, value: &mut T, input: T) {
        self.0.reduce(value, input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        operator::test_harness::{open, process, record, snapshot},
        state::KeyRef,
    };

    type Count = (String, u32);

    fn word(count: &Count) -> &String {
        &count.0
    }

    fn count() -> impl Operator<In = Count, Out = Count> {
        KeyedReduceOperator::new(KeyRef(word), |sum: &mut Count, count: Count| sum.1 += count.1)
    }

    fn ones(words: &[&str]) -> Batch<Count> {
        words.iter().map(|word| record(((*word).to_owned(), 1), 7)).collect()
    }

    fn counts(batch: Batch<Count>) -> Vec<(String, u32)> {
        batch.into_iter().map(|record| record.value).collect()
    }

    #[test]
    fn each_record_gives_the_count_of_its_word_so_far_even_over_a_restore() {
        let of = |word: &str, count| (word.to_owned(), count);
        let mut operator = open(count(), None);
        let first = process(&mut operator, ones(&["hadoop", "hadoop", "hadoop"]));
        assert_eq!(counts(first), [of("hadoop", 1), of("hadoop", 2), of("hadoop", 3)]);
        let kept = snapshot(&mut operator);
        process(&mut operator, ones(&["hadoop", "hive"]));
        let mut operator = open(count(), Some(kept().unwrap()));
        assert_eq!(counts(process(&mut operator, ones(&["hive", "hadoop"]))), [of("hive", 1), of("hadoop", 4)]);
    }
}
