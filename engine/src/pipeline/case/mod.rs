//! Cases: small pipelines with scripted input in JSON, for which the answer of Apache Flink is known.
//!
//! A case is compiled to a [`Pipeline`] with a script as its source and traces as its sinks, so that it runs like any other
//! pipeline. Its records have a key `k`, a value `v`, a text `x`, and the bounds `ws` and `we` of the window that made
//! them; the last three may be null. What a case can say is described in `tests/data/flink-cases/README.md`.

mod format;
mod stages;

use std::{collections::BTreeMap, time::Duration};

use format::{CaseFile, EnvelopeFile, StepFile};

use super::{
    model::{
        AtScriptEnd, Checkpoint, Pipeline, RestoredWatermark, ScriptAction, ScriptSource, ScriptStep, Sink, SinkKind,
        Source, SourceKind,
    },
    read,
    row::{Datum, Row},
    schema::{Field, FieldType},
};
use crate::error::{Error, ErrorKind, Result};

/// A case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The pipeline that it means, up to its first savepoint if it has one.
    pub pipeline: Pipeline,
    /// The same with the parallelism that it goes on with after each savepoint: it stops at one, and each of these is
    /// restored from where the one before it stopped.
    pub resumed: Vec<Pipeline>,
    /// The state backend that its answer was found with, if it is about one.
    pub backend: Option<String>,
}

/// Time between the triggers of checkpoints: far more than a script takes between two steps that wait for one.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);

impl Case {
    /// Whether a JSON text is a case rather than a pipeline.
    pub fn is_case(text: &str) -> bool {
        serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| {
            let case = value.get("case").unwrap_or(&value);
            case.get("stages").is_some() && case.get("steps").is_some()
        })
    }

    /// Reads a case: alone, or as the field `case` beside Flink's answer. `file_name` is for messages.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if it is no case, or says what the engine does not have.
    pub fn from_json(file_name: &str, text: &str) -> Result<Self> {
        let mut file = if enveloped(text) {
            read::json::<EnvelopeFile>(file_name, text)?.case
        } else {
            read::json::<CaseFile>(file_name, text)?
        };
        let pipeline = pipeline(&file)?;
        let parallelisms: Vec<u32> = file.steps.iter().filter_map(|step| step.sp).collect();
        let mut resumed = Vec::new();
        for parallelism in parallelisms {
            file.parallelism = parallelism;
            resumed.push(self::pipeline(&file)?);
        }
        Ok(Self { pipeline, resumed, backend: file.backend })
    }
}

/// The pipeline that a case means at its parallelism.
fn pipeline(file: &CaseFile) -> Result<Pipeline> {
    let unsupported =
        |what: String| Error::new(ErrorKind::Configuration, format!("the case `{}` has {what}", file.name));
    let mut pipeline = Pipeline::new(file.name.clone()).source(script(file).map_err(unsupported)?);
    pipeline.max_parallelism = Some(file.max_parallelism);
    options(file, &mut pipeline);
    let compiled = stages::compile(file).map_err(unsupported)?;
    pipeline.stages = compiled.stages;
    for (name, input, parallelism, label) in compiled.traces {
        let kind = SinkKind::Trace { label };
        pipeline = pipeline.sink(Sink { parallelism: Some(parallelism), ..Sink::new(name, input, kind) });
    }
    pipeline.validate().map_err(|problems| {
        Error::new(ErrorKind::Configuration, format!("the case `{}` is not valid", file.name)).with_source(problems)
    })?;
    Ok(pipeline)
}

/// Whether the case is a field of the text, beside its answer.
fn enveloped(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.get("case").is_some())
}

/// The name of the source.
const SCRIPT: &str = "script";

fn script(file: &CaseFile) -> std::result::Result<Source, String> {
    let columns = vec![
        Field::new("k", FieldType::Text),
        Field::new("v", FieldType::Int),
        Field::nullable("x", FieldType::Text),
        Field::nullable("ws", FieldType::Int),
        Field::nullable("we", FieldType::Int),
        Field::new("side", FieldType::Int),
    ];
    let steps = file.steps.iter().map(step).collect::<std::result::Result<Vec<_>, _>>()?;
    let script = ScriptSource {
        inputs: file.inputs,
        at_end: if file.drain { AtScriptEnd::Drain } else { AtScriptEnd::Stop },
        restored_watermark: if file.restore_watermark { RestoredWatermark::Kept } else { RestoredWatermark::Lost },
        ..ScriptSource::new(columns, steps)
    };
    Ok(Source::new(SCRIPT, SourceKind::Script(script)))
}

fn step(step: &StepFile) -> std::result::Result<ScriptStep, String> {
    let action = if let Some(element) = &step.e {
        let (k, v, time_ms, side) = element.parts();
        let row =
            Row::new(vec![Datum::text(k), Datum::Int(v), Datum::Null, Datum::Null, Datum::Null, Datum::Int(side)]);
        ScriptAction::Element { row, time_ms }
    } else if let Some(time_ms) = step.w {
        ScriptAction::Watermark(time_ms)
    } else if step.idle == Some(true) {
        ScriptAction::Idle
    } else if step.active == Some(true) {
        ScriptAction::Active
    } else if step.cp == Some(true) {
        ScriptAction::Checkpoint
    } else if step.fail == Some(true) {
        ScriptAction::Fail
    } else if step.sp.is_some() {
        ScriptAction::Stop
    } else {
        return Err("a step of an unknown kind".into());
    };
    Ok(ScriptStep { input: step.i, action })
}

fn options(file: &CaseFile, pipeline: &mut Pipeline) {
    let failures = file.steps.iter().filter(|step| step.fail == Some(true)).count();
    let asks = file.checkpoint_interval_ms.is_some()
        || file.steps.iter().any(|step| step.cp == Some(true) || step.sp.is_some());
    if asks || failures > 0 {
        let interval = file.checkpoint_interval_ms.map_or(CHECKPOINT_INTERVAL, Duration::from_millis);
        pipeline.checkpoint = Some(Checkpoint::every(interval));
    }
    let mut config = BTreeMap::from([("restart-strategy.type".to_owned(), file.restart.clone())]);
    if file.restart == "fixed-delay" {
        let attempts = file.restart_attempts.unwrap_or(failures as u64);
        config.insert("restart-strategy.fixed-delay.attempts".into(), attempts.to_string());
        config.insert("restart-strategy.fixed-delay.delay".into(), format!("{} ms", file.restart_delay_ms));
    }
    config.insert("tidegate.restore-watermark".into(), file.restore_watermark.to_string());
    pipeline.config = config;
}
