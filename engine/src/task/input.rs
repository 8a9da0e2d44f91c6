//! The input gate: elements of all input channels, in the order of their arrival, except for what is blocked and for
//! barriers that overtake.
//!
//! A barrier that overtakes comes out first ([`InputGate::pop_overtaking`]), whatever lies in front of it. What lay there is
//! still delivered, and is part of the checkpoint if the task says so ([`InputGate::record`]): records, watermarks and
//! statuses. Marks of checkpoints are not, nor is the end of the data, which a restored sender tells again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::mailbox::{CreditReturn, TaskEvent};
use crate::{
    checkpoint::{Alignment, CheckpointBarrier},
    id::CheckpointId,
    net::DataMessage,
    planted,
    record::StreamElement,
};

/// The input channels of a subtask. Each holds at most its credit, and what was restored (Flink `InputGate`).
#[derive(Debug, Default)]
pub struct InputGate {
    channels: Vec<Channel>,
    /// Channels in the order in which their elements came; a blocked channel's turns wait with the channel.
    turns: VecDeque<usize>,
    /// Barriers that come out before everything else.
    overtaking: VecDeque<(usize, CheckpointBarrier, CameOn)>,
    /// The checkpoint of which something is recorded.
    recorded: Option<Recorded>,
}

#[derive(Debug, Default)]
struct Channel {
    elements: VecDeque<StreamElement>,
    /// So many of the first elements come from a checkpoint: nobody gave credit for them.
    restored: usize,
    credit_return: Option<CreditReturn>,
    blocked: bool,
    turns_missed: usize,
    /// A barrier that overtook, and how many elements there are that lay in front of it.
    cut: Option<(CheckpointId, usize)>,
}

/// On what a barrier came that overtakes.
#[derive(Debug, Clone, Copy)]
enum CameOn {
    /// On the credit of its channel, in its turn: it became impatient here.
    Credit,
    /// On the overdraft: it overtook what its sender had queued, if anything.
    Overdraft,
}

#[derive(Debug)]
struct Recorded {
    checkpoint_id: CheckpointId,
    open: BTreeSet<usize>,
    elements: BTreeMap<usize, Vec<StreamElement>>,
}

/// What a task has to know of an element as soon as it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing: it waits for its turn.
    Queued,
    /// It waits for its turn and may get impatient: a barrier with a time-out.
    Announced(CheckpointBarrier),
    /// It comes out first: a barrier that overtakes.
    Overtakes,
}

impl InputGate {
    /// A gate with so many channels.
    pub fn new(channels: usize) -> Self {
        Self { channels: (0..channels).map(|_| Channel::default()).collect(), ..Self::default() }
    }

    /// The number of channels.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether there is no channel: the subtask is a source.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// The sender of a channel is connected.
    pub fn connect(&mut self, channel: usize, credit_return: CreditReturn) {
        self.channels[channel].credit_return = Some(credit_return);
    }

    /// Puts back what lay in a channel at the checkpoint, before anything newer comes.
    pub fn restore(&mut self, channel: usize, mut elements: Vec<StreamElement>) {
        if planted!("in_flight_restored_in_reverse") {
            elements.reverse();
        }
        let state = &mut self.channels[channel];
        assert!(state.elements.len() == state.restored, "what was in flight is restored before anything newer comes");
        state.restored += elements.len();
        self.turns.extend(std::iter::repeat_n(channel, elements.len()));
        state.elements.extend(elements);
    }

    /// An element came in.
    pub fn push(&mut self, channel: usize, element: StreamElement) -> Arrival {
        let state = &mut self.channels[channel];
        let mut arrival = Arrival::Queued;
        if let StreamElement::Barrier(barrier) = &element {
            match barrier.alignment {
                Alignment::Unaligned => {
                    state.cut = Some((barrier.checkpoint_id, state.elements.len()));
                    self.overtaking.push_back((channel, barrier.clone(), CameOn::Overdraft));
                    return Arrival::Overtakes;
                }
                Alignment::AlignedWithTimeout(_) => arrival = Arrival::Announced(barrier.clone()),
                Alignment::Aligned | Alignment::AtLeastOnce | Alignment::ForcedAligned { .. } => {}
            }
        }
        if let Some(recorded) = &mut self.recorded
            && recorded.open.contains(&channel)
            && element.is_in_flight_state()
        {
            recorded.elements.entry(channel).or_default().push(element.clone());
        }
        state.elements.push_back(element);
        self.turns.push_back(channel);
        arrival
    }

