//! Data that was under way when barriers overtook it, as a checkpoint keeps it.

use serde::{Deserialize, Serialize};

use super::WireElement;

/// What was under way at one subtask: part of a checkpoint beside the state of its operators (Flink
/// `InputChannelStateHandle`, `ResultSubpartitionStateHandle`).
///
/// At a restore the inputs come first, then what the senders had in their outputs, then what is newer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InFlightState {
    /// What had arrived, or arrived before the channel's own barrier.
    pub inputs: Vec<ChannelState>,
    /// What had not been sent.
    pub outputs: Vec<ChannelState>,
}

/// What was under way in one channel, at one end of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelState {
    /// The place of its edge among those into the vertex, or out of it.
    pub edge: u32,
    /// The subtask at the other end.
    pub peer: u32,
    /// Records, watermarks and statuses, in their order.
    pub elements: Vec<WireElement>,
}
