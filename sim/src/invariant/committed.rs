//! Committed output: visible files, and when they appeared.

use std::collections::BTreeMap;

use tidegate::id::CheckpointId;

use crate::{
    history::{FileRecord, FileRecordKind, History, OutputFile},
    model::{Model, Multiset, SinkModel, UpdatesDifference, layout, layout::VisibleName},
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
    exact.chain(updates).collect()
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

/// Whether a checkpoint had been completed before something happened.
pub(super) fn completed_before(history: &History, checkpoint_id: CheckpointId, sequence: u64) -> bool {
    history.completed.get(&checkpoint_id).is_some_and(|completed| completed.sequence < sequence)
}
