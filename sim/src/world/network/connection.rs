//! A connection: two ends and the two pipes between them, and what becomes of it when an end goes away.
//!
//! ```text
//!            both halves dropped           process crash
//!   open ───────────────────────► closed   ──────────────► dead
//!    │   its kernel answers data with      it does nothing any more; its kernel
//!    │   a reset                           sends one reset, if the path is up
//!    └── reset arrives ──► reset: reads give what had arrived, then ConnectionReset; writes fail
//! ```
//!
//! An end whose peer is gone and that got no reset (the path was down, or the machine lost power) is *half open*:
//! reads wait for ever. It learns the truth only if it has something outstanding when the path and the peer's
//! machine are back, as with TCP without keep-alive.

use std::{
    io,
    task::{Poll, Waker},
    time::Instant,
};

use tidegate::env::io_traits::ReadBuf;

use super::{LinkSpeed, Tampering, alarm::Alarm, config::NetworkConfig, link::Link, pipe::Pipe, tamper::Tampered};
use crate::world::counts::Counts;

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Who connected.
    Client,
    /// Who accepted.
    Server,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What a process holds of a connection.
pub(super) struct End {
    /// Where it is.
    pub(super) node: usize,
    /// The writer, if it waits, and its timer.
    pub(super) alarm: Alarm,
    /// Reader and writer objects that exist; a connection that nobody accepted counts as two.
    pub(super) halves: u8,
    /// Its process died.
    pub(super) dead: bool,
    /// When it learns that the connection is reset.
    pub(super) reset_at: Option<Instant>,
    reset_noticed: bool,
}

impl End {
    pub(super) fn new(node: usize, alarm: Alarm) -> Self {
        Self { node, alarm, halves: 2, dead: false, reset_at: None, reset_noticed: false }
    }

    /// Whether nobody will read here again.
    pub(super) fn is_gone(&self) -> bool {
        self.dead || self.halves == 0
    }

    fn is_reset(&self, now: Instant) -> bool {
        self.reset_at.is_some_and(|reset_at| reset_at <= now)
    }

    fn reset_error(&mut self, counts: &mut Counts) -> io::Error {
        if !self.reset_noticed {
            self.reset_noticed = true;
            counts.add("connection_reset", 1);
        }
        io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer")
    }
}

/// What an operation on a connection needs of the rest of the network.
pub(super) struct Surroundings<'a> {
    pub(super) config: &'a NetworkConfig,
    pub(super) links: &'a [Link],
    pub(super) counts: &'a mut Counts,
    pub(super) now: Instant,
    /// Tasks to wake when the lock is released.
    pub(super) wakes: &'a mut Vec<Waker>,
}

/// A connection. `pipes[side]` leads away from `ends[side]`.
pub(super) struct Connection {
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
}

impl Connection {
    pub(super) fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    fn pipe_from(&self, side: Side) -> &Pipe {
        &self.pipes[side as usize]
    }

