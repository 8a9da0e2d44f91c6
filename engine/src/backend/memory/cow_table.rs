//! The copy-on-write table: one keyed state in memory, (key, namespace) → value.
//!
//! Guarantees: a lookup is one probe of a hash index and one comparison; [`CowTable::snapshot`] copies no entry, and
//! what it returns never changes afterwards; iteration order follows from the sequence of operations alone.
//!
//! ```text
//!                    snapshot()                     the first write after it
//!   page:  Owned ───────────────▶ Shared ──────────────────────────────────▶ Owned
//!                                   │   a copy, or the page itself if the snapshot is gone
//! ```
//!
//! Entries lie in pages of [`PAGE_ENTRIES`]; a hash index holds their slots. Flink: `CopyOnWriteStateMap`, which keeps
//! a version per entry instead; pages make the writer's check one branch and let the snapshot be read without locks.

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, Weak},
};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::table_snapshot::TableSnapshot;
use crate::{
    codec::Data,
    planted,
    state::{Expiring, Expiry, Key, Namespace},
};

/// Entries of a page: what the first write after a snapshot copies.
pub const PAGE_ENTRIES: usize = 128;

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Entry<K, N, V> {
    pub(super) key: K,
    pub(super) namespace: N,
    pub(super) value: V,
}

/// The entries of a page; a slot is `None` when it is free.
pub(super) type Slots<K, N, V> = Vec<Option<Entry<K, N, V>>>;

/// The pages of a snapshot.
pub(super) type Pages<K, N, V> = Vec<Arc<Slots<K, N, V>>>;

#[derive(Debug)]
enum Page<K, N, V> {
    Owned(Slots<K, N, V>),
    Shared(Arc<Slots<K, N, V>>),
}

/// Where an entry is. Valid until the entry is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u32);

impl Slot {
    #[inline]
    fn page(self) -> usize {
        self.0 as usize / PAGE_ENTRIES
    }

    #[inline]
    fn offset(self) -> usize {
        self.0 as usize % PAGE_ENTRIES
    }
}

/// See the module.
#[derive(Debug)]
pub struct CowTable<K, N, V> {
    index: HashTable<u32>,
    pages: Vec<Page<K, N, V>>,
    /// Slots below `next` that hold nothing; the last one is used first.
    free: Vec<u32>,
    next: u32,
    /// The slot that [`CowTable::sweep`] looks at next.
    swept: u32,
    /// Only for the planted bug `snapshot_sees_later_mutation`: the newest snapshot's pages, to be replaced under it.
    aliased: Weak<Mutex<Pages<K, N, V>>>,
}

impl<K, N, V> Default for CowTable<K, N, V> {
    fn default() -> Self {
        Self { index: HashTable::new(), pages: Vec::new(), free: Vec::new(), next: 0, swept: 0, aliased: Weak::new() }
    }
}

#[inline]
fn hash_of<K: Hash, N: Hash>(key: &K, namespace: &N) -> u64 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    namespace.hash(&mut hasher);
    hasher.finish()
}

impl<K, N, V> Page<K, N, V> {
    #[inline]
    fn slots(&self) -> &Slots<K, N, V> {
        match self {
            Self::Owned(slots) => slots,
            Self::Shared(slots) => slots,
        }
    }
}

