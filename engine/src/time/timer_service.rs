//! The timer service: what a keyed operator wants to be reminded of, in event time and in processing time.
//!
//! Guarantees: a timer is identified by (timestamp, key, namespace), so that registering it twice is once; timers
//! fire in the order (timestamp, key group, key, namespace), each removed before its callback; a timer that a callback
//! registers and that is due fires in the same pass; a snapshot holds the timers at the moment of the call.
//! Flink: `InternalTimerServiceImpl`, where the order of equal timestamps is left open.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    sync::Arc,
};

use rustc_hash::FxHashSet;

use super::Timestamp;
use crate::{
    codec::{self, DecodeError},
    planted,
    state::{
        Key, KeyGroupEntries, KeyGroups, KeyedEntry, KeyedSnapshot, Namespace, StateKind, StateMeta, StateSnapshot,
    },
};

/// Which clock a timer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimeDomain {
    /// The watermark.
    EventTime,
    /// The machine's clock.
    ProcessingTime,
}

/// A timer that is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer<K, N> {
    /// What it was registered for.
    pub timestamp: Timestamp,
    /// Whose it is.
    pub key: K,
    /// What it is about: nothing, or a window.
    pub namespace: N,
}

/// Restored timers that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TimerRestoreError {
    /// An entry cannot be read.
    #[error("cannot restore timers `{state}`, key group {key_group}")]
    Decode {
        /// Name of the state that holds the timers.
        state: &'static str,
        /// The key group that holds the entry.
        key_group: u16,
        /// What the decoder said.
        source: DecodeError,
    },
    /// A key lies in a key group where it does not belong.
    #[error("cannot restore timers `{state}`: key group {key_group} holds a key of key group {expected}")]
    WrongKeyGroup {
        /// Name of the state that holds the timers.
        state: &'static str,
        /// The key group that holds the entry.
        key_group: u16,
        /// The key group of its key.
        expected: u16,
    },
}

/// The timers of one timestamp: key group, key, namespace. Only one of the two sets holds any.
///
/// Windows of many keys end at one timestamp. To collect their timers in firing order would cost more than all else
/// that the first record of a window does, so they are sorted once, when the first of them fires.
#[derive(Debug, Clone)]
struct Bucket<K, N> {
    unordered: FxHashSet<(u16, K, N)>,
    firing: BTreeSet<(u16, K, N)>,
}

impl<K, N> Default for Bucket<K, N> {
    fn default() -> Self {
        Self { unordered: FxHashSet::default(), firing: BTreeSet::new() }
    }
}

impl<K: Key, N: Namespace> Bucket<K, N> {
    fn insert(&mut self, timer: (u16, K, N)) -> bool {
        if self.firing.is_empty() { self.unordered.insert(timer) } else { self.firing.insert(timer) }
    }

    fn remove(&mut self, timer: &(u16, K, N)) -> bool {
        if self.firing.is_empty() { self.unordered.remove(timer) } else { self.firing.remove(timer) }
    }

    fn pop_first(&mut self) -> Option<(u16, K, N)> {
        if self.firing.is_empty() {
            self.firing = std::mem::take(&mut self.unordered).into_iter().collect();
        }
        self.firing.pop_first()
    }

    fn is_empty(&self) -> bool {
        self.unordered.is_empty() && self.firing.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = &(u16, K, N)> {
        self.unordered.iter().chain(&self.firing)
    }
}

/// One set of timers. A snapshot shares the buckets; the first write to a shared one copies it.
#[derive(Debug, Clone)]
struct TimerSet<K, N> {
    buckets: BTreeMap<Timestamp, Arc<Bucket<K, N>>>,
    len: usize,
}

impl<K: Key, N: Namespace> TimerSet<K, N> {
    fn new() -> Self {
        Self { buckets: BTreeMap::new(), len: 0 }
    }

    fn insert(&mut self, timestamp: Timestamp, timer: (u16, K, N)) {
        self.len += usize::from(Arc::make_mut(self.buckets.entry(timestamp).or_default()).insert(timer));
    }