    /// The next barrier that overtakes; its sender gets back what it came on.
    pub fn pop_overtaking(&mut self) -> Option<(usize, CheckpointBarrier)> {
        let (channel, barrier, came_on) = self.overtaking.pop_front()?;
        if planted!("no_credit_for_a_barrier_that_overtook") {
            return Some((channel, barrier));
        }
        let credit_return = self.channels[channel].credit_return.as_ref();
        match came_on {
            CameOn::Credit => give_credit_back(credit_return),
            CameOn::Overdraft => repay_overdraft(credit_return),
        }
        Some((channel, barrier))
    }

    /// The next element of a channel that is not blocked; its sender gets the credit back.
    pub fn pop(&mut self) -> Option<(usize, StreamElement)> {
        while let Some(channel) = self.turns.pop_front() {
            let state = &mut self.channels[channel];
            if state.blocked {
                state.turns_missed += 1;
                continue;
            }
            let element = state.elements.pop_front().expect("a channel has a turn for each element");
            if let Some((_, in_front)) = &mut state.cut {
                *in_front = in_front.saturating_sub(1);
            }
            match state.restored.checked_sub(1) {
                Some(rest) => state.restored = rest,
                None => give_credit_back(state.credit_return.as_ref()),
            }
            return Some((channel, element));
        }
        None
    }

    /// Lets the barrier of a checkpoint overtake what lies in front of it.
    pub fn prioritize(&mut self, channel: usize, checkpoint_id: CheckpointId) {
        let state = &mut self.channels[channel];
        let is_it = |element: &StreamElement| matches!(element, StreamElement::Barrier(barrier) if barrier.checkpoint_id == checkpoint_id);
        let Some(position) = state.elements.iter().position(is_it) else { return };
        let Some(StreamElement::Barrier(barrier)) = state.elements.remove(position) else { return };
        self.overtaking.push_back((channel, barrier.with(Alignment::Unaligned), CameOn::Credit));
        state.cut = Some((checkpoint_id, position));
        // Its turn goes with it: of those of its channel the one with its number.
        match position.checked_sub(state.turns_missed) {
            None => state.turns_missed -= 1,
            Some(among_turns) => {
                let turns = self.turns.iter().enumerate().filter(|(_, turn)| **turn == channel);
                let turn = turns.map(|(at, _)| at).nth(among_turns).expect("a channel has a turn for each element");
                self.turns.remove(turn);
            }
        }
    }

    /// Keeps for a checkpoint what lies in these channels in front of its barrier, and what comes before that arrives.
    pub fn record(&mut self, checkpoint_id: CheckpointId, channels: BTreeSet<usize>) {
        let mut elements = BTreeMap::new();
        for channel in &channels {
            if planted!("in_flight_of_the_first_channel_only") && Some(channel) != channels.first() {
                continue;
            }
            let again = self.channels[*channel].restored;
            let left_out = if again > 0 && planted!("restored_in_flight_not_recorded_again") { again } else { 0 };
            let lying = self.channels[*channel].in_front_of(checkpoint_id).skip(left_out);
            let kept: Vec<StreamElement> = lying.filter(|element| element.is_in_flight_state()).cloned().collect();
            if !kept.is_empty() {
                elements.insert(*channel, kept);
            }
        }
        self.recorded = Some(Recorded { checkpoint_id, open: channels, elements });
    }

    /// The barrier of this channel was taken: what comes now is not part of the checkpoint.
    pub fn stop_recording(&mut self, channel: usize) {
        if let Some(recorded) = &mut self.recorded {
            recorded.open.remove(&channel);
        }
    }

    /// The checkpoint of which something is being recorded.
    pub fn recording(&self) -> Option<CheckpointId> {
        self.recorded.as_ref().map(|recorded| recorded.checkpoint_id)
    }

