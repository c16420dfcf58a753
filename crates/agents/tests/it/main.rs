//! Portals against MCP servers on loopback that behave, and that do not.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests; a server ends with its test"
)]

mod calls;
mod conditions;
mod faults;
mod input;
mod places;
mod programs;
mod protocol;
mod rights;
mod server;
mod signin;
mod streams;
mod support;
mod tasks;
mod vault;
