//! File sinks as the model sees them: where they write, and what lines mean.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use tidegate::pipeline::{Delivery, Format, Plan, Row, Schema, SinkKind, Stream};

use super::{
    ModelError, Multiset, Place, check, evaluate::Evaluation, layout, lines, records::Record, script::ScriptModel,
};

/// A file sink.
#[derive(Debug, Clone)]
pub struct SinkModel {
    /// Its name.
    pub name: String,
    /// Where its files become visible.
    pub directory: PathBuf,
    /// The place of each line that stands for one place only, where the order of lines is kept.
    pub places: BTreeMap<String, Place>,
    /// Its number among the sinks of the plan.
    pub(super) index: usize,
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
    let mut sinks = file_sinks(plan)?;
    for (_, model) in &mut sinks {
        let unknown = |what| Err(ModelError::not_modelled(&model.name, what));
        if model.inputs.iter().any(|input| matches!(input, Stream::Late(_))) {
            return unknown("late records as an input");
        }
        if model.updated_by(plan).is_some() && model.inputs.len() > 1 {
            return unknown("the updates of an aggregate beside other inputs");
        }
        model.holds_back = model.inputs.iter().any(|input| check::holds_back(plan, *input));
        if model.is_ordered {
            model.places = model.places_of(&evaluation.records(&model.inputs, sources));
        }
    }
    Ok(sinks.into_iter().map(|(_, model)| model).collect())
}

/// The file sinks of a plan whose sources are scripts.
pub(super) fn of_scripts(plan: &Plan, script: &ScriptModel) -> Result<Vec<SinkModel>, ModelError> {
    let mut sinks = file_sinks(plan)?;
    for (index, model) in &mut sinks {
        model.index = *index;
        model.is_ordered = script.is_sequential();
        if model.is_ordered {
            model.places = model.places_of(&script.records(*index));
        }
    }
    Ok(sinks.into_iter().map(|(_, model)| model).collect())
}

/// The file sinks with their numbers among all sinks.
fn file_sinks(plan: &Plan) -> Result<Vec<(usize, SinkModel)>, ModelError> {
    let mut sinks: Vec<(usize, SinkModel)> = Vec::new();
    for (index, sink) in plan.sinks.iter().enumerate() {
        let SinkKind::File(file) = &sink.kind else { continue };
        let unknown = |what| Err(ModelError::not_modelled(&sink.name, what));
        if file.delivery != Delivery::ExactlyOnce {
            return unknown("delivery that is not exactly once");
        }
        let directory = PathBuf::from(&file.path);
        if sinks.iter().any(|(_, other)| layout::same_path(&other.directory, &directory)) {
            return unknown("a directory that another sink has as well");
        }
        let model = SinkModel {
            name: sink.name.clone(),
            directory,
            places: BTreeMap::new(),
            index,
            inputs: sink.inputs.clone(),
            format: file.format,
            schema: sink.schema.clone(),
            holds_back: false,
            is_ordered: check::exchanges_into(plan, &sink.inputs, sink.parallelism) <= 1,
        };
        sinks.push((index, model));
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

    pub(super) fn lines_of(&self, row: &Row) -> Vec<String> {
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
