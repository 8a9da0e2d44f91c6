//! Runs a pipeline alone in a simulated world, with real tasks, channels and checkpoints.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tidegate::{
    env::{Env, sim::simulate},
    pipeline::{Pipeline, TraceOutput},
    runtime::{LocalCluster, SavepointRequest, StopTime},
    task::Program,
};
use tidegate_sim::world::network::{NetworkConfig, SimNetwork};

/// The lines of its traces, and why it failed if it did.
#[allow(dead_code, reason = "not every test that plays pipelines plays one alone")]
pub fn play(pipeline: &Pipeline) -> (Vec<String>, Result<(), String>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let ended = play_from(pipeline, None, &TraceOutput::collected(lines.clone()));
    (std::mem::take(&mut *lines.lock().unwrap()), ended)
}

/// Far longer than a script takes to come to where it waits to be stopped, in the time of its world.
const UNTIL_THE_STOP: Duration = Duration::from_secs(3600);

/// The same for a job that is stopped with a savepoint, once its script waits for that, and goes on from it as another
/// pipeline.
#[allow(dead_code, reason = "not every test that plays pipelines stops them")]
pub fn play_one_after_the_other(pipelines: &[Pipeline]) -> (Vec<String>, Result<(), String>) {
    let (directory, lines) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(Vec::new())));
    // What one has committed, the next one commits again: it is there once.
    let output = TraceOutput::collected(lines.clone());
    let (mut ended, mut from) = (Ok(()), None);
    for (number, pipeline) in pipelines.iter().enumerate() {
        let last = number + 1 == pipelines.len();
        let mut pipeline = pipeline.clone();
        if let Some(checkpoint) = &mut pipeline.checkpoint {
            // A job that has stopped is over: the next one is another job.
            checkpoint.dir = Some(directory.path().join(number.to_string()).display().to_string());
        }
        ended = if last {
            play_from(&pipeline, from.take(), &output)
        } else {
            stop_with_savepoint(&pipeline, from.take(), &output, directory.path())
                .map(|savepoint| from = Some(savepoint))
        };
        if ended.is_err() {
            break;
        }
    }
    (std::mem::take(&mut *lines.lock().unwrap()), ended)
}

fn play_from(pipeline: &Pipeline, from: Option<PathBuf>, output: &TraceOutput) -> Result<(), String> {
    in_world(pipeline, from, output, |cluster, env, program| async move {
        cluster.run(&env, program).await.map(|_| ()).map_err(|error| error.to_string())
    })
}

/// The savepoint that it was stopped with, somewhere in `directory`.
fn stop_with_savepoint(
    pipeline: &Pipeline,
    from: Option<PathBuf>,
    output: &TraceOutput,
    directory: &Path,
) -> Result<PathBuf, String> {
    let request = SavepointRequest::into(directory);
    in_world(pipeline, from, output, |cluster, env, program| async move {
        let (client, job) = cluster.submit(&env, program);
        let job = madsim::task::spawn(job);
        env.sleep(UNTIL_THE_STOP).await;
        let savepoint = client.stop_with_savepoint(request, StopTime::Suspend).await;
        let ended = job.await.map_err(|error| error.to_string())?;
        ended.map_err(|error| error.to_string())?;
        savepoint.map_err(|error| error.to_string())
    })
}

/// What becomes of the pipeline's job in a world of its own.
fn in_world<T: Send + 'static, F: Future<Output = Result<T, String>> + Send + 'static>(
    pipeline: &Pipeline,
    from: Option<PathBuf>,
    output: &TraceOutput,
    job: impl FnOnce(LocalCluster, Env, Arc<Program>) -> F + Send + 'static,
) -> Result<T, String> {
    let (config, program) = pipeline.compile_with(output).map_err(|error| error.to_string())?;
    let run = move || async move {
        let network = SimNetwork::new(1, NetworkConfig::default());
        network.add_node(madsim::plugin::node(), "cluster");
        let mut cluster = LocalCluster::new(config);
        cluster.restore_from = from;
        job(cluster, Env::simulated(network), Arc::new(program)).await
    };
    simulate(1, |_| {}, run).and_then(|ended| ended)
}
