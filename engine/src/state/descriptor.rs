//! Descriptors: the name, version and type by which a function asks for its state.
//!
//! The name of a state is what it is found by in a checkpoint; version and type are what its bytes are read as. A
//! descriptor of a newer version says how to make its values of those that an older one kept
//! (`migrate_from`), and may say how long values live (`with_time_to_live`).

use std::{fmt, marker::PhantomData};

use super::{AggregateFunction, ReduceFunction, StateTtlConfig, TimeToLive, TtlUpdate, evolution::Migrations};
use crate::codec::Data;

/// A descriptor that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// There is no name.
    #[error("a state must have a name")]
    EmptyName,
    /// The name is one of the engine's own.
    #[error("state name `{name}` is reserved: names must not start with `_`")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// Values would expire at once.
    #[error("the time to live of state `{name}` is less than a millisecond")]
    NoTimeToLive {
        /// The name of the state.
        name: String,
    },
}

/// What every kind of state has: a name, unique in its operator, and the version of its encoding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateDescriptor {
    /// The name.
    pub name: String,
    /// The version of the value's type; raise it when the type's encoding changes.
    pub version: u32,
}

impl StateDescriptor {
    /// A state of version 0.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), version: 0 }
    }

    /// Refuses names that the engine keeps for itself.
    pub(crate) fn check(&self) -> Result<(), DescriptorError> {
        if self.name.is_empty() {
            return Err(DescriptorError::EmptyName);
        }
        if self.name.starts_with('_') {
            return Err(DescriptorError::ReservedName { name: self.name.clone() });
        }
        Ok(())
    }
}

/// What the typed descriptors have in common: values of `T` that live and change.
#[derive(Debug, Clone)]
pub(crate) struct Kept<T> {
    pub(crate) time_to_live: Option<StateTtlConfig>,
    pub(crate) migrations: Migrations<T>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { time_to_live: None, migrations: Migrations::default() }
    }
}

impl<T> Kept<T> {
    /// How long values live, unless for ever.
    pub(crate) fn ttl(&self) -> Option<&StateTtlConfig> {
        self.time_to_live.as_ref().filter(|config| config.update != TtlUpdate::Disabled)
    }

    pub(crate) fn mode(&self) -> TimeToLive {
        if self.ttl().is_some() { TimeToLive::Enabled } else { TimeToLive::Disabled }
    }

    /// Refuses a time to live that nothing survives.
    pub(crate) fn check(&self, state: &StateDescriptor) -> Result<(), DescriptorError> {
        match self.ttl() {
            Some(config) if config.ttl.as_millis() == 0 => {
                Err(DescriptorError::NoTimeToLive { name: state.name.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// What can be said of a state of any kind.
macro_rules! say_of_any_kind {
    ($value:ty) => {
        /// Sets the version of the value's type.
        #[must_use]
        pub fn with_version(mut self, version: u32) -> Self {
            self.state.version = version;
            self
        }

        /// Says how a value that `version` kept becomes one of this version. One call per older version; for a
        /// list it is about the elements, for a map about the values, for an aggregating state about the accumulator.
        #[must_use]
        pub fn migrate_from<Old: Data>(
            mut self,
            version: u32,
            migrate: impl Fn(Old) -> $value + Send + Sync + 'static,
        ) -> Self {
            self.kept.migrations.add(version, migrate);
            self
        }

        /// Sets how long a value lives: each list element and each map value for itself.
        #[must_use]
        pub fn with_time_to_live(mut self, config: StateTtlConfig) -> Self {
            self.kept.time_to_live = Some(config);
            self
        }
    };
}

/// Asks for one value per key (Flink `ValueStateDescriptor`).
#[derive(Debug, Clone)]
pub struct ValueStateDescriptor<T> {
    /// Name and version.
    pub state: StateDescriptor,
    /// What a key reads that has no value.
    pub default: Option<T>,
    pub(crate) kept: Kept<T>,
}

impl<T: Data> ValueStateDescriptor<T> {
    /// A state with this name and no default.
    pub fn new(name: impl Into<String>) -> Self {
        Self { state: StateDescriptor::new(name), default: None, kept: Kept::default() }
    }

    /// Sets what a key reads that has no value.
    #[must_use]
    pub fn with_default(mut self, default: T) -> Self {
        self.default = Some(default);
        self
    }

    say_of_any_kind!(T);
}

/// Asks for a list per key (Flink `ListStateDescriptor`).
#[derive(Debug, Clone)]
pub struct ListStateDescriptor<T> {
    /// Name and version.
    pub state: StateDescriptor,
    pub(crate) kept: Kept<T>,
}

impl<T: Data> ListStateDescriptor<T> {
    /// A state with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { state: StateDescriptor::new(name), kept: Kept::default() }
    }

    say_of_any_kind!(T);
}

/// Asks for a map per key (Flink `MapStateDescriptor`). A user key that may have no value takes an `Option`.
#[derive(Debug, Clone)]
pub struct MapStateDescriptor<UK, UV> {
    /// Name and version.
    pub state: StateDescriptor,
    pub(crate) kept: Kept<UV>,
    user_key: PhantomData<fn() -> UK>,
}

impl<UK: Data + Ord, UV: Data> MapStateDescriptor<UK, UV> {
    /// A state with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { state: StateDescriptor::new(name), kept: Kept::default(), user_key: PhantomData }
    }

    say_of_any_kind!(UV);
}

/// Asks for one value per key that further values are reduced into (Flink `ReducingStateDescriptor`).
#[derive(Clone)]
pub struct ReducingStateDescriptor<T, F> {
    /// Name and version.
    pub state: StateDescriptor,
    pub(crate) function: F,
    pub(crate) kept: Kept<T>,
}

impl<T: Data, F: ReduceFunction<T>> ReducingStateDescriptor<T, F> {
    /// A state with this name, reduced by `function`.
    pub fn new(name: impl Into<String>, function: F) -> Self {
        Self { state: StateDescriptor::new(name), function, kept: Kept::default() }
    }

    say_of_any_kind!(T);
}

impl<T, F> fmt::Debug for ReducingStateDescriptor<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReducingStateDescriptor").field("state", &self.state).finish_non_exhaustive()
    }
}

/// Asks for an accumulator per key that values are added to (Flink `AggregatingStateDescriptor`).
pub struct AggregatingStateDescriptor<In, A: AggregateFunction<In>> {
    /// Name and version.
    pub state: StateDescriptor,
    pub(crate) function: A,
    pub(crate) kept: Kept<A::Accumulator>,
}

impl<In, A: AggregateFunction<In>> AggregatingStateDescriptor<In, A> {
    /// A state with this name, aggregated by `function`.
    pub fn new(name: impl Into<String>, function: A) -> Self {
        Self { state: StateDescriptor::new(name), function, kept: Kept::default() }
    }

    say_of_any_kind!(A::Accumulator);
}

impl<In, A: AggregateFunction<In> + Clone> Clone for AggregatingStateDescriptor<In, A> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), function: self.function.clone(), kept: self.kept.clone() }
    }
}

impl<In, A: AggregateFunction<In>> fmt::Debug for AggregatingStateDescriptor<In, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatingStateDescriptor").field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_refused() {
        assert_eq!(StateDescriptor::new("").check(), Err(DescriptorError::EmptyName));
        let reserved = DescriptorError::ReservedName { name: "_timer_event".to_owned() };
        assert_eq!(StateDescriptor::new("_timer_event").check(), Err(reserved));
        assert_eq!(StateDescriptor::new("sum").check(), Ok(()));
    }
}
