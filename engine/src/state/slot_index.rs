//! A hash index of slots: finds an entry by what it is, without holding it.
//!
//! Beside each slot stands its hash. So the index grows without reading an entry, which with many of them is a miss of
//! all caches each, and a look at an entry that is another one is rare.

use std::hash::{Hash, Hasher};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

/// The hash of an entry, as far as the index needs it. It is the same in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotHash(u32);

impl SlotHash {
    /// The table takes the place from the lowest bits and a tag from the highest.
    #[inline]
    fn spread(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }
}

/// The hash of whatever tells entries apart.
#[inline]
pub(crate) fn hash_of(identity: &impl Hash) -> SlotHash {
    let mut hasher = FxHasher::default();
    identity.hash(&mut hasher);
    let hash = hasher.finish();
    SlotHash((hash ^ (hash >> 32)) as u32)
}

#[derive(Debug)]
struct Indexed {
    slot: u32,
    hash: SlotHash,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SlotIndex(HashTable<Indexed>);

impl SlotIndex {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The slot with this hash of which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: SlotHash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let found = self.0.find(hash.spread(), |indexed| indexed.hash == hash && is_it(indexed.slot));
        found.map(|indexed| indexed.slot)
    }

    /// Adds a slot that is not there.
    #[inline]
    pub(crate) fn insert(&mut self, hash: SlotHash, slot: u32) {
        self.0.insert_unique(hash.spread(), Indexed { slot, hash }, |indexed| indexed.hash.spread());
    }

    /// Removes the slot with this hash of which `is_it` holds; returns it.
    #[inline]
    pub(crate) fn remove(&mut self, hash: SlotHash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let found = self.0.find_entry(hash.spread(), |indexed| indexed.hash == hash && is_it(indexed.slot));
        Some(found.ok()?.remove().0.slot)
    }
}
