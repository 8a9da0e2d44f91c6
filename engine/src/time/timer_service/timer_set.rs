//! The timers of one clock: found by what they are, fired by when they are due.
//!
//! ```text
//!   timers slot ─▶ timestamp, key, namespace     what a snapshot shares, in constant time
//!   order  timestamp ─▶ slots, found by key      what comes next; made again from the timers by a restore
//!   moved  slots that are queued too early       found by key; each is looked at again when that time comes
//!   firing timestamp ─▶ what is left of it       in the order of firing
//! ```
//!
//! Windows of many keys end at one timestamp. To collect their timers in firing order would cost more than all else
//! that the first record of a window does, so they are sorted once: when the first of them fires, all of its timestamp
//! move to `firing`, which is empty again when the pass is over. The index of a timestamp goes with it, whole.
//!
//! The timer of a session moves with each record. It stays queued at the time that it had first: of its moves only
//! those between two such times cost a change of the order.

mod firing;

use std::collections::BTreeMap;

use self::firing::Firing;
use super::{Timer, TimerRestoreError};
use crate::{
    codec, planted,
    state::{
        Key, KeyGroupEntries, KeyGroups, KeyedEntry, Namespace, SharedSlots, Slab, SlotHash, SlotIndex, by_key_group,
        hash_of,
    },
    time::Timestamp,
};

/// Of so few timers each is looked at.
const UNINDEXED_TIMERS: usize = 8;

/// The timers that are queued for one timestamp.
#[derive(Debug, Default)]
struct Bucket {
    /// All of them, also those that have moved on.
    slots: Vec<u32>,
    /// Those of the timestamp, by key and namespace, if there are many.
    index: Option<Box<SlotIndex>>,
}

/// Where a timer is queued.
#[derive(Debug, Clone, Copy)]
struct Queued {
    at: Timestamp,
    /// In the slots of the bucket.
    position: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct TimerSet<K, N> {
    key_groups: KeyGroups,
    timers: Slab<Timer<K, N>>,
    /// By slot.
    queued: Vec<Queued>,
    order: BTreeMap<Timestamp, Bucket>,
    /// Nothing is queued after this.
    latest: Timestamp,
    /// The timers that are queued for an earlier time than they have, by key.
    moved: SlotIndex,
    firing: BTreeMap<Timestamp, Firing<K, N>>,
    len: usize,
    /// Where the last timer was put: a window registers its timer for its trigger, and once more for its end.
    last: Option<u32>,
}

/// What tells a timer from others of its key.
type When<'a, N> = (Timestamp, &'a N);

#[inline]
fn is_it<K: Eq, N: Eq>(timer: &Timer<K, N>, key: &K, (timestamp, namespace): When<'_, N>) -> bool {
    timer.timestamp == timestamp && timer.key == *key && timer.namespace == *namespace
}

#[inline]
fn hash_in_bucket<K: Key, N: Namespace>(key: &K, namespace: &N) -> SlotHash {
    hash_of(&(key, namespace))
}

impl Bucket {
    /// The slot of a timer that has this bucket's timestamp.
    #[inline]
    fn find<K: Key, N: Namespace>(&self, timers: &Slab<Timer<K, N>>, key: &K, when: When<'_, N>) -> Option<u32> {
        let is_it = |slot| is_it(timers.get(slot), key, when);
        match &self.index {
            Some(index) => index.find(hash_in_bucket(key, when.1), is_it),
            None => self.slots.iter().copied().find(|slot| is_it(*slot)),
        }
    }

    /// Adds the slot of a timer that has this bucket's timestamp; returns its position.
    #[inline]
    fn push<K: Key, N: Namespace>(&mut self, timers: &Slab<Timer<K, N>>, slot: u32) -> u32 {
        let hash = |slot| {
            let timer = timers.get(slot);
            hash_in_bucket(&timer.key, &timer.namespace)
        };
        let timestamp = timers.get(slot).timestamp;
        self.slots.push(slot);
        match &mut self.index {
            Some(index) => index.insert(hash(slot), slot),
            None if self.slots.len() > UNINDEXED_TIMERS => {
                let mut index = SlotIndex::default();
                let of_timestamp = self.slots.iter().filter(|slot| timers.get(**slot).timestamp == timestamp);
                of_timestamp.for_each(|slot| index.insert(hash(*slot), *slot));
                self.index = Some(Box::new(index));
            }
            None => {}
        }
        (self.slots.len() - 1) as u32
    }

    /// The slot is not found any more.
    #[inline]
    fn unindex<K: Key, N: Namespace>(&mut self, key: &K, namespace: &N, slot: u32) {
        if let Some(index) = &mut self.index {
            index.remove(hash_in_bucket(key, namespace), |other| other == slot);
        }
    }
}

