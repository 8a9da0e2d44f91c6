//! The script of a generated pipeline: what its one source plays, as a value that reads like a line of text.
//!
//! One word per step: `k1=5@1200` is a record with key, value and event time, `w1199` a watermark, `idle` and `active` the
//! status of an input. Steps of other inputs than the first end in its number: `w1199/1`.

use std::{collections::BTreeMap, fmt::Write as _, str::FromStr};

use rand::{Rng as _, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};
use tidegate::pipeline::{Datum, Field, FieldType, Row, ScriptAction, ScriptSource, ScriptStep};

use crate::seed::Seed;

/// The steps of a script of records with a key and a value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Script {
    /// The steps, in order.
    pub steps: Vec<ScriptStep>,
}

/// What a script is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScriptBounds {
    pub records: u64,
    pub keys: Keys,
    pub disorder_ms: u64,
    /// Whether records may come behind the watermark, and all inputs be idle at once.
    pub late: bool,
    /// The first event time; any, if none is given.
    pub start_ms: Option<i64>,
    /// Whether all inputs may be idle when the script ends.
    pub idle_at_end: bool,
}

/// Some scripts have event times and values on a grid of this size only, and watermarks on it or a millisecond before: there
/// lie the ends of windows.
pub(super) const GRID_MS: i64 = 50;

/// How many records apart two of a key are at most for their gap to be of interest.
pub(super) const FARTHEST: usize = 3;

impl Script {
    /// The source that plays it.
    pub(super) fn source(&self, interval: std::time::Duration) -> ScriptSource {
        let columns = vec![Field::new("key", FieldType::Text), Field::new("value", FieldType::Int)];
        let inputs = self.steps.iter().map(|step| step.input + 1).max().unwrap_or(1);
        ScriptSource { inputs, interval, ..ScriptSource::new(columns, self.steps.clone()) }
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(super) fn drawn(bounds: ScriptBounds, seed: Seed) -> Self {
        let mut random = seed.random();
        let inputs = if random.gen_bool(0.7) { 1 } else { random.gen_range(2..=3) };
        let step_ms = *[20, 100, 400].choose(&mut random).unwrap_or(&100);
        let start_ms = if random.gen_bool(0.1) { -5_000 } else { random.gen_range(0..10_000) };
        let start_ms = bounds.start_ms.unwrap_or(start_ms);
        let grid_ms = if random.gen_bool(0.4) { GRID_MS } else { 1 };
        let mut script = Writer { steps: Vec::new(), idle: vec![false; inputs] };
        let (mut now_ms, mut watermark_ms, mut records) = (start_ms, i64::MIN, 0);
        let disorder_ms = bounds.disorder_ms as i64;
        while records < bounds.records {
            let input = random.gen_range(0..inputs);
            match random.gen_range(0..100) {
                0..=2 if bounds.late || script.has_active_beside(input) => script.set_idle(input),
                3..=22 => {
                    // Behind this watermark nothing comes any more but what is meant to be late.
                    let highest_ms = now_ms - disorder_ms - 1;
                    let back_ms = if random.gen_bool(0.15) { random.gen_range(0..5 * step_ms) } else { 0 };
                    let mut next_ms = highest_ms - back_ms;
                    if grid_ms > 1 {
                        next_ms = next_ms.div_euclid(grid_ms) * grid_ms - random.gen_range(0..=1);
                    }
                    watermark_ms = watermark_ms.max(next_ms);
                    script.push(input, ScriptAction::Watermark(next_ms));
                }
                23..=30 if bounds.late && watermark_ms > i64::MIN => {
                    // Late for the last windows, or for older ones.
                    let latest = *[2, 20].choose(&mut random).unwrap_or(&20);
                    let time_ms = watermark_ms - random.gen_range(0..latest * step_ms);
                    script.push(input, element(bounds.keys, grid_ms, time_ms, &mut random));
                    records += 1;
                }
                _ => {
                    // A burst of one event time every now and then.
                    now_ms += if random.gen_bool(0.25) { 0 } else { random.gen_range(0..2 * step_ms) };
                    let time_ms = now_ms - random.gen_range(0..=disorder_ms);
                    script.push(input, element(bounds.keys, grid_ms, time_ms, &mut random));
                    records += 1;
                }
            }
        }
        if bounds.idle_at_end && random.gen_bool(0.4) {
            (0..inputs).for_each(|input| script.set_idle(input));
        }
        Self { steps: script.steps }
    }

    /// How many steps a record comes after another one of its key, by how many of its records it does: after the one before
    /// it, the one before that, and so on.
    pub(super) fn gaps(&self) -> [Vec<u64>; FARTHEST] {
        let mut latest: BTreeMap<&Datum, Vec<usize>> = BTreeMap::new();
        let mut gaps = [const { Vec::new() }; FARTHEST];
        for (number, step) in self.steps.iter().enumerate() {
            let ScriptAction::Element { row, .. } = &step.action else { continue };
            let Some(key) = row.values().first() else { continue };
            let of_key = latest.entry(key).or_default();
            for (gaps, before) in gaps.iter_mut().zip(of_key.iter().rev()) {
                gaps.push((number - before) as u64);
            }
            of_key.push(number);
        }
        gaps
    }

    /// The event time of its first record.
    pub(super) fn start_ms(&self) -> Option<i64> {
        self.steps.iter().find_map(|step| match step.action {
            ScriptAction::Element { time_ms, .. } => Some(time_ms),
            _ => None,
        })
    }
}

/// The names of keys: in each pipeline other ones, of other key groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys {
    first: u64,
    count: u64,
    skewed: bool,
    prefix: &'static str,
}

