//! The watermark of an operator: one valve per logical input, and the least over the inputs.
//!
//! Guarantees: with one input, what its valve says; with two, the least watermark of those that are not idle, never
//! regressing; idle if both are. An input that comes back from idleness holds the watermark back from then on.
//! Flink: `StatusWatermarkValve` per input, `CombinedWatermarkStatus` over them.

use super::{StatusWatermarkValve, WatermarkMultiplexer, WatermarkOutput};
use crate::{planted, record::WatermarkStatus, time::Timestamp};

/// Combines the watermarks of all channels into all logical inputs of an operator.
#[derive(Debug)]
pub struct CombinedWatermark {
    inputs: Vec<StatusWatermarkValve>,
    /// Which input a channel belongs to, and which channel of that input it is.
    channels: Vec<(usize, usize)>,
    combined: WatermarkMultiplexer<usize>,
}

impl CombinedWatermark {
    /// For channels that belong to these inputs: at the place of a channel stands the number of its input, from 0.
    /// Without channels there is nothing to combine.
    ///
    /// # Panics
    /// If an input before the last has no channel.
    pub fn new(input_of_channel: &[usize]) -> Self {
        let inputs = input_of_channel.iter().max().map_or(0, |last| last + 1);
        let mut counts = vec![0; inputs];
        let mut channels = Vec::new();
        for &input in input_of_channel {
            channels.push((input, counts[input]));
            counts[input] += 1;
        }
        let mut combined = WatermarkMultiplexer::default();
        (0..inputs).for_each(|input| combined.register(input));
        Self { inputs: counts.into_iter().map(StatusWatermarkValve::new).collect(), channels, combined }
    }

    /// A watermark came on a channel.
    pub fn on_watermark(&mut self, channel: usize, watermark: Timestamp, out: &mut Vec<WatermarkOutput>) {
        let (input, channel) = self.channels[channel];
        self.through_valve(input, out, |valve, out| valve.on_watermark(channel, watermark, out));
    }

    /// A status came on a channel.
    pub fn on_status(&mut self, channel: usize, status: WatermarkStatus, out: &mut Vec<WatermarkOutput>) {
        let (input, channel) = self.channels[channel];
        self.through_valve(input, out, |valve, out| valve.on_status(channel, status, out));
    }

    fn through_valve(
        &mut self,
        input: usize,
        out: &mut Vec<WatermarkOutput>,
        tell: impl FnOnce(&mut StatusWatermarkValve, &mut Vec<WatermarkOutput>),
    ) {
        let valve = &mut self.inputs[input];
        let watermark_of_first = planted!("second_input_forgotten_in_watermark") && input == 0;
        if self.combined.len() == 1 || watermark_of_first {
            tell(valve, out);
            return;
        }
        let mut of_input = Vec::new();
        tell(valve, &mut of_input);
        for output in of_input {
            match output {
                WatermarkOutput::Watermark(watermark) => self.combined.set_watermark(&input, watermark),
                WatermarkOutput::Status(WatermarkStatus::Idle) => self.combined.set_idle(&input),
                WatermarkOutput::Status(WatermarkStatus::Active) => {
                    // It counts again with the watermark that it had.
                    self.combined.set_watermark(&input, Timestamp::MIN);
                }
            }
            self.combined.combine(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds (channel, watermark or status) and returns everything that came out.
    fn run(input_of_channel: &[usize], steps: &[(usize, Result<i64, WatermarkStatus>)]) -> Vec<WatermarkOutput> {
        let (mut combined, mut out) = (CombinedWatermark::new(input_of_channel), Vec::new());
        for (channel, step) in steps {
            match step {
                Ok(watermark) => combined.on_watermark(*channel, Timestamp(*watermark), &mut out),
                Err(status) => combined.on_status(*channel, *status, &mut out),
            }
        }
        out
    }

    const IDLE: Result<i64, WatermarkStatus> = Err(WatermarkStatus::Idle);
    const ACTIVE: Result<i64, WatermarkStatus> = Err(WatermarkStatus::Active);

    fn watermark(watermark: i64) -> WatermarkOutput {
        WatermarkOutput::Watermark(Timestamp(watermark))
    }

    #[test]
    fn the_watermark_is_the_least_of_both_inputs() {
        let steps = [(0, Ok(5)), (1, Ok(7)), (2, Ok(3)), (2, Ok(9)), (0, Ok(8)), (2, Ok(4))];
        // Channels 0 and 1 are the first input.
        assert_eq!(run(&[0, 0, 1], &steps), [watermark(3), watermark(5), watermark(7)]);
    }

    #[test]
    fn an_idle_input_holds_nothing_back_until_it_comes_back() {
        let steps = [(0, Ok(5)), (1, IDLE), (0, Ok(9)), (1, ACTIVE), (0, Ok(20)), (1, Ok(7)), (1, Ok(15))];
        assert_eq!(run(&[0, 1], &steps), [watermark(5), watermark(9), watermark(15)]);
    }

    #[test]
    fn the_operator_is_idle_while_both_inputs_are() {
        let steps = [(0, Ok(5)), (0, IDLE), (1, IDLE), (1, ACTIVE), (1, Ok(3))];
        let status = WatermarkOutput::Status;
        let expected = [status(WatermarkStatus::Idle), status(WatermarkStatus::Active), watermark(3)];
        assert_eq!(run(&[0, 1], &steps), expected);
    }

    #[test]
    fn one_input_behaves_as_its_valve() {
        let steps = [(0, Ok(5)), (1, Ok(7)), (0, IDLE), (1, IDLE)];
        let expected = [watermark(5), watermark(7), WatermarkOutput::Status(WatermarkStatus::Idle)];
        assert_eq!(run(&[0, 0], &steps), expected);
    }

    #[cfg(feature = "sim")]
    #[test]
    fn the_planted_bug_forgets_the_second_input() {
        crate::planted::activate(Some("second_input_forgotten_in_watermark"));
        let out = run(&[0, 1], &[(0, Ok(5))]);
        crate::planted::activate(None);
        assert_eq!(out, [watermark(5)]);
    }
}
