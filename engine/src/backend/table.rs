//! The tables of a backend: what each kind of state can be asked for and told, wherever it lives.
//!
//! A backend implements [`Values`], [`Lists`] and [`Maps`]; the enums [`ValueTable`], [`ListTable`] and [`MapTable`]
//! choose among backends at run time with one branch, so that the record path on the heap stays inlined.

use std::{borrow::Cow, collections::BTreeMap, ops::RangeInclusive};

#[cfg(feature = "rocksdb")]
use super::rocksdb::RocksDbTable;
use crate::{
    codec::Data,
    error::Result,
    state::{CowTable, Expiring, Expiry, Key, Namespace, Slot},
};

/// How inputs become a value: the first one makes it, further ones change it.
pub trait Fold<I, V> {
    /// The value of one input.
    fn first(&mut self, input: I) -> V;
    /// Adds an input.
    fn add(&mut self, value: &mut V, input: I);
}

/// Where the value of a key and namespace is, or that there is none; found by [`Values::locate`].
///
/// It is good for one call of [`Values::fold`], before anything else changes the table.
#[derive(Debug)]
pub struct Place<K, V>(pub(super) Where<K, V>);

#[derive(Debug)]
pub(super) enum Where<K, V> {
    /// On the heap, in a slot.
    Slot(Slot),
    /// On the heap, not yet.
    Nowhere(K),
    /// Somewhere that takes bytes: the key, and the value if there is one.
    #[cfg_attr(not(feature = "rocksdb"), expect(dead_code, reason = "only RocksDB takes bytes"))]
    Copied(K, Option<V>),
}

impl<K, V> Place<K, V> {
    /// Whether there is a value.
    #[inline]
    pub fn is_held(&self) -> bool {
        match &self.0 {
            Where::Slot(_) => true,
            Where::Nowhere(_) => false,
            Where::Copied(_, value) => value.is_some(),
        }
    }
}

/// A state of one value per key and namespace.
pub trait Values<K: Key, N: Namespace, V: Data> {
    /// The value.
    ///
    /// # Errors
    /// If the backend cannot be read.
    fn get(&self, key: &K, namespace: &N) -> Result<Option<Cow<'_, V>>>;

    /// Sets the value.
    ///
    /// # Errors
    /// If the backend cannot be written.
    fn put(&mut self, key: &K, namespace: &N, value: V) -> Result<()>;

    /// Removes the value and returns it.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn take(&mut self, key: &K, namespace: &N) -> Result<Option<V>>;

    /// Changes the value in place; `None` if there is none.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn modify<R>(&mut self, key: &K, namespace: &N, change: impl FnOnce(&mut V) -> R) -> Result<Option<R>>;

    /// Changes the value in place, `create`d if there is none.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn modify_or_insert_with<R>(
        &mut self,
        key: &K,
        namespace: &N,
        create: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R>;

    /// Looks where the value is. A borrowed key is copied only if the backend needs one of its own.
    ///
    /// # Errors
    /// If the backend cannot be read.
    fn locate(&self, key: Cow<'_, K>, namespace: &N) -> Result<Place<K, V>>;

    /// Folds an input into the value at a place that was just located, and returns it.
    ///
    /// # Errors
    /// If the backend cannot be written.
    fn fold<I>(
        &mut self,
        place: Place<K, V>,
        namespace: &N,
        input: I,
        fold: &mut impl Fold<I, V>,
    ) -> Result<Folded<'_, K, V>>;

    /// Calls `visit` for each entry, in an order that follows from the sequence of operations.
    ///
    /// # Errors
    /// If the backend cannot be read, and those of `visit`.
    fn for_each(&self, visit: impl FnMut(&K, &N, &V) -> Result<()>) -> Result<()>;

    /// The number of entries. May have to look at all of them.
    ///
    /// # Errors
    /// If the backend cannot be read.
    fn count(&self) -> Result<usize>;

    /// Looks at the next entries, round and round, and drops of them what has expired. A backend that finds expired
    /// values by itself does nothing.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn sweep(&mut self, entries: usize, expiry: Expiry) -> Result<()>
    where
        V: Expiring,
    {
        let _ = (entries, expiry);
        Ok(())
    }
}

/// What a fold has come to.
#[derive(Debug)]
pub struct Folded<'a, K: Clone, V: Clone> {
    /// The key.
    pub key: Cow<'a, K>,
    /// The value after the fold.
    pub value: Cow<'a, V>,
}

