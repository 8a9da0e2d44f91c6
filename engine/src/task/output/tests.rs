//! Credit: what leaves, what waits, in which order.

use super::*;
use crate::{
    checkpoint::{Alignment, CheckpointBarrier, SnapshotType},
    env::channel::mpsc,
    id::CheckpointId,
    record::{StopMode, StreamRecord},
    state::KeyGroups,
    task::{
        mailbox::mailbox,
        partitioner::{PartitionerContext, forward, rebalance},
    },
    time::Timestamp,
};

const CHANNEL_CREDIT: u32 = 2;

fn context(channels: usize) -> PartitionerContext<'static> {
    PartitionerContext { channels, key_groups: KeyGroups::new(128).unwrap(), entropy: &|| 0 }
}

fn edge_channels(count: usize, credit: u32) -> EdgeChannels {
    EdgeChannels { count, credit, overtaking: Overtaking::Allowed }
}

/// Outputs with one edge, whose receivers are mailboxes of this test.
struct Bench {
    outputs: Outputs,
    receivers: Vec<mpsc::Receiver<TaskEvent>>,
}

impl Bench {
    fn unconnected(channels: usize) -> Self {
        let mut outputs = Outputs::new();
        let factory = if channels == 1 { forward() } else { rebalance::<u64>() };
        outputs.add_edge(EdgeOutput::Main, factory(context(channels)), edge_channels(channels, CHANNEL_CREDIT));
        Self { outputs, receivers: Vec::new() }
    }

    fn connected(channels: usize) -> Self {
        let mut bench = Self::unconnected(channels);
        (0..channels).for_each(|channel| bench.connect(channel));
        bench
    }

    fn connect(&mut self, channel: usize) {
        let (mailbox, receiver) = mailbox(1, 16);
        self.receivers.push(receiver);
        self.outputs.connect(channel, ElementWriter::Local { mailbox, channel }).unwrap();
    }

    fn emit(&mut self, values: &[u64]) {
        let records = values.iter().map(|value| StreamRecord::new(*value, Timestamp(0)));
        self.outputs.emit(AnyBatch::new(records.collect())).unwrap();
    }

    /// What has arrived at a channel since the last call, control elements by their names.
    fn arrived(&mut self, channel: usize) -> Vec<String> {
        let mut arrived = Vec::new();
        while let Ok(event) = self.receivers[channel].try_recv() {
            let TaskEvent::Element { element, .. } = event else { panic!("outputs send elements only, not {event:?}") };
            arrived.push(match element {
                StreamElement::Batch(batch) => {
                    let values: Vec<u64> = batch.into_typed::<u64>().into_iter().map(|record| record.value).collect();
                    format!("{values:?}")
                }
                StreamElement::Watermark(watermark) => format!("watermark {watermark}"),
                StreamElement::Barrier(barrier) => format!("barrier {} {:?}", barrier.checkpoint_id, barrier.alignment),
                other => panic!("not sent by this test: {other:?}"),
            });
        }
        arrived
    }
}

#[test]
fn a_channel_sends_as_much_as_its_credit_and_keeps_the_rest_in_order() {
    let mut bench = Bench::connected(1);
    (1..=4).for_each(|value| bench.emit(&[value]));
    assert_eq!(bench.arrived(0), ["[1]", "[2]"]);
    assert!(!bench.outputs.is_available());

    bench.outputs.add_credit(0, 1).unwrap();
    assert_eq!(bench.arrived(0), ["[3]"]);
    assert!(!bench.outputs.is_available(), "one element still waits");

    bench.outputs.add_credit(0, 2).unwrap();
    assert_eq!(bench.arrived(0), ["[4]"]);
    assert!(bench.outputs.is_available());
    bench.emit(&[5]);
    assert_eq!(bench.arrived(0), ["[5]"], "credit that was left over is not lost");
}

#[test]
fn nothing_is_lost_before_the_receiver_is_connected() {
    let mut bench = Bench::unconnected(1);
    bench.emit(&[1]);
    bench.outputs.add_credit(0, 1).unwrap();
    bench.emit(&[2]);
    assert!(!bench.outputs.is_available());
    bench.connect(0);
    assert_eq!(bench.arrived(0), ["[1]", "[2]"]);
    assert!(bench.outputs.is_available());
}

#[test]
fn a_control_element_costs_credit_and_does_not_overtake_records() {
    let mut bench = Bench::connected(1);
    (1..=3).for_each(|value| bench.emit(&[value]));
    bench.outputs.broadcast(&StreamElement::Watermark(Timestamp(7))).unwrap();
    assert_eq!(bench.arrived(0), ["[1]", "[2]"]);
    bench.outputs.add_credit(0, 1).unwrap();
    assert_eq!(bench.arrived(0), ["[3]"]);
    bench.outputs.add_credit(0, 1).unwrap();
    assert_eq!(bench.arrived(0), [format!("watermark {}", Timestamp(7))]);
}

