//! A source over records that are given.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{ReadStatus, Source, SourceContext, SplitReader};
use crate::{codec::Data, error::Result, record::Batch, record::StreamRecord, time::Timestamp};

/// Records from memory; one split for each subtask, record i in split i mod splits.
#[derive(Clone)]
pub struct CollectionSource<T> {
    records: Arc<Vec<T>>,
    splits: u32,
}

impl<T> CollectionSource<T> {
    /// A source of these records in one split, which keeps their order.
    pub fn new(records: Vec<T>) -> Self {
        Self { records: Arc::new(records), splits: 1 }
    }

    /// The same records dealt out to a number of splits.
    #[must_use]
    pub fn with_splits(mut self, splits: u32) -> Self {
        self.splits = splits.max(1);
        self
    }
}

/// Every n-th record of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionSplit {
    /// Position of the next record.
    pub next: u64,
    /// Distance between two records of this split.
    pub stride: u64,
}

#[async_trait]
impl<T: Data> Source for CollectionSource<T> {
    type Item = T;
    type Split = CollectionSplit;

    async fn enumerate(&self, _context: &SourceContext) -> Result<Vec<CollectionSplit>> {
        let stride = u64::from(self.splits);
        Ok((0..stride).map(|next| CollectionSplit { next, stride }).collect())
    }

    fn reader(&self, _context: &SourceContext) -> Box<dyn SplitReader<T, CollectionSplit>> {
        Box::new(CollectionReader { records: self.records.clone() })
    }
}

struct CollectionReader<T> {
    records: Arc<Vec<T>>,
}

#[async_trait]
impl<T: Data> SplitReader<T, CollectionSplit> for CollectionReader<T> {
    async fn read(&mut self, split: &mut CollectionSplit, limit: usize, out: &mut Batch<T>) -> Result<ReadStatus> {
        for _ in 0..limit {
            let Some(value) = self.records.get(split.next as usize) else { return Ok(ReadStatus::Ended) };
            out.push(StreamRecord::new(value.clone(), Timestamp::MIN));
            split.next += split.stride;
        }
        Ok(ReadStatus::More)
    }
}
