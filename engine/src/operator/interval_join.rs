//! The interval join: pairs records of two keyed streams whose event times are close (Flink `IntervalJoinOperator`).
//!
//! Guarantees: each pair (l, r) of one key with `lower ≤ r.timestamp − l.timestamp ≤ upper`, each of them ahead of the
//! watermark when it comes, is joined once, at the larger of both timestamps; a record is kept until the watermark says
//! that no partner of it comes any more, and not longer; a late record, one behind the watermark, goes to the late side
//! output of its input. One exactly at the watermark is not late, but partners that had waited up to there are gone.
//!
//! ```text
//!   a left record at t waits for right records up to t + upper, one at s on the right for left ones up to s − lower:
//!
//!      ──────┬───────────── l @ t ────────┬───────────▶        kept until the watermark is at
//!         t + lower                    t + upper                  left: max(t, t + upper), right: max(s, s − lower)
//! ```

use std::{
    marker::PhantomData,
    ops::{Bound, RangeBounds},
};

use serde::{Deserialize, Serialize};

use super::{
    AsyncSnapshot, Collector, Operator, OperatorContext, OperatorSnapshot, OutputTag, Tagged, TimestampedCollector,
    TwoInputOperator, keyed_runtime::OPENED,
};
use crate::{
    backend::{KeyedStateBackend, MapOf, Maps, StateId},
    codec::Data,
    error::{Error, ErrorKind, Result},
    id::CheckpointId,
    planted,
    record::{Batch, StreamRecord},
    state::{Key, KeySelector, StateDescriptor},
    time::{TimerService, Timestamp},
};

/// Names of the states that hold the records of the left and of the right input, by timestamp.
pub const JOIN_BUFFERS: [&str; 2] = ["left-buffer", "right-buffer"];

/// How far the right record of a pair may be from the left one, in milliseconds of event time; both ends are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinInterval {
    lower_ms: i64,
    upper_ms: i64,
}

impl JoinInterval {
    /// The interval of a range of milliseconds: `-100..=200`, `-100..200`.
    ///
    /// # Errors
    /// If the range is open at an end, or holds nothing.
    pub fn from_range_ms(range: impl RangeBounds<i64>) -> Result<Self> {
        let lower_ms = match range.start_bound() {
            Bound::Included(lower) => Some(*lower),
            Bound::Excluded(lower) => lower.checked_add(1),
            Bound::Unbounded => None,
        };
        let upper_ms = match range.end_bound() {
            Bound::Included(upper) => Some(*upper),
            Bound::Excluded(upper) => upper.checked_sub(1),
            Bound::Unbounded => None,
        };
        match (lower_ms, upper_ms) {
            (Some(lower_ms), Some(upper_ms)) if lower_ms <= upper_ms => Ok(Self { lower_ms, upper_ms }),
            _ => Err(Error::new(
                ErrorKind::Configuration,
                "an interval join needs a range of milliseconds that holds something",
            )
            .with_hint("give both bounds, the lower one first: -100..=200")),
        }
    }

    /// The range of timestamps of the partners of a record.
    fn partners(self, side: Side, timestamp: Timestamp) -> (Timestamp, Timestamp) {
        let (lower, upper) = match side {
            Side::Left => (self.lower_ms, self.upper_ms),
            Side::Right => (self.upper_ms.saturating_neg(), self.lower_ms.saturating_neg()),
        };
        (Timestamp(timestamp.0.saturating_add(lower)), Timestamp(timestamp.0.saturating_add(upper)))
    }