#[test]
fn a_channel_without_credit_does_not_hold_up_another_one() {
    let mut bench = Bench::connected(2);
    (0..3).for_each(|round| bench.emit(&[2 * round, 2 * round + 1]));
    assert_eq!(bench.arrived(0), ["[0]", "[2]"]);
    assert_eq!(bench.arrived(1), ["[1]", "[3]"]);
    bench.outputs.add_credit(1, 1).unwrap();
    assert_eq!(bench.arrived(1), ["[5]"]);
    assert_eq!(bench.arrived(0), [""; 0]);
    assert!(!bench.outputs.is_available(), "channel 0 still waits");
}

#[test]
fn outputs_without_edges_swallow_everything_and_stay_available() {
    let mut outputs = Outputs::new();
    outputs.emit(AnyBatch::new(vec![StreamRecord::new(1u64, Timestamp(0))])).unwrap();
    outputs.broadcast(&StreamElement::EndOfPartition).unwrap();
    assert!(outputs.is_available());
}

#[test]
fn a_receiver_that_is_gone_is_noticed() {
    let mut bench = Bench::connected(1);
    bench.receivers.clear();
    let gone = bench.outputs.broadcast(&StreamElement::EndOfPartition);
    assert_eq!(gone, Err(ReceiverGone));
}

#[test]
fn after_the_end_of_the_data_a_receiver_may_be_gone() {
    let mut bench = Bench::connected(2);
    bench.outputs.broadcast(&StreamElement::EndOfData(StopMode::Drain)).unwrap();
    bench.receivers.remove(0);
    bench.outputs.broadcast(&StreamElement::Watermark(Timestamp(1))).unwrap();
    bench.outputs.end_partitions().unwrap();
    let left: Vec<TaskEvent> = std::iter::from_fn(|| bench.receivers[0].try_recv().ok()).collect();
    let is_end = |event: &TaskEvent| matches!(event, TaskEvent::Element { element: StreamElement::EndOfPartition, .. });
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(is_end(&left[2]), "the last element needs no credit: {left:?}");
    assert!(bench.outputs.is_available());
}

#[test]
fn an_edge_carries_the_output_that_it_was_made_for_and_every_control_element() {
    let mut outputs = Outputs::new();
    let side = |operator, tag: &str| EdgeOutput::Side { operator, tag: tag.into() };
    let mut receivers = Vec::new();
    for output in [EdgeOutput::Main, side(0, "late"), side(1, "late"), side(0, "late")] {
        outputs.add_edge(output, forward()(context(1)), edge_channels(1, 16));
        let (mailbox, receiver) = mailbox(1, 16);
        outputs.connect(receivers.len(), ElementWriter::Local { mailbox, channel: 0 }).unwrap();
        receivers.push(receiver);
    }
    let mut bench = Bench { outputs, receivers };
    bench.emit(&[1]);
    let late = AnyBatch::new(vec![StreamRecord::new(2_u64, Timestamp(0))]);
    bench.outputs.emit_side(0, "late", &late).unwrap();
    bench.outputs.emit_side(0, "unread", &late).unwrap();
    bench.outputs.broadcast(&StreamElement::Watermark(Timestamp(3))).unwrap();
    let arrived: Vec<_> = (0..4).map(|channel| bench.arrived(channel)).collect();
    let expected =
        [vec!["[1]", "watermark 3"], vec!["[2]", "watermark 3"], vec!["watermark 3"], vec!["[2]", "watermark 3"]];
    assert_eq!(arrived, expected);
}

fn barrier(checkpoint_id: u64, alignment: Alignment) -> CheckpointBarrier {
    CheckpointBarrier {
        checkpoint_id: CheckpointId(checkpoint_id),
        triggered_at: Timestamp(100),
        alignment,
        snapshot: SnapshotType::Checkpoint,
    }
}

/// What a checkpoint holds of the outputs: the values of each record, by channel.
fn overtaken(outputs: &mut Outputs, checkpoint_id: u64) -> Option<Vec<(usize, Vec<u64>)>> {
    let values = |elements: Vec<StreamElement>| {
        elements.into_iter().flat_map(|element| match element {
            StreamElement::Batch(batch) => batch.into_typed::<u64>().into_iter().map(|record| record.value),
            other => panic!("not sent by this test: {other:?}"),
        })
    };
    let known = outputs.take_overtaken(CheckpointId(checkpoint_id))?;
    Some(known.into_iter().map(|(channel, elements)| (channel, values(elements).collect())).collect())
}

