//! Windows as anyone would write them down: a list of open windows per key, each with its elements and the times at which
//! something is to happen. Knows nothing of state, backends, fast paths or merging sets.

use std::collections::{BTreeMap, BTreeSet};

use crate::window::Phase;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assigner {
    Tumbling {
        size: i64,
        offset: i64,
    },
    Sliding {
        size: i64,
        slide: i64,
    },
    Session {
        gap: i64,
    },
    /// The gap depends on the value: see [`dynamic_gap`].
    DynamicSession,
    Global,
}

pub(super) fn dynamic_gap(value: i64) -> i64 {
    3 + value.rem_euclid(9)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    EventTime,
    ProcessingTime,
    Count(u64),
    ContinuousEventTime(i64),
    ContinuousProcessingTime(i64),
    EndOfStream,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Evictor {
    Count(u64, Phase),
    Time(i64, Phase),
    Delta(i64, Phase),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Reduce,
    Aggregate,
    Full,
}

#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) assigner: Assigner,
    pub(super) by_clock: bool,
    pub(super) trigger: Trigger,
    pub(super) purging: bool,
    pub(super) evictor: Option<Evictor>,
    pub(super) function: Function,
    pub(super) lateness: i64,
    pub(super) side_output: bool,
}

/// Start and end; the global window has neither.
pub(super) type Bounds = Option<(i64, i64)>;

/// Key, window, values, time.
pub(super) type Outcome = (u8, Bounds, Vec<i64>, i64);

#[derive(Debug, Clone, Default)]
struct Open {
    window: Bounds,
    /// Value and timestamp.
    elements: Vec<(i64, i64)>,
    count: u64,
    next_fire: Option<i64>,
    event_timers: BTreeSet<i64>,
    clock_timers: BTreeSet<i64>,
}

fn max_timestamp(window: Bounds) -> i64 {
    window.map_or(i64::MAX, |(_, end)| end - 1)
}

pub(super) struct Model {
    pub(super) setup: Setup,
    pub(super) watermark: i64,
    pub(super) clock: i64,
    open: BTreeMap<u8, Vec<Open>>,
    pub(super) out: Vec<Outcome>,
    /// Key, value, timestamp.
    pub(super) late: Vec<(u8, i64, i64)>,
    pub(super) dropped: u64,
    pub(super) without_window: u64,
    key_group: fn(u8) -> u16,
}

impl Model {
    pub(super) fn new(setup: Setup, key_group: fn(u8) -> u16) -> Self {
        Self {
            setup,
            watermark: i64::MIN,
            clock: 0,
            open: BTreeMap::new(),
            out: Vec::new(),
            late: Vec::new(),
            dropped: 0,
            without_window: 0,
            key_group,
        }
    }

    /// How many windows hold elements, and how many keys have windows that may merge.
    pub(super) fn kept(&self) -> (usize, usize) {
        let holding = self.open.values().flatten().filter(|open| !open.elements.is_empty()).count();
        let keys = self.open.values().filter(|open| !open.is_empty()).count();
        (holding, if self.merges() { keys } else { 0 })
    }

    fn merges(&self) -> bool {
        matches!(self.setup.assigner, Assigner::Session { .. } | Assigner::DynamicSession)
    }

    fn windows_of(&self, value: i64, timestamp: i64) -> Vec<Bounds> {
        let time = if self.setup.by_clock { self.clock } else { timestamp };
        let all = |size: i64, every: i64, offset: i64| {
            let mut windows = Vec::new();
            let mut start = (time - offset).div_euclid(every) * every + offset;
            while start + size > time {
                windows.push(Some((start, start + size)));
                start -= every;
            }
            windows
        };
        match self.setup.assigner {
            Assigner::Tumbling { size, offset } => all(size, size, offset),
            Assigner::Sliding { size, slide } => all(size, slide, 0),
            Assigner::Session { gap } => vec![Some((time, time + gap))],
            Assigner::DynamicSession => vec![Some((time, time + dynamic_gap(value)))],
            Assigner::Global => vec![None],
        }
    }

    fn is_event_time(&self) -> bool {
        !self.setup.by_clock && self.setup.assigner != Assigner::Global
    }

    fn cleanup_time(&self, window: Bounds) -> i64 {
        let late = if self.is_event_time() { self.setup.lateness } else { 0 };
        max_timestamp(window).saturating_add(late)
    }

