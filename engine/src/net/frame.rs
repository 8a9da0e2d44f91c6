//! Frames: the unit of every connection.
//!
//! ```text
//! | payload length u32 | crc32 u32 | version u8 | kind u8 | payload … |      little-endian
//! ```
//! The checksum covers version, kind and payload. A frame that does not check is never acted on: the connection ends.
//! A message that does not fit into one frame, as one with a record larger than a buffer, goes out in several, one after the
//! other; the kind of all but the last says that more follows (Flink `SpanningWrapper`).

use crate::planted;

use serde::{Deserialize, Serialize};

/// What the payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A message between job manager and task manager.
    Control,
    /// A message between two tasks.
    Data,
}

/// A message with its number in its direction of the session, from 0: what the payload of a frame holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered<M> {
    /// The number.
    pub number: u64,
    /// The message.
    pub message: M,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: FrameKind,
    /// An encoded message.
    pub payload: Vec<u8>,
}

/// Why a connection's bytes make no frame. None of these heals: close the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The peer speaks another version of the protocol.
    #[error("frame of protocol version {found}, this process speaks version {VERSION}")]
    Version {
        /// The version that was found.
        found: u8,
    },
    /// The kind is not known.
    #[error("frame of unknown kind {found}")]
    Kind {
        /// The kind that was found.
        found: u8,
    },
    /// The length cannot be right.
    #[error("frame of {length} bytes exceeds the limit of {MAX_PAYLOAD_BYTES}")]
    Length {
        /// The announced length.
        length: usize,
    },
    /// The bytes were damaged on the way.
    #[error("frame checksum is {found:08x}, expected {expected:08x}")]
    Checksum {
        /// The checksum that the bytes have.
        found: u32,
        /// The checksum that the frame claims.
        expected: u32,
    },
}

const VERSION: u8 = 2;
const HEADER_BYTES: usize = 10;
/// The largest payload of a frame.
pub const MAX_PAYLOAD_BYTES: usize = 256 << 20;

/// The flag of a kind that says that the message goes on in the next frame.
const MORE_FOLLOWS: u8 = 0x80;

/// The bytes of a message that fits into a frame.
pub fn encode_frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    encode_frames(kind, payload, MAX_PAYLOAD_BYTES)
}

/// The bytes of a message, in frames with payloads of at most so many bytes.
pub fn encode_frames(kind: FrameKind, message: &[u8], payload_bytes_max: usize) -> Vec<u8> {
    let most = payload_bytes_max.clamp(1, MAX_PAYLOAD_BYTES);
    let frames = message.len().div_ceil(most).max(1);
    let mut bytes = Vec::with_capacity(frames * HEADER_BYTES + message.len());
    for number in 1..=frames {
        let payload = &message[(number - 1) * most..message.len().min(number * most)];
        let more_follows = number < frames || payload.len() == most && planted!("full_last_buffer_waits_for_more");
        let tag = [VERSION, kind_code(kind) | if more_follows { MORE_FOLLOWS } else { 0 }];
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&checksum(tag, payload).to_le_bytes());
        bytes.extend_from_slice(&tag);
        bytes.extend_from_slice(payload);
    }
    bytes
}

fn kind_code(kind: FrameKind) -> u8 {
    match kind {
        FrameKind::Control => 1,
        FrameKind::Data => 2,
    }
}

fn checksum(tag: [u8; 2], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&tag);
    hasher.update(payload);
    hasher.finalize()
}

/// Cuts a byte stream into frames, and puts those of one message together: what comes out is a whole message.
///
/// ```
/// use tidegate::net::{FrameDecoder, FrameKind, encode_frame};
/// let mut decoder = FrameDecoder::default();
/// let bytes = encode_frame(FrameKind::Data, b"payload");
/// decoder.push(&bytes[..5]);
/// assert_eq!(decoder.next_frame(), Ok(None));
/// decoder.push(&bytes[5..]);
/// assert_eq!(decoder.next_frame().unwrap().unwrap().payload, b"payload");
/// ```
#[derive(Debug, Default)]
pub struct FrameDecoder {
    bytes: Vec<u8>,
    start: usize,
    /// The first frames of a message that goes on.
    begun: Option<Frame>,
}

