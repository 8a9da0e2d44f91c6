//! A parked task and the timer that wakes it: at most one pending timer per moment that matters.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use madsim::time::{Sleep, TimeHandle};

/// The waker of one half of a connection, and the timer set for it.
pub(super) struct Alarm {
    waker: Option<Waker>,
    set_for: Option<Instant>,
    sleep: Sleep,
}

impl Alarm {
    pub(super) fn new(time: &TimeHandle) -> Self {
        Self { waker: None, set_for: None, sleep: time.sleep(Duration::ZERO) }
    }

    /// Remembers who waits. A displaced waiter is handed back, to be woken when no lock is held.
    pub(super) fn park(&mut self, waker: &Waker) -> Option<Waker> {
        if self.waker.as_ref().is_some_and(|parked| parked.will_wake(waker)) {
            return None;
        }
        // A timer that was set wakes the displaced waiter, not this one.
        self.set_for = None;
        self.waker.replace(waker.clone())
    }

    /// Wakes the waiter at `moment` by a timer, or hands it back if that has come.
    pub(super) fn ring_at(&mut self, moment: Instant, now: Instant) -> Option<Waker> {
        if moment <= now {
            return self.ring();
        }
        let waker = self.waker.as_ref()?;
        if self.set_for.is_some_and(|set_for| now < set_for && set_for <= moment) {
            return None;
        }
        self.set_for = Some(moment);
        let mut sleep = Pin::new(&mut self.sleep);
        // Creating a sleep would round up to a millisecond; moving its deadline does not.
        sleep.as_mut().reset(moment);
        let _ = sleep.poll(&mut Context::from_waker(waker));
        None
    }

    /// Hands the waiter over, to be woken when no lock is held.
    pub(super) fn ring(&mut self) -> Option<Waker> {
        self.set_for = None;
        self.waker.take()
    }
}

/// Waits until `moment`, which may be less than a millisecond away.
pub(crate) async fn wait_until(time: &TimeHandle, moment: Instant) {
    let mut sleep = time.sleep(Duration::ZERO);
    Pin::new(&mut sleep).reset(moment);
    sleep.await;
}
