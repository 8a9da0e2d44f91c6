//! Side outputs: further results of an operator, each of a type of its own, told apart by a tag (Flink `OutputTag`).
//!
//! Guarantees: the records of one tag keep their order; they leave the operator together with the main results of the
//! same call, so that watermarks and barriers have the same place among both. An operator that uses none pays nothing.

use std::{any::Any, fmt, marker::PhantomData, sync::Arc};

use crate::{
    codec::Data,
    record::{AnyBatch, Batch, StreamRecord},
};

/// Names a side output of an operator. Within one operator a name stands for one record type.
pub struct OutputTag<T> {
    name: Arc<str>,
    record: PhantomData<fn() -> T>,
}

impl<T> OutputTag<T> {
    /// The tag with this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), record: PhantomData }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl<T> Clone for OutputTag<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), record: PhantomData }
    }
}

impl<T> fmt::Debug for OutputTag<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutputTag({})", self.name)
    }
}

/// Records of one tag, with their type erased before the batch is complete.
struct TaggedRecords {
    tag: Arc<str>,
    records: Box<dyn Any + Send>,
    seal: fn(Box<dyn Any + Send>) -> AnyBatch,
}

/// What an operator emitted on the side since it was last taken. An operator has few tags: they are searched in turn.
#[derive(Default)]
pub(super) struct SideOutputs {
    tagged: Vec<TaggedRecords>,
}

const ONE_TYPE: &str = "a name of a side output stands for one record type";

fn seal<T: Data>(records: Box<dyn Any + Send>) -> AnyBatch {
    AnyBatch::new(*records.downcast::<Batch<T>>().expect(ONE_TYPE))
}

impl SideOutputs {
    /// # Panics
    /// If another type was emitted under the same name.
    pub(super) fn push<T: Data>(&mut self, tag: &OutputTag<T>, record: StreamRecord<T>) {
        match self.tagged.iter_mut().find(|tagged| tagged.tag == tag.name) {
            Some(tagged) => tagged.records.downcast_mut::<Batch<T>>().expect(ONE_TYPE).push(record),
            None => {
                let records = Box::new(vec![record]);
                self.tagged.push(TaggedRecords { tag: tag.name.clone(), records, seal: seal::<T> });
            }
        }
    }

    pub(super) fn take(&mut self) -> Vec<(Arc<str>, AnyBatch)> {
        if self.tagged.is_empty() {
            return Vec::new();
        }
        let taken = self.tagged.drain(..);
        taken.map(|TaggedRecords { tag, records, seal }| (tag, seal(records))).collect()
    }
}

impl fmt::Debug for SideOutputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tagged.iter().map(|tagged| &tagged.tag)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        operator::{Collector, test_harness::record},
        time::Timestamp,
    };

    #[test]
    fn records_of_a_tag_keep_their_order_and_their_type() {
        let (late, odd) = (OutputTag::<String>::new("late"), OutputTag::<u8>::new("odd"));
        let mut out = Collector::<()>::default();
        out.side_output(&late, record("a".to_owned(), 1));
        out.side_output(&odd, record(3, 2));
        out.side_output(&late.clone(), record("b".to_owned(), 3));
        let mut taken = out.take_side_outputs().into_iter();
        let (tag, batch) = taken.next().unwrap();
        assert_eq!((&*tag, batch.into_typed()), ("late", vec![record("a".to_owned(), 1), record("b".to_owned(), 3)]));
        let (tag, batch) = taken.next().unwrap();
        assert_eq!((&*tag, batch.into_typed()), ("odd", vec![StreamRecord::new(3_u8, Timestamp(2))]));
        assert!(taken.next().is_none());
        assert!(out.take_side_outputs().is_empty());
    }

    #[test]
    #[should_panic(expected = "one record type")]
    fn two_types_cannot_share_a_tag() {
        let mut out = Collector::<()>::default();
        out.side_output(&OutputTag::new("late"), record(1_u8, 1));
        out.side_output(&OutputTag::new("late"), record(1_u16, 1));
    }
}
