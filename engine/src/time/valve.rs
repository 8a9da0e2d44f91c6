//! The watermark valve: one watermark of an input out of those of its channels.
//!
//! Guarantees: the output never regresses; a channel that was idle and comes back with an old watermark holds
//! nothing back until it has caught up (its records may be late).
//!
//! ```text
//!   a channel:            IDLE                       watermark < last output
//!      Aligned ──────────────────────▶ Idle ──────────────────────────────────▶ Unaligned
//!         ▲ ▲        ACTIVE, not behind │                                           │ │
//!         │ └───────────────────────────┘                 IDLE: back to Idle ◀──────┘ │
//!         └───────────────────────────── watermark ≥ last output ─────────────────────┘
//! ```
//!
//! Only aligned channels count in the minimum. Flink: `StatusWatermarkValve`.

use super::{Timestamp, WatermarkOutput};
use crate::{planted, record::WatermarkStatus};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Aligned,
    Unaligned,
    Idle,
}

#[derive(Debug, Clone)]
struct Channel {
    watermark: Timestamp,
    standing: Standing,
}

/// Combines the watermarks and statuses of the channels of one input.
#[derive(Debug, Clone)]
pub struct StatusWatermarkValve {
    channels: Vec<Channel>,
    last_output: Timestamp,
    last_status: WatermarkStatus,
}

impl StatusWatermarkValve {
    /// A valve for that many channels, all active.
    ///
    /// # Panics
    /// If there is no channel.
    pub fn new(channels: usize) -> Self {
        assert!(channels > 0, "an input has at least one channel");
        Self {
            channels: vec![Channel { watermark: Timestamp::MIN, standing: Standing::Aligned }; channels],
            last_output: Timestamp::MIN,
            last_status: WatermarkStatus::Active,
        }
    }

    /// The last watermark that went out.
    pub fn watermark(&self) -> Timestamp {
        self.last_output
    }

    /// The last status that went out.
    pub fn status(&self) -> WatermarkStatus {
        self.last_status
    }

    /// A watermark came on a channel.
    pub fn on_watermark(&mut self, channel: usize, watermark: Timestamp, out: &mut Vec<WatermarkOutput>) {
        let last_output = self.last_output;
        let channel = &mut self.channels[channel];
        if channel.standing == Standing::Idle || watermark <= channel.watermark {
            return;
        }
        channel.watermark = watermark;
        if watermark >= last_output {
            channel.standing = Standing::Aligned;
        }
        self.emit_least(out);
    }

    /// A status came on a channel.
    pub fn on_status(&mut self, channel: usize, status: WatermarkStatus, out: &mut Vec<WatermarkOutput>) {
        let was_idle = self.channels[channel].standing == Standing::Idle;
        match status {
            WatermarkStatus::Idle if !was_idle => self.become_idle(channel, out),
            WatermarkStatus::Active if was_idle => self.become_active(channel, out),
            WatermarkStatus::Idle | WatermarkStatus::Active => {}
        }
    }

    fn become_idle(&mut self, index: usize, out: &mut Vec<WatermarkOutput>) {
        self.channels[index].standing = Standing::Idle;
        let held_back = self.channels[index].watermark == self.last_output;
        if self.channels.iter().any(|channel| channel.standing != Standing::Idle) {
            if held_back {
                self.emit_least(out);
            }
            return;
        }
        if held_back {
            // Nobody is left who could contradict: everything that any channel promised holds.
            let most = self.channels.iter().map(|channel| channel.watermark).max();
            self.emit(most, out);
        }
        self.last_status = WatermarkStatus::Idle;
        out.push(WatermarkOutput::Status(WatermarkStatus::Idle));
    }

    fn become_active(&mut self, index: usize, out: &mut Vec<WatermarkOutput>) {
        let channel = &mut self.channels[index];
        let caught_up = channel.watermark >= self.last_output;
        channel.standing = if caught_up { Standing::Aligned } else { Standing::Unaligned };
        if self.last_status == WatermarkStatus::Idle {
            self.last_status = WatermarkStatus::Active;
            out.push(WatermarkOutput::Status(WatermarkStatus::Active));
        }
    }

    fn emit_least(&mut self, out: &mut Vec<WatermarkOutput>) {
        let aligned = self.channels.iter().filter(|channel| channel.standing == Standing::Aligned);
        let watermarks = aligned.map(|channel| channel.watermark);
        let combined =
            if planted!("watermark_is_the_maximum_of_channels") { watermarks.max() } else { watermarks.min() };
        self.emit(combined, out);
    }

    fn emit(&mut self, watermark: Option<Timestamp>, out: &mut Vec<WatermarkOutput>) {
        if let Some(watermark) = watermark.filter(|watermark| *watermark > self.last_output) {
            self.last_output = watermark;
            out.push(WatermarkOutput::Watermark(watermark));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revived_channel_counts_again_once_it_has_caught_up() {
        let (mut valve, mut out) = (StatusWatermarkValve::new(2), Vec::new());
        valve.on_status(1, WatermarkStatus::Idle, &mut out);
        valve.on_watermark(0, Timestamp(10), &mut out);
        valve.on_status(1, WatermarkStatus::Active, &mut out);
        valve.on_watermark(1, Timestamp(5), &mut out);
        valve.on_watermark(0, Timestamp(20), &mut out);
        assert_eq!(valve.watermark(), Timestamp(20), "channel 1 is behind and does not count");
        valve.on_watermark(1, Timestamp(21), &mut out);
        valve.on_watermark(0, Timestamp(30), &mut out);
        assert_eq!(valve.watermark(), Timestamp(21), "channel 1 has caught up and holds back");
    }

    #[cfg(feature = "sim")]
    #[test]
    fn the_planted_bug_takes_the_maximum() {
        crate::planted::activate(Some("watermark_is_the_maximum_of_channels"));
        let (mut valve, mut out) = (StatusWatermarkValve::new(2), Vec::new());
        valve.on_watermark(0, Timestamp(10), &mut out);
        crate::planted::activate(None);
        assert_eq!(out, [WatermarkOutput::Watermark(Timestamp(10))]);
    }
}
