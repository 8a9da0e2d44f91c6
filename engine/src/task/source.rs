//! A source inside a task: its splits, their watermarks, its state.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    codec,
    connector::{ReadStatus, Source, SourceContext, SplitReader},
    error::{Error, ErrorKind, Result},
    operator::{ListMode, ListSnapshot, OperatorSnapshot},
    planted,
    record::{AnyBatch, Batch, StopMode},
    time::{
        AlignmentReport, PlacedWatermark, SplitAlignment, SplitProgress, SplitWatermarks, Timestamp,
        WatermarkGenerator, WatermarkMultiplexer, WatermarkOutput, WatermarkStrategy,
    },
};

/// What a source puts out, in order.
#[derive(Debug)]
pub enum SourceOutput {
    /// Records.
    Batch(AnyBatch),
    /// How far all splits together are, or that they have become idle or active.
    Watermark(WatermarkOutput),
}

/// A source whose record type is erased.
#[async_trait]
pub trait ErasedSource: Send {
    /// Starts the source: with its restored splits, or with its share of all splits.
    async fn open(&mut self, context: &SourceContext, restored: Option<OperatorSnapshot>) -> Result<()>;
    /// Reads at most `limit` records of one split, and what watermarks they cause.
    async fn poll(&mut self, now: Timestamp, limit: usize, out: &mut Vec<SourceOutput>) -> Result<ReadStatus>;
    /// Asks all splits how far they are. `readable` is a clock that stands still while the source could not be read.
    fn on_periodic_emit(&mut self, readable: Timestamp, out: &mut Vec<SourceOutput>);
    /// Whether to ask periodically could have a result though nothing is read.
    fn expects_periodic_emit(&self) -> bool;
    /// Decides which splits are paused, if it is time and sources are aligned. How far this one is, if the other
    /// subtasks of its group should be told. Called before each poll and after the last.
    fn align(&mut self, now: Timestamp) -> Option<AlignmentReport> {
        let _ = now;
        None
    }
    /// How far the slowest of the other subtasks of the group is. What can be read now, if that has changed.
    fn on_alignment(&mut self, others: Timestamp) -> Option<ReadStatus> {
        let _ = others;
        None
    }
    /// The splits with their positions: what was read up to here, and nothing after it.
    fn snapshot(&self) -> OperatorSnapshot;
    /// A checkpoint is complete (Flink `SourceReader.notifyCheckpointComplete`).
    fn notify_complete(&mut self) {}
    /// What the end of the source means to those behind it.
    fn stop_mode(&self) -> StopMode {
        StopMode::Drain
    }
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
            watermarks: WatermarkMultiplexer::default(),
            alignment: strategy.alignment().cloned().map(SplitAlignment::new),
            read_since_emit: false,
            turn: 0,
        })
    })
}

struct TypedSource<S: Source> {
    source: Arc<S>,
    strategy: WatermarkStrategy<S::Item>,
    reader: Option<Box<dyn SplitReader<S::Item, S::Split>>>,
    splits: Vec<RunningSplit<S::Item, S::Split>>,
    /// The watermarks of the splits by index.
    watermarks: WatermarkMultiplexer<usize>,
    alignment: Option<SplitAlignment>,
    read_since_emit: bool,
    turn: usize,
}

