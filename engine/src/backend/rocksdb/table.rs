//! The three kinds of state in RocksDB.
//!
//! A value that was changed lately is held decoded; it is written before a snapshot, and when too many are held. So what
//! is used again and again costs what it costs on the heap, and a window that comes and goes may never be written. The
//! memory for that is bounded by the number of values, and by the number of changes for those that grow. Lists and maps
//! are not held: each access encodes the key and what it touches; a list is appended to without being read, a map is
//! read and written entry by entry.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    database::{Database, Family, Format, GoOn, RawEntry, damaged},
    layout,
};
use crate::{
    backend::{Fold, Folded, Lists, Maps, Place, Values, table::Where},
    codec::{self, Data},
    error::{Error, Result},
    state::{CowTable, Key, KeyGroups, Namespace, Slot},
};

/// Values that are held decoded, at most.
const HELD_ENTRIES: usize = 8_192;
/// Changes after which values are let go however few they are, for they may have grown.
const HELD_CHANGES: usize = 65_536;

/// One state in RocksDB; `V` is the value, the list, or the map.
pub struct RocksDbTable<K, N, V> {
    database: Arc<Database>,
    family: Family,
    key_groups: KeyGroups,
    /// Values in use. Of lists and maps, none.
    held: CowTable<K, N, Held<V>>,
    changes: usize,
}

/// A value that is decoded, so that neither reading nor changing it costs a way through the codec and RocksDB.
#[derive(Clone, Serialize, Deserialize)]
struct Held<V> {
    value: V,
    written: Written,
}

/// What RocksDB has under the key of a value that is held.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Written {
    /// This value.
    Yes,
    /// Another value, or perhaps none.
    No,
    /// Nothing, so that there is nothing to delete.
    Never,
}

impl<K: Key, N: Namespace, V: Data> RocksDbTable<K, N, V> {
    pub(super) fn new(database: Arc<Database>, family: Family, key_groups: KeyGroups) -> Self {
        Self { database, family, key_groups, held: CowTable::default(), changes: 0 }
    }

    fn prefix(&self, key: &K, namespace: &N) -> Vec<u8> {
        layout::prefix(self.key_groups, key, namespace)
    }

    fn decode<T: Data>(&self, bytes: &[u8]) -> Result<T> {
        codec::decode(bytes).map_err(|error| self.damaged().with_source(error))
    }

    fn damaged(&self) -> Error {
        damaged(self.database.path(), &self.family.state)
    }

    /// The value that RocksDB has.
    fn read(&self, key: &K, namespace: &N) -> Result<Option<V>> {
        self.database.get(&self.family, &self.prefix(key, namespace), |bytes| self.decode(bytes))
    }

    /// Holds a value that is not held yet.
    fn hold(&mut self, key: K, namespace: N, value: V, written: Written) -> Result<Slot> {
        if self.held.len() >= HELD_ENTRIES || self.changes >= HELD_CHANGES {
            self.flush()?;
            self.held.clear();
            self.changes = 0;
        }
        Ok(self.held.insert_new(key, namespace, Held { value, written }))
    }

    /// A value that is held, to be changed.
    #[inline]
    fn change(&mut self, slot: Slot) -> &mut V {
        self.changes += 1;
        let held = self.held.value_mut(slot);
        if held.written == Written::Yes {
            held.written = Written::No;
        }
        &mut held.value
    }

    /// Where the value is held; it is read if it is not. `None` if there is none.
    fn find(&mut self, key: &K, namespace: &N) -> Result<Option<Slot>> {
        if let Some(slot) = self.held.find(key, namespace) {
            if self.changes < HELD_CHANGES {
                return Ok(Some(slot));
            }
            let (key, namespace, Held { value, written }) = self.held.take_slot(slot);
            return self.hold(key, namespace, value, written).map(Some);
        }
        let Some(value) = self.read(key, namespace)? else { return Ok(None) };
        self.hold(key.clone(), namespace.clone(), value, Written::Yes).map(Some)
    }

    /// Writes the values that have changed. They are held further.
    pub(super) fn flush(&mut self) -> Result<()> {
        let changed = self.held.iter().filter(|(_, _, held)| held.written != Written::Yes);
        let entries = changed.map(|(key, namespace, held)| (self.prefix(key, namespace), codec::encode(&held.value)));
        self.database.put_all(&self.family, entries)?;
        self.held.for_each_value_mut(|held| held.written = Written::Yes);
        Ok(())
    }

    /// The number of entries, in RocksDB or not.
    pub(super) fn entry_count(&self, format: Format) -> Result<usize> {
        let mut count = self.held.len();
        self.database.scan(&self.family, format, |RawEntry { key, namespace, .. }| {
            count += usize::from(!self.holds(key, namespace)?);
            Ok(())
        })?;
        Ok(count)
    }

