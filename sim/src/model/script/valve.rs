//! The watermark of several channels: the least of those that are active and have not fallen behind it.
//!
//! Flink: `StatusWatermarkValve`. A channel that was idle and comes back with an old watermark is left out until it has
//! caught up, which is the same as to leave out whoever lies behind the last watermark.

use super::element::{Emitted, Event};

/// One channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Channel {
    watermark_ms: i64,
    is_active: bool,
}

/// The channels of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Valve {
    channels: Vec<Channel>,
    last_ms: i64,
    is_idle: bool,
}

impl Valve {
    pub(super) fn new(channels: usize) -> Self {
        let channel = Channel { watermark_ms: i64::MIN, is_active: true };
        Self { channels: vec![channel; channels], last_ms: i64::MIN, is_idle: false }
    }

    /// The watermark so far.
    pub(super) fn watermark_ms(&self) -> i64 {
        self.last_ms
    }

    /// Whether all channels are idle.
    pub(super) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// What follows from an event of a channel: a new watermark, a new status, or both. Records are not its matter.
    pub(super) fn input(&mut self, channel: usize, event: &Event) -> Vec<Emitted> {
        let mut emitted = Vec::new();
        match event {
            Event::Record(_) => {}
            Event::Watermark(watermark_ms) => {
                let state = &mut self.channels[channel];
                if !self.is_idle && state.is_active && *watermark_ms > state.watermark_ms {
                    state.watermark_ms = *watermark_ms;
                    self.advance(self.least(), &mut emitted);
                }
            }
            Event::Idle => {
                let was_last = self.channels[channel].watermark_ms == self.last_ms;
                if !std::mem::replace(&mut self.channels[channel].is_active, false) {
                    return emitted;
                }
                let any_active = self.channels.iter().any(|channel| channel.is_active);
                if was_last {
                    let greatest = self.channels.iter().map(|channel| channel.watermark_ms).max();
                    self.advance(if any_active { self.least() } else { greatest }, &mut emitted);
                }
                if !any_active {
                    self.is_idle = true;
                    emitted.push(Emitted::Idle);
                }
            }
            Event::Active => {
                self.channels[channel].is_active = true;
                if std::mem::replace(&mut self.is_idle, false) {
                    emitted.push(Emitted::Active);
                }
            }
        }
        emitted
    }

    fn least(&self) -> Option<i64> {
        let counted = self.channels.iter().filter(|channel| channel.is_active && channel.watermark_ms >= self.last_ms);
        counted.map(|channel| channel.watermark_ms).min()
    }

    fn advance(&mut self, to_ms: Option<i64>, emitted: &mut Vec<Emitted>) {
        if let Some(to_ms) = to_ms.filter(|to_ms| *to_ms > self.last_ms) {
            self.last_ms = to_ms;
            emitted.push(Emitted::Watermark(to_ms));
        }
    }
}
