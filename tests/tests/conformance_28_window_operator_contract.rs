//! The window operator keeps exactly the state entries and timers that Flink's does, and calls trigger and function when
//! Flink's does.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tidegate::{
    event::NoObserver,
    id::CheckpointId,
    operator::{Collector, FullWindow, Operator, OutputTag, WindowOperator},
    record::StreamRecord,
    time::{TimeDomain, Timestamp},
    window::{DefaultTrigger, GlobalWindows, MergedWindow, TimeWindow, TriggerResult},
};
use tidegate_tests::{
    vectors::{expect, known, list, number, numbers, run, text},
    window_driver::alone,
    window_script::{Script, Scripted},
    window_words::{result, window, windows},
};

#[test]
fn every_vector_of_the_window_operator_contract_holds() {
    run(include_str!("../data/vectors/28_window_operator_contract.json"), &[], |vector| match text(vector, "id") {
        "wcontract-output-timestamp" => output_timestamp(vector),
        "wcontract-assigner-called-once" => called_once(),
        "wcontract-merge-must-not-shrink-into-past" => list(vector, "cases").iter().try_for_each(merges_into_the_past),
        "wcontract-global-window-has-no-cleanup-timer" => global_window(vector),
        _ if vector["steps"].is_array() => {
            domains(vector).iter().try_for_each(|domain| Run::new(vector, *domain).steps(vector))
        }
        other => Err(format!("no rule for {other}")),
    });
}

/// The clocks for which a vector holds.
fn domains(vector: &Value) -> &'static [TimeDomain] {
    let id = text(vector, "id");
    let of_processing_time = vector["domain"] == "processing" || id.ends_with("-processing");
    let both = text(vector, "origin").contains("/") && vector["allowed_lateness"].as_i64().unwrap_or(0) == 0;
    match (of_processing_time, both) {
        (true, _) => &[TimeDomain::ProcessingTime],
        (false, true) => &[TimeDomain::EventTime, TimeDomain::ProcessingTime],
        (false, false) => &[TimeDomain::EventTime],
    }
}

type Operated = WindowOperator<i64, fn(&i64) -> i32, Scripted, Scripted, FullWindow<Scripted, String>>;

/// What a step can say.
const STEP: [&str; 24] = [
    "op",
    "note",
    "key",
    "value",
    "ts",
    "to",
    "windows",
    "merged",
    "merge_result",
    "on_element",
    "on_merge",
    "calls",
    "emitted",
    "error",
    "fired",
    "late_side_output",
    "state_entries",
    "timers",
    "event_timers",
    "processing_timers",
    "trigger_on_time",
    "trigger_on_time_calls",
    "trigger_on_time_result",
    "trigger_clear_calls",
];

/// A scripted operator.
struct Run {
    domain: TimeDomain,
    scripted: Scripted,
    operator: Operated,
    out: Collector<String>,
}

impl Run {
    fn new(vector: &Value, domain: TimeDomain) -> Self {
        let scripted = Scripted::new(Script::new(domain, vector["merging"] == true));
        let lateness = vector["allowed_lateness"].as_u64().unwrap_or(0);
        let key: fn(&i64) -> i32 = |_| 0;
        let function = FullWindow::new(scripted.clone());
        let mut operator = WindowOperator::new(key, scripted.clone(), scripted.clone(), function)
            .with_allowed_lateness(Duration::from_millis(lateness))
            .with_late_side_output(Some(OutputTag::new("late")));
        operator.open(&alone(Timestamp::MIN, Arc::new(NoObserver)), None).expect("the vector can be played");
        Self { domain, scripted, operator, out: Collector::default() }
    }

    fn add(&mut self, value: i64, timestamp: i64) -> tidegate::error::Result<()> {
        self.operator.process(vec![StreamRecord::new(value, Timestamp(timestamp))], &mut self.out)
    }

    fn advance(&mut self, to: i64) {
        let to = Timestamp(to);
        match self.domain {
            TimeDomain::EventTime => self.operator.advance_watermark(to, &mut self.out),
            TimeDomain::ProcessingTime => {
                self.operator.set_processing_time(to);
                self.operator.advance_processing_time(to, &mut self.out)
            }
        }
        .expect("the vector can be played");
    }

