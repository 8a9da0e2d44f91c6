//! The command as users have it: the built binary, real files, real processes, real kills.
//!
//! `cfg(test)` holds for all of it; it stands here for clippy, which then knows helpers from product code.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod control;
#[cfg(test)]
mod flights;
#[cfg(test)]
mod kill_moments;
#[cfg(test)]
mod process;
#[cfg(all(test, feature = "rocksdb"))]
mod rocksdb;
#[cfg(test)]
mod sigkill;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod standby;
#[cfg(test)]
mod workspace;
