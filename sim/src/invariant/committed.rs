//! Committed output: visible files, and when they appeared.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::id::CheckpointId;

use crate::{
    history::{Branch, CompletedCapture, FileRecord, FileRecordKind, History, OutputFile, RunEnd},
    model::{Model, Multiset, SinkModel, UpdatesDifference, layout, layout::FileTransaction, layout::VisibleName},
};

/// The visible files of a sink at the end, by subtask, checkpoint and name. What has no name of a file sink is not here.
pub(super) fn files<'a>(history: &'a History, sink: &str) -> Vec<(VisibleName, &'a OutputFile)> {
    let files = history.output.get(sink).into_iter().flatten();
    let mut named: Vec<_> = files.filter_map(|file| Some((VisibleName::parse(&file.name)?, file))).collect();
    named.sort_by_key(|(name, _)| (name.subtask_index, name.checkpoint_id, name.token));
    named
}

/// The lines that a sink has committed on a branch.
pub(super) fn lines_on(history: &History, sink: &str, branch: &Branch) -> Multiset {
    let files = files(history, sink).into_iter().filter(|(name, _)| branch.contains(name.checkpoint_id));
    files.flat_map(|(_, file)| file.lines.iter().cloned()).collect()
}

/// The same lines in their order, as far as one is kept: of one key, and whatever else goes through one subtask at a time.
fn ordered_lines_on<'a>(history: &'a History, sink: &str, branch: &Branch) -> Vec<&'a str> {
    let mut files = files(history, sink);
    files.retain(|(name, _)| branch.contains(name.checkpoint_id));
    files.sort_by_key(|(name, _)| (name.checkpoint_id, name.subtask_index, name.token));
    files.into_iter().flat_map(|(_, file)| file.lines.iter().map(String::as_str)).collect()
}

/// Whether everything before a snapshot must be visible in the end: of one that the job went back behind, or a savepoint that
/// it did not start from, only if what it holds has been committed. Judged of runs that finished.
pub(super) fn must_be_visible(
    history: &History,
    model: &Model,
    (checkpoint_id, capture): (CheckpointId, &CompletedCapture),
) -> bool {
    let all_visible = || {
        model.sinks().iter().all(|sink| {
            let visible: BTreeSet<&str> =
                history.output.get(&sink.name).into_iter().flatten().map(|file| file.name.as_str()).collect();
            let pending = pending(capture, &sink.name).into_iter().filter(|transaction| transaction.bytes > 0);
            pending.filter_map(|transaction| transaction.visible()).all(|name| visible.contains(name.as_str()))
        })
    };
    history.end == RunEnd::Finished && (history.is_on_last_branch(checkpoint_id, capture) || all_visible())
}

/// How the committed output of each sink differs from the model's.
pub(super) fn differences(history: &History, model: &Model) -> BTreeMap<String, UpdatesDifference> {
    differences_on(history, model, &history.last_branch())
}

/// The same of what was committed on another branch: lines may be missing there.
pub(super) fn differences_on(history: &History, model: &Model, branch: &Branch) -> BTreeMap<String, UpdatesDifference> {
    let actual = |sink: &str| lines_on(history, sink, branch);
    let exact = model.expected_output().iter().map(|(sink, expected)| {
        let actual = actual(sink);
        let repeated = |lines: Multiset| -> Vec<String> {
            lines.iter().flat_map(|(line, count)| (0..count).map(|_| line.to_owned())).collect()
        };
        let difference =
            UpdatesDifference { lost: repeated(expected.minus(&actual)), extra: repeated(actual.minus(expected)) };
        (sink.clone(), difference)
    });
    let updates = model.updates().iter().map(|(sink, updates)| (sink.clone(), updates.difference(&actual(sink))));
    let certain =
        model.certain().iter().map(|(sink, certain)| (sink.clone(), certain.difference(&actual(sink), history.clocks)));
    let processed = model.processed().iter().map(|(sink, processed)| {
        let lines = ordered_lines_on(history, sink, branch);
        (sink.clone(), processed.difference(lines, history.clocks))
    });
    exact.chain(updates).chain(certain).chain(processed).collect()
}

