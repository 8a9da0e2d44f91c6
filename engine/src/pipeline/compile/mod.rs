//! From a plan to a program of the typed API.
//!
//! Each source, stage and sink becomes an operation with its name as uid, so that state is found again however the
//! pipeline is rearranged. What the model can say and the operators cannot do yet is refused by name.

use super::{
    aggregate::Aggregate,
    fold::{Arguments, Fold, Reduced, RunningAggregate, WindowResult},
    model::{Assigner, Delivery, LateRecords, Pipeline, SinkKind, SourceKind, Trigger, WindowTime},
    plan::{
        Plan, PlannedOperation, PlannedSink, PlannedSource, PlannedStage, PlannedWindow, PlannedWindowFunction, Stream,
    },
    row::{Datum, Row},
    script::script_source,
    source::{RowFunction, RowSource, WholeRow},
    trace::{TraceOutput, TraceSink},
};
use crate::{
    api::{DataStream, StreamEnvironment, StreamSink, TumblingWindows},
    codec::Data,
    config::JobConfig,
    connector::{DiscardSink, FileSink, PrintSink},
    error::{Error, ErrorKind, Result},
    state::KeyRef,
    task::Program,
    time::WatermarkStrategy,
    window::WindowPeriod,
};

impl Pipeline {
    /// Compiles the pipeline to a program, with the options that it runs under.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the pipeline is not valid or asks for what the engine cannot do.
    pub fn compile(&self) -> Result<(JobConfig, Program)> {
        self.compile_with(&TraceOutput::Stdout)
    }

    /// As [`Pipeline::compile`], with another place for the lines of traces.
    ///
    /// # Errors
    /// As for [`Pipeline::compile`].
    pub fn compile_with(&self, traces: &TraceOutput) -> Result<(JobConfig, Program)> {
        let invalid =
            |problems| Error::new(ErrorKind::Configuration, "the pipeline is not valid").with_source(problems);
        let plan = self.plan().map_err(invalid)?;
        let config = self.job_config().map_err(invalid)?;
        let environment = StreamEnvironment::new(config);
        Compiler { plan: &plan, traces, sources: Vec::new(), stages: Vec::new() }.compile(&environment)?;
        let program = environment.build()?;
        Ok((environment.config().clone(), program))
    }
}

/// A stream with the number of its subtasks.
#[derive(Clone)]
struct Rows {
    stream: DataStream<Row>,
    parallelism: u32,
}

/// What a source emits.
enum SourceStream {
    Rows(Rows),
    /// The one consumer is a fold: the source makes what it needs of each row at once, and no row leaves it.
    Reduced(DataStream<Reduced>),
}

struct Compiler<'a> {
    plan: &'a Plan,
    traces: &'a TraceOutput,
    sources: Vec<SourceStream>,
    stages: Vec<Rows>,
}