    fn holds(&self, key: &[u8], namespace: &[u8]) -> Result<bool> {
        Ok(!self.held.is_empty() && self.held.find(&self.decode(key)?, &self.decode(namespace)?).is_some())
    }

    fn visit(&self, format: Format, mut visit: impl FnMut(&K, &N, &V) -> Result<()>) -> Result<()> {
        self.database.scan(&self.family, format, |RawEntry { key, namespace, value, .. }| {
            if self.holds(key, namespace)? {
                return Ok(());
            }
            visit(&self.decode(key)?, &self.decode(namespace)?, &self.decode(&value)?)
        })?;
        self.held.iter().try_for_each(|(key, namespace, held)| visit(key, namespace, &held.value))
    }
}

impl<K: Key, N: Namespace, V: Data> Values<K, N, V> for RocksDbTable<K, N, V> {
    fn get(&self, key: &K, namespace: &N) -> Result<Option<Cow<'_, V>>> {
        match self.held.get(key, namespace) {
            Some(held) => Ok(Some(Cow::Borrowed(&held.value))),
            None => Ok(self.read(key, namespace)?.map(Cow::Owned)),
        }
    }

    fn put(&mut self, key: &K, namespace: &N, value: V) -> Result<()> {
        match self.held.find(key, namespace) {
            Some(slot) => *self.change(slot) = value,
            None => {
                self.hold(key.clone(), namespace.clone(), value, Written::No)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, key: &K, namespace: &N) -> Result<Option<V>> {
        let (value, is_written) = match self.held.remove(key, namespace) {
            Some(held) => (Some(held.value), held.written != Written::Never),
            None => {
                let value = self.read(key, namespace)?;
                let is_written = value.is_some();
                (value, is_written)
            }
        };
        if is_written {
            self.database.delete(&self.family, &self.prefix(key, namespace))?;
        }
        Ok(value)
    }

    fn modify<R>(&mut self, key: &K, namespace: &N, change: impl FnOnce(&mut V) -> R) -> Result<Option<R>> {
        let slot = self.find(key, namespace)?;
        Ok(slot.map(|slot| change(self.change(slot))))
    }

    fn modify_or_insert_with<R>(
        &mut self,
        key: &K,
        namespace: &N,
        create: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R> {
        let slot = match self.find(key, namespace)? {
            Some(slot) => slot,
            None => self.hold(key.clone(), namespace.clone(), create(), Written::Never)?,
        };
        Ok(change(self.change(slot)))
    }

    fn locate(&self, key: Cow<'_, K>, namespace: &N) -> Result<Place<K, V>> {
        let value = match self.held.find(&key, namespace) {
            Some(slot) if self.changes < HELD_CHANGES => return Ok(Place(Where::Slot(slot))),
            // All are let go before this one is held again.
            Some(slot) => Some(self.held.value(slot).value.clone()),
            None => self.read(&key, namespace)?,
        };
        Ok(Place(Where::Copied(key.into_owned(), value)))
    }

    fn fold<I>(
        &mut self,
        place: Place<K, V>,
        namespace: &N,
        input: I,
        fold: &mut impl Fold<I, V>,
    ) -> Result<Folded<'_, K, V>> {
        let slot = match place.0 {
            Where::Slot(slot) => {
                fold.add(self.change(slot), input);
                slot
            }
            Where::Copied(key, Some(mut value)) => {
                fold.add(&mut value, input);
                self.hold(key, namespace.clone(), value, Written::No)?
            }
            Where::Copied(key, None) => self.hold(key, namespace.clone(), fold.first(input), Written::Never)?,
            Where::Nowhere(_) => unreachable!("a place is used with the table that it was located in"),
        };
        Ok(Folded { key: Cow::Borrowed(self.held.key(slot)), value: Cow::Borrowed(&self.held.value(slot).value) })
    }

    fn for_each(&self, visit: impl FnMut(&K, &N, &V) -> Result<()>) -> Result<()> {
        self.visit(Format::Value, visit)
    }

    fn count(&self) -> Result<usize> {
        self.entry_count(Format::Value)
    }
}

impl<K: Key, N: Namespace, T: Data> RocksDbTable<K, N, Vec<T>> {
    fn read_list(&self, prefix: &[u8]) -> Result<Vec<T>> {
        let list = self.database.get(&self.family, prefix, |chunks| {
            let encoded = layout::joined(chunks).ok_or_else(|| self.damaged())?;
            self.decode(&encoded)
        })?;
        Ok(list.unwrap_or_default())
    }
}

/// The elements as a chunk, to be written.
pub(super) fn chunk_of<T: Data>(elements: &Vec<T>) -> Vec<u8> {
    layout::chunk(&codec::encode(elements)).expect("an encoded list starts with its length")
}

impl<K: Key, N: Namespace, T: Data> Lists<K, N, T> for RocksDbTable<K, N, Vec<T>> {
    fn get(&self, key: &K, namespace: &N) -> Result<Cow<'_, [T]>> {
        Ok(Cow::Owned(self.read_list(&self.prefix(key, namespace))?))
    }

    fn append(&mut self, key: &K, namespace: &N, elements: Vec<T>) -> Result<()> {
        if elements.is_empty() {
            return Ok(());
        }
        self.database.append(&self.family, &self.prefix(key, namespace), &chunk_of(&elements))
    }

    fn put(&mut self, key: &K, namespace: &N, elements: Vec<T>) -> Result<()> {
        let prefix = self.prefix(key, namespace);
        if elements.is_empty() {
            return self.database.delete(&self.family, &prefix);
        }
        self.database.put(&self.family, &prefix, &chunk_of(&elements))
    }

    fn take(&mut self, key: &K, namespace: &N) -> Result<Vec<T>> {
        let prefix = self.prefix(key, namespace);
        let elements = self.read_list(&prefix)?;
        if !elements.is_empty() {
            self.database.delete(&self.family, &prefix)?;
        }
        Ok(elements)
    }

    fn is_empty(&self, key: &K, namespace: &N) -> Result<bool> {
        Ok(self.database.get(&self.family, &self.prefix(key, namespace), |_| Ok(()))?.is_none())
    }

    fn for_each(&self, mut visit: impl FnMut(&K, &N, &[T]) -> Result<()>) -> Result<()> {
        self.visit(Format::List, |key, namespace, elements| visit(key, namespace, elements))
    }
}

