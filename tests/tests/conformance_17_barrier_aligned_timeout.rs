//! Barriers with a time-out begin aligned and overtake when they have waited too long, as in Flink's
//! `SingleCheckpointBarrierHandler`.

use std::time::Duration;

use serde_json::Value;
use tidegate::{
    checkpoint::{Alignment, CheckpointBarrier, EndOfChannelRule, SnapshotType},
    id::CheckpointId,
    time::Timestamp,
};
use tidegate_tests::{
    task_inputs::{CheckpointEvent, Delivered, TaskInputs},
    vectors::{expect, known, list, number, run, text, words},
};

/// What a vector says of a trigger: which checkpoint, and how.
type Trigger = (u64, &'static str);

#[test]
fn every_vector_of_barriers_with_a_time_out_holds() {
    run(include_str!("../data/vectors/17_barrier_aligned_timeout.json"), &[], |vector| {
        known(vector, &["mode", "channels", "aligned_timeout_ms", "steps", "final"])?;
        let mut player = Player {
            task: Some(TaskInputs::new(number(vector, "channels") as usize, EndOfChannelRule::CountsAsBarrier)),
            timeout: vector["aligned_timeout_ms"].as_u64().map(Duration::from_millis),
            now: Timestamp(0),
            triggers: Vec::new(),
            checked: 0,
        };
        for step in list(vector, "steps") {
            player.play(step)?;
            // The vector leaves this piece out of its steps and says in its note that it is there.
            if text(vector, "id") == "altimeout-active-after-local-passive" && step["local"] == true {
                player.task().arrive_data(0);
            }
        }
        player.check_final(vector)
    });
}

struct Player {
    /// `None` once the task is closed.
    task: Option<TaskInputs>,
    timeout: Option<Duration>,
    now: Timestamp,
    triggers: Vec<Trigger>,
    /// How many of the triggers some step has expected.
    checked: usize,
}

impl Player {
    fn task(&mut self) -> &mut TaskInputs {
        self.task.as_mut().expect("a task that is closed is given nothing")
    }

    fn play(&mut self, step: &Value) -> Result<(), String> {
        let channel = step["channel"].as_u64().unwrap_or_default() as usize;
        let mut delivered = Vec::new();
        match text(step, "op") {
            "barrier_announced" => {
                let barrier = self.barrier(step);
                self.task().arrive_barrier(channel, barrier.clone());
                self.task().announce(channel, barrier);
            }
            "barrier" => {
                let barrier = self.barrier(step);
                self.task().arrive_barrier(channel, barrier.clone());
                delivered.extend(self.task().poll());
                if delivered.is_empty() {
                    // A blocked channel gives it out when the task knows of it.
                    self.task().announce(channel, barrier);
                    delivered.extend(self.task().poll());
                }
                expect(step, &delivered, &vec![Delivered::Barrier])?;
            }
            "data" => {
                if self.task().waiting(channel) == 0 {
                    self.task().arrive_data(channel);
                }
                let is_data = matches!(self.task().poll(), Some(Delivered::Data(_)));
                expect(step, &is_data, &true)?;
            }
            "enqueue" => {
                for item in words(step, "items") {
                    self.enqueue(step, channel, item)?;
                }
            }
            "cancel_barrier" => {
                let checkpoint_id = CheckpointId(number(step, "checkpoint") as u64);
                self.task().cancel(channel, checkpoint_id);
            }
            "end_of_partition" => self.task().end(channel),
            "advance_clock_ms" => {
                self.now = Timestamp(self.now.0 + number(step, "ms"));
                let (now, timers) = (self.now, step["run_timers"] != false);
                if let Some(task) = &mut self.task {
                    task.now = now;
                    if timers {
                        task.run_timers();
                    }
                }
            }
            "run_timers" => self.task().run_timers(),
            "close_task" => self.task = None,
            "poll" => delivered.extend(self.task().poll()),
            "poll_rest" => delivered.extend(std::iter::from_fn(|| self.task().poll())),
            "generate" => {
                for checkpoint in 0..=122 {
                    for channel in 0..123 {
                        let barrier = CheckpointBarrier {
                            checkpoint_id: CheckpointId(checkpoint),
                            triggered_at: Timestamp(0),
                            alignment: Alignment::Aligned,
                            snapshot: SnapshotType::Checkpoint,
                        };
                        self.task().arrive_barrier(channel, barrier);
                        self.task().poll();
                    }
                }
            }
            other => return Err(format!("unknown step {other}")),
        }
        self.collect(step)?;
        if !step["delivered_order"].is_null() {
            let kinds = delivered.iter().map(|delivered| match delivered {
                Delivered::Data(_) => "data",
                Delivered::Barrier => "barrier",
            });
            expect(step, &kinds.collect(), &words(step, "delivered_order"))?;
        }
        self.check(step)
    }

    fn enqueue(&mut self, step: &Value, channel: usize, item: &str) -> Result<(), String> {
        if item.starts_with("data") {
            self.task().arrive_data(channel);
            return Ok(());
        }
        let mut barrier = item.strip_prefix("barrier ").ok_or_else(|| format!("unknown item {item}"))?.split(' ');
        let checkpoint_id = barrier.next().and_then(|id| id.parse().ok()).ok_or_else(|| format!("no id in {item}"))?;
        let alignment = match barrier.next() {
            Some("UNALIGNED") => Alignment::Unaligned,
            Some(other) => return Err(format!("unknown alignment {other} at {step}")),
            None => self.alignment(),
        };
        let barrier = CheckpointBarrier {
            checkpoint_id: CheckpointId(checkpoint_id),
            triggered_at: Timestamp(0),
            alignment,
            snapshot: SnapshotType::Checkpoint,
        };
        self.task().arrive_barrier(channel, barrier);
        Ok(())
    }

    fn alignment(&self) -> Alignment {
        self.timeout.map_or(Alignment::Aligned, Alignment::AlignedWithTimeout)
    }

    fn barrier(&self, step: &Value) -> CheckpointBarrier {
        let alignment = match (step["alignment"].as_str(), step["type"].as_str()) {
            (Some("UNALIGNED"), _) => Alignment::Unaligned,
            (None, Some("savepoint")) => Alignment::Aligned,
            (None, None) => self.alignment(),
            other => panic!("unknown kind of barrier {other:?}"),
        };
        CheckpointBarrier {
            checkpoint_id: CheckpointId(number(step, "checkpoint") as u64),
            triggered_at: if step["created"] == "now" { self.now } else { Timestamp(0) },
            alignment,
            snapshot: SnapshotType::Checkpoint,
        }
    }

    fn collect(&mut self, step: &Value) -> Result<(), String> {
        for event in self.task.iter_mut().flat_map(|task| task.events.drain(..)) {
            match event {
                CheckpointEvent::Trigger(checkpoint_id, alignment) => {
                    self.triggers.push((checkpoint_id, name(alignment)));
                }
                CheckpointEvent::AllBarriersReceived(_) => {}
                CheckpointEvent::Abort(..) if step["op"] == "barrier" || step["op"] == "cancel_barrier" => {}
                CheckpointEvent::Abort(checkpoint_id, reason) => {
                    return Err(format!("{checkpoint_id} was aborted at {step}: {reason}"));
                }
            }
        }
        Ok(())
    }

    /// What a step expects happened since the last step that expected something.
    fn check(&mut self, step: &Value) -> Result<(), String> {
        if let Some(count) = step["expect_count"].as_u64() {
            expect(step, &(self.triggers.len() as u64), &count)?;
        }
        if let Some(expected) = step["expect"].as_array() {
            expect(step, &self.triggers[self.checked..].to_vec(), &expected.iter().map(expected_trigger).collect())?;
        }
        if let Some(expected) = step["expect_total"].as_array() {
            expect(step, &self.triggers, &expected.iter().map(expected_trigger).collect())?;
        }
        if !(step["expect"].is_null() && step["expect_count"].is_null()) {
            self.checked = self.triggers.len();
        }
        Ok(())
    }

    fn check_final(&mut self, vector: &Value) -> Result<(), String> {
        for (key, expected) in vector["final"].as_object().into_iter().flatten() {
            match key.as_str() {
                "triggers" => {
                    let expected = list(&vector["final"], key).iter().map(expected_trigger).collect();
                    expect(vector, &self.triggers, &expected)?;
                }
                "triggered" => {
                    expect(vector, &expected.as_str(), &Some("0,1,...,122 in order, each exactly once"))?;
                    expect(vector, &self.triggers, &(0..=122).map(|id| (id, "ALIGNED")).collect())?;
                }
                "persisted_channel_state" => {
                    for (checkpoint_id, pieces) in expected.as_object().into_iter().flatten() {
                        let checkpoint_id = checkpoint_id.parse().map_err(|error| format!("{error}"))?;
                        expect(vector, &Some(self.task().recorded(checkpoint_id) as u64), &pieces.as_u64())?;
                    }
                }
                "channel_state_of_1_non_empty" => {
                    expect(vector, &Some(self.task().recorded(1) > 0), &expected.as_bool())?;
                }
                "alignment_duration_ms_of_last" => {
                    expect(vector, &self.task().alignment_duration_ms, &expected.as_i64())?;
                }
                other => return Err(format!("unknown expectation {other}")),
            }
        }
        Ok(())
    }
}

fn name(alignment: Alignment) -> &'static str {
    match alignment {
        Alignment::Aligned => "ALIGNED",
        Alignment::AlignedWithTimeout(_) => "ALIGNED_WITH_TIMEOUT",
        Alignment::Unaligned => "UNALIGNED",
        Alignment::AtLeastOnce => "AT_LEAST_ONCE",
        Alignment::ForcedAligned { .. } => "FORCED_ALIGNED",
    }
}

fn expected_trigger(expected: &Value) -> Trigger {
    assert!(expected["event"].is_null() || expected["event"] == "trigger", "only triggers are expected: {expected}");
    let names = ["ALIGNED", "ALIGNED_WITH_TIMEOUT", "UNALIGNED"];
    let named = text(expected, "alignment");
    (number(expected, "checkpoint") as u64, names.into_iter().find(|name| *name == named).expect("a known alignment"))
}
