//! The copy-on-write table: one keyed state in memory, (key, namespace) → value.
//!
//! Guarantees: a lookup is one probe of a hash index and one comparison; [`CowTable::snapshot`] copies no entry, and
//! what it returns never changes afterwards; iteration order follows from the sequence of operations alone.
//!
//! ```text
//!   index: hash ─▶ slot          pages: slot ─▶ key, namespace, value          snapshot: the pages alone, shared
//! ```
//!
//! Entries lie in numbered slots; a hash index holds the numbers. The slots are pages that are
//! shared in constant time and copied on write. Flink: `CopyOnWriteStateMap`, which keeps a version per entry instead;
//! pages make the writer's check cheap and let the snapshot be read without locks.

mod pages;

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, Weak},
};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use self::pages::Pages;
use super::{Expiring, Expiry, Key, Namespace, table_snapshot::TableSnapshot};
use crate::{codec::Data, planted};

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Entry<K, N, V> {
    pub(super) key: K,
    pub(super) namespace: N,
    pub(super) value: V,
}

/// The entries of a table, each in its slot; a slot is `None` when it is free.
pub(super) type Slots<K, N, V> = Pages<Option<Entry<K, N, V>>>;

/// Where an entry is. Valid until the entry is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u32);

/// See the module.
#[derive(Debug)]
pub struct CowTable<K, N, V> {
    index: HashTable<u32>,
    slots: Slots<K, N, V>,
    /// Slots below `next` that hold nothing; the last one is used first.
    free: Vec<u32>,
    next: u32,
    /// The slot that [`CowTable::sweep`] looks at next.
    swept: u32,
    /// Only for the planted bug `snapshot_sees_later_mutation`: the newest snapshot's slots, to be replaced under it.
    aliased: Weak<Mutex<Slots<K, N, V>>>,
}

impl<K, N, V> Default for CowTable<K, N, V> {
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            slots: Pages::default(),
            free: Vec::new(),
            next: 0,
            swept: 0,
            aliased: Weak::new(),
        }
    }
}

#[inline]
fn hash_of<K: Hash, N: Hash>(key: &K, namespace: &N) -> u64 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    namespace.hash(&mut hasher);
    hasher.finish()
}

const HELD: &str = "the index holds slots with an entry only";

#[inline]
fn entry_at<K, N, V>(slots: &Slots<K, N, V>, slot: u32) -> &Entry<K, N, V> {
    slots.get(slot).as_ref().expect(HELD)
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
        let slots = &self.slots;
        self.index
            .find(hash_of(key, namespace), |&slot| {
                let entry = entry_at(slots, slot);
                entry.key == *key && entry.namespace == *namespace
            })
            .map(|&slot| Slot(slot))
    }

    /// The value in a slot that [`CowTable::find`] or [`CowTable::insert`] returned.
    ///
    /// # Panics
    /// If the entry has been removed since.
    #[inline]
    pub fn value(&self, slot: Slot) -> &V {
        &entry_at(&self.slots, slot.0).value
    }

    /// The key of the entry in a slot.
    ///
    /// # Panics
    /// If the entry has been removed since.
    #[inline]
    pub fn key(&self, slot: Slot) -> &K {
        &entry_at(&self.slots, slot.0).key
    }

    /// The value in a slot, to be changed.
    ///
    /// # Panics
    /// If the entry has been removed since.
    #[inline]
    pub fn value_mut(&mut self, slot: Slot) -> &mut V {
        &mut self.slot_mut(slot.0).as_mut().expect(HELD).value
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
        let hash = hash_of(&key, &namespace);
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.next;
            self.next = slot.checked_add(1).expect("a state has fewer than 2^32 entries in one subtask");
            slot
        });
        self.slots.make_room(slot);
        *self.slots.get_mut(slot) = Some(Entry { key, namespace, value });
        let slots = &self.slots;
        self.index.insert_unique(hash, slot, |&slot| {
            let entry = entry_at(slots, slot);
            hash_of(&entry.key, &entry.namespace)
        });
        Slot(slot)
    }

    /// Removes an entry; returns its value.
    pub fn remove(&mut self, key: &K, namespace: &N) -> Option<V> {
        let slots = &self.slots;
        let found = self.index.find_entry(hash_of(key, namespace), |&slot| {
            let entry = entry_at(slots, slot);
            entry.key == *key && entry.namespace == *namespace
        });
        let (slot, _) = found.ok()?.remove();
        Some(self.vacate(slot).value)
    }

    /// The key and namespace of the entry in a slot, if there is one.
    pub(crate) fn peek(&self, Slot(slot): Slot) -> Option<(&K, &N)> {
        let entry = self.slots.get(slot).as_ref()?;
        Some((&entry.key, &entry.namespace))
    }

    /// Removes the entry in a slot.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn take_slot(&mut self, Slot(slot): Slot) -> (K, N, V) {
        let entry = entry_at(&self.slots, slot);
        let found = self.index.find_entry(hash_of(&entry.key, &entry.namespace), |&other| other == slot);
        found.expect("the index holds each entry").remove();
        let Entry { key, namespace, value } = self.vacate(slot);
        (key, namespace, value)
    }

    /// Takes the entry out of a slot that the index does not hold any more.
    fn vacate(&mut self, slot: u32) -> Entry<K, N, V> {
        self.refresh_alias();
        self.free.push(slot);
        self.slot_mut(slot).take().expect(HELD)
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.index.clear();
        self.slots = Pages::default();
        self.free.clear();
        self.next = 0;
    }

    /// Looks at the next slots, round and round, and drops what has expired there.
    pub fn sweep(&mut self, slots: usize, expiry: Expiry)
    where
        V: Expiring,
    {
        for _ in 0..slots.min(self.next as usize) {
            let slot = Slot(if self.swept < self.next { self.swept } else { 0 });
            self.swept = slot.0 + 1;
            let Some(entry) = self.slots.get(slot.0) else { continue };
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
        self.slots.iter().flatten().map(|entry| (&entry.key, &entry.namespace, &entry.value))
    }

    /// All keys that have a value in a namespace, each once, in the order of [`CowTable::iter`].
    pub fn keys(&self, namespace: &N) -> impl Iterator<Item = &K> {
        self.iter().filter(move |(_, of_entry, _)| *of_entry == namespace).map(|(key, _, _)| key)
    }

    /// What is in the table now, for ever. Takes constant time: one reference is made.
    pub fn snapshot(&mut self) -> TableSnapshot<K, N, V> {
        if planted!("snapshot_sees_later_mutation") {
            let aliased = Arc::new(Mutex::new(self.slots.clone()));
            self.aliased = Arc::downgrade(&aliased);
            return TableSnapshot::aliased(aliased);
        }
        self.share()
    }

    /// As [`CowTable::snapshot`], by whoever may only look.
    pub(crate) fn share(&self) -> TableSnapshot<K, N, V> {
        TableSnapshot::new(self.slots.clone())
    }

    /// A slot, to be changed.
    #[inline]
    fn slot_mut(&mut self, slot: u32) -> &mut Option<Entry<K, N, V>> {
        if self.slots.is_shared() {
            self.refresh_alias();
        }
        self.slots.get_mut(slot)
    }

    /// The planted bug: the newest snapshot gets the entries as they are now. Does nothing without it.
    #[inline]
    fn refresh_alias(&self) {
        if let Some(aliased) = self.aliased.upgrade() {
            *aliased.lock().expect("nothing panics while it holds this lock") = self.slots.clone();
        }
    }
}

#[cfg(test)]
mod tests;
