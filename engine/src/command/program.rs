//! Where the task manager of the command finds the code of a job: the reference in a deployment is the pipeline itself.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{error::Result, pipeline::Pipeline, runtime::ProgramSource, task::Program};

/// Compiles pipelines, given as JSON; the last one is kept, since a restart deploys the same one again.
#[derive(Default)]
pub struct PipelinePrograms(Mutex<Option<Compiled>>);

struct Compiled {
    text: String,
    program: Arc<Program>,
}

impl ProgramSource for PipelinePrograms {
    fn program(&self, reference: &str) -> Result<Arc<Program>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = kept.as_ref().filter(|compiled| compiled.text == reference) {
            return Ok(compiled.program.clone());
        }
        let (_, program) = Pipeline::from_json("the job manager's pipeline", reference)?.compile()?;
        let program = Arc::new(program);
        *kept = Some(Compiled { text: reference.to_owned(), program: program.clone() });
        Ok(program)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::PipelinePrograms;
    use crate::{
        pipeline::{Checkpoint, GeneratorSource, Pipeline, Sink, SinkKind, Source, SourceKind},
        runtime::ProgramSource as _,
    };

    fn pipeline(name: &str) -> Pipeline {
        Pipeline::new(name)
            .with_checkpoint(Checkpoint::every(Duration::from_secs(1)))
            .source(Source::new("numbers", SourceKind::Generator(GeneratorSource::default())))
            .sink(Sink::new("nowhere", "numbers", SinkKind::Discard))
    }

    #[test]
    fn the_same_text_is_compiled_once_and_another_text_anew() {
        let programs = PipelinePrograms::default();
        let first = programs.program(&pipeline("a").to_json()).unwrap();
        let again = programs.program(&pipeline("a").to_json()).unwrap();
        let other = programs.program(&pipeline("b").to_json()).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert!(!Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn a_reference_that_is_no_pipeline_is_refused() {
        let error = PipelinePrograms::default().program("nonsense").err().unwrap();
        assert!(error.to_string().contains("the job manager's pipeline:1:"), "{error}");
    }
}
