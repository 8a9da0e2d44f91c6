//! From a plan to a program of the typed API.
//!
//! Each source, stage and sink becomes an operation with its name as uid, so that state is found again however the
//! pipeline is rearranged. What the model can say and the operators cannot do yet is refused by name.

mod join;
mod state;
mod window;

use window::Windowed;

use super::{
    aggregate::Aggregate,
    fold::{Arguments, Fold, Reduced, RunningAggregate},
    function::Buffer,
    model::{Delivery, Pipeline, SinkKind, SourceKind},
    plan::{Plan, PlannedOperation, PlannedSink, PlannedSource, PlannedStage, Stream},
    row::{Datum, Row},
    script::script_source,
    source::{RowFunction, RowSource, WholeRow},
    trace::{TraceOutput, TraceSink},
};
use crate::{
    api::{DataStream, StreamEnvironment, StreamSink},
    codec::Data,
    config::JobConfig,
    connector::{DiscardSink, FileSink, PrintSink},
    error::{Error, ErrorKind, Result},
    state::KeyRef,
    task::Program,
    time::WatermarkStrategy,
};

impl Pipeline {
    /// Compiles the pipeline to a program, with the options that it runs under.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the pipeline is not valid or asks for what the engine cannot do.
    pub fn compile(&self) -> Result<(JobConfig, Program)> {
        self.compile_with(&TraceOutput::stdout())
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

/// What a stage emits.
struct CompiledStage {
    rows: Rows,
    /// What came too late for it.
    late: Option<Rows>,
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
    stages: Vec<CompiledStage>,
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
            Stream::Stage(index) => Ok(&self.stages[index].rows),
            Stream::Late(index) => {
                Ok(self.stages[index].late.as_ref().expect("a planned late stream is put out on the side"))
            }
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

    /// All inputs as one stream that is dealt out by what comes next.
    fn unpartitioned(&self, inputs: &[Stream]) -> Result<DataStream<Row>> {
        let streams = inputs.iter().map(|input| Ok(self.rows(*input)?.stream.clone())).collect::<Result<Vec<_>>>()?;
        Ok(union(&streams))
    }

    fn stage(&self, stage: &PlannedStage) -> Result<CompiledStage> {
        let PlannedStage { name, parallelism, inputs, .. } = stage;
        let mut late = None;
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
                let windowed = self.window(stage, window)?;
                late = windowed.late;
                (windowed.results, parallelism)
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
            PlannedOperation::Rolling { key, reduce } => (self.rolling(stage, key, reduce)?, *parallelism),
            PlannedOperation::Process(process) => (self.process(stage, process)?, *parallelism),
            PlannedOperation::Buffer { threshold, mode, aggregates } => {
                let function = Buffer::new(name, *threshold, *mode, aggregates);
                (self.input(inputs, *parallelism)?.process(function), *parallelism)
            }
            PlannedOperation::Enrich(enrich) => (self.enrich(stage, enrich)?, *parallelism),
            PlannedOperation::IntervalJoin(join) => {
                let joined = self.interval_join(stage, join)?;
                late = joined.late;
                (joined.results, *parallelism)
            }
            PlannedOperation::WindowJoin(join) => (self.window_join(stage, join)?, *parallelism),
        };
        let stream = stream.set_parallelism(parallelism).name(name).uid(name);
        let late = late.map(|stream| Rows { stream, parallelism });
        Ok(CompiledStage { rows: Rows { stream, parallelism }, late })
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
            PlannedOperation::Window(window) if window::is_reducible(window) => {
                Some(Reduce::new(stage, &window.key, window.aggregates()))
            }
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
            let rows = &self.rows(*input)?.stream;
            let reduced = rows.flat_map(move |row: Row, out| {
                out.collect(reduce.of(&row)?);
                Ok(())
            });
            let uid = format!("{}.arguments-{index}", stage.name);
            streams.push(reduced.name("arguments").uid(&uid).set_parallelism(rows.parallelism()));
        }
        Ok(union(&streams))
    }

    fn sink(&self, sink: &PlannedSink) -> Result<()> {
        let input = self.input(&sink.inputs, sink.parallelism)?;
        let end: StreamSink = match &sink.kind {
            SinkKind::Print => input.sink(&sink.name, PrintSink::<Row>::default),
            SinkKind::Trace { label } => {
                let (name, label, schema) = (sink.name.clone(), label.clone(), sink.schema.clone());
                let output = self.traces.clone();
                input.sink_exactly_once(&sink.name, move || {
                    TraceSink::new(&name, label.clone(), schema.clone(), output.clone())
                })
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
