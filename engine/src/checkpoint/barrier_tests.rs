//! Barrier handling against naive models: a declarative one over the whole history, and the cut itself, for every
//! order in which small inputs can be read.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    AlignerAction, AlignerInput, Alignment, BarrierHandler, CheckpointBarrier, CheckpointFailureReason,
    CheckpointFailureReason::{DeclinedOnCancellationBarrier, DeclinedSubsumed},
    SnapshotType,
};
use crate::{config::CheckpointingMode, id::CheckpointId, time::Timestamp};

fn barrier(channel: usize, checkpoint_id: u64) -> AlignerInput {
    let barrier = CheckpointBarrier {
        checkpoint_id: CheckpointId(checkpoint_id),
        triggered_at: Timestamp(0),
        alignment: Alignment::Aligned,
        snapshot: SnapshotType::Checkpoint,
    };
    AlignerInput::Barrier { channel, barrier }
}

fn cancel(channel: usize, checkpoint_id: u64) -> AlignerInput {
    AlignerInput::CancelMarker { channel, checkpoint_id: CheckpointId(checkpoint_id) }
}

fn end(channel: usize) -> AlignerInput {
    AlignerInput::EndOfChannel { channel }
}

fn transcript(mode: CheckpointingMode, channels: usize, inputs: &[AlignerInput]) -> String {
    let mut handler = BarrierHandler::new(mode, channels);
    let mut lines = Vec::new();
    for input in inputs {
        let mut actions = Vec::new();
        handler.handle(Timestamp(0), input.clone(), &mut actions);
        let actions: Vec<_> = actions.iter().map(describe).collect();
        lines.push(format!("{} -> {}", describe_input(input), actions.join(", ")).trim_end().to_owned());
    }
    lines.join("\n")
}

fn describe_input(input: &AlignerInput) -> String {
    match input {
        AlignerInput::Barrier { channel, barrier } => format!("{channel}: barrier {}", barrier.checkpoint_id),
        AlignerInput::CancelMarker { channel, checkpoint_id } => format!("{channel}: cancel {checkpoint_id}"),
        AlignerInput::EndOfChannel { channel } => format!("{channel}: end"),
        AlignerInput::Announced { channel, barrier } => format!("{channel}: announced {}", barrier.checkpoint_id),
        AlignerInput::Tick => "tick".into(),
    }
}

fn describe(action: &AlignerAction) -> String {
    match action {
        AlignerAction::AlignmentStarted(checkpoint_id) => format!("alignment {checkpoint_id}"),
        AlignerAction::Block(channel) => format!("block {channel}"),
        AlignerAction::UnblockAll => "unblock all".into(),
        AlignerAction::Snapshot(barrier) => format!("snapshot {}", barrier.checkpoint_id),
        AlignerAction::Prioritize { channel, .. } => format!("prioritize {channel}"),
        AlignerAction::Record { channels, .. } => format!("record {channels:?}"),
        AlignerAction::StopRecording(channel) => format!("recorded {channel}"),
        AlignerAction::AllBarriersReceived(checkpoint_id) => format!("all of {checkpoint_id}"),
        AlignerAction::Abort { checkpoint_id, reason } => format!("abort {checkpoint_id} {reason}"),
    }
}

const SCRIPT: fn() -> Vec<AlignerInput> = || {
    vec![
        barrier(0, 1),
        barrier(1, 1),
        barrier(2, 1),
        barrier(1, 2),
        barrier(0, 3),
        cancel(2, 3),
        barrier(1, 3),
        end(2),
        barrier(1, 4),
        end(0),
        barrier(1, 5),
    ]
};

