//! What goes over connections: frames, and the messages inside them. Pure.

mod control;
mod data;
mod frame;
mod in_flight;

pub use control::{
    Acknowledgement, DatabaseHandle, Deployment, FileHandle, FromTaskManager, StateHandle, SubtaskRestore,
    TaskDeployment, ToTaskManager,
};
pub use data::{DataMessage, WireElement};
pub use frame::{Frame, FrameDecoder, FrameError, FrameKind, MAX_PAYLOAD_BYTES, Numbered, encode_frame, encode_frames};
pub use in_flight::{ChannelState, InFlightState};
