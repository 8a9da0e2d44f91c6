//! The copy-on-write table: one keyed state in memory, (key, namespace) → value.
//!
//! Guarantees: a lookup is one probe of a hash index and one comparison; [`CowTable::snapshot`] copies no entry, and
//! what it returns never changes afterwards; iteration order follows from the sequence of operations alone.
//!
//! ```text
//!   index: hash ─▶ slot          pages: slot ─▶ key, namespace, value          snapshot: the pages alone, shared
//! ```
//!
//! Entries lie in numbered slots; a hash index holds the numbers, and beside each the hash, so that most other entries
//! are told apart, and the index grows, without a look at them. The slots are pages that are
//! shared in constant time and copied on write. Flink: `CopyOnWriteStateMap`, which keeps a version per entry instead;
//! pages make the writer's check cheap and let the snapshot be read without locks.

use std::sync::{Arc, Mutex, Weak};

use super::{
    Expiring, Expiry, Key, Namespace,
    slab::{SharedSlots, Slab},
    slot_index::{SlotIndex, hash_of},
    table_snapshot::TableSnapshot,
};
use crate::{codec::Data, planted};

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Entry<K, N, V> {
    pub(super) key: K,
    pub(super) namespace: N,
    pub(super) value: V,
}

/// The entries of a table at one moment, each in its slot.
pub(super) type Slots<K, N, V> = SharedSlots<Entry<K, N, V>>;

/// Where an entry is. Valid until the entry is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u32);

/// See the module.
#[derive(Debug)]
pub struct CowTable<K, N, V> {
    index: SlotIndex,
    slots: Slab<Entry<K, N, V>>,
    /// The slot that [`CowTable::sweep`] looks at next.
    swept: u32,
    /// Only for the planted bug `snapshot_sees_later_mutation`: the newest snapshot's slots, to be replaced under it.
    aliased: Weak<Mutex<Slots<K, N, V>>>,
}

impl<K, N, V> Default for CowTable<K, N, V> {
    fn default() -> Self {
        Self { index: SlotIndex::default(), slots: Slab::default(), swept: 0, aliased: Weak::new() }
    }
}

#[inline]
fn is_of<K: Eq, N: Eq, V>(entry: &Entry<K, N, V>, key: &K, namespace: &N) -> bool {
    entry.key == *key && entry.namespace == *namespace
}

