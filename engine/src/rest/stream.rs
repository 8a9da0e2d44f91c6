//! Connections of the engine's world as the HTTP library wants them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::env::{ByteStream, io_traits::ReadBuf};

/// A connection for HTTP, in whichever world.
pub(super) struct HttpStream(pub ByteStream);

/// How much is read at once.
const PIECE_BYTES: usize = 8 * 1024;

impl Read for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = [0; PIECE_BYTES];
        let room = into.remaining().min(PIECE_BYTES);
        let mut read = ReadBuf::new(&mut piece[..room]);
        match self.0.reader.as_mut().poll_read(context, &mut read) {
            Poll::Ready(Ok(())) => {
                into.put_slice(read.filled());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Write for HttpStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.writer.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.writer.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.writer.as_mut().poll_shutdown(context)
    }
}
