//! The planner: sources, stages and sinks in an order in which inputs come first.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use super::{
    Checked, Plan, PlannedSink, PlannedStage, Stream,
    checks::{
        check_aggregate, check_buffer, check_enrich, check_filter, check_interval_join, check_map, check_process,
        check_repeat, check_rolling, check_window, check_window_join,
    },
    names,
};
use crate::pipeline::{
    model::{JoinSides, LateRecords, Operation, Pipeline, Sink, SinkKind, SourceKind, Stage},
    problem::{Place, Problem},
    schema::Schema,
};

/// What is known of a stream by its name.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) stream: Stream,
    pub(super) schema: Schema,
    pub(super) has_event_time: bool,
}

pub(super) struct Planner<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) problems: Vec<Problem>,
    /// Streams by name; `None` if the source or stage is broken.
    pub(super) streams: BTreeMap<String, Option<Known>>,
}

pub(super) fn source_place(index: usize) -> Place {
    Place::root().key("source").index(index)
}

pub(super) fn stage_place(index: usize) -> Place {
    Place::root().key("stage").index(index)
}

pub(super) fn sink_place(index: usize) -> Place {
    Place::root().key("sink").index(index)
}

impl Planner<'_> {
    pub(super) fn plan(&mut self) -> Plan {
        let pipeline = self.pipeline;
        self.whole();
        self.names();
        let mut plan = Plan { sources: Vec::new(), stages: Vec::new(), sinks: Vec::new() };
        for (index, source) in pipeline.sources.iter().enumerate() {
            let planned = self.source(source, &source_place(index));
            let known = planned.as_ref().map(|planned| Known {
                stream: Stream::Source(plan.sources.len()),
                schema: planned.schema.clone(),
                has_event_time: planned.event_time.is_some() || matches!(planned.kind, SourceKind::Script(_)),
            });
            self.streams.insert(source.name.clone(), known);
            plan.sources.extend(planned);
        }
        for index in self.topological_order() {
            let stage = &pipeline.stages[index];
            let position = plan.stages.len();
            let planned = self.stage(stage, &stage_place(index));
            self.remember_stage(stage, position, planned.as_ref());
            plan.stages.extend(planned.map(|(planned, _)| planned));
        }
        for (index, sink) in pipeline.sinks.iter().enumerate() {
            let planned = self.sink(sink, &sink_place(index));
            plan.sinks.extend(planned);
        }
        self.sink_directories();
        self.unused();
        plan
    }

    pub(super) fn report<T>(&mut self, result: Checked<T>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// The stages in an order in which inputs come first. Those of a cycle are reported and left out.
    fn topological_order(&mut self) -> Vec<usize> {
        let pipeline = self.pipeline;
        let position: BTreeMap<&str, usize> =
            pipeline.stages.iter().enumerate().map(|(index, stage)| (stage.name.as_str(), index)).collect();
        let inputs = |index: usize| {
            let names = pipeline.stages[index].inputs.iter();
            names.filter_map(|name| position.get(names::without_late(name)).copied()).collect::<Vec<_>>()
        };
        let mut order = Vec::new();
        let mut waiting: Vec<usize> = (0..pipeline.stages.len()).collect();
        loop {
            let (ready, rest): (Vec<usize>, Vec<usize>) =
                waiting.iter().partition(|index| inputs(**index).iter().all(|input| order.contains(input)));
            if ready.is_empty() {
                break;
            }
            // One at a time keeps the order of the pipeline as far as the inputs allow.
            order.push(ready[0]);
            waiting = ready[1..].iter().chain(&rest).copied().collect();
            waiting.sort_unstable();
        }
        if let Some(cycle) = find_cycle(&waiting, inputs) {
            let names: Vec<&str> = cycle.iter().map(|index| pipeline.stages[*index].name.as_str()).collect();
            let message = format!("these stages take records from each other in a circle: {}", names.join(" -> "));
            self.problems.push(Problem::new(stage_place(cycle[0]).key("input"), message));
        }
        for index in &waiting {
            self.streams.insert(pipeline.stages[*index].name.clone(), None);
        }
        order
    }

    fn remember_stage(&mut self, stage: &Stage, position: usize, planned: Option<&(PlannedStage, bool)>) {
        let late = |known: &Known| Known { stream: Stream::Late(position), ..known.clone() };
        let known = planned.map(|(planned, has_event_time)| Known {
            stream: Stream::Stage(position),
            schema: planned.schema.clone(),
            has_event_time: *has_event_time,
        });
        let late_records = match &stage.operation {
            Operation::Window(window) => window.late_records,
            Operation::IntervalJoin(join) => join.late_records,
            _ => LateRecords::Drop,
        };
        if late_records == LateRecords::SideOutput {
            let late = known
                .as_ref()
                .zip(planned)
                .map(|(known, (planned, _))| Known { schema: planned.input_schema.clone(), ..late(known) });
            self.streams.insert(format!("{}.late", stage.name), late);
        }
        self.streams.insert(stage.name.clone(), known);
    }

    fn stage(&mut self, stage: &Stage, place: &Place) -> Option<(PlannedStage, bool)> {
        let (inputs, input, second) = self.stage_inputs(stage, place)?;
        let second = second.unwrap_or_else(|| input.clone());
        let checked = match &stage.operation {
            Operation::Filter { condition } => check_filter(condition, &input.schema, place),
            Operation::Map { fields } => check_map(fields, &input.schema, place),
            Operation::Repeat { count, index } => check_repeat(*count, index, &input.schema, place),
            Operation::Window(window) => check_window(window, &input, place),
            Operation::Aggregate(aggregate) => check_aggregate(aggregate, &input.schema, place),
            Operation::Rolling(rolling) => check_rolling(rolling, &input.schema, place),
            Operation::Process(process) => check_process(process, &input, place),
            Operation::Buffer(buffer) => check_buffer(buffer, &input.schema, place),
            Operation::Enrich(enrich) => check_enrich(enrich, &input, &second, place),
            Operation::IntervalJoin(join) => check_interval_join(join, &input, &second, place),
            Operation::WindowJoin(join) => check_window_join(join, &input, &second, place),
        };
        let (operation, schema) = self.report(checked)?;
        // Windows of a global assigner have no end, so their results have the last possible event time.
        let planned = PlannedStage {
            name: stage.name.clone(),
            parallelism: stage.parallelism.unwrap_or(self.pipeline.parallelism),
            inputs,
            input_schema: input.schema,
            schema,
            operation,
        };
        Some((planned, input.has_event_time && second.has_event_time))
    }

    /// The inputs of a stage; for an operation with two different ones the second comes apart.
    fn stage_inputs(&mut self, stage: &Stage, place: &Place) -> Option<(Vec<Stream>, Known, Option<Known>)> {
        let two = match &stage.operation {
            Operation::Enrich(_) | Operation::WindowJoin(_) => true,
            Operation::IntervalJoin(join) => join.sides == JoinSides::Inputs,
            Operation::Filter { .. }
            | Operation::Map { .. }
            | Operation::Repeat { .. }
            | Operation::Window(_)
            | Operation::Aggregate(_)
            | Operation::Rolling(_)
            | Operation::Process(_)
            | Operation::Buffer(_) => false,
        };
        if !two {
            let (streams, input) = self.inputs(&stage.inputs, place)?;
            return Some((streams, input, None));
        }
        let [first, second] = stage.inputs.as_slice() else {
            let message = format!("this operation has two inputs, not {}", stage.inputs.len());
            let problem = Problem::new(place.key("input"), message);
            self.problems.push(problem.with_hint("for example input = [\"orders\", \"payments\"]"));
            return None;
        };
        let (mut streams, first) = self.inputs(std::slice::from_ref(first), place)?;
        let (more, second) = self.inputs(std::slice::from_ref(second), place)?;
        streams.extend(more);
        Some((streams, first, Some(second)))
    }

    fn sink(&mut self, sink: &Sink, place: &Place) -> Option<PlannedSink> {
        if let SinkKind::File(file) = &sink.kind
            && file.path.is_empty()
        {
            self.problems.push(Problem::new(place.key("path"), "the path is empty"));
        }
        let (inputs, input) = self.inputs(&sink.inputs, place)?;
        Some(PlannedSink {
            name: sink.name.clone(),
            parallelism: sink.parallelism.unwrap_or(self.pipeline.parallelism),
            inputs,
            schema: input.schema,
            kind: sink.kind.clone(),
        })
    }

    /// Each file sink has a directory of its own: at its start it removes what is staged there and not its own.
    fn sink_directories(&mut self) {
        let pipeline = self.pipeline;
        let mut taken: BTreeMap<PathBuf, &str> = BTreeMap::new();
        for (index, sink) in pipeline.sinks.iter().enumerate() {
            let SinkKind::File(file) = &sink.kind else { continue };
            if let Some(other) = taken.insert(plain_path(&file.path), &sink.name) {
                let message = format!("the sink `{other}` writes into the directory `{}` already", file.path);
                let problem = Problem::new(sink_place(index).key("path"), message);
                self.problems.push(problem.with_hint("give each file sink a directory of its own"));
            }
        }
    }

    /// A stream that nobody takes is a slip more often than a wish.
    fn unused(&mut self) {
        if !self.problems.is_empty() {
            return;
        }
        let pipeline = self.pipeline;
        let used: BTreeSet<&str> = pipeline
            .stages
            .iter()
            .flat_map(|stage| &stage.inputs)
            .chain(pipeline.sinks.iter().flat_map(|sink| &sink.inputs))
            .map(String::as_str)
            .collect();
        let sources = pipeline.sources.iter().enumerate().map(|(i, source)| (&source.name, source_place(i)));
        let stages = pipeline.stages.iter().enumerate().map(|(i, stage)| (&stage.name, stage_place(i)));
        for (name, place) in sources.chain(stages) {
            if !used.contains(name.as_str()) {
                let hint = "name it as the `input` of a stage or sink, or add a sink with type = \"discard\"";
                let message = format!("nothing takes the records of `{name}`");
                self.problems.push(Problem::new(place, message).with_hint(hint));
            }
        }
    }
}

/// A path as few words as say the same: `./out/x/..//a/` is `out/a`. Links are not looked at.
fn plain_path(path: &str) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            Component::ParentDir | Component::Prefix(_) | Component::RootDir | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}

/// A cycle among nodes each of which has an input among them or leads to one that has.
fn find_cycle(waiting: &[usize], inputs: impl Fn(usize) -> Vec<usize>) -> Option<Vec<usize>> {
    let mut path = vec![*waiting.first()?];
    loop {
        let last = *path.last()?;
        let next = inputs(last).into_iter().find(|input| waiting.contains(input))?;
        if let Some(start) = path.iter().position(|index| *index == next) {
            let mut cycle = path.split_off(start);
            cycle.reverse();
            cycle.push(cycle[0]);
            return Some(cycle);
        }
        path.push(next);
    }
}