impl<K: Key, N: Namespace> TimerSet<K, N> {
    pub(super) fn new(key_groups: KeyGroups) -> Self {
        Self {
            key_groups,
            timers: Slab::default(),
            queued: Vec::new(),
            order: BTreeMap::new(),
            latest: Timestamp::MIN,
            moved: SlotIndex::default(),
            firing: BTreeMap::new(),
            len: 0,
            last: None,
        }
    }

    pub(super) fn insert(&mut self, timestamp: Timestamp, key: &K, namespace: &N) {
        if let Some(firing) = self.firing.get_mut(&timestamp) {
            self.len += usize::from(firing.insert(self.key_groups.of_key(key), key, namespace));
            return;
        }
        let when = (timestamp, namespace);
        let is_last = |slot| self.timers.peek(slot).is_some_and(|timer| is_it(timer, key, when));
        if self.last.is_some_and(is_last) || self.find_moved(key, when).is_some() {
            return;
        }
        let bucket = self.order.entry(timestamp).or_default();
        if bucket.find(&self.timers, key, when).is_some() {
            return;
        }
        let slot = self.timers.insert(Timer { timestamp, key: key.clone(), namespace: namespace.clone() });
        let position = bucket.push(&self.timers, slot);
        self.queued_at(slot, Queued { at: timestamp, position });
        self.len += 1;
        self.last = Some(slot);
    }

    pub(super) fn remove(&mut self, timestamp: Timestamp, key: &K, namespace: &N) {
        if let Some(firing) = self.firing.get_mut(&timestamp) {
            self.len -= usize::from(firing.remove(self.key_groups.of_key(key), key, namespace));
            if firing.is_empty() {
                self.firing.remove(&timestamp);
            }
            return;
        }
        let when = (timestamp, namespace);
        let slot = match self.find_moved(key, when) {
            Some(slot) => {
                self.moved.remove(hash_of(key), |other| other == slot);
                slot
            }
            None => {
                let Some(bucket) = self.order.get_mut(&timestamp) else { return };
                let Some(slot) = bucket.find(&self.timers, key, when) else { return };
                bucket.unindex(key, namespace, slot);
                slot
            }
        };
        self.unqueue(slot);
        self.timers.remove(slot);
        self.len -= 1;
    }

    /// Removes the timer `from` of a key and inserts `to`.
    pub(super) fn replace(&mut self, key: &K, from: When<'_, N>, to: When<'_, N>) {
        if from.0 > to.0 || !self.firing.is_empty() || !self.move_on(key, from, to) {
            self.remove(from.0, key, from.1);
            self.insert(to.0, key, to.1);
        }
    }

    /// Lets a timer be a later one where it is queued. False if there is no such, or there is the later one.
    #[inline]
    fn move_on(&mut self, key: &K, from: When<'_, N>, to: When<'_, N>) -> bool {
        if self.is_queued_at_its_time(key, to).is_some() || self.find_moved(key, to).is_some() {
            return false;
        }
        let slot = match self.find_moved(key, from) {
            Some(slot) => slot,
            None => {
                let Some(slot) = self.is_queued_at_its_time(key, from) else { return false };
                if to.0 == from.0 {
                    return false;
                }
                self.order.get_mut(&from.0).expect(QUEUED).unindex(key, from.1, slot);
                self.moved.insert(hash_of(key), slot);
                slot
            }
        };
        let timer = self.timers.get_mut(slot);
        timer.timestamp = to.0;
        timer.namespace.clone_from(to.1);
        true
    }

    #[inline]
    fn find_moved(&self, key: &K, when: When<'_, N>) -> Option<u32> {
        if self.moved.is_empty() {
            return None;
        }
        self.moved.find(hash_of(key), |slot| is_it(self.timers.get(slot), key, when))
    }

    #[inline]
    fn is_queued_at_its_time(&self, key: &K, when: When<'_, N>) -> Option<u32> {
        if when.0 > self.latest {
            return None;
        }
        self.order.get(&when.0)?.find(&self.timers, key, when)
    }

    #[inline]
    fn queued_at(&mut self, slot: u32, queued: Queued) {
        self.latest = self.latest.max(queued.at);
        match self.queued.get_mut(slot as usize) {
            Some(of_slot) => *of_slot = queued,
            None => self.queued.push(queued),
        }
    }

    /// Takes a slot out of the order.
    fn unqueue(&mut self, slot: u32) {
        let Queued { at, position } = self.queued[slot as usize];
        let bucket = self.order.get_mut(&at).expect(QUEUED);
        bucket.slots.swap_remove(position as usize);
        match bucket.slots.get(position as usize) {
            Some(moved_up) => self.queued[*moved_up as usize].position = position,
            None if bucket.slots.is_empty() => _ = self.order.remove(&at),
            None => {}
        }
    }