    fn steps(&mut self, vector: &Value) -> Result<(), String> {
        let trigger = &vector["trigger"];
        let fields =
            ["domain", "time_domains", "allowed_lateness", "merging", "window", "assigned_windows", "trigger", "steps"];
        known(vector, &fields)?;
        {
            let mut script = self.scripted.script();
            script.windows = match vector["window"].is_array() {
                true => vec![window(&vector["window"])],
                false => windows(vector, "assigned_windows"),
            };
            script.on_element = match trigger["on_element_first"].is_object() {
                true => trigger["on_element_first"].clone(),
                false => trigger["on_element"].clone(),
            };
            script.on_merge = trigger["on_merge"].clone();
            script.clear = trigger["clear"].clone();
            if let Some(word) = trigger["on_time"].as_str() {
                script.on_time = result(word);
            }
        }
        list(vector, "steps").iter().try_for_each(|step| self.step(step, trigger))
    }

    fn step(&mut self, step: &Value, trigger: &Value) -> Result<(), String> {
        known(step, &STEP)?;
        {
            let mut script = self.scripted.script();
            script.calls.clear();
            if step["windows"].is_array() {
                script.windows = windows(step, "windows");
            }
            if step["on_element"].is_object() {
                script.on_element = step["on_element"].clone();
            }
            if step["merge_result"].is_array() {
                let (result, sources) = (window(&step["merge_result"]), windows(step, "merged"));
                script.merge = Some(MergedWindow { result, sources });
            }
            // Where a vector does not say what makes the window fire, it is the trigger's answer to the timer.
            if trigger["on_time"].is_null() && !list(step, "calls").is_empty() && step["op"] == "advance_time" {
                script.on_time = TriggerResult::Fire;
            }
            if let Some(word) = step["trigger_on_time_result"].as_str() {
                script.on_time = result(word);
            }
            script.asks_for_window_state = step["error"].is_string();
        }
        let times_before = self.scripted.script().times.len();
        match text(step, "op") {
            "advance_time" => self.advance(number(step, "to")),
            "watermark" => self.advance(number(step, "value")),
            "element" => {
                let outcome = self.add(number(step, "value"), number(step, "ts"));
                match step["error"].as_str() {
                    None => outcome.map_err(|error| error.to_string())?,
                    Some(_) => return refused(step, outcome, "per-window state is not allowed"),
                }
                if trigger["on_element_first"].is_object() {
                    self.scripted.script().on_element = Value::Null;
                }
            }
            other => return Err(format!("no step {other}")),
        }
        self.check_calls(step, times_before)?;
        self.check_counts(step)
    }

    /// What trigger and function were asked. Counts are of all steps so far, lists of this one.
    fn check_calls(&mut self, step: &Value, times_before: usize) -> Result<(), String> {
        let late: Vec<Value> = self
            .out
            .take_side_outputs()
            .into_iter()
            .flat_map(|(_, batch)| batch.into_typed::<i64>())
            .map(|record| serde_json::json!({"value": record.value, "ts": record.timestamp.0}))
            .collect();
        expect(step, &late.as_slice(), &list(step, "late_side_output"))?;
        let script = self.scripted.script();
        if step["calls"].is_array() {
            let mut calls = script.calls.clone();
            calls.sort_unstable();
            let mut expected: Vec<_> =
                list(step, "calls").iter().map(|call| (window(&call["window"]), numbers(call, "contents"))).collect();
            expected.sort_unstable();
            expect(step, &calls, &expected)?;
        }
        for key in ["fired", "trigger_on_time"] {
            if step[key].is_array() {
                expect(step, &script.times[times_before..].to_vec(), &numbers(step, key))?;
            }
        }
        if step["on_merge"].is_array() {
            expect(step, &script.merged, &windows(step, "on_merge"))?;
        }
        let counts = [("trigger_on_time_calls", script.times.len()), ("trigger_clear_calls", script.cleared.len())];
        for (key, count) in counts {
            if let Some(expected) = step[key].as_u64() {
                expect(step, &(key, count as u64), &(key, expected))?;
            }
        }
        Ok(())
    }

