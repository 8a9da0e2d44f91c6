//! Where a job begins.

use std::{cell::RefCell, rc::Rc};

use super::{
    builder::{Builder, Code, Operation},
    stream::DataStream,
};
use crate::{
    codec::Data,
    config::JobConfig,
    connector::Source,
    error::Result,
    task::{self, Program, SourceFactory},
    time::WatermarkStrategy,
};

/// A job under construction (Flink `StreamExecutionEnvironment`).
pub struct StreamEnvironment {
    config: JobConfig,
    pub(super) builder: Rc<RefCell<Builder>>,
}

impl StreamEnvironment {
    /// An empty job.
    pub fn new(config: JobConfig) -> Self {
        let builder = Builder { parallelism: config.parallelism, ..Builder::default() };
        Self { config, builder: Rc::new(RefCell::new(builder)) }
    }

    /// The job's options.
    pub fn config(&self) -> &JobConfig {
        &self.config
    }

    /// A stream of what a source delivers, at the job's parallelism.
    pub fn from_source<S: Source>(
        &self,
        name: &str,
        source: S,
        strategy: WatermarkStrategy<S::Item>,
    ) -> DataStream<S::Item> {
        self.add_source(name, task::source(source, strategy))
    }

    /// A stream of what a source task puts out.
    pub(crate) fn add_source<T: Data>(&self, name: &str, factory: SourceFactory) -> DataStream<T> {
        let operation = Operation {
            name: name.to_owned(),
            uid: None,
            parallelism: self.config.parallelism,
            code: Code::Source(factory),
            inputs: Vec::new(),
        };
        let node = self.builder.borrow_mut().add(operation);
        DataStream::of(self.builder.clone(), node)
    }

    /// The program. Streams of this environment that are still around cannot be extended any more.
    ///
    /// # Errors
    /// If the operations do not fit together.
    pub fn build(&self) -> Result<Program> {
        self.builder.take().build(&self.config)
    }
}
