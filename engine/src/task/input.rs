//! The input gate: elements of all input channels, in the order of their arrival, except for what is blocked.

use std::collections::VecDeque;

use super::mailbox::{CreditReturn, TaskEvent};
use crate::{net::DataMessage, record::StreamElement};

/// The input channels of a subtask. Each holds at most its credit (Flink `InputGate`).
#[derive(Debug, Default)]
pub struct InputGate {
    channels: Vec<Channel>,
    /// Channels in the order in which their elements came; a blocked channel's turns wait with the channel.
    turns: VecDeque<usize>,
}

#[derive(Debug, Default)]
struct Channel {
    elements: VecDeque<StreamElement>,
    credit_return: Option<CreditReturn>,
    blocked: bool,
    turns_missed: usize,
}

impl InputGate {
    /// A gate with so many channels.
    pub fn new(channels: usize) -> Self {
        Self { channels: (0..channels).map(|_| Channel::default()).collect(), turns: VecDeque::new() }
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

    /// An element came in.
    pub fn push(&mut self, channel: usize, element: StreamElement) {
        self.channels[channel].elements.push_back(element);
        self.turns.push_back(channel);
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
            give_credit_back(state.credit_return.as_ref());
            return Some((channel, element));
        }
        None
    }

    /// Nothing of this channel comes out until it is unblocked.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn watermarks(gate: &mut InputGate) -> Vec<(usize, i64)> {
        std::iter::from_fn(|| gate.pop())
            .map(|(channel, element)| match element {
                StreamElement::Watermark(watermark) => (channel, watermark.0),
                other => panic!("unexpected {other:?}"),
            })
            .collect()
    }

    fn push(gate: &mut InputGate, channel: usize, watermark: i64) {
        gate.push(channel, StreamElement::Watermark(Timestamp(watermark)));
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
