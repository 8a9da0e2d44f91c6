//! The simulated world keeps the promises of the real one, breaks them only as its fault model says, and repeats.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod determinism;
mod disk_conformance;
mod disk_crash;
mod disk_faults;
mod network_conformance;
mod network_faults;
