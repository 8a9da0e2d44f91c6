//! Names: of the job and its parts, and what they stand for as inputs.

use std::collections::BTreeSet;

use super::{
    Checked, Stream,
    planner::{Known, Planner, sink_place, source_place, stage_place},
};
use crate::pipeline::{
    nearest,
    problem::{Place, Problem},
    schema::{Field, Schema},
};

/// What a name of an input stands for.
enum Named {
    Known(Known),
    /// It exists but is broken, which has been reported.
    Broken,
}

impl Planner<'_> {
    pub(super) fn whole(&mut self) {
        let pipeline = self.pipeline;
        let root = Place::root();
        if pipeline.name.trim().is_empty() {
            self.problems.push(Problem::new(root.key("name"), "the name is empty"));
        }
        // It names the directory of the job's checkpoints.
        if pipeline.name.contains(['/', '\0']) || matches!(pipeline.name.as_str(), "." | "..") {
            let problem = Problem::new(root.key("name"), format!("{:?} cannot name a directory", pipeline.name));
            self.problems.push(problem.with_hint("the name of a job names the directory of its checkpoints"));
        }
        if pipeline.sources.is_empty() {
            self.problems.push(Problem::new(root.clone(), "there is no source").with_hint("add a [[source]]"));
        }
        if pipeline.sinks.is_empty() {
            let hint = "add a [[sink]]; type = \"discard\" drops all records";
            self.problems.push(Problem::new(root.clone(), "there is no sink").with_hint(hint));
        }
        if pipeline.max_parallelism.is_some_and(|max| !(1..=32768).contains(&max)) {
            self.problems.push(Problem::new(root.key("max_parallelism"), "max_parallelism lies between 1 and 32768"));
        }
        let sources = pipeline.sources.iter().enumerate().map(|(i, source)| (source_place(i), source.parallelism));
        let stages = pipeline.stages.iter().enumerate().map(|(i, stage)| (stage_place(i), stage.parallelism));
        let sinks = pipeline.sinks.iter().enumerate().map(|(i, sink)| (sink_place(i), sink.parallelism));
        let limit = pipeline.max_parallelism.unwrap_or(32768);
        for (place, parallelism) in
            [(root, Some(pipeline.parallelism))].into_iter().chain(sources).chain(stages).chain(sinks)
        {
            if parallelism.is_some_and(|parallelism| !(1..=limit).contains(&parallelism)) {
                let message = format!("parallelism lies between 1 and {limit}, the number of key groups");
                self.problems.push(Problem::new(place.key("parallelism"), message));
            }
        }
    }

    /// Names are unique and usable as `NAME.late`, as the name of a state and of a subtask.
    pub(super) fn names(&mut self) {
        let pipeline = self.pipeline;
        let sources = pipeline.sources.iter().enumerate().map(|(i, source)| (&source.name, source_place(i)));
        let stages = pipeline.stages.iter().enumerate().map(|(i, stage)| (&stage.name, stage_place(i)));
        let sinks = pipeline.sinks.iter().enumerate().map(|(i, sink)| (&sink.name, sink_place(i)));
        let mut seen = BTreeSet::new();
        for (name, place) in sources.chain(stages).chain(sinks) {
            let place = place.key("name");
            let usable = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(usable) {
                let message = format!("`{name}` is not usable as a name");
                let hint = "a name has letters, digits, `_` and `-`";
                self.problems.push(Problem::new(place, message).with_hint(hint));
            } else if !seen.insert(name) {
                let hint = "sources, stages and sinks have different names";
                self.problems.push(Problem::new(place, format!("the name `{name}` is taken")).with_hint(hint));
            }
        }
    }

    /// The one stream that several inputs make together; `None` if one of them is broken.
    pub(super) fn inputs(&mut self, names: &[String], place: &Place) -> Option<(Vec<Stream>, Known)> {
        let place = place.key("input");
        if names.is_empty() {
            self.problems.push(Problem::new(place, "there is no input"));
            return None;
        }
        let mut streams = Vec::new();
        let mut union: Option<Known> = None;
        for (index, name) in names.iter().enumerate() {
            let place = if names.len() == 1 { place.clone() } else { place.index(index) };
            let named = self.named(name, &place);
            let Named::Known(known) = self.report(named)? else { return None };
            if streams.contains(&known.stream) {
                self.problems.push(Problem::new(place, format!("the input `{name}` is there twice")));
                return None;
            }
            streams.push(known.stream);
            let joined = match union {
                None => Ok(known),
                Some(union) => join(union, &known, name, &place),
            };
            union = Some(self.report(joined)?);
        }
        union.map(|union| (streams, union))
    }

    fn named(&self, name: &str, place: &Place) -> Checked<Named> {
        match self.streams.get(name) {
            Some(Some(known)) => return Ok(Named::Known(known.clone())),
            Some(None) => return Ok(Named::Broken),
            None => {}
        }
        let problem = Problem::new(place.clone(), format!("unknown input `{name}`"));
        if name.ends_with(".late") && self.streams.contains_key(without_late(name)) {
            let hint = format!("the window `{}` needs late_records = \"side_output\"", without_late(name));
            return Err(problem.with_hint(hint));
        }
        let sinks: Vec<&str> = self.pipeline.sinks.iter().map(|sink| sink.name.as_str()).collect();
        if sinks.contains(&name) {
            return Err(problem.with_hint(format!("`{name}` is a sink")));
        }
        Err(problem.with_hint(nearest::hint(name, "sources and stages", self.streams.keys().map(String::as_str))))
    }
}

pub(super) fn without_late(name: &str) -> &str {
    name.strip_suffix(".late").unwrap_or(name)
}

fn join(union: Known, known: &Known, name: &str, place: &Place) -> Checked<Known> {
    let types =
        |schema: &Schema| schema.fields.iter().map(|field| (field.name.clone(), field.field_type)).collect::<Vec<_>>();
    if types(&union.schema) != types(&known.schema) {
        let message = format!("`{name}` has other fields than the inputs before it");
        let hint = format!("{} is not {}", known.schema, union.schema);
        return Err(Problem::new(place.clone(), message).with_hint(hint));
    }
    let fields = union.schema.fields.into_iter().zip(&known.schema.fields);
    let fields: Vec<Field> =
        fields.map(|(field, other)| Field { nullability: field.nullability.or(other.nullability), ..field }).collect();
    let has_event_time = union.has_event_time && known.has_event_time;
    Ok(Known { schema: Schema::new(fields), has_event_time, ..union })
}
