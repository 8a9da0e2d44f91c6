//! Runs a pipeline alone in a simulated world, with real tasks, channels and checkpoints.

use std::sync::{Arc, Mutex};

use tidegate::{
    env::{Env, sim::simulate},
    pipeline::{Pipeline, TraceOutput},
    runtime::LocalCluster,
};
use tidegate_sim::world::network::{NetworkConfig, SimNetwork};

/// The lines of its traces, and why it failed if it did.
pub fn play(pipeline: &Pipeline) -> (Vec<String>, Result<(), String>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (config, program) = match pipeline.compile_with(&TraceOutput::collected(lines.clone())) {
        Ok(compiled) => compiled,
        Err(error) => return (Vec::new(), Err(error.to_string())),
    };
    let run = move || async move {
        let network = SimNetwork::new(1, NetworkConfig::default());
        network.add_node(madsim::plugin::node(), "cluster");
        let summary = LocalCluster::new(config).run(&Env::simulated(network), Arc::new(program)).await;
        summary.map(|_| ()).map_err(|error| error.to_string())
    };
    let ended = simulate(1, |_| {}, run).and_then(|ended| ended);
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    (lines, ended)
}
