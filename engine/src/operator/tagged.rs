//! Records of two streams in one (Flink `CoGroupedStreams.TaggedUnion`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::state::KeySelector;

/// A record of one of two streams.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tagged<A, B> {
    /// Of the first.
    First(A),
    /// Of the second.
    Second(B),
}

impl<A, B> Tagged<A, B> {
    /// The records of the first stream and those of the second, each in their order.
    pub fn separate(records: impl IntoIterator<Item = Self>) -> (Vec<A>, Vec<B>) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                Self::First(value) => first.push(value),
                Self::Second(value) => second.push(value),
            }
        }
        (first, second)
    }
}

/// The key of a tagged record, by the selector of its stream.
#[derive(Debug, Clone, Copy)]
pub struct TaggedKey<S1, S2>(pub S1, pub S2);

impl<A, B, S1, S2> KeySelector<Tagged<A, B>> for TaggedKey<S1, S2>
where
    S1: KeySelector<A>,
    S2: KeySelector<B, Key = S1::Key>,
{
    type Key = S1::Key;

    fn key<'a>(&self, value: &'a Tagged<A, B>) -> Cow<'a, S1::Key> {
        match value {
            Tagged::First(value) => self.0.key(value),
            Tagged::Second(value) => self.1.key(value),
        }
    }
}
