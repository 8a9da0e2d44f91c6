//! What functions emit into: values that all get one timestamp (Flink `TimestampedCollector`).

use super::Collector;
use crate::{record::StreamRecord, time::Timestamp};

/// A collector that gives each value the timestamp of what caused it.
#[derive(Debug)]
pub struct TimestampedCollector<'a, T> {
    out: &'a mut Collector<T>,
    timestamp: Timestamp,
}

impl<'a, T> TimestampedCollector<'a, T> {
    /// Values go to `out` with this timestamp.
    #[inline]
    pub fn new(out: &'a mut Collector<T>, timestamp: Timestamp) -> Self {
        Self { out, timestamp }
    }

    /// Emits a value.
    #[inline]
    pub fn collect(&mut self, value: T) {
        self.out.collect(StreamRecord { value, timestamp: self.timestamp });
    }
}
