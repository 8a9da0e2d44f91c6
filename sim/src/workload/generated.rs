//! Generated pipelines: a script, and one to three stages of any kind, with one right result.
//!
//! One script plays everything, so that each subtask that follows has one input channel and sees one sequence. Behind a
//! stage of parallelism two and more several channels meet: there only kinds follow whose results for a key are decided by
//! the order of that key's records. A stage with two inputs may have a script for each: then nothing is late, and whatever
//! the order between both, the result is one. What a machine's clock decides comes last.

use std::time::Duration;

use rand::{Rng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tidegate::pipeline::{Assignment, Operation, Pipeline, ScriptAction, Source, SourceKind, Stage};

use super::{
    JOB_ID,
    kind::StageKind,
    script::{Keys, Script, ScriptBounds},
    sink, stages,
};
use crate::seed::Seed;

/// A generated pipeline: everything but what any workload has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// The names of the kinds of its stages, in order.
    pub kinds: Vec<String>,
    /// Milliseconds of processing time between two steps of the script.
    pub interval_ms: u64,
    /// What the source plays.
    pub script: Script,
    /// What the source of the second input plays, if the first stage with state has two inputs with a source each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Other>,
    /// Its stages and sinks; the source has the name `script`, that of the second input `other`.
    pub pipeline: Pipeline,
}

/// The source of a second input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Other {
    /// Milliseconds of processing time between two steps.
    pub interval_ms: u64,
    /// What it plays.
    pub script: Script,
}

/// What a generated pipeline is drawn from.
pub(super) struct Bounds<'a> {
    pub records: u64,
    pub seconds: u64,
    pub keys: u64,
    pub skewed: bool,
    pub disorder_ms: u64,
    pub parallelism: u32,
    /// The kinds of which the first stage with state is one; all whose results no machine's clock decides, if it is empty.
    pub kinds: &'a [StageKind],
    /// Most stages with state.
    pub stages_max: u32,
}

const SCRIPT: &str = "script";
const OTHER: &str = "other";

impl Generated {
    pub(super) fn drawn(bounds: &Bounds<'_>, seed: Seed) -> Self {
        let kind = draw_kind(bounds.kinds, &mut seed.child("kind").random());
        let has_other = kind.has_two_inputs() && seed.child("inputs").random().gen_bool(0.6);
        let script_bounds = ScriptBounds {
            records: if has_other { bounds.records.div_ceil(2) } else { bounds.records },
            keys: Keys::drawn(bounds.keys, bounds.skewed, &mut seed.child("keys").random()),
            disorder_ms: if kind.merges() { bounds.disorder_ms.max(400) } else { bounds.disorder_ms },
            late: !kind.has_two_inputs(),
            start_ms: None,
            idle_at_end: kind.has_two_inputs(),
        };
        let script = Script::drawn(script_bounds, seed.child("script"));
        let other = has_other.then(|| {
            let bounds = ScriptBounds { start_ms: script.start_ms(), idle_at_end: false, ..script_bounds };
            Script::drawn(bounds, seed.child("other"))
        });
        let interval_ms = (bounds.seconds * 1_000 / script.len().max(1) as u64).max(1);
        let gaps = script
            .gaps()
            .map(|gaps| gaps.into_iter().map(|steps| Duration::from_millis(steps * interval_ms)).collect::<Vec<_>>());
        let mut builder = Builder {
            pipeline: Pipeline::new(JOB_ID),
            output: SCRIPT.into(),
            other: has_other,
            gaps,
            kinds: Vec::new(),
        };
        if bounds.stages_max > 1 {
            builder.lead(&mut seed.child("lead").random());
        }
        builder.add(kind, "main", &mut seed.child("main").random());
        let mut last = (kind, "main");
        for name in ["second", "third"].into_iter().take(bounds.stages_max.saturating_sub(1) as usize) {
            let child = seed.child(name);
            if !last.0.can_be_followed() || child.child("more").random().gen_bool(0.6) {
                break;
            }
            let follows = |kind: &StageKind| bounds.parallelism == 1 || kind.follows_order();
            let pool: Vec<StageKind> =
                StageKind::all().into_iter().filter(|kind| can_follow(*kind) && follows(kind)).collect();
            let next = draw_kind(&pool, &mut child.child("kind").random());
            builder.follow(stages::value_of(last.0), last.1);
            builder.add(next, name, &mut child.random());
            last = (next, name);
        }
        let output = std::mem::take(&mut builder.output);
        builder.pipeline = builder.pipeline.sink(sink("main-out", &output));
        // One of two sources is ahead of the other, or falls behind it.
        let pace = seed.child("pace").random().gen_range(1..=20);
        let other = other.map(|script| Other { interval_ms: (interval_ms * pace / 10).max(1), script });
        Self { kinds: builder.kinds, interval_ms, script, other, pipeline: builder.pipeline }
    }