/// A state of a list per key and namespace. There is no empty list: it is the absence of one.
pub trait Lists<K: Key, N: Namespace, T: Data> {
    /// The elements, oldest first.
    ///
    /// # Errors
    /// If the backend cannot be read.
    fn get(&self, key: &K, namespace: &N) -> Result<Cow<'_, [T]>>;

    /// Appends elements.
    ///
    /// # Errors
    /// If the backend cannot be written.
    fn append(&mut self, key: &K, namespace: &N, elements: Vec<T>) -> Result<()>;

    /// Appends one element.
    ///
    /// # Errors
    /// If the backend cannot be written.
    fn push(&mut self, key: &K, namespace: &N, element: T) -> Result<()> {
        self.append(key, namespace, vec![element])
    }

    /// Replaces all elements.
    ///
    /// # Errors
    /// If the backend cannot be written.
    fn put(&mut self, key: &K, namespace: &N, elements: Vec<T>) -> Result<()>;

    /// Replaces the element at a position where there is one.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn replace(&mut self, key: &K, namespace: &N, position: usize, element: T) -> Result<()> {
        let mut elements = self.get(key, namespace)?.into_owned();
        elements[position] = element;
        self.put(key, namespace, elements)
    }

    /// Removes the list and returns it.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn take(&mut self, key: &K, namespace: &N) -> Result<Vec<T>>;

    /// Whether there is an element; cheaper than to get them.
    ///
    /// # Errors
    /// If the backend cannot be read.
    fn is_empty(&self, key: &K, namespace: &N) -> Result<bool>;

    /// Calls `visit` for each list, in an order that follows from the sequence of operations.
    ///
    /// # Errors
    /// If the backend cannot be read, and those of `visit`.
    fn for_each(&self, visit: impl FnMut(&K, &N, &[T]) -> Result<()>) -> Result<()>;

    /// Looks at the next entries, round and round, and drops of them what has expired. A backend that finds expired
    /// values by itself does nothing.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn sweep(&mut self, entries: usize, expiry: Expiry) -> Result<()>
    where
        Vec<T>: Expiring,
    {
        let _ = (entries, expiry);
        Ok(())
    }
}

/// A state of a map per key and namespace. There is no empty map: it is the absence of one.
pub trait Maps<K: Key, N: Namespace, UK: Data + Ord, UV: Data> {
    /// The value of a user key.
    ///
    /// # Errors
    /// If the backend cannot be read.
    fn get(&self, key: &K, namespace: &N, user_key: &UK) -> Result<Option<Cow<'_, UV>>>;

    /// Sets the value of a user key.
    ///
    /// # Errors
    /// If the backend cannot be written.
    fn put(&mut self, key: &K, namespace: &N, user_key: UK, value: UV) -> Result<()>;

    /// Removes a user key and returns its value.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn remove(&mut self, key: &K, namespace: &N, user_key: &UK) -> Result<Option<UV>>;

    /// All entries, by user key.
    ///
    /// # Errors
    /// If the backend cannot be read.
    fn entries(&self, key: &K, namespace: &N) -> Result<Vec<(UK, UV)>>;

    /// Calls `visit` for each entry whose user key is in the range, by user key. On the heap nothing is copied.
    ///
    /// # Errors
    /// If the backend cannot be read, and those of `visit`.
    fn visit_range(
        &self,
        key: &K,
        namespace: &N,
        range: RangeInclusive<&UK>,
        mut visit: impl FnMut(&UK, &UV) -> Result<()>,
    ) -> Result<()> {
        // An encoding need not be in the order of what it encodes.
        let entries = self.entries(key, namespace)?;
        let in_range = entries.iter().filter(|(user_key, _)| range.contains(&user_key));
        in_range.into_iter().try_for_each(|(user_key, value)| visit(user_key, value))
    }

    /// Whether there is no entry; cheaper than to get them.
    ///
    /// # Errors
    /// If the backend cannot be read.
    fn is_empty(&self, key: &K, namespace: &N) -> Result<bool>;

