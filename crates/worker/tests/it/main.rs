//! Runs the engine in this process, and the process side of the crate against real processes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calls;
mod escape;
mod lifecycle;
mod limits;
mod runtime;
mod support;
