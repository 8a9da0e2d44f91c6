//! The laboratory: the unchanged engine in a seeded simulated world, judged.

// Documentation is built with other flags, and compiles nothing.
#[cfg(not(any(madsim, doc, doctest)))]
compile_error!(
    "the laboratory needs `--cfg madsim`, which .cargo/config.toml sets; a RUSTFLAGS variable in the environment, \
     even an empty one, overrides that file: unset it"
);

pub mod campaign;
pub mod capsule;
mod cluster;
pub mod command;
mod deployed;
pub mod exhaust;
pub mod fault;
pub mod history;
pub mod invariant;
pub mod kills;
mod local_disks;
pub mod matrix;
pub mod model;
pub mod nemesis;
mod operator;
mod recorder;
mod regions;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod seed;
pub mod shrink;
pub mod testing;
pub mod trace;
pub mod workload;
pub mod world;
pub mod zoo;

pub use tidegate_sim_macros::test;
