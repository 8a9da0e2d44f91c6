//! The plan: a pipeline that has been checked, with names resolved, expressions bound and every schema known.
//!
//! All problems are found in one pass; what depends on something broken is not reported as well.

mod checks;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
    time::Duration,
};

use super::{
    aggregate::Aggregate,
    expression::Expression,
    model::{
        CollectionSource, CsvSource, Emit, GeneratorSource, LateRecords, OnMissingEventTime, Operation, Pipeline, Sink,
        SinkKind, Source, SourceKind, Stage, WindowOperation,
    },
    nearest,
    problem::{Place, Problem, Problems},
    row::Datum,
    schema::{Field, Schema},
};

use checks::{check_aggregate, check_event_time, check_filter, check_map, check_window, unique_fields};

/// A checked pipeline.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The sources, in the order of the pipeline.
    pub sources: Vec<PlannedSource>,
    /// The stages, each after all of its inputs.
    pub stages: Vec<PlannedStage>,
    /// The sinks, in the order of the pipeline.
    pub sinks: Vec<PlannedSink>,
}

/// A stream of records in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// What a source reads: its position in [`Plan::sources`].
    Source(usize),
    /// What a stage emits: its position in [`Plan::stages`].
    Stage(usize),
    /// The late records of a window: its position in [`Plan::stages`].
    Late(usize),
}

/// A checked source.
#[derive(Debug, Clone)]
pub struct PlannedSource {
    /// Its name.
    pub name: String,
    /// Number of parallel readers.
    pub parallelism: u32,
    /// What it reads.
    pub kind: SourceKind,
    /// The fields of its records.
    pub schema: Schema,
    /// How records get their event time.
    pub event_time: Option<PlannedEventTime>,
}

/// How records get their event time.
#[derive(Debug, Clone)]
pub struct PlannedEventTime {
    /// Milliseconds since the epoch.
    pub expression: Expression,
    /// What happens with records for which it is null; never asked if it cannot be.
    pub on_missing: OnMissingEventTime,
    /// How far records may lie behind the latest one.
    pub max_out_of_orderness: Duration,
    /// A split that is silent for this long no longer holds the watermark back.
    pub idle_timeout: Option<Duration>,
}

/// A checked stage.
#[derive(Debug, Clone)]
pub struct PlannedStage {
    /// Its name.
    pub name: String,
    /// Number of parallel instances.
    pub parallelism: u32,
    /// Where its records come from; at least one.
    pub inputs: Vec<Stream>,
    /// The fields of the records that it takes.
    pub input_schema: Schema,
    /// The fields of the records that it emits.
    pub schema: Schema,
    /// What it does.
    pub operation: PlannedOperation,
}

/// What a stage does, bound to its input's fields. Keys are positions of fields.
#[derive(Debug, Clone)]
pub enum PlannedOperation {
    /// Keeps the records for which the condition is true.
    Filter {
        /// The condition.
        condition: Expression,
    },
    /// Makes a record of another.
    Map {
        /// The values of the result's fields.
        fields: Vec<Expression>,
    },
    /// Folds the records of a key and window.
    Window {
        /// The fields of the key.
        key: Vec<usize>,
        /// Assigner, trigger, evictor and lateness are as declared.
        window: WindowOperation,
        /// The aggregates.
        aggregates: Vec<Aggregate>,
    },
    /// Folds all records of a key.
    Aggregate {
        /// The fields of the key.
        key: Vec<usize>,
        /// The aggregates.
        aggregates: Vec<Aggregate>,
        /// When results are emitted.
        emit: Emit,
    },
}

/// A checked sink.
#[derive(Debug, Clone)]
pub struct PlannedSink {
    /// Its name.
    pub name: String,
    /// Number of parallel writers.
    pub parallelism: u32,
    /// Where its records come from; at least one.
    pub inputs: Vec<Stream>,
    /// The fields of its records.
    pub schema: Schema,
    /// What it writes to.
    pub kind: SinkKind,
}

impl Plan {
    /// The fields of a stream's records.
    pub fn schema(&self, stream: Stream) -> &Schema {
        match stream {
            Stream::Source(index) => &self.sources[index].schema,
            Stream::Stage(index) => &self.stages[index].schema,
            Stream::Late(index) => &self.stages[index].input_schema,
        }
    }
}

impl Pipeline {
    /// Checks the pipeline.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn validate(&self) -> Result<(), Problems> {
        self.plan().map(|_| ())
    }

    /// Checks the pipeline and resolves its names, expressions and schemas.
    ///
    /// # Errors
    /// As for [`Pipeline::validate`].
    pub fn plan(&self) -> Result<Plan, Problems> {
        let mut planner = Planner { pipeline: self, problems: Vec::new(), streams: BTreeMap::new() };
        let plan = planner.plan();
        let mut problems = planner.problems;
        if let Err(Problems(options)) = self.job_config() {
            problems.extend(options);
        }
        if problems.is_empty() { Ok(plan) } else { Err(Problems(problems)) }
    }
}

