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
use tidegate::{
    env::{
        ByteStream, Listener,
        io_traits::{AsyncRead, AsyncWrite, ReadBuf},
    },
    event::Moment,
    net::FrameDecoder,
};

use super::{SimNetwork, connection::Side, message};
use crate::world::witness::{Act, Fate};

/// One half of one end of a connection.
struct Half {
    network: Arc<SimNetwork>,
    time: TimeHandle,
    connection: usize,
    side: Side,
}

/// Reads bytes; if there is a witness, it sees each message when its last byte has come.
struct Reader {
    half: Half,
    frames: FrameDecoder,
}

/// Writes bytes; if there is a witness, it sees the messages of each write before its first byte is taken and after
/// its last one was.
struct Writer {
    half: Half,
    /// Bytes of the write that was shown, and which the network has not taken yet.
    shown_bytes: usize,
    shown: Vec<&'static str>,
}

/// The two halves of an end.
pub(super) fn byte_stream(network: &Arc<SimNetwork>, time: &TimeHandle, connection: usize, side: Side) -> ByteStream {
    let half = || Half { network: network.clone(), time: time.clone(), connection, side };
    ByteStream {
        reader: Box::pin(Reader { half: half(), frames: FrameDecoder::default() }),
        writer: Box::pin(Writer { half: half(), shown_bytes: 0, shown: Vec::new() }),
    }
}

impl Reader {
    /// Shows what has come; `Pending` if the process died of it.
    fn show(&mut self, bytes: &[u8]) -> Poll<io::Result<()>> {
        self.frames.push(bytes);
        while let Ok(Some(frame)) = self.frames.next_frame() {
            let act = Act::Receive(message::name(self.half.side.other(), &frame));
            if self.half.network.witnesses.show(act, Moment::Before) == Fate::Dead {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Half { network, time, connection, side } = &this.half;
        let before = buffer.filled().len();
        let read = network.change_at(time, |switch, now, wakes| {
            switch.with(*connection, now, wakes, |open, at| open.read(*side, buffer, context.waker(), at))
        });
        match read {
            Poll::Ready(Ok(())) if network.witnesses.is_taken() => this.show(&buffer.filled()[before..]),
            other => other,
        }
    }
}

impl Writer {
    /// Shows all that was shown as beginning, or now as done; says whether the process lives on.
    fn show(&self, moment: Moment) -> Fate {
        for name in &self.shown {
            if self.half.network.witnesses.show(Act::Send(name), moment) == Fate::Dead {
                return Fate::Dead;
            }
        }
        Fate::Lives
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.shown_bytes == 0 && this.half.network.witnesses.is_taken() {
            this.shown_bytes = bytes.len();
            this.shown = message::names(this.half.side, bytes);
            if this.show(Moment::Before) == Fate::Dead {
                return Poll::Pending;
            }
        }
        let Half { network, time, connection, side } = &this.half;
        let tampered = network.tampered(*side, bytes);
        let written = network.change_at(time, |switch, now, wakes| {
            let written = switch.with(*connection, now, wakes, |open, at| match &tampered {
                None => open.write(*side, bytes, context.waker(), at),
                Some(tampered) => open.write_tampered(*side, bytes.len(), tampered, at),
            });
            switch.answer_with_reset(*connection, *side, now, wakes);
            written
        });
        if let Poll::Ready(Ok(taken)) = written
            && this.shown_bytes > 0
        {
            this.shown_bytes = this.shown_bytes.saturating_sub(taken);
            if this.shown_bytes == 0 && this.show(Moment::After) == Fate::Dead {
                return Poll::Pending;
            }
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half.finish();
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
        self.half.finish();
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