    /// Removes the map; true if there was one.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn clear(&mut self, key: &K, namespace: &N) -> Result<bool>;

    /// Calls `visit` for each map, in an order that follows from the sequence of operations.
    ///
    /// # Errors
    /// If the backend cannot be read, and those of `visit`.
    fn for_each(&self, visit: impl FnMut(&K, &N, &BTreeMap<UK, UV>) -> Result<()>) -> Result<()>;

    /// Looks at the next entries, round and round, and drops of them what has expired. A backend that finds expired
    /// values by itself does nothing.
    ///
    /// # Errors
    /// If the backend cannot be read or written.
    fn sweep(&mut self, entries: usize, expiry: Expiry) -> Result<()>
    where
        BTreeMap<UK, UV>: Expiring,
    {
        let _ = (entries, expiry);
        Ok(())
    }
}

/// The table of a state of values, in the backend that the job runs with.
pub enum ValueTable<'a, K: Key, N: Namespace, V: Data> {
    /// On the heap.
    Memory(&'a mut CowTable<K, N, V>),
    /// In RocksDB.
    #[cfg(feature = "rocksdb")]
    RocksDb(&'a mut RocksDbTable<K, N, V>),
}

/// The table of a state of lists.
pub enum ListTable<'a, K: Key, N: Namespace, T: Data> {
    /// On the heap.
    Memory(&'a mut CowTable<K, N, Vec<T>>),
    /// In RocksDB.
    #[cfg(feature = "rocksdb")]
    RocksDb(&'a mut RocksDbTable<K, N, Vec<T>>),
}

/// The table of a state of maps.
pub enum MapTable<'a, K: Key, N: Namespace, UK: Data + Ord, UV: Data> {
    /// On the heap.
    Memory(&'a mut CowTable<K, N, BTreeMap<UK, UV>>),
    /// In RocksDB.
    #[cfg(feature = "rocksdb")]
    RocksDb(&'a mut RocksDbTable<K, N, BTreeMap<UK, UV>>),
}

/// Calls a method of whichever table it is.
macro_rules! on {
    ($table:expr, $inner:ident => $call:expr) => {
        match $table {
            Self::Memory($inner) => $call,
            #[cfg(feature = "rocksdb")]
            Self::RocksDb($inner) => $call,
        }
    };
}

impl<K: Key, N: Namespace, V: Data> Values<K, N, V> for ValueTable<'_, K, N, V> {
    #[inline]
    fn get(&self, key: &K, namespace: &N) -> Result<Option<Cow<'_, V>>> {
        on!(self, table => Values::get(&**table, key, namespace))
    }
    #[inline]
    fn put(&mut self, key: &K, namespace: &N, value: V) -> Result<()> {
        on!(self, table => Values::put(&mut **table, key, namespace, value))
    }
    #[inline]
    fn take(&mut self, key: &K, namespace: &N) -> Result<Option<V>> {
        on!(self, table => Values::take(&mut **table, key, namespace))
    }
    #[inline]
    fn modify<R>(&mut self, key: &K, namespace: &N, change: impl FnOnce(&mut V) -> R) -> Result<Option<R>> {
        on!(self, table => Values::modify(&mut **table, key, namespace, change))
    }
    #[inline]
    fn modify_or_insert_with<R>(
        &mut self,
        key: &K,
        namespace: &N,
        create: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R> {
        on!(self, table => Values::modify_or_insert_with(&mut **table, key, namespace, create, change))
    }
    #[inline]
    fn locate(&self, key: Cow<'_, K>, namespace: &N) -> Result<Place<K, V>> {
        on!(self, table => Values::locate(&**table, key, namespace))
    }
    #[inline]
    fn fold<I>(
        &mut self,
        place: Place<K, V>,
        namespace: &N,
        input: I,
        fold: &mut impl Fold<I, V>,
    ) -> Result<Folded<'_, K, V>> {
        on!(self, table => Values::fold(&mut **table, place, namespace, input, fold))
    }
    fn for_each(&self, visit: impl FnMut(&K, &N, &V) -> Result<()>) -> Result<()> {
        on!(self, table => Values::for_each(&**table, visit))
    }
    fn count(&self) -> Result<usize> {
        on!(self, table => Values::count(&**table))
    }
    fn sweep(&mut self, entries: usize, expiry: Expiry) -> Result<()>
    where
        V: Expiring,
    {
        on!(self, table => Values::sweep(&mut **table, entries, expiry))
    }
}

impl<K: Key, N: Namespace, T: Data> Lists<K, N, T> for ListTable<'_, K, N, T> {
    #[inline]
    fn get(&self, key: &K, namespace: &N) -> Result<Cow<'_, [T]>> {
        on!(self, table => Lists::get(&**table, key, namespace))
    }
    #[inline]
    fn append(&mut self, key: &K, namespace: &N, elements: Vec<T>) -> Result<()> {
        on!(self, table => Lists::append(&mut **table, key, namespace, elements))
    }
    #[inline]
    fn push(&mut self, key: &K, namespace: &N, element: T) -> Result<()> {
        on!(self, table => Lists::push(&mut **table, key, namespace, element))
    }
    fn put(&mut self, key: &K, namespace: &N, elements: Vec<T>) -> Result<()> {
        on!(self, table => Lists::put(&mut **table, key, namespace, elements))
    }
    #[inline]
    fn replace(&mut self, key: &K, namespace: &N, position: usize, element: T) -> Result<()> {
        on!(self, table => Lists::replace(&mut **table, key, namespace, position, element))
    }
    fn take(&mut self, key: &K, namespace: &N) -> Result<Vec<T>> {
        on!(self, table => Lists::take(&mut **table, key, namespace))
    }
    fn is_empty(&self, key: &K, namespace: &N) -> Result<bool> {
        on!(self, table => Lists::is_empty(&**table, key, namespace))
    }
    fn for_each(&self, visit: impl FnMut(&K, &N, &[T]) -> Result<()>) -> Result<()> {
        on!(self, table => Lists::for_each(&**table, visit))
    }
    fn sweep(&mut self, entries: usize, expiry: Expiry) -> Result<()>
    where
        Vec<T>: Expiring,
    {
        on!(self, table => Lists::sweep(&mut **table, entries, expiry))
    }
}

