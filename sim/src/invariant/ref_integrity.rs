//! I15 RefIntegrity: every file that a completed checkpoint names exists with its checksum.
//!
//! At the moment of its completion a checkpoint's metadata and all state that it names can be read. Judged of every run.
//! Until the job has ended, no file is deleted that a retained one shares with others. What belongs to the user is there at
//! the end as it was: savepoints, and checkpoints that were kept when the job was cancelled, unless the job has claimed them.
//! Source: FLINK-21351, FLINK-25395.

use super::{InvariantId, Violation, limited, ownership::Owned};
use crate::{history::History, model::Model};

pub(super) fn judge(history: &History, model: &Model) -> Vec<Violation> {
    let mut violations = Vec::new();
    // Of a storage that lies nobody can say at that moment whether what it took is there.
    if history.storage_lied {
        return violations;
    }
    for (checkpoint_id, capture) in &history.completed {
        let metadata = capture.metadata.as_ref().err().map(|error| format!("! metadata: {error}"));
        let state = capture.state.iter().flat_map(|(subtask, operators)| {
            let unreadable = operators.iter().filter_map(|(uid, state)| Some((uid, state.as_ref().err()?)));
            unreadable.map(move |(uid, error)| format!("! {uid} of {subtask}: {error}"))
        });
        let in_flight = capture.in_flight.iter().filter_map(|(subtask, state)| Some((subtask, state.as_ref().err()?)));
        let in_flight = in_flight.map(|(subtask, error)| format!("! data under way at {subtask}: {error}"));
        let evidence = limited(metadata.into_iter().chain(state).chain(in_flight));
        if !evidence.is_empty() {
            let what = if capture.metadata.is_err() { "metadata" } else { "state" };
            violations.push(Violation {
                invariant: InvariantId::I15,
                sentence: format!("Checkpoint {checkpoint_id} was completed with {what} that cannot be read."),
                signature: format!("I15 unreadable {what}"),
                evidence,
            });
        }
    }
    for (directory, savepoint) in &history.savepoints {
        if !savepoint.capture.is_whole() {
            violations.push(lost("A savepoint was complete, and cannot be read.", "unreadable savepoint", directory));
        }
    }
    let user = Owned::by_user(history, model);
    for directory in &user.savepoints {
        let savepoint = history.savepoints.get(*directory);
        let same = savepoint.is_some_and(|it| it.at_end.as_ref().is_some_and(|end| end.holds_what(&it.capture)));
        if !same {
            violations.push(lost("A savepoint of the user is gone, or is not what it was.", "savepoint", directory));
        }
    }
    for checkpoint_id in &user.must_be_there {
        let at_end = history.completed_at_end.get(checkpoint_id);
        let same = at_end.zip(history.completed.get(checkpoint_id)).is_some_and(|(end, then)| end.holds_what(then));
        if !same {
            let directory = std::path::PathBuf::from(format!("chk-{checkpoint_id}"));
            violations.push(lost(
                "A checkpoint that was kept for the user is gone, or is not what it was.",
                "retained checkpoint",
                &directory,
            ));
        }
    }
    // What a run deletes when it has ended it may delete.
    let running = |sequence: u64| {
        let run = history.runs.get(history.run_at(sequence));
        let ended = run.map_or(history.job_ended, |run| run.ended.map(|(ended, _)| ended));
        ended.is_none_or(|ended| sequence < ended)
    };
    for (sequence, name) in history.shared_removed.iter().filter(|(sequence, _)| running(*sequence)) {
        let retained = history.retained_at(*sequence, model);
        let needed_by = retained.filter(|(_, capture)| capture.shared_files().any(|file| file.name == *name));
        violations.extend(needed_by.map(|(checkpoint_id, _)| Violation {
            invariant: InvariantId::I15,
            sentence: format!("Checkpoint {checkpoint_id} was retained, and a file that it shares was deleted."),
            signature: "I15 missing shared files".to_owned(),
            evidence: vec![format!("- {name}")],
        }));
    }
    violations
}

fn lost(sentence: &str, what: &str, directory: &std::path::Path) -> Violation {
    Violation {
        invariant: InvariantId::I15,
        sentence: sentence.to_owned(),
        signature: format!("I15 lost {what}"),
        evidence: vec![format!("- {}", directory.display())],
    }
}