impl Compiler<'_> {
    fn compile(mut self, environment: &StreamEnvironment) -> Result<()> {
        for (index, source) in self.plan.sources.iter().enumerate() {
            if let SourceKind::Script(script) = &source.kind {
                let stream = environment.add_source(&source.name, script_source(script)).set_parallelism(1);
                let stream = stream.uid(&source.name);
                self.sources.push(SourceStream::Rows(Rows { stream, parallelism: 1 }));
                continue;
            }
            self.sources.push(match self.only_fold(Stream::Source(index)) {
                Some(reduce) => SourceStream::Reduced(compile_source(environment, source, reduce)),
                None => SourceStream::Rows(Rows {
                    stream: compile_source(environment, source, WholeRow),
                    parallelism: source.parallelism,
                }),
            });
        }
        for stage in &self.plan.stages {
            let compiled = self.stage(stage)?;
            self.stages.push(compiled);
        }
        for sink in &self.plan.sinks {
            self.sink(sink)?;
        }
        Ok(())
    }

    fn rows(&self, stream: Stream) -> Result<&Rows> {
        match stream {
            Stream::Source(index) => match &self.sources[index] {
                SourceStream::Rows(rows) => Ok(rows),
                SourceStream::Reduced(_) => unreachable!("the one consumer of a reduced stream is a fold"),
            },
            Stream::Stage(index) => Ok(&self.stages[index]),
            Stream::Late(index) => Err(unsupported(&self.plan.stages[index].name, "late records as an input")),
        }
    }

    /// All inputs as one stream whose next operation may have this parallelism.
    fn input(&self, inputs: &[Stream], parallelism: u32) -> Result<DataStream<Row>> {
        let dealt = |rows: &Rows| {
            if rows.parallelism == parallelism { rows.stream.clone() } else { rows.stream.rebalance() }
        };
        let streams = inputs.iter().map(|input| self.rows(*input).map(dealt)).collect::<Result<Vec<_>>>()?;
        Ok(union(&streams))
    }

    fn stage(&self, stage: &PlannedStage) -> Result<Rows> {
        let PlannedStage { name, parallelism, inputs, .. } = stage;
        let (stream, parallelism) = match &stage.operation {
            PlannedOperation::Filter { condition } => {
                let (condition, stage) = (condition.clone(), name.clone());
                let input = self.input(inputs, *parallelism)?;
                let kept = input.flat_map(move |row: Row, out| {
                    if condition.holds(&row).map_err(|error| failed(&stage, error))? {
                        out.collect(row);
                    }
                    Ok(())
                });
                (kept, *parallelism)
            }
            PlannedOperation::Map { fields } => {
                let (fields, stage) = (fields.clone(), name.clone());
                let input = self.input(inputs, *parallelism)?;
                let mapped = input.flat_map(move |row: Row, out| {
                    let values = fields.iter().map(|field| field.evaluate(&row)).collect::<Result<Row, _>>();
                    out.collect(values.map_err(|error| failed(&stage, error))?);
                    Ok(())
                });
                (mapped, *parallelism)
            }
            PlannedOperation::Window(window) => {
                // Windows without a key see all records, so they are one subtask.
                let parallelism = if window.key.is_empty() { 1 } else { *parallelism };
                (self.window(stage, window)?, parallelism)
            }
            PlannedOperation::Aggregate { key, aggregates, emit } => {
                let fold = Fold::new(name, aggregates.clone());
                let reduced = self.reduced(stage, key, aggregates)?;
                let function = RunningAggregate::new(fold, *emit);
                (reduced.key_by_selector(KeyRef(Reduced::key)).process(function), *parallelism)
            }
            PlannedOperation::Repeat { count } => {
                let count = i64::try_from(*count).unwrap_or(i64::MAX);
                let input = self.input(inputs, *parallelism)?;
                let repeated = input.flat_map(move |row: Row, out| {
                    for index in 0..count {
                        out.collect(row.values().iter().cloned().chain([Datum::Int(index)]).collect());
                    }
                    Ok(())
                });
                (repeated, *parallelism)
            }
            PlannedOperation::Rolling { .. } => return Err(unsupported(name, "a rolling reduction")),
            PlannedOperation::Process(_) => return Err(unsupported(name, "a function with state")),
            PlannedOperation::Buffer { .. } => return Err(unsupported(name, "a buffer")),
            PlannedOperation::Enrich(_) => return Err(unsupported(name, "a join with rules")),
            PlannedOperation::IntervalJoin(_) => return Err(unsupported(name, "an interval join")),
            PlannedOperation::WindowJoin(_) => return Err(unsupported(name, "a window join")),
        };
        Ok(Rows { stream: stream.set_parallelism(parallelism).name(name).uid(name), parallelism })
    }

    /// What a stream is reduced to, if one fold and nothing else takes it.
    fn only_fold(&self, stream: Stream) -> Option<Reduce> {
        if let Stream::Source(index) = stream
            && matches!(self.plan.sources[index].kind, SourceKind::Script(_))
        {
            return None;
        }
        let stages =
            self.plan.stages.iter().flat_map(|stage| stage.inputs.iter().map(move |input| (*input, Some(stage))));
        let sinks = self.plan.sinks.iter().flat_map(|sink| sink.inputs.iter().map(|input| (*input, None)));
        let mut consumers = stages.chain(sinks).filter(|(input, _)| *input == stream);
        let (Some((_, Some(stage))), None) = (consumers.next(), consumers.next()) else { return None };
        match &stage.operation {
            PlannedOperation::Aggregate { key, aggregates, .. } => Some(Reduce::new(stage, key, aggregates)),
            PlannedOperation::Window(PlannedWindow {
                key,
                function: PlannedWindowFunction::Aggregate(aggregates),
                ..
            }) => Some(Reduce::new(stage, key, aggregates)),
            PlannedOperation::Window(_)
            | PlannedOperation::Filter { .. }
            | PlannedOperation::Map { .. }
            | PlannedOperation::Repeat { .. }
            | PlannedOperation::Rolling { .. }
            | PlannedOperation::Process(_)
            | PlannedOperation::Buffer { .. }
            | PlannedOperation::Enrich(_)
            | PlannedOperation::IntervalJoin(_)
            | PlannedOperation::WindowJoin(_) => None,
        }
    }

    /// The inputs of a fold, reduced where they come from to what the fold needs.
    fn reduced(&self, stage: &PlannedStage, key: &[usize], aggregates: &[Aggregate]) -> Result<DataStream<Reduced>> {
        let mut streams = Vec::new();
        for (index, input) in stage.inputs.iter().enumerate() {
            if let Stream::Source(source) = *input
                && let SourceStream::Reduced(stream) = &self.sources[source]
            {
                streams.push(stream.clone());
                continue;
            }
            let reduce = Reduce::new(stage, key, aggregates);
            let reduced = self.rows(*input)?.stream.flat_map(move |row: Row, out| {
                out.collect(reduce.of(&row)?);
                Ok(())
            });
            let uid = format!("{}.arguments-{index}", stage.name);
            streams.push(reduced.name("arguments").uid(&uid));
        }
        Ok(union(&streams))
    }

    fn window(&self, stage: &PlannedStage, planned: &PlannedWindow) -> Result<DataStream<Row>> {
        let refuse = |what: &str| Err(unsupported(&stage.name, what));
        let declared = &planned.declared;
        let (size, offset) = match declared.assigner {
            Assigner::Tumbling { size, offset } => (size, offset),
            Assigner::Sliding { .. } => return refuse("sliding windows"),
            Assigner::Session { .. } | Assigner::DynamicSession { .. } => return refuse("session windows"),
            Assigner::Global => return refuse("the global window"),
            Assigner::Count { .. } => return refuse("windows of a number of records"),
        };
        if declared.time == WindowTime::Processing {
            return refuse("windows in processing time");
        }
        if !matches!(declared.trigger, None | Some(Trigger::EventTime)) {
            return refuse("triggers other than event_time");
        }
        if declared.evictor.is_some() {
            return refuse("evictors");
        }
        if declared.late_records == LateRecords::SideOutput {
            return refuse("late records as a side output");
        }
        if !planned.has_bounds {
            return refuse("windows whose results do not show their bounds");
        }
        let aggregates = match &planned.function {
            PlannedWindowFunction::Aggregate(aggregates) => aggregates,
            PlannedWindowFunction::Reduce(_) => return refuse("the reduction of a window"),
            PlannedWindowFunction::Process(_) => return refuse("functions of all records of a window"),
        };
        let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let assigner = TumblingWindows::of_period(WindowPeriod { size_ms: millis(size), offset_ms: millis(offset) })?;
        let fold = Fold::new(&stage.name, aggregates.to_vec());
        Ok(self
            .reduced(stage, &planned.key, aggregates)?
            .key_by_selector(KeyRef(Reduced::key))
            .window(assigner)
            .allowed_lateness(declared.allowed_lateness)
            .aggregate_then(fold.clone(), WindowResult(fold)))
    }

    fn sink(&self, sink: &PlannedSink) -> Result<()> {
        let input = self.input(&sink.inputs, sink.parallelism)?;
        let end: StreamSink = match &sink.kind {
            SinkKind::Print => input.sink(&sink.name, PrintSink::<Row>::default),
            SinkKind::Trace { label } => {
                let (label, schema, output) = (label.clone(), sink.schema.clone(), self.traces.clone());
                input.sink(&sink.name, move || TraceSink::new(label.clone(), schema.clone(), output.clone()))
            }
            SinkKind::Discard => input.sink(&sink.name, DiscardSink::<Row>::default),
            SinkKind::File(file) => {
                if file.delivery == Delivery::AtLeastOnce {
                    return Err(unsupported(&sink.name, "files with at_least_once"));
                }
                let (directory, format, schema) = (file.path.clone(), file.format, sink.schema.clone());
                input.sink_exactly_once(&sink.name, move || {
                    let schema = schema.clone();
                    FileSink::new(directory.clone(), move |row: &Row, out: &mut Vec<u8>| {
                        format.write(&schema, row, out);
                    })
                })
            }
        };
        end.set_parallelism(sink.parallelism).uid(&sink.name);
        Ok(())
    }
}

