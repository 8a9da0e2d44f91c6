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
    /// Whether the only window is known to have no contents.
    is_empty: bool,
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
            let mut is_empty = false;
            let record = match (&first, &second) {
                (Some(window), None)
                    if window.max_timestamp() > running.fired_before
                        && !lateness.is_window_late(window, now.watermark)
                        && trigger.on_further_element(window, now) == Some(TriggerResult::Continue) =>
                {
                    match function.add_further(&mut table, &self.key_selector, window, record)? {
                        None => continue,
                        Some(record) => {
                            is_empty = true;
                            record
                        }
                    }
                }
                _ => record,
            };
            return Ok(Some(Assigned { record, first, second, further, is_empty }));
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
        let Assigned { record, first, second, further, is_empty } = assigned;
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
            let copy = copy.expect("only the last window takes the record");
            if is_empty {
                self.add_new(copy, &window, running, out)?;
            } else {
                self.add_to_window(copy, &window, running, out)?;
            }
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
        match record {
            Some(record) => self.add_new(record, window, running, out),
            None => Ok(()),
        }
    }

    fn add_new(
        &mut self,
        record: StreamRecord<In>,
        window: &A::Window,
        running: &mut Running<S::Key, A::Window>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        let key = self.key_selector.key(&record.value).into_owned();
        self.windowing.add(record, Place { key: &key, window, state_window: window }, &mut running.live, out)
    }

    /// Adds a record where windows merge.
    pub(super) fn process_merging(
        &mut self,
        record: StreamRecord<In>,
        running: &mut Running<S::Key, A::Window>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        let mut further = self.assigner.assign(&record.value, self.assigner_context(&record, &running.live)?);
        let (first, second) = (further.next(), further.next());
        let record = match (&first, &second) {
            (Some(window), None) => self.add_to_growing(record, window, running)?,
            _ => Some(record),
        };
        let Some(record) = record else { return Ok(()) };
        self.merge_assigned(Assigned { record, first, second, further, is_empty: false }, running, out)
    }

    /// Adds a record to a window in flight, if nothing more comes of it than that this one grows: what most records of
    /// sessions do. Gives it back otherwise.
    #[inline]
    fn add_to_growing(
        &mut self,
        record: StreamRecord<In>,
        of_record: &A::Window,
        running: &mut Running<S::Key, A::Window>,
    ) -> Result<Option<StreamRecord<In>>> {
        let Running { live, in_flight, .. } = running;
        let in_flight = in_flight.as_ref().expect(OPENED);
        let key = self.key_selector.key(&record.value).into_owned();
        let merge_two = |window: &A::Window| self.assigner.merge_two(window, of_record);
        let Some(growing) = in_flight.growing(live, &key, merge_two)? else { return Ok(Some(record)) };
        let (window, grown) = (&growing.window, &growing.grown);
        if window == of_record || !self.windowing.only_moves_timers::<In, S::Key, _>(window, grown, live.now()) {
            return Ok(Some(record));
        }
        self.windowing.move_timers(&key, window, grown, &mut live.timers);
        let contents = self.windowing.contents();
        let state_window = &growing.state_window;
        self.windowing.function.add(&mut F::table(contents, &mut live.backend), &key, state_window, record)?;
        if window != grown {
            in_flight.grow(live, &key, growing)?;
        }
        Ok(None)
    }

    fn merge_assigned(
        &mut self,
        assigned: AssignedBy<In, A>,
        running: &mut Running<S::Key, A::Window>,
        out: &mut Collector<F::Out>,
    ) -> Result<()> {
        let Assigned { record, first, second, further, .. } = assigned;
        let Running { live, in_flight, .. } = running;
        let in_flight = in_flight.as_ref().expect(OPENED);
        let has_window = first.is_some();
        let mut windows = first.into_iter().chain(second).chain(further).peekable();
        let key = self.key_selector.key(&record.value).into_owned();
        let mut set = in_flight.load(live, &key)?;
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
