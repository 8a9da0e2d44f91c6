//! What the window operator does with a record: which windows it joins, or that it joins none.

use std::vec;

use super::{
    OPENED, Running, WindowError, WindowFunction, WindowOperator,
    in_flight::state_window,
    windowing::{Live, Place, Windowing},
};
use crate::{
    codec::Data,
    error::Result,
    operator::Collector,
    record::StreamRecord,
    state::KeySelector,
    time::{TimeDomain, Timestamp},
    window::{AssignerContext, Trigger, TriggerResult, Window, WindowAssigner},
};

/// A record and its windows, the first two of which have been looked at.
pub(super) struct Assigned<In, W, Ws> {
    record: StreamRecord<In>,
    first: Option<W>,
    second: Option<W>,
    further: Ws,
}

pub(super) type AssignedBy<In, A> = Assigned<In, <A as WindowAssigner<In>>::Window, <A as WindowAssigner<In>>::Windows>;

impl<In, S, A, R, F> WindowOperator<In, S, A, R, F>
where
    In: Data,
    S: KeySelector<In>,
    A: WindowAssigner<In>,
    R: Trigger<In, S::Key, A::Window>,
    F: WindowFunction<In, S::Key, A::Window>,
{
    #[inline]
    fn assigner_context(&self, record: &StreamRecord<In>, live: &Live<S::Key, A::Window>) -> Result<AssignerContext> {
        if record.timestamp == Timestamp::MIN && self.windowing.lateness.domain == TimeDomain::EventTime {
            return Err(WindowError::NoTimestamp.into());
        }
        Ok(AssignerContext { timestamp: record.timestamp, processing_time: live.processing_time })
    }

    /// Adds records as long as each only joins the contents of one window; returns the first one that does more.
    #[inline]
    pub(super) fn process_further(
        &mut self,
        records: &mut vec::IntoIter<StreamRecord<In>>,
        running: &mut Running<S::Key, A::Window>,
    ) -> Result<Option<AssignedBy<In, A>>> {
        let now = running.live.now();
        let contents = self.windowing.contents();
        let Windowing { trigger, function, lateness, .. } = &mut self.windowing;
        let mut table = F::table(contents, &mut running.live.backend);
        for record in records {
            if record.timestamp == Timestamp::MIN && lateness.domain == TimeDomain::EventTime {
                return Err(WindowError::NoTimestamp.into());
            }
            let context = AssignerContext { timestamp: record.timestamp, processing_time: now.processing_time };
            let mut further = self.assigner.assign(&record.value, context);
            let (first, second) = (further.next(), further.next());
            let record = match (&first, &second) {
                (Some(window), None)
                    if window.max_timestamp() > running.fired_before
                        && !lateness.is_window_late(window, now.watermark)
                        && trigger.on_further_element(window, now) == Some(TriggerResult::Continue) =>
                {
                    match function.add_further(&mut table, &self.key_selector, window, record)? {
                        None => continue,
                        Some(record) => record,
                    }
                }
                _ => record,
            };
            return Ok(Some(Assigned { record, first, second, further }));
        }
        Ok(None)
    }

    /// Adds a record to its windows.
    pub(super) fn process_assigned(
        &mut self,
        assigned: AssignedBy<In, A>,
        running: &mut Running<S::Key, A::Window>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        let Assigned { record, first, second, further } = assigned;
        let watermark = running.live.timers.watermark();
        let (lateness, has_window) = (self.windowing.lateness, first.is_some());
        let windows = first.into_iter().chain(second).chain(further);
        let mut windows = windows.filter(|window| !lateness.is_window_late(window, watermark)).peekable();
        if windows.peek().is_none() {
            return self.without_window(record, has_window, running, out);
        }
        let mut record = Some(record);
        while let Some(window) = windows.next() {
            let last = windows.peek().is_none();
            let copy = if last { record.take() } else { record.clone() };
            self.add_to_window(copy.expect("only the last window takes the record"), &window, running, out)?;
        }
        Ok(())
    }

    fn add_to_window(
        &mut self,
        record: StreamRecord<In>,
        window: &A::Window,
        running: &mut Running<S::Key, A::Window>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        let live = &mut running.live;
        let record = if window.max_timestamp() > running.fired_before {
            self.windowing.add_further(record, window, &self.key_selector, live, out)?
        } else {
            Some(record)
        };
        let Some(record) = record else { return Ok(()) };
        let key = self.key_selector.key(&record.value).into_owned();
        self.windowing.add(record, Place { key: &key, window, state_window: window }, live, out)
    }

    /// Adds a record where windows merge.
    pub(super) fn process_merging(
        &mut self,
        record: StreamRecord<In>,
        running: &mut Running<S::Key, A::Window>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        let Running { live, in_flight, .. } = running;
        let in_flight = in_flight.as_ref().expect(OPENED);
        let mut windows = self.assigner.assign(&record.value, self.assigner_context(&record, live)?).peekable();
        let key = self.key_selector.key(&record.value).into_owned();
        let mut set = in_flight.load(live, &key)?;
        let has_window = windows.peek().is_some();
        let (mut record, mut skipped, mut changed) = (Some(record), true, false);
        let mut merges = Vec::new();
        while let Some(window) = windows.next() {
            let added = set.add(window, |windows| self.assigner.merge_windows(windows), &mut merges);
            changed |= added.changed;
            for merge in merges.drain(..) {
                self.windowing.merge::<In, _, _>(&key, &merge, live)?;
            }
            if self.windowing.lateness.is_window_late(&added.window, live.timers.watermark()) {
                set.retire(&added.window);
                changed = true;
                continue;
            }
            skipped = false;
            let last = windows.peek().is_none();
            let copy = if last { record.take() } else { record.clone() };
            let copy = copy.expect("only the last window takes the record");
            let place = Place { key: &key, window: &added.window, state_window: state_window(&set, &added.window)? };
            self.windowing.add(copy, place, live, out)?;
        }
        if changed {
            in_flight.store(live, &key, set)?;
        }
        match record.filter(|_| skipped) {
            Some(record) => self.without_window(record, has_window, running, out),
            None => Ok(()),
        }
    }

    /// A record was skipped by all its windows, or has none.
    fn without_window(
        &mut self,
        record: StreamRecord<In>,
        has_window: bool,
        running: &mut Running<S::Key, A::Window>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        let watermark = running.live.timers.watermark();
        if self.windowing.lateness.is_element_late(record.timestamp, watermark) {
            return running.unassigned.late(record, watermark, self.late_tag.as_ref(), out);
        }
        running.unassigned.without_window += u64::from(!has_window);
        Ok(())
    }
}
