//! Watermark strategies: how a stream gets its event times and its watermarks.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    GenerateWatermarks, IdlenessTimer, SplitWatermarks, Timestamp, WatermarkAlignment, WatermarkGenerator,
    split_watermarks::{ErasedGenerator, Generator, OfAuthor, Punctuated},
};
use crate::record::StreamRecord;

/// Gives records their event time. One call handles a batch, so that a record costs no dynamic dispatch.
trait TimestampAssigner<T>: Send + Sync {
    fn timestamp(&self, value: &T) -> Timestamp;
    fn assign(&self, records: &mut [StreamRecord<T>]);
}

impl<T, F: Fn(&T) -> Timestamp + Send + Sync> TimestampAssigner<T> for F {
    fn timestamp(&self, value: &T) -> Timestamp {
        self(value)
    }

    fn assign(&self, records: &mut [StreamRecord<T>]) {
        for record in records {
            record.timestamp = self(&record.value);
        }
    }
}

/// Where the generators of the splits come from.
enum Generators<T> {
    Periodic(WatermarkGenerator),
    OfAuthor(Arc<dyn Fn() -> Box<dyn ErasedGenerator<T>> + Send + Sync>),
}

impl<T> Clone for Generators<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Periodic(generator) => Self::Periodic(generator.clone()),
            Self::OfAuthor(make) => Self::OfAuthor(make.clone()),
        }
    }
}

impl<T> fmt::Debug for Generators<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Periodic(generator) => generator.fmt(f),
            Self::OfAuthor(_) => f.write_str("OfAuthor"),
        }
    }
}

/// How a stream gets its event times and its watermarks (Flink `WatermarkStrategy`).
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Timestamp, time::WatermarkStrategy};
///
/// let strategy = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_secs(5))
///     .with_timestamp_assigner(|flight: &(i64, u32)| Timestamp(flight.0))
///     .with_idleness(Duration::from_secs(60));
/// assert_eq!(strategy.timestamp(&(17, 1)), Some(Timestamp(17)));
/// ```
pub struct WatermarkStrategy<T> {
    assigner: Option<Arc<dyn TimestampAssigner<T>>>,
    generators: Generators<T>,
    idleness: Option<Duration>,
    alignment: Option<WatermarkAlignment>,
}

impl<T> Clone for WatermarkStrategy<T> {
    fn clone(&self) -> Self {
        Self {
            assigner: self.assigner.clone(),
            generators: self.generators.clone(),
            idleness: self.idleness,
            alignment: self.alignment.clone(),
        }
    }
}

impl<T> fmt::Debug for WatermarkStrategy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatermarkStrategy")
            .field("assigns_timestamps", &self.assigner.is_some())
            .field("generators", &self.generators)
            .field("idleness", &self.idleness)
            .field("alignment", &self.alignment)
            .finish()
    }
}

impl<T: 'static> WatermarkStrategy<T> {
    fn new(generators: Generators<T>) -> Self {
        Self { assigner: None, generators, idleness: None, alignment: None }
    }

    /// Records come at most `bound` behind the largest event time so far.
    pub fn for_bounded_out_of_orderness(bound: Duration) -> Self {
        Self::new(Generators::Periodic(WatermarkGenerator::bounded_out_of_orderness(bound)))
    }

    /// Event times never descend within a split.
    pub fn for_monotonous_timestamps() -> Self {
        Self::new(Generators::Periodic(WatermarkGenerator::ascending()))
    }

    /// No watermarks: for jobs in processing time.
    pub fn no_watermarks() -> Self {
        Self::new(Generators::Periodic(WatermarkGenerator::None))
    }

    /// Some records say how far the stream has come: `decide` sees each and its timestamp. Its watermark comes right
    /// behind the record (Flink: a generator that emits in `onEvent`).
    pub fn for_punctuated(
        decide: impl FnMut(&T, Timestamp) -> Option<Timestamp> + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::new(Generators::OfAuthor(Arc::new(move || Box::new(Punctuated(decide.clone())))))
    }

    /// A generator of the author's own; `make` is called once per split.
    pub fn for_generator<G: GenerateWatermarks<T>>(make: impl Fn() -> G + Send + Sync + 'static) -> Self {
        Self::new(Generators::OfAuthor(Arc::new(move || Box::new(OfAuthor(make())))))
    }

    /// Takes the event time from the value. Without this a record keeps the timestamp of its source.
    #[must_use]
    pub fn with_timestamp_assigner(mut self, assigner: impl Fn(&T) -> Timestamp + Send + Sync + 'static) -> Self {
        self.assigner = Some(Arc::new(assigner));
        self
    }

    /// A stream without a record for longer than this no longer holds back the watermark of the others.
    ///
    /// # Panics
    /// If the timeout is zero.
    #[must_use]
    pub fn with_idleness(mut self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "an idleness timeout is longer than zero");
        self.idleness = Some(timeout);
        self
    }

    /// Splits whose watermark is more than `max_drift` ahead of the slowest one's in the group, in whatever subtask of
    /// whatever source, are not read until the others have come closer; that is looked at every `update_interval`.
    ///
    /// # Panics
    /// If the interval is zero.
    #[must_use]
    pub fn with_watermark_alignment(mut self, group: &str, max_drift: Duration, update_interval: Duration) -> Self {
        assert!(!update_interval.is_zero(), "splits are aligned at an interval longer than zero");
        self.alignment = Some(WatermarkAlignment { group: group.to_owned(), max_drift, update_interval });
        self
    }

    /// How the splits are aligned, if they are.
    pub fn alignment(&self) -> Option<&WatermarkAlignment> {
        self.alignment.as_ref()
    }

    /// The event time of a value, if the strategy assigns one.
    pub fn timestamp(&self, value: &T) -> Option<Timestamp> {
        self.assigner.as_ref().map(|assigner| assigner.timestamp(value))
    }

    /// Gives all records their event time, if the strategy assigns one.
    pub fn assign_timestamps(&self, records: &mut [StreamRecord<T>]) {
        if let Some(assigner) = &self.assigner {
            assigner.assign(records);
        }
    }

    /// The watermarks of one split.
    pub fn split_watermarks(&self) -> SplitWatermarks<T> {
        let generator = match &self.generators {
            Generators::Periodic(generator) => Generator::Periodic(generator.clone()),
            Generators::OfAuthor(make) => Generator::OfAuthor(make()),
        };
        SplitWatermarks::new(generator, self.idleness.map(IdlenessTimer::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_gets_the_timestamps_of_its_values() {
        let strategy = WatermarkStrategy::for_monotonous_timestamps().with_timestamp_assigner(|v: &i64| Timestamp(*v));
        let mut batch = vec![StreamRecord::new(3, Timestamp::MIN), StreamRecord::new(4, Timestamp(0))];
        strategy.assign_timestamps(&mut batch);
        assert_eq!(batch, [StreamRecord::new(3, Timestamp(3)), StreamRecord::new(4, Timestamp(4))]);
    }

    #[test]
    fn without_an_assigner_records_keep_their_timestamps() {
        let strategy = WatermarkStrategy::<i64>::no_watermarks();
        let mut batch = vec![StreamRecord::new(3, Timestamp(7))];
        strategy.assign_timestamps(&mut batch);
        assert_eq!(batch, [StreamRecord::new(3, Timestamp(7))]);
        assert_eq!(strategy.timestamp(&3), None);
    }
}