#[test]
fn aligned_barriers_block_until_the_last_one() {
    insta::assert_snapshot!(transcript(CheckpointingMode::ExactlyOnce, 3, &SCRIPT()), @"
    0: barrier 1 -> alignment 1, block 0
    1: barrier 1 -> block 1
    2: barrier 1 -> snapshot 1, unblock all
    1: barrier 2 -> alignment 2, block 1
    0: barrier 3 -> abort 2 CHECKPOINT_DECLINED_SUBSUMED, unblock all, alignment 3, block 0
    2: cancel 3 -> abort 3 CHECKPOINT_DECLINED_ON_CANCELLATION_BARRIER, unblock all
    1: barrier 3 ->
    2: end ->
    1: barrier 4 -> alignment 4, block 1
    0: end -> snapshot 4, unblock all
    1: barrier 5 -> snapshot 5
    ");
}

#[test]
fn tracked_barriers_block_nothing() {
    insta::assert_snapshot!(transcript(CheckpointingMode::AtLeastOnce, 3, &SCRIPT()), @"
    0: barrier 1 -> alignment 1
    1: barrier 1 ->
    2: barrier 1 -> snapshot 1
    1: barrier 2 -> alignment 2
    0: barrier 3 -> alignment 3
    2: cancel 3 -> abort 2 CHECKPOINT_DECLINED_ON_CANCELLATION_BARRIER, abort 3 CHECKPOINT_DECLINED_ON_CANCELLATION_BARRIER
    1: barrier 3 ->
    2: end ->
    1: barrier 4 -> alignment 4
    0: end -> snapshot 4
    1: barrier 5 -> snapshot 5
    ");
}

/// The same, with inputs at their times and barriers of these alignments.
fn timed_transcript(channels: usize, inputs: &[(i64, AlignerInput)]) -> String {
    let mut handler = BarrierHandler::new(CheckpointingMode::ExactlyOnce, channels);
    let mut lines = Vec::new();
    for (time, input) in inputs {
        let mut actions = Vec::new();
        handler.handle(Timestamp(*time), input.clone(), &mut actions);
        let actions: Vec<_> = actions.iter().map(describe).collect();
        lines.push(format!("{time} {} -> {}", describe_input(input), actions.join(", ")).trim_end().to_owned());
    }
    lines.join("\n")
}

fn barrier_of(channel: usize, checkpoint_id: u64, alignment: Alignment) -> AlignerInput {
    let barrier = CheckpointBarrier {
        checkpoint_id: CheckpointId(checkpoint_id),
        triggered_at: Timestamp(0),
        alignment,
        snapshot: SnapshotType::Checkpoint,
    };
    AlignerInput::Barrier { channel, barrier }
}

fn announced(channel: usize, checkpoint_id: u64, alignment: Alignment) -> AlignerInput {
    let barrier = CheckpointBarrier {
        checkpoint_id: CheckpointId(checkpoint_id),
        triggered_at: Timestamp(0),
        alignment,
        snapshot: SnapshotType::Checkpoint,
    };
    AlignerInput::Announced { channel, barrier }
}

#[test]
fn an_unaligned_checkpoint_is_taken_at_the_first_barrier_and_records_up_to_the_others() {
    let unaligned = Alignment::Unaligned;
    let inputs = [
        (0, barrier_of(1, 1, unaligned)),
        (1, barrier_of(0, 1, unaligned)),
        (2, end(2)),
        (3, barrier_of(0, 2, unaligned)),
        (4, barrier_of(1, 3, unaligned)),
        (5, cancel(0, 3)),
    ];
    insta::assert_snapshot!(timed_transcript(3, &inputs), @"
    0 1: barrier 1 -> alignment 1, record {0, 1, 2}, snapshot 1, recorded 1
    1 0: barrier 1 -> recorded 0
    2 2: end -> recorded 2, all of 1
    3 0: barrier 2 -> alignment 2, record {0, 1}, snapshot 2, recorded 0
    4 1: barrier 3 -> abort 2 CHECKPOINT_DECLINED_SUBSUMED, alignment 3, record {0, 1}, snapshot 3, recorded 1
    5 0: cancel 3 -> abort 3 CHECKPOINT_DECLINED_ON_CANCELLATION_BARRIER
    ");
}

#[test]
fn an_alignment_that_lasts_too_long_is_given_up_and_known_barriers_come_first() {
    let impatient = Alignment::AlignedWithTimeout(std::time::Duration::from_millis(10));
    let inputs = [
        (0, barrier_of(0, 1, impatient)),
        (1, announced(1, 1, impatient)),
        (9, AlignerInput::Tick),
        (10, AlignerInput::Tick),
        (11, barrier_of(1, 1, Alignment::Unaligned)),
        (12, announced(2, 1, impatient)),
        (13, barrier_of(2, 1, impatient)),
        (14, barrier_of(0, 2, Alignment::Aligned)),
    ];
    insta::assert_snapshot!(timed_transcript(3, &inputs), @"
    0 0: barrier 1 -> alignment 1, block 0
    1 1: announced 1 ->
    9 tick ->
    10 tick -> prioritize 1, unblock all, record {1, 2}, snapshot 1
    11 1: barrier 1 -> recorded 1
    12 2: announced 1 -> prioritize 2
    13 2: barrier 1 -> recorded 2, all of 1
    14 0: barrier 2 -> alignment 2, block 0
    ");
}

#[test]
fn behind_an_edge_that_cannot_be_overtaken_barriers_overtake_again() {
    let forced = Alignment::ForcedAligned { timeout: None };
    let mut handler = BarrierHandler::new(CheckpointingMode::ExactlyOnce, 2);
    let mut actions = Vec::new();
    for channel in 0..2 {
        actions.clear();
        handler.handle(Timestamp(1_000), barrier_of(channel, 1, forced), &mut actions);
    }
    let AlignerInput::Barrier { barrier, .. } = barrier_of(0, 1, Alignment::Unaligned) else { unreachable!() };
    assert_eq!(actions, [AlignerAction::Snapshot(barrier), AlignerAction::UnblockAll]);
}

/// What became known at an input, without measuring and blocking.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Snapshot(u64),
    Abort(u64, CheckpointFailureReason),
}

fn outcomes(actions: &[AlignerAction]) -> Vec<Outcome> {
    let outcome = |action: &AlignerAction| match action {
        AlignerAction::Snapshot(barrier) => Some(Outcome::Snapshot(barrier.checkpoint_id.0)),
        AlignerAction::Abort { checkpoint_id, reason } => Some(Outcome::Abort(checkpoint_id.0, *reason)),
        AlignerAction::AlignmentStarted(_) | AlignerAction::Block(_) | AlignerAction::UnblockAll => None,
        AlignerAction::Prioritize { .. }
        | AlignerAction::Record { .. }
        | AlignerAction::StopRecording(_)
        | AlignerAction::AllBarriersReceived(_) => panic!("nothing overtakes here"),
    };
    actions.iter().filter_map(outcome).collect()
}

/// The rules of alignment, each answered by looking through everything that ever arrived.
struct History<'a> {
    channels: usize,
    log: &'a [AlignerInput],
}

impl History<'_> {
    fn id_at(&self, at: usize) -> Option<u64> {
        match &self.log[at] {
            AlignerInput::Barrier { barrier, .. } => Some(barrier.checkpoint_id.0),
            AlignerInput::CancelMarker { checkpoint_id, .. } => Some(checkpoint_id.0),
            AlignerInput::EndOfChannel { .. } | AlignerInput::Announced { .. } | AlignerInput::Tick => None,
        }
    }

    fn newest_before(&self, time: usize) -> Option<u64> {
        (0..time).filter_map(|at| self.id_at(at)).max()
    }

    fn ended(&self, channel: usize, from: usize, to: usize) -> bool {
        self.log[from..to].contains(&end(channel))
    }

    /// When a checkpoint was begun: at the first that was heard of it, if that was a barrier and nothing newer was known.
    fn start(&self, id: u64) -> Option<usize> {
        let first = (0..self.log.len()).find(|at| self.id_at(*at) == Some(id))?;
        let is_barrier = matches!(self.log[first], AlignerInput::Barrier { .. });
        (is_barrier && self.newest_before(first) < Some(id)).then_some(first)
    }

    fn has_all(&self, id: u64, start: usize, time: usize) -> bool {
        (0..self.channels)
            .filter(|channel| !self.ended(*channel, 0, start))
            .all(|channel| self.log[start..time].contains(&barrier(channel, id)) || self.ended(channel, start, time))
    }

    /// The checkpoint that waits for barriers once `time` inputs arrived.
    fn pending(&self, time: usize) -> Option<u64> {
        let id = self.newest_before(time)?;
        let start = self.start(id).filter(|start| *start < time)?;
        let cancelled = (0..self.channels).any(|channel| self.log[start..time].contains(&cancel(channel, id)));
        (!cancelled && !self.has_all(id, start, time)).then_some(id)
    }

    fn outcomes_at(&self, time: usize) -> Vec<Outcome> {
        let (known, pending) = (self.newest_before(time), self.pending(time));
        let mut outcomes = Vec::new();
        match &self.log[time] {
            AlignerInput::Barrier { barrier, .. } if known < Some(barrier.checkpoint_id.0) => {
                outcomes.extend(pending.map(|id| Outcome::Abort(id, DeclinedSubsumed)));
            }
            AlignerInput::CancelMarker { checkpoint_id, .. }
                if known < Some(checkpoint_id.0) || pending == Some(checkpoint_id.0) =>
            {
                outcomes.push(Outcome::Abort(checkpoint_id.0, DeclinedOnCancellationBarrier));
            }
            AlignerInput::Barrier { .. }
            | AlignerInput::CancelMarker { .. }
            | AlignerInput::EndOfChannel { .. }
            | AlignerInput::Announced { .. }
            | AlignerInput::Tick => {}
        }
        let is_cancel = matches!(self.log[time], AlignerInput::CancelMarker { .. });
        let completed = self.newest_before(time + 1).filter(|id| {
            let begun_now = self.start(*id) == Some(time);
            !is_cancel && (begun_now || pending == Some(*id)) && self.pending(time + 1).is_none()
        });
        outcomes.extend(completed.map(Outcome::Snapshot));
        outcomes
    }

    fn blocked(&self, time: usize) -> Vec<usize> {
        let Some(id) = self.pending(time) else { return Vec::new() };
        let is_blocked =
            |channel: &usize| self.log[..time].contains(&barrier(*channel, id)) && !self.ended(*channel, 0, time);
        (0..self.channels).filter(is_blocked).collect()
    }
}

/// Any inputs that a network can deliver: nothing comes from a channel after its end.
fn inputs(channels: usize, cancels: bool) -> impl Strategy<Value = Vec<AlignerInput>> {
    let kinds = if cancels { 0..12u8 } else { 0..9u8 };
    prop::collection::vec((0..channels, kinds, 1..6u64), 0..24).prop_map(|raw| {
        let mut ended = BTreeSet::new();
        raw.into_iter()
            .filter_map(|(channel, kind, id)| {
                if ended.contains(&channel) {
                    return None;
                }
                Some(match kind {
                    0 => {
                        ended.insert(channel);
                        end(channel)
                    }
                    1..=8 => barrier(channel, id),
                    _ => cancel(channel, id),
                })
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn alignment_does_what_the_rules_say_of_the_whole_history((channels, log) in (1usize..4).prop_flat_map(|channels| (Just(channels), inputs(channels, true)))) {
        let history = History { channels, log: &log };
        let mut handler = BarrierHandler::new(CheckpointingMode::ExactlyOnce, channels);
        for (time, input) in log.iter().enumerate() {
            let mut actions = Vec::new();
            handler.handle(Timestamp(0), input.clone(), &mut actions);
            prop_assert_eq!(outcomes(&actions), history.outcomes_at(time), "at input {}", time);
            let blocked: Vec<_> = (0..channels).filter(|channel| handler.is_blocked(*channel)).collect();
            prop_assert_eq!(blocked, history.blocked(time + 1), "after input {}", time);
        }
    }

    #[test]
    fn a_tracker_snapshots_what_all_open_channels_delivered_in_rising_order((channels, log) in (1usize..4).prop_flat_map(|channels| (Just(channels), inputs(channels, false)))) {
        let history = History { channels, log: &log };
        let mut handler = BarrierHandler::new(CheckpointingMode::AtLeastOnce, channels);
        let mut newest = None;
        for (time, input) in log.iter().enumerate() {
            let mut actions = Vec::new();
            handler.handle(Timestamp(0), input.clone(), &mut actions);
            let expected: Vec<_> = (1..6)
                .filter(|id| newest < Some(*id))
                .filter(|id| history.start(*id).is_some_and(|start| start <= time && history.has_all(*id, start, time + 1)))
                .collect();
            newest = newest.max(expected.last().copied());
            prop_assert_eq!(outcomes(&actions), expected.into_iter().map(Outcome::Snapshot).collect::<Vec<_>>());
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Record,
    Barrier(u64),
}

/// Every way to put two records and two barriers into a channel.
fn channel_contents() -> Vec<Vec<Element>> {
    let mut contents = Vec::new();
    for first in 0..4 {
        for second in first + 1..4 {
            let mut channel = vec![Element::Record; 4];
            channel[first] = Element::Barrier(1);
            channel[second] = Element::Barrier(2);
            contents.push(channel);
        }
    }
    contents
}

/// Reads channels in every possible order, and checks the cut at every snapshot.
struct Exhaustion<'a> {
    channels: &'a [Vec<Element>],
    orders: u64,
}

impl Exhaustion<'_> {
    fn explore(&mut self, handler: &BarrierHandler, read: &[usize], snapshots: u64) {
        let more = |channel: &usize| read[*channel] < self.channels[*channel].len();
        let readable: Vec<_> =
            (0..self.channels.len()).filter(more).filter(|channel| !handler.is_blocked(*channel)).collect();
        if readable.is_empty() {
            assert!((0..self.channels.len()).all(|channel| !more(&channel)), "no order of reading gets stuck");
            assert_eq!(snapshots, 2, "both checkpoints are taken");
            self.orders += 1;
        }
        for channel in readable {
            let (mut handler, mut read, mut snapshots) = (handler.clone(), read.to_vec(), snapshots);
            let element = self.channels[channel][read[channel]];
            read[channel] += 1;
            if let Element::Barrier(id) = element {
                let mut actions = Vec::new();
                handler.handle(Timestamp(0), barrier(channel, id), &mut actions);
                for outcome in outcomes(&actions) {
                    snapshots += 1;
                    assert_eq!(outcome, Outcome::Snapshot(snapshots), "checkpoints are taken once, in order");
                    self.check_cut(snapshots, &read);
                }
            }
            self.explore(&handler, &read, snapshots);
        }
    }

    /// What was read is exactly what lies before the barrier, which is the last element read.
    fn check_cut(&self, id: u64, read: &[usize]) {
        for (channel, read) in self.channels.iter().zip(read) {
            assert_eq!(channel.get(*read - 1), Some(&Element::Barrier(id)), "the cut is where the barriers are");
        }
    }
}

/// Explores every content of the channels, up to their order, and returns how many orders of reading there were and
/// how many there have to be.
fn explore_all(channels: usize) -> (u64, u64) {
    let contents = channel_contents();
    let (mut explored, mut expected) = (0, 0);
    for choice in 0..contents.len().pow(channels as u32) {
        let place = |channel: usize| choice / contents.len().pow(channel as u32) % contents.len();
        let places: Vec<_> = (0..channels).map(place).collect();
        if places.is_sorted() {
            let inputs: Vec<_> = places.iter().map(|place| contents[*place].clone()).collect();
            let mut exhaustion = Exhaustion { channels: &inputs, orders: 0 };
            let handler = BarrierHandler::new(CheckpointingMode::ExactlyOnce, channels);
            exhaustion.explore(&handler, &vec![0; channels], 0);
            explored += exhaustion.orders;
            expected += orders(&inputs);
        }
    }
    (explored, expected)
}

/// What lies between two cuts may be read in any order; nothing may cross a cut.
fn orders(channels: &[Vec<Element>]) -> u64 {
    let part = |channel: &Vec<Element>, id: u64| {
        channel.iter().position(|element| *element == Element::Barrier(id)).map_or(channel.len(), |at| at + 1)
    };
    let factorial = |n: usize| (1..=n as u64).product::<u64>();
    let between_cuts = |id: u64| {
        let lengths =
            channels.iter().map(|channel| part(channel, id + 1) - if id == 0 { 0 } else { part(channel, id) });
        let lengths: Vec<_> = lengths.collect();
        factorial(lengths.iter().sum()) / lengths.iter().map(|length| factorial(*length)).product::<u64>()
    };
    (0..3).map(between_cuts).product()
}

#[test]
fn each_order_of_reading_two_channels_yields_the_same_cuts() {
    let (explored, expected) = explore_all(2);
    assert_eq!((explored, expected), (443, 443));
}

#[test]
fn each_order_of_reading_three_channels_yields_the_same_cuts() {
    let (explored, expected) = explore_all(3);
    assert_eq!((explored, expected), (143_352, 143_352));
}

#[cfg(feature = "sim")]
#[test]
fn the_exhaustive_test_catches_an_aligner_that_does_not_block() {
    crate::planted::activate(Some("blocked_channel_processed_during_alignment"));
    let caught = std::panic::catch_unwind(|| explore_all(2)).is_err();
    crate::planted::activate(None);
    assert!(caught);
}
