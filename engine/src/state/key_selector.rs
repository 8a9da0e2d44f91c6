//! How an operator finds the key of a record, without copying it where it need not.

use std::borrow::Cow;

use super::Key;

/// Finds the key of a value (Flink `KeySelector`).
///
/// Must depend on the value alone: it is asked again after a restore and on another machine.
/// Any `Fn(&T) -> K` is one; for a key that lies in the value and is costly to copy, wrap an `Fn(&T) -> &K` in [`KeyRef`].
pub trait KeySelector<T>: Send + 'static {
    /// Type of the key.
    type Key: Key;

    /// The key of `value`.
    fn key<'a>(&self, value: &'a T) -> Cow<'a, Self::Key>;
}

impl<T, K: Key, F: Fn(&T) -> K + Send + 'static> KeySelector<T> for F {
    type Key = K;

    #[inline]
    fn key<'a>(&self, value: &'a T) -> Cow<'a, K> {
        Cow::Owned(self(value))
    }
}

/// Selects a key that is a part of the value.
#[derive(Debug, Clone, Copy)]
pub struct KeyRef<F>(pub F);

impl<T, K: Key, F: Fn(&T) -> &K + Send + 'static> KeySelector<T> for KeyRef<F> {
    type Key = K;

    #[inline]
    fn key<'a>(&self, value: &'a T) -> Cow<'a, K> {
        Cow::Borrowed((self.0)(value))
    }
}
