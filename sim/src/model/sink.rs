//! File sinks as the model sees them: where they write, and what lines mean.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use tidegate::pipeline::{Delivery, Format, Plan, Row, Schema, SinkKind, Stream};

use super::{ModelError, Multiset, Place, check, evaluate::Evaluation, layout, lines, records::Record};

/// A file sink.
#[derive(Debug, Clone)]
pub struct SinkModel {
    /// Its name.
    pub name: String,
    /// Where its files become visible.
    pub directory: PathBuf,
    /// The place of each line that stands for one place only, where the order of lines is kept.
    pub places: BTreeMap<String, Place>,
    pub(super) inputs: Vec<Stream>,
    pub(super) format: Format,
    pub(super) schema: Schema,
    /// Whether it is downstream of a window or final aggregate.
    pub(super) holds_back: bool,
    /// Whether the order of lines is kept.
    pub(super) is_ordered: bool,
}

/// The file sinks of a plan.
pub(super) fn of(
    plan: &Plan,
    evaluation: &Evaluation,
    sources: &[Vec<Arc<Record>>],
) -> Result<Vec<SinkModel>, ModelError> {
    let mut sinks: Vec<SinkModel> = Vec::new();
    for sink in &plan.sinks {
        let SinkKind::File(file) = &sink.kind else { continue };
        let unknown = |what| Err(ModelError::not_modelled(&sink.name, what));
        if file.delivery != Delivery::ExactlyOnce {
            return unknown("delivery that is not exactly once");
        }
        if sink.inputs.iter().any(|input| matches!(input, Stream::Late(_))) {
            return unknown("late records as an input");
        }
        let directory = PathBuf::from(&file.path);
        if sinks.iter().any(|other| layout::same_path(&other.directory, &directory)) {
            return unknown("a directory that another sink has as well");
        }
        let mut model = SinkModel {
            name: sink.name.clone(),
            directory,
            places: BTreeMap::new(),
            inputs: sink.inputs.clone(),
            format: file.format,
            schema: sink.schema.clone(),
            holds_back: sink.inputs.iter().any(|input| check::holds_back(plan, *input)),
            is_ordered: check::exchanges_into(plan, &sink.inputs, sink.parallelism) <= 1,
        };
        if model.updated_by(plan).is_some() && sink.inputs.len() > 1 {
            return unknown("the updates of an aggregate beside other inputs");
        }
        if model.is_ordered {
            model.places = model.places_of(&evaluation.records(&sink.inputs, sources));
        }
        sinks.push(model);
    }
    Ok(sinks)
}

impl SinkModel {
    /// The running aggregate whose updates it takes, if which updates there are depends on the run.
    pub(super) fn updated_by(&self, plan: &Plan) -> Option<usize> {
        self.inputs.iter().find_map(|input| check::interleaved_updates(plan, *input))
    }

    /// The lines of records. A record whose text has line breaks is several.
    pub(super) fn lines(&self, records: &[Arc<Record>]) -> Multiset {
        records.iter().flat_map(|record| self.lines_of(&record.row)).collect()
    }

    fn lines_of(&self, row: &Row) -> Vec<String> {
        lines::write(self.format, &self.schema, row).split('\n').map(str::to_owned).collect()
    }

    pub(super) fn read(&self, line: &str) -> Option<Row> {
        lines::read(self.format, &self.schema, line)
    }

    fn places_of(&self, records: &[Arc<Record>]) -> BTreeMap<String, Place> {
        let mut places = BTreeMap::new();
        let mut ambiguous = BTreeSet::new();
        for record in records {
            let Some(place) = &record.place else { continue };
            for line in self.lines_of(&record.row) {
                if places.insert(line.clone(), place.clone()).is_some() {
                    ambiguous.insert(line);
                }
            }
        }
        places.retain(|line, _| !ambiguous.contains(line));
        places
    }
}
