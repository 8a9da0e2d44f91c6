//! The outputs of a subtask: per channel a queue and the credit that the receiver gave.

use std::collections::VecDeque;

use super::{
    mailbox::{ElementWriter, PostError, TaskEvent},
    partitioner::Partitioner,
    program::EdgeOutput,
};
use crate::{
    env::channel::mpsc::error::TrySendError,
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
}

struct OutputEdge {
    output: EdgeOutput,
    partitioner: Box<dyn Partitioner>,
    first_channel: usize,
}

struct OutputChannel {
    writer: Option<ElementWriter>,
    credit: u32,
    queue: VecDeque<StreamElement>,
}

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
        }
    }

    /// Adds an edge with its channels, each with its initial credit, not connected yet.
    pub fn add_edge(&mut self, output: EdgeOutput, partitioner: Box<dyn Partitioner>, channels: usize, credit: u32) {
        if output == EdgeOutput::Main {
            self.main.push(self.edges.len());
        }
        self.edges.push(OutputEdge { output, partitioner, first_channel: self.channels.len() });
        self.channels.extend((0..channels).map(|_| OutputChannel { writer: None, credit, queue: VecDeque::new() }));
    }

    /// The receiver of a channel is there.
    pub fn connect(&mut self, channel: usize, writer: ElementWriter) -> Result<(), ReceiverGone> {
        self.channels[channel].writer = Some(writer);
        self.drain(channel)
    }

    /// The receiver of a channel can take more.
    pub fn add_credit(&mut self, channel: usize, credit: u32) -> Result<(), ReceiverGone> {
        self.channels[channel].credit += credit;
        self.drain(channel)
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
        self.queued = 0;
        for channel in &mut self.channels {
            channel.queue.clear();
            if let Some(writer) = &channel.writer {
                deliver(writer, StreamElement::EndOfPartition).or_else(|gone| gone.unless(self.data_ended))?;
            }
        }
        Ok(())
    }

    fn push(&mut self, channel: usize, element: StreamElement) -> Result<(), ReceiverGone> {
        self.channels[channel].queue.push_back(element);
        self.queued += 1;
        self.drain(channel)
    }

    fn drain(&mut self, channel: usize) -> Result<(), ReceiverGone> {
        let OutputChannel { writer: Some(writer), credit, queue } = &mut self.channels[channel] else { return Ok(()) };
        while *credit > 0
            && let Some(element) = queue.pop_front()
        {
            *credit -= 1;
            self.queued -= 1;
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
