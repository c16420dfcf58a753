//! Portals against MCP servers on loopback that behave, and that do not.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calls;
mod protocol;
mod rights;
mod server;
mod support;