    pub(super) fn read(
        &mut self,
        side: Side,
        buffer: &mut ReadBuf<'_>,
        waker: &Waker,
        at: &mut Surroundings<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { ends, pipes } = self;
        let pipe = &mut pipes[side.other() as usize];
        if ends[side as usize].dead {
            return Poll::Pending;
        }
        let held = at.links[pipe.link].holds_data();
        if !held {
            pipe.settle(at.now);
        }
        let bytes = pipe.receive(buffer, at.config.short_reads_per_mille);
        if bytes > 0 {
            if at.links[pipe.back_link].holds_data() {
                pipe.withhold_acknowledgement(bytes);
            } else {
                at.wakes.extend(ends[side.other() as usize].alarm.ring());
            }
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() == 0 || pipe.at_end() {
            return Poll::Ready(Ok(()));
        }
        let end = &mut ends[side as usize];
        if end.is_reset(at.now) {
            pipe.lose_in_flight();
            return Poll::Ready(Err(end.reset_error(at.counts)));
        }
        at.wakes.extend(pipe.alarm.park(waker));
        let arrival = pipe.next_arrival().filter(|_| !held);
        if let Some(moment) = arrival.into_iter().chain(end.reset_at).min() {
            at.wakes.extend(pipe.alarm.ring_at(moment, at.now));
        }
        Poll::Pending
    }

    pub(super) fn write(
        &mut self,
        side: Side,
        bytes: &[u8],
        waker: &Waker,
        at: &mut Surroundings<'_>,
    ) -> Poll<io::Result<usize>> {
        let Self { ends, pipes } = self;
        let peer_gone = ends[side.other() as usize].is_gone();
        let end = &mut ends[side as usize];
        let pipe = &mut pipes[side as usize];
        if end.dead {
            return Poll::Pending;
        }
        if end.is_reset(at.now) {
            return Poll::Ready(Err(end.reset_error(at.counts)));
        }
        if pipe.has_ended() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let accepted = bytes.len().min(at.config.window_bytes.saturating_sub(pipe.outstanding_bytes()));
        if accepted == 0 {
            at.wakes.extend(end.alarm.park(waker));
            if let Some(reset_at) = end.reset_at {
                at.wakes.extend(end.alarm.ring_at(reset_at, at.now));
            }
            at.counts.add("window_full", 1);
            return Poll::Pending;
        }
        if peer_gone {
            pipe.swallow(accepted);
            return Poll::Ready(Ok(accepted));
        }
        let link = &at.links[pipe.link];
        pipe.send(&bytes[..accepted], link.speed, at.now);
        if link.holds_data() {
            at.counts.add(link.name_of_hold(), accepted as u64);
        } else if let Some(arrival) = pipe.next_arrival() {
            at.wakes.extend(pipe.alarm.ring_at(arrival, at.now));
        }
        if link.speed != LinkSpeed::FULL {
            at.counts.add("slow_link", 1);
        }
        Poll::Ready(Ok(accepted))
    }

    /// Writes something else in the place of so many bytes: all of it, whether there is room or not.
    pub(super) fn write_tampered(
        &mut self,
        side: Side,
        written: usize,
        tampered: &Tampered,
        at: &mut Surroundings<'_>,
    ) -> Poll<io::Result<usize>> {
        let pipe = &mut self.pipes[side as usize];
        if let Tampering::Delay(delay) = tampered.tampering {
            pipe.delay(delay, at.now);
        }
        at.counts.add(tampered.tampering.name(), 1);
        let mut sent = 0;
        while sent < tampered.bytes.len() {
            let taken = {
                let room = self.pipes[side as usize].outstanding_bytes() + tampered.bytes.len() + 1;
                let config = NetworkConfig { window_bytes: room, ..at.config.clone() };
                let mut at =
                    Surroundings { config: &config, links: at.links, counts: at.counts, now: at.now, wakes: at.wakes };
                self.write(side, &tampered.bytes[sent..], Waker::noop(), &mut at)
            };
            match taken {
                Poll::Ready(Ok(taken)) => sent += taken,
                other => return other,
            }
        }
        Poll::Ready(Ok(written))
    }

    /// The writing half is shut down or dropped: the peer will read the end of the stream.
    pub(super) fn finish(&mut self, side: Side, at: &mut Surroundings<'_>) {
        let pipe = &mut self.pipes[side as usize];
        if self.ends[side as usize].dead || pipe.has_ended() {
            return;
        }
        let link = &at.links[pipe.link];
        pipe.finish(link.speed, at.now);
        if let Some(arrival) = pipe.next_arrival().filter(|_| !link.holds_data()) {
            at.wakes.extend(pipe.alarm.ring_at(arrival, at.now));
        }
    }

    /// Whether this end has outstanding bytes that a peer which is gone would answer with a reset.
    pub(super) fn awaits_a_reset(&self, side: Side) -> bool {
        let end = self.end(side);
        !end.is_gone()
            && end.reset_at.is_none()
            && self.end(side.other()).is_gone()
            && self.pipe_from(side).outstanding_bytes() > 0
    }

    /// `side` will learn at `reset_at` that the connection is no more.
    pub(super) fn reset(&mut self, side: Side, reset_at: Instant, at: &mut Surroundings<'_>) {
        let end = &mut self.ends[side as usize];
        let inbound = &mut self.pipes[side.other() as usize];
        if end.reset_at.is_some_and(|earlier| earlier <= reset_at) {
            return;
        }
        end.reset_at = Some(reset_at);
        at.wakes.extend(end.alarm.ring_at(reset_at, at.now));
        at.wakes.extend(inbound.alarm.ring_at(reset_at, at.now));
    }

    /// A reset that is on its way when the path breaks is lost; this end stays half open.
    pub(super) fn lose_reset(&mut self, side: Side, now: Instant) {
        let end = &mut self.ends[side as usize];
        if end.reset_at.is_some_and(|reset_at| reset_at > now) {
            end.reset_at = None;
        }
    }
}
