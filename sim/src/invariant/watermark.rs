//! I12 Watermark: watermarks are monotone; nothing is emitted behind one that the model does not emit.
//!
//! In each attempt the event time of a subtask only advances. Where the script of a pipeline fixes the order of
//! everything, each attempt must see the script's watermarks one after the other, from some point on, and leave none out:
//! an attempt that goes on from a checkpoint begins with the watermark that was the last before it. What is emitted behind
//! a watermark is compared with the model's output elsewhere (I10, I11). Judged of every run. Source: Flink
//! `StatusWatermarkValve`, FLINK-27676, FLINK-32828.

use std::collections::BTreeMap;

use tidegate::{
    event::{Moment, Step},
    id::Attempt,
};

use super::{InvariantId, Violation, describe, limited};
use crate::{
    history::{FactRecord, History},
    model::Model,
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let mut of_subtask: BTreeMap<(Attempt, &str), Vec<(i64, &FactRecord)>> = BTreeMap::new();
    for fact in history.facts.iter().filter(|fact| fact.step == Step::Watermark && fact.moment == Moment::After) {
        let Some((subtask, time_ms)) = fact.detail.split_once(" at ") else { continue };
        if let Ok(time_ms) = time_ms.parse() {
            of_subtask.entry((fact.attempt, subtask)).or_default().push((time_ms, fact));
        }
    }
    let script = model.watermarks();
    let mut back = Vec::new();
    let mut jumps = Vec::new();
    for watermarks in of_subtask.values() {
        for pair in watermarks.windows(2) {
            let [(before, _), (after, fact)] = pair else { continue };
            if after <= before {
                back.push(format!("~ after {before}:"));
                back.push(describe(fact));
            }
        }
        let times: Vec<i64> = watermarks.iter().map(|(time_ms, _)| *time_ms).collect();
        // A job that is drained sees the last watermark of all wherever it stands.
        let read = match times.split_last() {
            Some((&i64::MAX, read)) if history.drain_asked => read,
            _ => &times,
        };
        let is_part = |script: &Vec<i64>| read.is_empty() || script.windows(read.len()).any(|part| part == read);
        let right = script.as_ref().is_none_or(is_part);
        if let (false, Some((_, fact))) = (right, watermarks.last()) {
            jumps.push(format!("! {times:?} is no part of {:?}:", script.as_deref().unwrap_or_default()));
            jumps.push(describe(fact));
        }
    }
    let violation = |what: &str, sentence: &str, evidence: Vec<String>| Violation {
        invariant: InvariantId::I12,
        sentence: sentence.to_owned(),
        signature: format!("I12 {what}"),
        evidence: limited(evidence),
    };
    let mut violations = Vec::new();
    if !back.is_empty() {
        violations.push(violation("watermark goes back", "The watermark of a subtask did not advance.", back));
    }
    if !jumps.is_empty() {
        let sentence = "A subtask has not seen the watermarks of its script one after the other.";
        violations.push(violation("watermarks of another order", sentence, jumps));
    }
    violations
}
