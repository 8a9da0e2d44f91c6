//! The three kinds of state on the heap: each is one copy-on-write table, whose values are values, lists or maps.

use std::{borrow::Cow, collections::BTreeMap, ops::RangeInclusive};

use crate::{
    backend::{Fold, Folded, Lists, Maps, Place, Values, table::Where},
    codec::Data,
    error::Result,
    state::{CowTable, Expiring, Expiry, Key, Namespace},
};

impl<K: Key, N: Namespace, V: Data> Values<K, N, V> for CowTable<K, N, V> {
    #[inline]
    fn get(&self, key: &K, namespace: &N) -> Result<Option<Cow<'_, V>>> {
        Ok(Self::get(self, key, namespace).map(Cow::Borrowed))
    }

    #[inline]
    fn put(&mut self, key: &K, namespace: &N, value: V) -> Result<()> {
        match self.find(key, namespace) {
            Some(slot) => *self.value_mut(slot) = value,
            None => {
                self.insert_new(key.clone(), namespace.clone(), value);
            }
        }
        Ok(())
    }

    #[inline]
    fn take(&mut self, key: &K, namespace: &N) -> Result<Option<V>> {
        Ok(self.remove(key, namespace))
    }

    #[inline]
    fn modify<R>(&mut self, key: &K, namespace: &N, change: impl FnOnce(&mut V) -> R) -> Result<Option<R>> {
        Ok(self.get_mut(key, namespace).map(change))
    }

    #[inline]
    fn modify_or_insert_with<R>(
        &mut self,
        key: &K,
        namespace: &N,
        create: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R> {
        Ok(change(self.entry_or_insert_with(key, namespace, create).0))
    }

    #[inline]
    fn locate(&self, key: Cow<'_, K>, namespace: &N) -> Result<Place<K, V>> {
        Ok(Place(match self.find(&key, namespace) {
            Some(slot) => Where::Slot(slot),
            None => Where::Nowhere(key.into_owned()),
        }))
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
                fold.add(self.value_mut(slot), input);
                slot
            }
            Where::Nowhere(key) => self.insert_new(key, namespace.clone(), fold.first(input)),
            Where::Copied(..) => unreachable!("a place is used with the table that it was located in"),
        };
        Ok(Folded { key: Cow::Borrowed(self.key(slot)), value: Cow::Borrowed(self.value(slot)) })
    }

    fn for_each(&self, mut visit: impl FnMut(&K, &N, &V) -> Result<()>) -> Result<()> {
        self.iter().try_for_each(|(key, namespace, value)| visit(key, namespace, value))
    }

    fn count(&self) -> Result<usize> {
        Ok(self.len())
    }

    fn sweep(&mut self, entries: usize, expiry: Expiry) -> Result<()>
    where
        V: Expiring,
    {
        Self::sweep(self, entries, expiry);
        Ok(())
    }
}