#[test]
fn a_barrier_that_overtakes_leaves_without_credit_and_what_it_overtook_follows_it() {
    let mut bench = Bench::connected(1);
    (1..=4).for_each(|value| bench.emit(&[value]));
    bench.outputs.broadcast_barrier(&barrier(1, Alignment::Unaligned)).unwrap();
    bench.emit(&[5]);
    assert_eq!(bench.arrived(0), ["[1]", "[2]", "barrier 1 Unaligned"]);
    assert_eq!(overtaken(&mut bench.outputs, 1), Some(vec![(0, vec![3, 4])]));
    bench.outputs.add_credit(0, 2).unwrap();
    assert_eq!(bench.arrived(0), ["[3]", "[4]"], "the barrier took none of the credit");
}

#[test]
fn of_barriers_that_cannot_leave_only_the_newest_waits() {
    let mut bench = Bench::connected(1);
    (1..=3).for_each(|value| bench.emit(&[value]));
    for checkpoint_id in 1..=3 {
        bench.outputs.broadcast_barrier(&barrier(checkpoint_id, Alignment::Unaligned)).unwrap();
    }
    assert_eq!(bench.arrived(0), ["[1]", "[2]", "barrier 1 Unaligned"]);
    assert_eq!(overtaken(&mut bench.outputs, 3), Some(vec![(0, vec![3])]));
    bench.outputs.repay_overdraft(0).unwrap();
    assert_eq!(bench.arrived(0), ["barrier 3 Unaligned"]);
}

#[test]
fn barriers_that_come_faster_than_credit_do_not_keep_the_data_back() {
    let mut bench = Bench::connected(1);
    (1..=4).for_each(|value| bench.emit(&[value]));
    for checkpoint_id in 1..=3 {
        bench.outputs.broadcast_barrier(&barrier(checkpoint_id, Alignment::Unaligned)).unwrap();
        bench.outputs.repay_overdraft(0).unwrap();
    }
    bench.outputs.add_credit(0, 1).unwrap();
    let arrived = bench.arrived(0);
    assert_eq!(arrived.last().map(String::as_str), Some("[3]"), "{arrived:?}");
}

#[test]
fn a_barrier_with_a_time_out_that_waits_for_credit_overtakes_when_its_time_has_come() {
    let mut bench = Bench::connected(2);
    let impatient = Alignment::AlignedWithTimeout(std::time::Duration::from_millis(10));
    (0..3).for_each(|round| bench.emit(&[2 * round, 2 * round + 1]));
    bench.outputs.add_credit(1, 2).unwrap();
    bench.outputs.broadcast_barrier(&barrier(1, impatient)).unwrap();
    bench.emit(&[6, 7]);
    assert_eq!(bench.arrived(1), ["[1]", "[3]", "[5]", "barrier 1 AlignedWithTimeout(10ms)"]);
    assert_eq!(bench.outputs.deadline(), Some(Timestamp(110)));
    bench.outputs.overtake_if_due(Timestamp(109)).unwrap();
    assert_eq!(overtaken(&mut bench.outputs, 1), None, "nobody knows yet what it will overtake");
    bench.outputs.overtake_if_due(Timestamp(110)).unwrap();
    assert_eq!(bench.arrived(0), ["[0]", "[2]", "barrier 1 Unaligned"]);
    assert_eq!(bench.outputs.deadline(), None);
    assert_eq!(overtaken(&mut bench.outputs, 1), Some(vec![(0, vec![4])]));
}

#[test]
fn an_edge_that_cannot_be_overtaken_gets_the_barrier_in_its_turn() {
    let mut outputs = Outputs::new();
    let channels = EdgeChannels { overtaking: Overtaking::Forbidden, ..edge_channels(1, 1) };
    outputs.add_edge(EdgeOutput::Main, forward()(context(1)), channels);
    let mut bench = Bench { outputs, receivers: Vec::new() };
    bench.connect(0);
    (1..=2).for_each(|value| bench.emit(&[value]));
    bench.outputs.broadcast_barrier(&barrier(1, Alignment::Unaligned)).unwrap();
    assert_eq!(overtaken(&mut bench.outputs, 1), Some(vec![]));
    bench.outputs.add_credit(0, 2).unwrap();
    assert_eq!(bench.arrived(0), ["[1]", "[2]", "barrier 1 ForcedAligned { timeout: None }"]);
}

#[test]
fn what_is_restored_leaves_before_anything_newer() {
    let mut bench = Bench::unconnected(1);
    let restored = AnyBatch::new(vec![StreamRecord::new(1_u64, Timestamp(0))]);
    bench.outputs.restore(0, vec![StreamElement::Batch(restored)]);
    assert!(!bench.outputs.is_available());
    bench.emit(&[2]);
    bench.connect(0);
    assert_eq!(bench.arrived(0), ["[1]", "[2]"]);
}