    pub(super) fn add(&mut self, key: u8, value: i64, timestamp: i64) {
        let windows = self.windows_of(value, timestamp);
        let mut taken = false;
        for window in &windows {
            taken |= self.add_to_window(key, value, timestamp, *window);
        }
        if taken {
            return;
        }
        let late = self.is_event_time() && timestamp.saturating_add(self.setup.lateness) <= self.watermark;
        match (late, self.setup.side_output) {
            (true, true) => self.late.push((key, value, timestamp)),
            (true, false) => self.dropped += 1,
            (false, _) => self.without_window += u64::from(windows.is_empty()),
        }
    }

    fn add_to_window(&mut self, key: u8, value: i64, timestamp: i64, window: Bounds) -> bool {
        let window = if self.merges() { self.grown(key, window) } else { window };
        if self.is_event_time() && self.cleanup_time(window) <= self.watermark {
            return false;
        }
        if self.merges() {
            self.merge_into(key, window);
        }
        let cleanup_time = self.cleanup_time(window);
        let of_key = self.open.entry(key).or_default();
        let index = of_key.iter().position(|open| open.window == window).unwrap_or_else(|| {
            of_key.push(Open { window, ..Open::default() });
            of_key.len() - 1
        });
        let open = &mut of_key[index];
        open.elements.push((value, timestamp));
        let is_event_time = !self.setup.by_clock && self.setup.assigner != Assigner::Global;
        if cleanup_time < i64::MAX {
            if is_event_time { &mut open.event_timers } else { &mut open.clock_timers }.insert(cleanup_time);
        }
        if self.on_element(key, index, timestamp) {
            self.fire(key, index);
        }
        true
    }

    /// What the window of an element has to be so that it overlaps or touches none but those within it.
    fn grown(&self, key: u8, window: Bounds) -> Bounds {
        let (mut start, mut end) = window.expect("sessions have bounds");
        let open: Vec<_> =
            self.open.get(&key).into_iter().flatten().map(|open| open.window.expect("sessions have bounds")).collect();
        loop {
            let before = (start, end);
            for (other_start, other_end) in &open {
                if *other_start <= end && start <= *other_end {
                    (start, end) = (start.min(*other_start), end.max(*other_end));
                }
            }
            if before == (start, end) {
                return Some(before);
            }
        }
    }

    /// Makes one window of those that lie within it.
    fn merge_into(&mut self, key: u8, window: Bounds) {
        let (start, end) = window.expect("sessions have bounds");
        let of_key = self.open.entry(key).or_default();
        let within = |open: &Open| open.window.is_some_and(|(s, e)| start <= s && e <= end);
        let (mut sources, others): (Vec<_>, Vec<_>) = std::mem::take(of_key).into_iter().partition(within);
        *of_key = others;
        if sources.is_empty() {
            return;
        }
        if sources.len() == 1 && sources[0].window == window {
            of_key.append(&mut sources);
            return;
        }
        sources.sort_by_key(|open| open.window);
        let mut merged = Open { window, ..Open::default() };
        for source in sources {
            merged.elements.extend(source.elements);
            merged.count += source.count;
            merged.next_fire = merged.next_fire.into_iter().chain(source.next_fire).min();
        }
        match (self.setup.trigger, merged.next_fire) {
            (Trigger::ContinuousEventTime(_), Some(next)) => _ = merged.event_timers.insert(next),
            (Trigger::ContinuousProcessingTime(_), Some(next)) => _ = merged.clock_timers.insert(next),
            (Trigger::EventTime, _) if end - 1 > self.watermark => _ = merged.event_timers.insert(end - 1),
            (Trigger::ProcessingTime, _) if end - 1 > self.clock => _ = merged.clock_timers.insert(end - 1),
            (Trigger::EndOfStream, _) => _ = merged.event_timers.insert(i64::MAX),
            _ => {}
        }
        of_key.push(merged);
    }

    /// Whether the element makes its window fire.
    fn on_element(&mut self, key: u8, index: usize, timestamp: i64) -> bool {
        let (watermark, clock) = (self.watermark, self.clock);
        let open = &mut self.open.get_mut(&key).expect("it was added")[index];
        let end = max_timestamp(open.window);
        let first_after = |now: i64, every: i64| (now - now % every + every).min(end);
        match self.setup.trigger {
            Trigger::EventTime | Trigger::ContinuousEventTime(_) if end <= watermark => return true,
            Trigger::EventTime => _ = open.event_timers.insert(end),
            Trigger::ContinuousEventTime(every) => {
                open.event_timers.insert(end);
                if open.next_fire.is_none() {
                    let next = first_after(timestamp, every);
                    open.next_fire = Some(next);
                    open.event_timers.insert(next);
                }
            }
            Trigger::ProcessingTime => _ = open.clock_timers.insert(end),
            Trigger::ContinuousProcessingTime(every) => {
                if open.next_fire.is_none() {
                    let next = first_after(clock, every);
                    open.next_fire = Some(next);
                    open.clock_timers.insert(next);
                }
            }
            Trigger::Count(n) => {
                open.count += 1;
                if open.count >= n {
                    open.count = 0;
                    return true;
                }
            }
            Trigger::EndOfStream => _ = open.event_timers.insert(i64::MAX),
        }
        false
    }

