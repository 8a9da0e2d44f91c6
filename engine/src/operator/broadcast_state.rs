//! Broadcast state: maps that every subtask of an operator holds alike, because each gets the same broadcast records.
//!
//! Guarantees: only the side that gets broadcast records can write (others cannot name the method); a snapshot holds the
//! state at the moment of the call, sorted by encoded key; every subtask is restored, not only the first.
//! Flink: `BroadcastState`, `ReadOnlyBroadcastState`, `HeapBroadcastState`.

use std::{any::Any, collections::BTreeMap, marker::PhantomData, sync::Arc};

use super::{OperatorContext, OperatorSnapshot};
use crate::{
    codec::{self, Data},
    error::{Error, ErrorKind, Result},
    planted,
    state::BroadcastEntries,
};

/// A map that is the same in all subtasks: the handle of a state.
pub struct BroadcastState<K, V> {
    index: usize,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for BroadcastState<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for BroadcastState<K, V> {}

impl<K, V> std::fmt::Debug for BroadcastState<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BroadcastState({})", self.index)
    }
}

/// Whatever broadcast state can be read through: the contexts of a function.
pub trait ReadBroadcastState {
    /// The broadcast states of the operator.
    fn broadcast_states(&self) -> &BroadcastStates;
}

/// Whatever broadcast state can be written through: the context of a broadcast value.
pub trait WriteBroadcastState: ReadBroadcastState {
    /// The broadcast states of the operator.
    fn broadcast_states_mut(&mut self) -> &mut BroadcastStates;
}

impl<K: Data + Ord, V: Data> BroadcastState<K, V> {
    /// The value of a key.
    pub fn get<'a>(&self, context: &'a impl ReadBroadcastState, key: &K) -> Option<&'a V> {
        context.broadcast_states().map(*self).get(key)
    }

    /// All entries by key.
    pub fn entries<'a, C: ReadBroadcastState>(
        &self,
        context: &'a C,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V, C> {
        context.broadcast_states().map(*self).iter()
    }

    /// Sets the value of a key, which must follow from broadcast records alone.
    pub fn put(&self, context: &mut impl WriteBroadcastState, key: K, value: V) {
        context.broadcast_states_mut().map_mut(*self).insert(key, value);
    }

    /// Removes a key.
    pub fn remove(&self, context: &mut impl WriteBroadcastState, key: &K) {
        context.broadcast_states_mut().map_mut(*self).remove(key);
    }

    /// Removes all keys.
    pub fn clear(&self, context: &mut impl WriteBroadcastState) {
        context.broadcast_states_mut().map_mut(*self).clear();
    }
}

/// A map whose types are erased. A snapshot shares it; the first write after that copies it.
trait ErasedMap: Send {
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn snapshot(&self) -> Box<dyn FnOnce() -> BroadcastEntries + Send>;
}

struct Shared<K, V>(Arc<BTreeMap<K, V>>);

impl<K: Data + Ord, V: Data> ErasedMap for Shared<K, V> {
    fn as_any(&self) -> &dyn Any {
        &self.0
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        &mut self.0
    }
    fn snapshot(&self) -> Box<dyn FnOnce() -> BroadcastEntries + Send> {
        let map = self.0.clone();
        Box::new(move || {
            let mut entries: BroadcastEntries =
                map.iter().map(|(key, value)| (codec::encode(key), codec::encode(value))).collect();
            entries.sort_unstable();
            entries
        })
    }
}

/// The broadcast states of one operator of one subtask.
pub struct BroadcastStates {
    states: Vec<(String, Box<dyn ErasedMap>)>,
    restored: BTreeMap<String, BroadcastEntries>,
}

const OF_THIS_OPERATOR: &str = "a handle is used with the operator that gave it";

impl BroadcastStates {
    /// The states of an operator, with what its restored snapshot holds. Each subtask has its own copy there.
    pub fn open(context: &OperatorContext, restored: Option<&OperatorSnapshot>) -> Self {
        let lost = planted!("broadcast_state_restored_in_first_subtask_only") && context.subtask_index > 0;
        let restored = restored.filter(|_| !lost).map(|snapshot| snapshot.broadcast.clone());
        Self { states: Vec::new(), restored: restored.unwrap_or_default() }
    }

    /// A state, with what was restored under its name.
    ///
    /// # Errors
    /// If the name is taken, or what was restored cannot be read.
    pub fn register<K: Data + Ord, V: Data>(&mut self, name: &str) -> Result<BroadcastState<K, V>> {
        if self.states.iter().any(|(taken, _)| taken == name) {
            return Err(Error::new(ErrorKind::Configuration, format!("broadcast state `{name}` is registered twice"))
                .with_hint("give each state of an operator a name of its own"));
        }
        let entries = self.restored.remove(name).unwrap_or_default().into_iter();
        let decoded = entries.map(|(key, value)| Ok((codec::decode(&key)?, codec::decode(&value)?)));
        let map: BTreeMap<K, V> = decoded.collect::<Result<_, codec::DecodeError>>().map_err(|error| {
            Error::new(ErrorKind::CorruptState, format!("cannot restore broadcast state `{name}`")).with_source(error)
        })?;
        self.states.push((name.to_owned(), Box::new(Shared(Arc::new(map)))));
        Ok(BroadcastState { index: self.states.len() - 1, types: PhantomData })
    }