    fn remove(&mut self, timestamp: Timestamp, timer: &(u16, K, N)) {
        if let btree_map::Entry::Occupied(mut bucket) = self.buckets.entry(timestamp) {
            self.len -= usize::from(Arc::make_mut(bucket.get_mut()).remove(timer));
            if bucket.get().is_empty() {
                bucket.remove();
            }
        }
    }

    fn first(&self) -> Option<Timestamp> {
        self.buckets.first_key_value().map(|(timestamp, _)| *timestamp)
    }

    fn pop_due(&mut self, until: Timestamp) -> Option<Timer<K, N>> {
        let mut bucket = self.buckets.first_entry().filter(|bucket| *bucket.key() <= until)?;
        let timestamp = *bucket.key();
        let timers = Arc::make_mut(bucket.get_mut());
        let (_, key, namespace) = timers.pop_first().expect("an empty bucket is removed");
        if timers.is_empty() {
            bucket.remove();
        }
        self.len -= 1;
        Some(Timer { timestamp, key, namespace })
    }

    fn iter(&self) -> impl Iterator<Item = (Timestamp, &(u16, K, N))> {
        self.buckets.iter().flat_map(|(timestamp, bucket)| bucket.iter().map(|timer| (*timestamp, timer)))
    }

    fn encode(&self) -> KeyGroupEntries {
        let mut groups = KeyGroupEntries::new();
        for (timestamp, (key_group, key, namespace)) in self.iter() {
            groups.entry(*key_group).or_default().push(KeyedEntry {
                key: codec::encode(key),
                namespace: codec::encode(namespace),
                value: codec::encode(&timestamp),
            });
        }
        for entries in groups.values_mut() {
            entries.sort_unstable();
        }
        groups
    }

    fn restore(state: &'static str, key_groups: KeyGroups, groups: KeyGroupEntries) -> Result<Self, TimerRestoreError> {
        let mut timers = Self::new();
        for (key_group, entries) in groups {
            if key_group == 0 && planted!("timers_of_first_key_group_not_restored") {
                continue;
            }
            for entry in entries {
                let failed = |source| TimerRestoreError::Decode { state, key_group, source };
                let key: K = codec::decode(&entry.key).map_err(failed)?;
                let namespace: N = codec::decode(&entry.namespace).map_err(failed)?;
                let timestamp: Timestamp = codec::decode(&entry.value).map_err(failed)?;
                let expected = key_groups.of_key(&key);
                if expected != key_group {
                    return Err(TimerRestoreError::WrongKeyGroup { state, key_group, expected });
                }
                timers.insert(timestamp, (key_group, key, namespace));
            }
        }
        Ok(timers)
    }
}

/// The timers of one keyed operator.
///
/// To fire: [`advance_watermark`](Self::advance_watermark), then [`pop_due_event_time`](Self::pop_due_event_time) until there
/// is none, with the callback in between; likewise for processing time.
#[derive(Debug)]
pub struct TimerService<K, N> {
    key_groups: KeyGroups,
    watermark: Timestamp,
    event: TimerSet<K, N>,
    processing: TimerSet<K, N>,
}

impl<K: Key, N: Namespace> TimerService<K, N> {
    /// Name under which event-time timers stand in a snapshot.
    pub const EVENT: &'static str = "_timer_event";
    /// Name under which processing-time timers stand in a snapshot.
    pub const PROCESSING: &'static str = "_timer_processing";

    /// A service without timers.
    pub fn new(key_groups: KeyGroups) -> Self {
        Self { key_groups, watermark: Timestamp::MIN, event: TimerSet::new(), processing: TimerSet::new() }
    }

    /// A service with the timers of a snapshot. What of them lies behind the watermark waits for the next one.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn restore(
        key_groups: KeyGroups,
        watermark: Timestamp,
        event: KeyGroupEntries,
        processing: KeyGroupEntries,
    ) -> Result<Self, TimerRestoreError> {
        Ok(Self {
            key_groups,
            watermark,
            event: TimerSet::restore(Self::EVENT, key_groups, event)?,
            processing: TimerSet::restore(Self::PROCESSING, key_groups, processing)?,
        })
    }

