//! Where windows merge: the windows of each key that are in flight, as keyed state.

use super::{Live, WindowError};
use crate::{
    backend::{KeyedStateBackend, ListOf, Lists, StateId},
    error::Result,
    planted,
    state::{Key, StateDescriptor},
    window::{MergingWindowSet, Window},
};

/// Name of the state that holds pairs of window and state window.
pub const MERGING_WINDOW_SET: &str = "merging-window-set";

/// The state of the windows in flight. A key that has none has no entry.
pub(super) struct InFlight<W> {
    id: StateId<(), ListOf<(W, W)>>,
}

/// A window in flight that a record makes grow, and no other one.
pub(super) struct Growing<W> {
    position: usize,
    pub(super) window: W,
    pub(super) grown: W,
    pub(super) state_window: W,
}

impl<W: Window> InFlight<W> {
    pub(super) fn open<K: Key>(backend: &mut KeyedStateBackend<K>) -> Result<Self> {
        Ok(Self { id: backend.register_lists(&StateDescriptor::new(MERGING_WINDOW_SET))? })
    }

    pub(super) fn load<K: Key>(&self, live: &mut Live<K, W>, key: &K) -> Result<MergingWindowSet<W>> {
        Ok(MergingWindowSet::restore(live.backend.lists(self.id).get(key, &())?.into_owned()))
    }

    /// The window of a key that `grown` says what becomes of, if it is one alone.
    #[inline]
    pub(super) fn growing<K: Key>(
        &self,
        live: &mut Live<K, W>,
        key: &K,
        mut grown: impl FnMut(&W) -> Option<W>,
    ) -> Result<Option<Growing<W>>> {
        let windows = live.backend.lists(self.id);
        let pairs = windows.get(key, &())?;
        let mut growing = None;
        for (position, (window, state_window)) in pairs.iter().enumerate() {
            let Some(grown) = grown(window) else { continue };
            if growing.is_some() {
                return Ok(None);
            }
            let (window, state_window) = (window.clone(), state_window.clone());
            growing = Some(Growing { position, window, grown, state_window });
        }
        Ok(growing)
    }

    /// A window of a key has grown.
    #[inline]
    pub(super) fn grow<K: Key>(&self, live: &mut Live<K, W>, key: &K, growing: Growing<W>) -> Result<()> {
        let Growing { position, grown, state_window, .. } = growing;
        let position = if planted!("growing_session_takes_the_place_of_the_first") { 0 } else { position };
        live.backend.lists(self.id).replace(key, &(), position, (grown, state_window))
    }

    pub(super) fn store<K: Key>(&self, live: &mut Live<K, W>, key: &K, set: MergingWindowSet<W>) -> Result<()> {
        live.backend.lists(self.id).put(key, &(), set.into_pairs())
    }
}

/// The state window of a window in flight.
pub(super) fn state_window<'a, W: Window>(set: &'a MergingWindowSet<W>, window: &W) -> Result<&'a W> {
    set.state_window(window).ok_or_else(|| WindowError::NotInFlight { window: window.to_string() }.into())
}
