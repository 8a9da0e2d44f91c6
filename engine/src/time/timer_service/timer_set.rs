//! The timers of one clock: found by what they are, fired by when they are due.
//!
//! ```text
//!   table  (key, (timestamp, namespace))     what a snapshot shares, in constant time
//!   order  timestamp ─▶ slots of the table   what comes next; made again from the table by a restore
//!   firing timestamp ─▶ (key group, key, namespace), sorted
//! ```
//!
//! Windows of many keys end at one timestamp. To collect their timers in firing order would cost more than all else
//! that the first record of a window does, so they are sorted once: when the first of them fires, all of its timestamp
//! move from the table to `firing`, which is empty again when the pass is over. A deleted timer leaves its slot behind
//! in the order; whether a slot holds a timer of a timestamp is for the table to say.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use super::{Timer, TimerRestoreError};
use crate::{
    codec, planted,
    state::{CowTable, Key, KeyGroupEntries, KeyGroups, KeyedEntry, Namespace, Slot, TableSnapshot},
    time::Timestamp,
};

/// Timers of one timestamp, in the order in which they fire.
type Firing<K, N> = BTreeMap<Timestamp, BTreeSet<(u16, K, N)>>;

/// Where the timers of one timestamp are.
#[derive(Debug, Default)]
struct Bucket {
    /// All of them, and some that are gone or somebody else's by now; one can be there twice.
    slots: Vec<Slot>,
    live: usize,
}

impl Bucket {
    /// The slots that hold a timer of this timestamp, each once.
    fn compact<K: Key, N: Namespace>(&mut self, timestamp: Timestamp, table: &CowTable<K, (Timestamp, N), ()>) {
        if self.slots.len() != self.live {
            self.slots.sort_unstable();
            self.slots.dedup();
            self.slots.retain(|slot| table.peek(*slot).is_some_and(|(_, (of_timer, _))| *of_timer == timestamp));
        }
        debug_assert_eq!(self.slots.len(), self.live, "a bucket counts its timers");
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct TimerSet<K, N> {
    key_groups: KeyGroups,
    table: CowTable<K, (Timestamp, N), ()>,
    order: BTreeMap<Timestamp, Bucket>,
    firing: Firing<K, N>,
}

impl<K: Key, N: Namespace> TimerSet<K, N> {
    pub(super) fn new(key_groups: KeyGroups) -> Self {
        Self { key_groups, table: CowTable::default(), order: BTreeMap::new(), firing: BTreeMap::new() }
    }

    pub(super) fn insert(&mut self, timestamp: Timestamp, key: &K, namespace: &N) {
        if let Some(firing) = self.firing.get_mut(&timestamp) {
            firing.insert((self.key_groups.of_key(key), key.clone(), namespace.clone()));
            return;
        }
        let of_timer = (timestamp, namespace.clone());
        if self.table.find(key, &of_timer).is_some() {
            return;
        }
        let slot = self.table.insert_new(key.clone(), of_timer, ());
        let bucket = self.order.entry(timestamp).or_default();
        bucket.slots.push(slot);
        bucket.live += 1;
        // What is left behind stays within a multiple of what is there.
        if bucket.slots.len() > 2 * bucket.live + 16 {
            bucket.compact(timestamp, &self.table);
        }
    }

    pub(super) fn remove(&mut self, timestamp: Timestamp, key: &K, namespace: &N) {
        if let Some(firing) = self.firing.get_mut(&timestamp) {
            firing.remove(&(self.key_groups.of_key(key), key.clone(), namespace.clone()));
            if firing.is_empty() {
                self.firing.remove(&timestamp);
            }
            return;
        }
        if self.table.remove(key, &(timestamp, namespace.clone())).is_none() {
            return;
        }
        if let btree_map::Entry::Occupied(mut bucket) = self.order.entry(timestamp) {
            bucket.get_mut().live -= 1;
            if bucket.get().live == 0 {
                bucket.remove();
            }
        }
    }

    /// When the first timer is due.
    pub(super) fn first(&self) -> Option<Timestamp> {
        let firing = self.firing.first_key_value().map(|(timestamp, _)| *timestamp);
        let waiting = self.order.first_key_value().map(|(timestamp, _)| *timestamp);
        match (firing, waiting) {
            (Some(firing), Some(waiting)) => Some(firing.min(waiting)),
            (one, other) => one.or(other),
        }
    }

    pub(super) fn pop_due(&mut self, until: Timestamp) -> Option<Timer<K, N>> {
        let timestamp = self.first().filter(|first| *first <= until)?;
        if let Some(mut bucket) = self.order.remove(&timestamp) {
            bucket.compact(timestamp, &self.table);
            if let [slot] = *bucket.slots {
                let (key, (timestamp, namespace), ()) = self.table.take_slot(slot);
                return Some(Timer { timestamp, key, namespace });
            }
            let timers = bucket.slots.into_iter().map(|slot| {
                let (key, (_, namespace), ()) = self.table.take_slot(slot);
                (self.key_groups.of_key(&key), key, namespace)
            });
            let timers = timers.collect();
            self.firing.insert(timestamp, timers);
        }
        let btree_map::Entry::Occupied(mut firing) = self.firing.entry(timestamp) else { return None };
        let (_, key, namespace) = firing.get_mut().pop_first().expect("a set that is empty is removed");
        if firing.get().is_empty() {
            firing.remove();
        }
        Some(Timer { timestamp, key, namespace })
    }

    pub(super) fn len(&self) -> usize {
        self.table.len() + self.firing.values().map(BTreeSet::len).sum::<usize>()
    }

    /// How many slots the order names, live or left behind.
    #[cfg(test)]
    pub(super) fn slots_in_order(&self) -> usize {
        self.order.values().map(|bucket| bucket.slots.len()).sum()
    }

    /// All timers, the earliest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Timestamp, &K, &N)> {
        let waiting = self.table.iter().map(|(key, (timestamp, namespace), ())| (*timestamp, key, namespace));
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
        TimersKept { key_groups: self.key_groups, waiting: self.table.share(), firing: self.firing.clone() }
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

/// The timers of one clock at one moment.
#[derive(Debug)]
pub(super) struct TimersKept<K, N> {
    key_groups: KeyGroups,
    waiting: TableSnapshot<K, (Timestamp, N), ()>,
    firing: Firing<K, N>,
}

impl<K: Key, N: Namespace> TimersKept<K, N> {
    /// The timers by key group, sorted by their bytes.
    pub(super) fn encode(self) -> KeyGroupEntries {
        let mut groups = KeyGroupEntries::new();
        let mut add = |key_group: u16, key: &K, namespace: &N, timestamp: Timestamp| {
            groups.entry(key_group).or_default().push(KeyedEntry {
                key: codec::encode(key),
                namespace: codec::encode(namespace),
                value: codec::encode(&timestamp),
            });
        };
        let key_groups = self.key_groups;
        self.waiting
            .for_each(|key, (timestamp, namespace), ()| add(key_groups.of_key(key), key, namespace, *timestamp));
        for (timestamp, timers) in &self.firing {
            timers.iter().for_each(|(key_group, key, namespace)| add(*key_group, key, namespace, *timestamp));
        }
        for entries in groups.values_mut() {
            entries.sort_unstable();
        }
        groups
    }
}
