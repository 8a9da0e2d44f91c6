//! The laboratory: the unchanged engine in a seeded simulated world, judged.

#[cfg(not(madsim))]
compile_error!(
    "the laboratory needs `--cfg madsim`, which .cargo/config.toml sets; a RUSTFLAGS variable in the environment, \
     even an empty one, overrides that file: unset it"
);

pub mod world;
