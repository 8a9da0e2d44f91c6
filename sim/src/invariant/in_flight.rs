//! I22 InFlightExact: each record that is under way at a checkpoint is in it once, comes before newer ones after a restore,
//! and is not changed.
//!
//! Both ends of a channel state what has gone through it when they take a checkpoint, as a digest of each element and of
//! their order ([`ChannelDigest`]), and subtasks state what they keep of data under way and what they put back. Two
//! equations follow:
//!
//! 1. for each channel, in each completed checkpoint: taken by the receiver, then kept at its input, then kept at the
//!    sender's output, is what the receiver was given back at its restore, then sent by the sender. Without data under way
//!    it says that nothing is between the two ends of an aligned checkpoint;
//! 2. for each subtask, in each attempt: what it puts back is what the checkpoint that it starts from keeps of it. With another
//!    parallelism records are dealt out anew, and no digest tells of them: whether each came to one subtask, and in its order, is
//!    seen in state (I5) and results (I1, I2, I11).
//!
//! Judged of exactly-once checkpoints: otherwise records behind a barrier are part of it, too. Source: Flink's
//! `UnalignedCheckpointITCase`, FLINK-18139, FLINK-20654; consistent cuts (Chandy and Lamport 1985).

use std::collections::{BTreeMap, BTreeSet};

use tidegate::{
    config::CheckpointingMode,
    event::{Moment, Step},
    id::{Attempt, CheckpointId},
    task::ChannelDigest,
};

use super::{InvariantId, Violation, limited};
use crate::{
    history::{FactRecord, History},
    model::Model,
};

/// What one subtask said of its channels: at inputs and at outputs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Ends {
    inputs: BTreeMap<String, ChannelDigest>,
    outputs: BTreeMap<String, ChannelDigest>,
    /// They are a share of what other subtasks kept: the parallelism was another one.
    is_share: bool,
}

/// By the name of the subtask.
type BySubtask = BTreeMap<String, Ends>;

/// Reads the detail of a fact: the subtask, then for each end of a channel `in` or `out`, its name and its digest; last,
/// `share` if it is one.
fn read(detail: &str) -> Result<(String, Ends), String> {
    let mut words = detail.split_whitespace();
    let subtask = words.next().ok_or("nothing is said")?.to_owned();
    let mut ends = Ends::default();
    while let Some(end) = words.next() {
        if end == "share" {
            ends.is_share = true;
            continue;
        }
        let named = words.next().and_then(|named| named.split_once('='));
        let (channel, digest) = named.ok_or_else(|| format!("{detail:?} ends early"))?;
        let ends = match end {
            "in" => &mut ends.inputs,
            "out" => &mut ends.outputs,
            _ => return Err(format!("{end:?} is no end of a channel")),
        };
        ends.insert(channel.to_owned(), digest.parse()?);
    }
    Ok((subtask, ends))
}

/// Everything that was said.
#[derive(Default)]
struct Said {
    cuts: BTreeMap<(Attempt, CheckpointId), BySubtask>,
    kept: BTreeMap<(Attempt, CheckpointId), BySubtask>,
    put_back: BTreeMap<(Attempt, Option<CheckpointId>), BySubtask>,
    unreadable: Vec<String>,
}

impl Said {
    fn of(facts: &[FactRecord]) -> Self {
        let mut said = Self::default();
        for fact in facts.iter().filter(|fact| fact.moment == Moment::After && !fact.detail.is_empty()) {
            let by_subtask = match (fact.step, fact.checkpoint_id) {
                (Step::ChannelCut, Some(id)) => said.cuts.entry((fact.attempt, id)).or_default(),
                (Step::InFlight, Some(id)) => said.kept.entry((fact.attempt, id)).or_default(),
                (Step::Restore, id) => said.put_back.entry((fact.attempt, id)).or_default(),
                _ => continue,
            };
            match read(&fact.detail) {
                Ok((subtask, ends)) => {
                    by_subtask.insert(subtask, ends);
                }
                Err(problem) => said.unreadable.push(format!("  {problem}")),
            }
        }
        said
    }

