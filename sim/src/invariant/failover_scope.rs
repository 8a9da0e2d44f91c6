//! I23 FailoverScope: a failure restarts the regions of what failed, and nothing else.
//!
//! The subtasks that exchange data fail together; the graph of the job says which these are. Whenever the job manager stops
//! subtasks it says which, and because of which. The former are the regions of the latter; all are stopped only if nobody in
//! particular failed: a checkpoint, or all that stand still for a savepoint. Whenever it deploys an attempt it says of which
//! subtasks: between two attempts of a subtask under one leader it was stopped, whether anybody ever heard of the first or
//! not, and no subtask runs that was not deployed. So whoever is not named has gone on. Judged of every run, by facts.
//! Source: Flink `RestartPipelinedRegionFailoverStrategy`, FLIP-1.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::{
    config::FailoverStrategy,
    event::{Moment, Step},
    id::{Attempt, Epoch},
};

use super::{InvariantId, Violation, describe, limited};
use crate::{history::History, model::Model, regions::Regions};

/// Who was stopped because of whom: subtasks by the numbers of their vertices and their own.
struct Stop<'a> {
    stopped: BTreeSet<&'a str>,
    failed: BTreeSet<&'a str>,
    reason: &'a str,
}

/// Reads what a job manager of several regions says of a failure; `None` if it says nothing of them.
fn read(detail: &str) -> Option<Stop<'_>> {
    let mut words = detail.splitn(3, ' ');
    let mut subtasks = |prefix: &str| {
        let subtasks = words.next()?.strip_prefix(prefix)?;
        Some(if subtasks == "none" { BTreeSet::new() } else { subtasks.split(',').collect() })
    };
    let (stopped, failed) = (subtasks("stopped=")?, subtasks("failed=")?);
    Some(Stop { stopped, failed, reason: words.next().unwrap_or_default() })
}

/// Reads what a job manager of several regions says of a deployment: the attempt, and its subtasks.
fn read_deployment(detail: &str) -> Option<(Attempt, impl Iterator<Item = &str>)> {
    let (attempt, deployed) = detail.strip_prefix("attempt=")?.split_once(" deployed=")?;
    Some((Attempt(attempt.parse().ok()?), deployed.split(',')))
}

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let regions = Regions::of(&history.graph);
    if regions.count() < 2 || model.config().failover_strategy == Some(FailoverStrategy::Full) {
        return Vec::new();
    }
    let (mut wrong_scope, mut not_stopped) = (Vec::new(), Vec::new());
    // The attempts that each leader has deployed of each subtask, and whether it has stopped it since.
    let mut deployed: BTreeMap<(Epoch, &str), BTreeSet<Attempt>> = BTreeMap::new();
    let mut runs_on: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut epochs: BTreeMap<&str, Epoch> = BTreeMap::new();
    // The tasks have been told to stop with a savepoint: until they have failed they stand still.
    let mut stand_still = false;
    // Who has run under each leader.
    let mut ran: BTreeSet<(Epoch, &str)> = BTreeSet::new();
    for fact in &history.facts {
        let node = &*fact.node;
        match (fact.step, fact.moment) {
            (Step::FailOver, Moment::Before) => match read(&fact.detail) {
                None => wrong_scope.push(describe(fact)),
                Some(stop) => {
                    let newest = ran.last().map(|(epoch, _)| *epoch).unwrap_or_default();
                    let for_savepoint = stop.failed.is_empty() && stop.reason.contains("stand still for a savepoint");
                    if !is_right(&stop, &regions, |subtask| ran.contains(&(newest, subtask)))
                        || for_savepoint && !stand_still
                    {
                        wrong_scope.push(describe(fact));
                    }
                    stand_still &= !for_savepoint;
                    runs_on.retain(|(leader, subtask)| *leader != node || !stop.stopped.contains(subtask));
                }
            },
            (Step::Trigger, Moment::Before) => {
                let asked = fact.checkpoint_id.and_then(|id| history.savepoints_begun.get(&id));
                stand_still |= asked.is_some_and(|asked| asked.stops_with_savepoint());
            }
            (Step::Deploy, Moment::Before) => {
                let Some((attempt, subtasks)) = read_deployment(&fact.detail) else { continue };
                // A new leadership begins with nothing, also in the same process.
                if epochs.insert(node, attempt.epoch()) != Some(attempt.epoch()) {
                    runs_on.retain(|(leader, _)| *leader != node);
                }
                let mut ran_on = 0;
                for subtask in subtasks {
                    deployed.entry((attempt.epoch(), subtask)).or_default().insert(attempt);
                    ran_on += usize::from(!runs_on.insert((node, subtask)));
                }
                not_stopped.extend((ran_on > 0).then(|| describe(fact)));
            }
            (Step::Restore, Moment::After) => {
                let subtask = fact.detail.split(' ').next().unwrap_or_default();
                let epoch = fact.attempt.epoch();
                ran.insert((epoch, subtask));
                // With another parallelism the job may be one region, of which nothing is said.
                let is_said = deployed.keys().any(|(of, _)| *of == epoch);
                if is_said && !deployed.get(&(epoch, subtask)).is_some_and(|all| all.contains(&fact.attempt)) {
                    not_stopped.push(describe(fact));
                }
            }
            _ => {}
        }
    }
    let violation = |what: &str, sentence: &str, evidence: Vec<String>| {
        (!evidence.is_empty()).then(|| Violation {
            invariant: InvariantId::I23,
            sentence: sentence.to_owned(),
            signature: format!("I23 {what}"),
            evidence: limited(evidence),
        })
    };
    let wrong_scope = violation("other tasks stopped", "A failure did not stop exactly its regions.", wrong_scope);
    let sentence = "A subtask started again that no failure had stopped.";
    wrong_scope.into_iter().chain(violation("an untouched region restarted", sentence, not_stopped)).collect()
}

/// Whether it is the regions of what failed that are stopped. After a change of the parallelism there are others than the
/// graph says: subtasks that it does not know, or that have not run, are not judged.
fn is_right(stop: &Stop<'_>, regions: &Regions, has_run: impl Fn(&str) -> bool) -> bool {
    if stop.failed.is_empty() {
        // Nobody in particular: a checkpoint.
        return stop.reason.contains("checkpoint") || stop.reason.contains("savepoint");
    }
    let expected = regions.with(stop.failed.iter().copied());
    let no_other = |subtask: &&str| expected.contains(subtask) || regions.number(subtask).is_none();
    let none_left = |subtask: &&str| stop.stopped.contains(subtask) || !has_run(subtask);
    stop.stopped.iter().all(no_other) && expected.iter().all(none_left)
}
