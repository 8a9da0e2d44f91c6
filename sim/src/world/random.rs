//! Labelled random streams: each consumer draws from a child of the seed, so that none shifts another.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

/// The random stream of the consumer that `label` names.
pub(crate) fn stream(seed: u64, label: &str) -> ChaCha8Rng {
    // FNV-1a: stable over platforms and versions, which a hasher of the standard library is not.
    let hash = label
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    ChaCha8Rng::seed_from_u64(seed ^ hash)
}

#[cfg(test)]
mod tests {
    use rand::RngCore as _;

    use super::*;

    #[test]
    fn streams_differ_by_label_and_by_seed_and_repeat() {
        let first = |seed, label| stream(seed, label).next_u64();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
        assert_ne!(first(1, "a"), first(2, "a"));
    }
}
