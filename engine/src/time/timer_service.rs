//! The timer service: what a keyed operator wants to be reminded of, in event time and in processing time.
//!
//! Guarantees: a timer is identified by (timestamp, key, namespace), so that registering it twice is once; timers
//! fire in the order (timestamp, key group, key, namespace), each removed before its callback; a timer that a callback
//! registers and that is due fires in the same pass; a snapshot holds the timers at the moment of the call.
//! Flink: `InternalTimerServiceImpl`, where the order of equal timestamps is left open.

mod timer_set;

use self::timer_set::{TimerSet, TimersKept};
use super::Timestamp;
use crate::{
    codec::DecodeError,
    planted,
    state::{Key, KeyGroupEntries, KeyGroups, KeyedSnapshot, Namespace, StateKind, StateMeta, StateSnapshot},
};

/// Which clock a timer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimeDomain {
    /// The watermark.
    EventTime,
    /// The machine's clock.
    ProcessingTime,
}

/// A timer that is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer<K, N> {
    /// What it was registered for.
    pub timestamp: Timestamp,
    /// Whose it is.
    pub key: K,
    /// What it is about: nothing, or a window.
    pub namespace: N,
}

/// Restored timers that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TimerRestoreError {
    /// An entry cannot be read.
    #[error("cannot restore timers `{state}`, key group {key_group}")]
    Decode {
        /// Name of the state that holds the timers.
        state: &'static str,
        /// The key group that holds the entry.
        key_group: u16,
        /// What the decoder said.
        source: DecodeError,
    },
    /// A key lies in a key group where it does not belong.
    #[error("cannot restore timers `{state}`: key group {key_group} holds a key of key group {expected}")]
    WrongKeyGroup {
        /// Name of the state that holds the timers.
        state: &'static str,
        /// The key group that holds the entry.
        key_group: u16,
        /// The key group of its key.
        expected: u16,
    },
}

/// The timers of one keyed operator.
///
/// To fire: [`advance_watermark`](Self::advance_watermark), then [`pop_due_event_time`](Self::pop_due_event_time) until there
/// is none, with the callback in between; likewise for processing time.
#[derive(Debug)]
pub struct TimerService<K, N> {
    watermark: Timestamp,
    event: TimerSet<K, N>,
    processing: TimerSet<K, N>,
}

impl<K: Key, N: Namespace> TimerService<K, N> {
    /// Name under which event-time timers stand in a snapshot.
    pub const EVENT: &'static str = "_timer_event";
    /// Name under which processing-time timers stand in a snapshot.
    pub const PROCESSING: &'static str = "_timer_processing";

    /// A service without timers.
    pub fn new(key_groups: KeyGroups) -> Self {
        Self { watermark: Timestamp::MIN, event: TimerSet::new(key_groups), processing: TimerSet::new(key_groups) }
    }

