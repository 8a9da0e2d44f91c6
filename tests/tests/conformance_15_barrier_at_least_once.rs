//! Tracked barriers behave as Flink's `CheckpointBarrierTracker`.

use serde_json::Value;
use tidegate::{
    checkpoint::{
        AlignerAction, AlignerInput, Alignment, BarrierTracker, CheckpointBarrier, EndOfChannelRule, SnapshotType,
    },
    id::CheckpointId,
    time::Timestamp,
};
use tidegate_tests::vectors::{expect, list, number, numbers, run, text};

#[test]
fn every_vector_of_tracked_barriers_holds() {
    run(include_str!("../data/vectors/15_barrier_at_least_once.json"), &[], |vector| {
        let channels = number(vector, "channels") as usize;
        let mut tracker = BarrierTracker::new(channels, EndOfChannelRule::CountsAsBarrier);
        let mut order = Vec::new();
        for step in list(vector, "steps") {
            let mut actions = Vec::new();
            if let Some(input) = input(step) {
                tracker.handle(input, &mut actions);
            }
            let events: Vec<_> = actions.into_iter().filter_map(signed_id).collect();
            expect(step, &events, &list(step, "expect").iter().map(expected_id).collect())?;
            order.extend(events);
        }
        let summary = &vector["summary"];
        expect(vector, &order, &numbers(summary, "order"))?;
        expect(vector, &tracker.pending().map(|id| id.0 as i64).collect(), &numbers(summary, "pending_after"))?;
        expect(vector, &(tracker.open_channels() as i64), &number(summary, "open_channels_after"))
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
                alignment: Alignment::AtLeastOnce,
                snapshot: SnapshotType::Checkpoint,
            },
        }),
        "cancel_barrier" => Some(AlignerInput::CancelMarker { channel, checkpoint_id: checkpoint_id() }),
        "end_of_partition" => Some(AlignerInput::EndOfChannel { channel }),
        other => panic!("unknown step {other}"),
    }
}

/// A snapshot is its id, an abortion the negative of it, as in the vectors' summaries.
fn signed_id(action: AlignerAction) -> Option<i64> {
    match action {
        AlignerAction::Snapshot(barrier) => Some(barrier.checkpoint_id.0 as i64),
        AlignerAction::Abort { checkpoint_id, reason } => {
            assert_eq!(reason.name(), "CHECKPOINT_DECLINED_ON_CANCELLATION_BARRIER");
            Some(-(checkpoint_id.0 as i64))
        }
        AlignerAction::AlignmentStarted(_) => None,
        AlignerAction::Block(_)
        | AlignerAction::UnblockAll
        | AlignerAction::Prioritize { .. }
        | AlignerAction::Record { .. }
        | AlignerAction::StopRecording(_)
        | AlignerAction::AllBarriersReceived(_) => panic!("a tracker blocks nothing and records nothing"),
    }
}

fn expected_id(expected: &Value) -> i64 {
    let checkpoint_id = number(expected, "checkpoint");
    match text(expected, "event") {
        "trigger" => checkpoint_id,
        "abort" => {
            assert_eq!(text(expected, "reason"), "CHECKPOINT_DECLINED_ON_CANCELLATION_BARRIER");
            -checkpoint_id
        }
        other => panic!("unknown event {other}"),
    }
}
