//! What goes over connections: frames, and the messages inside them. Pure.

mod control;
mod data;
mod frame;

pub use control::{
    Acknowledgement, DatabaseHandle, Deployment, FileHandle, FromTaskManager, StateHandle, SubtaskRestore,
    TaskDeployment, ToTaskManager,
};
pub use data::{DataMessage, WireElement};
pub use frame::{Frame, FrameDecoder, FrameError, FrameKind, MAX_PAYLOAD_BYTES, encode_frame};
