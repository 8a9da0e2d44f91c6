//! One direction of a connection: bytes in order, each arriving after a latency, bounded by a window.
//!
//! ```text
//!  write ──► in flight (marks) ──latency──► arrived ──► read
//!            ◄──────────── window_bytes ────────────►
//! ```
//!
//! Bytes lie in one ring; marks say when which of them arrive. While the link holds data nothing moves from
//! *in flight* to *arrived*, so what a partition catches is exactly what had not arrived when it began.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::{Rng as _, RngCore as _};
use rand_chacha::ChaCha8Rng;
use tidegate::env::io_traits::ReadBuf;

use super::{alarm::Alarm, link::LinkSpeed};

/// The next `bytes` bytes in flight arrive together at `arrives_at`.
struct Mark {
    arrives_at: Instant,
    bytes: usize,
}

/// Where the end of the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NotSent,
    InFlight(Instant),
    Arrived,
}

/// One direction of a connection.
pub(super) struct Pipe {
    /// The link that the bytes travel on.
    pub(super) link: usize,
    /// The link that acknowledgements travel on.
    pub(super) back_link: usize,
    /// The reader and its timer.
    pub(super) alarm: Alarm,
    latency: Latency,
    bytes: VecDeque<u8>,
    marks: VecDeque<Mark>,
    arrived_bytes: usize,
    /// Read (or thrown away) by the receiver, which could not tell the sender.
    unacknowledged_bytes: usize,
    latest_arrival: Instant,
    line_free_at: Instant,
    end: End,
}

/// How long segments of a flow take.
pub(super) struct Latency {
    pub(super) base: Duration,
    pub(super) jitter_max_ns: u32,
    pub(super) random: ChaCha8Rng,
}

impl Latency {
    /// One draw, on a link of this speed.
    pub(super) fn sample(&mut self, speed: LinkSpeed) -> Duration {
        let jitter_ns = (u64::from(self.random.next_u32()) * u64::from(self.jitter_max_ns)) >> 32;
        (self.base + Duration::from_nanos(jitter_ns)) * speed.latency_factor
    }
}

impl Pipe {
    pub(super) fn new(link: usize, back_link: usize, latency: Latency, alarm: Alarm, now: Instant) -> Self {
        Self {
            link,
            back_link,
            alarm,
            latency,
            bytes: VecDeque::new(),
            marks: VecDeque::new(),
            arrived_bytes: 0,
            unacknowledged_bytes: 0,
            latest_arrival: now,
            line_free_at: now,
            end: End::NotSent,
        }
    }

    pub(super) fn sample_latency(&mut self, speed: LinkSpeed) -> Duration {
        self.latency.sample(speed)
    }

    /// Bytes that count against the window.
    pub(super) fn outstanding_bytes(&self) -> usize {
        self.bytes.len() + self.unacknowledged_bytes
    }

    /// Bytes that have not arrived.
    pub(super) fn in_flight_bytes(&self) -> usize {
        self.bytes.len() - self.arrived_bytes
    }

    /// Whether the receiver has seen, or will see, all of it.
    pub(super) fn has_ended(&self) -> bool {
        self.end != End::NotSent
    }

    /// Sends bytes.
    pub(super) fn send(&mut self, bytes: &[u8], speed: LinkSpeed, now: Instant) {
        self.bytes.extend(bytes);
        let arrives_at = self.arrival_of(bytes.len(), speed, now);
        match self.marks.back_mut() {
            Some(last) if last.arrives_at == arrives_at => last.bytes += bytes.len(),
            _ => self.marks.push_back(Mark { arrives_at, bytes: bytes.len() }),
        }
    }

    /// Bytes that nobody will ever read fill the window all the same.
    pub(super) fn swallow(&mut self, bytes: usize) {
        self.unacknowledged_bytes += bytes;
    }

    /// Sends the end of the stream.
    pub(super) fn finish(&mut self, speed: LinkSpeed, now: Instant) {
        if self.end == End::NotSent {
            self.end = End::InFlight(self.arrival_of(0, speed, now));
        }
    }

    /// What is sent from now on leaves later, and in the same order.
    pub(super) fn delay(&mut self, delay: Duration, now: Instant) {
        self.line_free_at = self.line_free_at.max(now) + delay;
    }

