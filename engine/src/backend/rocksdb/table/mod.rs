//! The three kinds of state in RocksDB.
//!
//! A value that is changed is [held](HeldValues) decoded, and so is a list that is replaced. Other accesses encode the
//! key and what they touch: a list is appended to without being read, a map is read and written entry by entry.

mod held;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use self::held::{HeldValues, Room, Written};
use super::{
    database::{Database, Format, GoOn, RawEntry, damaged},
    layout,
};
use crate::{
    backend::{Fold, Folded, Lists, Maps, Place, Values, table::Where},
    codec::{self, Data},
    error::{Error, Result},
    state::{Key, KeyGroups, Namespace, Slot},
};

/// Memory for the values in use of one state, in bytes.
const HELD_BYTES: usize = 128 << 20;

/// How a value lies in RocksDB, where it lies under one key.
#[derive(Debug)]
pub(super) struct Layout<V> {
    pub(super) encode: fn(&V) -> Vec<u8>,
    pub(super) format: Format,
}

impl<V> Clone for Layout<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Layout<V> {}

/// One state in RocksDB; `V` is the value, the list, or the map.
pub struct RocksDbTable<K, N, V> {
    database: Arc<Database>,
    state: String,
    key_groups: KeyGroups,
    layout: Layout<V>,
    /// Values and lists in use. Of maps, none.
    held: HeldValues<K, N, V>,
}

impl<K: Key, N: Namespace, V: Data> RocksDbTable<K, N, V> {
    pub(super) fn new(database: Arc<Database>, state: String, key_groups: KeyGroups, layout: Layout<V>) -> Self {
        Self { database, state, key_groups, layout, held: HeldValues::new(HELD_BYTES) }
    }

    /// The same, with other memory for the values in use.
    #[cfg(test)]
    pub(super) fn with_memory(mut self, bytes: usize) -> Self {
        self.held = HeldValues::new(bytes);
        self
    }

    fn prefix(&self, key: &K, namespace: &N) -> Vec<u8> {
        layout::prefix(self.key_groups, key, namespace)
    }

    fn decode<T: Data>(&self, bytes: &[u8]) -> Result<T> {
        codec::decode(bytes).map_err(|error| self.damaged().with_source(error))
    }

    fn damaged(&self) -> Error {
        damaged(self.database.path(), &self.state)
    }

    /// The value that RocksDB has.
    fn read(&self, key: &K, namespace: &N) -> Result<Option<V>> {
        self.database.get(&self.state, &self.prefix(key, namespace), |bytes| match self.layout.format {
            Format::List => self.decode(&layout::joined(bytes).ok_or_else(|| self.damaged())?),
            Format::Value | Format::Map => self.decode(bytes),
        })
    }

    /// Holds a value that is not held yet.
    fn hold(&mut self, key: K, namespace: N, value: V, written: Written) -> Result<Slot> {
        self.make_room()?;
        if self.held.is_full() {
            self.let_go()?;
        }
        Ok(self.held.insert(key, namespace, value, written))
    }

    /// A value that is held, to be changed.
    #[inline]
    fn change(&mut self, slot: Slot) -> Result<&mut V> {
        self.make_room()?;
        Ok(self.held.change(slot))
    }

    /// Writes what has changed if it is time to. What is held stays where it is.
    #[inline]
    fn make_room(&mut self) -> Result<()> {
        match self.held.room() {
            Room::Enough => Ok(()),
            Room::AfterWriting => self.flush(),
        }
    }

    /// Holds nothing any more.
    fn let_go(&mut self) -> Result<()> {
        self.flush()?;
        self.held.clear();
        Ok(())
    }

    /// Where the value is held; it is read if it is not. `None` if there is none.
    fn find(&mut self, key: &K, namespace: &N) -> Result<Option<Slot>> {
        match self.held.find(key, namespace) {
            Some(slot) if !self.held.is_full() => return Ok(Some(slot)),
            // All are let go, and this one is read again.
            Some(_) => self.let_go()?,
            None => {}
        }
        let Some(value) = self.read(key, namespace)? else { return Ok(None) };
        self.hold(key.clone(), namespace.clone(), value, Written::Yes).map(Some)
    }