/// How many lines are there once more because the job went back behind them.
pub(crate) fn repeated(history: &History, model: &Model) -> usize {
    let branch = history.last_branch();
    let files = model.sinks().iter().flat_map(|sink| files(history, &sink.name));
    files.filter(|(name, _)| !branch.contains(name.checkpoint_id)).map(|(_, file)| file.lines.len()).sum()
}

/// The sink in whose directory a file lies, with the file's name there: not files in directories further down.
pub(super) fn in_directory<'a>(model: &'a Model, path: &'a std::path::Path) -> Option<(&'a SinkModel, &'a str)> {
    let (directory, name) = (path.parent()?, path.file_name()?.to_str()?);
    let sink = model.sinks().iter().find(|sink| layout::same_path(&sink.directory, directory))?;
    (name != layout::STAGING).then_some((sink, name))
}

/// The sink into whose staging directory a file lies, with the file's name there.
pub(super) fn in_staging<'a>(model: &'a Model, path: &'a std::path::Path) -> Option<(&'a SinkModel, &'a str)> {
    let (staging, name) = (path.parent()?, path.file_name()?.to_str()?);
    let sink = model.sinks().iter().find(|sink| layout::same_path(&sink.directory.join(layout::STAGING), staging))?;
    Some((sink, name))
}

/// A file event that makes something visible in a sink's directory.
pub(super) fn appears(record: &FileRecord) -> bool {
    match record.kind {
        FileRecordKind::Created | FileRecordKind::Named { .. } => true,
        FileRecordKind::Removed => false,
    }
}

/// Which transactions completed checkpoints hold, and since when: these and no others may be committed.
///
/// A transaction that was pre-committed for a checkpoint that failed belongs to the next one that is completed, but keeps
/// its number. So the state of checkpoints decides, not the number.
#[derive(Debug, Default)]
pub(super) struct Decided {
    by_staged: BTreeMap<String, u64>,
    by_visible: BTreeMap<(String, String), u64>,
    /// Since when there is a completed checkpoint that cannot be read because storage lied: it may hold anything.
    unread: Option<u64>,
}

impl Decided {
    pub(super) fn of(history: &History, model: &Model) -> Self {
        let mut decided = Self::default();
        let completed = history.completed.values().map(|capture| (capture.sequence, capture));
        // What a run is started from is its newest checkpoint from then on.
        for (sequence, capture) in completed.chain(history.starts()) {
            if history.storage_lied && !capture.is_whole() {
                decided.unread = Some(decided.unread.map_or(sequence, |unread| unread.min(sequence)));
            }
            for sink in model.sinks() {
                for transaction in pending(capture, &sink.name) {
                    if let Some(visible) = transaction.visible() {
                        keep_first(&mut decided.by_visible, (sink.name.clone(), visible), sequence);
                    }
                    keep_first(&mut decided.by_staged, transaction.staged, sequence);
                }
            }
        }
        decided
    }

    /// Since when the transaction with this staged file may be committed.
    pub(super) fn staged(&self, staged: &str) -> Option<u64> {
        self.by_staged.get(staged).copied().or(self.unread)
    }

    /// Since when this file of a sink may be visible.
    pub(super) fn visible(&self, sink: &str, name: &str) -> Option<u64> {
        self.by_visible.get(&(sink.to_owned(), name.to_owned())).copied().or(self.unread)
    }
}

fn keep_first<K: Ord>(sequences: &mut BTreeMap<K, u64>, key: K, sequence: u64) {
    let first = sequences.entry(key).or_insert(sequence);
    *first = sequence.min(*first);
}

/// The transactions of a sink that a checkpoint holds. What cannot be read is the matter of another invariant.
pub(super) fn pending(capture: &CompletedCapture, sink: &str) -> Vec<FileTransaction> {
    let uid = layout::uid(sink);
    let snapshots = capture.state.values().filter_map(|operators| operators.get(&uid)?.as_ref().ok());
    let pending = snapshots.flat_map(|snapshot| layout::pending(snapshot).unwrap_or_default());
    pending.map(|(_, transaction)| transaction).collect()
}