    fn arrival_of(&mut self, bytes: usize, speed: LinkSpeed, now: Instant) -> Instant {
        self.line_free_at = self.line_free_at.max(now) + speed.transmission_time(bytes);
        let arrives_at = (self.line_free_at + self.latency.sample(speed)).max(self.latest_arrival);
        self.latest_arrival = arrives_at;
        arrives_at
    }

    /// Moves what has come from *in flight* to *arrived*. Not to be called while the link holds data.
    pub(super) fn settle(&mut self, now: Instant) {
        while self.marks.front().is_some_and(|mark| mark.arrives_at <= now) {
            let mark = self.marks.pop_front().expect("there is a front");
            self.arrived_bytes += mark.bytes;
        }
        if self.marks.is_empty() && matches!(self.end, End::InFlight(arrives_at) if arrives_at <= now) {
            self.end = End::Arrived;
        }
    }

    /// When the next bytes, or the end, arrive if the link lets them.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        match (self.marks.front(), self.end) {
            (Some(mark), _) => Some(mark.arrives_at),
            (None, End::InFlight(arrives_at)) => Some(arrives_at),
            (None, End::NotSent | End::Arrived) => None,
        }
    }

    /// Whether the reader is at the end of the stream.
    pub(super) fn at_end(&self) -> bool {
        self.bytes.is_empty() && self.end == End::Arrived
    }

    /// Hands arrived bytes to the reader and says how many.
    pub(super) fn receive(&mut self, buffer: &mut ReadBuf<'_>, short_reads_per_mille: u32) -> usize {
        let mut bytes = self.arrived_bytes.min(buffer.remaining());
        if bytes > 1 && short_reads_per_mille > 0 && self.latency.random.next_u32() % 1000 < short_reads_per_mille {
            bytes = self.latency.random.gen_range(1..bytes);
        }
        if bytes == 0 {
            return 0;
        }
        let (front, back) = self.bytes.as_slices();
        let from_front = bytes.min(front.len());
        buffer.put_slice(&front[..from_front]);
        buffer.put_slice(&back[..bytes - from_front]);
        self.bytes.drain(..bytes);
        self.arrived_bytes -= bytes;
        bytes
    }

    /// The sender learns of nothing that was read from now on, until [`Self::acknowledge_all`].
    pub(super) fn withhold_acknowledgement(&mut self, bytes: usize) {
        self.unacknowledged_bytes += bytes;
    }

    /// The sender learns what was read.
    pub(super) fn acknowledge_all(&mut self) {
        self.unacknowledged_bytes = 0;
    }

    /// The link carries data again: everything that it held is sent once more.
    pub(super) fn resend(&mut self, speed: LinkSpeed, now: Instant) {
        let earliest = now + self.latency.sample(speed);
        for mark in &mut self.marks {
            mark.arrives_at = mark.arrives_at.max(earliest);
            self.latest_arrival = self.latest_arrival.max(mark.arrives_at);
        }
        if let End::InFlight(arrives_at) = &mut self.end {
            *arrives_at = (*arrives_at).max(earliest);
            self.latest_arrival = self.latest_arrival.max(*arrives_at);
        }
    }

    /// The sender dies: of what is in flight all, nothing or a random prefix still arrives. Returns what is lost.
    pub(super) fn lose_tail(&mut self) -> usize {
        let in_flight = self.in_flight_bytes();
        let kept = match self.latency.random.next_u32() % 3 {
            0 => 0,
            1 => in_flight,
            _ => self.latency.random.gen_range(0..=in_flight),
        };
        self.truncate_in_flight(kept);
        in_flight - kept
    }

    /// Drops all that has not arrived.
    pub(super) fn lose_in_flight(&mut self) -> usize {
        let lost = self.in_flight_bytes();
        self.truncate_in_flight(0);
        lost
    }

    /// The machine that should send the end is off.
    pub(super) fn lose_end(&mut self) {
        if let End::InFlight(_) = self.end {
            self.end = End::NotSent;
        }
    }

    fn truncate_in_flight(&mut self, kept: usize) {
        let mut left = kept;
        self.marks.retain_mut(|mark| {
            mark.bytes = mark.bytes.min(left);
            left -= mark.bytes;
            mark.bytes > 0
        });
        self.bytes.truncate(self.arrived_bytes + kept);
    }

    /// When the last byte in flight arrives.
    pub(super) fn last_arrival(&self) -> Option<Instant> {
        self.marks.back().map(|mark| mark.arrives_at)
    }
}