impl<K: Key, N: Namespace, UK: Data + Ord, UV: Data> RocksDbTable<K, N, BTreeMap<UK, UV>> {
    fn entry(&self, key: &K, namespace: &N, user_key: &UK) -> Vec<u8> {
        codec::encode_into(user_key, self.prefix(key, namespace))
    }
}

impl<K: Key, N: Namespace, UK: Data + Ord, UV: Data> Maps<K, N, UK, UV> for RocksDbTable<K, N, BTreeMap<UK, UV>> {
    fn get(&self, key: &K, namespace: &N, user_key: &UK) -> Result<Option<Cow<'_, UV>>> {
        let entry = self.entry(key, namespace, user_key);
        Ok(self.database.get(&self.family, &entry, |bytes| self.decode(bytes))?.map(Cow::Owned))
    }

    fn put(&mut self, key: &K, namespace: &N, user_key: UK, value: UV) -> Result<()> {
        self.database.put(&self.family, &self.entry(key, namespace, &user_key), &codec::encode(&value))
    }

    fn remove(&mut self, key: &K, namespace: &N, user_key: &UK) -> Result<Option<UV>> {
        let entry = self.entry(key, namespace, user_key);
        let removed = self.database.get(&self.family, &entry, |bytes| self.decode(bytes))?;
        if removed.is_some() {
            self.database.delete(&self.family, &entry)?;
        }
        Ok(removed)
    }

    fn entries(&self, key: &K, namespace: &N) -> Result<Vec<(UK, UV)>> {
        let prefix = self.prefix(key, namespace);
        let mut entries = Vec::new();
        self.database.with_prefix(&self.family, &prefix, |entry, value| {
            entries.push((self.decode(&entry[prefix.len()..])?, self.decode(value)?));
            Ok(GoOn::Yes)
        })?;
        // They come by the bytes of their keys, which need not be the keys' own order.
        entries.sort_unstable_by(|(one, _): &(UK, UV), (other, _)| one.cmp(other));
        Ok(entries)
    }

    fn is_empty(&self, key: &K, namespace: &N) -> Result<bool> {
        let mut empty = true;
        self.database.with_prefix(&self.family, &self.prefix(key, namespace), |_, _| {
            empty = false;
            Ok(GoOn::No)
        })?;
        Ok(empty)
    }

    fn clear(&mut self, key: &K, namespace: &N) -> Result<bool> {
        let mut entries = Vec::new();
        self.database.with_prefix(&self.family, &self.prefix(key, namespace), |entry, _| {
            entries.push(entry.to_vec());
            Ok(GoOn::Yes)
        })?;
        entries.iter().try_for_each(|entry| self.database.delete(&self.family, entry))?;
        Ok(!entries.is_empty())
    }

    fn for_each(&self, visit: impl FnMut(&K, &N, &BTreeMap<UK, UV>) -> Result<()>) -> Result<()> {
        self.visit(Format::Map, visit)
    }
}
