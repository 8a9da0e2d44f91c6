//! A source inside a task: its splits, their watermarks, its state.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    codec,
    connector::{ReadStatus, Source, SourceContext, SplitReader},
    error::{Error, ErrorKind, Result},
    operator::{ListMode, ListSnapshot, OperatorSnapshot},
    record::{AnyBatch, Batch},
    time::{Timestamp, WatermarkGenerator, WatermarkStrategy},
};

/// A source whose record type is erased.
#[async_trait]
pub trait ErasedSource: Send {
    /// Starts the source: with its restored splits, or with its share of all splits.
    async fn open(&mut self, context: &SourceContext, restored: Option<OperatorSnapshot>) -> Result<()>;
    /// Reads at most `limit` records.
    async fn poll(&mut self, now: Timestamp, limit: usize) -> Result<(Option<AnyBatch>, ReadStatus)>;
    /// The watermark over all splits as it stands now.
    fn watermark(&self) -> Timestamp;
    /// The splits with their positions: what was read up to here, and nothing after it.
    fn snapshot(&self) -> OperatorSnapshot;
}

/// Makes the source of one subtask.
pub type SourceFactory = Arc<dyn Fn() -> Box<dyn ErasedSource> + Send + Sync>;

/// The state name under which a source keeps its splits.
pub const SPLITS: &str = "splits";

/// Erases the type of a source.
pub fn source<S: Source>(source: S, strategy: WatermarkStrategy<S::Item>) -> SourceFactory {
    let source = Arc::new(source);
    Arc::new(move || {
        Box::new(TypedSource {
            source: source.clone(),
            strategy: strategy.clone(),
            reader: None,
            splits: Vec::new(),
            turn: 0,
        })
    })
}

struct TypedSource<S: Source> {
    source: Arc<S>,
    strategy: WatermarkStrategy<S::Item>,
    reader: Option<Box<dyn SplitReader<S::Item, S::Split>>>,
    splits: Vec<RunningSplit<S::Split>>,
    turn: usize,
}

struct RunningSplit<S> {
    split: S,
    generator: WatermarkGenerator,
    ended: bool,
    not_before: Timestamp,
}

/// What is kept of a split.
///
/// The state of its watermark generator belongs to it: with it the watermark after a restore is the one before the
/// failure, and so are the decisions what is late. Flink starts again without a watermark.
#[derive(Clone, Serialize, Deserialize)]
struct KeptSplit<S> {
    split: S,
    generator: WatermarkGenerator,
}

#[async_trait]
impl<S: Source> ErasedSource for TypedSource<S> {
    async fn open(&mut self, context: &SourceContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let kept: Vec<KeptSplit<S::Split>> = match restored {
            Some(snapshot) => decode_splits(&snapshot)?,
            None => {
                let all = self.source.enumerate(context).await?;
                let mine = all
                    .into_iter()
                    .enumerate()
                    .filter(|(index, _)| *index as u32 % context.parallelism == context.subtask_index);
                mine.map(|(_, split)| KeptSplit { split, generator: self.strategy.generator() }).collect()
            }
        };
        self.splits = kept
            .into_iter()
            .map(|KeptSplit { split, generator }| RunningSplit {
                split,
                generator,
                ended: false,
                not_before: Timestamp::MIN,
            })
            .collect();
        self.reader = Some(self.source.reader(context));
        Ok(())
    }

    async fn poll(&mut self, now: Timestamp, limit: usize) -> Result<(Option<AnyBatch>, ReadStatus)> {
        let reader = self.reader.as_mut().expect("a source is opened before it is polled");
        let count = self.splits.len();
        let ready = (0..count).map(|step| (self.turn + step) % count).find(|index| {
            let split = &self.splits[*index];
            !split.ended && split.not_before <= now
        });
        let Some(index) = ready else { return Ok((None, self.status())) };
        self.turn = (index + 1) % count;
        let split = &mut self.splits[index];
        let mut batch = Batch::new();
        match reader.read(&mut split.split, limit, &mut batch).await? {
            ReadStatus::More => {}
            ReadStatus::NotBefore(time) => split.not_before = time,
            ReadStatus::Ended => split.ended = true,
        }
        self.strategy.assign_timestamps(&mut batch);
        for record in &batch {
            split.generator.on_event(record.timestamp);
        }
        let status = self.status();
        Ok(((!batch.is_empty()).then(|| AnyBatch::new(batch)), status))
    }

    fn watermark(&self) -> Timestamp {
        let running = self.splits.iter().filter(|split| !split.ended);
        running.map(|split| split.generator.watermark().unwrap_or(Timestamp::MIN)).min().unwrap_or(Timestamp::MIN)
    }

    fn snapshot(&self) -> OperatorSnapshot {
        let kept = |split: &RunningSplit<S::Split>| {
            codec::encode(&KeptSplit { split: split.split.clone(), generator: split.generator.clone() })
        };
        let entries = self.splits.iter().map(kept).collect();
        let lists = BTreeMap::from([(SPLITS.to_owned(), ListSnapshot { mode: ListMode::Split, entries })]);
        OperatorSnapshot { lists, ..OperatorSnapshot::default() }
    }
}

impl<S: Source> TypedSource<S> {
    fn status(&self) -> ReadStatus {
        let mut soonest: Option<Timestamp> = None;
        for split in self.splits.iter().filter(|split| !split.ended) {
            if split.not_before == Timestamp::MIN {
                return ReadStatus::More;
            }
            soonest = Some(soonest.map_or(split.not_before, |soonest| soonest.min(split.not_before)));
        }
        soonest.map_or(ReadStatus::Ended, ReadStatus::NotBefore)
    }
}

fn decode_splits<S: crate::codec::Data>(snapshot: &OperatorSnapshot) -> Result<Vec<KeptSplit<S>>> {
    let Some(list) = snapshot.lists.get(SPLITS) else { return Ok(Vec::new()) };
    let decoded: Result<Vec<_>, _> = list.entries.iter().map(|entry| codec::decode(entry)).collect();
    decoded
        .map_err(|error| Error::new(ErrorKind::CorruptState, "the source's splits cannot be read").with_source(error))
}
