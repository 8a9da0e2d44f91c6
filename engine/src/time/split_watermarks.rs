//! The watermarks of one split: its generator, and whether it is idle.
//!
//! Guarantees: a watermark that a record causes has its place right behind that record; the watermark of a split never
//! regresses; what is kept of it goes on after a restore as if nothing had happened, but for the clock of idleness.
//! Flink: `WatermarkGenerator` with `WatermarksWithIdleness`, one per split.

use super::{GenerateWatermarks, IdlenessTimer, Timestamp, WatermarkGenerator};
use crate::{
    codec::{self, DecodeError},
    record::StreamRecord,
};

/// A generator of the author's, with its type erased; one call handles a batch.
pub(super) trait ErasedGenerator<T>: Send {
    fn on_batch(&mut self, batch: &[StreamRecord<T>], emitted: &mut Vec<PlacedWatermark>);
    fn on_periodic_emit(&mut self) -> Option<Timestamp>;
    fn state(&self) -> Vec<u8>;
    fn restore(&mut self, state: &[u8]) -> Result<(), DecodeError>;
}

pub(super) struct OfAuthor<G>(pub(super) G);

impl<T, G: GenerateWatermarks<T>> ErasedGenerator<T> for OfAuthor<G> {
    fn on_batch(&mut self, batch: &[StreamRecord<T>], emitted: &mut Vec<PlacedWatermark>) {
        for (place, record) in batch.iter().enumerate() {
            if let Some(watermark) = self.0.on_event(&record.value, record.timestamp) {
                emitted.push(PlacedWatermark { behind: place + 1, watermark });
            }
        }
    }
    fn on_periodic_emit(&mut self) -> Option<Timestamp> {
        self.0.on_periodic_emit()
    }
    fn state(&self) -> Vec<u8> {
        codec::encode(&self.0)
    }
    fn restore(&mut self, state: &[u8]) -> Result<(), DecodeError> {
        self.0 = codec::decode(state)?;
        Ok(())
    }
}

/// A generator without state: a function decides by record.
pub(super) struct Punctuated<F>(pub(super) F);

impl<T, F: FnMut(&T, Timestamp) -> Option<Timestamp> + Send> ErasedGenerator<T> for Punctuated<F> {
    fn on_batch(&mut self, batch: &[StreamRecord<T>], emitted: &mut Vec<PlacedWatermark>) {
        for (place, record) in batch.iter().enumerate() {
            if let Some(watermark) = (self.0)(&record.value, record.timestamp) {
                emitted.push(PlacedWatermark { behind: place + 1, watermark });
            }
        }
    }
    fn on_periodic_emit(&mut self) -> Option<Timestamp> {
        None
    }
    fn state(&self) -> Vec<u8> {
        Vec::new()
    }
    fn restore(&mut self, _state: &[u8]) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// A watermark that a record caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedWatermark {
    /// How many records of the batch come before it.
    pub behind: usize,
    /// The watermark.
    pub watermark: Timestamp,
}

/// What a split says when it is asked periodically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitProgress {
    /// It has come this far.
    Watermark(Timestamp),
    /// There was no record for longer than the timeout.
    Idle,
    /// It has nothing to say: its watermarks come with records, or not at all.
    Unchanged,
}

pub(super) enum Generator<T> {
    Periodic(WatermarkGenerator),
    OfAuthor(Box<dyn ErasedGenerator<T>>),
}

/// The watermarks of one split.
pub struct SplitWatermarks<T> {
    generator: Generator<T>,
    idleness: Option<IdlenessTimer>,
    /// The largest one that was emitted.
    emitted: Timestamp,
}

impl<T> SplitWatermarks<T> {
    pub(super) fn new(generator: Generator<T>, idleness: Option<IdlenessTimer>) -> Self {
        Self { generator, idleness, emitted: Timestamp::MIN }
    }

    /// Goes on where `kept` was taken.
    ///
    /// # Errors
    /// If the state of the author's generator cannot be read.
    pub fn restore(&mut self, kept: WatermarkGenerator) -> Result<(), DecodeError> {
        match (&mut self.generator, kept) {
            (Generator::OfAuthor(generator), WatermarkGenerator::OfAuthor { state, watermark }) => {
                generator.restore(&state)?;
                self.emitted = watermark;
            }
            (
                Generator::Periodic(generator),
                kept @ (WatermarkGenerator::BoundedOutOfOrderness { .. } | WatermarkGenerator::None),
            ) => {
                *generator = kept;
            }
            // The job has got another strategy: it begins anew.
            (Generator::OfAuthor(_), WatermarkGenerator::None | WatermarkGenerator::BoundedOutOfOrderness { .. })
            | (Generator::Periodic(_), WatermarkGenerator::OfAuthor { .. }) => {}
        }
        Ok(())
    }

    /// What has to be kept of it in a checkpoint.
    pub fn keep(&self) -> WatermarkGenerator {
        match &self.generator {
            Generator::Periodic(generator) => generator.clone(),
            Generator::OfAuthor(generator) => {
                WatermarkGenerator::OfAuthor { state: generator.state(), watermark: self.emitted }
            }
        }
    }

