//! The shell around one subtask: its mailbox, its inputs and outputs, its chain of operators, its snapshots.
//!
//! What happens when a barrier arrives: [`InputGate`](input::InputGate) hands it to the
//! [`BarrierHandler`](crate::checkpoint::BarrierHandler) (`barriers.rs`); when that says so, `Subtask::take_checkpoint` (in `checkpoint.rs`)
//! sends the barrier on, takes the snapshot, and starts the asynchronous part, which acknowledges.

mod barriers;
mod channel_digest;
mod checkpoint;
mod database_files;
mod end;
mod in_flight;
pub mod input;
mod local_state;
mod mailbox;
pub mod output;
pub mod partitioner;
mod pieces;
pub mod program;
mod reading;
mod restore;
mod sink;
mod source;
mod subtask;
mod uploads;
mod watermarks;

pub use channel_digest::ChannelDigest;
pub use local_state::LocalStateStores;
pub use mailbox::{CreditReturn, ElementWriter, Mailbox, PostError, TaskEnd, TaskEvent, TaskReport, mailbox};
pub use program::{EdgeCode, EdgeOutput, HeadCode, Program, VertexCode};
pub use sink::{ErasedSink, SinkFactory, checkpointed_sink, plain_sink, two_phase_commit_sink};
pub use source::{ErasedSource, SourceFactory, SourceOutput, source};
pub use subtask::{SubtaskSetup, run_subtask};
pub use watermarks::{ErasedTimestampsAndWatermarks, TimestampsAndWatermarksFactory, timestamps_and_watermarks};