    /// What all subtasks put back in an attempt.
    fn put_back_in(&self, attempt: Attempt) -> BySubtask {
        let of_attempt = self.put_back.iter().filter(|((of, _), _)| *of == attempt);
        of_attempt.flat_map(|(_, by_subtask)| by_subtask.clone()).collect()
    }
}

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    if model.config().checkpoints.mode == CheckpointingMode::AtLeastOnce {
        return Vec::new();
    }
    let said = Said::of(&history.facts);
    let metadata = history.completed.iter().filter_map(|(id, capture)| Some((*id, capture.metadata.as_ref().ok()?)));
    let taken_in: BTreeMap<CheckpointId, BTreeMap<&str, Attempt>> =
        metadata.map(|(id, metadata)| (id, history.attempts_in(metadata))).collect();
    let mut violations = Vec::new();
    let mut violation = |what: &str, sentence: String, evidence: Vec<String>| {
        if !evidence.is_empty() {
            let signature = format!("I22 {what}");
            violations.push(Violation {
                invariant: InvariantId::I22,
                sentence,
                signature,
                evidence: limited(evidence),
            });
        }
    };
    for (checkpoint_id, attempts) in &taken_in {
        let sentence = format!("Checkpoint {checkpoint_id} does not hold exactly what was under way.");
        let of_regions: BTreeSet<Attempt> = attempts.values().copied().collect();
        let wrong = of_regions.into_iter().flat_map(|attempt| wrong_cuts(&said, *checkpoint_id, attempt)).collect();
        violation("a cut that is not where the barriers are", sentence, wrong);
    }
    let mut evidence = Vec::new();
    let with_the_same_subtasks =
        said.put_back.iter().filter(|(_, by_subtask)| !by_subtask.values().any(|put_back| put_back.is_share));
    for ((attempt, checkpoint_id), by_subtask) in with_the_same_subtasks {
        let taken = checkpoint_id.and_then(|id| Some((taken_in.get(&id)?, id)));
        let kept = |subtask: &str| {
            let (attempts, id) = taken?;
            // Each is of one region, and so of other subtasks than the others.
            attempts.values().find_map(|attempt| said.kept.get(&(*attempt, id))?.get(subtask).cloned())
        };
        for (subtask, put_back) in by_subtask {
            let kept = kept(subtask).unwrap_or_default();
            if kept != *put_back {
                evidence.push(format!("- {subtask} in attempt {attempt}: {}", shown(&kept)));
                evidence.push(format!("+ {subtask} in attempt {attempt}: {}", shown(put_back)));
            }
        }
    }
    let sentence = "A subtask did not put back what its checkpoint kept of what was under way.".to_owned();
    violation("other data put back than was kept", sentence, evidence);
    let sentence = "What subtasks say of their channels cannot be read.".to_owned();
    violation("facts that cannot be read", sentence, said.unreadable);
    violations
}

/// The channels of which a checkpoint does not hold exactly what was under way.
fn wrong_cuts(said: &Said, checkpoint_id: CheckpointId, attempt: Attempt) -> Vec<String> {
    let of_all = |by_subtask: Option<&BySubtask>| {
        let mut all = Ends::default();
        for ends in by_subtask.into_iter().flat_map(BTreeMap::values).cloned() {
            all.inputs.extend(ends.inputs);
            all.outputs.extend(ends.outputs);
        }
        all
    };
    let Some(cut) = said.cuts.get(&(attempt, checkpoint_id)) else { return Vec::new() };
    // A sender that has finished takes part no more, and what it sent has left its outputs.
    let some_have_finished = said.put_back_in(attempt).keys().any(|subtask| !cut.contains_key(subtask));
    let cut = of_all(Some(cut));
    let kept = of_all(said.kept.get(&(attempt, checkpoint_id)));
    let put_back = of_all(Some(&said.put_back_in(attempt)));
    let channels: BTreeSet<&String> =
        [&cut, &kept, &put_back].into_iter().flat_map(|ends| ends.inputs.keys().chain(ends.outputs.keys())).collect();
    let of = |ends: &BTreeMap<String, ChannelDigest>, channel: &str| ends.get(channel).copied().unwrap_or_default();
    let mut wrong = Vec::new();
    for channel in channels {
        let (taken, sent) = (of(&cut.inputs, channel), of(&cut.outputs, channel));
        let (at_input, at_output) = (of(&kept.inputs, channel), of(&kept.outputs, channel));
        let given_back = of(&put_back.inputs, channel);
        if some_have_finished && !cut.outputs.contains_key(channel) {
            continue;
        }
        if taken.then(at_input).then(at_output) != given_back.then(sent) {
            wrong.push(format!("- {channel}: put back {given_back}, then sent {sent}"));
            wrong.push(format!(
                "+ {channel}: taken {taken}, then kept {at_input} at the input and {at_output} at the output"
            ));
        }
    }
    wrong
}

fn shown(ends: &Ends) -> String {
    let show = |end: &str, channels: &BTreeMap<String, ChannelDigest>| {
        channels.iter().map(|(channel, digest)| format!("{end} {channel}={digest}")).collect::<Vec<_>>()
    };
    let all = [show("in", &ends.inputs), show("out", &ends.outputs)].concat();
    if all.is_empty() { "nothing".to_owned() } else { all.join(" ") }
}