/// What is known of a stream by its name.
#[derive(Clone)]
struct Known {
    stream: Stream,
    schema: Schema,
    has_event_time: bool,
}

/// What a name of an input stands for.
enum Named {
    Known(Known),
    /// It exists but is broken, which has been reported.
    Broken,
}

struct Planner<'a> {
    pipeline: &'a Pipeline,
    problems: Vec<Problem>,
    /// Streams by name; `None` if the source or stage is broken.
    streams: BTreeMap<String, Option<Known>>,
}

type Checked<T> = Result<T, Problem>;

fn source_place(index: usize) -> Place {
    Place::root().key("source").index(index)
}

fn stage_place(index: usize) -> Place {
    Place::root().key("stage").index(index)
}

fn sink_place(index: usize) -> Place {
    Place::root().key("sink").index(index)
}

impl Planner<'_> {
    fn plan(&mut self) -> Plan {
        let pipeline = self.pipeline;
        self.whole();
        self.names();
        let mut plan = Plan { sources: Vec::new(), stages: Vec::new(), sinks: Vec::new() };
        for (index, source) in pipeline.sources.iter().enumerate() {
            let planned = self.source(source, &source_place(index));
            let known = planned.as_ref().map(|planned| Known {
                stream: Stream::Source(plan.sources.len()),
                schema: planned.schema.clone(),
                has_event_time: planned.event_time.is_some(),
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

    fn report<T>(&mut self, result: Checked<T>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn whole(&mut self) {
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
    fn names(&mut self) {
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

    fn source(&mut self, source: &Source, place: &Place) -> Option<PlannedSource> {
        let schema = source.schema();
        let before = self.problems.len();
        match &source.kind {
            SourceKind::Csv(csv) => self.csv(csv, place),
            SourceKind::Generator(generator) => self.generator(generator, place),
            SourceKind::Collection(collection) => self.collection(collection, place),
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
            parallelism: source.parallelism.unwrap_or(self.pipeline.parallelism),
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
            let place = place.key("rows").index(index);
            let finite = |value: &Datum| !matches!(value, Datum::Float(float) if !float.get().is_finite());
            if !schema.admits(row) {
                let message = format!("the row {row} does not fit the columns {schema}");
                let hint = "`?` marks columns that may be null, which is written []";
                self.problems.push(Problem::new(place, message).with_hint(hint));
            } else if !row.values().iter().all(finite) {
                self.problems.push(Problem::new(place, format!("the row {row} has a number that is not finite")));
            }
        }
    }

    /// The stages in an order in which inputs come first. Those of a cycle are reported and left out.
    fn topological_order(&mut self) -> Vec<usize> {
        let pipeline = self.pipeline;
        let position: BTreeMap<&str, usize> =
            pipeline.stages.iter().enumerate().map(|(index, stage)| (stage.name.as_str(), index)).collect();
        let inputs = |index: usize| {
            let names = pipeline.stages[index].inputs.iter();
            names.filter_map(|name| position.get(without_late(name)).copied()).collect::<Vec<_>>()
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
        if let Operation::Window(window) = &stage.operation
            && window.late_records == LateRecords::SideOutput
        {
            let late = known
                .as_ref()
                .zip(planned)
                .map(|(known, (planned, _))| Known { schema: planned.input_schema.clone(), ..late(known) });
            self.streams.insert(format!("{}.late", stage.name), late);
        }
        self.streams.insert(stage.name.clone(), known);
    }

    /// The one stream that several inputs make together; `None` if one of them is broken.
    fn inputs(&mut self, names: &[String], place: &Place) -> Option<(Vec<Stream>, Known)> {
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

    fn stage(&mut self, stage: &Stage, place: &Place) -> Option<(PlannedStage, bool)> {
        let (inputs, input) = self.inputs(&stage.inputs, place)?;
        let checked = match &stage.operation {
            Operation::Filter { condition } => check_filter(condition, &input.schema, place),
            Operation::Map { fields } => check_map(fields, &input.schema, place),
            Operation::Window(window) => check_window(window, &input, place),
            Operation::Aggregate(aggregate) => check_aggregate(aggregate, &input.schema, place),
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
        Some((planned, input.has_event_time))
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

fn without_late(name: &str) -> &str {
    name.strip_suffix(".late").unwrap_or(name)
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