    /// The watermark from which no partner of a record can come any more.
    fn kept_until(self, side: Side, timestamp: Timestamp) -> Timestamp {
        if planted!("interval_join_cleans_up_too_early") {
            return timestamp;
        }
        timestamp.max(self.partners(side, timestamp).1)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Side {
    Left,
    Right,
}

/// The timestamps of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinContext {
    /// Of the left record.
    pub left_timestamp: Timestamp,
    /// Of the right record.
    pub right_timestamp: Timestamp,
}

impl JoinContext {
    /// The larger of both: the timestamp of what is emitted.
    pub fn timestamp(&self) -> Timestamp {
        self.left_timestamp.max(self.right_timestamp)
    }
}

/// Makes results of a pair (Flink `ProcessJoinFunction`).
///
/// Any `FnMut(&L, &R, &JoinContext, &mut TimestampedCollector<'_, Out>) -> Result<()>` is one.
pub trait JoinFunction<L, R, Out>: Send + 'static {
    /// Emits the results of a pair.
    ///
    /// # Errors
    /// Whatever shall fail the job.
    fn join(
        &mut self,
        left: &L,
        right: &R,
        context: &JoinContext,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()>;
}

impl<L, R, Out, F> JoinFunction<L, R, Out> for F
where
    F: FnMut(&L, &R, &JoinContext, &mut TimestampedCollector<'_, Out>) -> Result<()> + Send + 'static,
{
    fn join(
        &mut self,
        left: &L,
        right: &R,
        context: &JoinContext,
        out: &mut TimestampedCollector<'_, Out>,
    ) -> Result<()> {
        self(left, right, context, out)
    }
}

type Buffer<T> = StateId<(), MapOf<Timestamp, Vec<T>>>;

/// See the module. Takes the two streams as two inputs, or as one stream of [`Tagged`] records.
pub struct IntervalJoinOperator<L, R, S1: KeySelector<L>, S2, F, Out> {
    selectors: (S1, S2),
    interval: JoinInterval,
    late: (Option<OutputTag<L>>, Option<OutputTag<R>>),
    function: F,
    running: Option<Running<S1::Key, L, R>>,
    types: PhantomData<fn(R) -> Out>,
}

struct Running<K: Key, L, R> {
    backend: KeyedStateBackend<K>,
    left: Buffer<L>,
    right: Buffer<R>,
    timers: TimerService<K, Side>,
}

impl<L, R, S1, S2, F, Out> IntervalJoinOperator<L, R, S1, S2, F, Out>
where
    L: Data,
    R: Data,
    Out: Data,
    S1: KeySelector<L>,
    S2: KeySelector<R, Key = S1::Key>,
    F: JoinFunction<L, R, Out>,
{
    /// An operator that joins records with the same key; late ones are dropped.
    pub fn new(left: S1, right: S2, interval: JoinInterval, function: F) -> Self {
        Self { selectors: (left, right), interval, late: (None, None), function, running: None, types: PhantomData }
    }

    /// Emits late records on the side.
    #[must_use]
    pub fn with_late_outputs(mut self, left: Option<OutputTag<L>>, right: Option<OutputTag<R>>) -> Self {
        self.late = (left, right);
        self
    }

    fn open_state(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let mut backend = KeyedStateBackend::open(context, restored)?;
        let left = backend.register_maps(&StateDescriptor::new(JOIN_BUFFERS[0]))?;
        let right = backend.register_maps(&StateDescriptor::new(JOIN_BUFFERS[1]))?;
        let timers = backend.timers()?;
        self.running = Some(Running { backend, left, right, timers });
        Ok(())
    }

    fn process_left(&mut self, record: StreamRecord<L>, out: &mut Collector<Out>) -> Result<()> {
        let StreamRecord { value, timestamp } = record;
        let running = self.running.as_mut().expect(OPENED);
        if is_late(timestamp, running.timers.watermark())? {
            if let Some(tag) = &self.late.0 {
                out.side_output(tag, StreamRecord { value, timestamp });
            }
            return Ok(());
        }
        let key = self.selectors.0.key(&value).into_owned();
        let (from, to) = self.interval.partners(Side::Left, timestamp);
        let partners = running.backend.maps(running.right);
        partners.visit_range(&key, &(), &from..=&to, |right_timestamp, rights| {
            let context = JoinContext { left_timestamp: timestamp, right_timestamp: *right_timestamp };
            let mut out = TimestampedCollector::new(out, context.timestamp());
            rights.iter().try_for_each(|right| self.function.join(&value, right, &context, &mut out))
        })?;
        append(&mut running.backend.maps(running.left), &key, timestamp, value)?;
        running.keep(Side::Left, timestamp, &key, self.interval);
        Ok(())
    }

    fn process_right(&mut self, record: StreamRecord<R>, out: &mut Collector<Out>) -> Result<()> {
        let StreamRecord { value, timestamp } = record;
        let running = self.running.as_mut().expect(OPENED);
        if is_late(timestamp, running.timers.watermark())? {
            if let Some(tag) = &self.late.1 {
                out.side_output(tag, StreamRecord { value, timestamp });
            }
            return Ok(());
        }
        let key = self.selectors.1.key(&value).into_owned();
        let (from, to) = self.interval.partners(Side::Right, timestamp);
        let partners = running.backend.maps(running.left);
        partners.visit_range(&key, &(), &from..=&to, |left_timestamp, lefts| {
            let context = JoinContext { left_timestamp: *left_timestamp, right_timestamp: timestamp };
            let mut out = TimestampedCollector::new(out, context.timestamp());
            lefts.iter().try_for_each(|left| self.function.join(left, &value, &context, &mut out))
        })?;
        append(&mut running.backend.maps(running.right), &key, timestamp, value)?;
        running.keep(Side::Right, timestamp, &key, self.interval);
        Ok(())
    }

    fn clean_up(&mut self, watermark: Timestamp) -> Result<()> {
        let running = self.running.as_mut().expect(OPENED);
        if !running.timers.advance_watermark(watermark) {
            return Ok(());
        }
        while let Some(timer) = running.timers.pop_due_event_time() {
            running.remove(timer.namespace, &timer.key, timer.timestamp, self.interval)?;
        }
        Ok(())
    }

    fn cut(&mut self) -> Result<AsyncSnapshot> {
        let running = self.running.as_mut().expect(OPENED);
        Ok(running.backend.snapshot_with_timers(&running.timers)?)
    }
}

impl<K: Key, L: Data, R: Data> Running<K, L, R> {
    fn keep(&mut self, side: Side, timestamp: Timestamp, key: &K, interval: JoinInterval) {
        let until = interval.kept_until(side, timestamp);
        self.timers.register(crate::time::TimeDomain::EventTime, until, key, &side);
    }

    /// Removes what was kept until a timestamp.
    fn remove(&mut self, side: Side, key: &K, kept_until: Timestamp, interval: JoinInterval) -> Result<()> {
        // The way back from the timer to the record's timestamp.
        let waited = interval.kept_until(side, Timestamp(0)).0;
        let timestamp = Timestamp(kept_until.0.saturating_sub(waited));
        match side {
            Side::Left => self.backend.maps(self.left).remove(key, &(), &timestamp).map(drop),
            Side::Right => self.backend.maps(self.right).remove(key, &(), &timestamp).map(drop),
        }
    }
}

fn append<K: Key, T: Data>(
    buffer: &mut impl Maps<K, (), Timestamp, Vec<T>>,
    key: &K,
    timestamp: Timestamp,
    value: T,
) -> Result<()> {
    let mut values = buffer.get(key, &(), &timestamp)?.map(std::borrow::Cow::into_owned).unwrap_or_default();
    values.push(value);
    buffer.put(key, &(), timestamp, values)
}

fn is_late(timestamp: Timestamp, watermark: Timestamp) -> Result<bool> {
    if timestamp == Timestamp::MIN {
        return Err(Error::new(ErrorKind::Configuration, "a record without a timestamp has come to an interval join")
            .with_hint("give the stream a WatermarkStrategy with a timestamp assigner"));
    }
    Ok(timestamp < watermark)
}

impl<L, R, S1, S2, F, Out> TwoInputOperator for IntervalJoinOperator<L, R, S1, S2, F, Out>
where
    L: Data,
    R: Data,
    Out: Data,
    S1: KeySelector<L>,
    S2: KeySelector<R, Key = S1::Key>,
    F: JoinFunction<L, R, Out>,
{
    type First = L;
    type Second = R;
    type Out = Out;

    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        self.open_state(context, restored)
    }
    fn process_first(&mut self, batch: Batch<L>, out: &mut Collector<Out>) -> Result<()> {
        batch.into_iter().try_for_each(|record| self.process_left(record, out))
    }
    fn process_second(&mut self, batch: Batch<R>, out: &mut Collector<Out>) -> Result<()> {
        batch.into_iter().try_for_each(|record| self.process_right(record, out))
    }
    fn advance_watermark(&mut self, watermark: Timestamp, _out: &mut Collector<Out>) -> Result<()> {
        self.clean_up(watermark)
    }
    fn snapshot(&mut self, _checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        self.cut()
    }
}

impl<L, R, S1, S2, F, Out> Operator for IntervalJoinOperator<L, R, S1, S2, F, Out>
where
    L: Data,
    R: Data,
    Out: Data,
    S1: KeySelector<L>,
    S2: KeySelector<R, Key = S1::Key>,
    F: JoinFunction<L, R, Out>,
{
    type In = Tagged<L, R>;
    type Out = Out;

    fn open(&mut self, context: &OperatorContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        self.open_state(context, restored)
    }
    fn process(&mut self, batch: Batch<Tagged<L, R>>, out: &mut Collector<Out>) -> Result<()> {
        batch.into_iter().try_for_each(|StreamRecord { value, timestamp }| match value {
            Tagged::First(value) => self.process_left(StreamRecord { value, timestamp }, out),
            Tagged::Second(value) => self.process_right(StreamRecord { value, timestamp }, out),
        })
    }
    fn advance_watermark(&mut self, watermark: Timestamp, _out: &mut Collector<Out>) -> Result<()> {
        self.clean_up(watermark)
    }
    fn snapshot(&mut self, _checkpoint_id: CheckpointId) -> Result<AsyncSnapshot> {
        self.cut()
    }
}

#[cfg(test)]
mod tests;
