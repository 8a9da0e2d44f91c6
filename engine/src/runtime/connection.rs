//! The two loops of a connection: one reads frames, one writes them.
//!
//! A session gives each message once, in order. TCP promises that of bytes; of messages it is kept here: each carries its
//! number, so that one that was lost between the ends (a proxy that restarts, a retry) ends the session, and one that
//! comes again is dropped. Nothing above has to ask whether an answer may be missing while its session stands.

use std::{cmp::Ordering, io};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    codec,
    env::{
        ByteReader, ByteWriter,
        channel::mpsc,
        io_traits::{AsyncReadExt as _, AsyncWriteExt as _},
    },
    net::{Frame, FrameDecoder, FrameKind, Numbered, encode_frames},
    planted,
};

const READ_BYTES: usize = 64 * 1024;

/// The frames in which messages go out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    /// What is in them.
    pub kind: FrameKind,
    /// The most bytes in one; a longer message takes several.
    pub bytes_max: usize,
}

impl Frames {
    /// Those between job manager and task manager.
    pub(super) const CONTROL: Self = Self { kind: FrameKind::Control, bytes_max: 1 << 20 };
}

/// Reads messages of one kind from a connection, in order.
pub(super) struct MessageReader {
    reader: ByteReader,
    decoder: FrameDecoder,
    kind: FrameKind,
    buffer: Vec<u8>,
    /// The number of the next message.
    next: u64,
}

impl MessageReader {
    pub(super) fn new(reader: ByteReader, kind: FrameKind) -> Self {
        Self { reader, decoder: FrameDecoder::default(), kind, buffer: vec![0; READ_BYTES], next: 0 }
    }

    /// The next message. An error ends the connection: its text says why.
    pub(super) async fn next<M: DeserializeOwned>(&mut self) -> Result<M, String> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(|error| error.to_string())? {
                match self.decode(&frame)? {
                    Some(message) => return Ok(message),
                    None => continue,
                }
            }
            match self.reader.read(&mut self.buffer).await {
                Ok(0) => return Err("the peer closed the connection".into()),
                Ok(read) => self.decoder.push(&self.buffer[..read]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The message in a frame; none, if it has come before.
    fn decode<M: DeserializeOwned>(&mut self, frame: &Frame) -> Result<Option<M>, String> {
        if frame.kind != self.kind {
            return Err(format!("a frame of kind {:?} on a connection of kind {:?}", frame.kind, self.kind));
        }
        let Numbered { number, message } = codec::decode(&frame.payload).map_err(|error| error.to_string())?;
        match number.cmp(&self.next) {
            Ordering::Greater if !planted!("lost_message_not_noticed") => {
                Err(format!("message {} is missing: number {number} came instead", self.next))
            }
            Ordering::Less if !planted!("repeated_message_acted_on_again") => Ok(None),
            Ordering::Less | Ordering::Equal | Ordering::Greater => {
                self.next = self.next.max(number) + 1;
                Ok(Some(message))
            }
        }
    }
}

/// Writes messages from a queue until the queue ends or the connection does.
pub(super) async fn write_messages<M: Serialize>(
    mut writer: ByteWriter,
    frames: Frames,
    mut queue: mpsc::Receiver<M>,
) -> io::Result<()> {
    let Frames { kind, bytes_max } = frames;
    let mut number = 0;
    while let Some(message) = queue.recv().await {
        // What is there goes out in one write.
        let mut bytes = encode_frames(kind, &codec::encode(&Numbered { number, message }), bytes_max);
        number += 1;
        while bytes.len() < READ_BYTES
            && let Ok(message) = queue.try_recv()
        {
            bytes.extend(encode_frames(kind, &codec::encode(&Numbered { number, message }), bytes_max));
            number += 1;
        }
        writer.write_all(&bytes).await?;
        writer.flush().await?;
    }
    writer.shutdown().await
}
