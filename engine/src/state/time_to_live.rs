//! How long values of a keyed state live after they were used last (Flink `StateTtlConfig`, `TtlValue`).
//!
//! Guarantees: a value is expired at `now` if and only if its time of last use plus the time to live is not after
//! `now`, with sums that stop at the end of time; whoever judges is told `now`, nothing here looks at a clock.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{codec::Data, planted, time::Timestamp};

/// What makes a value young again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TtlUpdate {
    /// Nothing: the state has no time to live at all.
    Disabled,
    /// Its creation, and each write.
    #[default]
    OnCreateAndWrite,
    /// Each read too.
    OnReadAndWrite,
}

/// Whether a value that is expired but still there can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TtlVisibility {
    /// Never.
    #[default]
    NeverReturnExpired,
    /// Once: the read that finds it also removes it.
    ReturnExpiredIfNotCleanedUp,
}

/// Which calls look for expired entries that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CleanupRun {
    /// Each access of the state.
    #[default]
    PerAccess,
    /// Each record of the operator as well, whether it uses the state or not.
    PerRecord,
}

/// How values that expire and are never asked for again get removed (Flink `StateTtlConfig.CleanupStrategies`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TtlCleanup {
    /// Leaves expired values out of snapshots; what is in the backend stays.
    pub full_snapshot: bool,
    /// Looks at some entries of a state on the heap now and then, round and round.
    pub incremental: Option<IncrementalCleanup>,
    /// RocksDB drops expired values when it compacts; it asks for the time again after so many entries.
    pub compaction_query_entries: Option<u64>,
}

impl Default for TtlCleanup {
    /// In the background: five entries at each access on the heap, and the time every 1,000 entries in RocksDB.
    fn default() -> Self {
        Self {
            full_snapshot: false,
            incremental: Some(IncrementalCleanup { entries: 5, run: CleanupRun::PerAccess }),
            compaction_query_entries: Some(1_000),
        }
    }
}

/// See [`TtlCleanup::incremental`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncrementalCleanup {
    /// How many entries (key and namespace) are looked at each time.
    pub entries: usize,
    /// When.
    pub run: CleanupRun,
}

/// How long values of a state live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateTtlConfig {
    /// How long, in processing time.
    pub ttl: Duration,
    /// What makes a value young again.
    pub update: TtlUpdate,
    /// Whether expired values can be read.
    pub visibility: TtlVisibility,
    /// How values go that nobody asks for.
    pub cleanup: TtlCleanup,
}

impl StateTtlConfig {
    /// Values live so long after they were written; expired ones are never seen, and removed when they are met and in the
    /// background.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, update: TtlUpdate::default(), visibility: TtlVisibility::default(), cleanup: TtlCleanup::default() }
    }

    /// Sets what makes a value young again.
    #[must_use]
    pub fn with_update(self, update: TtlUpdate) -> Self {
        Self { update, ..self }
    }

    /// Sets whether expired values can be read.
    #[must_use]
    pub fn with_visibility(self, visibility: TtlVisibility) -> Self {
        Self { visibility, ..self }
    }

    /// Leaves expired values where they are until they are met, but for the clean-up that is asked for afterwards.
    #[must_use]
    pub fn without_cleanup_in_background(mut self) -> Self {
        (self.cleanup.incremental, self.cleanup.compaction_query_entries) = (None, None);
        self
    }

    /// Leaves expired values out of snapshots.
    #[must_use]
    pub fn with_cleanup_in_full_snapshot(mut self) -> Self {
        self.cleanup.full_snapshot = true;
        self
    }

    /// Looks at so many entries at each access, or each record.
    #[must_use]
    pub fn with_incremental_cleanup(mut self, entries: usize, run: CleanupRun) -> Self {
        self.cleanup.incremental = Some(IncrementalCleanup { entries, run });
        self
    }

    /// Lets RocksDB drop expired values when it compacts. It asks for the time again after so many entries.
    #[must_use]
    pub fn with_cleanup_in_compaction(mut self, query_entries: u64) -> Self {
        self.cleanup.compaction_query_entries = Some(query_entries);
        self
    }

    /// Who has expired by now.
    #[inline]
    pub(crate) fn at(&self, now: Timestamp) -> Expiry {
        Expiry { ttl: self.ttl, now }
    }

    /// Whether a value that is read is young again.
    #[inline]
    pub(crate) fn renews_on_read(&self) -> bool {
        self.update == TtlUpdate::OnReadAndWrite && !planted!("ttl_not_renewed_by_a_read")
    }

    /// Whether a value that was last used then can be seen.
    #[inline]
    pub(crate) fn shows(&self, last_used: Timestamp, now: Timestamp) -> bool {
        if planted!("expired_value_shown_once") {
            return true;
        }
        self.visibility == TtlVisibility::ReturnExpiredIfNotCleanedUp || !self.at(now).has_passed(last_used)
    }
}

/// Which values have expired at some moment.
#[derive(Debug, Clone, Copy)]
pub struct Expiry {
    ttl: Duration,
    now: Timestamp,
}

impl Expiry {
    /// Whether a value that was last used then has expired.
    #[inline]
    pub fn has_passed(self, last_used: Timestamp) -> bool {
        let expires = last_used.saturating_add(self.ttl);
        if planted!("ttl_ends_a_millisecond_late") { expires < self.now } else { expires <= self.now }
    }
}

/// A value and when it was used last, as a state with a time to live keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtlValue<T> {
    /// When it was used last.
    pub last_used: Timestamp,
    /// The value.
    pub value: T,
}

/// What is kept under one key and namespace of a state with a time to live.
pub trait Expiring: Data {
    /// Whether something of it has expired.
    fn has_expired(&self, expiry: Expiry) -> bool;

    /// Drops what has expired; false if nothing is left.
    fn retain_unexpired(&mut self, expiry: Expiry) -> bool;
}

impl<T: Data> Expiring for TtlValue<T> {
    #[inline]
    fn has_expired(&self, expiry: Expiry) -> bool {
        expiry.has_passed(self.last_used)
    }

    fn retain_unexpired(&mut self, expiry: Expiry) -> bool {
        !self.has_expired(expiry)
    }
}

impl<T: Data> Expiring for Vec<TtlValue<T>> {
    fn has_expired(&self, expiry: Expiry) -> bool {
        self.iter().any(|element| element.has_expired(expiry))
    }

    fn retain_unexpired(&mut self, expiry: Expiry) -> bool {
        self.retain(|element| !element.has_expired(expiry));
        !self.is_empty()
    }
}

impl<UK: Data + Ord, UV: Data> Expiring for BTreeMap<UK, TtlValue<UV>> {
    fn has_expired(&self, expiry: Expiry) -> bool {
        self.values().any(|value| value.has_expired(expiry))
    }

    fn retain_unexpired(&mut self, expiry: Expiry) -> bool {
        self.retain(|_, value| !value.has_expired(expiry));
        !self.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_expires_when_its_time_is_over_and_not_before() {
        let config = StateTtlConfig::new(Duration::from_millis(100));
        assert!(!config.at(Timestamp(149)).has_passed(Timestamp(50)));
        assert!(config.at(Timestamp(150)).has_passed(Timestamp(50)));
    }

    #[test]
    fn the_end_of_time_is_not_wrapped_around() {
        let config = StateTtlConfig::new(Duration::MAX);
        assert!(!config.at(Timestamp(i64::MAX - 1)).has_passed(Timestamp(10)));
        let config = StateTtlConfig::new(Duration::from_millis(100));
        assert!(!config.at(Timestamp(i64::MAX - 1)).has_passed(Timestamp(i64::MAX - 2)));
    }
}
