//! A running job and those who watch, stop and go on with it: savepoints, retention, the HTTP API. All of it in a simulated
//! world, on real files.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod http;
mod live;
mod retention;
mod savepoints;
