//! Keyed state: keys and their key groups, and the descriptors by which functions name their state.
//!
//! What is here is rules, values, and the table that state and timers on the heap lie in; where state lives is the
//! business of [`crate::backend`].

mod assignment;
mod cow_table;
mod descriptor;
mod evolution;
mod files;
mod function;
mod key;
mod key_group;
mod key_selector;
pub mod redistribution;
mod slab;
mod slot_index;
mod snapshot;
mod table_snapshot;
mod time_to_live;

pub use assignment::{Contradiction, OldSubtasks};
pub use cow_table::{CowTable, Slot};
pub use descriptor::{
    AggregatingStateDescriptor, DescriptorError, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor,
    StateDescriptor, ValueStateDescriptor,
};
pub use files::{DatabaseFiles, LocalDirectory};
pub use function::{AggregateFunction, ReduceFunction};
pub use key::{Key, KeyHasher};
pub use key_group::{InvalidMaxParallelism, KeyGroupRange, KeyGroups, ParallelInstance};
pub use key_selector::{KeyRef, KeySelector};
pub use snapshot::{
    AsyncKeyedSnapshot, AsyncSnapshot, BroadcastEntries, EndOfInput, KeyGroupEntries, KeyedEntry, KeyedSnapshot,
    ListMode, ListSnapshot, OperatorSnapshot, StateKind, StateMeta, StateSnapshot, TimeToLive,
};
pub use table_snapshot::TableSnapshot;
pub use time_to_live::{
    CleanupRun, Expiring, Expiry, IncrementalCleanup, StateTtlConfig, TtlCleanup, TtlUpdate, TtlValue, TtlVisibility,
};

pub(crate) use descriptor::Kept;
pub(crate) use evolution::Rewrite;
pub(crate) use slab::{SharedSlots, Slab};
pub(crate) use slot_index::{SlotHash, SlotIndex, hash_of};
pub(crate) use snapshot::by_key_group;

use std::hash::Hash;

use crate::codec::Data;

/// What divides the state of one key further: nothing (`()`), or a window.
pub trait Namespace: Data + Eq + Hash + Ord {}

impl<N: Data + Eq + Hash + Ord> Namespace for N {}
