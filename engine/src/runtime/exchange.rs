//! Data between task managers: one connection per pair and attempt, shared by all channels from one to the other.
//!
//! ```text
//!  sender                                   receiver
//!    │ Hello{attempt} ───────────────────────► │ belongs to an attempt that runs here? else: closed
//!    │ Element{channel} ─────────────────────► │ into the receiving subtask's mailbox
//!    │ ◄────────────────────── Credit{channel} │ when the subtask took the element
//!    │ Element{channel, EndOfPartition} ─────► │ the sending subtask has finished; this channel needs the connection no more
//! ```
//! When a connection ends, every subtask that still needs it fails: the attempt is over (Flink `NettyConnectionManager`).
//! A subtask that has ended takes neither elements nor credit; that concerns its own task manager only, which says how it
//! ended, and not the other channels of the connection.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use super::connection::{Frames, MessageReader, write_messages};
use crate::{
    env::{ByteStream, Env, TaskHandle, channel::mpsc},
    id::{Attempt, ChannelId},
    net::{DataMessage, FrameKind},
    record::{BatchDecoder, StreamElement},
    task::{CreditReturn, ElementWriter, Mailbox, PostError, TaskEvent},
};

/// An input channel that a subtask here has.
#[derive(Clone)]
pub(super) struct Receiver {
    pub mailbox: Mailbox,
    pub channel: usize,
    pub decoder: BatchDecoder,
}

/// An output channel that a subtask here has.
#[derive(Clone)]
pub(super) struct Sender {
    pub mailbox: Mailbox,
    pub output: usize,
}

/// The channels of one attempt that cross the network, at their ends here.
pub(super) struct AttemptChannels {
    pub receivers: BTreeMap<ChannelId, Receiver>,
    /// The queues of its connections.
    pub limits: ConnectionLimits,
}

/// What a data connection holds at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionLimits {
    /// Messages under way.
    pub queue: usize,
    /// Bytes in a frame.
    pub buffer_bytes: usize,
}

impl ConnectionLimits {
    fn frames(self) -> Frames {
        Frames { kind: FrameKind::Data, bytes_max: self.buffer_bytes }
    }
}

/// Serves a connection that a sender opened, unless it belongs to none of the attempts that run here.
pub(super) async fn serve(env: Env, stream: ByteStream, running: BTreeMap<Attempt, Arc<AttemptChannels>>) {
    let mut reader = MessageReader::new(stream.reader, FrameKind::Data);
    if running.is_empty() {
        return;
    }
    let attempt = match reader.next::<DataMessage>().await {
        Ok(DataMessage::Hello { attempt }) => attempt,
        Ok(DataMessage::Element { .. } | DataMessage::Credit { .. } | DataMessage::OverdraftRepaid { .. }) | Err(_) => {
            return;
        }
    };
    let Some(channels) = running.get(&attempt) else { return };
    let (credits, queue) = mpsc::channel(channels.limits.queue);
    let frames = channels.limits.frames();
    env.spawn(async move {
        // The reading side notices when the connection is gone.
        let _ = write_messages(stream.writer, frames, queue).await;
    });
    let mut seen: BTreeMap<ChannelId, (Receiver, Progress)> = BTreeMap::new();
    let reason = loop {
        let (channel, element) = match reader.next::<DataMessage>().await {
            Ok(DataMessage::Element { channel, element }) => (channel, element),
            Ok(other) => break format!("unexpected message {other:?}"),
            Err(reason) => break reason,
        };
        let Some(receiver) = channels.receivers.get(&channel) else { break format!("no channel {channel} here") };
        let progress = match seen.entry(channel) {
            Entry::Occupied(entry) => &mut entry.into_mut().1,
            Entry::Vacant(first) => {
                let credit_return = CreditReturn::Remote { connection: credits.clone(), channel };
                let connected = TaskEvent::InputConnected { channel: receiver.channel, credit_return };
                if let Err(refused) = receiver.mailbox.post(connected) {
                    break refused.to_string();
                }
                &mut first.insert((receiver.clone(), Progress::Data)).1
            }
        };
        let element = match element.decode(receiver.decoder) {
            Ok(element) => element,
            Err(error) => break error.to_string(),
        };
        progress.advance(&element);
        match receiver.mailbox.post(TaskEvent::Element { channel: receiver.channel, element }) {
            Ok(()) => {}
            // It may have finished before its senders: it waits for nothing after the end of the data.
            Err(PostError::Ended) if *progress != Progress::Data => {}
            Err(refused) => break refused.to_string(),
        }
    };
    for (receiver, progress) in seen.into_values() {
        if progress != Progress::Ended {
            let _ = receiver.mailbox.post(TaskEvent::ConnectionLost { reason: reason.clone() });
        }
    }
}