    /// Gives out what was recorded, by channel, and records no more.
    pub fn take_recorded(&mut self, checkpoint_id: CheckpointId) -> BTreeMap<usize, Vec<StreamElement>> {
        match self.recorded.take_if(|recorded| recorded.checkpoint_id == checkpoint_id) {
            Some(recorded) => recorded.elements,
            None => BTreeMap::new(),
        }
    }

    /// Nothing of this channel comes out until it is unblocked, except barriers that overtake.
    pub fn block(&mut self, channel: usize) {
        self.channels[channel].blocked = true;
    }

    /// All channels come out again; what waited comes first.
    pub fn unblock_all(&mut self) {
        let mut turns = VecDeque::new();
        for (index, channel) in self.channels.iter_mut().enumerate() {
            channel.blocked = false;
            turns.extend(std::iter::repeat_n(index, std::mem::take(&mut channel.turns_missed)));
        }
        turns.append(&mut self.turns);
        self.turns = turns;
    }
}

impl Channel {
    /// The elements in front of the barrier of a checkpoint; all if it has not arrived.
    fn in_front_of(&self, checkpoint_id: CheckpointId) -> impl Iterator<Item = &StreamElement> {
        let is_it = move |element: &&StreamElement| matches!(element, StreamElement::Barrier(barrier) if barrier.checkpoint_id == checkpoint_id);
        let lying = match self.cut {
            Some((of, in_front)) if of == checkpoint_id => in_front,
            Some(_) | None => self.elements.len(),
        };
        self.elements.iter().take(lying).take_while(move |element| !is_it(element))
    }
}

fn give_credit_back(credit_return: Option<&CreditReturn>) {
    // A sender that is gone needs no credit: that its subtask is gone is noticed elsewhere.
    match credit_return {
        Some(CreditReturn::Local { mailbox, output }) => {
            let _ = mailbox.post(TaskEvent::Credit { output: *output, credit: 1 });
        }
        Some(CreditReturn::Remote { connection, channel }) => {
            let _ = connection.try_send(DataMessage::Credit { channel: *channel, credit: 1 });
        }
        None => {}
    }
}

