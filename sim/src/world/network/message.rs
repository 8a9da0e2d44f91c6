//! What the bytes of a connection mean: the names of the messages in them.
//!
//! The network itself knows bytes only. Names are for those who watch: they are the variants of the engine's messages,
//! in the words of capsules.

use serde::de::DeserializeOwned;
use tidegate::{
    codec,
    net::{DataMessage, Frame, FrameDecoder, FrameKind, FromTaskManager, Numbered, ToTaskManager, WireElement},
};

use super::connection::Side;

/// The messages that begin in these bytes, which begin with one.
pub(super) fn names(sender: Side, bytes: &[u8]) -> Vec<&'static str> {
    let mut decoder = FrameDecoder::default();
    decoder.push(bytes);
    let mut names = Vec::new();
    while let Ok(Some(frame)) = decoder.next_frame() {
        names.push(name(sender, &frame));
    }
    names
}

/// The name of the message in a frame. Task managers connect to the job manager, and senders of data to receivers.
pub(super) fn name(sender: Side, frame: &Frame) -> &'static str {
    match (frame.kind, sender) {
        (FrameKind::Control, Side::Client) => named(frame, from_task_manager),
        (FrameKind::Control, Side::Server) => named(frame, to_task_manager),
        (FrameKind::Data, _) => named(frame, data),
    }
}

fn named<M: DeserializeOwned>(frame: &Frame, name: fn(&M) -> &'static str) -> &'static str {
    let decoded = codec::decode::<Numbered<M>>(&frame.payload);
    decoded.map_or("unreadable", |numbered| name(&numbered.message))
}

fn from_task_manager(message: &FromTaskManager) -> &'static str {
    match message {
        FromTaskManager::Register { .. } => "register",
        FromTaskManager::Heartbeat => "heartbeat",
        FromTaskManager::Deployed { .. } => "deployed",
        FromTaskManager::DeploymentFailed { .. } => "deployment_failed",
        FromTaskManager::Running { .. } => "running",
        FromTaskManager::Acknowledge(_) => "acknowledge",
        FromTaskManager::Decline { .. } => "decline",
        FromTaskManager::EndOfData { .. } => "end_of_data",
        FromTaskManager::Finished { .. } => "finished",
        FromTaskManager::Failed { .. } => "failed",
        FromTaskManager::Cancelled { .. } => "cancelled",
        FromTaskManager::ReportWatermark { .. } => "report_watermark",
    }
}

fn to_task_manager(message: &ToTaskManager) -> &'static str {
    match message {
        ToTaskManager::Registered { .. } => "registered",
        ToTaskManager::Heartbeat => "heartbeat",
        ToTaskManager::Deploy(_) => "deploy",
        ToTaskManager::Start { .. } => "start",
        ToTaskManager::TriggerCheckpoint { .. } => "trigger_checkpoint",
        ToTaskManager::NotifyComplete { .. } => "notify_complete",
        ToTaskManager::NotifyAborted { .. } => "notify_aborted",
        ToTaskManager::Finish { .. } => "finish",
        ToTaskManager::Cancel { .. } => "cancel",
        ToTaskManager::Shutdown => "shutdown",
        ToTaskManager::AlignWatermark { .. } => "align_watermark",
    }
}

fn data(message: &DataMessage) -> &'static str {
    match message {
        DataMessage::Hello { .. } => "hello",
        DataMessage::Credit { .. } => "credit",
        DataMessage::OverdraftRepaid { .. } => "overdraft",
        DataMessage::Element { element, .. } => match element {
            WireElement::Batch(_) => "batch",
            WireElement::Watermark(_) => "watermark",
            WireElement::Status(_) => "status",
            WireElement::Barrier(_) => "barrier",
            WireElement::CancelMarker(_) => "cancel_marker",
            WireElement::EndOfData(_) => "end_of_data",
            WireElement::EndOfPartition => "end_of_partition",
        },
    }
}

#[cfg(test)]
mod tests {
    use tidegate::{id::Attempt, net::encode_frame};

    use super::*;

    fn bytes<M: serde::Serialize>(kind: FrameKind, message: M) -> Vec<u8> {
        encode_frame(kind, &codec::encode(&Numbered { number: 7, message }))
    }

    #[test]
    fn every_message_of_a_write_has_its_name() {
        let attempt = Attempt(3);
        let written = [
            bytes(FrameKind::Control, ToTaskManager::Heartbeat),
            bytes(FrameKind::Control, ToTaskManager::Start { attempt }),
            bytes(FrameKind::Data, DataMessage::Hello { attempt }),
        ];
        assert_eq!(names(Side::Server, &written.concat()), ["heartbeat", "start", "hello"]);
    }

    #[test]
    fn what_is_no_message_is_named_so_and_what_is_no_frame_has_no_name() {
        assert_eq!(names(Side::Client, &encode_frame(FrameKind::Control, &[250])), ["unreadable"]);
        assert_eq!(names(Side::Client, b"half a fra"), [""; 0]);
    }
}
