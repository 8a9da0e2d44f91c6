//! The outputs of a subtask: per channel a queue and the credit that the receiver gave.
//!
//! A barrier that overtakes goes to the front of the queue and leaves without credit, on an [`OVERDRAFT`] of its own: it
//! reaches a receiver that takes nothing, and takes nothing from the data, however often barriers come. What it overtook is sent on after it, and is part of the
//! checkpoint ([`Outputs::take_overtaken`]). A barrier with a time-out that still waits for credit then does the same
//! ([`Outputs::overtake_if_due`]).

mod overtaken;

use std::collections::VecDeque;

use self::overtaken::Overtaken;
use super::{
    channel_digest::ChannelDigest,
    mailbox::{ElementWriter, PostError, TaskEvent},
    partitioner::Partitioner,
    program::EdgeOutput,
};
use crate::{
    env::channel::mpsc::error::TrySendError,
    graph::Overtaking,
    net::DataMessage,
    record::{AnyBatch, StreamElement},
};

/// All output channels of a subtask, edge by edge (Flink `ResultPartitionWriter`).
///
/// Emitting never waits: what the credit does not cover is queued. The subtask takes no new input
/// while something is queued ([`Outputs::is_available`]), so a queue never holds more than one input's results.
pub struct Outputs {
    edges: Vec<OutputEdge>,
    /// The edges that carry the main output.
    main: Vec<usize>,
    channels: Vec<OutputChannel>,
    queued: usize,
    /// Only control elements come after it.
    data_ended: bool,
    dealt: Vec<(usize, AnyBatch)>,
    /// What the newest barrier overtook, or may still overtake.
    overtaken: Option<Overtaken>,
    /// What was sent over each channel, if somebody wants to know.
    sent: Option<Vec<ChannelDigest>>,
}

struct OutputEdge {
    output: EdgeOutput,
    partitioner: Box<dyn Partitioner>,
    first_channel: usize,
}

struct OutputChannel {
    writer: Option<ElementWriter>,
    credit: u64,
    /// Barriers that overtook and that the receiver has not taken yet.
    overdrawn: usize,
    queue: VecDeque<StreamElement>,
    overtaking: Overtaking,
}

/// The channels of one edge.
#[derive(Debug, Clone, Copy)]
pub struct EdgeChannels {
    /// How many there are.
    pub count: usize,
    /// The initial credit of each.
    pub credit: u32,
    /// Whether barriers may overtake what waits in them.
    pub overtaking: Overtaking,
}

/// So many barriers that overtake may be under way on a channel beside its credit.
pub const OVERDRAFT: usize = 1;

/// The receiver of a channel is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of an output channel is gone")]
pub struct ReceiverGone;

impl Outputs {
    /// Outputs without any edge.
    pub fn new() -> Self {
        Self {
            edges: Vec::new(),
            main: Vec::new(),
            channels: Vec::new(),
            queued: 0,
            data_ended: false,
            dealt: Vec::new(),
            overtaken: None,
            sent: None,
        }
    }

    /// Adds an edge with its channels, not connected yet.
    pub fn add_edge(&mut self, output: EdgeOutput, partitioner: Box<dyn Partitioner>, channels: EdgeChannels) {
        let EdgeChannels { count, credit, overtaking } = channels;
        if output == EdgeOutput::Main {
            self.main.push(self.edges.len());
        }
        self.edges.push(OutputEdge { output, partitioner, first_channel: self.channels.len() });
        let channel =
            || OutputChannel { writer: None, credit: credit.into(), overdrawn: 0, queue: VecDeque::new(), overtaking };
        self.channels.extend((0..count).map(|_| channel()));
    }

    /// Counts from now on what is sent over each channel, also if it only waits.
    pub fn audit(&mut self) {
        self.sent = Some(vec![ChannelDigest::default(); self.channels.len()]);
    }

    /// What was sent over each channel; nothing if nobody wants to know.
    pub fn sent(&self) -> &[ChannelDigest] {
        self.sent.as_deref().unwrap_or_default()
    }

    /// The receiver of a channel is there.
    pub fn connect(&mut self, channel: usize, writer: ElementWriter) -> Result<(), ReceiverGone> {
        self.channels[channel].writer = Some(writer);
        self.drain(channel)
    }

    /// The receiver of a channel can take more.
    pub fn add_credit(&mut self, channel: usize, credit: u32) -> Result<(), ReceiverGone> {
        self.channels[channel].credit += u64::from(credit);
        self.drain(channel)
    }

    /// The receiver of a channel has taken a barrier that overtook.
    pub fn repay_overdraft(&mut self, channel: usize) -> Result<(), ReceiverGone> {
        let overdrawn = &mut self.channels[channel].overdrawn;
        *overdrawn = overdrawn.saturating_sub(1);
        self.drain(channel)
    }

    /// Puts back what waited in a channel at the checkpoint, before anything newer is emitted.
    pub fn restore(&mut self, channel: usize, elements: Vec<StreamElement>) {
        let state = &mut self.channels[channel];
        assert!(state.writer.is_none() && state.queue.is_empty(), "what was in flight is restored before all else");
        if let Some(sent) = &mut self.sent {
            elements.iter().for_each(|element| sent[channel].push(element));
        }
        self.queued += elements.len();
        state.queue.extend(elements);
    }

