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
        let stays = channel.standing == Standing::Unaligned && planted!("revived_channel_never_counts_again");
        if watermark >= last_output && !stays {
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
    use proptest::prelude::*;

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

    #[derive(Debug, Clone)]
    enum Input {
        Watermark(usize, i64),
        Status(usize, WatermarkStatus),
    }

    fn inputs() -> impl Strategy<Value = Vec<Input>> {
        let status = prop_oneof![Just(WatermarkStatus::Idle), Just(WatermarkStatus::Active)];
        let input = prop_oneof![
            3 => (0..3_usize, 0..40_i64).prop_map(|(channel, watermark)| Input::Watermark(channel, watermark)),
            1 => (0..3_usize, status).prop_map(|(channel, status)| Input::Status(channel, status)),
        ];
        prop::collection::vec(input, 1..60)
    }

    /// The valve as the rules put it: nothing is kept but what each channel said, and what went out.
    #[derive(Default)]
    struct Model {
        /// Watermark, idle, left out of the minimum.
        channels: [(Option<i64>, bool, bool); 3],
        last: Option<i64>,
        idle: bool,
    }

    impl Model {
        fn release(&mut self, candidate: Option<Option<i64>>, out: &mut Vec<WatermarkOutput>) {
            if let Some(watermark) = candidate.flatten().filter(|watermark| Some(*watermark) > self.last) {
                self.last = Some(watermark);
                out.push(WatermarkOutput::Watermark(Timestamp(watermark)));
            }
        }

        fn least(&self) -> Option<Option<i64>> {
            self.channels.iter().filter(|(_, idle, left_out)| !idle && !left_out).map(|channel| channel.0).min()
        }

        fn handle(&mut self, input: &Input) -> Vec<WatermarkOutput> {
            let mut out = Vec::new();
            match *input {
                Input::Watermark(index, watermark) => {
                    let (of_channel, idle, left_out) = &mut self.channels[index];
                    if *idle || Some(watermark) <= *of_channel {
                        return out;
                    }
                    *of_channel = Some(watermark);
                    *left_out &= Some(watermark) < self.last;
                    self.release(self.least(), &mut out);
                }
                Input::Status(index, WatermarkStatus::Idle) if !self.channels[index].1 => {
                    self.channels[index].1 = true;
                    let held_back = self.channels[index].0 == self.last;
                    let all_idle = self.channels.iter().all(|(_, idle, _)| *idle);
                    let most = self.channels.iter().map(|channel| channel.0).max();
                    let candidate = if all_idle { most } else { self.least() };
                    self.release(candidate.filter(|_| held_back), &mut out);
                    if all_idle {
                        self.idle = true;
                        out.push(WatermarkOutput::Status(WatermarkStatus::Idle));
                    }
                }
                Input::Status(index, WatermarkStatus::Active) if self.channels[index].1 => {
                    self.channels[index] = (self.channels[index].0, false, self.channels[index].0 < self.last);
                    if std::mem::take(&mut self.idle) {
                        out.push(WatermarkOutput::Status(WatermarkStatus::Active));
                    }
                }
                Input::Status(..) => {}
            }
            out
        }
    }

    proptest! {
        #[test]
        fn the_valve_follows_the_rules(inputs in inputs()) {
            let (mut valve, mut model) = (StatusWatermarkValve::new(3), Model::default());
            for input in inputs {
                let mut out = Vec::new();
                match input {
                    Input::Watermark(channel, watermark) => valve.on_watermark(channel, Timestamp(watermark), &mut out),
                    Input::Status(channel, status) => valve.on_status(channel, status, &mut out),
                }
                prop_assert_eq!(out, model.handle(&input), "at {:?}", input);
            }
        }

        #[test]
        fn without_idleness_the_output_is_the_least_of_the_largest(
            watermarks in prop::collection::vec((0..4_usize, -50..50_i64), 1..60),
        ) {
            let mut valve = StatusWatermarkValve::new(4);
            let mut largest = [i64::MIN; 4];
            for (channel, watermark) in watermarks {
                valve.on_watermark(channel, Timestamp(watermark), &mut Vec::new());
                largest[channel] = largest[channel].max(watermark);
                prop_assert_eq!(Some(valve.watermark().0), largest.iter().min().copied());
            }
        }
    }
}
