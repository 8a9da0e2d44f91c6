//! A job as the command knows it: the pipeline in a file, and what earlier runs left of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    checkpoint::retention::JobEnd,
    config::{CheckpointStorageConfig, JobConfig},
    error::{Error, ErrorKind, Result},
    id::CheckpointId,
    pipeline::{Pipeline, SinkKind, SourceKind},
    storage::{LogEntry, SharedFileSystem, current_run, read_log},
    task::Program,
};

/// A pipeline that was read and compiled.
pub(super) struct Job {
    pub pipeline: Pipeline,
    pub config: JobConfig,
    pub program: Arc<Program>,
    pub path: PathBuf,
}

/// What earlier runs left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Earlier {
    /// Nothing: the job starts from the beginning, or from where the user says.
    Nothing,
    /// Unfinished work, to go on from this checkpoint.
    Unfinished(CheckpointId),
    /// The job has ended so.
    Ended(JobEnd),
}

impl Job {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::InvalidData => "a pipeline is a text file, TOML or JSON",
                _ => "give the path of a pipeline, TOML or JSON",
            };
            unreadable(format!("cannot read the pipeline {}", path.display()), error).with_hint(hint)
        })?;
        let pipeline = Pipeline::from_text(&path.to_string_lossy(), &text)?;
        let (config, program) = pipeline.compile()?;
        Ok(Self { pipeline, config, program: Arc::new(program), path: path.to_owned() })
    }

    /// The job's name; also the name of its directory among the checkpoints.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Where the job's checkpoints are; `None` if they are kept in memory.
    pub fn directory(&self) -> Option<PathBuf> {
        match &self.config.checkpoints.storage {
            CheckpointStorageConfig::FileSystem { directory } => Some(directory.join(self.name())),
            CheckpointStorageConfig::JobManager => None,
        }
    }

    /// Finds missing input before anything starts: no restart would help.
    pub fn check_inputs(&self) -> Result<()> {
        for source in &self.pipeline.sources {
            let SourceKind::Csv(csv) = &source.kind else { continue };
            let opened = fs::File::open(&csv.path).and_then(|file| file.metadata());
            let problem = match opened {
                Ok(metadata) if metadata.is_dir() => io::Error::from(io::ErrorKind::IsADirectory),
                Ok(_) => continue,
                Err(error) => error,
            };
            let message = format!("the source `{}` cannot read {}", source.name, csv.path);
            return Err(unreadable(message, problem).with_hint(match std::env::current_dir() {
                Ok(here) if Path::new(&csv.path).is_relative() => {
                    format!("relative paths start at the working directory, {}", here.display())
                }
                _ => format!("correct `path` in {}", self.path.display()),
            }));
        }
        Ok(())
    }

    /// What earlier runs left, without taking part in the job.
    pub async fn earlier(&self, file_system: &SharedFileSystem) -> Result<Earlier> {
        let Some(directory) = self.directory() else { return Ok(Earlier::Nothing) };
        let log = read_log(file_system, &directory).await?;
        let run = current_run(&log);
        if let Some(end) = run.iter().rev().find_map(LogEntry::job_end) {
            return Ok(Earlier::Ended(end));
        }
        let completed = run.iter().rev().find_map(LogEntry::completed);
        Ok(completed.map_or(Earlier::Nothing, Earlier::Unfinished))
    }

    /// Says that there is nothing to do, and what to do to have it done again.
    ///
    /// # Errors
    /// If the job has not come to its end: whoever starts it expects it to go on.
    pub fn say_ended(&self, end: JobEnd) -> Result<()> {
        let how = match end {
            JobEnd::Finished => {
                self.say_finished();
                return Ok(());
            }
            JobEnd::Cancelled => "was cancelled",
            JobEnd::Failed | JobEnd::Suspended => "has failed for good",
        };
        let directory = self.directory().unwrap_or_default();
        let message = format!("the job {} {how} earlier, and nothing was run", self.name());
        Err(Error::new(ErrorKind::Configuration, message).with_hint(format!(
            "to go on from a savepoint, or from a checkpoint that was kept (see `tidegate checkpoints`): --from PATH; to \
             begin again: move {} away, and the output too, or results are there twice",
            directory.display()
        )))
    }

    fn say_finished(&self) {
        eprintln!("{}: this job has finished already; everything is committed, and nothing was run", self.name());
        let directory = self.directory().unwrap_or_default();
        let outputs = self.pipeline.sinks.iter().filter_map(|sink| match &sink.kind {
            SinkKind::File(file) => Some(file.path.as_str()),
            SinkKind::Print | SinkKind::Trace { .. } | SinkKind::Discard => None,
        });
        let outputs: Vec<&str> = outputs.collect();
        eprint!("  hint: to run it once more, give it another `name`, or move {} away", directory.display());
        match outputs.as_slice() {
            [] => eprintln!(),
            outputs => {
                eprintln!("; so that results are not there twice, move the output away too: {}", outputs.join(", "))
            }
        }
    }

    /// Says what becomes of a checkpoint that the user gave for a job that has one of its own.
    pub fn say_ignored(&self, given: &Path, own: CheckpointId) {
        eprintln!(
            "{}: note: {} is left aside, for the job has unfinished work of its own, from checkpoint {own} on",
            self.name(),
            given.display()
        );
        if let Some(directory) = self.directory() {
            eprintln!("  hint: to start from {} after all, move {} away", given.display(), directory.display());
        }
    }

    /// Says how to go on after an interruption.
    pub fn say_interrupted(&self, newest: Option<CheckpointId>) {
        match (self.directory(), newest) {
            (Some(_), Some(newest)) => eprintln!(
                "{}: interrupted; the same command goes on from checkpoint {newest}, nothing is lost and nothing comes twice",
                self.name()
            ),
            (Some(_), None) => {
                eprintln!(
                    "{}: interrupted before the first checkpoint; the same command starts from the beginning",
                    self.name()
                );
            }
            (None, _) => {
                eprintln!("{}: interrupted; its checkpoints were in memory and are lost", self.name());
                eprintln!("  hint: with `dir` in [checkpoint] the same command goes on where it was interrupted");
            }
        }
    }
}

fn unreadable(message: String, error: io::Error) -> Error {
    Error::new(ErrorKind::Configuration, message).with_source(error)
}
