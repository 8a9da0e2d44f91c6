//! Committed output: visible files, and when they appeared.

use std::collections::BTreeMap;

use tidegate::id::CheckpointId;

use crate::{
    history::{CompletedCapture, FileRecord, FileRecordKind, History, OutputFile},
    model::{Model, Multiset, SinkModel, UpdatesDifference, layout, layout::FileTransaction, layout::VisibleName},
};

/// The visible files of a sink at the end, by subtask, checkpoint and name. What has no name of a file sink is not here.
pub(super) fn files<'a>(history: &'a History, sink: &str) -> Vec<(VisibleName, &'a OutputFile)> {
    let files = history.output.get(sink).into_iter().flatten();
    let mut named: Vec<_> = files.filter_map(|file| Some((VisibleName::parse(&file.name)?, file))).collect();
    named.sort_by_key(|(name, _)| (name.subtask_index, name.checkpoint_id, name.token));
    named
}

/// The lines that a sink has committed, up to and including a checkpoint.
pub(super) fn lines_up_to(history: &History, sink: &str, checkpoint_id: CheckpointId) -> Multiset {
    let files = files(history, sink).into_iter().filter(|(name, _)| name.checkpoint_id <= checkpoint_id);
    files.flat_map(|(_, file)| file.lines.iter().cloned()).collect()
}

/// How the committed output of each sink differs from the model's.
pub(super) fn differences(history: &History, model: &Model) -> BTreeMap<String, UpdatesDifference> {
    let actual = |sink: &str| lines_up_to(history, sink, CheckpointId(u64::MAX));
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
    let certain = model.certain().iter().map(|(sink, certain)| (sink.clone(), certain.difference(&actual(sink))));
    exact.chain(updates).chain(certain).collect()
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
}

impl Decided {
    pub(super) fn of(history: &History, model: &Model) -> Self {
        let mut decided = Self::default();
        for capture in history.completed.values() {
            for sink in model.sinks() {
                for transaction in pending(capture, &sink.name) {
                    if let Some(visible) = transaction.visible() {
                        keep_first(&mut decided.by_visible, (sink.name.clone(), visible), capture.sequence);
                    }
                    keep_first(&mut decided.by_staged, transaction.staged, capture.sequence);
                }
            }
        }
        decided
    }

    /// Since when the transaction with this staged file may be committed.
    pub(super) fn staged(&self, staged: &str) -> Option<u64> {
        self.by_staged.get(staged).copied()
    }

    /// Since when this file of a sink may be visible.
    pub(super) fn visible(&self, sink: &str, name: &str) -> Option<u64> {
        self.by_visible.get(&(sink.to_owned(), name.to_owned())).copied()
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
