//! I16 NoLeak: opened = committed + aborted + live, for transactions and for files.
//!
//! No transaction is both committed and aborted. When the job has finished none is live: no staged file is left, no
//! checkpoint that is not the user's, nothing of a savepoint that came to nothing, no file that checkpoints shared, and no
//! copy of state on a task manager's own disk; directories of checkpoints and savepoints count if they are empty, too. The former is judged of every run, the latter of runs that finished. A
//! transaction of a dead attempt is aborted by whoever removes its file, without a fact.
//! Source: FLINK-13941; the ledger of Flink `TwoPhaseCommitSinkFunction`.

use std::collections::BTreeSet;

use tidegate::event::{Moment, Step};

use super::{InvariantId, Violation, committed, limited, ownership::Owned};
use crate::{
    history::{FileRecordKind, History, RunEnd},
    model::{
        Model,
        layout::{StagedName, VisibleName},
    },
};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let mut violations = Vec::new();
    violations.extend(violation("transactions were both committed and aborted", settled_twice(history, model)));
    violations.extend(violation("transactions were settled that nobody had opened", never_opened(history)));
    if history.end == RunEnd::Finished {
        violations.extend(violation("staged files are left", staged(history)));
        violations.extend(violation("checkpoints are left that nobody needs", checkpoints(history, model)));
        violations.extend(violation("savepoints are left that came to nothing", savepoints(history, model)));
        violations.extend(violation("shared files are left that no checkpoint refers to", shared_files(history)));
        let copies = history.copies_left.iter().map(|copy| format!("+ {copy}")).collect();
        violations.extend(violation("copies of state are left on the disks of task managers", copies));
    }
    if history.end == RunEnd::Cancelled && !history.disturbed {
        // Nobody comes after a cancelled job and sweeps; what was pre-committed may belong to a checkpoint.
        violations.extend(violation("open transactions are left by a cancelled job", left_open(history)));
        violations.extend(violation("checkpoints are left that nobody needs", checkpoints(history, model)));
    }
    violations
}

/// Staged files of transactions that were open to the end.
fn left_open(history: &History) -> Vec<String> {
    let pre_committed: BTreeSet<&str> = history
        .facts
        .iter()
        .filter(|fact| fact.step == Step::PreCommit && fact.moment == Moment::Before)
        .map(|fact| fact.detail.as_str())
        .collect();
    let left = history.staged_left.values().flatten().filter(|name| !pre_committed.contains(name.as_str()));
    left.map(|name| format!("+ {name}")).collect()
}

fn violation(what: &str, evidence: Vec<String>) -> Option<Violation> {
    (!evidence.is_empty()).then(|| Violation {
        invariant: InvariantId::I16,
        sentence: format!("{} {what}.", evidence.len()),
        signature: format!("I16 {what}"),
        evidence: limited(evidence),
    })
}

/// The transactions of these steps, by the name of the staged file.
fn transactions<'a>(history: &'a History, steps: &'a [Step]) -> impl Iterator<Item = &'a str> {
    let facts = history.facts.iter().filter(|fact| fact.moment == Moment::After && steps.contains(&fact.step));
    facts.map(|fact| fact.detail.as_str())
}

fn settled_twice(history: &History, model: &Model) -> Vec<String> {
    let branch = history.last_branch();
    let aborted: BTreeSet<&str> = transactions(history, &[Step::Abort, Step::RecoverAndAbort]).collect();
    let committed = history.files.iter().filter_map(|record| {
        let FileRecordKind::Named { from } = &record.kind else { return None };
        let (_, staged) = committed::in_staging(model, from)?;
        let (_, name) = committed::in_directory(model, &record.path)?;
        // A job that goes back to an older checkpoint gives up what that held open; what has become of it stays.
        let stays = VisibleName::parse(name).is_some_and(|name| !branch.contains(name.checkpoint_id));
        (!stays).then_some(staged)
    });
    let twice: BTreeSet<&str> = committed.filter(|staged| aborted.contains(staged)).collect();
    twice.into_iter().map(|staged| format!("! {staged}")).collect()
}

fn never_opened(history: &History) -> Vec<String> {
    let opened: BTreeSet<&str> = transactions(history, &[Step::BeginTransaction]).collect();
    let settled = transactions(history, &[Step::Commit, Step::RecoverAndCommit, Step::Abort, Step::RecoverAndAbort]);
    let strange: BTreeSet<&str> = settled.filter(|staged| !opened.contains(staged)).collect();
    strange.into_iter().map(|staged| format!("! {staged}")).collect()
}

fn staged(history: &History) -> Vec<String> {
    let left = history.staged_left.iter().flat_map(|(sink, names)| names.iter().map(move |name| (sink, name)));
    left.map(|(sink, name)| {
        let attempt =
            StagedName::parse(name).map(|staged| format!(" of attempt {}", staged.attempt)).unwrap_or_default();
        format!("+ {name}{attempt} in {sink}")
    })
    .collect()
}

fn checkpoints(history: &History, model: &Model) -> Vec<String> {
    let user = Owned::by_user(history, model);
    let left = history.checkpoints_left.iter().filter(|checkpoint_id| !user.may_be_there.contains(checkpoint_id));
    left.map(|checkpoint_id| format!("+ checkpoint {checkpoint_id}")).collect()
}

fn savepoints(history: &History, model: &Model) -> Vec<String> {
    let user = Owned::by_user(history, model);
    let left = history.savepoints_left.iter().filter(|directory| {
        let directory = directory.as_path();
        !user.savepoints.contains(directory) && !user.other_savepoints.contains(directory)
    });
    left.map(|directory| format!("+ {}", shown(directory))).collect()
}

/// The directory of a savepoint, without what is random in it.
fn shown(directory: &std::path::Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-').map_or_else(|| name.to_string(), |(name, _)| name.to_owned())
}

fn shared_files(history: &History) -> Vec<String> {
    let kept = history.completed_at_end.values().flat_map(|capture| capture.shared_files().map(|file| &file.name));
    let kept: BTreeSet<&String> = kept.collect();
    history.shared_left.iter().filter(|name| !kept.contains(name)).map(|name| format!("+ {name}")).collect()
}
