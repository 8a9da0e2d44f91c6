//! Timers are registered, deleted and fired as Flink's timer service does; equal timestamps in our own, total order.

use serde_json::Value;
use tidegate::{
    state::KeyGroups,
    time::{TimeDomain, Timer, TimerService, Timestamp},
};
use tidegate_tests::vectors::{expect, known, list, number, run, text};

type Timers = TimerService<String, String>;

#[test]
fn every_vector_of_the_timers_holds() {
    run(include_str!("../data/vectors/07_timers.json"), &[], |vector| {
        let mut run = Run {
            timers: Timers::new(KeyGroups::default_for(1)),
            domain: if text(vector, "domain") == "event" { TimeDomain::EventTime } else { TimeDomain::ProcessingTime },
            on_fire: Vec::new(),
        };
        if vector["steps"].is_array() { run.steps(vector) } else { run.table(vector) }
    });
}

struct Run {
    timers: Timers,
    domain: TimeDomain,
    /// What the callback of the next timer registers.
    on_fire: Vec<(String, i64)>,
}

/// [key, namespace, timestamp]
fn timer(value: &Value) -> Timer<String, String> {
    let string = |index: usize| value[index].as_str().expect("a string").to_owned();
    Timer { key: string(0), namespace: string(1), timestamp: Timestamp(value[2].as_i64().expect("a timestamp")) }
}

/// In our order: timestamp, key group, key, namespace.
fn fires(expected: &[Value]) -> Vec<Timer<String, String>> {
    let mut timers: Vec<_> = expected.iter().map(timer).collect();
    let key_group = |timer: &Timer<String, String>| KeyGroups::default_for(1).of_key(&timer.key);
    timers.sort_by_key(|timer| (timer.timestamp, key_group(timer), timer.key.clone(), timer.namespace.clone()));
    timers
}

impl Run {
    fn register(&mut self, timer: &Timer<String, String>) {
        self.timers.register(self.domain, timer.timestamp, &timer.key, &timer.namespace);
    }

    /// Advances and calls back for each timer that is due, until none is.
    fn advance(
        &mut self,
        to: i64,
        mut callback: impl FnMut(&mut Self, &Timer<String, String>),
    ) -> Vec<Timer<String, String>> {
        let mut fired = Vec::new();
        if self.domain == TimeDomain::EventTime {
            self.timers.advance_watermark(Timestamp(to));
        }
        loop {
            let due = match self.domain {
                TimeDomain::EventTime => self.timers.pop_due_event_time(),
                TimeDomain::ProcessingTime => self.timers.pop_due_processing_time(Timestamp(to)),
            };
            let Some(timer) = due else { return fired };
            callback(self, &timer);
            fired.push(timer);
        }
    }

    fn table(&mut self, vector: &Value) -> Result<(), String> {
        let fields = ["domain", "register", "delete", "counts", "advance_to", "on_fire", "fires", "remaining"];
        known(vector, &fields)?;
        for registered in list(vector, "register") {
            self.register(&timer(registered));
        }
        for deleted in list(vector, "delete") {
            let timer = timer(deleted);
            self.timers.delete(self.domain, timer.timestamp, &timer.key, &timer.namespace);
        }
        for (namespace, count) in vector["counts"].as_object().into_iter().flatten() {
            let actual = match namespace.as_str() {
                "total" => self.timers.len(self.domain),
                _ => self.timers.len_of_namespace(self.domain, namespace),
            };
            expect(&vector["counts"], &Some(actual as u64), &count.as_u64())?;
        }
        let fired = self.advance(number(vector, "advance_to"), |run, fired| {
            for registered in list(&vector["on_fire"], &fired.timestamp.0.to_string()) {
                run.register(&timer(registered));
            }
        });
        expect(&vector["fires"], &fired, &fires(list(vector, "fires")))?;
        expect(vector, &(self.timers.len(self.domain) as i64), &number(vector, "remaining"))
    }

    fn steps(&mut self, vector: &Value) -> Result<(), String> {
        let mut fired = Vec::new();
        for step in list(vector, "steps") {
            match step[0].as_str().expect("an operation") {
                "register" => self.register(&Timer {
                    key: step[1].as_str().expect("a key").to_owned(),
                    namespace: step[2].as_str().expect("a namespace").to_owned(),
                    timestamp: Timestamp(step[3].as_i64().expect("a timestamp")),
                }),
                "physical" => {
                    let physical: Vec<_> = self.timers.processing_time_deadline().into_iter().map(|t| t.0).collect();
                    expect(step, &serde_json::json!(physical), &step[1])?;
                }
                "on_fire_register" => {
                    let namespace = step[1].as_str().expect("a namespace").to_owned();
                    self.on_fire.push((namespace, step[2].as_i64().expect("a timestamp")));
                }
                "advance" => {
                    fired = self.advance(step[1].as_i64().expect("a time"), |run, fired| {
                        for (namespace, timestamp) in std::mem::take(&mut run.on_fire) {
                            let timestamp = Timestamp(timestamp);
                            run.register(&Timer { key: fired.key.clone(), namespace, timestamp });
                        }
                    });
                }
                "current" => expect(step, &Some(self.timers.watermark().0), &step[1].as_i64())?,
                "count" => expect(step, &Some(self.timers.len(self.domain) as u64), &step[1].as_u64())?,
                "fires" | "fires_now" => {
                    let expected = fires(step[1].as_array().expect("timers"));
                    expect(step, &std::mem::take(&mut fired), &expected)?;
                }
                other => return Err(format!("unknown operation {other}")),
            }
        }
        Ok(())
    }
}