    fn map<K: Data + Ord, V: Data>(&self, state: BroadcastState<K, V>) -> &BTreeMap<K, V> {
        self.states[state.index].1.as_any().downcast_ref::<Arc<BTreeMap<K, V>>>().expect(OF_THIS_OPERATOR)
    }

    fn map_mut<K: Data + Ord, V: Data>(&mut self, state: BroadcastState<K, V>) -> &mut BTreeMap<K, V> {
        let map = self.states[state.index].1.as_any_mut().downcast_mut::<Arc<BTreeMap<K, V>>>();
        Arc::make_mut(map.expect(OF_THIS_OPERATOR))
    }

    /// The states at this moment, to be encoded when there is time. What was restored and not asked for stays.
    pub fn snapshot(&self) -> impl FnOnce() -> BTreeMap<String, BroadcastEntries> + Send + use<> {
        let states: Vec<_> = self.states.iter().map(|(name, map)| (name.clone(), map.snapshot())).collect();
        let mut all = self.restored.clone();
        move || {
            all.extend(
                states.into_iter().map(|(name, encode)| (name, encode())).filter(|(_, entries)| !entries.is_empty()),
            );
            all
        }
    }
}

impl ReadBroadcastState for BroadcastStates {
    fn broadcast_states(&self) -> &BroadcastStates {
        self
    }
}

impl WriteBroadcastState for BroadcastStates {
    fn broadcast_states_mut(&mut self) -> &mut BroadcastStates {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{operator::test_harness::context, state::ParallelInstance};

    fn open(index: u32, restored: Option<&OperatorSnapshot>) -> BroadcastStates {
        BroadcastStates::open(&context(ParallelInstance { index, parallelism: 2 }), restored)
    }

    fn snapshot(states: &BroadcastStates) -> OperatorSnapshot {
        OperatorSnapshot { broadcast: states.snapshot()(), ..OperatorSnapshot::default() }
    }

    #[test]
    fn a_snapshot_holds_the_moment_sorted_by_encoded_key() {
        let mut states = open(0, None);
        let rules = states.register::<u16, String>("rules").unwrap();
        for key in [300, 2, 127, 128] {
            rules.put(&mut states, key, format!("rule {key}"));
        }
        let cut = states.snapshot();
        rules.remove(&mut states, &2);
        let entries = cut().remove("rules").unwrap();
        let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
        // Numbers have a variable length: the bytes sort otherwise than the numbers.
        let sorted = [2_u16, 127, 128, 300].map(|key| codec::encode(&key));
        let mut expected = sorted.to_vec();
        expected.sort();
        assert_eq!(keys, expected);
        assert_eq!(rules.entries(&states).count(), 3);
    }

    #[test]
    fn every_subtask_is_restored_and_what_nobody_asks_for_stays() {
        let mut states = open(0, None);
        let rules = states.register::<u8, u8>("rules").unwrap();
        let other = states.register::<u8, u8>("other").unwrap();
        rules.put(&mut states, 1, 10);
        other.put(&mut states, 2, 20);
        let kept = snapshot(&states);
        for index in 0..2 {
            let mut restored = open(index, Some(&kept));
            let rules = restored.register::<u8, u8>("rules").unwrap();
            assert_eq!(rules.get(&restored, &1), Some(&10));
            assert_eq!(snapshot(&restored), kept, "the other state was not asked for");
        }
    }

    #[test]
    fn a_name_is_registered_once_and_must_be_readable() {
        let mut states = open(0, None);
        let rules = states.register::<u8, String>("rules").unwrap();
        assert!(states.register::<u8, u8>("rules").is_err());
        rules.put(&mut states, 1, "one".to_owned());
        let kept = snapshot(&states);
        let error = open(0, Some(&kept)).register::<u8, (u64, u64)>("rules").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CorruptState);
    }

    #[cfg(feature = "sim")]
    #[test]
    fn the_planted_bug_restores_the_first_subtask_only() {
        let mut states = open(0, None);
        let rules = states.register::<u8, u8>("rules").unwrap();
        rules.put(&mut states, 1, 10);
        let kept = snapshot(&states);
        crate::planted::activate(Some("broadcast_state_restored_in_first_subtask_only"));
        let found = [0, 1].map(|index| {
            let mut restored = open(index, Some(&kept));
            let rules = restored.register::<u8, u8>("rules").unwrap();
            rules.get(&restored, &1).copied()
        });
        crate::planted::activate(None);
        assert_eq!(found, [Some(10), None]);
    }
}
