//! What the user is told while a job runs, and what is counted for the end: an observer of the protocol's facts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    event::{Directive, Fact, Moment, Observer, Step, Subject},
    id::CheckpointId,
};

/// Tells and counts.
pub(super) struct Narrator {
    /// Who speaks: the job or the task manager.
    name: String,
    /// Where the job's own checkpoints are.
    directory: Option<PathBuf>,
    /// A checkpoint to start from, if the job has none of its own.
    given: Option<PathBuf>,
    registration: Registration,
    seen: Mutex<Seen>,
}

/// Whether it matters to the user that a task manager found its job manager.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Registration {
    Told,
    Silent,
}

#[derive(Default)]
struct Seen {
    /// The job's newest completed checkpoint.
    newest: Option<CheckpointId>,
    deployments: u64,
    late_records: u64,
    bad_records: BadRecords,
}

/// Bad records by their places, so that one that is read again after a restart counts once.
#[derive(Default)]
struct BadRecords {
    /// By source: the bytes at which they start.
    places: BTreeMap<String, BTreeSet<u64>>,
    /// Those that do not say where they are.
    elsewhere: u64,
    /// The first ones, in full.
    examples: Vec<String>,
}

const EXAMPLES: usize = 3;

impl Narrator {
    /// For the process of a job, with the places of the job's checkpoints and its newest one.
    pub fn of_job(
        name: impl Into<String>,
        directory: Option<PathBuf>,
        newest: Option<CheckpointId>,
        given: Option<PathBuf>,
    ) -> Self {
        let seen = Mutex::new(Seen { newest, ..Seen::default() });
        Self { name: name.into(), directory, given, registration: Registration::Silent, seen }
    }

    /// For the process of a task manager.
    pub fn of_task_manager(name: impl Into<String>) -> Self {
        Self { registration: Registration::Told, ..Self::of_job(name, None, None, None) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job's newest completed checkpoint.
    pub fn newest_checkpoint(&self) -> Option<CheckpointId> {
        self.seen().newest
    }

    /// What was left out, one line each; nothing if nothing was.
    pub fn left_out(&self) -> String {
        let seen = self.seen();
        let mut text = String::new();
        let bad = seen.bad_records.count();
        if bad > 0 {
            let _ = writeln!(text, "  bad records skipped: {bad}");
            for example in &seen.bad_records.examples {
                let _ = writeln!(text, "    {example}");
            }
            if bad > seen.bad_records.examples.len() as u64 {
                let _ = writeln!(text, "    … (--verbose lists all)");
            }
        }
        if seen.late_records > 0 {
            let again = if seen.deployments > 1 { " (once more for each time that a restart read them)" } else { "" };
            let _ = writeln!(text, "  late records dropped: {}{again}", seen.late_records);
        }
        text
    }

    fn deployed_from(&self, checkpoint_id: Option<CheckpointId>) {
        let mut seen = self.seen();
        seen.deployments += 1;
        let again = seen.deployments > 1;
        let own = seen.newest.is_some();
        drop(seen);
        let verb = match (again, own) {
            (true, _) => "restarts",
            (false, true) => "resumes unfinished work",
            (false, false) => "starts",
        };
        let place = match checkpoint_id {
            Some(id) if own => self.directory.as_ref().map(|directory| directory.join(format!("chk-{id}"))),
            Some(_) => self.given.clone(),
            None => None,
        };
        let place = place.map(|place| format!(" ({})", place.display())).unwrap_or_default();
        match checkpoint_id {
            Some(id) => eprintln!("{}: {verb} from checkpoint {id}{place}", self.name),
            None => eprintln!("{}: {verb} from the beginning", self.name),
        }
    }
}

impl Observer for Narrator {
    fn observe(&self, fact: &Fact<'_>) -> Directive {
        match (fact.moment, fact.step) {
            (Moment::After, Step::Register) if self.registration == Registration::Told => {
                eprintln!("{}: registered with the job manager", self.name);
            }
            (Moment::Before, Step::Deploy) => self.deployed_from(fact.checkpoint_id),
            (Moment::After, Step::Completion) => self.seen().newest = fact.checkpoint_id,
            (Moment::After, Step::LateRecord) => self.seen().late_records += 1,
            (Moment::After, Step::BadRecord) => self.seen().bad_records.add(fact.subject, fact.detail),
            _ => {}
        }
        Directive::Continue
    }
}

impl BadRecords {
    fn add(&mut self, subject: &Subject, detail: &str) {
        let source = subject.subtask.as_deref().and_then(|name| name.split('#').next()).unwrap_or_default();
        let new = match byte_of(detail) {
            Some(byte) => self.places.entry(source.to_owned()).or_default().insert(byte),
            None => {
                self.elsewhere += 1;
                true
            }
        };
        if new && self.examples.len() < EXAMPLES {
            self.examples.push(detail.to_owned());
        }
    }

    fn count(&self) -> u64 {
        self.places.values().map(|bytes| bytes.len() as u64).sum::<u64>() + self.elsewhere
    }
}

/// The byte in `PATH:LINE at byte BYTE: DEFECT`.
fn byte_of(detail: &str) -> Option<u64> {
    detail.split_once(" at byte ")?.1.split_once(':')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Narrator;
    use crate::{
        event::{Moment, Observer, Reporter, Step, Subject},
        id::Attempt,
    };

    #[test]
    fn a_bad_record_that_is_read_again_counts_once() {
        let narrator = Arc::new(Narrator::of_job("job", None, None, None));
        let observer: Arc<dyn Observer> = narrator.clone();
        let reporter = Reporter::new(Subject::node("taskmanager-1"), Attempt(1), observer).subtask("in#0", Attempt(1));
        for detail in ["f.csv:3 at byte 20: no", "f.csv at byte 20: no", "f.csv:4 at byte 30: no: at byte 7: no"] {
            reporter.note(Moment::After, Step::BadRecord, None, detail);
        }
        reporter.note(Moment::Before, Step::BadRecord, None, "f.csv:5 at byte 40: no");
        let expected =
            "  bad records skipped: 2\n    f.csv:3 at byte 20: no\n    f.csv:4 at byte 30: no: at byte 7: no\n";
        assert_eq!(narrator.left_out(), expected);
    }
}
