//! What has expired goes when RocksDB merges files (Flink `RocksDbTtlCompactFiltersManager`).
//!
//! Guarantee: what goes has expired at a processing time that the backend was told, never later; so in a simulation,
//! where files are merged at snapshots only, what goes follows from the calls alone. A list goes when all of its elements
//! have expired, a map entry by entry.

use std::{
    collections::BTreeMap,
    ffi::CStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use rocksdb::{
    CompactionDecision, Options,
    compaction_filter::CompactionFilter,
    compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory},
};

use super::layout;
use crate::{
    codec::{self, Data},
    state::{Expiring, Expiry, StateTtlConfig, TtlValue},
    time::Timestamp,
};

/// Whether what RocksDB holds under a key has expired.
pub(in crate::backend) type HasExpired = fn(&[u8], Expiry) -> bool;

/// When entries of a state have expired.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    pub(super) config: StateTtlConfig,
    /// After how many entries the time is read again.
    pub(super) query_entries: u64,
    pub(super) has_expired: HasExpired,
}

/// What the threads that merge files must know of a backend.
pub(super) struct Expirations {
    /// The processing time that the backend was told last.
    now: AtomicI64,
    /// By state. A state that is restored with its files has none until it is asked for, and all of it stays.
    rules: Mutex<BTreeMap<String, Rule>>,
}

impl Expirations {
    pub(super) fn new() -> Self {
        Self { now: AtomicI64::new(Timestamp::MIN.0), rules: Mutex::default() }
    }

    pub(super) fn tell_time(&self, now: Timestamp) {
        self.now.fetch_max(now.0, Ordering::Relaxed);
    }

    pub(super) fn add_rule(&self, state: &str, rule: Rule) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).insert(state.to_owned(), rule);
    }

    fn rule(&self, state: &str) -> Option<Rule> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).get(state).copied()
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }
}

/// Lets the compactions of a state drop what its rule says.
pub(super) fn drop_expired(options: &mut Options, state: &str, expirations: Arc<Expirations>) {
    options.set_compaction_filter_factory(Factory { state: state.to_owned(), expirations });
}

struct Factory {
    state: String,
    expirations: Arc<Expirations>,
}

impl CompactionFilterFactory for Factory {
    type Filter = Filter;

    fn create(&mut self, _: CompactionFilterContext) -> Filter {
        let rule = self.expirations.rule(&self.state);
        Filter { rule, expirations: self.expirations.clone(), now: Timestamp::MIN, until_query: 0 }
    }

    fn name(&self) -> &CStr {
        c"time to live"
    }
}

/// Used by the thread of one compaction.
struct Filter {
    rule: Option<Rule>,
    expirations: Arc<Expirations>,
    now: Timestamp,
    /// How many more entries are judged by `now`.
    until_query: u64,
}

impl CompactionFilter for Filter {
    fn filter(&mut self, _level: u32, _key: &[u8], value: &[u8]) -> CompactionDecision {
        let Some(rule) = &self.rule else { return CompactionDecision::Keep };
        if self.until_query == 0 {
            (self.now, self.until_query) = (self.expirations.now(), rule.query_entries.max(1));
        }
        self.until_query -= 1;
        match (rule.has_expired)(value, rule.config.at(self.now)) {
            true => CompactionDecision::Remove,
            false => CompactionDecision::Keep,
        }
    }

    fn name(&self) -> &CStr {
        c"time to live"
    }
}

/// Whether the bytes are a value, or an entry of a map, that has expired. What cannot be read stays, for its reader to say so.
pub(in crate::backend) fn value_has_expired(bytes: &[u8], expiry: Expiry) -> bool {
    codec::decode_prefix(bytes).is_ok_and(|(last_used, _)| expiry.has_passed(last_used))
}

/// Whether the bytes are the chunks of a list of which every element has expired.
pub(in crate::backend) fn list_has_expired<T: Data>(bytes: &[u8], expiry: Expiry) -> bool {
    let list = layout::joined(bytes).and_then(|list| codec::decode::<Vec<TtlValue<T>>>(&list).ok());
    list.is_some_and(|list| list.iter().all(|element| element.has_expired(expiry)))
}
