//! The proof. Every test lives under `tests/`; here is what several of them need.

pub mod keyed_state;
pub mod recording_sink;
pub mod task_inputs;
pub mod trace;
pub mod vectors;
pub mod window_driver;
pub mod window_script;
pub mod window_words;