    fn set(&mut self, key: &K, namespace: &N, value: V) -> Result<()> {
        match self.held.find(key, namespace) {
            Some(slot) => *self.change(slot)? = value,
            None => {
                self.hold(key.clone(), namespace.clone(), value, Written::No)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &K, namespace: &N) -> Result<Option<V>> {
        let (value, is_written) = match self.held.remove(key, namespace) {
            Some((value, is_written)) => (Some(value), is_written),
            None => {
                let value = self.read(key, namespace)?;
                let is_written = value.is_some();
                (value, is_written)
            }
        };
        if is_written {
            self.database.delete(&self.state, &self.prefix(key, namespace))?;
        }
        Ok(value)
    }

    /// Writes the values that have changed. They are held further.
    pub(super) fn flush(&mut self) -> Result<()> {
        let (mut count, mut bytes) = (0, 0);
        let entries = self.held.unwritten().map(|(key, namespace, value)| {
            let (key, value) = (self.prefix(key, namespace), (self.layout.encode)(value));
            count += 1;
            bytes += key.len() + value.len();
            (key, value)
        });
        self.database.put_all(&self.state, entries)?;
        self.held.has_written(count, bytes);
        Ok(())
    }

    /// The number of entries, in RocksDB or not.
    pub(super) fn entry_count(&self) -> Result<usize> {
        let mut count = self.held.len();
        self.database.scan(&self.state, self.layout.format, |RawEntry { key, namespace, .. }| {
            count += usize::from(!self.holds(key, namespace)?);
            Ok(())
        })?;
        Ok(count)
    }

    fn holds(&self, key: &[u8], namespace: &[u8]) -> Result<bool> {
        Ok(!self.held.is_empty() && self.held.find(&self.decode(key)?, &self.decode(namespace)?).is_some())
    }

    fn visit(&self, mut visit: impl FnMut(&K, &N, &V) -> Result<()>) -> Result<()> {
        self.database.scan(&self.state, self.layout.format, |RawEntry { key, namespace, value, .. }| {
            if self.holds(key, namespace)? {
                return Ok(());
            }
            visit(&self.decode(key)?, &self.decode(namespace)?, &self.decode(&value)?)
        })?;
        self.held.iter().try_for_each(|(key, namespace, value)| visit(key, namespace, value))
    }
}

impl<K: Key, N: Namespace, V: Data> Values<K, N, V> for RocksDbTable<K, N, V> {
    #[inline]
    fn get(&self, key: &K, namespace: &N) -> Result<Option<Cow<'_, V>>> {
        match self.held.find(key, namespace) {
            Some(slot) => Ok(Some(Cow::Borrowed(self.held.get(slot)))),
            None => Ok(self.read(key, namespace)?.map(Cow::Owned)),
        }
    }

    fn put(&mut self, key: &K, namespace: &N, value: V) -> Result<()> {
        self.set(key, namespace, value)
    }

    fn take(&mut self, key: &K, namespace: &N) -> Result<Option<V>> {
        self.remove(key, namespace)
    }

    #[inline]
    fn modify<R>(&mut self, key: &K, namespace: &N, change: impl FnOnce(&mut V) -> R) -> Result<Option<R>> {
        match self.find(key, namespace)? {
            Some(slot) => Ok(Some(change(self.change(slot)?))),
            None => Ok(None),
        }
    }

    #[inline]
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
        Ok(change(self.change(slot)?))
    }

    #[inline]
    fn locate(&self, key: Cow<'_, K>, namespace: &N) -> Result<Place<K, V>> {
        let value = match self.held.find(&key, namespace) {
            Some(slot) if !self.held.is_full() => return Ok(Place(Where::Slot(slot))),
            // All are let go before this one is held again.
            Some(slot) => Some(self.held.get(slot).clone()),
            None => self.read(&key, namespace)?,
        };
        Ok(Place(Where::Copied(key.into_owned(), value)))
    }

    #[inline]
    fn fold<I>(
        &mut self,
        place: Place<K, V>,
        namespace: &N,
        input: I,
        fold: &mut impl Fold<I, V>,
    ) -> Result<Folded<'_, K, V>> {
        let slot = match place.0 {
            Where::Slot(slot) => {
                fold.add(self.change(slot)?, input);
                slot
            }
            Where::Copied(key, Some(mut value)) => {
                fold.add(&mut value, input);
                // If it is held, then there is no room, and it is let go with all others.
                self.hold(key, namespace.clone(), value, Written::No)?
            }
            Where::Copied(key, None) => self.hold(key, namespace.clone(), fold.first(input), Written::Never)?,
            Where::Nowhere(_) => unreachable!("a place is used with the table that it was located in"),
        };
        Ok(Folded { key: Cow::Borrowed(self.held.key(slot)), value: Cow::Borrowed(self.held.get(slot)) })
    }

    fn for_each(&self, visit: impl FnMut(&K, &N, &V) -> Result<()>) -> Result<()> {
        self.visit(visit)
    }

    fn count(&self) -> Result<usize> {
        self.entry_count()
    }
}

