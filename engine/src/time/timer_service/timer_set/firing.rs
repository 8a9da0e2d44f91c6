//! The timers of one timestamp while they fire: key group, key, namespace, in this order.

use std::{cmp::Reverse, collections::BTreeSet};

use crate::state::{Key, Namespace};

/// Key group, key, namespace.
type Identity<K, N> = (u16, K, N);

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Firing<K, N> {
    /// What was there when the first one fired, sorted once; the next one is the last.
    sorted: Vec<Found<K, N>>,
    /// Of those, the ones that are left.
    left: usize,
    /// What callbacks have registered since.
    added: BTreeSet<Identity<K, N>>,
}

#[derive(Debug, Clone)]
struct Found<K, N> {
    timer: Identity<K, N>,
    is_deleted: bool,
}

impl<K: Key, N: Namespace> FromIterator<Identity<K, N>> for Firing<K, N> {
    fn from_iter<I: IntoIterator<Item = Identity<K, N>>>(timers: I) -> Self {
        let mut sorted: Vec<_> = timers.into_iter().map(|timer| Found { timer, is_deleted: false }).collect();
        sorted.sort_unstable_by(|one, other| other.timer.cmp(&one.timer));
        Self { left: sorted.len(), sorted, added: BTreeSet::new() }
    }
}

impl<K: Key, N: Namespace> Firing<K, N> {
    pub(super) fn is_empty(&self) -> bool {
        self.left == 0 && self.added.is_empty()
    }

    fn position(&self, key_group: u16, key: &K, namespace: &N) -> Option<usize> {
        let wanted = Reverse((key_group, key, namespace));
        let identity = |found: &Found<K, N>| {
            let (key_group, key, namespace) = &found.timer;
            Reverse((*key_group, key, namespace)).cmp(&wanted)
        };
        self.sorted.binary_search_by(identity).ok()
    }

    /// True if it was not there.
    pub(super) fn insert(&mut self, key_group: u16, key: &K, namespace: &N) -> bool {
        match self.position(key_group, key, namespace) {
            Some(position) => {
                let was_deleted = std::mem::replace(&mut self.sorted[position].is_deleted, false);
                self.left += usize::from(was_deleted);
                was_deleted
            }
            None => self.added.insert((key_group, key.clone(), namespace.clone())),
        }
    }

    /// True if it was there.
    pub(super) fn remove(&mut self, key_group: u16, key: &K, namespace: &N) -> bool {
        match self.position(key_group, key, namespace) {
            Some(position) => {
                let was_there = !std::mem::replace(&mut self.sorted[position].is_deleted, true);
                self.left -= usize::from(was_there);
                was_there
            }
            None => self.added.remove(&(key_group, key.clone(), namespace.clone())),
        }
    }

    /// Removes and returns the first one.
    pub(super) fn pop(&mut self) -> Option<(K, N)> {
        while self.sorted.last().is_some_and(|found| found.is_deleted) {
            self.sorted.pop();
        }
        let comes_first = match (self.sorted.last(), self.added.first()) {
            (Some(found), Some(added)) => found.timer < *added,
            (found, _) => found.is_some(),
        };
        let (_, key, namespace) = if comes_first {
            self.left -= 1;
            self.sorted.pop()?.timer
        } else {
            self.added.pop_first()?
        };
        Some((key, namespace))
    }

    /// Those that are left.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Identity<K, N>> {
        let found = self.sorted.iter().filter(|found| !found.is_deleted).map(|found| &found.timer);
        found.chain(&self.added)
    }
}