#[inline]
fn entry_at<K, N, V>(pages: &[Page<K, N, V>], slot: u32) -> &Entry<K, N, V> {
    let slot = Slot(slot);
    pages[slot.page()].slots()[slot.offset()].as_ref().expect("the index holds slots with an entry only")
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
        let pages = &self.pages;
        self.index
            .find(hash_of(key, namespace), |&slot| {
                let entry = entry_at(pages, slot);
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
        &entry_at(&self.pages, slot.0).value
    }

    /// The key of the entry in a slot.
    ///
    /// # Panics
    /// If the entry has been removed since.
    #[inline]
    pub fn key(&self, slot: Slot) -> &K {
        &entry_at(&self.pages, slot.0).key
    }

    /// The value in a slot, to be changed.
    ///
    /// # Panics
    /// If the entry has been removed since.
    #[inline]
    pub fn value_mut(&mut self, slot: Slot) -> &mut V {
        let entry = self.page_mut(slot.page())[slot.offset()].as_mut();
        &mut entry.expect("the index holds slots with an entry only").value
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
        let place = Slot(slot);
        if place.page() == self.pages.len() {
            self.pages.push(Page::Owned(Vec::new()));
        }
        let slots = self.page_mut(place.page());
        if place.offset() == slots.len() {
            slots.push(None);
        }
        slots[place.offset()] = Some(Entry { key, namespace, value });
        let pages = &self.pages;
        self.index.insert_unique(hash, slot, |&slot| {
            let entry = entry_at(pages, slot);
            hash_of(&entry.key, &entry.namespace)
        });
        place
    }

    /// Removes an entry; returns its value.
    pub fn remove(&mut self, key: &K, namespace: &N) -> Option<V> {
        let pages = &self.pages;
        let found = self.index.find_entry(hash_of(key, namespace), |&slot| {
            let entry = entry_at(pages, slot);
            entry.key == *key && entry.namespace == *namespace
        });
        let (slot, _) = found.ok()?.remove();
        self.refresh_alias();
        self.free.push(slot);
        let slot = Slot(slot);
        let entry = self.page_mut(slot.page())[slot.offset()].take();
        Some(entry.expect("the index holds slots with an entry only").value)
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.index.clear();
        self.pages.clear();
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
            let Some(entry) = &self.pages[slot.page()].slots()[slot.offset()] else { continue };
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
        let entries = self.pages.iter().flat_map(|page| page.slots()).flatten();
        entries.map(|entry| (&entry.key, &entry.namespace, &entry.value))
    }

    /// All keys that have a value in a namespace, each once, in the order of [`CowTable::iter`].
    pub fn keys(&self, namespace: &N) -> impl Iterator<Item = &K> {
        self.iter().filter(move |(_, of_entry, _)| *of_entry == namespace).map(|(key, _, _)| key)
    }

    /// What is in the table now, for ever. Costs a few instructions per page and copies no entry.
    pub fn snapshot(&mut self) -> TableSnapshot<K, N, V> {
        let pages: Vec<_> = self.pages.iter_mut().map(share).collect();
        if planted!("snapshot_sees_later_mutation") {
            let aliased = Arc::new(Mutex::new(pages));
            self.aliased = Arc::downgrade(&aliased);
            return TableSnapshot::aliased(aliased);
        }
        TableSnapshot::new(pages)
    }

    /// The entries of a page, to be changed.
    #[inline]
    fn page_mut(&mut self, page: usize) -> &mut Slots<K, N, V> {
        if matches!(self.pages[page], Page::Shared(_)) {
            self.unshare(page);
        }
        match &mut self.pages[page] {
            Page::Owned(slots) => slots,
            Page::Shared(_) => unreachable!("a page that is written to has been unshared"),
        }
    }

    #[cold]
    fn unshare(&mut self, page: usize) {
        self.refresh_alias();
        let shared = std::mem::replace(&mut self.pages[page], Page::Owned(Vec::new()));
        self.pages[page] = Page::Owned(match shared {
            Page::Owned(slots) => slots,
            Page::Shared(slots) => Arc::try_unwrap(slots).unwrap_or_else(|slots| slots.as_ref().clone()),
        });
    }

    /// The planted bug: the newest snapshot gets the pages as they are now. Does nothing without it.
    fn refresh_alias(&self) {
        if let Some(aliased) = self.aliased.upgrade() {
            let pages = self.pages.iter().map(|page| match page {
                Page::Owned(slots) => Arc::new(slots.clone()),
                Page::Shared(slots) => slots.clone(),
            });
            *aliased.lock().expect("nothing panics while it holds this lock") = pages.collect();
        }
    }
}

/// Makes a page shared and returns the share.
fn share<K, N, V>(page: &mut Page<K, N, V>) -> Arc<Slots<K, N, V>> {
    let slots = match std::mem::replace(page, Page::Owned(Vec::new())) {
        Page::Owned(slots) => Arc::new(slots),
        Page::Shared(slots) => slots,
    };
    *page = Page::Shared(slots.clone());
    slots
}

#[cfg(test)]
mod tests;