impl<K: Key, N: Namespace, UK: Data + Ord, UV: Data> Maps<K, N, UK, UV> for MapTable<'_, K, N, UK, UV> {
    #[inline]
    fn get(&self, key: &K, namespace: &N, user_key: &UK) -> Result<Option<Cow<'_, UV>>> {
        on!(self, table => Maps::get(&**table, key, namespace, user_key))
    }
    #[inline]
    fn put(&mut self, key: &K, namespace: &N, user_key: UK, value: UV) -> Result<()> {
        on!(self, table => Maps::put(&mut **table, key, namespace, user_key, value))
    }
    fn remove(&mut self, key: &K, namespace: &N, user_key: &UK) -> Result<Option<UV>> {
        on!(self, table => Maps::remove(&mut **table, key, namespace, user_key))
    }
    fn entries(&self, key: &K, namespace: &N) -> Result<Vec<(UK, UV)>> {
        on!(self, table => Maps::entries(&**table, key, namespace))
    }
    fn visit_range(
        &self,
        key: &K,
        namespace: &N,
        range: RangeInclusive<&UK>,
        visit: impl FnMut(&UK, &UV) -> Result<()>,
    ) -> Result<()> {
        on!(self, table => Maps::visit_range(&**table, key, namespace, range, visit))
    }
    fn is_empty(&self, key: &K, namespace: &N) -> Result<bool> {
        on!(self, table => Maps::is_empty(&**table, key, namespace))
    }
    fn clear(&mut self, key: &K, namespace: &N) -> Result<bool> {
        on!(self, table => Maps::clear(&mut **table, key, namespace))
    }
    fn for_each(&self, visit: impl FnMut(&K, &N, &BTreeMap<UK, UV>) -> Result<()>) -> Result<()> {
        on!(self, table => Maps::for_each(&**table, visit))
    }
    fn sweep(&mut self, entries: usize, expiry: Expiry) -> Result<()>
    where
        BTreeMap<UK, UV>: Expiring,
    {
        on!(self, table => Maps::sweep(&mut **table, entries, expiry))
    }
}