impl<K: Key, N: Namespace, T: Data> Lists<K, N, T> for CowTable<K, N, Vec<T>> {
    #[inline]
    fn get(&self, key: &K, namespace: &N) -> Result<Cow<'_, [T]>> {
        Ok(Cow::Borrowed(Self::get(self, key, namespace).map_or(&[], Vec::as_slice)))
    }

    #[inline]
    fn append(&mut self, key: &K, namespace: &N, mut elements: Vec<T>) -> Result<()> {
        if elements.is_empty() {
            return Ok(());
        }
        match self.find(key, namespace) {
            Some(slot) => self.value_mut(slot).append(&mut elements),
            None => {
                self.insert_new(key.clone(), namespace.clone(), elements);
            }
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, key: &K, namespace: &N, element: T) -> Result<()> {
        match self.find(key, namespace) {
            Some(slot) => self.value_mut(slot).push(element),
            None => {
                self.insert_new(key.clone(), namespace.clone(), vec![element]);
            }
        }
        Ok(())
    }

    fn put(&mut self, key: &K, namespace: &N, elements: Vec<T>) -> Result<()> {
        if elements.is_empty() {
            self.remove(key, namespace);
            return Ok(());
        }
        Values::put(self, key, namespace, elements)
    }

    #[inline]
    fn replace(&mut self, key: &K, namespace: &N, position: usize, element: T) -> Result<()> {
        let slot = self.find(key, namespace).expect("there is an element to be replaced");
        self.value_mut(slot)[position] = element;
        Ok(())
    }

    fn take(&mut self, key: &K, namespace: &N) -> Result<Vec<T>> {
        Ok(self.remove(key, namespace).unwrap_or_default())
    }

    fn is_empty(&self, key: &K, namespace: &N) -> Result<bool> {
        Ok(self.find(key, namespace).is_none())
    }

    fn for_each(&self, mut visit: impl FnMut(&K, &N, &[T]) -> Result<()>) -> Result<()> {
        self.iter().try_for_each(|(key, namespace, elements)| visit(key, namespace, elements))
    }

    fn sweep(&mut self, entries: usize, expiry: Expiry) -> Result<()>
    where
        Vec<T>: Expiring,
    {
        Self::sweep(self, entries, expiry);
        Ok(())
    }
}

impl<K: Key, N: Namespace, UK: Data + Ord, UV: Data> Maps<K, N, UK, UV> for CowTable<K, N, BTreeMap<UK, UV>> {
    #[inline]
    fn get(&self, key: &K, namespace: &N, user_key: &UK) -> Result<Option<Cow<'_, UV>>> {
        Ok(Self::get(self, key, namespace).and_then(|map| map.get(user_key)).map(Cow::Borrowed))
    }

    #[inline]
    fn put(&mut self, key: &K, namespace: &N, user_key: UK, value: UV) -> Result<()> {
        self.entry_or_insert_with(key, namespace, BTreeMap::new).0.insert(user_key, value);
        Ok(())
    }

    fn remove(&mut self, key: &K, namespace: &N, user_key: &UK) -> Result<Option<UV>> {
        let Some(slot) = self.find(key, namespace) else { return Ok(None) };
        // A page that a snapshot shares is not copied for nothing.
        if !self.value(slot).contains_key(user_key) {
            return Ok(None);
        }
        let map = self.value_mut(slot);
        let removed = map.remove(user_key);
        if map.is_empty() {
            Self::remove(self, key, namespace);
        }
        Ok(removed)
    }

    fn entries(&self, key: &K, namespace: &N) -> Result<Vec<(UK, UV)>> {
        let map = Self::get(self, key, namespace);
        Ok(map.into_iter().flatten().map(|(user_key, value)| (user_key.clone(), value.clone())).collect())
    }

    fn visit_range(
        &self,
        key: &K,
        namespace: &N,
        range: RangeInclusive<&UK>,
        mut visit: impl FnMut(&UK, &UV) -> Result<()>,
    ) -> Result<()> {
        // A map's own range would panic at an empty one.
        let Some(map) = Self::get(self, key, namespace).filter(|_| !range.is_empty()) else { return Ok(()) };
        map.range::<UK, _>(range).try_for_each(|(user_key, value)| visit(user_key, value))
    }

    fn is_empty(&self, key: &K, namespace: &N) -> Result<bool> {
        Ok(self.find(key, namespace).is_none())
    }

    fn clear(&mut self, key: &K, namespace: &N) -> Result<bool> {
        Ok(Self::remove(self, key, namespace).is_some())
    }

    fn for_each(&self, mut visit: impl FnMut(&K, &N, &BTreeMap<UK, UV>) -> Result<()>) -> Result<()> {
        self.iter().try_for_each(|(key, namespace, map)| visit(key, namespace, map))
    }

    fn sweep(&mut self, entries: usize, expiry: Expiry) -> Result<()>
    where
        BTreeMap<UK, UV>: Expiring,
    {
        Self::sweep(self, entries, expiry);
        Ok(())
    }
}