    fn check_counts(&mut self, step: &Value) -> Result<(), String> {
        let counts = counts(&mut self.operator);
        let timers = match self.domain {
            TimeDomain::EventTime => counts.event_timers,
            TimeDomain::ProcessingTime => counts.processing_timers,
        };
        let counted = [
            ("state_entries", counts.state_entries),
            ("timers", timers),
            ("event_timers", counts.event_timers),
            ("processing_timers", counts.processing_timers),
        ];
        for (key, count) in counted {
            if let Some(expected) = step[key].as_u64() {
                expect(step, &(key, count), &(key, expected))?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Counts {
    state_entries: u64,
    event_timers: u64,
    processing_timers: u64,
}

/// What is in a snapshot of the operator.
fn counts(operator: &mut impl Operator) -> Counts {
    let snapshot =
        operator.snapshot(CheckpointId(1)).and_then(|snapshot| snapshot()).expect("the vector can be played");
    let mut counts = Counts::default();
    for (name, state) in snapshot.keyed {
        let count = state.groups.values().map(Vec::len).sum::<usize>() as u64;
        match name.as_str() {
            "_timer_event" => counts.event_timers += count,
            "_timer_processing" => counts.processing_timers += count,
            _ => counts.state_entries += count,
        }
    }
    counts
}

fn refused(step: &Value, outcome: tidegate::error::Result<()>, why: &str) -> Result<(), String> {
    let error = outcome.err().ok_or_else(|| format!("at {step}: nothing is refused"))?;
    let text = format!("{error} {error:?}");
    expect(step, &text.contains(why), &true).map_err(|problem| format!("{problem}: {text}"))
}

fn output_timestamp(vector: &Value) -> Result<(), String> {
    let mut run = Run::new(vector, TimeDomain::EventTime);
    {
        let mut script = run.scripted.script();
        script.windows = vec![window(&vector["window"])];
        script.emits = list(vector, "function_emits")
            .iter()
            .map(|text| text.as_str().expect("the vector can be played").to_owned())
            .collect();
        script.on_element = Value::from("FIRE");
    }
    run.add(0, 0).expect("the vector can be played");
    let emitted: Vec<_> =
        run.out.take().into_iter().map(|r| serde_json::json!({"value": r.value, "ts": r.timestamp.0})).collect();
    expect(vector, &emitted.as_slice(), &list(vector, "output"))
}

fn called_once() -> Result<(), String> {
    let of_element: Vec<TimeWindow> =
        [(2, 4), (0, 2)].map(|(start, end)| TimeWindow::new(Timestamp(start), Timestamp(end))).to_vec();
    let mut run = Run::new(&Value::Null, TimeDomain::EventTime);
    run.scripted.script().windows = of_element.clone();
    for times in 1..=3 {
        run.add(0, 0).expect("the vector can be played");
        let script = run.scripted.script();
        expect(&Value::Null, &(script.assigned, script.elements.len()), &(times, 2 * times as usize))?;
        expect(&Value::Null, &script.elements[2 * (times as usize - 1)..].to_vec(), &of_element)?;
    }
    Ok(())
}

fn merges_into_the_past(case: &Value) -> Result<(), String> {
    let domain = match text(case, "domain") {
        "event" => TimeDomain::EventTime,
        "processing" => TimeDomain::ProcessingTime,
        other => return Err(format!("no clock {other}")),
    };
    let of_case = serde_json::json!({"merging": true, "allowed_lateness": case["allowed_lateness"]});
    let mut run = Run::new(&of_case, domain);
    let mut in_flight = Vec::new();
    for step in list(case, "steps") {
        if let Some(to) = step["watermark"].as_i64().or(step["processing_time"].as_i64()) {
            run.advance(to);
            continue;
        }
        let of_element = windows(step, "element_windows");
        run.scripted.script().windows = of_element.clone();
        if step["merge_result"].is_array() {
            let result = window(&step["merge_result"]);
            let sources = in_flight.iter().copied().chain(of_element.clone()).collect();
            run.scripted.script().merge = Some(MergedWindow { result, sources });
            in_flight = vec![result];
        } else {
            in_flight = of_element;
        }
        let outcome = run.add(0, 0);
        match step["error"].is_string() {
            true => refused(step, outcome, "is over already")?,
            false => outcome.map_err(|error| format!("at {step}: {error:?}"))?,
        }
    }
    Ok(())
}

fn global_window(vector: &Value) -> Result<(), String> {
    let scripted = Scripted::new(Script::new(TimeDomain::EventTime, false));
    let key: fn(&i64) -> i32 = |_| 0;
    let function = FullWindow::<_, String>::new(scripted);
    let mut operator = WindowOperator::new(key, GlobalWindows, DefaultTrigger::Never, function);
    operator.open(&alone(Timestamp::MIN, Arc::new(NoObserver)), None).expect("the vector can be played");
    operator
        .process(vec![StreamRecord::new(0, Timestamp(0))], &mut Collector::default())
        .expect("the vector can be played");
    let counts = counts(&mut operator);
    let step = &list(vector, "steps")[0];
    expect(step, &counts.state_entries, &number(step, "state_entries").unsigned_abs())?;
    expect(step, &(counts.event_timers, counts.processing_timers), &(0, 0))
}
