//! A source whose record number i is a pure function of i, so that it can be read again from any position.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{ReadStatus, Source, SourceContext, SplitReader};
use crate::{
    codec::Data,
    env::Env,
    error::Result,
    record::{Batch, StreamRecord},
    time::Timestamp,
};

type Generate<T> = Arc<dyn Fn(u64) -> StreamRecord<T> + Send + Sync>;

/// Generated records, at full speed or at a fixed rate (Flink `DataGeneratorSource`).
pub struct GeneratorSource<T> {
    generate: Generate<T>,
    count: u64,
    splits: u32,
    records_per_second: Option<f64>,
}

impl<T> Clone for GeneratorSource<T> {
    fn clone(&self) -> Self {
        Self {
            generate: self.generate.clone(),
            count: self.count,
            splits: self.splits,
            records_per_second: self.records_per_second,
        }
    }
}

impl<T: Data> GeneratorSource<T> {
    /// A source of `count` records in one split; `generate` must depend on nothing but the number.
    pub fn new(count: u64, generate: impl Fn(u64) -> StreamRecord<T> + Send + Sync + 'static) -> Self {
        Self { generate: Arc::new(generate), count, splits: 1, records_per_second: None }
    }

    /// Cuts the numbers into this many ranges of nearly equal length.
    #[must_use]
    pub fn with_splits(mut self, splits: u32) -> Self {
        self.splits = splits.max(1);
        self
    }

    /// Limits each split to this many records per second of processing time.
    #[must_use]
    pub fn with_rate(mut self, records_per_second: f64) -> Self {
        self.records_per_second = Some(records_per_second);
        self
    }
}

/// A range of record numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratorSplit {
    /// Number of the next record.
    pub next: u64,
    /// Number behind the last record.
    pub end: u64,
}

/// Cuts `0..count` into `splits` ranges whose lengths differ by at most one.
fn ranges(count: u64, splits: u32) -> impl Iterator<Item = Range<u64>> {
    let splits = u64::from(splits);
    let cut = move |i: u64| (u128::from(count) * u128::from(i) / u128::from(splits)) as u64;
    (0..splits).map(move |i| cut(i)..cut(i + 1))
}

#[async_trait]
impl<T: Data> Source for GeneratorSource<T> {
    type Item = T;
    type Split = GeneratorSplit;

    async fn enumerate(&self, _context: &SourceContext) -> Result<Vec<GeneratorSplit>> {
        Ok(ranges(self.count, self.splits).map(|range| GeneratorSplit { next: range.start, end: range.end }).collect())
    }

    fn reader(&self, context: &SourceContext) -> Box<dyn SplitReader<T, GeneratorSplit>> {
        Box::new(GeneratorReader {
            generate: self.generate.clone(),
            pace: self.records_per_second.map(|rate| Pace::new(context.env.clone(), rate)),
        })
    }
}

struct GeneratorReader<T> {
    generate: Generate<T>,
    pace: Option<Pace>,
}

#[async_trait]
impl<T: Data> SplitReader<T, GeneratorSplit> for GeneratorReader<T> {
    async fn read(&mut self, split: &mut GeneratorSplit, limit: usize, out: &mut Batch<T>) -> Result<ReadStatus> {
        let mut allowed = limit as u64;
        if let Some(pace) = &mut self.pace {
            match pace.allowance(limit as u64) {
                Ok(granted) => allowed = granted,
                Err(wait_until) => return Ok(ReadStatus::NotBefore(wait_until)),
            }
        }
        let end = split.end.min(split.next + allowed);
        out.reserve((end - split.next) as usize);
        out.extend((split.next..end).map(|number| (self.generate)(number)));
        if let Some(pace) = &mut self.pace {
            pace.emitted += end - split.next;
        }
        split.next = end;
        Ok(if split.next == split.end { ReadStatus::Ended } else { ReadStatus::More })
    }
}

/// Spreads records evenly over processing time, from the moment the reader started.
pub(crate) struct Pace {
    env: Env,
    started: Option<Timestamp>,
    pub(crate) emitted: u64,
    records_per_second: f64,
}

impl Pace {
    pub(crate) fn new(env: Env, records_per_second: f64) -> Self {
        Self { env, started: None, emitted: 0, records_per_second }
    }

    /// How many records may be emitted now, or when the next one may.
    pub(crate) fn allowance(&mut self, limit: u64) -> Result<u64, Timestamp> {
        let now = self.env.now();
        let started = *self.started.get_or_insert(now);
        let due = (now.since(started).as_secs_f64() * self.records_per_second) as u64 + 1;
        if due > self.emitted {
            return Ok((due - self.emitted).min(limit));
        }
        let next_due_seconds = self.emitted as f64 / self.records_per_second;
        // A millisecond more than computed: the clock has whole milliseconds.
        Err(started.saturating_add(Duration::from_secs_f64(next_due_seconds) + Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn splits_cover_every_number_once() {
        for count in [0, 1, 2, 7, 100, 101] {
            for splits in 1..9 {
                let numbers: Vec<u64> = ranges(count, splits).flatten().collect();
                assert_eq!(numbers, (0..count).collect::<Vec<_>>());
            }
        }
    }
}
