//! Windows, stage by stage of Flink's `WindowOperator`, over plain lists.
//!
//! Per key and window there is the list of its records, what its trigger keeps, and how often it has emitted; the timers
//! stand in one sorted set. Results are found anew from the lists whenever a window fires.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tidegate::pipeline::{
    AggregateFunction, Assigner, Datum, EvictionPhase, Evictor, Expression, LateRecords, PlannedWindow,
    PlannedWindowFunction, PlannedWindowJoin, Row, Trigger,
};

use super::{
    contents::{self, FoldError, Item, Seen},
    element::{Element, Output},
    join,
    keys::KeyGroups,
    pane::{self, Pane, millis},
    timers::Timers,
    trigger::{self, Context, Decision, TriggerState},
};

/// What a window stage keeps.
#[derive(Debug, Clone, Default)]
pub struct WindowState {
    /// The records of each window; with sessions by the window that they lie under.
    pub contents: BTreeMap<(Row, Pane), Vec<Item>>,
    /// What the trigger keeps for each window.
    pub triggers: BTreeMap<(Row, Pane), TriggerState>,
    /// The open sessions of each key, each with the window under which its records lie.
    pub sessions: BTreeMap<Row, BTreeMap<Pane, Pane>>,
    /// How often each window has emitted, if its function counts that.
    pub firings: BTreeMap<(Row, Pane), i64>,
    /// How often any window of a key has emitted, if its function counts that.
    pub key_firings: BTreeMap<Row, i64>,
    /// Records that were dropped because they came too late.
    pub dropped: u64,
}

/// What is made of the records of a window.
#[derive(Debug, Clone)]
pub(super) enum Function {
    /// What the plan says.
    Planned(PlannedWindowFunction),
    /// The pairs of records of the two sides.
    Join {
        /// The join.
        planned: Arc<PlannedWindowJoin>,
        /// The number of fields of a left record.
        left_fields: usize,
    },
}

/// A window stage, whatever it makes of its windows.
#[derive(Debug, Clone)]
pub(super) struct Windowing {
    pub assigner: Assigner,
    pub gap: Option<Expression>,
    pub trigger: Trigger,
    pub trigger_value: Option<Expression>,
    pub evictor: Option<Evictor>,
    pub evictor_value: Option<Expression>,
    pub lateness_ms: i64,
    pub late_records: LateRecords,
    pub has_bounds: bool,
    pub function: Function,
}

impl Windowing {
    pub(super) fn of(planned: &PlannedWindow) -> Self {
        let declared = &planned.declared;
        let (trigger, evictor) = match declared.assigner {
            Assigner::Count { size, slide: None } => {
                (Some(Trigger::Purging { inner: Box::new(Trigger::Count { n: size }) }), None)
            }
            Assigner::Count { size, slide: Some(slide) } => {
                (Some(Trigger::Count { n: slide }), Some(Evictor::Count { n: size, phase: EvictionPhase::Before }))
            }
            Assigner::Tumbling { .. }
            | Assigner::Sliding { .. }
            | Assigner::Session { .. }
            | Assigner::DynamicSession { .. }
            | Assigner::Global => (declared.trigger.clone(), declared.evictor.clone()),
        };
        Self {
            trigger: trigger.unwrap_or_else(|| default_trigger(&declared.assigner)),
            assigner: declared.assigner.clone(),
            gap: planned.gap.clone(),
            trigger_value: planned.trigger_value.clone(),
            evictor,
            evictor_value: planned.evictor_value.clone(),
            lateness_ms: millis(declared.allowed_lateness),
            late_records: declared.late_records,
            has_bounds: planned.has_bounds,
            function: Function::Planned(planned.function.clone()),
        }
    }

    pub(super) fn of_join(planned: &PlannedWindowJoin, left_fields: usize) -> Self {
        let declared = &planned.declared;
        Self {
            trigger: declared.trigger.clone().unwrap_or_else(|| default_trigger(&declared.assigner)),
            assigner: declared.assigner.clone(),
            gap: None,
            trigger_value: None,
            evictor: None,
            evictor_value: None,
            lateness_ms: 0,
            late_records: LateRecords::Drop,
            has_bounds: true,
            function: Function::Join { planned: Arc::new(planned.clone()), left_fields },
        }
    }

    fn counts(&self, function: AggregateFunction) -> bool {
        match &self.function {
            Function::Planned(PlannedWindowFunction::Process(aggregates)) => {
                aggregates.iter().any(|aggregate| aggregate.function == function)
            }
            Function::Planned(_) | Function::Join { .. } => false,
        }
    }

