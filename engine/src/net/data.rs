//! Messages between the tasks of two task managers: elements one way, credit the other.

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::CheckpointBarrier,
    codec::DecodeError,
    id::{Attempt, ChannelId, CheckpointId},
    record::{BatchDecoder, StopMode, StreamElement, WatermarkStatus},
    time::Timestamp,
};

/// An element of a channel as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireElement {
    /// An encoded batch.
    Batch(Vec<u8>),
    /// See [`StreamElement::Watermark`].
    Watermark(Timestamp),
    /// See [`StreamElement::Status`].
    Status(WatermarkStatus),
    /// See [`StreamElement::Barrier`].
    Barrier(CheckpointBarrier),
    /// See [`StreamElement::CancelMarker`].
    CancelMarker(CheckpointId),
    /// See [`StreamElement::EndOfData`].
    EndOfData(StopMode),
    /// See [`StreamElement::EndOfPartition`].
    EndOfPartition,
}

impl From<StreamElement> for WireElement {
    fn from(element: StreamElement) -> Self {
        match element {
            StreamElement::Batch(batch) => Self::Batch(batch.encode()),
            StreamElement::Watermark(watermark) => Self::Watermark(watermark),
            StreamElement::Status(status) => Self::Status(status),
            StreamElement::Barrier(barrier) => Self::Barrier(barrier),
            StreamElement::CancelMarker(checkpoint_id) => Self::CancelMarker(checkpoint_id),
            StreamElement::EndOfData(mode) => Self::EndOfData(mode),
            StreamElement::EndOfPartition => Self::EndOfPartition,
        }
    }
}

impl WireElement {
    /// The element again; batches are of the type that the decoder reads.
    ///
    /// # Errors
    /// If the bytes of a batch are not of that type.
    pub fn decode(self, decoder: BatchDecoder) -> Result<StreamElement, DecodeError> {
        Ok(match self {
            Self::Batch(bytes) => StreamElement::Batch(decoder(&bytes)?),
            Self::Watermark(watermark) => StreamElement::Watermark(watermark),
            Self::Status(status) => StreamElement::Status(status),
            Self::Barrier(barrier) => StreamElement::Barrier(barrier),
            Self::CancelMarker(checkpoint_id) => StreamElement::CancelMarker(checkpoint_id),
            Self::EndOfData(mode) => StreamElement::EndOfData(mode),
            Self::EndOfPartition => StreamElement::EndOfPartition,
        })
    }
}

/// A message on a data connection. The sending task manager connects; one connection serves all channels between two
/// task managers in one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataMessage {
    /// First message: which attempt the connection belongs to. Another attempt's connection is refused.
    Hello {
        /// The attempt of the job.
        attempt: Attempt,
    },
    /// Sender to receiver: the next element of a channel. Costs one credit, except a barrier that overtakes.
    Element {
        /// Which channel.
        channel: ChannelId,
        /// What.
        element: WireElement,
    },
    /// Receiver to sender: so many more elements may be sent.
    Credit {
        /// Which channel.
        channel: ChannelId,
        /// How many.
        credit: u32,
    },
    /// Receiver to sender: it has taken a barrier that overtook.
    OverdraftRepaid {
        /// Which channel.
        channel: ChannelId,
    },
}
