//! The one mailbox of a subtask, and what comes in and goes out through it.

use std::sync::Arc;

use super::output::OVERDRAFT;
use crate::{
    checkpoint::CheckpointBarrier,
    env::channel::mpsc,
    error::Recoverability,
    id::{ChannelId, CheckpointId, ExecutionAttempt},
    net::{Acknowledgement, DataMessage},
    record::StreamElement,
    time::{AlignmentReport, Timestamp},
};

/// Something happened that concerns a subtask.
#[derive(Debug)]
pub enum TaskEvent {
    /// An element came in on an input channel.
    Element {
        /// Index of the channel at the input gate.
        channel: usize,
        /// What came.
        element: StreamElement,
    },
    /// The sender of an input channel is connected; credit goes back this way.
    InputConnected {
        /// Index of the channel at the input gate.
        channel: usize,
        /// The way back.
        credit_return: CreditReturn,
    },
    /// The receiver of an output channel is connected.
    OutputConnected {
        /// Index of the channel among the outputs.
        output: usize,
        /// Where elements go.
        writer: ElementWriter,
    },
    /// The receiver of an output channel can take more.
    Credit {
        /// Index of the channel among the outputs.
        output: usize,
        /// How many more elements.
        credit: u32,
    },
    /// The receiver of an output channel has taken a barrier that overtook.
    OverdraftRepaid {
        /// Index of the channel among the outputs.
        output: usize,
    },
    /// A connection that the subtask needs is gone.
    ConnectionLost {
        /// What is known about it.
        reason: String,
    },
    /// Start a checkpoint here: the subtask is a source.
    TriggerCheckpoint(CheckpointBarrier),
    /// A checkpoint is complete.
    NotifyComplete(CheckpointId),
    /// A checkpoint was given up.
    NotifyAborted(CheckpointId),
    /// How far the slowest of the other subtasks of a group of aligned sources is.
    AlignWatermark(Timestamp),
    /// Everything is committed: end.
    Finish,
    /// Stop without committing anything.
    Cancel,
}

/// Where an output channel delivers its elements.
#[derive(Debug, Clone)]
pub enum ElementWriter {
    /// To a subtask of the same process, without encoding.
    Local {
        /// Its mailbox.
        mailbox: Mailbox,
        /// Index of the channel at its input gate.
        channel: usize,
    },
    /// To another process.
    Remote {
        /// The queue of the connection.
        connection: mpsc::Sender<DataMessage>,
        /// The channel.
        channel: ChannelId,
    },
}

/// The way that credit goes back to the sender of an input channel.
#[derive(Debug, Clone)]
pub enum CreditReturn {
    /// To a subtask of the same process.
    Local {
        /// Its mailbox.
        mailbox: Mailbox,
        /// Index of the channel among its outputs.
        output: usize,
    },
    /// To another process.
    Remote {
        /// The queue of the connection.
        connection: mpsc::Sender<DataMessage>,
        /// The channel.
        channel: ChannelId,
    },
}

/// The sending end of a mailbox.
///
/// Elements and credit never find it full: the credit of a channel bounds both, and the mailbox is as large as the
/// credits of all channels together, plus room for the end of each and for control events.
#[derive(Debug, Clone)]
pub struct Mailbox(mpsc::Sender<TaskEvent>);

/// Room for control events beside data and credit.
const CONTROL_EVENTS: usize = 256;

/// A mailbox for a subtask with so many channels, in and out together.
pub fn mailbox(channels: usize, credit: usize) -> (Mailbox, mpsc::Receiver<TaskEvent>) {
    // Each channel may have its credit under way, a barrier beyond it, its end, which costs none, and a connection event.
    let (sender, receiver) = mpsc::channel(channels * (credit + OVERDRAFT + 2) + CONTROL_EVENTS);
    (Mailbox(sender), receiver)
}

/// Why an event did not get into a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The subtask has ended. How it ended is told by its task manager, and by nobody else.
    #[error("the subtask has ended")]
    Ended,
    /// There is no room, which credit rules out.
    #[error("the mailbox of the subtask is full")]
    Full,
}

impl Mailbox {
    /// Puts an event into the mailbox, without waiting.
    pub fn post(&self, event: TaskEvent) -> Result<(), PostError> {
        self.0.try_send(event).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => PostError::Full,
            mpsc::error::TrySendError::Closed(_) => PostError::Ended,
        })
    }
}

/// What a subtask tells its task manager.
#[derive(Debug)]
pub enum TaskReport {
    /// It has restored its state and runs.
    Running(ExecutionAttempt),
    /// Its part of a checkpoint is kept.
    Acknowledge(Acknowledgement),
    /// It cannot take part in a checkpoint.
    Decline {
        /// Who.
        execution: ExecutionAttempt,
        /// Which checkpoint.
        checkpoint_id: CheckpointId,
        /// Why.
        reason: String,
    },
    /// It has seen the end of its data.
    EndOfData(ExecutionAttempt),
    /// It is a source with watermark alignment, and asks how far the others are.
    Watermark {
        /// Who.
        execution: ExecutionAttempt,
        /// How far it is.
        report: AlignmentReport,
    },
    /// It is over; nothing of it runs any more.
    Ended {
        /// Who.
        execution: ExecutionAttempt,
        /// How.
        end: TaskEnd,
    },
}

/// How a subtask ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEnd {
    /// As asked, with everything committed.
    Finished,
    /// As asked, with nothing committed.
    Cancelled,
    /// By itself.
    Failed {
        /// Why.
        reason: Arc<str>,
        /// Whether a restart may help.
        recoverability: Recoverability,
    },
}
