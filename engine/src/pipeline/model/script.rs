//! Scripts: records, watermarks and the status of inputs in a given order.
//!
//! A script says exactly what an operator sees, and when its clock of event time moves. It is how a behaviour is stated
//! that depends on one record coming before or after one watermark.

use std::time::Duration;

use crate::pipeline::{row::Row, schema::Field};

/// A script: one split, which can be read again from any step.
///
/// Its records have the event time, and its stream the watermarks, that the script says; nothing is emitted in between.
/// With several inputs the steps come as from that many streams that were united: the watermark is the least of the
/// inputs that are active. All steps of a script are one sequence, so that the order between inputs is fixed too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptSource {
    /// The fields.
    pub columns: Vec<Field>,
    /// Number of inputs, at least 1.
    pub inputs: u32,
    /// The steps, in order.
    pub steps: Vec<ScriptStep>,
    /// What follows the last step.
    pub at_end: AtScriptEnd,
    /// What the stream knows of its watermark after a restore.
    pub restored_watermark: RestoredWatermark,
    /// Processing time from one step to the next.
    pub interval: Duration,
}

impl ScriptSource {
    /// A script with one input, as fast as possible, which ends the input.
    pub fn new(columns: impl Into<Vec<Field>>, steps: impl Into<Vec<ScriptStep>>) -> Self {
        Self {
            columns: columns.into(),
            inputs: 1,
            steps: steps.into(),
            at_end: AtScriptEnd::default(),
            restored_watermark: RestoredWatermark::default(),
            interval: Duration::ZERO,
        }
    }
}

/// A step of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptStep {
    /// Which input it belongs to, from 0.
    pub input: u32,
    /// What happens.
    pub action: ScriptAction,
}

impl ScriptStep {
    /// A step of the first input.
    pub fn new(action: ScriptAction) -> Self {
        Self { input: 0, action }
    }

    /// A record of the first input.
    pub fn element(row: Row, time_ms: i64) -> Self {
        Self::new(ScriptAction::Element { row, time_ms })
    }

    /// A watermark of the first input.
    pub fn watermark(time_ms: i64) -> Self {
        Self::new(ScriptAction::Watermark(time_ms))
    }
}

/// What happens at a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptAction {
    /// A record.
    Element {
        /// Its fields.
        row: Row,
        /// Its event time: milliseconds since the epoch.
        time_ms: i64,
    },
    /// A watermark: milliseconds since the epoch. One that goes back is ignored.
    Watermark(i64),
    /// The input no longer holds the watermark back.
    Idle,
    /// The input takes part in the watermark again.
    Active,
    /// The script waits until a checkpoint is complete that was taken here.
    Checkpoint,
    /// The source fails here, once in the life of its process.
    Fail,
    /// The script waits here to be stopped with a savepoint; a job that is restored from there goes on behind it.
    Stop,
}

/// What follows the last step of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtScriptEnd {
    /// The input ends: the last watermark fires whatever waits.
    #[default]
    Drain,
    /// The stream stops where it is: what waits, stays.
    Stop,
}

/// What a script's stream knows of its watermark after a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestoredWatermark {
    /// It is the one before the checkpoint, so that late records stay late. Flink does not keep it.
    #[default]
    Kept,
    /// There is none until the script emits one, as in Flink.
    Lost,
}
