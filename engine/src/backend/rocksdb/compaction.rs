//! What has expired goes when RocksDB merges files (Flink `RocksDbTtlCompactFiltersManager`).
//!
//! Guarantee: what goes has expired at a processing time that the backend was told, never later; so in a simulation,
//! where files are merged at snapshots only, what goes follows from the calls alone. A list goes when all of its elements
//! have expired, a map entry by entry.

use std::{
    ffi::CStr,
    sync::{
        Arc, OnceLock,
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

/// The processing time that a backend was told last. Read by the threads that merge files.
#[derive(Debug)]
pub(super) struct KnownTime(AtomicI64);

impl KnownTime {
    pub(super) fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    pub(super) fn tell(&self, now: Timestamp) {
        self.0.fetch_max(now.0, Ordering::Relaxed);
    }

    fn read(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Whether what RocksDB holds under a key has expired.
pub(in crate::backend) type HasExpired = fn(&[u8], Expiry) -> bool;

/// When entries of a state have expired.
pub(super) struct Rule {
    pub(super) config: StateTtlConfig,
    /// After how many entries the time is read again.
    pub(super) query_entries: u64,
    pub(super) has_expired: HasExpired,
}

/// The rule of a state; known once the state is registered, which is after its column family is there.
pub(super) type LateRule = Arc<OnceLock<Rule>>;

/// Lets the compactions of a column family drop what its rule says.
pub(super) fn drop_expired(options: &mut Options, rule: LateRule, time: Arc<KnownTime>) {
    options.set_compaction_filter_factory(Factory { rule, time });
}

struct Factory {
    rule: LateRule,
    time: Arc<KnownTime>,
}

impl CompactionFilterFactory for Factory {
    type Filter = Filter;

    fn create(&mut self, _: CompactionFilterContext) -> Filter {
        Filter { rule: self.rule.clone(), time: self.time.clone(), now: Timestamp::MIN, until_query: 0 }
    }

    fn name(&self) -> &CStr {
        c"time to live"
    }
}

/// Used by the thread of one compaction.
struct Filter {
    rule: LateRule,
    time: Arc<KnownTime>,
    now: Timestamp,
    /// How many more entries are judged by `now`.
    until_query: u64,
}

impl CompactionFilter for Filter {
    fn filter(&mut self, _level: u32, _key: &[u8], value: &[u8]) -> CompactionDecision {
        let Some(rule) = self.rule.get() else { return CompactionDecision::Keep };
        if self.until_query == 0 {
            (self.now, self.until_query) = (self.time.read(), rule.query_entries.max(1));
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
