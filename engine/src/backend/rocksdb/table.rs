//! The three kinds of state in RocksDB. Each access encodes the key and decodes or encodes what it touches; a list is
//! appended to without being read, a map is read and written entry by entry.

use std::{borrow::Cow, collections::BTreeMap, marker::PhantomData, sync::Arc};

use super::{
    database::{Database, Format, GoOn, RawEntry, damaged},
    layout,
};
use crate::{
    backend::{Fold, Folded, Lists, Maps, Place, Values, table::Where},
    codec::{self, Data},
    error::Result,
    state::{Key, KeyGroups, Namespace},
};

type Types<K, N, V> = PhantomData<fn() -> (K, N, V)>;

/// One state in RocksDB; `V` is the value, the list, or the map.
pub struct RocksDbTable<K, N, V> {
    pub(super) database: Arc<Database>,
    pub(super) state: String,
    pub(super) key_groups: KeyGroups,
    pub(super) types: Types<K, N, V>,
}

impl<K: Key, N: Namespace, V: Data> RocksDbTable<K, N, V> {
    fn prefix(&self, key: &K, namespace: &N) -> Vec<u8> {
        layout::prefix(self.key_groups, key, namespace)
    }

    fn decode<T: Data>(&self, bytes: &[u8]) -> Result<T> {
        codec::decode(bytes).map_err(|error| damaged(self.database.path(), &self.state).with_source(error))
    }

    fn read(&self, prefix: &[u8]) -> Result<Option<V>> {
        self.database.get(&self.state, prefix, |bytes| self.decode(bytes))
    }

    fn write(&self, prefix: &[u8], value: &V) -> Result<()> {
        self.database.put(&self.state, prefix, &codec::encode(value))
    }

    fn visit(&self, format: Format, mut visit: impl FnMut(&K, &N, &V) -> Result<()>) -> Result<()> {
        self.database.scan(&self.state, format, |RawEntry { key, namespace, value, .. }| {
            visit(&self.decode(key)?, &self.decode(namespace)?, &self.decode(&value)?)
        })
    }
}

impl<K: Key, N: Namespace, V: Data> Values<K, N, V> for RocksDbTable<K, N, V> {
    fn get(&self, key: &K, namespace: &N) -> Result<Option<Cow<'_, V>>> {
        Ok(self.read(&self.prefix(key, namespace))?.map(Cow::Owned))
    }

    fn put(&mut self, key: &K, namespace: &N, value: V) -> Result<()> {
        self.write(&self.prefix(key, namespace), &value)
    }

    fn take(&mut self, key: &K, namespace: &N) -> Result<Option<V>> {
        let prefix = self.prefix(key, namespace);
        let value = self.read(&prefix)?;
        if value.is_some() {
            self.database.delete(&self.state, &prefix)?;
        }
        Ok(value)
    }

    fn modify<R>(&mut self, key: &K, namespace: &N, change: impl FnOnce(&mut V) -> R) -> Result<Option<R>> {
        let prefix = self.prefix(key, namespace);
        let Some(mut value) = self.read(&prefix)? else { return Ok(None) };
        let result = change(&mut value);
        self.write(&prefix, &value)?;
        Ok(Some(result))
    }

    fn modify_or_insert_with<R>(
        &mut self,
        key: &K,
        namespace: &N,
        create: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R> {
        let prefix = self.prefix(key, namespace);
        let mut value = self.read(&prefix)?.unwrap_or_else(create);
        let result = change(&mut value);
        self.write(&prefix, &value)?;
        Ok(result)
    }

    fn locate(&self, key: Cow<'_, K>, namespace: &N) -> Result<Place<K, V>> {
        let value = self.read(&self.prefix(&key, namespace))?;
        Ok(Place(Where::Copied(key.into_owned(), value)))
    }

    fn fold<I>(
        &mut self,
        place: Place<K, V>,
        namespace: &N,
        input: I,
        fold: &mut impl Fold<I, V>,
    ) -> Result<Folded<'_, K, V>> {
        let Where::Copied(key, held) = place.0 else {
            unreachable!("a place is used with the table that it was located in")
        };
        let value = match held {
            Some(mut value) => {
                fold.add(&mut value, input);
                value
            }
            None => fold.first(input),
        };
        self.write(&self.prefix(&key, namespace), &value)?;
        Ok(Folded { key: Cow::Owned(key), value: Cow::Owned(value) })
    }

    fn for_each(&self, visit: impl FnMut(&K, &N, &V) -> Result<()>) -> Result<()> {
        self.visit(Format::Value, visit)
    }

    fn count(&self) -> Result<usize> {
        let mut count = 0;
        self.database.scan(&self.state, Format::Value, |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }
}

impl<K: Key, N: Namespace, T: Data> RocksDbTable<K, N, Vec<T>> {
    fn read_list(&self, prefix: &[u8]) -> Result<Vec<T>> {
        let list = self.database.get(&self.state, prefix, |chunks| {
            let encoded = layout::joined(chunks).ok_or_else(|| damaged(self.database.path(), &self.state))?;
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
        self.database.append(&self.state, &self.prefix(key, namespace), &chunk_of(&elements))
    }

    fn put(&mut self, key: &K, namespace: &N, elements: Vec<T>) -> Result<()> {
        let prefix = self.prefix(key, namespace);
        if elements.is_empty() {
            return self.database.delete(&self.state, &prefix);
        }
        self.database.put(&self.state, &prefix, &chunk_of(&elements))
    }

    fn take(&mut self, key: &K, namespace: &N) -> Result<Vec<T>> {
        let prefix = self.prefix(key, namespace);
        let elements = self.read_list(&prefix)?;
        if !elements.is_empty() {
            self.database.delete(&self.state, &prefix)?;
        }
        Ok(elements)
    }

    fn is_empty(&self, key: &K, namespace: &N) -> Result<bool> {
        Ok(self.database.get(&self.state, &self.prefix(key, namespace), |_| Ok(()))?.is_none())
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
        self.visit(Format::Map, visit)
    }
}
