//! What went through a channel, as two numbers, for observers who check that checkpoints lose nothing on the way.
//!
//! The digest of a sequence depends on each element and on their order, and those of two sequences give that of one after
//! the other. So without keeping any element one can tell that what a receiver has taken, followed by what a checkpoint says
//! was under way, is exactly what the sender has sent.
//!
//! ```
//! use tidegate::{Timestamp, record::StreamElement, task::ChannelDigest};
//! let elements: Vec<_> = (0..4).map(|time| StreamElement::Watermark(Timestamp(time))).collect();
//! let (taken, under_way) = elements.split_at(3);
//! assert_eq!(ChannelDigest::of(taken).then(ChannelDigest::of(under_way)), ChannelDigest::of(&elements));
//! assert_ne!(ChannelDigest::of(under_way).then(ChannelDigest::of(taken)), ChannelDigest::of(&elements));
//! ```

use std::{fmt, str::FromStr};

use crate::{
    codec,
    record::{StreamElement, WatermarkStatus},
};

/// The digest of a sequence of elements: of those that can be part of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelDigest {
    elements: u64,
    /// A polynomial in [`BASE`] over the integers modulo [`PRIME`], the newest element last.
    hash: u64,
}

const PRIME: u64 = (1 << 61) - 1;
const BASE: u64 = 0x0a5b_d1e9_95b1_73c7;

fn multiply(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(PRIME)) as u64
}

impl ChannelDigest {
    /// The digest of these elements.
    pub fn of<'a>(elements: impl IntoIterator<Item = &'a StreamElement>) -> Self {
        let mut digest = Self::default();
        elements.into_iter().for_each(|element| digest.push(element));
        digest
    }

    /// One element more.
    pub fn push(&mut self, element: &StreamElement) {
        let (kind, bytes) = match element {
            StreamElement::Batch(batch) => (1, batch.encode()),
            StreamElement::Watermark(watermark) => (2, codec::encode(watermark)),
            StreamElement::Status(status) => (3, vec![u8::from(*status == WatermarkStatus::Idle)]),
            StreamElement::Barrier(_)
            | StreamElement::CancelMarker(_)
            | StreamElement::EndOfData(_)
            | StreamElement::EndOfPartition => return,
        };
        let element = u64::from(crc32fast::hash(&bytes)) | (bytes.len() as u64 & 0xff_ffff) << 32 | kind << 58;
        *self = self.then(Self { elements: 1, hash: element % PRIME });
    }

    /// These elements, and the others after them.
    #[must_use]
    pub fn then(self, others: Self) -> Self {
        let (mut shift, mut power, mut left) = (1, BASE, others.elements);
        while left > 0 {
            if left % 2 == 1 {
                shift = multiply(shift, power);
            }
            power = multiply(power, power);
            left /= 2;
        }
        let hash = (multiply(self.hash, shift) + others.hash) % PRIME;
        Self { elements: self.elements + others.elements, hash }
    }
}

impl fmt::Display for ChannelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:x}", self.elements, self.hash)
    }
}

impl FromStr for ChannelDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(elements, hash)| {
            Some(Self { elements: elements.parse().ok()?, hash: u64::from_str_radix(hash, 16).ok()? })
        });
        parsed.ok_or_else(|| format!("{text:?} is no digest of a channel"))
    }
}
