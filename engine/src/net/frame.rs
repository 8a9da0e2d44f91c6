//! Frames: the unit of every connection.
//!
//! ```text
//! | payload length u32 | crc32 u32 | version u8 | kind u8 | payload … |      little-endian
//! ```
//! The checksum covers version, kind and payload. A frame that does not check is never acted on: the connection ends.

/// What the payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A message between job manager and task manager.
    Control,
    /// A message between two tasks.
    Data,
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

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 10;
/// The largest payload of a frame.
pub const MAX_PAYLOAD_BYTES: usize = 256 << 20;

/// The bytes of a frame.
pub fn encode_frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= MAX_PAYLOAD_BYTES, "a frame is at most {MAX_PAYLOAD_BYTES} bytes long");
    let tag = [VERSION, kind_code(kind)];
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&checksum(tag, payload).to_le_bytes());
    bytes.extend_from_slice(&tag);
    bytes.extend_from_slice(payload);
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

/// Cuts a byte stream into frames.
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

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// [`FrameError`] if the stream is damaged; it stays so.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
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
        let kind = match kind {
            1 => FrameKind::Control,
            2 => FrameKind::Data,
            found => return Err(FrameError::Kind { found }),
        };
        let payload = payload.to_vec();
        self.start += HEADER_BYTES + length;
        Ok(Some(Frame { kind, payload }))
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