/// Reduces the records of a fold's input to what it needs.
#[derive(Clone)]
struct Reduce {
    stage: String,
    arguments: Arguments,
}

impl Reduce {
    fn new(stage: &PlannedStage, key: &[usize], aggregates: &[Aggregate]) -> Self {
        Self { stage: stage.name.clone(), arguments: Arguments::new(key.to_vec(), aggregates.to_vec()) }
    }

    // A datum that moves through a call is written in parts and read as a whole, which stalls the processor.
    #[inline(always)]
    fn of(&self, row: &Row) -> Result<Reduced> {
        self.arguments.of(row).map_err(|error| failed(&self.stage, error))
    }
}

impl RowFunction for Reduce {
    type Out = Reduced;

    #[inline(always)]
    fn apply(&self, row: &mut Row) -> Result<Reduced> {
        self.of(row)
    }
}

fn compile_source<F: RowFunction>(
    environment: &StreamEnvironment,
    source: &PlannedSource,
    function: F,
) -> DataStream<F::Out> {
    let strategy = match &source.event_time {
        None => WatermarkStrategy::no_watermarks(),
        Some(event_time) => {
            let strategy = WatermarkStrategy::for_bounded_out_of_orderness(event_time.max_out_of_orderness);
            match event_time.idle_timeout {
                Some(timeout) => strategy.with_idleness(timeout),
                None => strategy,
            }
        }
    };
    let rows = RowSource::with_function(source, function);
    environment.from_source(&source.name, rows, strategy).set_parallelism(source.parallelism).uid(&source.name)
}

fn union<T: Data>(streams: &[DataStream<T>]) -> DataStream<T> {
    let (first, others) = streams.split_first().expect("a planned stage has an input");
    first.union(&others.iter().collect::<Vec<_>>())
}

#[cold]
fn failed(stage: &str, error: super::EvaluateError) -> Error {
    Error::new(ErrorKind::UserFunction, format!("stage `{stage}` failed")).with_source(error)
}

fn unsupported(name: &str, what: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("`{name}` asks for {what}, which the engine does not have yet"))
}

#[cfg(test)]
mod tests;
