//! The simulated world around the engine: what is not the engine, with its faults.
//!
//! - [`network`]: TCP between named nodes, with windows, partitions, resets and half-open connections;
//! - [`disk`]: file systems that forget what was not synced, and can be made to lie.
//!
//! Whoever wants to see what processes ask of them is a [`witness`].
//!
//! Both draw on random streams of their own, derived from a seed that is passed in, never on the executor's:
//! a draw more in one of them does not shift the schedule or the other's draws.

mod counts;
pub mod disk;
pub mod network;
mod random;
pub mod witness;
