//! The snapshot of one copy-on-write table: pages that nobody writes to any more, encoded when there is time.
//!
//! Guarantee: equal tables give equal bytes, whatever operations made them.

use std::sync::{Arc, Mutex};

use super::cow_table::Pages;
use crate::{
    codec::{self, Data},
    state::{Key, KeyGroupEntries, KeyGroups, KeyedEntry, Namespace},
};

/// The entries of a table at one moment.
#[derive(Debug)]
pub struct TableSnapshot<K, N, V> {
    pages: Arc<Mutex<Pages<K, N, V>>>,
}

impl<K: Key, N: Namespace, V: Data> TableSnapshot<K, N, V> {
    pub(super) fn new(pages: Pages<K, N, V>) -> Self {
        Self::aliased(Arc::new(Mutex::new(pages)))
    }

    /// Pages that the table can still replace: only the planted bug `snapshot_sees_later_mutation` does.
    pub(super) fn aliased(pages: Arc<Mutex<Pages<K, N, V>>>) -> Self {
        Self { pages }
    }

    /// The entries by key group, sorted by the bytes of key and namespace.
    pub fn encode(self, key_groups: KeyGroups) -> KeyGroupEntries {
        let pages = std::mem::take(&mut *self.pages.lock().expect("nothing panics while it holds this lock"));
        let mut groups = KeyGroupEntries::new();
        for entry in pages.iter().flat_map(|slots| slots.iter()).flatten() {
            groups.entry(key_groups.of_key(&entry.key)).or_default().push(KeyedEntry {
                key: codec::encode(&entry.key),
                namespace: codec::encode(&entry.namespace),
                value: codec::encode(&entry.value),
            });
        }
        for entries in groups.values_mut() {
            entries.sort_unstable();
        }
        groups
    }
}
