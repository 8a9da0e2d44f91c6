//! Unaligned barriers behave as Flink's `SingleCheckpointBarrierHandler`, and what they overtake becomes part of the checkpoint.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate::{
    checkpoint::{Alignment, CheckpointBarrier, EndOfChannelRule, SnapshotType},
    id::CheckpointId,
    time::Timestamp,
};
use tidegate_tests::{
    task_inputs::{CheckpointEvent, Delivered, TaskInputs},
    vectors::{expect, list, number, numbers, run, text},
};

#[test]
fn every_vector_of_unaligned_barriers_holds() {
    run(include_str!("../data/vectors/16_barrier_unaligned.json"), &[], |vector| {
        let rule = match vector["checkpoints_after_tasks_finish"].as_bool() {
            Some(true) => EndOfChannelRule::CountsAsBarrier,
            Some(false) => EndOfChannelRule::AbortsCheckpoint,
            None => return Err("no rule for ended channels".into()),
        };
        let mut task = TaskInputs::new(number(vector, "channels") as usize, rule);
        let (mut triggered, mut aborted) = (Vec::new(), Vec::new());
        let mut in_flight: BTreeMap<u64, BTreeMap<usize, Vec<i64>>> = BTreeMap::new();
        for step in list(vector, "steps") {
            let channel = number(step, "channel") as usize;
            match text(step, "op") {
                "data" => {
                    let piece = task.arrive_data(channel);
                    expect(step, &task.poll(), &Some(Delivered::Data(piece)))?;
                    if let Some(checkpoint_id) = step["persisted_in"].as_u64() {
                        in_flight.entry(checkpoint_id).or_default().entry(channel).or_default().push(piece);
                    }
                }
                "barrier" => {
                    task.arrive_barrier(channel, barrier(step));
                    expect(step, &task.poll(), &Some(Delivered::Barrier))?;
                }
                "cancel_barrier" => task.cancel(channel, CheckpointId(number(step, "checkpoint") as u64)),
                "end_of_partition" => task.end(channel),
                other => return Err(format!("unknown step {other}")),
            }
            let events: Vec<_> = task.events.drain(..).collect();
            expect(step, &events, &list(step, "expect").iter().map(expected_event).collect())?;
            for event in events {
                match event {
                    CheckpointEvent::Trigger(checkpoint_id, _) => triggered.push(checkpoint_id as i64),
                    CheckpointEvent::Abort(checkpoint_id, _) => aborted.push(checkpoint_id as i64),
                    CheckpointEvent::AllBarriersReceived(checkpoint_id) => {
                        let expected = in_flight.remove(&checkpoint_id).unwrap_or_default();
                        expect(step, &task.in_flight[&checkpoint_id], &expected)?;
                    }
                }
            }
        }
        expect(vector, &in_flight, &BTreeMap::new())?;
        expect(vector, &triggered, &numbers(&vector["summary"], "triggered"))?;
        expect(vector, &aborted, &numbers(&vector["summary"], "aborted"))
    });
}

fn barrier(step: &Value) -> CheckpointBarrier {
    CheckpointBarrier {
        checkpoint_id: CheckpointId(number(step, "checkpoint") as u64),
        triggered_at: Timestamp(0),
        alignment: Alignment::Unaligned,
        snapshot: SnapshotType::Checkpoint,
    }
}

fn expected_event(expected: &Value) -> CheckpointEvent {
    let checkpoint_id = number(expected, "checkpoint") as u64;
    match text(expected, "event") {
        "trigger" => CheckpointEvent::Trigger(checkpoint_id, Alignment::Unaligned),
        "all_barriers_received" => CheckpointEvent::AllBarriersReceived(checkpoint_id),
        "abort" => CheckpointEvent::Abort(checkpoint_id, text(expected, "reason").into()),
        other => panic!("unknown event {other}"),
    }
}
