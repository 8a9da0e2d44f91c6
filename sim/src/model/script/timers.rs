//! Timers: a sorted set, from which the first that is due is taken.
//!
//! Their order is (time, key group, key, what they are about), where Flink leaves open what comes first at one time.

use std::collections::BTreeSet;

use tidegate::pipeline::Row;

use super::keys::KeyGroups;

/// A timer: what for, whose, about what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer<N> {
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    /// The key group of the key.
    pub key_group: u16,
    /// The key.
    pub key: Row,
    /// A window, or nothing.
    pub namespace: N,
}

/// The timers of one clock.
#[derive(Debug, Clone)]
pub(super) struct Timers<N> {
    key_groups: KeyGroups,
    all: BTreeSet<Timer<N>>,
}

impl<N: Ord + Clone> Timers<N> {
    pub(super) fn new(key_groups: KeyGroups) -> Self {
        Self { key_groups, all: BTreeSet::new() }
    }

    fn timer(&self, time_ms: i64, key: &Row, namespace: &N) -> Timer<N> {
        Timer { time_ms, key_group: self.key_groups.of(key), key: key.clone(), namespace: namespace.clone() }
    }

    pub(super) fn register(&mut self, time_ms: i64, key: &Row, namespace: &N) {
        self.all.insert(self.timer(time_ms, key, namespace));
    }

    pub(super) fn delete(&mut self, time_ms: i64, key: &Row, namespace: &N) {
        self.all.remove(&self.timer(time_ms, key, namespace));
    }

    /// Takes the first timer up to this time.
    pub(super) fn take_due(&mut self, up_to_ms: i64) -> Option<Timer<N>> {
        let first = self.all.first().filter(|timer| timer.time_ms <= up_to_ms)?.clone();
        self.all.remove(&first);
        Some(first)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Timer<N>> {
        self.all.iter()
    }
}