fn repay_overdraft(credit_return: Option<&CreditReturn>) {
    match credit_return {
        Some(CreditReturn::Local { mailbox, output }) => {
            let _ = mailbox.post(TaskEvent::OverdraftRepaid { output: *output });
        }
        Some(CreditReturn::Remote { connection, channel }) => {
            let _ = connection.try_send(DataMessage::OverdraftRepaid { channel: *channel });
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkpoint::SnapshotType, time::Timestamp};

    fn watermarks(gate: &mut InputGate) -> Vec<(usize, i64)> {
        std::iter::from_fn(|| gate.pop())
            .map(|(channel, element)| match element {
                StreamElement::Watermark(watermark) => (channel, watermark.0),
                other => panic!("unexpected {other:?}"),
            })
            .collect()
    }

    fn push(gate: &mut InputGate, channel: usize, watermark: i64) {
        assert_eq!(gate.push(channel, StreamElement::Watermark(Timestamp(watermark))), Arrival::Queued);
    }

    fn barrier(checkpoint_id: u64, alignment: Alignment) -> CheckpointBarrier {
        CheckpointBarrier {
            checkpoint_id: CheckpointId(checkpoint_id),
            triggered_at: Timestamp(0),
            alignment,
            snapshot: SnapshotType::Checkpoint,
        }
    }

    /// The watermarks that were recorded, by channel.
    fn recorded(gate: &mut InputGate, checkpoint_id: u64) -> Vec<(usize, Vec<i64>)> {
        let recorded = gate.take_recorded(CheckpointId(checkpoint_id)).into_iter();
        recorded
            .map(|(channel, elements)| {
                let watermarks = elements.iter().map(|element| match element {
                    StreamElement::Watermark(watermark) => watermark.0,
                    other => panic!("unexpected {other:?}"),
                });
                (channel, watermarks.collect())
            })
            .collect()
    }

    #[test]
    fn a_barrier_that_overtakes_comes_first_and_what_it_overtook_is_recorded_and_still_delivered() {
        let mut gate = InputGate::new(2);
        let overtaking = barrier(1, Alignment::Unaligned);
        push(&mut gate, 0, 1);
        push(&mut gate, 1, 2);
        assert_eq!(gate.push(0, StreamElement::Barrier(overtaking.clone())), Arrival::Overtakes);
        push(&mut gate, 0, 3);
        assert_eq!(gate.pop_overtaking(), Some((0, overtaking)));
        gate.record(CheckpointId(1), [0, 1].into());
        gate.stop_recording(0);
        push(&mut gate, 0, 4);
        push(&mut gate, 1, 5);
        gate.stop_recording(1);
        push(&mut gate, 1, 6);
        assert_eq!(watermarks(&mut gate), [(0, 1), (1, 2), (0, 3), (0, 4), (1, 5), (1, 6)]);
        assert_eq!(recorded(&mut gate, 1), [(0, vec![1]), (1, vec![2, 5])]);
    }

    #[test]
    fn a_barrier_that_gets_impatient_overtakes_what_lies_in_front_of_it_and_nothing_else() {
        let mut gate = InputGate::new(2);
        let impatient = barrier(1, Alignment::AlignedWithTimeout(std::time::Duration::from_millis(10)));
        push(&mut gate, 0, 1);
        push(&mut gate, 0, 2);
        assert_eq!(gate.push(0, StreamElement::Barrier(impatient.clone())), Arrival::Announced(impatient.clone()));
        push(&mut gate, 1, 3);
        push(&mut gate, 0, 4);
        assert!(gate.pop().is_some(), "the first watermark is delivered in time");
        gate.prioritize(0, CheckpointId(1));
        assert_eq!(gate.pop_overtaking(), Some((0, impatient.with(Alignment::Unaligned))));
        gate.record(CheckpointId(1), [0, 1].into());
        gate.stop_recording(0);
        assert_eq!(watermarks(&mut gate), [(0, 2), (1, 3), (0, 4)]);
        assert_eq!(recorded(&mut gate, 1), [(0, vec![2]), (1, vec![3])]);
    }

    #[test]
    fn what_lies_in_a_channel_is_recorded_up_to_the_barrier_that_waits_for_its_turn() {
        let mut gate = InputGate::new(1);
        push(&mut gate, 0, 1);
        gate.push(0, StreamElement::Barrier(barrier(1, Alignment::ForcedAligned { timeout: None })));
        push(&mut gate, 0, 2);
        gate.record(CheckpointId(1), [0].into());
        assert_eq!(recorded(&mut gate, 1), [(0, vec![1])]);
    }

    #[test]
    fn what_is_restored_comes_first_and_costs_no_credit() {
        let mut gate = InputGate::new(2);
        let (mailbox, mut events) = super::super::mailbox(4, 4);
        gate.restore(1, vec![StreamElement::Watermark(Timestamp(1)), StreamElement::Watermark(Timestamp(2))]);
        gate.connect(1, CreditReturn::Local { mailbox, output: 7 });
        push(&mut gate, 1, 3);
        assert_eq!(watermarks(&mut gate), [(1, 1), (1, 2), (1, 3)]);
        let credits = std::iter::from_fn(|| events.try_recv().ok());
        assert_eq!(credits.filter(|event| matches!(event, TaskEvent::Credit { output: 7, credit: 1 })).count(), 1);
    }

    #[test]
    fn elements_come_out_in_the_order_of_arrival() {
        let mut gate = InputGate::new(2);
        for (channel, watermark) in [(0, 1), (1, 2), (1, 3), (0, 4)] {
            push(&mut gate, channel, watermark);
        }
        assert_eq!(watermarks(&mut gate), [(0, 1), (1, 2), (1, 3), (0, 4)]);
    }

    #[test]
    fn a_blocked_channel_waits_and_loses_nothing() {
        let mut gate = InputGate::new(2);
        push(&mut gate, 0, 1);
        gate.block(0);
        push(&mut gate, 1, 2);
        push(&mut gate, 0, 3);
        assert_eq!(watermarks(&mut gate), [(1, 2)]);
        gate.unblock_all();
        push(&mut gate, 1, 4);
        assert_eq!(watermarks(&mut gate), [(0, 1), (0, 3), (1, 4)]);
    }
}