    /// Whether everything emitted so far has left.
    pub fn is_available(&self) -> bool {
        self.queued == 0
    }

    /// Emits records of the main output.
    pub fn emit(&mut self, batch: AnyBatch) -> Result<(), ReceiverGone> {
        let Some(last) = self.main.len().checked_sub(1) else { return Ok(()) };
        for place in 0..last {
            self.emit_on(self.main[place], batch.clone())?;
        }
        self.emit_on(self.main[last], batch)
    }

    /// Emits records of a side output; if nobody reads it, they are dropped.
    pub fn emit_side(&mut self, operator: usize, tag: &str, batch: &AnyBatch) -> Result<(), ReceiverGone> {
        for edge in 0..self.edges.len() {
            let carries = match &self.edges[edge].output {
                EdgeOutput::Main => false,
                EdgeOutput::Side { operator: of, tag: named } => *of == operator && **named == *tag,
            };
            if carries {
                self.emit_on(edge, batch.clone())?;
            }
        }
        Ok(())
    }

    fn emit_on(&mut self, edge: usize, batch: AnyBatch) -> Result<(), ReceiverGone> {
        let OutputEdge { partitioner, first_channel, .. } = &mut self.edges[edge];
        let first_channel = *first_channel;
        partitioner.partition(batch, &mut self.dealt);
        let mut dealt = std::mem::take(&mut self.dealt);
        for (channel, part) in dealt.drain(..) {
            self.push(first_channel + channel, StreamElement::Batch(part))?;
        }
        self.dealt = dealt;
        Ok(())
    }

    /// Sends a control element over every channel.
    ///
    /// A receiver that has ended after the end of the data is no error: it may have finished, told a moment earlier than
    /// this subtask, and if it failed, its task manager says so.
    pub fn broadcast(&mut self, element: &StreamElement) -> Result<(), ReceiverGone> {
        self.data_ended |= matches!(element, StreamElement::EndOfData(_));
        (0..self.channels.len()).try_for_each(|channel| self.push(channel, element.clone()))
    }

    /// Says over every channel that nothing will come any more, without waiting for credit: the subtask has finished.
    ///
    /// What has not left by now are barriers of checkpoints that nobody waits for.
    pub fn end_partitions(&mut self) -> Result<(), ReceiverGone> {
        // Its receivers may have been told a moment earlier that the savepoint with which all stop is complete.
        self.data_ended = true;
        self.queued = 0;
        self.overtaken = None;
        for channel in &mut self.channels {
            channel.queue.clear();
            if let Some(writer) = &channel.writer {
                deliver(writer, StreamElement::EndOfPartition).or_else(|gone| gone.unless(self.data_ended))?;
            }
        }
        Ok(())
    }

    fn push(&mut self, channel: usize, element: StreamElement) -> Result<(), ReceiverGone> {
        if let Some(sent) = &mut self.sent {
            sent[channel].push(&element);
        }
        self.channels[channel].queue.push_back(element);
        self.queued += 1;
        self.drain(channel)
    }

    fn drain(&mut self, channel: usize) -> Result<(), ReceiverGone> {
        let OutputChannel { writer: Some(writer), credit, overdrawn, queue, .. } = &mut self.channels[channel] else {
            return Ok(());
        };
        while let Some(first) = queue.front() {
            let overtakes = overtaken::overtakes(first);
            let may_leave = if overtakes { *overdrawn < OVERDRAFT } else { *credit > 0 };
            if !may_leave {
                break;
            }
            let Some(element) = queue.pop_front() else { break };
            if overtakes {
                *overdrawn += 1;
            } else {
                *credit -= 1;
            }
            self.queued -= 1;
            if let (StreamElement::Barrier(barrier), Some(overtaken)) = (&element, &mut self.overtaken) {
                overtaken.left(channel, barrier.checkpoint_id);
            }
            deliver(writer, element).or_else(|gone| gone.unless(self.data_ended))?;
        }
        Ok(())
    }
}

impl Default for Outputs {
    fn default() -> Self {
        Self::new()
    }
}

fn deliver(writer: &ElementWriter, element: StreamElement) -> Result<(), Undelivered> {
    match writer {
        ElementWriter::Local { mailbox, channel } => {
            mailbox.post(TaskEvent::Element { channel: *channel, element }).map_err(|refused| match refused {
                PostError::Ended => Undelivered::Ended,
                PostError::Full => Undelivered::Full,
            })
        }
        ElementWriter::Remote { connection, channel } => {
            let message = DataMessage::Element { channel: *channel, element: element.into() };
            connection.try_send(message).map_err(|refused| match refused {
                TrySendError::Closed(_) => Undelivered::Ended,
                TrySendError::Full(_) => Undelivered::Full,
            })
        }
    }
}

/// Why an element did not reach its receiver.
enum Undelivered {
    /// There is nobody any more.
    Ended,
    /// There is no room, which credit rules out.
    Full,
}

impl Undelivered {
    /// An error, unless the receiver was allowed to end.
    fn unless(self, may_end: bool) -> Result<(), ReceiverGone> {
        match self {
            Self::Ended if may_end => Ok(()),
            Self::Ended | Self::Full => Err(ReceiverGone),
        }
    }
}

#[cfg(test)]
mod tests;
