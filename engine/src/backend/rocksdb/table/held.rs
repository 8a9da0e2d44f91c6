//! Values in use, decoded, in front of RocksDB: what is used again and again costs what it costs on the heap, and a window
//! that comes and goes may never be written.
//!
//! A value is held from its first change until too much is held; then all are let go at once. How much that is follows
//! from the size of what was encoded last, so it is a bound on memory and not on a number. Changes are written before a
//! snapshot, and when there are many of them, so that a snapshot never waits for more. There is nothing like it in Flink.

use serde::{Deserialize, Serialize};

use crate::{
    codec::Data,
    state::{CowTable, Key, Namespace, Slot},
};

/// What a value takes beside the bytes of its encoding: slot, index, and the layout of the type.
const OVERHEAD_BYTES: usize = 128;
/// Values that are held whatever their size, before any was encoded.
const FIRST_VALUES: usize = 8_192;
/// Values that have changed and are not written: what a snapshot waits for.
const UNWRITTEN_VALUES: usize = 16_384;
/// Changes after which it is seen how much memory the values take, for they may have grown.
const UNSEEN_CHANGES: usize = 65_536;

#[derive(Clone, Serialize, Deserialize)]
struct Held<V> {
    value: V,
    written: Written,
}

/// What RocksDB has under the key of a value that is held.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Written {
    /// This value.
    Yes,
    /// Another value, or perhaps none.
    No,
    /// Nothing, so that there is nothing to delete.
    Never,
}

/// What is done before another value is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room.
    Enough,
    /// Changes are to be written.
    AfterWriting,
}

/// See the module.
pub(super) struct HeldValues<K, N, V> {
    values: CowTable<K, N, Held<V>>,
    /// Where values have changed since they were written; some of them are gone, or named twice.
    unwritten: Vec<Slot>,
    unseen_changes: usize,
    /// What a value took when some were written last.
    bytes_each: usize,
    /// How many are held before it is seen whether there is memory for more.
    capacity: usize,
    is_full: bool,
    memory_bytes: usize,
}

impl<K: Key, N: Namespace, V: Data> HeldValues<K, N, V> {
    /// Holds values in about that much memory, as far as their encodings tell.
    pub(super) fn new(memory_bytes: usize) -> Self {
        Self {
            values: CowTable::default(),
            unwritten: Vec::new(),
            unseen_changes: 0,
            bytes_each: OVERHEAD_BYTES,
            capacity: FIRST_VALUES,
            is_full: false,
            memory_bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Where a value is held. Good until another one is held, or this one removed.
    #[inline]
    pub(super) fn find(&self, key: &K, namespace: &N) -> Option<Slot> {
        self.values.find(key, namespace)
    }

    #[inline]
    pub(super) fn get(&self, slot: Slot) -> &V {
        &self.values.value(slot).value
    }

    #[inline]
    pub(super) fn key(&self, slot: Slot) -> &K {
        self.values.key(slot)
    }

    /// Whether changes are to be written.
    #[inline]
    pub(super) fn room(&self) -> Room {
        let is_due = self.unwritten.len() >= UNWRITTEN_VALUES
            || self.unseen_changes >= UNSEEN_CHANGES
            || self.values.len() >= self.capacity;
        if is_due { Room::AfterWriting } else { Room::Enough }
    }

    /// Whether all must be let go before another one is held.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Holds nothing any more. What has changed must have been written.
    pub(super) fn clear(&mut self) {
        assert!(self.unwritten.is_empty(), "what has changed is written before it is let go");
        self.values.clear();
        self.is_full = false;
        self.capacity = FIRST_VALUES;
    }

    /// Holds a value that is not held.
    pub(super) fn insert(&mut self, key: K, namespace: N, value: V, written: Written) -> Slot {
        let slot = self.values.insert_new(key, namespace, Held { value, written });
        if written != Written::Yes {
            self.unwritten.push(slot);
        }
        slot
    }

    /// A value, to be changed.
    #[inline]
    pub(super) fn change(&mut self, slot: Slot) -> &mut V {
        self.unseen_changes += 1;
        let held = self.values.value_mut(slot);
        if held.written == Written::Yes {
            held.written = Written::No;
            self.unwritten.push(slot);
        }
        &mut held.value
    }

    /// Holds a value no more; returns it, and whether RocksDB may have something under its key.
    pub(super) fn remove(&mut self, key: &K, namespace: &N) -> Option<(V, bool)> {
        self.values.remove(key, namespace).map(|held| (held.value, held.written != Written::Never))
    }

    /// All values that are held.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &N, &V)> {
        self.values.iter().map(|(key, namespace, held)| (key, namespace, &held.value))
    }

    /// The values that have changed since they were written; some of them twice.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = (&K, &N, &V)> {
        let entries = self.unwritten.iter().filter_map(|slot| self.values.entry(*slot));
        let entries = entries.filter(|(_, _, held)| held.written != Written::Yes);
        entries.map(|(key, namespace, held)| (key, namespace, &held.value))
    }

    /// What has changed is written now: so many values in so many bytes.
    pub(super) fn has_written(&mut self, count: usize, bytes: usize) {
        for slot in std::mem::take(&mut self.unwritten) {
            if self.values.entry(slot).is_some() {
                self.values.value_mut(slot).written = Written::Yes;
            }
        }
        self.unseen_changes = 0;
        if let Some(encoded) = bytes.checked_div(count) {
            self.bytes_each = encoded + OVERHEAD_BYTES;
        }
        let at_most = self.memory_bytes / self.bytes_each;
        if self.values.len() >= at_most {
            self.is_full = true;
        } else if self.values.len() >= self.capacity {
            self.capacity = (2 * self.capacity).min(at_most);
        }
    }
}
