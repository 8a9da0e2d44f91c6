//! Where windows merge: the windows of each key that are in flight, as keyed state.

use super::{Live, WindowError};
use crate::{
    backend::{KeyedStateBackend, ListOf, Lists, StateId},
    error::Result,
    state::{Key, StateDescriptor},
    window::{MergingWindowSet, Window},
};

/// Name of the state that holds pairs of window and state window.
pub const MERGING_WINDOW_SET: &str = "merging-window-set";

/// The state of the windows in flight. A key that has none has no entry.
pub(super) struct InFlight<W> {
    id: StateId<(), ListOf<(W, W)>>,
}

impl<W: Window> InFlight<W> {
    pub(super) fn open<K: Key>(backend: &mut KeyedStateBackend<K>) -> Result<Self> {
        Ok(Self { id: backend.register_lists(&StateDescriptor::new(MERGING_WINDOW_SET))? })
    }

    pub(super) fn load<K: Key>(&self, live: &mut Live<K, W>, key: &K) -> Result<MergingWindowSet<W>> {
        Ok(MergingWindowSet::restore(live.backend.lists(self.id).get(key, &())?.into_owned()))
    }

    /// The only window of a key that is in flight, and its state window.
    #[inline]
    pub(super) fn only<K: Key>(&self, live: &mut Live<K, W>, key: &K) -> Result<Option<(W, W)>> {
        match &*live.backend.lists(self.id).get(key, &())? {
            [only] => Ok(Some(only.clone())),
            _ => Ok(None),
        }
    }

    /// The only window of a key has become another one.
    #[inline]
    pub(super) fn replace_only<K: Key>(&self, live: &mut Live<K, W>, key: &K, pair: (W, W)) -> Result<()> {
        live.backend.lists(self.id).replace(key, &(), 0, pair)
    }

    pub(super) fn store<K: Key>(&self, live: &mut Live<K, W>, key: &K, set: MergingWindowSet<W>) -> Result<()> {
        live.backend.lists(self.id).put(key, &(), set.into_pairs())
    }
}

/// The state window of a window in flight.
pub(super) fn state_window<'a, W: Window>(set: &'a MergingWindowSet<W>, window: &W) -> Result<&'a W> {
    set.state_window(window).ok_or_else(|| WindowError::NotInFlight { window: window.to_string() }.into())
}
