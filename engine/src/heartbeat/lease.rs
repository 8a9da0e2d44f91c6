//! The lease of a leader: who watches it takes over when it is not renewed (Flink's `KubernetesLeaderElector`).
//!
//! ```text
//!           the lease changed                 unchanged for its duration, by the watcher's own clock
//!   ┌──────────────────────────┐
//!   └─▶ WATCHING ──────────────┴──────────────────────────────────────────────────────────────▶ take over
//!          ▲ first look: there is a lease       first look: there is none ────────────────────▶ take over
//! ```
//! No two clocks are compared, so skew does no harm. Silence proves nothing: the leader may be alive, and slow. It is the
//! log that keeps it from completing anything after a takeover; the lease only says when to try.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{id::Epoch, time::Timestamp};

/// What a leader writes again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lease {
    /// The epoch of the leader.
    pub epoch: Epoch,
    /// How often it has been renewed.
    pub renewals: u64,
}

/// What to do after a look at the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Somebody leads: look again then.
    StandBy(Timestamp),
    /// Nobody does, as far as can be seen.
    TakeOver,
}

/// Watches a lease that another process renews.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{heartbeat::{Lease, LeaseWatch, Standing}, id::Epoch, time::Timestamp};
///
/// let mut watch = LeaseWatch::new(Duration::from_millis(15), Duration::from_millis(5));
/// let lease = |renewals| Some(Lease { epoch: Epoch(1), renewals });
/// assert_eq!(watch.look(Timestamp(0), lease(7)), Standing::StandBy(Timestamp(5)));
/// assert_eq!(watch.look(Timestamp(5), lease(8)), Standing::StandBy(Timestamp(10)));
/// assert_eq!(watch.look(Timestamp(15), lease(8)), Standing::StandBy(Timestamp(20)));
/// assert_eq!(watch.look(Timestamp(20), lease(8)), Standing::TakeOver);
/// ```
#[derive(Debug)]
pub struct LeaseWatch {
    duration: Duration,
    retry_period: Duration,
    /// What was new when it was seen last, and since when it is there; `None` for a lease that is damaged.
    seen: Option<(Option<Lease>, Timestamp)>,
}

impl LeaseWatch {
    /// A watch that has seen nothing.
    pub fn new(duration: Duration, retry_period: Duration) -> Self {
        Self { duration, retry_period, seen: None }
    }

    /// Takes in what stands in the lease now; `None` if there is none.
    pub fn look(&mut self, now: Timestamp, lease: Option<Lease>) -> Standing {
        match lease {
            Some(lease) => self.unless_expired(now, Some(lease)),
            None => Standing::TakeOver,
        }
    }

    /// Takes in that what stands in the lease is damaged: whoever leads would write another one.
    pub fn damaged(&mut self, now: Timestamp) -> Standing {
        self.unless_expired(now, None)
    }

    fn unless_expired(&mut self, now: Timestamp, there: Option<Lease>) -> Standing {
        match self.seen {
            Some((seen, since)) if seen == there => {
                let expires_at = since.saturating_add(self.duration);
                if expires_at <= now {
                    return Standing::TakeOver;
                }
                Standing::StandBy(now.saturating_add(self.retry_period).min(expires_at))
            }
            Some(_) | None => {
                self.seen = Some((there, now));
                self.later(now)
            }
        }
    }

    /// The lease could not be read: nothing is known.
    pub fn later(&self, now: Timestamp) -> Standing {
        Standing::StandBy(now.saturating_add(self.retry_period.min(self.duration)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(30));

    fn watch() -> LeaseWatch {
        LeaseWatch::new(TERMS.0, TERMS.1)
    }

    fn lease(epoch: u64, renewals: u64) -> Option<Lease> {
        Some(Lease { epoch: Epoch(epoch), renewals })
    }

    #[test]
    fn who_finds_no_lease_leads() {
        assert_eq!(watch().look(Timestamp(0), None), Standing::TakeOver);
    }

    #[test]
    fn a_lease_that_is_renewed_never_expires() {
        let mut watch = watch();
        for round in 0..50 {
            let at = Timestamp(round * 99);
            assert!(matches!(watch.look(at, lease(1, round as u64)), Standing::StandBy(_)), "at {at}");
        }
    }

    #[test]
    fn a_damaged_lease_that_nobody_replaces_expires() {
        let mut watch = watch();
        watch.look(Timestamp(0), lease(1, 5));
        assert_eq!(watch.damaged(Timestamp(50)), Standing::StandBy(Timestamp(80)));
        assert_eq!(watch.look(Timestamp(80), lease(1, 6)), Standing::StandBy(Timestamp(110)), "the leader replaced it");
        assert_eq!(watch.damaged(Timestamp(110)), Standing::StandBy(Timestamp(140)));
        assert_eq!(watch.damaged(Timestamp(209)), Standing::StandBy(Timestamp(210)));
        assert_eq!(watch.damaged(Timestamp(210)), Standing::TakeOver);
    }

    #[test]
    fn a_new_leader_s_lease_counts_anew() {
        let mut watch = watch();
        watch.look(Timestamp(0), lease(1, 5));
        assert_eq!(watch.look(Timestamp(99), lease(2, 0)), Standing::StandBy(Timestamp(129)));
        assert_eq!(watch.look(Timestamp(198), lease(2, 0)), Standing::StandBy(Timestamp(199)));
        assert_eq!(watch.look(Timestamp(199), lease(2, 0)), Standing::TakeOver);
    }
}
