//! Descriptors: the name, version and type by which a function asks for its state.
//!
//! The name and version of a state are what it is found by in a checkpoint; the type is what its bytes are read as.

use std::marker::PhantomData;

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

/// Asks for one value per key (Flink `ValueStateDescriptor`).
#[derive(Debug, Clone)]
pub struct ValueStateDescriptor<T> {
    /// Name and version.
    pub state: StateDescriptor,
    /// What a key reads that has no value.
    pub default: Option<T>,
    value: PhantomData<fn() -> T>,
}

impl<T: Data> ValueStateDescriptor<T> {
    /// A state with this name and no default.
    pub fn new(name: impl Into<String>) -> Self {
        Self { state: StateDescriptor::new(name), default: None, value: PhantomData }
    }

    /// Sets what a key reads that has no value.
    #[must_use]
    pub fn with_default(mut self, default: T) -> Self {
        self.default = Some(default);
        self
    }

    /// Sets the version of the value's type.
    #[must_use]
    pub fn with_version(mut self, version: u32) -> Self {
        self.state.version = version;
        self
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
