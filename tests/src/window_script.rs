//! Assigners, triggers and functions of windows that do what a script says and note what they are asked.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tidegate::{
    backend::{StateRegistry, ValueState},
    error::Result,
    operator::{ProcessWindowFunction, TimestampedCollector, WindowContext},
    state::ValueStateDescriptor,
    time::{TimeDomain, Timestamp},
    window::{
        AssignerContext, DefaultTrigger, MergedWindow, TimeWindow, Trigger, TriggerContext, TriggerResult, Window,
        WindowAssigner,
    },
};

use super::window_words::result;

/// What shall happen, and what has.
pub struct Script {
    /// The clock that it is about.
    pub domain: TimeDomain,
    /// Whether windows merge.
    pub merging: bool,
    /// The windows of the next element.
    pub windows: Vec<TimeWindow>,
    /// What the next merge gives.
    pub merge: Option<MergedWindow<TimeWindow>>,
    /// What the trigger does with an element.
    pub on_element: Value,
    /// What the trigger answers to a timer.
    pub on_time: TriggerResult,
    /// What the trigger does when windows merge.
    pub on_merge: Value,
    /// What the trigger does when a window is over.
    pub clear: Value,
    /// Whether the function asks for the state of the window.
    pub asks_for_window_state: bool,
    /// What the function emits.
    pub emits: Vec<String>,
    /// How often windows were asked for.
    pub assigned: u64,
    /// The windows of elements that the trigger was told of.
    pub elements: Vec<TimeWindow>,
    /// The times of timers that the trigger was told of.
    pub times: Vec<i64>,
    /// The windows that the trigger was told of as results of a merge.
    pub merged: Vec<TimeWindow>,
    /// The windows that the trigger was told to clear.
    pub cleared: Vec<TimeWindow>,
    /// The windows that fired, with their contents.
    pub calls: Vec<(TimeWindow, Vec<i64>)>,
}

impl Script {
    /// Nothing happens.
    pub fn new(domain: TimeDomain, merging: bool) -> Self {
        Self {
            domain,
            merging,
            windows: Vec::new(),
            merge: None,
            on_element: Value::Null,
            on_time: TriggerResult::Continue,
            on_merge: Value::Null,
            clear: Value::Null,
            asks_for_window_state: false,
            emits: Vec::new(),
            assigned: 0,
            elements: Vec::new(),
            times: Vec::new(),
            merged: Vec::new(),
            cleared: Vec::new(),
            calls: Vec::new(),
        }
    }
}

/// All three parts of a scripted window operator.
#[derive(Clone)]
pub struct Scripted {
    script: Arc<Mutex<Script>>,
    of_trigger: Option<ValueState<u8, TimeWindow>>,
}

impl Scripted {
    /// They share a script.
    pub fn new(script: Script) -> Self {
        Self { script: Arc::new(Mutex::new(script)), of_trigger: None }
    }

    /// The script, to be changed and read.
    ///
    /// # Panics
    /// If somebody panicked who had it.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("a script is not left half-written")
    }

    /// Does what a line of the script says: timers, state, result.
    fn act(&self, line: &Value, context: &mut TriggerContext<'_, i32, TimeWindow>) -> Result<TriggerResult> {
        let domain = self.script().domain;
        let time = |value: &Value| match value.as_str() {
            Some("window.end") => Some(context.window().end),
            _ => value.as_i64().map(Timestamp),
        };
        let registered = [&line["register_timer"], &line["register_event_timer"]].into_iter().find_map(time);
        let deleted = time(&line["delete_timer"]);
        if let Some(time) = registered {
            context.register_timer(domain, time);
        }
        if let Some(time) = deleted {
            context.delete_timer(domain, time);
        }
        let state = self.of_trigger.as_ref().expect("a trigger is opened");
        if line["set_state"] == true {
            state.update(context, 1)?;
        }
        if line["clear_state"] == true {
            state.clear(context)?;
        }
        Ok(line["result"].as_str().or(line.as_str()).map_or(TriggerResult::Continue, result))
    }
}

impl WindowAssigner<i64> for Scripted {
    type Window = TimeWindow;
    type Windows = std::vec::IntoIter<TimeWindow>;

    fn assign(&mut self, _element: &i64, _context: AssignerContext) -> Self::Windows {
        self.script().assigned += 1;
        self.script().windows.clone().into_iter()
    }
    fn time_domain(&self) -> TimeDomain {
        self.script().domain
    }
    fn default_trigger(&self) -> DefaultTrigger {
        DefaultTrigger::Never
    }
    fn is_merging(&self) -> bool {
        self.script().merging
    }
    fn merge_windows(&mut self, _windows: &[TimeWindow]) -> Vec<MergedWindow<TimeWindow>> {
        self.script().merge.take().into_iter().collect()
    }
}

impl Trigger<i64, i32, TimeWindow> for Scripted {
    fn open(&mut self, states: &mut StateRegistry<'_, i32>) -> Result<()> {
        self.of_trigger = Some(states.value(&ValueStateDescriptor::new("of-trigger"))?);
        Ok(())
    }
    fn on_element(
        &mut self,
        _element: &i64,
        _timestamp: Timestamp,
        context: &mut TriggerContext<'_, i32, TimeWindow>,
    ) -> Result<TriggerResult> {
        self.script().elements.push(*context.window());
        let line = self.script().on_element.clone();
        self.act(&line, context)
    }
    fn on_event_time(
        &mut self,
        time: Timestamp,
        _context: &mut TriggerContext<'_, i32, TimeWindow>,
    ) -> Result<TriggerResult> {
        self.script().times.push(time.0);
        Ok(self.script().on_time)
    }
    fn on_processing_time(
        &mut self,
        time: Timestamp,
        context: &mut TriggerContext<'_, i32, TimeWindow>,
    ) -> Result<TriggerResult> {
        self.on_event_time(time, context)
    }
    fn can_merge(&self) -> bool {
        true
    }
    fn on_merge(&mut self, _sources: &[TimeWindow], context: &mut TriggerContext<'_, i32, TimeWindow>) -> Result<()> {
        self.script().merged.push(*context.window());
        let line = self.script().on_merge.clone();
        self.act(&line, context).map(|_| ())
    }
    fn clear(&mut self, context: &mut TriggerContext<'_, i32, TimeWindow>) -> Result<()> {
        self.script().cleared.push(*context.window());
        let line = self.script().clear.clone();
        self.act(&line, context).map(|_| ())
    }
}

impl<W: Window> ProcessWindowFunction<i64, String, i32, W> for Scripted {
    fn process(
        &mut self,
        _key: &i32,
        context: &mut WindowContext<'_, i32, W>,
        elements: Vec<i64>,
        out: &mut TimestampedCollector<'_, String>,
    ) -> Result<()> {
        let mut script = self.script();
        let [start, end] = super::window_words::bounds(context.window).unwrap_or_default();
        script.calls.push((TimeWindow::new(Timestamp(start), Timestamp(end)), elements));
        script.emits.iter().for_each(|emitted| out.collect(emitted.clone()));
        if script.asks_for_window_state {
            context.window_state()?;
        }
        Ok(())
    }
}
