//! The command `tidegate`: runs pipelines, in one process or in several, and shows what is kept of them.
//!
//! What the user asked for goes to standard output (records of a `print` sink, tables); what happens meanwhile and every
//! error goes to standard error. Exit codes: 0 the job finished, 1 it failed, 2 the call or the pipeline is wrong, 130 the
//! user interrupted it.

use std::{ffi::OsString, future::Future, pin::pin, process::ExitCode};

use clap::{Parser, Subcommand};
use futures_util::future::{Either, select};

use crate::{
    env::Env,
    error::{Error, ErrorKind, Result},
};

mod checkpoints;
mod cluster;
mod control;
mod job;
mod narrator;
mod program;
mod run;
mod table;

pub use program::PipelinePrograms;

/// An exactly-once stateful stream processor: runs declarative pipelines (TOML or JSON).
#[derive(Parser)]
#[command(name = "tidegate", version, after_help = "Paths in a pipeline are relative to the working directory.")]
struct Call {
    #[command(subcommand)]
    command: Command,
    /// Say what the engine does, step by step.
    #[arg(long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run a pipeline in this process; go on where an earlier run of it was interrupted.
    Run(run::RunArguments),
    /// Lead a pipeline whose tasks run in task manager processes.
    #[command(name = "jobmanager")]
    JobManager(cluster::JobManagerArguments),
    /// Run tasks for a job manager, until it has no more.
    #[command(name = "taskmanager")]
    TaskManager(cluster::TaskManagerArguments),
    /// List the completed checkpoints that are kept.
    Checkpoints(checkpoints::CheckpointsArguments),
    /// List the jobs of a job manager.
    List(control::ListArguments),
    /// Take a savepoint of a running job, or delete one.
    Savepoint(control::SavepointArguments),
    /// Stop a running job with a savepoint, everything before it committed.
    Stop(control::StopArguments),
    /// Cancel a running job.
    Cancel(control::CancelArguments),
    /// Take a checkpoint of a running job.
    Checkpoint(control::CheckpointArguments),
}

/// How a command ended, other than by an error.
enum Ending {
    Done,
    Interrupted,
}

const FAILED: u8 = 1;
const WRONG_CALL: u8 = 2;
/// As shells have it: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// Does what the arguments of the process say.
pub fn main() -> ExitCode {
    let call = match Call::try_parse_from(std::env::args_os().map(as_flink_has_it)) {
        Ok(call) => call,
        Err(refused) => {
            // Help and version are "refused" as well, with exit code 0. Nothing helps if they cannot be printed.
            let _ = refused.print();
            return ExitCode::from(u8::try_from(refused.exit_code()).unwrap_or(WRONG_CALL));
        }
    };
    show_diagnostics(call.verbose);
    let ended = match call.command {
        Command::Run(arguments) => run::run(arguments),
        Command::JobManager(arguments) => cluster::lead(arguments),
        Command::TaskManager(arguments) => cluster::serve(arguments),
        Command::Checkpoints(arguments) => checkpoints::list(&arguments),
        Command::List(arguments) => control::list(&arguments),
        Command::Savepoint(arguments) => control::savepoint(arguments),
        Command::Stop(arguments) => control::stop(arguments),
        Command::Cancel(arguments) => control::cancel(arguments),
        Command::Checkpoint(arguments) => control::checkpoint(&arguments),
    };
    match ended {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if error.kind() == ErrorKind::Configuration { WRONG_CALL } else { FAILED })
        }
    }
}

/// Flink's long options with one dash.
const ONE_DASH: [&str; 5] = ["-type", "-claimMode", "-restoreMode", "-savepointPath", "-allowNonRestoredState"];

/// An option as Flink's users write it is the same with two dashes.
fn as_flink_has_it(argument: OsString) -> OsString {
    let one_dash = argument.to_str().is_some_and(|text| {
        ONE_DASH
            .iter()
            .any(|option| text.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
    });
    if one_dash {
        let mut two = OsString::from("-");
        two.push(argument);
        return two;
    }
    argument
}

/// Diagnostics on standard error: what needs attention, or everything.
fn show_diagnostics(verbose: bool) {
    use tracing_subscriber::{filter::LevelFilter, filter::Targets, prelude::*};
    let shown = if verbose {
        Targets::new().with_target("tidegate", LevelFilter::DEBUG)
    } else {
        // Each bad record would be a line; the summary counts them.
        Targets::new().with_default(LevelFilter::WARN).with_target("tidegate::connector", LevelFilter::ERROR)
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).without_time().with_target(verbose);
    tracing_subscriber::registry().with(lines.with_filter(shown)).init();
}

/// Runs `work` on the host, on so many threads.
fn on_host<T, F: Future<Output = Result<T>>>(threads: usize, work: impl FnOnce(Env) -> F) -> Result<T> {
    let ran = Env::run_on_host(threads, work);
    ran.map_err(|error| Error::new(ErrorKind::Unavailable, "cannot start the runtime").with_source(error))?
}

/// The result of `work`, or `None` if the user interrupts it before.
async fn unless_interrupted<T>(env: &Env, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(env.interrupted()), pin!(work)).await {
        Either::Left(((), _)) => None,
        Either::Right((result, _)) => Some(result),
    }
}

/// One thread per processor, unless the user says otherwise.
fn threads(wanted: Option<std::num::NonZeroUsize>) -> usize {
    wanted.or_else(|| std::thread::available_parallelism().ok()).map_or(1, std::num::NonZeroUsize::get)
}
