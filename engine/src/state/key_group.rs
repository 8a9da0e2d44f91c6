//! Key groups: the fixed number of buckets into which all keys of a job fall, the unit in which state moves.
//!
//! Guarantees: a key's group depends on the key and the maximal parallelism alone; at every parallelism each
//! group has exactly one owner; [`KeyGroups::range`] and [`KeyGroups::subtask`] agree about who it is.
//! Flink: `KeyGroupRangeAssignment`, `KeyGroupRange`, `MathUtils`.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

use super::key::Key;

/// The largest number of key groups (Flink `UPPER_BOUND_MAX_PARALLELISM`).
const MAX_PARALLELISM_LIMIT: u32 = 1 << 15;
/// The fewest key groups that a job gets without asking (Flink `DEFAULT_LOWER_BOUND_MAX_PARALLELISM`).
const DEFAULT_MAX_PARALLELISM_FLOOR: u32 = 1 << 7;

/// The number of key groups is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("maximal parallelism is {0}, but must be between 1 and {MAX_PARALLELISM_LIMIT}")]
pub struct InvalidMaxParallelism(pub u32);

/// The key groups of a job. Their number is the maximal parallelism and never changes while the state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGroups {
    max_parallelism: u32,
}

/// One of several parallel instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParallelInstance {
    /// Which one, from 0.
    pub index: u32,
    /// How many there are.
    pub parallelism: u32,
}

impl KeyGroups {
    /// That many key groups.
    ///
    /// # Errors
    /// If the number is 0 or above 32,768.
    pub fn new(max_parallelism: u32) -> Result<Self, InvalidMaxParallelism> {
        if (1..=MAX_PARALLELISM_LIMIT).contains(&max_parallelism) {
            Ok(Self { max_parallelism })
        } else {
            Err(InvalidMaxParallelism(max_parallelism))
        }
    }

    /// What a job gets that states no maximal parallelism: room to grow, and at least 128 groups.
    pub fn default_for(parallelism: u32) -> Self {
        let wanted = u64::from(parallelism) + u64::from(parallelism) / 2;
        let rounded = u32::try_from(wanted.next_power_of_two()).unwrap_or(MAX_PARALLELISM_LIMIT);
        Self { max_parallelism: rounded.clamp(DEFAULT_MAX_PARALLELISM_FLOOR, MAX_PARALLELISM_LIMIT) }
    }

    /// How many there are.
    pub fn max_parallelism(self) -> u32 {
        self.max_parallelism
    }

    /// The group of a key.
    #[inline]
    pub fn of_key<K: Key>(self, key: &K) -> u16 {
        self.of_hash(key.key_hash())
    }

    /// The group of a key with this hash.
    #[inline]
    pub fn of_hash(self, key_hash: i32) -> u16 {
        // The remainder is below 32,768, so that nothing is cut off.
        (murmur(key_hash).unsigned_abs() % self.max_parallelism) as u16
    }

    /// The subtask that owns a key group.
    #[inline]
    pub fn subtask(self, key_group: u16, parallelism: u32) -> u32 {
        // Both factors are at most 32,768: a larger parallelism than groups is refused when the job is built.
        u32::from(key_group) * parallelism / self.max_parallelism
    }

    /// The key groups that a subtask owns.
    ///
    /// # Panics
    /// If the instance is not one of its parallelism, or there are more instances than key groups.
    pub fn range(self, instance: ParallelInstance) -> KeyGroupRange {
        let ParallelInstance { index, parallelism } = instance;
        assert!(index < parallelism, "a subtask's index is below the parallelism");
        assert!(parallelism <= self.max_parallelism, "every subtask owns at least one key group");
        let start = (index * self.max_parallelism).div_ceil(parallelism);
        let end = ((index + 1) * self.max_parallelism - 1) / parallelism;
        KeyGroupRange { start: start as u16, end: end as u16 }
    }

    /// All of them.
    pub fn all(self) -> KeyGroupRange {
        self.range(ParallelInstance { index: 0, parallelism: 1 })
    }
}

/// Adjacent key groups, first and last included. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyGroupRange {
    /// The first group.
    pub start: u16,
    /// The last group.
    pub end: u16,
}

impl KeyGroupRange {
    /// Whether the group is one of these.
    #[inline]
    pub fn contains(self, key_group: u16) -> bool {
        (self.start..=self.end).contains(&key_group)
    }

    /// The groups, in order.
    pub fn iter(self) -> RangeInclusive<u16> {
        self.start..=self.end
    }

    /// The groups that are in both ranges, if any.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start <= end).then_some(Self { start, end })
    }
}

impl fmt::Display for KeyGroupRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.start, self.end)
    }
}

/// MurmurHash3's 32-bit mix of one integer, made non-negative as Flink does: neighbouring hashes fall far apart.
fn murmur(hash: i32) -> i32 {
    let mut mixed = (hash as u32).wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    mixed = mixed.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    mixed ^= 4;
    mixed ^= mixed >> 16;
    mixed = mixed.wrapping_mul(0x85eb_ca6b);
    mixed ^= mixed >> 13;
    mixed = mixed.wrapping_mul(0xc2b2_ae35);
    mixed ^= mixed >> 16;
    match mixed as i32 {
        i32::MIN => 0,
        signed => signed.abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur_agrees_with_flink() {
        assert_eq!(murmur(0), 593_689_054);
        assert_eq!(murmur(-1), 1_982_413_648);
        assert_eq!(murmur(i32::MIN), 1_718_298_732);
    }

    #[test]
    fn the_words_of_the_tutorial_fall_where_flink_puts_them() {
        let key_groups = KeyGroups::default_for(8);
        for (word, key_group, subtask) in [("hadoop", 113, 7), ("hive", 9, 0)] {
            assert_eq!(key_groups.of_key(&word.to_owned()), key_group);
            assert_eq!(key_groups.subtask(key_group, 8), subtask);
        }
    }

    #[test]
    fn every_key_group_has_one_owner_and_range_and_subtask_agree() {
        for max_parallelism in [1, 2, 7, 13, 128, 200] {
            let key_groups = KeyGroups::new(max_parallelism).unwrap();
            for parallelism in 1..=max_parallelism {
                let mut next = 0;
                for index in 0..parallelism {
                    let range = key_groups.range(ParallelInstance { index, parallelism });
                    assert_eq!(range.start, next, "ranges are adjacent");
                    for key_group in range.iter() {
                        assert_eq!(key_groups.subtask(key_group, parallelism), index);
                    }
                    next = range.end + 1;
                }
                assert_eq!(u32::from(next), max_parallelism, "ranges cover all groups");
            }
        }
    }

    #[test]
    fn the_number_of_key_groups_is_bounded() {
        assert_eq!(KeyGroups::new(0), Err(InvalidMaxParallelism(0)));
        assert_eq!(KeyGroups::new(32_769), Err(InvalidMaxParallelism(32_769)));
        assert_eq!(KeyGroups::new(32_768).unwrap().all(), KeyGroupRange { start: 0, end: 32_767 });
    }
}