/// The elements as a chunk, to be written.
pub(super) fn chunk_of<T: Data>(elements: &Vec<T>) -> Vec<u8> {
    layout::chunk(&codec::encode(elements)).expect("an encoded list starts with its length")
}

impl<K: Key, N: Namespace, T: Data> Lists<K, N, T> for RocksDbTable<K, N, Vec<T>> {
    #[inline]
    fn get(&self, key: &K, namespace: &N) -> Result<Cow<'_, [T]>> {
        match self.held.find(key, namespace) {
            Some(slot) => Ok(Cow::Borrowed(self.held.get(slot))),
            None => Ok(Cow::Owned(self.read(key, namespace)?.unwrap_or_default())),
        }
    }

    fn append(&mut self, key: &K, namespace: &N, mut elements: Vec<T>) -> Result<()> {
        if elements.is_empty() {
            return Ok(());
        }
        if let Some(slot) = self.held.find(key, namespace) {
            self.change(slot)?.append(&mut elements);
            return Ok(());
        }
        self.database.append(&self.state, &self.prefix(key, namespace), &chunk_of(&elements))
    }

    fn put(&mut self, key: &K, namespace: &N, elements: Vec<T>) -> Result<()> {
        if elements.is_empty() {
            return match self.held.remove(key, namespace) {
                Some((_, false)) => Ok(()),
                _ => self.database.delete(&self.state, &self.prefix(key, namespace)),
            };
        }
        self.set(key, namespace, elements)
    }

    #[inline]
    fn replace(&mut self, key: &K, namespace: &N, position: usize, element: T) -> Result<()> {
        let slot = self.find(key, namespace)?.expect("there is an element to be replaced");
        self.change(slot)?[position] = element;
        Ok(())
    }

    fn take(&mut self, key: &K, namespace: &N) -> Result<Vec<T>> {
        Ok(self.remove(key, namespace)?.unwrap_or_default())
    }

    fn is_empty(&self, key: &K, namespace: &N) -> Result<bool> {
        if self.held.find(key, namespace).is_some() {
            return Ok(false);
        }
        Ok(self.database.get(&self.state, &self.prefix(key, namespace), |_| Ok(()))?.is_none())
    }

    fn for_each(&self, mut visit: impl FnMut(&K, &N, &[T]) -> Result<()>) -> Result<()> {
        self.visit(|key, namespace, elements| visit(key, namespace, elements))
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
        Ok(self.database.get(&self.state, &entry, |bytes| self.decode(bytes))?.map(Cow::Owned))
    }

    fn put(&mut self, key: &K, namespace: &N, user_key: UK, value: UV) -> Result<()> {
        self.database.put(&self.state, &self.entry(key, namespace, &user_key), &codec::encode(&value))
    }

    fn remove(&mut self, key: &K, namespace: &N, user_key: &UK) -> Result<Option<UV>> {
        let entry = self.entry(key, namespace, user_key);
        let removed = self.database.get(&self.state, &entry, |bytes| self.decode(bytes))?;
        if removed.is_some() {
            self.database.delete(&self.state, &entry)?;
        }
        Ok(removed)
    }

    fn entries(&self, key: &K, namespace: &N) -> Result<Vec<(UK, UV)>> {
        let prefix = self.prefix(key, namespace);
        let mut entries = Vec::new();
        self.database.with_prefix(&self.state, &prefix, |entry, value| {
            entries.push((self.decode(&entry[prefix.len()..])?, self.decode(value)?));
            Ok(GoOn::Yes)
        })?;
        // They come by the bytes of their keys, which need not be the keys' own order.
        entries.sort_unstable_by(|(one, _): &(UK, UV), (other, _)| one.cmp(other));
        Ok(entries)
    }

    fn is_empty(&self, key: &K, namespace: &N) -> Result<bool> {
        let mut empty = true;
        self.database.with_prefix(&self.state, &self.prefix(key, namespace), |_, _| {
            empty = false;
            Ok(GoOn::No)
        })?;
        Ok(empty)
    }

    fn clear(&mut self, key: &K, namespace: &N) -> Result<bool> {
        let mut entries = Vec::new();
        self.database.with_prefix(&self.state, &self.prefix(key, namespace), |entry, _| {
            entries.push(entry.to_vec());
            Ok(GoOn::Yes)
        })?;
        entries.iter().try_for_each(|entry| self.database.delete(&self.state, entry))?;
        Ok(!entries.is_empty())
    }

    fn for_each(&self, visit: impl FnMut(&K, &N, &BTreeMap<UK, UV>) -> Result<()>) -> Result<()> {
        self.visit(visit)
    }
}