    /// The pipeline with its source.
    pub(super) fn pipeline(&self) -> Pipeline {
        let source = |name: &str, script: &Script, interval_ms| {
            let script = script.source(Duration::from_millis(interval_ms));
            Source { parallelism: Some(1), ..Source::new(name, SourceKind::Script(script)) }
        };
        let pipeline = self.pipeline.clone().source(source(SCRIPT, &self.script, self.interval_ms));
        match &self.other {
            Some(other) => pipeline.source(source(OTHER, &other.script, other.interval_ms)),
            None => pipeline,
        }
    }

    /// Simpler pipelines of the same sort, by what was taken: without the last stage, with a part of the script.
    pub(crate) fn simpler(&self) -> Vec<(String, Self)> {
        let mut simpler = Vec::new();
        simpler.extend(self.without_last_stage().map(|candidate| ("without the last stage".to_owned(), candidate)));
        for (taken, script) in self.script.shorter() {
            simpler.push((format!("without {taken}"), Self { script, ..self.clone() }));
        }
        if let Some(other) = &self.other {
            for (taken, script) in other.script.shorter() {
                let other = Some(Other { script, ..*other });
                simpler.push((format!("without {taken} of the other script"), Self { other, ..self.clone() }));
            }
        }
        simpler
    }

    /// The number of steps of all scripts.
    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.script.len() + self.other.as_ref().map_or(0, |other| other.script.len())
    }

    /// The pipeline whose result is what the last stage with state takes.
    fn without_last_stage(&self) -> Option<Self> {
        let names = ["main", "second", "third"];
        let last = self.kinds.len().checked_sub(1).filter(|last| *last > 0)?;
        let (last, before) = (*names.get(last)?, *names.get(last - 1)?);
        let mut candidate = self.clone();
        candidate.kinds.pop();
        let glue = glue_name(before);
        let gone = |name: &str| name == last || name == glue;
        candidate.pipeline.stages.retain(|stage| !gone(&stage.name));
        candidate.pipeline.sinks.retain(|sink| sink.inputs != [format!("{last}.late")]);
        for sink in &mut candidate.pipeline.sinks {
            for input in &mut sink.inputs {
                if input == last {
                    *input = before.to_owned();
                }
            }
        }
        Some(candidate)
    }
}

impl Script {
    /// Parts of the script that have records, by the steps that are missing.
    fn shorter(&self) -> Vec<(String, Self)> {
        let steps = self.len();
        let sizes = std::iter::successors(Some(steps / 2), |size| Some(size / 2)).take_while(|size| *size > 0);
        let parts = sizes.flat_map(move |size| (0..steps).step_by(size).map(move |start| (start, size)));
        let without = parts.map(|(start, size)| {
            let mut candidate = self.clone();
            let end = (start + size).min(steps);
            candidate.steps.drain(start..end);
            let taken = match size {
                1 => format!("step {}", start + 1),
                _ => format!("steps {} to {end}", start + 1),
            };
            (taken, candidate)
        });
        without.filter(|(_, candidate)| candidate.has_records()).collect()
    }