struct RunningSplit<T, S> {
    split: S,
    watermarks: SplitWatermarks<T>,
    idle: bool,
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
        let splits: Vec<_> = match restored.filter(|_| !planted!("source_begins_again_after_restore")) {
            Some(snapshot) => {
                let kept: Vec<KeptSplit<S::Split>> = decode_splits(&snapshot)?;
                kept.into_iter().map(|kept| (kept.split, Some(kept.generator))).collect()
            }
            None => {
                let all = self.source.enumerate(context).await?;
                let mine = all
                    .into_iter()
                    .enumerate()
                    .filter(|(index, _)| *index as u32 % context.parallelism == context.subtask_index);
                mine.map(|(_, split)| (split, None)).collect()
            }
        };
        for (index, (split, kept)) in splits.into_iter().enumerate() {
            let mut watermarks = self.strategy.split_watermarks();
            if let Some(kept) = kept {
                watermarks.restore(kept).map_err(unreadable)?;
            }
            self.watermarks.register(index);
            self.splits.push(RunningSplit { split, watermarks, idle: false, ended: false, not_before: Timestamp::MIN });
        }
        self.reader = Some(self.source.reader(context));
        Ok(())
    }

    async fn poll(&mut self, now: Timestamp, limit: usize, out: &mut Vec<SourceOutput>) -> Result<ReadStatus> {
        let count = self.splits.len();
        let ready = (0..count).map(|step| (self.turn + step) % count).find(|index| {
            let split = &self.splits[*index];
            !split.ended && split.not_before <= now && self.paused_until(split).is_none()
        });
        let Some(index) = ready else { return Ok(self.status()) };
        self.turn = (index + 1) % count;
        let split = &mut self.splits[index];
        let reader = self.reader.as_mut().expect("a source is opened before it is polled");
        let mut batch = Batch::new();
        match reader.read(&mut split.split, limit, &mut batch).await? {
            ReadStatus::More => {}
            ReadStatus::NotBefore(time) => split.not_before = time,
            ReadStatus::Ended => split.ended = true,
        }
        self.strategy.assign_timestamps(&mut batch);
        let mut caused = Vec::new();
        split.watermarks.on_batch(&batch, &mut caused);
        let ended = split.ended;
        self.read_since_emit |= !batch.is_empty() || ended;
        self.emit(index, batch, &caused, out);
        if ended {
            self.watermarks.unregister(&index);
        }
        Ok(self.status())
    }

    fn on_periodic_emit(&mut self, readable: Timestamp, out: &mut Vec<SourceOutput>) {
        self.read_since_emit = false;
        for (index, split) in self.splits.iter_mut().enumerate().filter(|(_, split)| !split.ended) {
            let progress = split.watermarks.on_periodic_emit(readable);
            split.idle = progress == SplitProgress::Idle;
            match progress {
                SplitProgress::Watermark(watermark) => self.watermarks.set_watermark(&index, watermark),
                SplitProgress::Idle => self.watermarks.set_idle(&index),
                SplitProgress::Unchanged => {}
            }
        }
        self.combine(out);
    }

    fn expects_periodic_emit(&self) -> bool {
        let mut running = self.splits.iter().filter(|split| !split.ended);
        self.read_since_emit || running.any(|split| split.watermarks.detects_idleness() && !split.idle)
    }

    fn align(&mut self, now: Timestamp) -> Option<AlignmentReport> {
        let alignment = self.alignment.as_mut()?;
        let compared = self.splits.iter().filter(|split| !split.ended && !split.idle);
        alignment.update(now, compared.map(|split| split.watermarks.watermark()))
    }

    fn on_alignment(&mut self, others: Timestamp) -> Option<ReadStatus> {
        self.alignment.as_mut()?.on_others(others);
        Some(self.status())
    }

    fn snapshot(&self) -> OperatorSnapshot {
        let kept = |split: &RunningSplit<S::Item, S::Split>| {
            codec::encode(&KeptSplit { split: split.split.clone(), generator: split.watermarks.keep() })
        };
        let entries = self.splits.iter().map(kept).collect();
        let lists = BTreeMap::from([(SPLITS.to_owned(), ListSnapshot { mode: ListMode::Split, entries })]);
        OperatorSnapshot { lists, ..OperatorSnapshot::default() }
    }
}

impl<S: Source> TypedSource<S> {
    /// Puts out what was read of a split, cut where a record advanced the watermark of all splits.
    fn emit(&mut self, index: usize, batch: Batch<S::Item>, caused: &[PlacedWatermark], out: &mut Vec<SourceOutput>) {
        let (mut rest, mut gone) = (batch, 0);
        for placed in caused {
            let mut advanced = Vec::new();
            self.watermarks.set_watermark(&index, placed.watermark);
            self.combine(&mut advanced);
            if advanced.is_empty() {
                continue;
            }
            let behind = rest.split_off(placed.behind - gone);
            gone = placed.behind;
            if planted!("punctuated_watermark_before_its_record") {
                out.append(&mut advanced);
            }
            push_batch(std::mem::replace(&mut rest, behind), out);
            out.append(&mut advanced);
        }
        push_batch(rest, out);
    }

    fn paused_until(&self, split: &RunningSplit<S::Item, S::Split>) -> Option<Timestamp> {
        self.alignment.as_ref().and_then(|alignment| alignment.paused_until(split.watermarks.watermark()))
    }

    fn combine(&mut self, out: &mut Vec<SourceOutput>) {
        let mut combined = Vec::new();
        self.watermarks.combine(&mut combined);
        out.extend(combined.into_iter().map(SourceOutput::Watermark));
    }

    fn status(&self) -> ReadStatus {
        let mut soonest: Option<Timestamp> = None;
        for split in self.splits.iter().filter(|split| !split.ended) {
            let held_until = self.paused_until(split).unwrap_or(Timestamp::MIN);
            let not_before = split.not_before.max(held_until);
            if not_before == Timestamp::MIN {
                return ReadStatus::More;
            }
            soonest = Some(soonest.map_or(not_before, |soonest| soonest.min(not_before)));
        }
        soonest.map_or(ReadStatus::Ended, ReadStatus::NotBefore)
    }
}

fn push_batch<T: codec::Data>(batch: Batch<T>, out: &mut Vec<SourceOutput>) {
    if !batch.is_empty() {
        out.push(SourceOutput::Batch(AnyBatch::new(batch)));
    }
}

fn unreadable(error: codec::DecodeError) -> Error {
    Error::new(ErrorKind::CorruptState, "the source's splits cannot be read").with_source(error)
}

fn decode_splits<S: crate::codec::Data>(snapshot: &OperatorSnapshot) -> Result<Vec<KeptSplit<S>>> {
    let Some(list) = snapshot.lists.get(SPLITS) else { return Ok(Vec::new()) };
    let decoded: Result<Vec<_>, _> = list.entries.iter().map(|entry| codec::decode(entry)).collect();
    decoded.map_err(unreadable)
}

#[cfg(test)]
mod tests;
