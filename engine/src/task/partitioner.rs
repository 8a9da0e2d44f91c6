//! Which receiving subtask a record goes to (Flink `StreamPartitioner`).

use std::{marker::PhantomData, sync::Arc};

use crate::{
    codec::Data,
    record::{AnyBatch, Batch},
    state::{KeyGroups, KeySelector},
};

/// Deals the records of one edge out to its channels.
pub trait Partitioner: Send {
    /// Appends (channel, records) pairs; records of one channel keep their order.
    fn partition(&mut self, batch: AnyBatch, out: &mut Vec<(usize, AnyBatch)>);
}

/// What the partitioner of an edge is made from, at one sending subtask.
#[derive(Clone, Copy)]
pub struct PartitionerContext<'a> {
    /// The number of its channels.
    pub channels: usize,
    /// The number of key groups.
    pub key_groups: KeyGroups,
    /// Entropy of the world, for those that need it.
    pub entropy: &'a dyn Fn() -> u64,
}

/// Makes the partitioner of an edge.
pub type PartitionerFactory = Arc<dyn Fn(PartitionerContext<'_>) -> Box<dyn Partitioner> + Send + Sync>;

/// Everything to the one channel.
struct Forward;

impl Partitioner for Forward {
    fn partition(&mut self, batch: AnyBatch, out: &mut Vec<(usize, AnyBatch)>) {
        out.push((0, batch));
    }
}

/// Subtask i to subtask i.
pub fn forward() -> PartitionerFactory {
    Arc::new(|_context| Box::new(Forward))
}

/// By the key group of a key.
struct ByKey<T, S> {
    selector: S,
    channels: usize,
    key_groups: KeyGroups,
    record: PhantomData<fn(T)>,
}

impl<T: Data, S: KeySelector<T>> Partitioner for ByKey<T, S> {
    fn partition(&mut self, batch: AnyBatch, out: &mut Vec<(usize, AnyBatch)>) {
        if self.channels == 1 {
            out.push((0, batch));
            return;
        }
        let records: Batch<T> = batch.into_typed();
        let share = records.len() / self.channels;
        let mut dealt: Vec<Batch<T>> = (0..self.channels).map(|_| Vec::with_capacity(share + share / 4)).collect();
        for record in records {
            let key_group = self.key_groups.of_key(self.selector.key(&record.value).as_ref());
            let channel = self.key_groups.subtask(key_group, self.channels as u32);
            dealt[channel as usize].push(record);
        }
        push_non_empty(dealt, out);
    }
}

/// By the key group of the key that the selector finds in a record.
pub fn by_key<T: Data>(selector: impl KeySelector<T> + Clone + Sync) -> PartitionerFactory {
    Arc::new(move |PartitionerContext { channels, key_groups, .. }| {
        Box::new(ByKey { selector: selector.clone(), channels, key_groups, record: PhantomData })
    })
}

/// Record by record in turn.
struct Rebalance<T> {
    next: usize,
    channels: usize,
    record: PhantomData<fn(T)>,
}

impl<T: Data> Partitioner for Rebalance<T> {
    fn partition(&mut self, batch: AnyBatch, out: &mut Vec<(usize, AnyBatch)>) {
        let mut dealt: Vec<Batch<T>> = (0..self.channels).map(|_| Vec::new()).collect();
        for record in batch.into_typed::<T>() {
            dealt[self.next].push(record);
            self.next = (self.next + 1) % self.channels;
        }
        push_non_empty(dealt, out);
    }
}

/// Record by record in turn to all channels.
pub fn rebalance<T: Data>() -> PartitionerFactory {
    Arc::new(|context| Box::new(Rebalance::<T> { next: 0, channels: context.channels, record: PhantomData }))
}

/// Record by record wherever chance has it.
struct Shuffle<T> {
    state: u64,
    channels: usize,
    record: PhantomData<fn(T)>,
}

impl<T: Data> Partitioner for Shuffle<T> {
    fn partition(&mut self, batch: AnyBatch, out: &mut Vec<(usize, AnyBatch)>) {
        let mut dealt: Vec<Batch<T>> = (0..self.channels).map(|_| Vec::new()).collect();
        for record in batch.into_typed::<T>() {
            // splitmix64: the state walks through all numbers, and each is mixed well.
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            dealt[((u128::from(mixed) * self.channels as u128) >> 64) as usize].push(record);
        }
        push_non_empty(dealt, out);
    }
}

/// Each record to a channel drawn at random; the draws begin at a number that the world gives.
pub fn shuffle<T: Data>() -> PartitionerFactory {
    Arc::new(|context| {
        let state = (context.entropy)();
        Box::new(Shuffle::<T> { state, channels: context.channels, record: PhantomData })
    })
}

/// Everything to every channel.
struct Broadcast {
    channels: usize,
}

impl Partitioner for Broadcast {
    fn partition(&mut self, batch: AnyBatch, out: &mut Vec<(usize, AnyBatch)>) {
        out.extend((1..self.channels).map(|channel| (channel, batch.clone())));
        out.push((0, batch));
    }
}

/// A copy of each record to every channel.
pub fn broadcast() -> PartitionerFactory {
    Arc::new(|context| Box::new(Broadcast { channels: context.channels }))
}

/// Each record to the channel that the author chooses.
struct Custom<T, F> {
    choose: F,
    channels: usize,
    record: PhantomData<fn(T)>,
}

impl<T: Data, F: Fn(&T, usize) -> usize + Send> Partitioner for Custom<T, F> {
    fn partition(&mut self, batch: AnyBatch, out: &mut Vec<(usize, AnyBatch)>) {
        let mut dealt: Vec<Batch<T>> = (0..self.channels).map(|_| Vec::new()).collect();
        for record in batch.into_typed::<T>() {
            let channel = (self.choose)(&record.value, self.channels);
            let Some(chosen) = dealt.get_mut(channel) else {
                panic!("a partitioner chose subtask {channel} of {}", self.channels);
            };
            chosen.push(record);
        }
        push_non_empty(dealt, out);
    }
}

/// Each record to the channel that a function chooses, which is told how many there are.
pub fn custom<T: Data>(choose: impl Fn(&T, usize) -> usize + Clone + Send + Sync + 'static) -> PartitionerFactory {
    Arc::new(move |context| {
        Box::new(Custom::<T, _> { choose: choose.clone(), channels: context.channels, record: PhantomData })
    })
}

/// Everything to the first of all channels.
pub fn global() -> PartitionerFactory {
    forward()
}

fn push_non_empty<T: Data>(dealt: Vec<Batch<T>>, out: &mut Vec<(usize, AnyBatch)>) {
    for (channel, records) in dealt.into_iter().enumerate() {
        if !records.is_empty() {
            out.push((channel, AnyBatch::new(records)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::StreamRecord, time::Timestamp};

    /// What each of three channels gets of the numbers 1 and 2.
    fn dealt(factory: &PartitionerFactory) -> Vec<Vec<u8>> {
        dealt_of(factory, &[1, 2], 17)
    }

    fn dealt_of(factory: &PartitionerFactory, numbers: &[u8], entropy: u64) -> Vec<Vec<u8>> {
        let key_groups = KeyGroups::new(8).expect("a valid number of key groups");
        let mut partitioner = factory(PartitionerContext { channels: 3, key_groups, entropy: &|| entropy });
        let mut out = Vec::new();
        let batch = numbers.iter().map(|number| StreamRecord::new(*number, Timestamp(0)));
        partitioner.partition(AnyBatch::new(batch.collect()), &mut out);
        let mut channels = vec![Vec::new(); 3];
        for (channel, batch) in out {
            channels[channel].extend(batch.into_typed::<u8>().into_iter().map(|record| record.value));
        }
        channels
    }

    #[test]
    fn records_go_to_all_channels_to_the_first_or_in_turn() {
        assert_eq!(dealt(&broadcast()), [[1, 2], [1, 2], [1, 2]]);
        assert_eq!(dealt(&global()), [vec![1, 2], vec![], vec![]]);
        assert_eq!(dealt(&rebalance::<u8>()), [vec![1], vec![2], vec![]]);
        let last_first = custom(|number: &u8, channels| channels - usize::from(*number));
        assert_eq!(dealt(&last_first), [vec![], vec![2], vec![1]]);
    }

    #[test]
    fn a_shuffle_spreads_records_as_the_entropy_says() {
        let numbers: Vec<u8> = (0..=255).collect();
        let of = |entropy| dealt_of(&shuffle::<u8>(), &numbers, entropy);
        assert_eq!(of(5), of(5));
        assert_ne!(of(5), of(6));
        let mut all: Vec<u8> = of(5).concat();
        assert!(of(5).iter().all(|channel| (55..115).contains(&channel.len())), "{:?}", of(5));
        all.sort_unstable();
        assert_eq!(all, numbers);
    }
}
