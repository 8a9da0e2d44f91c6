//! Event times and watermarks that begin anew in the middle of a job (Flink `TimestampsAndWatermarksOperator`).
//!
//! Guarantees: of the watermarks from upstream only the last one, at the end of the input, is handed on, and none of their
//! idleness; what this operator emits never regresses; a watermark that a record causes comes right behind that record.
//! The operator stands at the head of a task, where watermarks come in, so that everything behind it sees its own only.

use std::{collections::BTreeMap, sync::Arc};

use super::source::SourceOutput;
use crate::{
    codec::{self, Data},
    error::{Error, ErrorKind, Result},
    operator::{ListMode, ListSnapshot, OperatorSnapshot},
    record::{AnyBatch, Batch, WatermarkStatus},
    time::{PlacedWatermark, SplitProgress, SplitWatermarks, Timestamp, WatermarkOutput, WatermarkStrategy},
};

/// An operator that gives records their event times and makes watermarks, with its record type erased.
pub trait ErasedTimestampsAndWatermarks: Send {
    /// Starts it: with its restored state, or without a watermark.
    ///
    /// # Errors
    /// If the state cannot be read.
    fn open(&mut self, restored: Option<OperatorSnapshot>) -> Result<()>;
    /// Records pass.
    fn process(&mut self, batch: AnyBatch, out: &mut Vec<SourceOutput>);
    /// Asks how far the stream is. `now` is a clock that stands still while nothing could be read.
    fn on_periodic_emit(&mut self, now: Timestamp, out: &mut Vec<SourceOutput>);
    /// The input is complete.
    fn on_last_watermark(&mut self, out: &mut Vec<SourceOutput>);
    /// What has to be kept of it.
    fn snapshot(&self) -> OperatorSnapshot;
}

/// Makes the operator of one subtask.
pub type TimestampsAndWatermarksFactory = Arc<dyn Fn() -> Box<dyn ErasedTimestampsAndWatermarks> + Send + Sync>;

/// The state name under which the watermark generator is kept.
///
/// With it the watermark after a restore is the one before the failure, and so are the decisions what is late. Flink starts
/// again without a watermark.
const GENERATOR: &str = "generator";

/// Erases the type of a strategy.
pub fn timestamps_and_watermarks<T: Data>(strategy: WatermarkStrategy<T>) -> TimestampsAndWatermarksFactory {
    Arc::new(move || {
        let watermarks = strategy.split_watermarks();
        let (current, status) = (Timestamp::MIN, WatermarkStatus::Active);
        Box::new(TimestampsAndWatermarks { strategy: strategy.clone(), watermarks, current, status })
    })
}

struct TimestampsAndWatermarks<T> {
    strategy: WatermarkStrategy<T>,
    watermarks: SplitWatermarks<T>,
    /// The last one that was emitted.
    current: Timestamp,
    status: WatermarkStatus,
}

impl<T: Data> ErasedTimestampsAndWatermarks for TimestampsAndWatermarks<T> {
    fn open(&mut self, restored: Option<OperatorSnapshot>) -> Result<()> {
        let kept = restored.and_then(|mut snapshot| snapshot.lists.remove(GENERATOR));
        // What several subtasks kept is of several streams: this one begins anew.
        let Some([kept]) = kept.as_ref().map(|list| &list.entries[..]) else { return Ok(()) };
        let restored = codec::decode(kept).and_then(|generator| self.watermarks.restore(generator));
        restored.map_err(|error| {
            Error::new(ErrorKind::CorruptState, "the state of a watermark generator cannot be read").with_source(error)
        })
    }

    fn process(&mut self, batch: AnyBatch, out: &mut Vec<SourceOutput>) {
        let mut rest: Batch<T> = batch.into_typed();
        self.strategy.assign_timestamps(&mut rest);
        let mut caused = Vec::new();
        self.watermarks.on_batch(&rest, &mut caused);
        let mut gone = 0;
        for PlacedWatermark { behind, watermark } in caused {
            if watermark > self.current {
                let later = rest.split_off(behind - gone);
                gone = behind;
                push_batch(std::mem::replace(&mut rest, later), out);
                self.emit(watermark, out);
            }
        }
        push_batch(rest, out);
    }

    fn on_periodic_emit(&mut self, now: Timestamp, out: &mut Vec<SourceOutput>) {
        match self.watermarks.on_periodic_emit(now) {
            SplitProgress::Watermark(watermark) => self.emit(watermark, out),
            SplitProgress::Idle => self.set_status(WatermarkStatus::Idle, out),
            SplitProgress::Unchanged => {}
        }
    }

    fn on_last_watermark(&mut self, out: &mut Vec<SourceOutput>) {
        self.emit(Timestamp::MAX, out);
    }

    fn snapshot(&self) -> OperatorSnapshot {
        let entries = vec![codec::encode(&self.watermarks.keep())];
        let lists = BTreeMap::from([(GENERATOR.to_owned(), ListSnapshot { mode: ListMode::Split, entries })]);
        OperatorSnapshot { lists, ..OperatorSnapshot::default() }
    }
}

