//! A source that plays a script: records, watermarks and statuses exactly where the script says.
//!
//! Each step is put out by a call of its own, so that a checkpoint can come between any two. The watermark is that of a
//! [`StatusWatermarkValve`] over the script's inputs, as if they were channels of one input gate.
//!
//! ```text
//!   step ──element──► batch                         control: checkpoint ──► wait until one that was taken here
//!        ──watermark, status of input i──► valve ──► watermark, status        is complete
//!                                                   control: fail ──────► wait until what was put out has
//!                                                                          arrived, then fail, once
//!                                                   control: stop ──────► wait to be stopped with a savepoint; go
//!                                                                          on behind it when restored from there
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::model::{AtScriptEnd, RestoredWatermark, ScriptAction, ScriptSource};
use crate::{
    codec,
    connector::{ReadStatus, SourceContext},
    error::{Error, ErrorKind, Result},
    operator::{ListMode, ListSnapshot, OperatorSnapshot},
    record::{AnyBatch, StopMode, StreamRecord, WatermarkStatus},
    task::{ErasedSource, SourceFactory, SourceOutput},
    time::{StatusWatermarkValve, Timestamp, WatermarkOutput},
};

/// How long a step that fails waits for what was put out before it.
const BEFORE_FAILURE: Duration = Duration::from_secs(5);
/// How often a step that waits for a checkpoint looks whether it is there.
const CHECKPOINT_POLL: Duration = Duration::from_millis(10);
/// A step that waits to be stopped need not look at anything; this is how long it does not.
const UNTIL_STOPPED: Duration = Duration::from_secs(3600);
/// The state name under which a player keeps its place.
const PLACE: &str = "splits";

/// Plays a script.
pub(crate) fn script_source(script: &ScriptSource) -> SourceFactory {
    let (script, failed) = (Arc::new(script.clone()), Arc::new(Mutex::new(BTreeSet::new())));
    Arc::new(move || {
        Box::new(Player {
            valve: StatusWatermarkValve::new(script.inputs as usize),
            script: script.clone(),
            failed: failed.clone(),
            place: Place { step: 0, watermark: Timestamp::MIN },
            announce: Vec::new(),
            wait: None,
            snapshot_at: Mutex::new(None),
            complete_at: None,
            resumed_at: None,
        })
    })
}

/// What is kept in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// The next step.
    step: u64,
    /// The last watermark that went out.
    watermark: Timestamp,
}

struct Player {
    script: Arc<ScriptSource>,
    /// The steps that have failed, in the life of this process.
    failed: Arc<Mutex<BTreeSet<u64>>>,
    valve: StatusWatermarkValve,
    place: Place,
    /// The restored watermark and status, which have to go out first.
    announce: Vec<WatermarkOutput>,
    /// The step that is waited at, and since when.
    wait: Option<(u64, Timestamp)>,
    /// Where the last snapshot was taken.
    snapshot_at: Mutex<Option<u64>>,
    /// Where the last snapshot of a complete checkpoint was taken.
    complete_at: Option<u64>,
    /// The stop that it was restored from.
    resumed_at: Option<u64>,
}

#[async_trait]
impl ErasedSource for Player {
    async fn open(&mut self, _context: &SourceContext, restored: Option<OperatorSnapshot>) -> Result<()> {
        let Some(entry) = restored.and_then(|mut snapshot| snapshot.lists.remove(PLACE)?.entries.pop()) else {
            return Ok(());
        };
        self.place = codec::decode(&entry).map_err(|error| {
            Error::new(ErrorKind::CorruptState, "the script's place cannot be read").with_source(error)
        })?;
        // A snapshot that was taken at a step is complete, or it would not have been restored.
        self.complete_at = Some(self.place.step);
        self.resumed_at = self.complete_at;
        if self.script.restored_watermark == RestoredWatermark::Kept {
            self.play_watermarks_again();
        }
        Ok(())
    }

