//! The reader, the writer and the listener that a process holds.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use madsim::time::TimeHandle;
use tidegate::env::{
    ByteStream, Listener,
    io_traits::{AsyncRead, AsyncWrite, ReadBuf},
};

use super::{SimNetwork, connection::Side};

/// One half of one end of a connection.
struct Half {
    network: Arc<SimNetwork>,
    time: TimeHandle,
    connection: usize,
    side: Side,
}

struct Reader(Half);

struct Writer(Half);

/// The two halves of an end.
pub(super) fn byte_stream(network: &Arc<SimNetwork>, time: &TimeHandle, connection: usize, side: Side) -> ByteStream {
    let half = || Half { network: network.clone(), time: time.clone(), connection, side };
    ByteStream { reader: Box::pin(Reader(half())), writer: Box::pin(Writer(half())) }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Half { network, time, connection, side } = &self.0;
        network.change_at(time, |switch, now, wakes| {
            switch.with(*connection, now, wakes, |open, at| open.read(*side, buffer, context.waker(), at))
        })
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Half { network, time, connection, side } = &self.0;
        network.change_at(time, |switch, now, wakes| {
            let written =
                switch.with(*connection, now, wakes, |open, at| open.write(*side, bytes, context.waker(), at));
            switch.answer_with_reset(*connection, *side, now, wakes);
            written
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.finish();
        Poll::Ready(Ok(()))
    }
}

impl Half {
    fn finish(&self) {
        self.network.change_at(&self.time, |switch, now, wakes| {
            switch.with(self.connection, now, wakes, |open, at| open.finish(self.side, at));
        });
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.network.change_at(&self.time, |switch, now, wakes| {
            switch.drop_half(self.connection, self.side, now, wakes);
        });
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Accepts connections on a port of a node.
pub(super) struct SimListener {
    pub(super) network: Arc<SimNetwork>,
    pub(super) time: TimeHandle,
    pub(super) host: String,
    pub(super) node: usize,
    pub(super) port: u16,
    pub(super) listener: u64,
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&mut self) -> io::Result<ByteStream> {
        let Self { network, time, node, port, listener, .. } = self;
        let connection = poll_fn(|context| {
            let accepted = network
                .change_at(time, |switch, _, wakes| switch.accept((*node, *port), *listener, context.waker(), wakes));
            accepted.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        Ok(byte_stream(network, time, connection, Side::Server))
    }

    fn local_address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let Self { network, time, node, port, listener, .. } = self;
        network.change_at(time, |switch, now, wakes| switch.stop_listening(*node, *port, *listener, now, wakes));
    }
}
