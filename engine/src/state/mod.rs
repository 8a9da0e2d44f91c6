//! Keyed state: keys and their key groups, and the descriptors by which functions name their state.
//!
//! What is here is rules and values; where state lives is the business of [`crate::backend`].

mod descriptor;
mod key;
mod key_group;
mod key_selector;

pub use descriptor::{DescriptorError, StateDescriptor, ValueStateDescriptor};
pub use key::{Key, KeyHasher};
pub use key_group::{InvalidMaxParallelism, KeyGroupRange, KeyGroups, ParallelInstance};
pub use key_selector::{KeyRef, KeySelector};
