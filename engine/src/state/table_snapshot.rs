//! The snapshot of one copy-on-write table: slots that nobody writes to any more, encoded when there is time.
//!
//! Guarantee: equal tables give equal bytes, whatever operations made them.

use std::sync::{Arc, Mutex};

use super::{Key, KeyGroupEntries, KeyGroups, KeyedEntry, Namespace, by_key_group, cow_table::Slots};
use crate::codec::{self, Data};

/// The entries of a table at one moment.
#[derive(Debug)]
pub struct TableSnapshot<K, N, V> {
    slots: Arc<Mutex<Slots<K, N, V>>>,
}

impl<K: Key, N: Namespace, V: Data> TableSnapshot<K, N, V> {
    pub(super) fn new(slots: Slots<K, N, V>) -> Self {
        Self::aliased(Arc::new(Mutex::new(slots)))
    }

    /// Slots that the table can still replace: only the planted bug `snapshot_sees_later_mutation` does.
    pub(super) fn aliased(slots: Arc<Mutex<Slots<K, N, V>>>) -> Self {
        Self { slots }
    }

    /// The entries by key group, sorted by the bytes of key and namespace.
    pub fn encode(self, key_groups: KeyGroups) -> KeyGroupEntries {
        by_key_group(key_groups, |add| {
            self.for_each(|key, namespace, value| {
                let entry = KeyedEntry {
                    key: codec::encode(key),
                    namespace: codec::encode(namespace),
                    value: codec::encode(value),
                };
                add(key_groups.of_key(key), entry);
            });
        })
    }

    /// Calls `visit` with each entry.
    fn for_each(self, mut visit: impl FnMut(&K, &N, &V)) {
        let slots = std::mem::take(&mut *self.slots.lock().expect("nothing panics while it holds this lock"));
        slots.iter().flatten().for_each(|entry| visit(&entry.key, &entry.namespace, &entry.value));
    }
}