impl FrameDecoder {
    /// Appends bytes that came in.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > 64 * 1024 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// [`FrameError`] if the stream is damaged; it stays so.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        while let Some((frame, more_follows)) = self.next_part()? {
            let whole = match self.begun.take() {
                None => frame,
                Some(begun) if begun.kind != frame.kind => {
                    return Err(FrameError::Kind { found: kind_code(frame.kind) });
                }
                Some(Frame { kind, mut payload }) if !planted!("spanning_record_joined_in_the_wrong_order") => {
                    payload.extend_from_slice(&frame.payload);
                    Frame { kind, payload }
                }
                Some(begun) => Frame { kind: frame.kind, payload: [frame.payload, begun.payload].concat() },
            };
            if !more_follows {
                return Ok(Some(whole));
            }
            self.begun = Some(whole);
        }
        Ok(None)
    }

    /// The next frame, if it is there, and whether its message goes on.
    fn next_part(&mut self) -> Result<Option<(Frame, bool)>, FrameError> {
        let pending = &self.bytes[self.start..];
        let Some(header) = pending.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [l0, l1, l2, l3, c0, c1, c2, c3, version, kind] = *header;
        if version != VERSION {
            return Err(FrameError::Version { found: version });
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD_BYTES {
            return Err(FrameError::Length { length });
        }
        let expected = u32::from_le_bytes([c0, c1, c2, c3]);
        let Some(payload) = pending.get(HEADER_BYTES..HEADER_BYTES + length) else { return Ok(None) };
        let found = checksum([version, kind], payload);
        if found != expected {
            return Err(FrameError::Checksum { found, expected });
        }
        let more_follows = kind & MORE_FOLLOWS != 0;
        let kind = match kind & !MORE_FOLLOWS {
            1 => FrameKind::Control,
            2 => FrameKind::Data,
            _ => return Err(FrameError::Kind { found: kind }),
        };
        let payload = payload.to_vec();
        self.start += HEADER_BYTES + length;
        Ok(Some((Frame { kind, payload }, more_follows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_the_bytes_are_cut() {
        let frames: Vec<Frame> = (0..20u8)
            .map(|n| Frame {
                kind: if n % 2 == 0 { FrameKind::Control } else { FrameKind::Data },
                payload: vec![n; usize::from(n) * 7],
            })
            .collect();
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| encode_frame(frame.kind, &frame.payload)).collect();
        for chunk in [1, 2, 3, 7, 64, bytes.len()] {
            let mut decoder = FrameDecoder::default();
            let mut decoded = Vec::new();
            for part in bytes.chunks(chunk) {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    decoded.push(frame);
                }
            }
            assert_eq!(decoded, frames);
        }
    }

    #[test]
    fn a_message_of_any_length_goes_through_frames_of_any_length() {
        let messages: Vec<Vec<u8>> = [0, 1, 6, 7, 8, 100].map(|length: u8| (0..length).collect()).to_vec();
        for most in [1, 2, 7, 99, 100, 101] {
            let encode = |message: &Vec<u8>| encode_frames(FrameKind::Data, message, most);
            let bytes: Vec<u8> = messages.iter().flat_map(encode).collect();
            let mut decoder = FrameDecoder::default();
            let mut decoded = Vec::new();
            for part in bytes.chunks(3) {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    decoded.push(frame.payload);
                }
            }
            assert_eq!(decoded, messages, "in frames of {most} bytes");
        }
    }

    #[test]
    fn a_message_that_changes_its_kind_is_refused() {
        let mut bytes = encode_frames(FrameKind::Data, b"begun", 3);
        bytes.truncate(HEADER_BYTES + 3);
        bytes.extend(encode_frame(FrameKind::Control, b"other"));
        let mut decoder = FrameDecoder::default();
        decoder.push(&bytes);
        assert_eq!(decoder.next_frame(), Err(FrameError::Kind { found: 1 }));
    }

    #[test]
    fn a_damaged_byte_never_yields_a_frame() {
        let bytes = encode_frame(FrameKind::Data, b"some payload");
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x10;
            let mut decoder = FrameDecoder::default();
            decoder.push(&damaged);
            let decoded = decoder.next_frame();
            assert!(!matches!(decoded, Ok(Some(_))), "byte {position} was flipped and the frame accepted");
        }
    }

    #[test]
    fn a_peer_of_another_version_is_told_apart() {
        let mut bytes = encode_frame(FrameKind::Data, b"x");
        bytes[8] = 9;
        let mut decoder = FrameDecoder::default();
        decoder.push(&bytes);
        assert_eq!(decoder.next_frame(), Err(FrameError::Version { found: 9 }));
    }
}