    /// The watermark that the operator has come to.
    #[inline]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The watermark advances. Fires nothing by itself. False if it is none behind the one that there is: then nothing
    /// is due that was not due before, and what a late record has registered since waits for the next advance.
    pub fn advance_watermark(&mut self, watermark: Timestamp) -> bool {
        let again = watermark == self.watermark && planted!("restored_watermark_fires_again");
        let advances = watermark > self.watermark || again;
        self.watermark = self.watermark.max(watermark);
        advances
    }

    /// Registers a timer; one that is there already stays as it is. One that is due fires in the next pass.
    pub fn register(&mut self, domain: TimeDomain, timestamp: Timestamp, key: &K, namespace: &N) {
        let timer = self.timer(key, namespace);
        self.set_mut(domain).insert(timestamp, timer);
    }

    /// Deletes a timer, if it is there.
    pub fn delete(&mut self, domain: TimeDomain, timestamp: Timestamp, key: &K, namespace: &N) {
        let timer = self.timer(key, namespace);
        self.set_mut(domain).remove(timestamp, &timer);
    }

    /// Removes and returns the first timer at or before the watermark.
    pub fn pop_due_event_time(&mut self) -> Option<Timer<K, N>> {
        self.event.pop_due(self.watermark)
    }

    /// Removes and returns the first timer at or before `now`.
    pub fn pop_due_processing_time(&mut self, now: Timestamp) -> Option<Timer<K, N>> {
        self.processing.pop_due(now)
    }

    /// When processing time has to be looked at next: the one physical timer that all of them need.
    pub fn processing_time_deadline(&self) -> Option<Timestamp> {
        self.processing.first()
    }

    /// The number of timers.
    pub fn len(&self, domain: TimeDomain) -> usize {
        self.set(domain).len
    }

    /// Whether there is no timer at all.
    pub fn is_empty(&self) -> bool {
        self.event.len == 0 && self.processing.len == 0
    }

    /// All timers of a domain: timestamp, key, namespace; the earliest first.
    pub fn iter(&self, domain: TimeDomain) -> impl Iterator<Item = (Timestamp, &K, &N)> {
        self.set(domain).iter().map(|(timestamp, (_, key, namespace))| (timestamp, key, namespace))
    }

    /// The number of timers of a namespace. Looks at all of them.
    pub fn len_of_namespace(&self, domain: TimeDomain, namespace: &N) -> usize {
        self.set(domain).iter().filter(|(_, timer)| timer.2 == *namespace).count()
    }

    /// The timers at this moment. Costs a few instructions per distinct timestamp.
    pub fn snapshot(&self) -> TimersSnapshot<K, N> {
        if planted!("timers_not_in_snapshot") {
            return TimersSnapshot { event: TimerSet::new(), processing: TimerSet::new() };
        }
        TimersSnapshot { event: self.event.clone(), processing: self.processing.clone() }
    }

    fn timer(&self, key: &K, namespace: &N) -> (u16, K, N) {
        (self.key_groups.of_key(key), key.clone(), namespace.clone())
    }

    fn set(&self, domain: TimeDomain) -> &TimerSet<K, N> {
        match domain {
            TimeDomain::EventTime => &self.event,
            TimeDomain::ProcessingTime => &self.processing,
        }
    }

    fn set_mut(&mut self, domain: TimeDomain) -> &mut TimerSet<K, N> {
        match domain {
            TimeDomain::EventTime => &mut self.event,
            TimeDomain::ProcessingTime => &mut self.processing,
        }
    }
}

/// The timers at one moment.
#[derive(Debug)]
pub struct TimersSnapshot<K, N> {
    event: TimerSet<K, N>,
    processing: TimerSet<K, N>,
}

impl<K: Key, N: Namespace> TimersSnapshot<K, N> {
    /// Adds the timers to the snapshot of an operator's keyed state: the timestamp is the value of an entry.
    pub fn encode_into(self, snapshot: &mut KeyedSnapshot) {
        let sets = [(TimerService::<K, N>::EVENT, self.event), (TimerService::<K, N>::PROCESSING, self.processing)];
        for (name, timers) in sets {
            if timers.len > 0 {
                let meta = StateMeta::new(StateKind::Timers);
                snapshot.insert(name.to_owned(), StateSnapshot { meta, groups: timers.encode() });
            }
        }
    }
}

#[cfg(test)]
mod tests;
