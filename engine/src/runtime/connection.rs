//! The two loops of a connection: one reads frames, one writes them.

use std::io;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    codec,
    env::{
        ByteReader, ByteWriter,
        channel::mpsc,
        io_traits::{AsyncReadExt as _, AsyncWriteExt as _},
    },
    net::{Frame, FrameDecoder, FrameKind, encode_frame},
};

const READ_BYTES: usize = 64 * 1024;

/// Reads messages of one kind from a connection, in order.
pub(super) struct MessageReader {
    reader: ByteReader,
    decoder: FrameDecoder,
    kind: FrameKind,
    buffer: Vec<u8>,
}

impl MessageReader {
    pub(super) fn new(reader: ByteReader, kind: FrameKind) -> Self {
        Self { reader, decoder: FrameDecoder::default(), kind, buffer: vec![0; READ_BYTES] }
    }

    /// The next message. An error ends the connection: its text says why.
    pub(super) async fn next<M: DeserializeOwned>(&mut self) -> Result<M, String> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(|error| error.to_string())? {
                return self.decode(&frame);
            }
            match self.reader.read(&mut self.buffer).await {
                Ok(0) => return Err("the peer closed the connection".into()),
                Ok(read) => self.decoder.push(&self.buffer[..read]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn decode<M: DeserializeOwned>(&self, frame: &Frame) -> Result<M, String> {
        if frame.kind != self.kind {
            return Err(format!("a frame of kind {:?} on a connection of kind {:?}", frame.kind, self.kind));
        }
        codec::decode(&frame.payload).map_err(|error| error.to_string())
    }
}

/// Writes messages from a queue until the queue ends or the connection does.
pub(super) async fn write_messages<M: Serialize>(
    mut writer: ByteWriter,
    kind: FrameKind,
    mut queue: mpsc::Receiver<M>,
) -> io::Result<()> {
    while let Some(message) = queue.recv().await {
        // What is there goes out in one write.
        let mut bytes = encode_frame(kind, &codec::encode(&message));
        while bytes.len() < READ_BYTES
            && let Ok(message) = queue.try_recv()
        {
            bytes.extend(encode_frame(kind, &codec::encode(&message)));
        }
        writer.write_all(&bytes).await?;
        writer.flush().await?;
    }
    writer.shutdown().await
}