    /// Records pass. Appends the watermarks that they cause.
    pub fn on_batch(&mut self, batch: &[StreamRecord<T>], caused: &mut Vec<PlacedWatermark>) {
        if let (Some(idleness), false) = (&mut self.idleness, batch.is_empty()) {
            idleness.activity();
        }
        match &mut self.generator {
            Generator::Periodic(generator) => {
                // Such a generator depends on the largest timestamp alone.
                if let Some(largest) = batch.iter().map(|record| record.timestamp).max() {
                    generator.on_event(largest);
                }
            }
            Generator::OfAuthor(generator) => {
                generator.on_batch(batch, caused);
                self.emitted = caused.iter().map(|placed| placed.watermark).fold(self.emitted, Timestamp::max);
            }
        }
    }

    /// Asks how far the split is. `now` is processing time in which the split could have been read.
    pub fn on_periodic_emit(&mut self, now: Timestamp) -> SplitProgress {
        if self.idleness.as_mut().is_some_and(|idleness| idleness.is_idle(now)) {
            return SplitProgress::Idle;
        }
        let watermark = match &mut self.generator {
            Generator::Periodic(generator) => generator.watermark(),
            // What was restored counts before anything comes.
            Generator::OfAuthor(generator) => Some(generator.on_periodic_emit().unwrap_or(self.emitted))
                .filter(|watermark| *watermark > Timestamp::MIN),
        };
        match watermark {
            Some(watermark) => {
                self.emitted = self.emitted.max(watermark);
                SplitProgress::Watermark(self.emitted)
            }
            None => SplitProgress::Unchanged,
        }
    }

    /// How far the split is, whether or not that was emitted.
    pub fn watermark(&self) -> Timestamp {
        match &self.generator {
            Generator::Periodic(generator) => generator.watermark().unwrap_or(Timestamp::MIN),
            Generator::OfAuthor(_) => self.emitted,
        }
    }

    /// Whether idleness is looked for.
    pub fn detects_idleness(&self) -> bool {
        self.idleness.is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::time::WatermarkStrategy;

    fn records(numbers: &[i64]) -> Vec<StreamRecord<i64>> {
        numbers.iter().map(|number| StreamRecord::new(*number, Timestamp(*number))).collect()
    }

    fn caused<T>(split: &mut SplitWatermarks<T>, batch: &[StreamRecord<T>]) -> Vec<(usize, i64)> {
        let mut caused = Vec::new();
        split.on_batch(batch, &mut caused);
        caused.iter().map(|placed| (placed.behind, placed.watermark.0)).collect()
    }

    #[test]
    fn a_punctuated_watermark_stands_right_behind_its_record() {
        let strategy =
            WatermarkStrategy::for_punctuated(|value: &i64, timestamp| (value % 10 == 0).then_some(timestamp));
        let mut split = strategy.split_watermarks();
        assert_eq!(split.on_periodic_emit(Timestamp(0)), SplitProgress::Unchanged);
        assert_eq!(caused(&mut split, &records(&[1, 10, 12, 20, 21])), [(2, 10), (4, 20)]);
        let mut again = strategy.split_watermarks();
        again.restore(split.keep()).unwrap();
        assert_eq!(again.on_periodic_emit(Timestamp(0)), SplitProgress::Watermark(Timestamp(20)));
    }

    /// The watermark is the mean of the timestamps so far; every hundredth record says so at once.
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Mean {
        sum: i64,
        count: i64,
    }

    impl GenerateWatermarks<i64> for Mean {
        fn on_event(&mut self, value: &i64, timestamp: Timestamp) -> Option<Timestamp> {
            self.sum += timestamp.0;
            self.count += 1;
            (value % 100 == 0).then(|| Timestamp(self.sum / self.count))
        }
        fn on_periodic_emit(&mut self) -> Option<Timestamp> {
            (self.count > 0).then(|| Timestamp(self.sum / self.count))
        }
    }

    #[test]
    fn the_state_of_an_authors_generator_is_kept() {
        let strategy = WatermarkStrategy::for_generator(Mean::default);
        let mut split = strategy.split_watermarks();
        assert_eq!(caused(&mut split, &records(&[50, 100, 150])), [(2, 75)]);
        let mut again = strategy.split_watermarks();
        again.restore(split.keep()).unwrap();
        for split in [&mut split, &mut again] {
            assert_eq!(caused(split, &records(&[200])), [(1, 125)]);
            assert_eq!(caused(split, &records(&[1])), []);
            assert_eq!(split.on_periodic_emit(Timestamp(0)), SplitProgress::Watermark(Timestamp(125)), "never back");
        }
    }

    #[test]
    fn a_split_without_records_is_idle_after_the_timeout() {
        let strategy =
            WatermarkStrategy::<i64>::for_monotonous_timestamps().with_idleness(std::time::Duration::from_millis(10));
        let mut split = strategy.split_watermarks();
        split.on_batch(&records(&[5]), &mut Vec::new());
        let mut ask = |now| split.on_periodic_emit(Timestamp(now));
        assert_eq!(ask(0), SplitProgress::Watermark(Timestamp(4)));
        assert_eq!(ask(1), SplitProgress::Watermark(Timestamp(4)), "the clock starts");
        assert_eq!(ask(12), SplitProgress::Idle);
        split.on_batch(&records(&[7]), &mut Vec::new());
        assert_eq!(split.on_periodic_emit(Timestamp(13)), SplitProgress::Watermark(Timestamp(6)));
    }
}