impl<K: Key, N: Namespace, V: Data> CowTable<K, N, V> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Where the entry is, if there is one.
    #[inline]
    pub fn find(&self, key: &K, namespace: &N) -> Option<Slot> {
        let is_it = |slot| is_of(self.slots.get(slot), key, namespace);
        self.index.find(hash_of(&(key, namespace)), is_it).map(Slot)
    }

    /// The value in a slot that [`CowTable::find`] or [`CowTable::insert`] returned.
    ///
    /// # Panics
    /// If the entry has been removed since.
    #[inline]
    pub fn value(&self, slot: Slot) -> &V {
        &self.slots.get(slot.0).value
    }

    /// The key of the entry in a slot.
    ///
    /// # Panics
    /// If the entry has been removed since.
    #[inline]
    pub fn key(&self, slot: Slot) -> &K {
        &self.slots.get(slot.0).key
    }

    /// The value in a slot, to be changed.
    ///
    /// # Panics
    /// If the entry has been removed since.
    #[inline]
    pub fn value_mut(&mut self, slot: Slot) -> &mut V {
        &mut self.entry_mut(slot.0).value
    }

    /// The value of a key in a namespace.
    #[inline]
    pub fn get(&self, key: &K, namespace: &N) -> Option<&V> {
        self.find(key, namespace).map(|slot| self.value(slot))
    }

    /// The value of a key in a namespace, to be changed.
    #[inline]
    pub fn get_mut(&mut self, key: &K, namespace: &N) -> Option<&mut V> {
        let slot = self.find(key, namespace)?;
        Some(self.value_mut(slot))
    }

    /// The value of a key in a namespace, and whether it was created by this call.
    #[inline]
    pub fn entry_or_insert_with(&mut self, key: &K, namespace: &N, create: impl FnOnce() -> V) -> (&mut V, bool) {
        let (slot, created) = match self.find(key, namespace) {
            Some(slot) => (slot, false),
            None => (self.insert_new(key.clone(), namespace.clone(), create()), true),
        };
        (self.value_mut(slot), created)
    }

    /// Sets a value; returns the old one.
    pub fn insert(&mut self, key: K, namespace: N, value: V) -> Option<V> {
        match self.find(&key, &namespace) {
            Some(slot) => Some(std::mem::replace(self.value_mut(slot), value)),
            None => {
                self.insert_new(key, namespace, value);
                None
            }
        }
    }

    /// Adds an entry that the caller knows to be missing.
    pub(crate) fn insert_new(&mut self, key: K, namespace: N, value: V) -> Slot {
        self.refresh_alias();
        let hash = hash_of(&(&key, &namespace));
        let slot = self.slots.insert(Entry { key, namespace, value });
        self.index.insert(hash, slot);
        Slot(slot)
    }

    /// Removes an entry; returns its value.
    pub fn remove(&mut self, key: &K, namespace: &N) -> Option<V> {
        let slots = &self.slots;
        let slot = self.index.remove(hash_of(&(key, namespace)), |slot| is_of(slots.get(slot), key, namespace))?;
        self.refresh_alias();
        Some(self.slots.remove(slot).value)
    }

    /// The entry in a slot, if there is one.
    #[cfg(feature = "rocksdb")]
    pub(crate) fn entry(&self, Slot(slot): Slot) -> Option<(&K, &N, &V)> {
        self.slots.peek(slot).map(|entry| (&entry.key, &entry.namespace, &entry.value))
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.index = SlotIndex::default();
        self.slots = Slab::default();
    }

    /// Looks at the next slots, round and round, and drops what has expired there.
    pub fn sweep(&mut self, slots: usize, expiry: Expiry)
    where
        V: Expiring,
    {
        let end = self.slots.end();
        for _ in 0..slots.min(end as usize) {
            let slot = Slot(if self.swept < end { self.swept } else { 0 });
            self.swept = slot.0 + 1;
            let Some(entry) = self.slots.peek(slot.0) else { continue };
            if !entry.value.has_expired(expiry) {
                continue;
            }
            let (key, namespace) = (entry.key.clone(), entry.namespace.clone());
            if !self.value_mut(slot).retain_unexpired(expiry) {
                self.remove(&key, &namespace);
            }
        }
    }

    /// All entries, in an order that depends on the operations so far alone.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &N, &V)> {
        self.slots.iter().map(|entry| (&entry.key, &entry.namespace, &entry.value))
    }

    /// All keys that have a value in a namespace, each once, in the order of [`CowTable::iter`].
    pub fn keys(&self, namespace: &N) -> impl Iterator<Item = &K> {
        self.iter().filter(move |(_, of_entry, _)| *of_entry == namespace).map(|(key, _, _)| key)
    }

    /// What is in the table now, for ever. Takes constant time: one reference is made.
    pub fn snapshot(&mut self) -> TableSnapshot<K, N, V> {
        if planted!("snapshot_sees_later_mutation") {
            let aliased = Arc::new(Mutex::new(self.slots.share()));
            self.aliased = Arc::downgrade(&aliased);
            return TableSnapshot::aliased(aliased);
        }
        TableSnapshot::new(self.slots.share())
    }

    /// An entry, to be changed.
    #[inline]
    fn entry_mut(&mut self, slot: u32) -> &mut Entry<K, N, V> {
        if planted::POSSIBLE && self.slots.is_shared() {
            self.refresh_alias();
        }
        self.slots.get_mut(slot)
    }

    /// The planted bug: the newest snapshot gets the entries as they are now. Does nothing without it.
    #[inline]
    fn refresh_alias(&self) {
        if planted::POSSIBLE
            && let Some(aliased) = self.aliased.upgrade()
        {
            *aliased.lock().expect("nothing panics while it holds this lock") = self.slots.share();
        }
    }
}

#[cfg(test)]
mod tests;