impl Keys {
    pub(super) fn drawn(count: u64, skewed: bool, random: &mut impl rand::Rng) -> Self {
        let prefixes = ["k", "k", "k", "clé-", "a-key-with-a-rather-long-name-"];
        let prefix = prefixes.choose(random).unwrap_or(&"k");
        Self { first: random.gen_range(0..100), count: count.max(1), skewed, prefix }
    }

    fn name(self, random: &mut impl rand::Rng) -> String {
        let number = if self.skewed && random.gen_bool(0.6) { 0 } else { random.gen_range(0..self.count) };
        format!("{}{}", self.prefix, self.first + number)
    }
}

/// A record at the first time on the grid that is not before `time_ms`.
fn element(keys: Keys, grid_ms: i64, time_ms: i64, random: &mut impl rand::Rng) -> ScriptAction {
    let key = keys.name(random);
    let value = if grid_ms == 1 { random.gen_range(-20..=100) } else { grid_ms * random.gen_range(-1..=2) };
    let time_ms = time_ms + (-time_ms).rem_euclid(grid_ms);
    ScriptAction::Element { row: row(&key, value), time_ms }
}

fn row(key: &str, value: i64) -> Row {
    tidegate::row![key, value]
}

/// Writes steps; an input that is idle becomes active before its next step.
struct Writer {
    steps: Vec<ScriptStep>,
    idle: Vec<bool>,
}

impl Writer {
    fn push(&mut self, input: usize, action: ScriptAction) {
        if std::mem::take(&mut self.idle[input]) {
            self.step(input, ScriptAction::Active);
        }
        self.step(input, action);
    }

    fn has_active_beside(&self, input: usize) -> bool {
        self.idle.iter().enumerate().any(|(other, idle)| other != input && !idle)
    }

    fn set_idle(&mut self, input: usize) {
        if !std::mem::replace(&mut self.idle[input], true) {
            self.step(input, ScriptAction::Idle);
        }
    }

    fn step(&mut self, input: usize, action: ScriptAction) {
        self.steps.push(ScriptStep { input: input as u32, action });
    }
}

impl From<Script> for String {
    fn from(script: Script) -> Self {
        let mut text = Self::new();
        for step in script.steps {
            if !text.is_empty() {
                text.push(' ');
            }
            match step.action {
                ScriptAction::Element { row, time_ms } => {
                    let key = row.values().first().and_then(|key| key.as_str()).unwrap_or_default();
                    let value = row.values().get(1).and_then(|value| value.as_int()).unwrap_or_default();
                    let _ = write!(text, "{key}={value}@{time_ms}");
                }
                ScriptAction::Watermark(time_ms) => {
                    let _ = write!(text, "w{time_ms}");
                }
                ScriptAction::Idle => text.push_str("idle"),
                ScriptAction::Active => text.push_str("active"),
                ScriptAction::Checkpoint => text.push_str("checkpoint"),
                ScriptAction::Fail => text.push_str("fail"),
                ScriptAction::Stop => text.push_str("stop"),
            }
            if step.input > 0 {
                let _ = write!(text, "/{}", step.input);
            }
        }
        text
    }
}

impl TryFrom<String> for Script {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let steps = text.split_whitespace().map(parse_step).collect::<Result<_, _>>()?;
        Ok(Self { steps })
    }
}

fn parse_step(word: &str) -> Result<ScriptStep, String> {
    let number = |text: &str| i64::from_str(text).map_err(|_| format!("`{word}` is no step of a script"));
    let (action, input) = match word.rsplit_once('/') {
        Some((action, input)) => (action, u32::try_from(number(input)?).map_err(|error| error.to_string())?),
        None => (word, 0),
    };
    let action = match action {
        "idle" => ScriptAction::Idle,
        "active" => ScriptAction::Active,
        "checkpoint" => ScriptAction::Checkpoint,
        "fail" => ScriptAction::Fail,
        "stop" => ScriptAction::Stop,
        record => match record.split_once('=').and_then(|(key, rest)| Some((key, rest.split_once('@')?))) {
            Some((key, (value, time_ms))) => {
                ScriptAction::Element { row: row(key, number(value)?), time_ms: number(time_ms)? }
            }
            None => ScriptAction::Watermark(number(record.strip_prefix('w').unwrap_or(record))?),
        },
    };
    Ok(ScriptStep { input, action })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ScriptBounds = ScriptBounds {
        records: 50,
        keys: Keys { first: 7, count: 3, skewed: true, prefix: "k" },
        disorder_ms: 300,
        late: true,
        start_ms: None,
        idle_at_end: true,
    };

    #[test]
    fn a_script_is_read_as_it_was_written() {
        for seed in 0..50 {
            let script = Script::drawn(BOUNDS, Seed(seed));
            let text = String::from(script.clone());
            assert_eq!(Script::try_from(text), Ok(script));
        }
    }

    #[test]
    fn what_is_no_step_is_refused_by_name() {
        assert_eq!(Script::try_from("w12 k1=x@3".to_owned()), Err("`k1=x@3` is no step of a script".to_owned()));
    }

    #[test]
    fn nothing_is_behind_the_watermark_of_a_script_that_has_no_late_records() {
        for seed in 0..50 {
            let script = Script::drawn(ScriptBounds { late: false, ..BOUNDS }, Seed(seed));
            let mut highest_ms = i64::MIN;
            for step in &script.steps {
                match &step.action {
                    ScriptAction::Watermark(time_ms) => highest_ms = highest_ms.max(*time_ms),
                    ScriptAction::Element { time_ms, .. } => assert!(*time_ms > highest_ms, "seed {seed}: {step:?}"),
                    _ => {}
                }
            }
        }
    }
}