    /// A timer comes to the time for which it was queued, and has moved on.
    fn requeue(&mut self, slot: u32) {
        let timer = self.timers.get(slot);
        let at = timer.timestamp;
        self.moved.remove(hash_of(&timer.key), |other| other == slot);
        if let Some(firing) = self.firing.get_mut(&at) {
            let Timer { key, namespace, .. } = self.timers.remove(slot);
            firing.insert(self.key_groups.of_key(&key), &key, &namespace);
            return;
        }
        let position = self.order.entry(at).or_default().push(&self.timers, slot);
        self.queued_at(slot, Queued { at, position });
    }

    /// When the first timer is due, or may be: one that has moved on may not.
    pub(super) fn first(&self) -> Option<Timestamp> {
        let firing = self.firing.first_key_value().map(|(timestamp, _)| *timestamp);
        let waiting = self.order.first_key_value().map(|(timestamp, _)| *timestamp);
        match (firing, waiting) {
            (Some(firing), Some(waiting)) => Some(firing.min(waiting)),
            (one, other) => one.or(other),
        }
    }

    pub(super) fn pop_due(&mut self, until: Timestamp) -> Option<Timer<K, N>> {
        loop {
            let timestamp = self.first().filter(|first| *first <= until)?;
            let timer = match self.order.remove(&timestamp) {
                Some(bucket) => self.first_of(timestamp, bucket.slots),
                None => self.next_firing(timestamp),
            };
            if timer.is_some() {
                self.len -= 1;
                return timer;
            }
        }
    }

    /// The first timer of a time that has come; the others are fired next. None if all have moved on.
    fn first_of(&mut self, timestamp: Timestamp, mut slots: Vec<u32>) -> Option<Timer<K, N>> {
        if !self.moved.is_empty() {
            let mut due = Vec::new();
            for slot in slots {
                if self.timers.get(slot).timestamp == timestamp {
                    due.push(slot);
                } else {
                    self.requeue(slot);
                }
            }
            slots = due;
        }
        match *slots {
            [] => None,
            [slot] => Some(self.timers.remove(slot)),
            _ => {
                let timers = slots.into_iter().map(|slot| {
                    let Timer { key, namespace, .. } = self.timers.remove(slot);
                    (self.key_groups.of_key(&key), key, namespace)
                });
                let firing = timers.collect();
                self.firing.insert(timestamp, firing);
                self.next_firing(timestamp)
            }
        }
    }

    fn next_firing(&mut self, timestamp: Timestamp) -> Option<Timer<K, N>> {
        let firing = self.firing.get_mut(&timestamp)?;
        let next = firing.pop();
        if firing.is_empty() {
            self.firing.remove(&timestamp);
        }
        next.map(|(key, namespace)| Timer { timestamp, key, namespace })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many slots there are, for timers that are or have been.
    #[cfg(test)]
    pub(super) fn slots(&self) -> u32 {
        self.timers.end()
    }

    /// All timers, the earliest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Timestamp, &K, &N)> {
        let waiting = self.timers.iter().map(|Timer { timestamp, key, namespace }| (*timestamp, key, namespace));
        let firing = self
            .firing
            .iter()
            .flat_map(|(timestamp, timers)| timers.iter().map(|(_, key, namespace)| (*timestamp, key, namespace)));
        let mut timers: Vec<_> = waiting.chain(firing).collect();
        timers.sort_by_key(|(timestamp, _, _)| *timestamp);
        timers.into_iter()
    }

    /// The timers at this moment.
    pub(super) fn share(&self) -> TimersKept<K, N> {
        TimersKept { key_groups: self.key_groups, waiting: self.timers.share(), firing: self.firing.clone() }
    }

    pub(super) fn restore(
        state: &'static str,
        key_groups: KeyGroups,
        groups: KeyGroupEntries,
    ) -> Result<Self, TimerRestoreError> {
        let mut timers = Self::new(key_groups);
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
                timers.insert(timestamp, &key, &namespace);
            }
        }
        Ok(timers)
    }
}

const QUEUED: &str = "each timer is in the bucket where it is queued";

/// The timers of one clock at one moment.
#[derive(Debug)]
pub(super) struct TimersKept<K, N> {
    key_groups: KeyGroups,
    waiting: SharedSlots<Timer<K, N>>,
    firing: BTreeMap<Timestamp, Firing<K, N>>,
}

impl<K: Key, N: Namespace> TimersKept<K, N> {
    /// The timers by key group, sorted by their bytes.
    pub(super) fn encode(self) -> KeyGroupEntries {
        let entry = |key: &K, namespace: &N, timestamp: Timestamp| KeyedEntry {
            key: codec::encode(key),
            namespace: codec::encode(namespace),
            value: codec::encode(&timestamp),
        };
        by_key_group(self.key_groups, |add| {
            for Timer { timestamp, key, namespace } in self.waiting.iter().flatten() {
                add(self.key_groups.of_key(key), entry(key, namespace, *timestamp));
            }
            for (timestamp, timers) in &self.firing {
                let timers = timers.iter();
                timers.for_each(|(key_group, key, namespace)| add(*key_group, entry(key, namespace, *timestamp)));
            }
        })
    }
}
