//! The records of a generator: record `i` is a pure function of the seed and `i`.
//!
//! So every division of the records among splits, and every restart from any offset, gives the same records.

use super::{
    model::{GeneratorSource, KeyDistribution},
    row::{Datum, Row},
    schema::{Field, FieldType, Schema},
};

/// What a draw is for; draws of one record do not depend on each other.
#[derive(Clone, Copy)]
enum Purpose {
    Key = 1,
    Value = 2,
    Disorder = 3,
}

/// What a generated record holds beside its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneratedRecord {
    /// The key, from 0.
    pub key: i64,
    /// The value, 0 to 999.
    pub value: i64,
    /// The event time: milliseconds since the epoch.
    pub time_ms: i64,
}

impl GeneratorSource {
    /// The fields of every generated record: `sequence` (its number), `key` (from 0), `value` (0 to 999) and
    /// `time_ms` (its event time).
    pub fn schema() -> Schema {
        Schema::new(["sequence", "key", "value", "time_ms"].map(|name| Field::new(name, FieldType::Int)))
    }

    /// Record `sequence`.
    pub fn record(&self, sequence: u64) -> Row {
        let GeneratedRecord { key, value, time_ms } = self.generated(sequence);
        Row::new([sequence.cast_signed(), key, value, time_ms].map(Datum::Int))
    }

    /// Makes `row` record `sequence`, in its own memory if it is a generated record already.
    #[inline]
    pub(crate) fn fill(&self, row: &mut Row, sequence: u64) {
        let [number_field, key_field, value_field, time_field] = row.values_mut() else {
            *row = self.record(sequence);
            return;
        };
        let GeneratedRecord { key, value, time_ms } = self.generated(sequence);
        *number_field = Datum::Int(sequence.cast_signed());
        *key_field = Datum::Int(key);
        *value_field = Datum::Int(value);
        *time_field = Datum::Int(time_ms);
    }

    /// Record `sequence` without its number, as plain numbers.
    #[inline]
    pub fn generated(&self, sequence: u64) -> GeneratedRecord {
        let on_time_ms = self.start_ms.saturating_add(sequence.cast_signed().saturating_mul(millis(self.step)));
        let back_ms = match millis(self.disorder) {
            0 => 0,
            most => self.draw(sequence, Purpose::Disorder) % (most.cast_unsigned() + 1),
        };
        GeneratedRecord {
            key: self.key(sequence).cast_signed(),
            value: (self.draw(sequence, Purpose::Value) % 1000).cast_signed(),
            time_ms: on_time_ms.saturating_sub_unsigned(back_ms),
        }
    }

    /// Number of records in a split; `None` if it never ends.
    pub fn split_count(&self, split: u32) -> Option<u64> {
        let splits = u64::from(self.splits);
        self.count.map(|count| count.saturating_sub(u64::from(split)).div_ceil(splits))
    }

    /// The sequence number of a split's record at an offset (0 is its first).
    pub fn sequence(&self, split: u32, offset: u64) -> u64 {
        u64::from(split) + offset * u64::from(self.splits)
    }

    #[inline]
    fn key(&self, sequence: u64) -> u64 {
        let draw = self.draw(sequence, Purpose::Key);
        match self.key_distribution {
            KeyDistribution::Uniform => draw % self.keys,
            KeyDistribution::Skewed => u64::from(draw.trailing_zeros()).min(self.keys - 1),
        }
    }

    #[inline]
    fn draw(&self, sequence: u64, purpose: Purpose) -> u64 {
        mix(mix(self.seed ^ mix(purpose as u64)).wrapping_add(sequence))
    }
}

#[inline]
fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection that spreads each bit over all.
#[inline]
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_of_a_seed_never_change() {
        // A change here makes every kept capsule mean something else.
        let generator = GeneratorSource { seed: 7, disorder: Duration::from_millis(50), ..GeneratorSource::default() };
        let records: Vec<String> = (0..4).map(|sequence| generator.record(sequence).to_string()).collect();
        insta::assert_snapshot!(records.join("\n"), @r#"
        (0, 5, 192, -24)
        (1, 2, 403, 1)
        (2, 14, 561, -39)
        (3, 9, 241, -4)
        "#);
    }

    #[test]
    fn skewed_keys_halve_from_key_to_key() {
        let generator =
            GeneratorSource { keys: 4, key_distribution: KeyDistribution::Skewed, ..GeneratorSource::default() };
        let mut counts = BTreeMap::new();
        for sequence in 0..8000 {
            *counts.entry(generator.record(sequence).get(1).as_int().unwrap()).or_insert(0_u32) += 1;
        }
        let shares: Vec<u32> = counts.values().map(|count| (count + 200) / 1000).collect();
        assert_eq!(shares, [4, 2, 1, 1], "{counts:?}");
    }

    proptest! {
        #[test]
        fn every_record_is_in_exactly_one_split(count in 0_u64..200, splits in 1_u32..9) {
            let generator = GeneratorSource { count: Some(count), splits, ..GeneratorSource::default() };
            let mut sequences: Vec<u64> = (0..splits)
                .flat_map(|split| (0..generator.split_count(split).unwrap()).map(move |offset| (split, offset)))
                .map(|(split, offset)| generator.sequence(split, offset))
                .collect();
            sequences.sort_unstable();
            prop_assert_eq!(sequences, (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn disorder_stays_within_its_bound(seed: u64, sequence in 0_u64..1_000_000, disorder in 0_u64..5000) {
            let generator = GeneratorSource { seed, disorder: Duration::from_millis(disorder), ..GeneratorSource::default() };
            let time_ms = generator.record(sequence).get(3).as_int().unwrap();
            prop_assert!((sequence as i64 - disorder as i64..=sequence as i64).contains(&time_ms));
        }
    }
}
