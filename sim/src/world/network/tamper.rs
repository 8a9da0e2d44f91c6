//! What happens to single messages on their way.
//!
//! A byte stream loses and repeats nothing as long as it stands. But what a process hands over is not always what the
//! other end is given: a proxy in between restarts, a queue of the sender drops what it cannot hold, a retry sends
//! what had gone out already. The session sees nothing of that; so messages are tampered with here whole, and the
//! stream stays one of whole frames.

use std::time::Duration;

use tidegate::net::{FrameDecoder, FrameKind, encode_frame};

use super::{connection::Side, message};

/// What is done to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tampering {
    /// It never comes.
    Lose,
    /// It comes twice.
    Duplicate,
    /// It, and with it all that follows on its connection, comes later.
    Delay(Duration),
}

impl Tampering {
    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lose => "message_lost",
            Self::Duplicate => "message_duplicated",
            Self::Delay(_) => "message_delayed",
        }
    }
}

/// Which message of a node is tampered with: the next control message, but for signs of life, or the next one of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tamper {
    /// What is done.
    pub tampering: Tampering,
    /// The message's name, if it matters.
    pub name: Option<String>,
}

/// What goes out instead.
pub(super) struct Tampered {
    pub bytes: Vec<u8>,
    pub tampering: Tampering,
}

impl Tamper {
    /// What goes out instead of a write, if the message is in it.
    pub(super) fn apply(&self, sender: Side, bytes: &[u8]) -> Option<Tampered> {
        let mut decoder = FrameDecoder::default();
        decoder.push(bytes);
        let (mut out, mut found) = (Vec::with_capacity(bytes.len()), false);
        while let Ok(Some(frame)) = decoder.next_frame() {
            let whole = encode_frame(frame.kind, &frame.payload);
            let name = message::name(sender, &frame);
            let chosen = match &self.name {
                Some(wanted) => wanted == name,
                None => frame.kind == FrameKind::Control && name != "heartbeat",
            };
            let times = match (chosen && !found, self.tampering) {
                (false, _) | (true, Tampering::Delay(_)) => 1,
                (true, Tampering::Lose) => 0,
                (true, Tampering::Duplicate) => 2,
            };
            found |= chosen;
            (0..times).for_each(|_| out.extend_from_slice(&whole));
        }
        found.then_some(Tampered { bytes: out, tampering: self.tampering })
    }
}

#[cfg(test)]
mod tests {
    use tidegate::{
        codec,
        id::Attempt,
        net::{Numbered, ToTaskManager},
    };

    use super::*;

    fn frames(messages: &[ToTaskManager]) -> Vec<u8> {
        let numbered = |message| codec::encode(&Numbered { number: 0, message });
        messages.iter().flat_map(|message| encode_frame(FrameKind::Control, &numbered(message))).collect()
    }

    #[test]
    fn one_message_is_lost_or_doubled_and_the_others_are_left_alone() {
        let (start, finish) =
            (ToTaskManager::Start { attempt: Attempt(1) }, ToTaskManager::Finish { attempt: Attempt(1) });
        let bytes = frames(&[ToTaskManager::Heartbeat, start.clone(), finish.clone()]);
        let apply = |tampering, name: Option<&str>| {
            let tamper = Tamper { tampering, name: name.map(str::to_owned) };
            tamper.apply(Side::Server, &bytes).map(|tampered| tampered.bytes)
        };
        assert_eq!(apply(Tampering::Lose, None), Some(frames(&[ToTaskManager::Heartbeat, finish.clone()])));
        let twice = frames(&[ToTaskManager::Heartbeat, start, finish.clone(), finish]);
        assert_eq!(apply(Tampering::Duplicate, Some("finish")), Some(twice));
        assert_eq!(apply(Tampering::Lose, Some("deploy")), None);
    }
}