    /// A service with the timers of a snapshot. What of them lies behind the watermark waits for the next one.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn restore(
        key_groups: KeyGroups,
        watermark: Timestamp,
        event: KeyGroupEntries,
        processing: KeyGroupEntries,
    ) -> Result<Self, TimerRestoreError> {
        Ok(Self {
            watermark,
            event: TimerSet::restore(Self::EVENT, key_groups, event)?,
            processing: TimerSet::restore(Self::PROCESSING, key_groups, processing)?,
        })
    }

    /// The watermark that the operator has come to.
    #[inline]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The watermark advances. Fires nothing by itself. False if it is none behind the one that there is: then nothing
    /// is due that was not due before, and what a late record has registered since waits for the next advance.
    pub fn advance_watermark(&mut self, watermark: Timestamp) -> bool {
        let again = watermark == self.watermark && planted!("restored_watermark_fires_again");
        let advances = watermark > self.watermark || again;
        self.watermark = self.watermark.max(watermark);
        advances
    }

    /// Registers a timer; one that is there already stays as it is. One that is due fires in the next pass.
    pub fn register(&mut self, domain: TimeDomain, timestamp: Timestamp, key: &K, namespace: &N) {
        self.set_mut(domain).insert(timestamp, key, namespace);
    }

    /// Deletes a timer, if it is there.
    pub fn delete(&mut self, domain: TimeDomain, timestamp: Timestamp, key: &K, namespace: &N) {
        self.set_mut(domain).remove(timestamp, key, namespace);
    }

    /// Deletes the timer `from` of a key and registers `to`, as the timer of a session that grows: cheaper than the two.
    pub(crate) fn replace(&mut self, domain: TimeDomain, key: &K, from: (Timestamp, &N), to: (Timestamp, &N)) {
        match domain {
            TimeDomain::EventTime => self.event.replace(key, from, to),
            // When the next one is due must be known exactly.
            TimeDomain::ProcessingTime => {
                self.processing.remove(from.0, key, from.1);
                self.processing.insert(to.0, key, to.1);
            }
        }
    }

    /// Removes and returns the first timer at or before the watermark.
    pub fn pop_due_event_time(&mut self) -> Option<Timer<K, N>> {
        self.event.pop_due(self.watermark)
    }

    /// Removes and returns the first timer at or before `now`.
    pub fn pop_due_processing_time(&mut self, now: Timestamp) -> Option<Timer<K, N>> {
        self.processing.pop_due(now)
    }

    /// When processing time has to be looked at next: the one physical timer that all of them need.
    pub fn processing_time_deadline(&self) -> Option<Timestamp> {
        self.processing.first()
    }

    /// The number of timers.
    pub fn len(&self, domain: TimeDomain) -> usize {
        self.set(domain).len()
    }

    /// Whether there is no timer at all.
    pub fn is_empty(&self) -> bool {
        self.event.len() == 0 && self.processing.len() == 0
    }

    /// All timers of a domain: timestamp, key, namespace; the earliest first.
    pub fn iter(&self, domain: TimeDomain) -> impl Iterator<Item = (Timestamp, &K, &N)> {
        self.set(domain).iter()
    }

    /// The number of timers of a namespace. Looks at all of them.
    pub fn len_of_namespace(&self, domain: TimeDomain, namespace: &N) -> usize {
        self.set(domain).iter().filter(|(_, _, of_timer)| *of_timer == namespace).count()
    }

    /// The timers at this moment. Takes constant time, except between the timers of one moment that are firing.
    pub fn snapshot(&self) -> TimersSnapshot<K, N> {
        if planted!("timers_not_in_snapshot") {
            return TimersSnapshot { kept: None };
        }
        TimersSnapshot { kept: Some((self.event.share(), self.processing.share())) }
    }

    fn set(&self, domain: TimeDomain) -> &TimerSet<K, N> {
        match domain {
            TimeDomain::EventTime => &self.event,
            TimeDomain::ProcessingTime => &self.processing,
        }
    }

    fn set_mut(&mut self, domain: TimeDomain) -> &mut TimerSet<K, N> {
        match domain {
            TimeDomain::EventTime => &mut self.event,
            TimeDomain::ProcessingTime => &mut self.processing,
        }
    }
}

/// The timers at one moment.
#[derive(Debug)]
pub struct TimersSnapshot<K, N> {
    /// In event time and in processing time.
    kept: Option<(TimersKept<K, N>, TimersKept<K, N>)>,
}

impl<K: Key, N: Namespace> TimersSnapshot<K, N> {
    /// Adds the timers to the snapshot of an operator's keyed state: the timestamp is the value of an entry.
    pub fn encode_into(self, snapshot: &mut KeyedSnapshot) {
        let Some((event, processing)) = self.kept else { return };
        for (name, timers) in [(TimerService::<K, N>::EVENT, event), (TimerService::<K, N>::PROCESSING, processing)] {
            let groups = timers.encode();
            if !groups.is_empty() {
                let meta = StateMeta::new(StateKind::Timers);
                snapshot.insert(name.to_owned(), StateSnapshot { meta, groups });
            }
        }
    }
}

#[cfg(test)]
mod tests;