    fn evict(&self, phase: Phase, elements: &mut Vec<(i64, i64)>) {
        match self.setup.evictor {
            Some(Evictor::Count(n, of)) if of == phase => {
                while elements.len() as u64 > n {
                    elements.remove(0);
                }
            }
            Some(Evictor::Time(size, of)) if of == phase => {
                let latest = elements.iter().map(|(_, timestamp)| *timestamp).max();
                elements.retain(|(_, timestamp)| Some(timestamp + size) > latest);
            }
            Some(Evictor::Delta(threshold, of)) if of == phase => {
                let last = elements.last().map(|(value, _)| *value);
                elements.retain(|(value, _)| last.is_some_and(|last| (value - last).abs() < threshold));
            }
            _ => {}
        }
    }

    fn fire(&mut self, key: u8, index: usize) {
        let open = &self.open[&key][index];
        let (window, mut elements) = (open.window, open.elements.clone());
        if elements.is_empty() {
            return;
        }
        self.evict(Phase::Before, &mut elements);
        let values: Vec<_> = elements.iter().map(|(value, _)| *value).collect();
        if !values.is_empty() || self.setup.function != Function::Reduce {
            self.out.push((key, window, values, max_timestamp(window)));
        }
        self.evict(Phase::After, &mut elements);
        if self.setup.purging {
            elements.clear();
        }
        self.open.get_mut(&key).expect("it is open")[index].elements = elements;
    }

    /// Lets everything happen that is due, in the order of time, key group, key, window.
    fn advance(&mut self, by_clock: bool, until: i64) {
        loop {
            let due = self.open.iter().flat_map(|(key, of_key)| {
                of_key.iter().filter_map(|open| {
                    let timers = if by_clock { &open.clock_timers } else { &open.event_timers };
                    timers.first().map(|time| (*time, (self.key_group)(*key), *key, open.window))
                })
            });
            let Some((time, _, key, window)) = due.min().filter(|due| due.0 <= until) else { return };
            let of_key = self.open.get_mut(&key).expect("it is open");
            let index = of_key.iter().position(|open| open.window == window).expect("it is open");
            let open = &mut of_key[index];
            if by_clock { &mut open.clock_timers } else { &mut open.event_timers }.remove(&time);
            if self.on_timer(by_clock, key, index, time) {
                self.fire(key, index);
            }
            if by_clock != self.is_event_time() && time == self.cleanup_time(window) {
                self.open.get_mut(&key).expect("it is open").remove(index);
            }
        }
    }

    fn on_timer(&mut self, by_clock: bool, key: u8, index: usize, time: i64) -> bool {
        let open = &mut self.open.get_mut(&key).expect("it is open")[index];
        let end = max_timestamp(open.window);
        match (self.setup.trigger, by_clock) {
            (Trigger::EventTime, false) => time == end,
            (Trigger::ContinuousEventTime(_), false) if time == end => true,
            (Trigger::ContinuousEventTime(every), false) | (Trigger::ContinuousProcessingTime(every), true) => {
                if open.next_fire != Some(time) {
                    return false;
                }
                let ended = !by_clock && self.watermark == i64::MAX && end == i64::MAX;
                open.next_fire = (time < end).then(|| if ended { end } else { (time + every).min(end) });
                if let Some(next) = open.next_fire {
                    if by_clock { &mut open.clock_timers } else { &mut open.event_timers }.insert(next);
                }
                true
            }
            (Trigger::ProcessingTime, true) => true,
            (Trigger::EndOfStream, false) => time == i64::MAX,
            _ => false,
        }
    }

    pub(super) fn advance_watermark(&mut self, watermark: i64) {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.advance(false, watermark);
        }
    }

    pub(super) fn advance_clock(&mut self, clock: i64) {
        self.clock = self.clock.max(clock);
        self.advance(true, self.clock);
    }
}