    async fn poll(&mut self, now: Timestamp, _limit: usize, out: &mut Vec<SourceOutput>) -> Result<ReadStatus> {
        if !self.announce.is_empty() {
            out.extend(self.announce.drain(..).map(SourceOutput::Watermark));
            return Ok(ReadStatus::More);
        }
        let script = self.script.clone();
        let Some(step) = usize::try_from(self.place.step).ok().and_then(|step| script.steps.get(step)) else {
            return Ok(ReadStatus::Ended);
        };
        let since = match self.wait {
            Some((step, since)) if step == self.place.step => since,
            _ => now,
        };
        self.wait = Some((self.place.step, since));
        let due = since.saturating_add(script.interval);
        if now < due {
            return Ok(ReadStatus::NotBefore(due));
        }
        let input = step.input as usize;
        match &step.action {
            ScriptAction::Element { row, time_ms } => {
                let record = StreamRecord::new(row.clone(), Timestamp(*time_ms));
                out.push(SourceOutput::Batch(AnyBatch::new(vec![record])));
            }
            ScriptAction::Watermark(time_ms) => self.on_watermark(input, Timestamp(*time_ms), out),
            ScriptAction::Idle => self.on_status(input, WatermarkStatus::Idle, out),
            ScriptAction::Active => self.on_status(input, WatermarkStatus::Active, out),
            ScriptAction::Checkpoint => {
                if self.complete_at != Some(self.place.step) {
                    return Ok(ReadStatus::NotBefore(now.saturating_add(CHECKPOINT_POLL)));
                }
            }
            ScriptAction::Stop => {
                if self.resumed_at != Some(self.place.step) {
                    return Ok(ReadStatus::NotBefore(now.saturating_add(UNTIL_STOPPED)));
                }
            }
            ScriptAction::Fail => {
                let due = since.saturating_add(BEFORE_FAILURE);
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                if !failed.contains(&self.place.step) {
                    if now < due {
                        return Ok(ReadStatus::NotBefore(due));
                    }
                    failed.insert(self.place.step);
                    let message = format!("the script fails at step {}", self.place.step);
                    return Err(Error::new(ErrorKind::UserFunction, message));
                }
            }
        }
        self.place.step += 1;
        Ok(ReadStatus::More)
    }

    fn on_periodic_emit(&mut self, _readable: Timestamp, _out: &mut Vec<SourceOutput>) {}

    fn expects_periodic_emit(&self) -> bool {
        false
    }

    fn snapshot(&self) -> OperatorSnapshot {
        *self.snapshot_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.place.step);
        let entries = vec![codec::encode(&self.place)];
        let lists = BTreeMap::from([(PLACE.to_owned(), ListSnapshot { mode: ListMode::Split, entries })]);
        OperatorSnapshot { lists, ..OperatorSnapshot::default() }
    }

    fn notify_complete(&mut self) {
        self.complete_at = *self.snapshot_at.lock().unwrap_or_else(PoisonError::into_inner);
    }

    fn stop_mode(&self) -> StopMode {
        match self.script.at_end {
            AtScriptEnd::Drain => StopMode::Drain,
            AtScriptEnd::Stop => StopMode::NoDrain,
        }
    }
}

impl Player {
    /// Brings the valve to where it was at the restored place: each input has its own watermark and status again.
    fn play_watermarks_again(&mut self) {
        let script = self.script.clone();
        let (mut told, mut status) = (Vec::new(), None);
        for step in script.steps.iter().take(usize::try_from(self.place.step).unwrap_or(usize::MAX)) {
            let input = step.input as usize;
            match &step.action {
                ScriptAction::Watermark(time_ms) => self.valve.on_watermark(input, Timestamp(*time_ms), &mut told),
                ScriptAction::Idle => self.valve.on_status(input, WatermarkStatus::Idle, &mut told),
                ScriptAction::Active => self.valve.on_status(input, WatermarkStatus::Active, &mut told),
                ScriptAction::Element { .. } | ScriptAction::Checkpoint | ScriptAction::Fail | ScriptAction::Stop => {}
            }
        }
        for output in told {
            match output {
                WatermarkOutput::Watermark(watermark) => self.place.watermark = watermark,
                WatermarkOutput::Status(_) => status = Some(output),
            }
        }
        if self.place.watermark > Timestamp::MIN {
            self.announce.push(WatermarkOutput::Watermark(self.place.watermark));
        }
        self.announce.extend(status);
    }

    fn on_watermark(&mut self, input: usize, watermark: Timestamp, out: &mut Vec<SourceOutput>) {
        let mut combined = Vec::new();
        self.valve.on_watermark(input, watermark, &mut combined);
        self.put_out(combined, out);
    }

    fn on_status(&mut self, input: usize, status: WatermarkStatus, out: &mut Vec<SourceOutput>) {
        let mut combined = Vec::new();
        self.valve.on_status(input, status, &mut combined);
        self.put_out(combined, out);
    }

    fn put_out(&mut self, combined: Vec<WatermarkOutput>, out: &mut Vec<SourceOutput>) {
        for output in combined {
            if let WatermarkOutput::Watermark(watermark) = output {
                self.place.watermark = watermark;
            }
            out.push(SourceOutput::Watermark(output));
        }
    }
}
