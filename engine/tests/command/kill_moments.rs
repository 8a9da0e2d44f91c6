//! When and whom to kill: random, and the same again for the same seed.

use std::time::Duration;

use tidegate::env::Env;

/// The variable that repeats a test with the moments of an earlier run.
const SEED: &str = "TIDEGATE_TEST_SEED";

/// A stream of random moments (SplitMix64).
pub struct KillMoments(u64);

impl KillMoments {
    /// Seeded from the environment or the operating system; prints the seed, which a failed test shows.
    pub fn new(env: &Env) -> Self {
        let seed = std::env::var(SEED).ok().map_or_else(|| env.entropy(), |text| text.parse().unwrap());
        eprintln!("moments of kills: {SEED}={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A duration of so many milliseconds.
    pub fn within(&mut self, millis: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(millis.start + self.next() % (millis.end - millis.start))
    }

    /// One of `count`.
    pub fn one_of(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }
}