    /// Whether windows that meet become one.
    pub(super) fn merges(&self) -> bool {
        matches!(self.assigner, Assigner::Session { .. } | Assigner::DynamicSession { .. })
    }

    /// Whether its function keeps state for each window, which windows that merge cannot have.
    pub(super) fn has_window_state(&self) -> bool {
        self.counts(AggregateFunction::Firings)
    }
}

fn default_trigger(assigner: &Assigner) -> Trigger {
    match assigner {
        Assigner::Global | Assigner::Count { .. } => Trigger::Never,
        Assigner::Tumbling { .. }
        | Assigner::Sliding { .. }
        | Assigner::Session { .. }
        | Assigner::DynamicSession { .. } => Trigger::EventTime,
    }
}

/// One subtask of a window stage.
#[derive(Debug, Clone)]
pub(super) struct WindowStage {
    pub windowing: Arc<Windowing>,
    pub state: WindowState,
    pub timers: Timers<Pane>,
    watermark_ms: i64,
}

impl WindowStage {
    pub(super) fn new(windowing: Arc<Windowing>, key_groups: KeyGroups) -> Self {
        let state = WindowState::default();
        Self { windowing, state, timers: Timers::new(key_groups), watermark_ms: i64::MIN }
    }

    fn merges(&self) -> bool {
        self.windowing.merges()
    }

    /// Whether the windows end in event time, so that records can be late for them.
    fn is_event_time(&self) -> bool {
        !matches!(self.windowing.assigner, Assigner::Global | Assigner::Count { .. })
    }

    /// Whether records are kept one by one although they could be folded.
    pub(super) fn keeps_list(&self) -> bool {
        let is_fold = match &self.windowing.function {
            Function::Planned(PlannedWindowFunction::Aggregate(_) | PlannedWindowFunction::Reduce(_)) => true,
            Function::Planned(PlannedWindowFunction::Process(_)) | Function::Join { .. } => false,
        };
        !is_fold || self.windowing.evictor.is_some()
    }

    fn cleanup_ms(&self, pane: Pane) -> i64 {
        if self.is_event_time() { pane.max_ms().saturating_add(self.windowing.lateness_ms) } else { pane.max_ms() }
    }

    fn is_late(&self, pane: Pane) -> bool {
        self.is_event_time() && self.cleanup_ms(pane) <= self.watermark_ms
    }

    pub(super) fn element(&mut self, key: &Row, element: Element, out: &mut Output) -> Result<(), FoldError> {
        let gap_ms = match &self.windowing.gap {
            Some(gap) => gap.evaluate(&element.row)?.as_int(),
            None => None,
        };
        let mut is_skipped = true;
        for assigned in pane::assign(&self.windowing.assigner, gap_ms, element.time_ms) {
            let (pane, lies_under) =
                if self.merges() { self.join_sessions(key, assigned) } else { (assigned, assigned) };
            if self.is_late(pane) {
                if self.merges() {
                    self.close_session(key, pane);
                }
                continue;
            }
            is_skipped = false;
            let place = (key.clone(), lies_under);
            self.state.contents.entry(place).or_default().push(Item::Record(element.clone()));
            let record = match &self.windowing.trigger_value {
                Some(value) => number(&value.evaluate(&element.row)?).map(|value| (element.row.clone(), value)),
                None => None,
            };
            let decision =
                self.ask(key, pane, record, |trigger, context| trigger::on_element(trigger, element.time_ms, context));
            self.act(key, pane, lies_under, decision, out)?;
            if self.cleanup_ms(pane) != i64::MAX {
                self.timers.register(self.cleanup_ms(pane), key, &pane);
            }
        }
        let last_ms = element.time_ms.saturating_add(self.windowing.lateness_ms);
        if is_skipped && self.is_event_time() && last_ms <= self.watermark_ms {
            match self.windowing.late_records {
                LateRecords::SideOutput => out.late(element),
                LateRecords::Drop => self.state.dropped += 1,
            }
        }
        Ok(())
    }

    pub(super) fn watermark(&mut self, watermark_ms: i64, out: &mut Output) -> Result<(), FoldError> {
        self.watermark_ms = watermark_ms;
        while let Some(timer) = self.timers.take_due(watermark_ms) {
            self.on_event_time(timer.time_ms, &timer.key, timer.namespace, out)?;
        }
        Ok(())
    }