impl<T> TimestampsAndWatermarks<T> {
    /// A stream that was idle is active again with its next watermark.
    fn emit(&mut self, watermark: Timestamp, out: &mut Vec<SourceOutput>) {
        if watermark > self.current {
            self.current = watermark;
            self.set_status(WatermarkStatus::Active, out);
            out.push(SourceOutput::Watermark(WatermarkOutput::Watermark(watermark)));
        }
    }

    fn set_status(&mut self, status: WatermarkStatus, out: &mut Vec<SourceOutput>) {
        if std::mem::replace(&mut self.status, status) != status {
            out.push(SourceOutput::Watermark(WatermarkOutput::Status(status)));
        }
    }
}

fn push_batch<T: Data>(batch: Batch<T>, out: &mut Vec<SourceOutput>) {
    if !batch.is_empty() {
        out.push(SourceOutput::Batch(AnyBatch::new(batch)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::StreamRecord;

    /// An operator for numbers that are their own event times, and what it has put out, in words.
    struct Bench {
        operator: Box<dyn ErasedTimestampsAndWatermarks>,
        out: Vec<SourceOutput>,
    }

    impl Bench {
        fn new(strategy: WatermarkStrategy<i64>, restored: Option<OperatorSnapshot>) -> Self {
            let mut operator =
                timestamps_and_watermarks(strategy.with_timestamp_assigner(|number| Timestamp(*number)))();
            operator.open(restored).unwrap();
            Self { operator, out: Vec::new() }
        }

        fn records(&mut self, numbers: &[i64]) -> String {
            let batch = numbers.iter().map(|number| StreamRecord::new(*number, Timestamp::MIN));
            self.operator.process(AnyBatch::new(batch.collect()), &mut self.out);
            self.said()
        }

        fn asked_at(&mut self, now: i64) -> String {
            self.operator.on_periodic_emit(Timestamp(now), &mut self.out);
            self.said()
        }

        fn said(&mut self) -> String {
            let said = self.out.drain(..).map(|output| match output {
                SourceOutput::Batch(batch) => {
                    let times = batch.into_typed::<i64>().into_iter().map(|record| record.timestamp.0.to_string());
                    times.collect::<Vec<_>>().join(" ")
                }
                SourceOutput::Watermark(WatermarkOutput::Watermark(watermark)) => format!("w{}", watermark.0),
                SourceOutput::Watermark(WatermarkOutput::Status(status)) => format!("{status:?}"),
            });
            said.collect::<Vec<_>>().join(", ")
        }
    }

    #[test]
    fn periodic_watermarks_come_when_asked_for_and_never_twice() {
        let mut bench = Bench::new(WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(10)), None);
        assert_eq!(bench.asked_at(0), "", "without a record there is nothing to say");
        assert_eq!(bench.records(&[30, 50, 40]), "30 50 40");
        assert_eq!(bench.asked_at(200), "w39");
        assert_eq!(bench.asked_at(400), "");
        assert_eq!(bench.records(&[20]), "20");
        assert_eq!(bench.asked_at(600), "");
    }

    #[test]
    fn a_punctuated_watermark_stands_right_behind_its_record() {
        let punctuated = WatermarkStrategy::for_punctuated(|n: &i64, time| (n % 10 == 0).then_some(time));
        let mut bench = Bench::new(punctuated, None);
        assert_eq!(bench.records(&[1, 10, 12, 5, 20, 10, 21]), "1 10, w10, 12 5 20, w20, 10 21");
        assert_eq!(bench.records(&[30]), "30, w30");
    }

    #[test]
    fn a_quiet_stream_becomes_idle_and_active_with_its_next_watermark() {
        let strategy = WatermarkStrategy::for_monotonous_timestamps().with_idleness(Duration::from_millis(500));
        let mut bench = Bench::new(strategy, None);
        bench.records(&[7]);
        assert_eq!(bench.asked_at(0), "w6");
        assert_eq!(bench.asked_at(200), "");
        assert_eq!(bench.asked_at(800), "Idle");
        assert_eq!(bench.asked_at(1000), "");
        assert_eq!(bench.records(&[5]), "5");
        assert_eq!(bench.asked_at(1200), "", "a record that brings no watermark changes nothing");
        bench.records(&[9]);
        assert_eq!(bench.asked_at(1400), "Active, w8");
    }

    #[test]
    fn the_end_of_the_input_is_handed_on_and_nothing_comes_after_it() {
        let mut bench = Bench::new(WatermarkStrategy::for_monotonous_timestamps(), None);
        bench.records(&[7]);
        bench.operator.on_last_watermark(&mut bench.out);
        assert_eq!(bench.said(), format!("w{}", i64::MAX));
        assert_eq!(bench.asked_at(0), "");
    }

    #[test]
    fn after_a_restore_the_watermark_is_the_one_before() {
        let strategy = WatermarkStrategy::for_monotonous_timestamps();
        let mut bench = Bench::new(strategy.clone(), None);
        bench.records(&[7]);
        let mut again = Bench::new(strategy, Some(bench.operator.snapshot()));
        assert_eq!(again.asked_at(0), "w6");
    }
}
