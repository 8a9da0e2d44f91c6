//! Between the shape of a file and the model: what was left out is filled in, what does not belong is refused.

mod sink;
mod source;
mod stage;
mod state;
mod table;
mod window;

use super::{
    file::{CheckpointFile, ConfigFile, Inputs, PipelineFile, SinkFile, SourceFile, StageFile},
    model::{Checkpoint, Pipeline},
    problem::{Place, Problem, Problems},
};

use sink::convert_sink;
use source::convert_source;
use stage::convert_stage;
use table::Table;

impl TryFrom<PipelineFile> for Pipeline {
    type Error = Problems;

    fn try_from(file: PipelineFile) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut sources = Vec::new();
        let mut stages = Vec::new();
        let mut sinks = Vec::new();
        let mut previous: Option<String> = None;
        for (index, source) in file.source.into_iter().enumerate() {
            let place = Place::root().key("source").index(index);
            let name = source.name.clone().unwrap_or_else(|| numbered("source", index));
            previous = Some(name.clone());
            collect(convert_source(name, source, &place), &mut sources, &mut problems);
        }
        for (index, stage) in file.stage.into_iter().enumerate() {
            let place = Place::root().key("stage").index(index);
            let operator = stage.op.as_deref().unwrap_or("stage");
            let name = stage.name.clone().unwrap_or_else(|| numbered(operator, index));
            let input = previous.replace(name.clone());
            collect(convert_stage(name, input, stage, &place), &mut stages, &mut problems);
        }
        for (index, sink) in file.sink.into_iter().enumerate() {
            let place = Place::root().key("sink").index(index);
            let name = sink.name.clone().unwrap_or_else(|| numbered("sink", index));
            collect(convert_sink(name, previous.clone(), sink, &place), &mut sinks, &mut problems);
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Self {
            name: file.name,
            parallelism: file.parallelism.unwrap_or(1),
            max_parallelism: file.max_parallelism,
            checkpoint: file.checkpoint.map(|checkpoint| Checkpoint {
                interval: checkpoint.interval,
                dir: checkpoint.dir,
                mode: checkpoint.mode.unwrap_or_default(),
            }),
            config: file.config.0,
            sources,
            stages,
            sinks,
        })
    }
}

fn numbered(what: &str, index: usize) -> String {
    format!("{what}-{}", index + 1)
}

fn collect<T>(result: Result<T, Problem>, into: &mut Vec<T>, problems: &mut Vec<Problem>) {
    match result {
        Ok(value) => into.push(value),
        Err(problem) => problems.push(problem),
    }
}

fn convert_inputs(inputs: Option<Inputs>, previous: Option<String>, place: &Place) -> Result<Vec<String>, Problem> {
    match (inputs, previous) {
        (Some(Inputs(inputs)), _) => Ok(inputs),
        (None, Some(previous)) => Ok(vec![previous]),
        (None, None) => Err(Problem::new(place.clone(), "there is nothing before this to take records from")
            .with_hint("add a [[source]]")),
    }
}

impl From<Pipeline> for PipelineFile {
    fn from(pipeline: Pipeline) -> Self {
        Self {
            name: pipeline.name,
            parallelism: Some(pipeline.parallelism),
            max_parallelism: pipeline.max_parallelism,
            checkpoint: pipeline.checkpoint.map(|checkpoint| CheckpointFile {
                interval: checkpoint.interval,
                dir: checkpoint.dir,
                mode: Some(checkpoint.mode),
            }),
            config: ConfigFile(pipeline.config),
            source: pipeline.sources.into_iter().map(SourceFile::from).collect(),
            stage: pipeline.stages.into_iter().map(StageFile::from).collect(),
            sink: pipeline.sinks.into_iter().map(SinkFile::from).collect(),
        }
    }
}