    fn on_event_time(&mut self, time_ms: i64, key: &Row, pane: Pane, out: &mut Output) -> Result<(), FoldError> {
        let lies_under = if self.merges() {
            let Some(lies_under) = self.state.sessions.get(key).and_then(|sessions| sessions.get(&pane)) else {
                return Ok(());
            };
            *lies_under
        } else {
            pane
        };
        let decision = self.ask(key, pane, None, |trigger, context| trigger::on_event_time(trigger, time_ms, context));
        self.act(key, pane, lies_under, decision, out)?;
        if self.is_event_time() && time_ms == self.cleanup_ms(pane) {
            self.state.contents.remove(&(key.clone(), lies_under));
            self.clear_trigger(key, pane);
            self.state.firings.remove(&(key.clone(), pane));
            if self.merges() {
                self.close_session(key, pane);
            }
        }
        Ok(())
    }

    /// Emits and empties a window, as its trigger has decided.
    fn act(
        &mut self,
        key: &Row,
        pane: Pane,
        lies_under: Pane,
        decision: Decision,
        out: &mut Output,
    ) -> Result<(), FoldError> {
        let place = (key.clone(), lies_under);
        if decision.fire
            && let Some(items) = self.state.contents.get(&place).cloned()
        {
            let left = self.emit(key, pane, items, out)?;
            if left.is_empty() {
                self.state.contents.remove(&place);
            } else {
                self.state.contents.insert(place.clone(), left);
            }
        }
        if decision.purge {
            self.state.contents.remove(&place);
        }
        Ok(())
    }

    /// Emits the result of a window; returns what it still holds.
    fn emit(&mut self, key: &Row, pane: Pane, items: Vec<Item>, out: &mut Output) -> Result<Vec<Item>, FoldError> {
        let items = self.evict(EvictionPhase::Before, items)?;
        let mut seen = Seen { watermark_ms: self.watermark_ms, ..Seen::default() };
        if self.windowing.counts(AggregateFunction::Firings) {
            let firings = self.state.firings.entry((key.clone(), pane)).or_default();
            *firings += 1;
            seen.firings = *firings;
        }
        if self.windowing.counts(AggregateFunction::KeyFirings) {
            let firings = self.state.key_firings.entry(key.clone()).or_default();
            *firings += 1;
            seen.key_firings = *firings;
        }
        let bounds: Vec<Datum> = match pane {
            Pane::Time { start_ms, end_ms } if self.windowing.has_bounds => {
                vec![Datum::Int(start_ms), Datum::Int(end_ms)]
            }
            Pane::Time { .. } | Pane::Global => Vec::new(),
        };
        use PlannedWindowFunction::{Aggregate, Process, Reduce};
        let rows: Vec<Row> = match &self.windowing.function {
            Function::Planned(Aggregate(aggregates) | Process(aggregates)) => {
                let mut values: Vec<Datum> = key.values().iter().cloned().chain(bounds).collect();
                for aggregate in aggregates {
                    values.push(contents::aggregate(aggregate, &items, seen)?);
                }
                vec![Row::new(values)]
            }
            Function::Planned(Reduce(reduce)) => {
                let row = contents::reduce(reduce, &items)?;
                row.iter().map(|row| row.values().iter().cloned().chain(bounds.clone()).collect()).collect()
            }
            Function::Join { planned, left_fields } => {
                join::joined(planned, *left_fields, pane, &contents::flat(&items))?
            }
        };
        for row in rows {
            out.record(row, pane.max_ms());
        }
        self.evict(EvictionPhase::After, items)
    }

    fn evict(&self, now: EvictionPhase, items: Vec<Item>) -> Result<Vec<Item>, FoldError> {
        let Some(evictor) = &self.windowing.evictor else { return Ok(items) };
        let elements = contents::flat(&items);
        let kept: Vec<Element> = match evictor {
            Evictor::Count { n, phase } if *phase == now => {
                let dropped = elements.len().saturating_sub(usize::try_from(*n).unwrap_or(usize::MAX));
                elements.into_iter().skip(dropped).collect()
            }
            Evictor::Time { size, phase } if *phase == now => {
                let latest_ms = elements.iter().map(|element| element.time_ms).max().unwrap_or(i64::MIN);
                let limit_ms = latest_ms.saturating_sub(millis(*size));
                elements.into_iter().filter(|element| element.time_ms > limit_ms).collect()
            }
            Evictor::Delta { threshold, phase, .. } if *phase == now => {
                let value = self.windowing.evictor_value.as_ref().expect("a delta evictor has a value");
                let Some(last) = elements.last() else { return Ok(Vec::new()) };
                let last = number(&value.evaluate(&last.row)?).unwrap_or(f64::NAN);
                let mut kept = Vec::new();
                for element in elements {
                    let this = number(&value.evaluate(&element.row)?).unwrap_or(f64::NAN);
                    if (last - this).abs() < threshold.get() {
                        kept.push(element);
                    }
                }
                kept
            }
            Evictor::Count { .. } | Evictor::Time { .. } | Evictor::Delta { .. } => elements,
        };
        Ok(contents::items(kept))
    }