    fn has_records(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, ScriptAction::Element { .. }))
    }
}

/// A kind of the pool: of states and of windows equally often, then of each sort equally often.
fn draw_kind(pool: &[StageKind], random: &mut ChaCha8Rng) -> StageKind {
    let all: Vec<StageKind> = StageKind::all().into_iter().filter(|kind| !kind.has_clock()).collect();
    let pool = if pool.is_empty() { &all } else { pool };
    let windows = random.gen_bool(0.5);
    let half: Vec<StageKind> = pool.iter().copied().filter(|kind| kind.is_window() == windows).collect();
    let half = if half.is_empty() { pool.to_vec() } else { half };
    let mut sorts: Vec<String> = half.iter().map(|kind| kind.sort()).collect();
    sorts.dedup();
    let sort = sorts.choose(random).cloned().unwrap_or_default();
    let of_sort: Vec<StageKind> = half.into_iter().filter(|kind| kind.sort() == sort).collect();
    *of_sort.choose(random).unwrap_or(&StageKind::Running)
}

/// Which kinds take what another stage emits: those with one input and a key, which no clock decides.
fn can_follow(kind: StageKind) -> bool {
    let keyless = matches!(kind, StageKind::Operator(_)) || kind.sort() == "all";
    !(kind.has_clock() || kind.has_two_inputs() || keyless)
}

fn glue_name(of: &str) -> String {
    format!("{of}-value")
}

/// Puts stages one after the other.
struct Builder {
    pipeline: Pipeline,
    output: String,
    /// Whether there is a source for the second input of the first stage with state.
    other: bool,
    /// How long after another a record of a key comes, by how many of its records.
    gaps: stages::Gaps,
    kinds: Vec<String>,
}

impl Builder {
    fn push(&mut self, stage: Stage) {
        self.output.clone_from(&stage.name);
        self.pipeline.stages.push(stage);
    }

    /// Stateless stages between the script and the first state, in one subtask like the script.
    fn lead(&mut self, random: &mut ChaCha8Rng) {
        let same = || Assignment::new("key", "key");
        let operation = match random.gen_range(0..10) {
            0 | 1 => Operation::Filter { condition: format!("floor_mod(value, 5) <> {}", random.gen_range(0..5)) },
            2 | 3 => {
                let expression = format!("value * {} + 1", random.gen_range(-2..=3));
                Operation::Map { fields: vec![same(), Assignment::new("value", expression)] }
            }
            4 => {
                let mut repeat = Stage::new("lead", &self.output, Operation::Repeat { count: 2, index: "copy".into() });
                repeat.parallelism = Some(1);
                self.push(repeat);
                let mut numbered = Stage::new(
                    "lead-value",
                    &self.output,
                    Operation::Map { fields: vec![same(), Assignment::new("value", "value + copy")] },
                );
                numbered.parallelism = Some(1);
                self.push(numbered);
                return;
            }
            _ => return,
        };
        let mut stage = Stage::new("lead", &self.output, operation);
        stage.parallelism = Some(1);
        self.push(stage);
    }

    fn add(&mut self, kind: StageKind, name: &str, random: &mut ChaCha8Rng) {
        let other = self.other.then_some(OTHER);
        let drawn = stages::draw(kind, name, (&self.output, other), &self.gaps, random);
        drawn.stages.into_iter().for_each(|stage| self.push(stage));
        if drawn.late {
            self.pipeline.sinks.push(sink(&format!("{name}-late-out"), &format!("{name}.late")));
        }
        self.kinds.push(kind.name());
    }

    /// Makes records with `key` and `value` of the results of a stage.
    fn follow(&mut self, value: &str, name: &str) {
        let fields = vec![Assignment::new("key", "key"), Assignment::new("value", value)];
        let glue = Stage::new(glue_name(name), &self.output, Operation::Map { fields });
        self.push(glue);
    }
}
