//! The failure detector: who has been silent for too long.
//!
//! It asks each watched peer for a sign of life every interval, and declares one dead, once, when nothing was heard of
//! it for the timeout. Any message counts as a sign of life. A dead peer is forgotten; whoever it is has to be watched
//! again to count. Silence proves nothing about the peer: it may be alive and cut off, which is why what it still
//! sends is fenced by epoch and attempt. Flink `HeartbeatManagerSenderImpl`, `HeartbeatMonitorImpl`.
//!
//! ```text
//!             watch                 timeout without a sign of life
//!   UNKNOWN ─────────▶ WATCHED ────────────────────────────────────▶ dead, UNKNOWN
//!                      │    ▲
//!                      └────┘ sign of life: the timeout starts over
//! ```
//!
//! ```
//! use std::time::Duration;
//! use tidegate::{heartbeat::{FailureDetector, HeartbeatAction}, time::Timestamp};
//!
//! let mut detector = FailureDetector::new(Duration::from_millis(10), Duration::from_millis(25));
//! detector.watch("taskmanager-1", Timestamp(0));
//! let mut actions = Vec::new();
//! while let Some(deadline) = detector.deadline() {
//!     detector.tick(deadline, &mut actions);
//! }
//! assert_eq!(actions, [
//!     HeartbeatAction::SendPing("taskmanager-1"), // at 0
//!     HeartbeatAction::SendPing("taskmanager-1"), // at 10
//!     HeartbeatAction::SendPing("taskmanager-1"), // at 20
//!     HeartbeatAction::Dead("taskmanager-1"),     // at 25
//! ]);
//! ```

mod lease;

use std::{collections::BTreeMap, time::Duration};

pub use self::lease::{Lease, LeaseWatch, Standing};
use crate::time::Timestamp;

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeartbeatAction<P> {
    /// Ask the peer for a sign of life.
    SendPing(P),
    /// The peer counts as dead.
    Dead(P),
}

/// Watches peers, in the order of their names. See the module's documentation.
#[derive(Debug)]
pub struct FailureDetector<P> {
    interval: Duration,
    timeout: Duration,
    peers: BTreeMap<P, Watch>,
}

#[derive(Debug)]
struct Watch {
    ping_at: Timestamp,
    dead_at: Timestamp,
}

impl<P: Ord + Clone> FailureDetector<P> {
    /// A detector that watches nobody.
    ///
    /// # Panics
    /// If the timeout is not longer than the interval: then every peer would be declared dead.
    pub fn new(interval: Duration, timeout: Duration) -> Self {
        assert!(!interval.is_zero() && timeout > interval, "a heartbeat timeout is longer than its interval");
        Self { interval, timeout, peers: BTreeMap::new() }
    }

    /// Watches a peer from now on; the first ping is due at once. Watching one anew is a sign of life of it.
    pub fn watch(&mut self, peer: P, now: Timestamp) {
        let dead_at = now.saturating_add(self.timeout);
        self.peers.entry(peer).and_modify(|watch| watch.dead_at = dead_at).or_insert(Watch { ping_at: now, dead_at });
    }

    /// Something was heard of a peer. Of no interest if it is not watched.
    pub fn sign_of_life(&mut self, peer: &P, now: Timestamp) {
        if let Some(watch) = self.peers.get_mut(peer) {
            watch.dead_at = now.saturating_add(self.timeout);
        }
    }

    /// Watches a peer no longer.
    pub fn forget(&mut self, peer: &P) {
        self.peers.remove(peer);
    }

    /// When the next [`tick`](Self::tick) is wanted.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.peers.values().map(|watch| watch.ping_at.min(watch.dead_at)).min()
    }

    /// Time has passed: appends who is dead and who is to be asked.
    pub fn tick(&mut self, now: Timestamp, actions: &mut Vec<HeartbeatAction<P>>) {
        let interval = self.interval;
        self.peers.retain(|peer, watch| {
            if watch.dead_at <= now {
                actions.push(HeartbeatAction::Dead(peer.clone()));
                return false;
            }
            if watch.ping_at <= now {
                actions.push(HeartbeatAction::SendPing(peer.clone()));
                watch.ping_at = now.saturating_add(interval);
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn detector() -> FailureDetector<&'static str> {
        FailureDetector::new(Duration::from_millis(10), Duration::from_millis(50))
    }

    #[test]
    fn a_peer_that_answers_every_ping_lives_for_ever() {
        let mut detector = detector();
        detector.watch("a", Timestamp(0));
        for _ in 0..100 {
            let now = detector.deadline().unwrap();
            let mut actions = Vec::new();
            detector.tick(now, &mut actions);
            assert_eq!(actions, [HeartbeatAction::SendPing("a")]);
            detector.sign_of_life(&"a", now);
        }
    }

    #[test]
    fn a_dead_peer_is_reported_once_and_can_come_back() {
        let mut detector = detector();
        detector.watch("a", Timestamp(0));
        let mut actions = Vec::new();
        detector.tick(Timestamp(50), &mut actions);
        detector.tick(Timestamp(500), &mut actions);
        detector.sign_of_life(&"a", Timestamp(501));
        assert_eq!((actions, detector.deadline()), (vec![HeartbeatAction::Dead("a")], None));
        detector.watch("a", Timestamp(502));
        assert_eq!(detector.deadline(), Some(Timestamp(502)));
    }

    #[test]
    fn a_forgotten_peer_is_never_declared_dead() {
        let mut detector = detector();
        detector.watch("a", Timestamp(0));
        detector.forget(&"a");
        let mut actions = Vec::new();
        detector.tick(Timestamp(1000), &mut actions);
        assert_eq!(actions, []);
    }

    proptest! {
        #[test]
        fn a_peer_dies_exactly_at_the_end_of_the_first_silence_of_a_timeout(gaps in prop::collection::vec(1i64..70, 1..20)) {
            let mut detector = detector();
            detector.watch("a", Timestamp(0));
            let mut signs = vec![0];
            for gap in gaps {
                signs.push(signs.last().unwrap() + gap);
            }
            let expected = signs.windows(2).find(|pair| pair[1] - pair[0] > 50).unwrap_or(&signs[signs.len() - 1..])[0] + 50;

            let mut died = None;
            for now in 0..=signs.last().unwrap() + 50 {
                if signs.contains(&now) {
                    detector.sign_of_life(&"a", Timestamp(now));
                }
                let mut actions = Vec::new();
                detector.tick(Timestamp(now), &mut actions);
                if actions.contains(&HeartbeatAction::Dead("a")) {
                    prop_assert_eq!(died.replace(now), None);
                }
            }
            prop_assert_eq!(died, Some(expected));
        }
    }
}
