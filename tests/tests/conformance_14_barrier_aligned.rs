//! Aligned barriers behave as Flink's `SingleCheckpointBarrierHandler`.

use serde_json::Value;
use tidegate::{
    checkpoint::{
        AlignerAction, AlignerInput, Alignment, BarrierHandler, CheckpointBarrier, EndOfChannelRule, SnapshotType,
    },
    config::CheckpointingMode,
    id::CheckpointId,
    time::Timestamp,
};
use tidegate_tests::vectors::{expect, list, number, numbers, run, text};

/// What a vector expects of a step, or what happened at it.
#[derive(Debug, PartialEq)]
enum Event {
    Trigger(u64),
    Abort(u64, String),
}

#[test]
fn every_vector_of_aligned_barriers_holds() {
    run(include_str!("../data/vectors/14_barrier_aligned.json"), &[], |vector| {
        let channels = number(vector, "channels") as usize;
        let rule = match vector["checkpoints_after_tasks_finish"].as_bool() {
            Some(true) => EndOfChannelRule::CountsAsBarrier,
            Some(false) => EndOfChannelRule::AbortsCheckpoint,
            None => return Err("no rule for ended channels".into()),
        };
        let mut handler = BarrierHandler::with_rule(CheckpointingMode::ExactlyOnce, channels, rule);
        let (mut triggered, mut aborted) = (Vec::new(), Vec::new());
        for step in list(vector, "steps") {
            let mut actions = Vec::new();
            if let Some(input) = input(step) {
                handler.handle(Timestamp(0), input, &mut actions);
            }
            let events: Vec<_> = actions.iter().filter_map(event).collect();
            expect(step, &events, &list(step, "expect").iter().map(expected_event).collect())?;
            let blocked: Vec<_> = (0..channels).filter(|channel| handler.is_blocked(*channel)).collect();
            let blocked: Vec<_> = blocked.into_iter().map(|channel| channel as i64).collect();
            expect(step, &blocked, &numbers(step, "blocked_after"))?;
            for event in events {
                match event {
                    Event::Trigger(checkpoint_id) => triggered.push(checkpoint_id as i64),
                    Event::Abort(checkpoint_id, _) => aborted.push(checkpoint_id as i64),
                }
            }
        }
        expect(vector, &triggered, &numbers(&vector["summary"], "triggered"))?;
        expect(vector, &aborted, &numbers(&vector["summary"], "aborted"))
    });
}

fn input(step: &Value) -> Option<AlignerInput> {
    let channel = number(step, "channel") as usize;
    let checkpoint_id = || CheckpointId(number(step, "checkpoint") as u64);
    match text(step, "op") {
        "data" => None,
        "barrier" => Some(AlignerInput::Barrier {
            channel,
            barrier: CheckpointBarrier {
                checkpoint_id: checkpoint_id(),
                triggered_at: Timestamp(0),
                alignment: Alignment::Aligned,
                snapshot: SnapshotType::Checkpoint,
            },
        }),
        "cancel_barrier" => Some(AlignerInput::CancelMarker { channel, checkpoint_id: checkpoint_id() }),
        "end_of_partition" => Some(AlignerInput::EndOfChannel { channel }),
        other => panic!("unknown step {other}"),
    }
}

fn event(action: &AlignerAction) -> Option<Event> {
    match action {
        AlignerAction::Snapshot(barrier) => Some(Event::Trigger(barrier.checkpoint_id.0)),
        AlignerAction::Abort { checkpoint_id, reason } => Some(Event::Abort(checkpoint_id.0, reason.name().into())),
        AlignerAction::AlignmentStarted(_) | AlignerAction::Block(_) | AlignerAction::UnblockAll => None,
        AlignerAction::Prioritize { .. }
        | AlignerAction::Record { .. }
        | AlignerAction::StopRecording(_)
        | AlignerAction::AllBarriersReceived(_) => panic!("an aligned barrier overtakes nothing"),
    }
}

fn expected_event(expected: &Value) -> Event {
    let checkpoint_id = number(expected, "checkpoint") as u64;
    match text(expected, "event") {
        "trigger" => Event::Trigger(checkpoint_id),
        "abort" => Event::Abort(checkpoint_id, text(expected, "reason").into()),
        other => panic!("unknown event {other}"),
    }
}