/// What a channel has delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Records may come.
    Data,
    /// Barriers may come.
    EndOfData,
    /// Everything.
    Ended,
}

impl Progress {
    fn advance(&mut self, element: &StreamElement) {
        match element {
            StreamElement::EndOfData(_) => *self = Self::EndOfData,
            StreamElement::EndOfPartition => *self = Self::Ended,
            StreamElement::Batch(_)
            | StreamElement::Watermark(_)
            | StreamElement::Status(_)
            | StreamElement::Barrier(_)
            | StreamElement::CancelMarker(_) => {}
        }
    }
}

/// Connects to the task manager at `address` for the senders here, and keeps the connection until it ends.
pub(super) fn open(
    env: &Env,
    address: String,
    attempt: Attempt,
    senders: BTreeMap<ChannelId, Sender>,
    limits: ConnectionLimits,
) -> TaskHandle {
    let own_env = env.clone();
    env.spawn(async move {
        let reason = match own_env.connect(&address).await {
            Ok(stream) => run_sender(&own_env, stream, attempt, &senders, limits).await,
            Err(error) => format!("cannot connect to {address}: {error}"),
        };
        for sender in senders.into_values() {
            let _ = sender.mailbox.post(TaskEvent::ConnectionLost { reason: reason.clone() });
        }
    })
}

async fn run_sender(
    env: &Env,
    stream: ByteStream,
    attempt: Attempt,
    senders: &BTreeMap<ChannelId, Sender>,
    limits: ConnectionLimits,
) -> String {
    let (connection, outgoing) = mpsc::channel(limits.queue);
    env.spawn(async move {
        let _ = write_messages(stream.writer, limits.frames(), outgoing).await;
    });
    if connection.try_send(DataMessage::Hello { attempt }).is_err() {
        return "the connection ended at once".into();
    }
    for (channel, sender) in senders {
        let writer = ElementWriter::Remote { connection: connection.clone(), channel: *channel };
        if sender.mailbox.post(TaskEvent::OutputConnected { output: sender.output, writer }).is_err() {
            return "the sending subtask is gone".into();
        }
    }
    drop(connection);
    let mut reader = MessageReader::new(stream.reader, FrameKind::Data);
    loop {
        let (channel, credit) = match reader.next::<DataMessage>().await {
            Ok(DataMessage::Credit { channel, credit }) => (channel, Some(credit)),
            Ok(DataMessage::OverdraftRepaid { channel }) => (channel, None),
            Ok(other) => return format!("unexpected message {other:?}"),
            Err(reason) => return reason,
        };
        let Some(sender) = senders.get(&channel) else { return format!("no channel {channel} here") };
        let output = sender.output;
        let event = match credit {
            Some(credit) => TaskEvent::Credit { output, credit },
            None => TaskEvent::OverdraftRepaid { output },
        };
        match sender.mailbox.post(event) {
            // Credit for the last elements of a subtask that has finished is of no use to anybody.
            Ok(()) | Err(PostError::Ended) => {}
            Err(refused @ PostError::Full) => return refused.to_string(),
        }
    }
}
