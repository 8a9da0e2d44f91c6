//! Triggers decide, remember and register timers as Flink's do.

use serde_json::Value;
use tidegate::{
    backend::{KeyedStateBackend, StateRegistry},
    error::Result,
    state::{Key, KeyGroups, KeyedSnapshot},
    time::{TimeDomain, TimerService, Timestamp},
    window::{PurgingTrigger, TimeWindow, Trigger, TriggerContext, TriggerResult, Window},
};
use tidegate_tests::{
    vectors::{expect, known, list, number, run, text},
    window_driver::{Kept, Mode, run_steps},
    window_words::{result, trigger, window, windows},
};

#[test]
fn every_vector_of_the_triggers_holds() {
    run(include_str!("../data/vectors/05_triggers.json"), &[], |vector| {
        if vector["operator"].is_object() {
            run_steps(vector, &vector["operator"], Kept::Reduced, Mode::Calm)?;
            return run_steps(vector, &vector["operator"], Kept::Full, Mode::RestoreStorm);
        }
        let mut triggers = Triggers::new();
        if text(vector, "trigger") == "purging(nested)" {
            return purging(&mut triggers, vector);
        }
        triggers.open(trigger(text(vector, "trigger")));
        list(vector, "steps").iter().try_for_each(|step| triggers.step(step))
    });
}

const KEY: u8 = 7;

/// A trigger and what it is given: one key, state and timers.
struct Triggers {
    trigger: Box<dyn Trigger<(), u8, TimeWindow>>,
    backend: KeyedStateBackend<u8>,
    timers: TimerService<u8, TimeWindow>,
    processing_time: Timestamp,
}

impl Triggers {
    fn new() -> Self {
        let key_groups = KeyGroups::default_for(1);
        Self {
            trigger: Box::new(Always(TriggerResult::Continue)),
            backend: KeyedStateBackend::memory(key_groups, key_groups.all(), KeyedSnapshot::new()),
            timers: TimerService::new(key_groups),
            processing_time: Timestamp::MIN,
        }
    }

    fn open(&mut self, mut trigger: Box<dyn Trigger<(), u8, TimeWindow>>) {
        trigger.open(&mut StateRegistry::new(&mut self.backend)).expect("the vector can be played");
        self.trigger = trigger;
    }

    fn call<T>(
        &mut self,
        window: &TimeWindow,
        call: impl FnOnce(&mut Box<dyn Trigger<(), u8, TimeWindow>>, &mut TriggerContext<'_, u8, TimeWindow>) -> Result<T>,
    ) -> T {
        let mut context = TriggerContext::new(&mut self.backend, &mut self.timers, &KEY, window, self.processing_time);
        call(&mut self.trigger, &mut context).expect("the vector can be played")
    }

    /// Fires all timers that are due; those that do not make the window fire are not mentioned.
    fn fire(&mut self, domain: TimeDomain) -> Vec<(TimeWindow, TriggerResult)> {
        let mut fired = Vec::new();
        loop {
            let due = match domain {
                TimeDomain::EventTime => self.timers.pop_due_event_time(),
                TimeDomain::ProcessingTime => self.timers.pop_due_processing_time(self.processing_time),
            };
            let Some(timer) = due else { return fired };
            let result = self.call(&timer.namespace, |trigger, context| match domain {
                TimeDomain::EventTime => trigger.on_event_time(timer.timestamp, context),
                TimeDomain::ProcessingTime => trigger.on_processing_time(timer.timestamp, context),
            });
            if result != TriggerResult::Continue {
                fired.push((timer.namespace, result));
            }
        }
    }

    fn step(&mut self, step: &Value) -> Result<(), String> {
        known(step, &["op", "window", "result", "sources", "to", "fired", "expect"])?;
        let of_step = || window(&step["window"]);
        match text(step, "op") {
            "element" => {
                let of_step = of_step();
                let answer = self.call(&of_step, |trigger, context| trigger.on_element(&(), of_step.start, context));
                expect(step, &answer, &result(text(step, "result")))?;
            }
            "clear" => self.call(&of_step(), |trigger, context| trigger.clear(context)),
            "merge" => {
                let sources = windows(step, "sources");
                self.call(&of_step(), |trigger, context| {
                    assert!(trigger.can_merge());
                    trigger.on_merge(&sources, context)
                });
                for source in &sources {
                    self.call(source, |trigger, context| trigger.clear(context));
                }
            }
            time @ ("watermark" | "processing_time") => {
                let to = Timestamp(number(step, "to"));
                let domain = match time {
                    "watermark" => {
                        self.timers.advance_watermark(to);
                        TimeDomain::EventTime
                    }
                    _ => {
                        self.processing_time = to;
                        TimeDomain::ProcessingTime
                    }
                };
                let expected: Vec<_> = list(step, "fired")
                    .iter()
                    .map(|fired| (window(&fired[0]), result(fired[1].as_str().expect("a result"))))
                    .collect();
                expect(step, &self.fire(domain), &expected)?;
            }
            other => return Err(format!("no step {other}")),
        }
        let Some(expected) = step["expect"].as_object() else { return Ok(()) };
        let counts = serde_json::json!({
            "state": self.backend.entry_count().expect("the vector can be played"),
            "event_timers": self.timers.len(TimeDomain::EventTime),
            "processing_timers": self.timers.len(TimeDomain::ProcessingTime),
        });
        expect(step, &Some(expected), &counts.as_object())
    }
}

fn purging(triggers: &mut Triggers, vector: &Value) -> Result<(), String> {
    let of_case = TimeWindow::new(Timestamp(0), Timestamp(2));
    for case in list(vector, "cases") {
        triggers.trigger = Box::new(PurgingTrigger::of(Always(result(text(case, "nested")))));
        let expected = result(text(case, "result"));
        let at = Timestamp(0);
        expect(case, &triggers.call(&of_case, |trigger, context| trigger.on_element(&(), at, context)), &expected)?;
        expect(case, &triggers.call(&of_case, |trigger, context| trigger.on_event_time(at, context)), &expected)?;
        expect(case, &triggers.call(&of_case, |trigger, context| trigger.on_processing_time(at, context)), &expected)?;
        // What is forwarded leaves a trace in the timers.
        triggers.call(&of_case, |trigger, context| trigger.on_merge(&[], context));
        expect(case, &triggers.timers.len(TimeDomain::EventTime), &1)?;
        triggers.call(&of_case, |trigger, context| trigger.clear(context));
        expect(case, &triggers.timers.len(TimeDomain::EventTime), &0)?;
    }
    Ok(())
}

/// Answers the same to everything; has a timer from a merge to the end.
struct Always(TriggerResult);

impl<T, K: Key, W: Window> Trigger<T, K, W> for Always {
    fn on_element(&mut self, _: &T, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(self.0)
    }
    fn on_event_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(self.0)
    }
    fn on_processing_time(&mut self, _: Timestamp, _: &mut TriggerContext<'_, K, W>) -> Result<TriggerResult> {
        Ok(self.0)
    }
    fn can_merge(&self) -> bool {
        true
    }
    fn on_merge(&mut self, _sources: &[W], context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        context.register_timer(TimeDomain::EventTime, Timestamp(5));
        Ok(())
    }
    fn clear(&mut self, context: &mut TriggerContext<'_, K, W>) -> Result<()> {
        context.delete_timer(TimeDomain::EventTime, Timestamp(5));
        Ok(())
    }
}
