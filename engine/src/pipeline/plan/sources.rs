//! The checks of sources.

use super::{
    PlannedSource,
    checks::{check_event_time, unique_fields},
    planner::Planner,
};
use crate::pipeline::{
    model::{CollectionSource, CsvSource, GeneratorSource, ScriptAction, ScriptSource, Source, SourceKind},
    problem::{Place, Problem},
    row::{Datum, Row},
    schema::{Field, Schema},
};

impl Planner<'_> {
    pub(super) fn source(&mut self, source: &Source, place: &Place) -> Option<PlannedSource> {
        let schema = source.schema();
        let before = self.problems.len();
        match &source.kind {
            SourceKind::Csv(csv) => self.csv(csv, place),
            SourceKind::Generator(generator) => self.generator(generator, place),
            SourceKind::Collection(collection) => self.collection(collection, place),
            SourceKind::Script(script) => self.script(script, source, place),
        }
        let event_time = source.event_time.as_ref().and_then(|event_time| {
            let checked = check_event_time(event_time, &schema, place);
            self.report(checked)
        });
        if self.problems.len() > before {
            return None;
        }
        Some(PlannedSource {
            name: source.name.clone(),
            parallelism: match source.kind {
                SourceKind::Script(_) => 1,
                SourceKind::Csv(_) | SourceKind::Generator(_) | SourceKind::Collection(_) => {
                    source.parallelism.unwrap_or(self.pipeline.parallelism)
                }
            },
            kind: source.kind.clone(),
            schema,
            event_time,
        })
    }

    fn columns(&mut self, columns: &[Field], place: &Place) {
        let place = place.key("columns");
        if columns.is_empty() {
            self.problems.push(Problem::new(place, "there are no columns"));
            return;
        }
        let names =
            columns.iter().enumerate().map(|(index, field)| (field.name.as_str(), place.index(index).key("name")));
        let unique = unique_fields(names);
        self.report(unique);
    }

    fn csv(&mut self, csv: &CsvSource, place: &Place) {
        self.columns(&csv.columns, place);
        if !csv.delimiter.is_ascii() || matches!(csv.delimiter, '"' | '\n' | '\r') {
            let message = format!("{:?} cannot be a delimiter", csv.delimiter);
            let hint = "use one ASCII character other than a quote or a line break";
            self.problems.push(Problem::new(place.key("delimiter"), message).with_hint(hint));
        }
        self.at_least_one(csv.split_bytes, place, "split_bytes");
        self.at_least_one(csv.rate, place, "rate");
    }

    fn generator(&mut self, generator: &GeneratorSource, place: &Place) {
        self.at_least_one(Some(generator.keys), place, "keys");
        self.at_least_one(Some(u64::from(generator.splits)), place, "splits");
        self.at_least_one(generator.rate, place, "rate");
        if generator.count.is_some_and(|count| i64::try_from(count).is_err()) {
            self.problems.push(Problem::new(place.key("count"), "count must be less than 2^63"));
        }
    }

    fn at_least_one(&mut self, number: Option<u64>, place: &Place, key: &'static str) {
        if number.is_some_and(|number| number == 0 || i64::try_from(number).is_err()) {
            self.problems.push(Problem::new(place.key(key), format!("{key} must be at least 1 and less than 2^63")));
        }
    }

    fn collection(&mut self, collection: &CollectionSource, place: &Place) {
        self.columns(&collection.columns, place);
        self.at_least_one(Some(u64::from(collection.splits)), place, "splits");
        let schema = Schema::new(collection.columns.clone());
        for (index, row) in collection.rows.iter().enumerate() {
            self.row(row, &schema, &place.key("rows").index(index));
        }
    }

    fn row(&mut self, row: &Row, schema: &Schema, place: &Place) {
        let finite = |value: &Datum| !matches!(value, Datum::Float(float) if !float.get().is_finite());
        if !schema.admits(row) {
            let message = format!("the row {row} does not fit the columns {schema}");
            let hint = "`?` marks columns that may be null, which is written []";
            self.problems.push(Problem::new(place.clone(), message).with_hint(hint));
        } else if !row.values().iter().all(finite) {
            self.problems.push(Problem::new(place.clone(), format!("the row {row} has a number that is not finite")));
        }
    }

    /// A script is one sequence, so one subtask plays it, and it says itself what the event time is.
    fn script(&mut self, script: &ScriptSource, source: &Source, place: &Place) {
        self.columns(&script.columns, place);
        self.at_least_one(Some(u64::from(script.inputs)), place, "inputs");
        if source.parallelism.is_some_and(|parallelism| parallelism != 1) {
            self.problems.push(Problem::new(place.key("parallelism"), "a script is played by one subtask"));
        }
        if source.event_time.is_some() {
            let problem = Problem::new(place.key("event_time"), "a script gives its records their event time itself");
            self.problems.push(problem.with_hint("by `time_ms` in each step with a row"));
        }
        let schema = Schema::new(script.columns.clone());
        for (index, step) in script.steps.iter().enumerate() {
            let place = place.key("steps").index(index);
            if step.input >= script.inputs {
                let message = format!("there is no input {}, the first is 0", step.input);
                self.problems.push(Problem::new(place.key("input"), message));
            }
            if let ScriptAction::Element { row, .. } = &step.action {
                self.row(row, &schema, &place.key("row"));
            }
        }
    }
}