    /// Lets the trigger decide something about a window, and does what it asks for.
    fn ask<T>(
        &mut self,
        key: &Row,
        pane: Pane,
        record: Option<(Row, f64)>,
        question: impl FnOnce(&Trigger, &mut Context<'_>) -> T,
    ) -> T {
        let place = (key.clone(), pane);
        let mut state = self.state.triggers.remove(&place).unwrap_or_default();
        let mut context = Context {
            pane,
            watermark_ms: self.watermark_ms,
            record,
            state: &mut state,
            registered: Vec::new(),
            deleted: Vec::new(),
        };
        let answer = question(&self.windowing.trigger, &mut context);
        let Context { registered, deleted, .. } = context;
        if !state.is_empty() {
            self.state.triggers.insert(place, state);
        }
        for time_ms in registered {
            self.timers.register(time_ms, key, &pane);
        }
        for time_ms in deleted {
            self.timers.delete(time_ms, key, &pane);
        }
        answer
    }

    fn clear_trigger(&mut self, key: &Row, pane: Pane) {
        self.ask(key, pane, None, trigger::clear);
    }

    fn close_session(&mut self, key: &Row, pane: Pane) {
        if let Some(sessions) = self.state.sessions.get_mut(key) {
            sessions.remove(&pane);
            if sessions.is_empty() {
                self.state.sessions.remove(key);
            }
        }
    }

    /// Adds a window to the open sessions of a key. Of sessions that become one, the records of the later ones move to the
    /// earliest. Returns the session, and the window under which its records lie.
    fn join_sessions(&mut self, key: &Row, new: Pane) -> (Pane, Pane) {
        let sessions = self.state.sessions.entry(key.clone()).or_default();
        let open: BTreeSet<Pane> = sessions.keys().copied().collect();
        let grown = pane::grow(&open, new);
        let lie_under: Vec<Pane> = grown.of.iter().filter_map(|session| sessions.remove(session)).collect();
        let lies_under = lie_under.first().copied().unwrap_or(new);
        sessions.insert(grown.pane, lies_under);
        if grown.of.is_empty() || grown.of == [grown.pane] {
            return (grown.pane, lies_under);
        }
        let states: Vec<TriggerState> = grown
            .of
            .iter()
            .map(|session| self.state.triggers.get(&(key.clone(), *session)).cloned().unwrap_or_default())
            .collect();
        self.ask(key, grown.pane, None, |trigger, context| trigger::on_merge(trigger, &states, context));
        for session in &grown.of {
            // What is merged has moved: the trigger has nothing left to clear there but timers that need no state.
            if *session != grown.pane {
                self.state.triggers.remove(&(key.clone(), *session));
            }
            self.clear_trigger(key, *session);
            let cleanup_ms = self.cleanup_ms(*session);
            self.timers.delete(cleanup_ms, key, session);
        }
        self.merge_contents(key, lies_under, &lie_under[1..]);
        (grown.pane, lies_under)
    }

    /// The later ones go into the earliest, one by one.
    fn merge_contents(&mut self, key: &Row, into: Pane, later: &[Pane]) {
        let mut all = self.state.contents.remove(&(key.clone(), into));
        for pane in later {
            let items = self.state.contents.remove(&(key.clone(), *pane));
            all = self.merged(all, items);
        }
        if let Some(items) = all {
            self.state.contents.insert((key.clone(), into), items);
        }
    }

    fn merged(&self, one: Option<Vec<Item>>, other: Option<Vec<Item>>) -> Option<Vec<Item>> {
        match (one, other) {
            (Some(mut one), Some(other)) => {
                if self.keeps_list() {
                    one.extend(other);
                } else {
                    one.push(Item::Merged(other));
                }
                Some(one)
            }
            (one, other) => one.or(other),
        }
    }
}

fn number(value: &Datum) -> Option<f64> {
    match value {
        Datum::Int(number) => Some(*number as f64),
        Datum::Float(float) => Some(float.get()),
        Datum::Null | Datum::Bool(_) | Datum::Text(_) => None,
    }
}
