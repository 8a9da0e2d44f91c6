//! The seed tree: every consumer of randomness draws from a labelled child of the run's seed, so that one draw more in
//! one place shifts nothing in another.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

/// A node of the seed tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The child with this label.
    #[must_use]
    pub fn child(self, label: &str) -> Self {
        Self(label.bytes().fold(mix(self.0), |hash, byte| mix(hash ^ u64::from(byte))))
    }

    /// A generator that starts here.
    pub fn random(self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.0)
    }
}

/// The finalizer of splitmix64: every bit of the input reaches every bit of the output.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_depend_on_label_and_parent_alone() {
        assert_eq!(Seed(1).child("network"), Seed(1).child("network"));
        assert_ne!(Seed(1).child("network"), Seed(1).child("disk"));
        assert_ne!(Seed(1).child("network"), Seed(2).child("network"));
    }
}
