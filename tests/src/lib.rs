//! The proof. Every test lives under `tests/`; here is what several of them need.

pub mod keyed_state;
pub mod vectors;
