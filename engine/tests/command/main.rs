//! The command as users have it: the built binary, real files, real processes, real kills.

mod bad_input;
mod flights;
mod kill_moments;
mod process;
mod sigkill;
mod workspace;
