//! Which key group a key falls into, and which subtask owns it: Flink's `KeyGroupRangeAssignment`, from its definition.

use tidegate::{
    config::JobConfig,
    pipeline::{Plan, Row},
};

/// The number of key groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyGroups(pub u32);

impl KeyGroups {
    /// What a job has. If it states no number: one and a half times its widest parallelism, rounded up to a power of two,
    /// from 128 up to 32768.
    pub(crate) fn of_job(plan: &Plan, config: &JobConfig) -> Self {
        let sources = plan.sources.iter().map(|source| source.parallelism);
        let stages = plan.stages.iter().map(|stage| stage.parallelism);
        let sinks = plan.sinks.iter().map(|sink| sink.parallelism);
        let widest = sources.chain(stages).chain(sinks).max().unwrap_or(1);
        let derived = (widest + widest / 2).next_power_of_two().clamp(128, 32_768);
        Self(config.max_parallelism.unwrap_or(derived))
    }

    /// The key group of a key.
    pub(crate) fn of(self, key: &Row) -> u16 {
        u16::try_from(murmur(key.java_hash()) % self.0).expect("there are at most 32768 key groups")
    }

    /// The subtask that owns a key group.
    pub(crate) fn subtask(self, key_group: u16, parallelism: u32) -> usize {
        (u32::from(key_group) * parallelism / self.0) as usize
    }
}

/// Murmur 3 over one word, made non-negative as Flink does it.
fn murmur(word: i32) -> u32 {
    let mut hash = word.cast_unsigned().wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    hash ^= 4;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^= hash >> 16;
    match hash.cast_signed() {
        i32::MIN => 0,
        signed => signed.unsigned_abs(),
    }
}
